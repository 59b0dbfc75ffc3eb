//! The cookies of one server: its secret, and whom they are for.

use std::io;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cookie::{ClientAddress, CookieSecret, Cookies};

/// Makes cookies until the server stops: another start has another secret, and clients get new ones.
#[derive(Clone, Copy)]
pub(crate) struct CookieJar(CookieSecret);

impl CookieJar {
    pub(crate) fn new() -> io::Result<CookieJar> {
        random().map(|secret| CookieJar(CookieSecret(secret)))
    }

    /// Those of a client at a moment.
    pub(crate) fn of(&self, client: IpAddr, now: SystemTime) -> Cookies<'_> {
        let client = match client {
            IpAddr::V4(address) => ClientAddress::V4(address.octets()),
            IpAddr::V6(address) => ClientAddress::V6(address.octets()),
        };
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u32::try_from(since.as_secs() & u64::from(u32::MAX)).expect("32 bits");
        Cookies { secret: &self.0, client, now }
    }
}

/// Bytes that nobody else knows.
pub(crate) fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
