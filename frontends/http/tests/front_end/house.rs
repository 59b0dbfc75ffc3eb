//! A node without a cluster: a real machine with the key-value application behind the front end, and a client that
//! sends exactly the bytes that it is told to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_app_kv::{Kv, KvOp};
use synod_gateway::{
    AppDoor, AppPublisher, ClusterStatus, Gateway, Leader, NodeState, NodeStatus, ReadQuestions,
};
use synod_http::{HttpConfig, HttpServer};
use synod_machine::{Application, Context, Founders, Machine, QueryError, RestoreError, View};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, CommandBody, CommanderId, Decree, Digest, Level, NodeId, Refusal, Seq,
    SignedCommand, Slot, StateNdx, TimeMs,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::certificates::HouseCertificates;
use crate::log::HouseLog;

pub const CLUSTER: ClusterId = ClusterId(Digest([1; 32]));
pub const NODE: NodeId = NodeId(Digest([0xab; 32]));
pub const ADMINISTRATOR_KEY: &[u8] = b"an administrator's key";
/// The longest that a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Application 1 is "config", of kind kv; application 2 is "blank", of a kind without addresses of its own.
pub struct House {
    machine: Machine,
    seq: u64,
    pub publisher: AppPublisher,
    pub questions: ReadQuestions,
    pub blank: AppPublisher,
    _blank_questions: ReadQuestions,
    pub log: Arc<HouseLog>,
    pub certificates: Arc<HouseCertificates>,
    pub gateway: Gateway,
    pub server: HttpServer,
}

impl House {
    pub async fn open() -> House {
        House::open_by(1).await
    }

    /// With so many administrators, who all must sign each change of who commands.
    pub async fn open_by(administrators: u8) -> House {
        let ada = (commander(), Bytes::from_static(ADMINISTRATOR_KEY), "ada".to_owned());
        let others = (1..administrators).map(|n| {
            let key = Bytes::from(vec![n; 40]);
            (CommanderId(Digest::of(&[&key])), key, format!("administrator {n}"))
        });
        let administrators: Vec<_> = std::iter::once(ada).chain(others).collect();
        let signatures_needed = u32::try_from(administrators.len()).unwrap();
        let founders =
            Founders { administrators, signatures_needed, members: Vec::new(), level: Level::NEWEST };
        let machine = Machine::new(CLUSTER, AppNdx(1), &founders, Box::new(Kv::new()));
        let (door, publisher, questions) = AppDoor::open("config", machine.view());
        let blank_view = View::new(CLUSTER, AppNdx(2), Box::new(Blank));
        let (blank_door, blank, blank_questions) = AppDoor::open("blank", blank_view);
        let log: Arc<HouseLog> = Arc::default();
        let certificates: Arc<HouseCertificates> = Arc::default();
        let gateway = Gateway::new(vec![blank_door, door], status)
            .with_log(Arc::<HouseLog>::clone(&log))
            .with_certificates(Arc::<HouseCertificates>::clone(&certificates));
        let addr = "127.0.0.1:0".parse().unwrap();
        let server = HttpServer::start(HttpConfig::at(addr), gateway.clone()).await.unwrap();
        House {
            machine,
            seq: 0,
            publisher,
            questions,
            blank,
            _blank_questions: blank_questions,
            log,
            certificates,
            gateway,
            server,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Sets a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.execute(&KvOp::Put { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) });
    }

    /// Executes one operation of the application, in a slot of its own.
    pub fn execute(&mut self, op: &KvOp) {
        self.command(op.encode());
    }

    /// Executes one operation of the administrator, whosever it is, in a slot of its own.
    pub fn command(&mut self, operation: Vec<u8>) {
        self.seq += 1;
        let body = CommandBody {
            cluster: CLUSTER,
            app: AppNdx(1),
            commander: commander(),
            seq: Seq(self.seq),
            not_after: None,
            expected: None,
            operation: operation.into(),
        };
        let command = SignedCommand {
            body: body.encode().unwrap().into(),
            signature: Bytes::new(),
            key: Bytes::from_static(ADMINISTRATOR_KEY),
        };
        let batch =
            Batch { term: Ballot::ZERO, time: TimeMs(1_700_000_000_000 + self.seq), commands: vec![command] };
        self.apply(Decree::Batch(batch.into()));
    }

    /// Has the present state certified, by nobody.
    pub fn certify(&self) {
        self.certificates.certify(self.machine.view());
    }

    /// Fills one slot with nothing.
    pub fn noop(&mut self) {
        self.apply(Decree::Noop);
    }

    fn apply(&mut self, decree: Decree) {
        let applied = self.machine.apply(self.slot().next(), &decree).unwrap();
        assert!(applied.iter().all(|applied| applied.result.is_ok()), "{applied:?}");
        self.log.decrees.lock().unwrap().push((self.slot(), decree));
        self.publisher.publish(self.machine.view());
    }

    pub fn slot(&self) -> Slot {
        self.machine.state().applied
    }

    pub fn state_ndx(&self) -> StateNdx {
        self.machine.state().state_ndx
    }

    pub async fn get(&self, target: &str) -> Answer {
        ask(self.addr(), "GET", target).await
    }
}

pub fn commander() -> CommanderId {
    CommanderId(Digest::of(&[ADMINISTRATOR_KEY]))
}

pub fn leader() -> Leader {
    Leader { id: NODE, name: "a".to_owned() }
}

pub fn status() -> ClusterStatus {
    ClusterStatus {
        cluster_id: CLUSTER,
        cluster_name: "fleet".to_owned(),
        node_id: NODE,
        node_name: "a".to_owned(),
        version: "1".to_owned(),
        nodes: vec![NodeStatus {
            id: NODE,
            name: "a".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            is_member: true,
            state: NodeState::Own,
            rtt_us: None,
            program: None,
            wire: None,
            refused: None,
            heard: None,
            road: None,
        }],
        epoch: synod_types::Epoch(0),
        applicants: Vec::new(),
        apps: Vec::new(),
        certificates: Vec::new(),
        scrub: synod_gateway::ScrubStatus::default(),
    }
}

/// An application with nothing in it.
pub struct Blank;

impl Application for Blank {
    fn kind(&self) -> &'static str {
        "blank"
    }
    fn check(&self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
    fn apply(&mut self, _: &Context, _: &[u8]) -> Result<Bytes, Refusal> {
        Ok(Bytes::new())
    }
    fn query(&self, _: StateNdx, _: &[u8]) -> Result<Bytes, QueryError> {
        Err(QueryError("there is nothing to ask".to_owned()))
    }
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
    fn digest(&self) -> Digest {
        Digest::of(&[])
    }
    fn fork(&self) -> Box<dyn Application> {
        Box::new(Blank)
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn state_ndx(&self) -> &str {
        self.header("state-ndx")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// The body, of which the length was not known when it began (RFC 9112 7.1).
    pub fn unchunked(&self) -> Vec<u8> {
        assert_eq!(self.header("transfer-encoding"), "chunked", "{:?}", self.headers);
        let (mut body, mut rest) = (Vec::new(), &self.body[..]);
        loop {
            let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
            let bytes = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if bytes == 0 {
                return body;
            }
            body.extend(&rest[line + 2..line + 2 + bytes]);
            rest = &rest[line + 4 + bytes..];
        }
    }

    /// Checks that this is a problem of `slug` and `status`, complete, about `instance`.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, slug: &str, instance: &str) -> serde_json::Value {
        let json = self.json();
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, "application/problem+json"),
            "{json}"
        );
        assert_eq!(json["type"], format!("/problems/{slug}"), "{json}");
        assert_eq!((&json["status"], &json["instance"]), (&status.into(), &instance.into()), "{json}");
        assert!(json["title"].is_string() && json["detail"].is_string(), "{json}");
        assert_ne!(self.state_ndx(), "", "every answer says a state");
        json
    }
}

/// One request on a connection of its own.
pub async fn ask(addr: SocketAddr, method: &str, target: &str) -> Answer {
    ask_with(addr, method, target, &[]).await
}

/// One request on a connection of its own, for an answer in one of some forms.
pub async fn ask_accepting(addr: SocketAddr, method: &str, target: &str, accept: &str) -> Answer {
    ask_with(addr, method, target, &[("Accept", accept)]).await
}

/// One request on a connection of its own, with these headers.
pub async fn ask_with(addr: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    parse(&read_to_end(&mut stream).await)
}

/// Everything until the server closes.
pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes));
    read.await.expect("the server closes the connection in time").unwrap();
    bytes
}

/// One answer that fills `bytes`.
pub fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let mut named = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        // Several lines are one list (RFC 9110 5.2).
        let list = named.entry(name.to_owned()).and_modify(|list| list.push_str(", ")).or_default();
        list.push_str(value);
    }
    Answer { status, headers: named, body: bytes[end + 4..].to_vec() }
}
