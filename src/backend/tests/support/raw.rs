//! A client over QUIC that keeps to no rule.

use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use synod_auth::{SigningKey, sign_hello};
use synod_backend::{ALPN, Backend};
use synod_types::frame::FrameReader;
use synod_types::limits::FRAME_BYTES_MAX;
use synod_types::request::{Reply, ReplyFrame, Request, RequestFrame};
use synod_types::session::{Control, Hello, MsgCounter, SessionErrorCode, Welcome};
use synod_types::{ClusterId, Program, RefusalCode, SignedCommand, wire};

use super::{CLUSTER, Tls, soon};

/// A client that sends what it is told.
pub struct Raw {
    _endpoint: Endpoint,
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    pub frames: FrameReader,
    pub sent: MsgCounter,
    pub received: MsgCounter,
}

impl Raw {
    pub async fn connect(tls: &Tls, backend: &Backend) -> Raw {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(quic(tls), backend.local_addr(), "localhost").unwrap();
        let connection = soon(connecting).await.unwrap();
        let (send, recv) = soon(connection.open_bi()).await.unwrap();
        let frames = FrameReader::new(FRAME_BYTES_MAX);
        let (sent, received) = Default::default();
        Raw { _endpoint: endpoint, connection, send, recv, frames, sent, received }
    }

    /// A session whose Hello was accepted.
    pub async fn open(tls: &Tls, backend: &Backend, key: &SigningKey) -> Raw {
        let mut raw = Raw::connect(tls, backend).await;
        let hello = raw.hello(key, CLUSTER);
        raw.ask(hello).await;
        let welcome = Welcome { your_msg_n: 1, program: Program::of_commander() };
        assert_eq!(raw.reply().await, Some(Reply::Control(Control::Welcome(Box::new(welcome)))));
        raw
    }

    pub fn hello(&self, key: &SigningKey, cluster: ClusterId) -> Request {
        self.hello_of(key, cluster, &Program::of_commander())
    }

    pub fn hello_of(&self, key: &SigningKey, cluster: ClusterId, program: &Program) -> Request {
        let mut exporter = [0; 32];
        self.connection.export_keying_material(&mut exporter, Hello::EXPORTER_LABEL, &[]).unwrap();
        let hello = sign_hello(key, &cluster, program, b"", "", [0; 16], &exporter);
        Request::Control(Control::Hello(Box::new(hello)))
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // Where the back end has closed already, its last words tell why.
        let _ = soon(self.send.write_all(bytes)).await;
    }

    pub async fn ask_as(&mut self, msg_n: u64, request: Request) {
        let mut out = Vec::new();
        wire::put(&mut out, FRAME_BYTES_MAX, &RequestFrame { msg_n, request }).unwrap();
        self.write(&out).await;
    }

    pub async fn ask(&mut self, request: Request) -> u64 {
        let msg_n = self.sent.advance();
        self.ask_as(msg_n, request).await;
        msg_n
    }

    pub async fn submit(&mut self, command: SignedCommand) -> u64 {
        self.ask(Request::Submit(command)).await
    }

    /// The next reply; `None` when the back end has closed.
    pub async fn reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                let ReplyFrame { msg_n, reply } = wire::decode(&frame).unwrap();
                assert!(self.received.accepts(msg_n), "{msg_n} is out of order");
                return Some(reply);
            }
            let chunk = soon(self.recv.read_chunk(usize::MAX, true)).await.ok().flatten()?;
            self.frames.push(&chunk.bytes);
        }
    }

    /// The code of the next reply, which is a refusal.
    pub async fn refusal(&mut self) -> (u64, RefusalCode) {
        match self.reply().await {
            Some(Reply::Refused { your_msg_n, refusal }) => (your_msg_n, refusal.code),
            other => panic!("a refusal was expected, not {other:?}"),
        }
    }

    /// The next reply is this error, and then the session is closed.
    pub async fn ends_with(mut self, expected: SessionErrorCode, number: u64) {
        match self.reply().await {
            Some(Reply::Control(Control::Error { your_msg_n, code, description })) => {
                assert_eq!((your_msg_n, code), (number, expected), "{description}");
            }
            other => panic!("{expected:?} was expected, not {other:?}"),
        }
        assert_eq!(self.reply().await, None);
        soon(self.connection.closed()).await;
    }
}

pub fn quic(tls: &Tls) -> quinn::ClientConfig {
    let mut config = (*tls.client).clone();
    config.alpn_protocols = vec![ALPN.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}
