//! Sessions by hand: what a member with another program may say, and how a node answers.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt,
};
use synod_auth::{TlsIdentity, sign_hello};
use synod_types::frame::FrameReader;
use synod_types::limits::HELLO_FRAME_BYTES_MAX;
use synod_types::session::{Control, ControlFrame, Hello, SessionErrorCode, Welcome};
use synod_types::{ClusterId, Program, wire};

use crate::world::{CLUSTER, within};

pub const ALPN: &[u8] = b"synod-mesh/1";

/// An endpoint that calls.
pub fn caller() -> Endpoint {
    Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// An endpoint that is called, as `identity`.
pub fn called(identity: &TlsIdentity) -> Endpoint {
    let tls = identity.mesh_server(&[ALPN]).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// What a node of this build answers to the first frame of a session.
pub fn welcome() -> Control {
    Control::Welcome(Box::new(Welcome { your_msg_n: 1, program: Program::of_node() }))
}

/// One session, as it is opened or taken.
pub struct ByHand {
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    frames: FrameReader,
}

impl ByHand {
    /// Calls, and says nothing yet.
    pub async fn call(endpoint: &Endpoint, identity: &TlsIdentity, address: SocketAddr) -> ByHand {
        ByHand::call_with(endpoint, identity, address, TransportConfig::default()).await
    }

    pub async fn call_with(
        endpoint: &Endpoint,
        identity: &TlsIdentity,
        address: SocketAddr,
        transport: TransportConfig,
    ) -> ByHand {
        let tls = identity.mesh_client(&[ALPN]).unwrap();
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(Arc::new(transport));
        let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
        let connection = within("the handshake", connecting).await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        ByHand { connection, send, recv, frames: FrameReader::new(HELLO_FRAME_BYTES_MAX) }
    }

    /// Takes the next session that a node opens, and reads its Hello.
    pub async fn take(endpoint: &Endpoint) -> ByHand {
        let incoming = within("a call", endpoint.accept()).await.unwrap();
        let connection = incoming.await.unwrap();
        let (send, recv) = connection.accept_bi().await.unwrap();
        let frames = FrameReader::new(HELLO_FRAME_BYTES_MAX);
        let mut session = ByHand { connection, send, recv, frames };
        assert!(matches!(session.hear().await, ControlFrame { msg_n: 1, control: Control::Hello(_) }));
        session
    }

    /// The Hello that `identity` would say in this session.
    pub fn hello(&self, identity: &TlsIdentity, cluster: ClusterId, address: &str) -> Hello {
        let key = identity.public_key().spki_der();
        let program = Program::of_node();
        sign_hello(identity.signing_key(), &cluster, &program, key, address, [0; 16], &self.exporter())
    }

    /// Says Hello as `identity`, as it should.
    pub async fn greet(&mut self, identity: &TlsIdentity, address: &str) {
        let hello = self.hello(identity, CLUSTER, address);
        self.say(1, Control::Hello(Box::new(hello))).await;
    }

    pub fn exporter(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.connection.export_keying_material(&mut bytes, Hello::EXPORTER_LABEL, b"").unwrap();
        bytes
    }

    pub async fn say(&mut self, msg_n: u64, control: Control) {
        let mut bytes = Vec::new();
        wire::put(&mut bytes, HELLO_FRAME_BYTES_MAX, &ControlFrame { msg_n, control }).unwrap();
        self.send.write_all(&bytes).await.unwrap();
    }

    pub async fn hear(&mut self) -> ControlFrame {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return wire::decode(&frame).unwrap();
            }
            let chunk = within("a frame", self.recv.read_chunk(4096, true)).await.unwrap();
            self.frames.push(&chunk.expect("the stream is open").bytes);
        }
    }

    /// The Hello is taken.
    pub async fn hear_welcome(&mut self) {
        assert_eq!(self.hear().await, ControlFrame { msg_n: 1, control: welcome() });
    }

    pub async fn stream(&self, bytes: &[u8]) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// The node answers with an Error, and then closes; what the Error says.
    pub async fn expect_refusal(mut self, expected: SessionErrorCode) -> String {
        let Control::Error { code, description, .. } = self.hear().await.control else {
            panic!("an Error was expected");
        };
        assert_eq!(code, expected, "{description}");
        self.expect_close(1).await;
        description
    }

    pub async fn expect_close(self, expected: u32) {
        let end = within("the node closes", self.connection.closed()).await;
        let ConnectionError::ApplicationClosed(close) = end else { panic!("{end}") };
        assert_eq!(close.error_code, VarInt::from_u32(expected));
    }
}
