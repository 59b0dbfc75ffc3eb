//! Serves one zone file over UDP and TCP, without a cluster: to measure the front end alone, beside other name servers.
//!
//! ```text
//! serve_zone 127.0.0.1:5300 example.com example.zone [UDP_THREADS]
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use synod_dns::{Answers, DnsConfig, DnsServer, Freshness, Source};
use synod_types::StateNdx;
use synod_zone::{Name, Zone, Zones};

struct OneZone {
    origin: Name,
    zone: Arc<Zone>,
}

impl Zones for OneZone {
    fn zone(&self, origin: &[u8]) -> Option<&Zone> {
        (origin == self.origin.as_wire()).then_some(&*self.zone)
    }
}

impl Answers for OneZone {
    fn look(&self, look: &mut dyn FnMut(&Source<'_>)) {
        look(&Source { zones: self, state_ndx: StateNdx(1), freshness: Freshness::Fresh });
    }

    fn zone(&self, _: &Name) -> Option<Arc<Zone>> {
        Some(Arc::clone(&self.zone))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (addr, origin, file, threads) = match &arguments[..] {
        [addr, origin, file] => (addr, origin, file, "1"),
        [addr, origin, file, threads] => (addr, origin, file, threads.as_str()),
        _ => bail!("usage: serve_zone ADDRESS:PORT ORIGIN FILE [UDP_THREADS]"),
    };
    let addr: SocketAddr = addr.parse().with_context(|| format!("{addr} is no address with a port"))?;
    let origin = Name::parse(origin)?.to_lowercase();
    let text = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let zone = Zone::load(&origin, &text).with_context(|| format!("cannot serve {file}"))?;
    drop(text);
    println!("{} records in {} bytes", zone.record_count(), zone.memory_bytes());

    let mut config = DnsConfig::at(addr);
    config.udp_threads = threads.parse().with_context(|| format!("{threads} is no number of threads"))?;
    config.transfer_to = vec!["127.0.0.0/8".parse()?, "::1/128".parse()?];
    let server = DnsServer::start(config, Arc::new(OneZone { origin, zone: Arc::new(zone) })).await?;
    println!("serving at {}", server.addr());
    tokio::signal::ctrl_c().await?;
    println!("{:#?}", server.counts());
    server.close().await;
    Ok(())
}
