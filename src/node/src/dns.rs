//! The DNS front end of this node: what it serves, and how it starts.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use synod_app_zones::{ZoneName, ZonesApp};
use synod_auth::ServerCertificate;
use synod_dns::{Answers, DnsConfig, DnsServer, Encrypted, Freshness, Given, Identity, Source, StreamLimits};
use synod_gateway::{AppDoor, View};
use synod_zone::{Name, Zone};

use crate::config::{Dns, DnsTls};
use crate::node::resolve;
use crate::start_error::StartError;

/// The certificate that clients of encrypted DNS see, if it is served.
pub(crate) fn certificate(config: &Dns) -> Result<Option<Arc<ServerCertificate>>, StartError> {
    let Some(files) = &config.tls else { return Ok(None) };
    Ok(Some(Arc::new(ServerCertificate::load(&files.cert_path, &files.key_path)?)))
}

/// Serves the zones of the application behind `door`; encrypted, too, if there is a certificate.
///
/// # Panics
/// If that is not of kind `zones`: the configuration was checked for that.
pub(crate) async fn start(
    config: &Dns,
    certificate: Option<&ServerCertificate>,
    given: &Given,
    door: &Arc<AppDoor>,
) -> Result<DnsServer, StartError> {
    let mut listen = Vec::new();
    for addr in &config.addrs {
        listen.push(resolve(addr).await?);
    }
    let encrypted = match config.tls.as_ref().zip(certificate) {
        Some((tls, certificate)) => Some(encrypted(tls, certificate).await?),
        None => None,
    };
    let identity = Identity {
        version: config.version.clone(),
        hostname: config.hostname.clone(),
        nsid: config.nsid.clone().into_bytes(),
    };
    let dns_config = DnsConfig {
        listen,
        udp_threads: config.threads,
        transfer_to: config.axfr_allow.clone(),
        identity,
        encrypted,
        streams: StreamLimits::default(),
        rate_limit: config.rate_limit.clone(),
        given: given.clone(),
    };
    let served = Served { door: Arc::clone(door), max_lag: config.max_lag };
    Ok(DnsServer::start(dns_config, Arc::new(served)).await?)
}

async fn encrypted(config: &DnsTls, certificate: &ServerCertificate) -> Result<Encrypted, StartError> {
    let mut addrs = [None; 3];
    for (addr, configured) in addrs.iter_mut().zip([&config.dot, &config.doh, &config.doq]) {
        if let Some(configured) = configured {
            *addr = Some(resolve(configured).await?);
        }
    }
    let [tls, https, quic] = addrs;
    Ok(Encrypted { certificate: certificate.resolver(), tls, https, quic })
}

/// The zones of one application, as this node has them.
struct Served {
    door: Arc<AppDoor>,
    max_lag: Duration,
}

impl Answers for Served {
    fn look(&self, look: &mut dyn FnMut(&Source<'_>)) {
        // Before the state is taken: what is known of the state of now holds for every later one.
        let freshness = match self.door.age() {
            Some(age) if age <= self.max_lag => Freshness::Fresh,
            Some(_) => Freshness::Stale,
            None => Freshness::Unknown,
        };
        let view = self.door.peek();
        look(&Source { zones: zones(&view), state_ndx: view.state_ndx, freshness });
    }

    fn zone(&self, origin: &Name) -> Option<Arc<Zone>> {
        zones(&self.door.peek()).zone_arc(&ZoneName::of(origin))
    }
}

fn zones(view: &View) -> &ZonesApp {
    let app: &dyn Any = &*view.app;
    app.downcast_ref().expect("the kind of the application was looked at when the node started")
}
