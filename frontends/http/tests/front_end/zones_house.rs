//! A node without a cluster that has zones: real machines, files in memory, and what another node says of itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesApp, ZonesOp};
use synod_gateway::{
    AppDoor, AppPublisher, FileRead, Files, Gateway, NodeState, NodeStates, NodeStatus, ReadQuestions,
};
use synod_http::{HttpConfig, HttpServer};
use synod_machine::{Founders, Machine, View};
use synod_types::{
    AppNdx, Ballot, Batch, CommandBody, ContentKey, Decree, Digest, NodeId, Outcome, Seq, SignedCommand,
    TimeMs,
};
use tokio::sync::RwLock;

use crate::certificates::HouseCertificates;
use crate::house::{ADMINISTRATOR_KEY, Answer, Blank, CLUSTER, ask, ask_accepting, commander, status};
use crate::snapshots::HouseSnapshots;

/// The other node, "b".
pub const OTHER: NodeId = NodeId(Digest([0xbb; 32]));

/// Application 1 is "blank"; application 4 is "names", of kind zones, and application 7 "other" as well.
pub struct ZonesHouse {
    machines: BTreeMap<AppNdx, (Machine, AppPublisher)>,
    seq: u64,
    pub questions: Vec<ReadQuestions>,
    pub stored: Arc<Stored>,
    pub snapshots: Arc<HouseSnapshots>,
    pub certificates: Arc<HouseCertificates>,
    pub nodes: Arc<NodeStates>,
    pub gateway: Gateway,
    pub server: HttpServer,
}

/// The files of this node.
#[derive(Default)]
pub struct Stored {
    pub files: Mutex<BTreeMap<ContentKey, Bytes>>,
    /// Who holds this to write holds up who reads a file.
    pub gate: RwLock<()>,
}

impl Files for Stored {
    fn read(&self, key: ContentKey) -> FileRead<'_> {
        Box::pin(async move {
            let _open = self.gate.read().await;
            self.files.lock().unwrap().get(&key).cloned()
        })
    }
}

impl ZonesHouse {
    pub async fn open() -> ZonesHouse {
        let blank = View::new(CLUSTER, AppNdx(1), Box::new(Blank));
        let (blank, _, questions) = AppDoor::open("blank", blank);
        let (mut doors, mut questions, mut machines) = (vec![blank], vec![questions], BTreeMap::new());
        for (ndx, name) in [(AppNdx(4), "names"), (AppNdx(7), "other")] {
            let administrator = (commander(), Bytes::from_static(ADMINISTRATOR_KEY), "ada".to_owned());
            let machine = Machine::new(
                CLUSTER,
                ndx,
                &Founders::each_alone(&[administrator]),
                Box::new(ZonesApp::new()),
            );
            let (door, publisher, asked) = AppDoor::open(name, machine.view());
            doors.push(door);
            questions.push(asked);
            machines.insert(ndx, (machine, publisher));
        }
        let stored = Arc::new(Stored::default());
        let nodes = Arc::new(NodeStates::new());
        let two_nodes = || {
            let mut status = status();
            let other = NodeStatus {
                id: OTHER,
                name: "b".to_owned(),
                state: NodeState::Up,
                ..status.nodes[0].clone()
            };
            status.nodes.push(other);
            status
        };
        let gateway =
            Gateway::new(doors, two_nodes).with_files(stored.clone()).with_node_states(Arc::clone(&nodes));
        let snapshots = Arc::new(HouseSnapshots::default());
        let gateway = gateway.with_snapshots(Arc::<HouseSnapshots>::clone(&snapshots));
        let certificates = Arc::new(HouseCertificates::default());
        let gateway = gateway.with_certificates(Arc::<HouseCertificates>::clone(&certificates));
        let addr = "127.0.0.1:0".parse().unwrap();
        let server = HttpServer::start(HttpConfig::at(addr), gateway.clone()).await.unwrap();
        ZonesHouse { machines, seq: 0, questions, stored, snapshots, certificates, nodes, gateway, server }
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Stores a zone file, and publishes it as a zone of "names".
    pub fn set(&mut self, zone: &str, serial: u32, records: &str) -> ContentKey {
        self.set_in(AppNdx(4), zone, serial, &file(serial, records))
    }

    /// Stores a file, and publishes it as a zone of an application, whatever it is.
    pub fn set_in(&mut self, app: AppNdx, zone: &str, serial: u32, file: &[u8]) -> ContentKey {
        let content = ContentKey::of(file);
        self.stored.files.lock().unwrap().insert(content, Bytes::copy_from_slice(file));
        let change = ZoneChange {
            zone: ZoneName::parse(zone).unwrap(),
            content,
            bytes: u64::try_from(file.len()).unwrap(),
            serial,
            force: true,
            expected: Expected::Any,
        };
        self.command(app, &ZonesOp::Set(change));
        content
    }

    /// Executes one command of an application, in a slot of its own.
    pub fn command(&mut self, app: AppNdx, op: &ZonesOp) {
        self.seq += 1;
        let body = CommandBody {
            cluster: CLUSTER,
            app,
            commander: commander(),
            seq: Seq(self.seq),
            not_after: None,
            expected: None,
            operation: op.encode().into(),
        };
        let command = SignedCommand {
            body: body.encode().unwrap().into(),
            signature: Bytes::new(),
            key: Bytes::from_static(ADMINISTRATOR_KEY),
        };
        let batch =
            Batch { term: Ballot::ZERO, time: TimeMs(1_700_000_000_000 + self.seq), commands: vec![command] };
        let (machine, publisher) = self.machines.get_mut(&app).unwrap();
        let slot = machine.state().applied.next();
        let applied = machine.apply(slot, &Decree::Batch(batch.into())).unwrap();
        assert!(matches!(applied[0].result.as_ref().unwrap().outcome, Outcome::Done(_)), "{applied:?}");
        for key in machine.wanted() {
            let file = self.stored.files.lock().unwrap()[&key].clone();
            machine.supply(&key, &file);
        }
        publisher.publish(machine.view());
    }

    pub async fn get(&self, target: &str) -> Answer {
        ask(self.addr(), "GET", target).await
    }

    pub async fn get_as(&self, target: &str, accept: &str) -> Answer {
        ask_accepting(self.addr(), "GET", target, accept).await
    }
}

/// A zone file with what every zone needs, and these records.
pub fn file(serial: u32, records: &str) -> Vec<u8> {
    format!("$TTL 3600\n@ SOA ns host {serial} 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\n{records}")
        .into_bytes()
}
