//! The `http` section: where readers are answered, and whom.

use std::path::{Path, PathBuf};

use synod_http::CorsOrigins;
use synod_types::limits::{HTTP_CONNECTIONS_MAX, HTTP_CONNECTIONS_PER_ADDRESS_MAX};

use super::address::Address;
use super::fields::Fields;
use super::mistakes::Mistakes;
use super::{Draft, HTTP_PORT_OFFSET};

/// Origins in `cors_origins`.
const ORIGINS_MAX: usize = 256;

/// The readers' port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// Where it listens. Port 0 takes any that is free.
    pub addr: Address,
    /// What is shown in TLS; without it, HTTP is plain.
    pub tls: Option<HttpTls>,
    /// Whose pages may read in a browser.
    pub cors_origins: CorsOrigins,
    /// Connections of one client address.
    pub connections_per_address: usize,
}

/// PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpTls {
    /// The certificate that clients see; its chain may follow.
    pub cert_path: PathBuf,
    /// Its private key.
    pub key_path: PathBuf,
}

impl Draft {
    /// Reads `http`.
    pub(super) fn read_http(
        &self,
        fields: &mut Fields,
        directory: &Path,
        mistakes: &mut Mistakes,
    ) -> Option<Http> {
        let mut http = fields.table("http", mistakes);
        let addr = self.read_address(&mut http, HTTP_PORT_OFFSET, mistakes);
        let has_tls = http.has("tls");
        let tls = http.table("tls", mistakes);
        let tls = if has_tls { Some(read_tls(tls, directory, mistakes)) } else { None };
        let cors_origins = read_origins(&mut http, mistakes);
        let most = u64::try_from(HTTP_CONNECTIONS_MAX).expect("a small number");
        let connections = http.number("connections_per_address", 1..=most, mistakes);
        let connections = connections.and_then(|number| usize::try_from(number).ok());
        http.finish(mistakes);
        Some(Http {
            addr: addr?,
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
            cors_origins,
            connections_per_address: connections.unwrap_or(HTTP_CONNECTIONS_PER_ADDRESS_MAX),
        })
    }
}

fn read_origins(http: &mut Fields, mistakes: &mut Mistakes) -> CorsOrigins {
    let list = http.list("cors_origins", mistakes);
    let path = http.path("cors_origins");
    let mut origins = CorsOrigins::default();
    if list.len() > ORIGINS_MAX {
        mistakes.add(&path, format!("has {} origins; at most {ORIGINS_MAX} are taken", list.len()));
        return origins;
    }
    for (n, text) in Fields::texts(&path, list, mistakes) {
        if let Err(why) = origins.allow(&text) {
            mistakes.add(&format!("{path}[{n}]"), format!("{text:?} is none: {why}"));
        }
    }
    origins
}

fn read_tls(mut tls: Fields, directory: &Path, mistakes: &mut Mistakes) -> Option<HttpTls> {
    let cert_path = tls.required_file("cert_path", "node1.pem", directory, mistakes);
    let key_path = tls.required_file("key_path", "node1-key.pem", directory, mistakes);
    tls.finish(mistakes);
    Some(HttpTls { cert_path: cert_path?, key_path: key_path? })
}
