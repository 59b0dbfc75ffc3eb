//! The `dns` section: whether this node is a name server, where, and for whom.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_auth::Genesis;
use synod_dns::{IpNet, RateLimitConfig};
use synod_types::AppNdx;
use synod_types::limits::{DNS_RATE_MAX, THREADS_MAX};

use super::address::Address;
use super::fields::Fields;
use super::mistakes::Mistakes;
use super::{DNS_PORT_OFFSET, Draft};
use crate::apps::ZONES;

/// Milliseconds in a `max_lag` that is not given: an hour.
const MAX_LAG_MS: u64 = 3_600_000;
/// The shortest `max_lag`: a node asks twice a second whether it is behind, and an answer may take a second.
const MAX_LAG_MS_MIN: u64 = 2_000;
/// The longest `max_lag`: 30 days.
const MAX_LAG_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// Answers a second to one network over UDP, where nothing is said.
const RATE_LIMIT: u32 = 1_000;
/// Addresses of one DNS front end.
const ADDRESSES_MAX: usize = 16;
/// Prefixes in `axfr_allow`, and in `rate_limit_exempt`.
const PREFIXES_MAX: usize = 1024;
/// Bytes of `version`, `hostname` and `nsid`: what one string of a TXT record holds (RFC 1035, section 3.3).
const IDENTITY_BYTES_MAX: usize = 255;

/// The DNS front end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dns {
    /// Where it listens, UDP and TCP; at least one. Port 0 takes any that is free.
    pub addrs: Vec<Address>,
    /// The number or name of the application whose zones are served; `None`: the first of kind `zones`.
    pub app: Option<String>,
    /// A node that has not known for so long whether its state is the newest answers SERVFAIL.
    pub max_lag: Duration,
    /// Who may transfer whole zones.
    pub axfr_allow: Vec<IpNet>,
    /// What `version.bind` says; empty: nothing.
    pub version: String,
    /// What `hostname.bind` and `id.server` say; empty: nothing.
    pub hostname: String,
    /// What the NSID option says (RFC 5001); empty: nothing.
    pub nsid: String,
    /// Threads that answer datagrams, for each address.
    pub threads: NonZero<usize>,
    /// Answers over UDP to one network.
    pub rate_limit: Option<RateLimitConfig>,
    /// The encrypted transports, if there are any.
    pub tls: Option<DnsTls>,
}

/// Encrypted DNS: a certificate, and where to listen. At least one of the addresses is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsTls {
    /// The certificate that clients see, PEM; its chain may follow.
    pub cert_path: PathBuf,
    /// Its private key, PEM.
    pub key_path: PathBuf,
    /// DNS over TLS (RFC 7858).
    pub dot: Option<Address>,
    /// DNS over HTTPS (RFC 8484).
    pub doh: Option<Address>,
    /// DNS over QUIC (RFC 9250).
    pub doq: Option<Address>,
}

impl Dns {
    /// Every address that it opens, with its place in the configuration.
    pub(super) fn ports(&self) -> Vec<(String, &Address)> {
        let place = |n| if self.addrs.len() == 1 { "dns.addr".to_owned() } else { format!("dns.addrs[{n}]") };
        let mut ports: Vec<_> = self.addrs.iter().enumerate().map(|(n, addr)| (place(n), addr)).collect();
        if let Some(DnsTls { dot, doh, doq, .. }) = &self.tls {
            // DoT is on TCP and DoQ on UDP: they may share a number, and by their RFCs do (853).
            let doq = if doq == dot { &None } else { doq };
            let encrypted = [("dns.tls.dot", dot), ("dns.tls.doh", doh), ("dns.tls.doq", doq)];
            ports.extend(
                encrypted.into_iter().filter_map(|(place, addr)| Some((place.to_owned(), addr.as_ref()?))),
            );
        }
        ports
    }

    /// The application whose zones are served.
    ///
    /// # Errors
    /// What is wrong with `dns.app`, or that there is nothing to serve.
    pub fn app_of(&self, genesis: &Genesis) -> Result<AppNdx, String> {
        let zones = genesis.apps.iter().filter(|app| app.kind == ZONES);
        self.app_among(&zones.map(|app| (app.ndx, app.name.clone())).collect::<Vec<_>>())
    }
}

impl Draft {
    /// Reads `dns`; without it, no port is opened.
    pub(super) fn read_dns(&mut self, fields: &mut Fields, directory: &Path, mistakes: &mut Mistakes) {
        self.dns_is_given = fields.has("dns");
        let mut dns = fields.table("dns", mistakes);
        if self.dns_is_given {
            self.dns = self.read_dns_fields(&mut dns, directory, mistakes);
        }
        dns.finish(mistakes);
    }

    fn read_dns_fields(&self, dns: &mut Fields, directory: &Path, mistakes: &mut Mistakes) -> Option<Dns> {
        let addrs = self.read_dns_addresses(dns, mistakes);
        let app = dns.name_or_number("app", mistakes);
        let bounds = MAX_LAG_MS_MIN..=MAX_LAG_MS_MAX;
        let max_lag = dns.duration("max_lag", bounds, mistakes);
        let axfr_allow = read_prefixes("axfr_allow", dns, mistakes);
        let rate_limit = read_rate_limit(dns, mistakes);
        let mut identity = |name: &'static str, default: &str| {
            let text = dns.text_or_empty(name, mistakes);
            if let Some(text) = text.as_ref().filter(|text| text.len() > IDENTITY_BYTES_MAX) {
                let bytes = text.len();
                mistakes.add(&dns.path(name), format!("has {bytes} bytes; at most {IDENTITY_BYTES_MAX} fit"));
            }
            text.unwrap_or_else(|| default.to_owned())
        };
        let id = self.id.as_deref().unwrap_or_default();
        let version = identity("version", concat!("synod ", env!("CARGO_PKG_VERSION")));
        let hostname = identity("hostname", id);
        let nsid = identity("nsid", id);
        let threads = dns.number("threads", 1..=THREADS_MAX, mistakes);
        let threads = threads.and_then(|threads| NonZero::new(usize::try_from(threads).ok()?));
        let threads = threads.unwrap_or(NonZero::<usize>::MIN);
        let has_tls = dns.has("tls");
        let tls = dns.table("tls", mistakes);
        let tls = if has_tls { Some(read_tls(tls, directory, mistakes)?) } else { None };
        let max_lag = max_lag.unwrap_or(Duration::from_millis(MAX_LAG_MS));
        Some(Dns {
            addrs: addrs?,
            app,
            max_lag,
            axfr_allow,
            version,
            hostname,
            nsid,
            threads,
            rate_limit,
            tls,
        })
    }

    /// `addr` or `addrs`, or by default the host of `me.addr` and a port that is a fixed number above.
    fn read_dns_addresses(&self, dns: &mut Fields, mistakes: &mut Mistakes) -> Option<Vec<Address>> {
        let (has_one, has_many) = (dns.has("addr"), dns.has("addrs"));
        let one = dns.address("addr", 0..=u16::MAX, mistakes);
        let many = dns.list("addrs", mistakes);
        let path = dns.path("addrs");
        if has_one && has_many {
            mistakes.add(&path, "addr is there, too: give one of them");
            return None;
        }
        if !has_many {
            return Some(vec![if has_one {
                one?
            } else {
                self.default_address("dns.addr", DNS_PORT_OFFSET, mistakes)?
            }]);
        }
        if many.is_empty() || many.len() > ADDRESSES_MAX {
            mistakes.add(&path, format!("has {} addresses, and must have 1 to {ADDRESSES_MAX}", many.len()));
            return None;
        }
        let count = many.len();
        let texts = Fields::texts(&path, many, mistakes);
        let parse = |(n, text): (usize, String)| {
            let address = Address::parse(&text, 0..=u16::MAX);
            address.map_err(|why| mistakes.add(&format!("{path}[{n}]"), why.to_string())).ok()
        };
        let addrs: Vec<Address> = texts.into_iter().filter_map(parse).collect();
        (addrs.len() == count).then_some(addrs)
    }
}

/// `rate_limit`, of which 0 is none, and `rate_limit_exempt`.
fn read_rate_limit(dns: &mut Fields, mistakes: &mut Mistakes) -> Option<RateLimitConfig> {
    let per_second = dns.number("rate_limit", 0..=u64::from(DNS_RATE_MAX), mistakes);
    let per_second = per_second.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(RATE_LIMIT);
    let exempt = if dns.has("rate_limit_exempt") {
        read_prefixes("rate_limit_exempt", dns, mistakes)
    } else {
        vec![IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8), IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))]
    };
    Some(RateLimitConfig { per_second: NonZero::new(per_second)?, exempt })
}

fn read_prefixes(name: &'static str, dns: &mut Fields, mistakes: &mut Mistakes) -> Vec<IpNet> {
    let list = dns.list(name, mistakes);
    let path = dns.path(name);
    if list.len() > PREFIXES_MAX {
        mistakes.add(&path, format!("has {} prefixes; at most {PREFIXES_MAX} are taken", list.len()));
        return Vec::new();
    }
    let texts = Fields::texts(&path, list, mistakes);
    let parse = |(n, text): (usize, String)| {
        parse_prefix(&text).map_err(|why| mistakes.add(&format!("{path}[{n}]"), why)).ok()
    };
    texts.into_iter().filter_map(parse).collect()
}

/// `address/bits`, or an address alone, which stands for itself.
fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let alone = |_| text.parse::<IpAddr>().map(IpNet::from);
    let prefix = text.parse::<IpNet>().or_else(alone).map_err(|_| {
        format!("{text:?} is not an IP address or a prefix, as \"192.0.2.0/24\" or \"2001:db8::/32\"")
    })?;
    if prefix != prefix.trunc() {
        return Err(format!(
            "{text:?} has bits behind its prefix: write \"{}\", or the one address",
            prefix.trunc()
        ));
    }
    Ok(prefix)
}

fn read_tls(mut tls: Fields, directory: &Path, mistakes: &mut Mistakes) -> Option<DnsTls> {
    let cert_path = tls.required_file("cert_path", "dns.pem", directory, mistakes);
    let key_path = tls.required_file("key_path", "dns-key.pem", directory, mistakes);
    let names = ["dot", "doh", "doq"];
    let is_given = names.iter().any(|name| tls.has(name));
    let [dot, doh, doq] = names.map(|name| tls.address(name, 0..=u16::MAX, mistakes));
    if !is_given {
        let problem = "opens nothing: give dot, doh or doq an address, as \"0.0.0.0:853\", or leave tls out";
        mistakes.add("dns.tls", problem);
    }
    tls.finish(mistakes);
    Some(DnsTls { cert_path: cert_path?, key_path: key_path?, dot, doh, doq })
}
