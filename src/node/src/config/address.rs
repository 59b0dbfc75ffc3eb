//! `host:port`, where the host may be a name that is resolved each time it is needed.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use synod_types::host_port::{self, NoHostPort};
use synod_types::limits::ADDRESS_BYTES_MAX;

/// Where something listens or is reached.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Address {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is not an address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// There is no port.
    #[error("{0:?} has no port: write it as host:port, for example \"127.0.0.1:7101\" or \"[::1]:7101\"")]
    NoPort(String),
    /// The port is not a number, or too large or small.
    #[error("{text:?}: the port {port:?} is not a number from {min} to {max}")]
    BadPort {
        /// The whole text.
        text: String,
        /// Its port.
        port: String,
        /// The lowest that is taken.
        min: u16,
        /// The highest that is taken.
        max: u16,
    },
    /// The host is neither a name nor an IP address.
    #[error(
        "{text:?}: {host:?} is neither a host name nor an IP address (an IPv6 address goes into brackets)"
    )]
    BadHost {
        /// The whole text.
        text: String,
        /// Its host.
        host: String,
    },
    /// It has too many bytes.
    #[error("{0:?} has more than {ADDRESS_BYTES_MAX} bytes")]
    TooLong(String),
}

impl Address {
    /// Reads `host:port`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// [`AddressError`] says what does not fit.
    pub fn parse(text: &str, ports: RangeInclusive<u16>) -> Result<Address, AddressError> {
        let own = || text.to_owned();
        let (host_text, port_text) = text.rsplit_once(':').unwrap_or((text, ""));
        let (min, max) = (*ports.start(), *ports.end());
        let bad_port = || AddressError::BadPort { text: own(), port: port_text.to_owned(), min, max };
        match host_port::split(text) {
            Ok((host, port)) if ports.contains(&port) => Ok(Address { host: host.to_owned(), port }),
            Ok(_) | Err(NoHostPort::BadPort) => Err(bad_port()),
            Err(NoHostPort::NoPort) => Err(AddressError::NoPort(own())),
            Err(NoHostPort::BadHost) => {
                Err(AddressError::BadHost { text: own(), host: host_text.to_owned() })
            }
            Err(NoHostPort::TooLong) => Err(AddressError::TooLong(own())),
        }
    }

    /// The first socket address that the host stands for now. Asks the system's resolver, which may take its time.
    ///
    /// # Errors
    /// What the resolver says, with the address.
    pub async fn resolve(&self) -> io::Result<SocketAddr> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let failed = |why: String| io::Error::other(format!("cannot resolve {self}: {why}"));
        let first = found.map_err(|why| failed(why.to_string()))?.next();
        first.ok_or_else(|| failed("the name has no address".to_owned()))
    }

    /// Whether nothing can listen at both: the ports are the same, and so are the hosts, or one of them stands for all.
    pub(super) fn collides_with(&self, other: &Address) -> bool {
        let is_any = |host: &str| host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
        self.port == other.port
            && self.port != 0
            && (self.host == other.host || is_any(&self.host) || is_any(&other.host))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in ["127.0.0.1:1", "[::1]:65535", "node1.example.com:7101", "synod_node-1:7101"] {
            assert_eq!(Address::parse(text, 1..=65535).unwrap().to_string(), text);
        }
        assert_eq!(Address::parse("localhost:0", 0..=65535).unwrap().port, 0);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in
            ["", "localhost", ":7101", "::1:7101", "[::1]", "[no]:1", "a b:1", "x:0", "x:65536", "x:-1", "x:"]
        {
            assert!(Address::parse(text, 1..=65535).is_err(), "{text:?} was taken");
        }
    }
}
