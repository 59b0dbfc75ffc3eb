//! What a client needs to know.

use std::sync::Arc;
use std::time::Duration;

use synod_types::limits::MEMBERS_MAX;

use crate::commander::Commander;

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The commanders' ports of the cluster, the preferred one first.
    pub endpoints: Vec<Endpoint>,
    /// With the cluster's CA as root. TLS 1.3 has to be among its versions; its ALPN is replaced.
    pub tls: Arc<rustls::ClientConfig>,
    /// Who opens the sessions. Commands of others may be submitted on them as well.
    pub commander: Commander,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// A commanders' port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `host:port`; resolved at each connection.
    pub address: String,
    /// The name that the node's certificate has to carry.
    pub server_name: String,
}

impl Endpoint {
    /// The port at `address`, whose certificate carries its host.
    pub fn new(address: impl Into<String>) -> Endpoint {
        let address = address.into();
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let server_name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Endpoint { address, server_name }
    }

    /// The port at `address`, whose certificate carries `server_name`.
    pub fn named(address: impl Into<String>, server_name: impl Into<String>) -> Endpoint {
        Endpoint { address: address.into(), server_name: server_name.into() }
    }
}

/// How long things may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// To open a session: name, handshake and Hello.
    pub connect: Duration,
    /// For one node's answer. Then the same bytes go to another node, if there is one, which is safe.
    pub attempt: Duration,
    /// For a call with all its attempts.
    pub total: Duration,
    /// For an upload since it last came further.
    pub upload: Duration,
    /// Without a packet from the node its session is given up. Three times as often we say that we are there.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(2),
            attempt: Duration::from_secs(10),
            total: Duration::from_secs(30),
            upload: Duration::from_secs(300),
            idle: Duration::from_secs(3),
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no endpoint.
    #[error("no endpoint is given: name the commanders' port of at least one node, as host:port")]
    NoEndpoint,
    /// There are more endpoints than a cluster has nodes.
    #[error("{0} endpoints are given, and a cluster has at most {MEMBERS_MAX} nodes")]
    TooManyEndpoints(usize),
    /// QUIC needs TLS 1.3.
    #[error("the TLS configuration has no cipher suite for QUIC (TLS 1.3 is needed)")]
    NoTls13,
    /// The idle timeout does not fit.
    #[error("the idle timeout of {0:?} is over the limit of QUIC")]
    IdleTooLong(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_name_is_the_host() {
        for (address, name) in [("node-1.example:7000", "node-1.example"), ("[::1]:7000", "::1"), ("x", "x")]
        {
            assert_eq!(Endpoint::new(address).server_name, name);
        }
    }
}
