//! QUIC as the mesh uses it: one UDP socket for all connections, and limits for few nodes near each other where
//! the defaults are made for the open Internet.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::crypto::{CryptoError, HmacKey};
use quinn::udp::UdpSocketState;
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, MtuDiscoveryConfig,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use synod_auth::TlsIdentity;
use synod_types::Digest;
use synod_types::limits::{MESH_IDLE_MS_MAX, MESH_OPENING_MAX, MESH_STREAM_WINDOW_BYTES};

use crate::config::{Listen, MeshError};
use crate::priority::Priority;

/// The name of this protocol in TLS (RFC 7301).
pub(crate) const ALPN: &[u8] = b"synod-mesh/1";

/// The largest datagram that path MTU discovery tries. Ten of them still fit into the 64 KiB that the kernel takes
/// at once (GSO). On loopback this carries about twice as much as 1,452 bytes do; on an Ethernet with 1,500 bytes
/// discovery ends at those.
const DATAGRAM_BYTES_MAX: u16 = 6400;
/// What a connection may send before it has seen the path carry anything.
const INITIAL_WINDOW_BYTES: u64 = 128 << 10;
/// Room in the kernel for datagrams that arrive or leave in a burst; it gives what `net.core.rmem_max` and
/// `wmem_max` allow.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Bytes that the endpoint keeps for one connection, and for all, before it is accepted.
const OPENING_BUFFER_BYTES: u64 = 32 << 10;
/// Bytes of a connection id.
const CONNECTION_ID_BYTES: usize = 8;

/// Binds the socket and makes the endpoint, with the configuration for calling. Needs a Tokio runtime.
pub(crate) fn bind(listen: Listen, identity: &TlsIdentity) -> Result<(Endpoint, ClientConfig), MeshError> {
    let (socket, address) = match listen {
        Listen::Address(address) => (UdpSocket::bind(address), address.to_string()),
        Listen::Socket(socket) => {
            let address = socket.local_addr().map_or_else(|_| "its socket".to_owned(), |at| at.to_string());
            (Ok(socket), address)
        }
    };
    let cannot_listen = |source| MeshError::Listen { address: address.clone(), source };
    let socket = socket.map_err(cannot_listen)?;
    let state = UdpSocketState::new((&socket).into()).map_err(cannot_listen)?;
    // A system that gives less only makes bursts more costly.
    let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);
    let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES);

    let mut endpoint = EndpointConfig::new(Arc::new(ResetKey::of(identity)));
    endpoint.cid_generator(|| Box::new(RandomConnectionIds));
    endpoint.max_udp_payload_size(DATAGRAM_BYTES_MAX).expect("between the limits that QUIC sets");
    let endpoint = Endpoint::new(endpoint, Some(server(identity)?), socket, Arc::new(TokioRuntime))
        .map_err(cannot_listen)?;
    Ok((endpoint, client(identity)?))
}

fn server(identity: &TlsIdentity) -> Result<ServerConfig, MeshError> {
    let tls = identity.mesh_server(&[ALPN]).map_err(|why| MeshError::Tls(why.to_string()))?;
    let tls = QuicServerConfig::try_from(tls).map_err(|why| MeshError::Tls(why.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    let data_streams = u32::try_from(Priority::ALL.len()).expect("three priorities");
    // One control stream, and one stream for each priority, opened once.
    config.transport_config(Arc::new(transport(1, data_streams)));
    config.migration(false);
    config.max_incoming(MESH_OPENING_MAX);
    config.incoming_buffer_size(OPENING_BUFFER_BYTES);
    config.incoming_buffer_size_total(4 * OPENING_BUFFER_BYTES);
    Ok(config)
}

fn client(identity: &TlsIdentity) -> Result<ClientConfig, MeshError> {
    let tls = identity.mesh_client(&[ALPN]).map_err(|why| MeshError::Tls(why.to_string()))?;
    let tls = QuicClientConfig::try_from(tls).map_err(|why| MeshError::Tls(why.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(tls));
    // Who is called opens no streams.
    config.transport_config(Arc::new(transport(0, 0)));
    Ok(config)
}

fn transport(peer_bidi_streams: u32, peer_uni_streams: u32) -> TransportConfig {
    let window = u64::from(MESH_STREAM_WINDOW_BYTES);
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(DATAGRAM_BYTES_MAX);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(peer_bidi_streams.into())
        .max_concurrent_uni_streams(peer_uni_streams.into())
        .max_idle_timeout(Some(VarInt::from_u32(MESH_IDLE_MS_MAX).into()))
        // The connection's windows hold those of all streams, so that no stream takes another's room: a reader
        // that is behind with replication does not keep heartbeats out.
        .stream_receive_window(VarInt::from_u32(MESH_STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(4 * MESH_STREAM_WINDOW_BYTES))
        .send_window(8 * window)
        .initial_rtt(Duration::from_millis(10))
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(congestion))
        .datagram_receive_buffer_size(None);
    config
}

/// Connection ids that say nothing. The default ones are checked against a key that is drawn at each start, so that
/// a node which was restarted would ignore packets of its former connections instead of resetting them.
struct RandomConnectionIds;

impl ConnectionIdGenerator for RandomConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; CONNECTION_ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes the tokens of stateless resets (RFC 9000, section 10.3). The key is the same after each start of a node, and
/// known to no other: so a node that was killed and started again ends its former connections at the first packet,
/// and its peers call it again at once, rather than after the idle timeout.
struct ResetKey(Digest);

impl ResetKey {
    fn of(identity: &TlsIdentity) -> ResetKey {
        // Both kinds of signatures are deterministic.
        ResetKey(Digest::of(&[&identity.signing_key().sign(b"synod/mesh-reset/v1\0")]))
    }

    fn token(&self, data: &[u8]) -> [u8; 32] {
        // SHA3 needs no HMAC around it: a key in front of the message makes a MAC (FIPS 202, section A.2).
        Digest::of(&[&self.0.0, data]).0
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&self.token(data));
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // QUIC compares tokens itself and never asks for this.
        if self.token(data)[..] == *signature { Ok(()) } else { Err(CryptoError) }
    }
}

/// Where an endpoint listens.
pub(crate) fn local_address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.local_addr().expect("the socket is bound")
}
