//! A node in place of the real one, and a port with a certificate of its own authority.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod door;
pub mod raw;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use synod_auth::tls::{backend_client, load_roots};
use synod_auth::{Algorithm, CertificateAuthority, SigningKey, TlsIdentity, Verified, Verifier, VerifyPool};
use synod_backend::{
    Answer, Backend, BackendConfig, BackendError, BoxFuture, ChangeProgress, CommandName, CommandProgress,
    Intake, NodeProgress, Progress,
};
use synod_types::{
    AppNdx, ClusterId, CommandBody, CommandId, CommanderId, ContentKey, ContentTicket, Digest, NodeId,
    Outcome, Receipt, Refusal, RefusalCode, Seq, SignedCommand, StateNdx,
};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use self::door::FakeDoor;

pub const CLUSTER: ClusterId = ClusterId(Digest([7; 32]));
pub const APP: AppNdx = AppNdx(1);
/// The fake application refuses this operation.
pub const REFUSED_OPERATION: &[u8] = b"\0refuse";

/// Waits, but not for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("this takes far less than half a minute")
}

/// What the whole cluster would agree on: each command is executed once.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<LedgerState>,
}

#[derive(Default)]
struct LedgerState {
    executed: u64,
    receipts: HashMap<(CommanderId, Seq), (CommandId, Receipt)>,
    last_seq: HashMap<CommanderId, u64>,
}

impl Ledger {
    pub fn execute(&self, command: &Verified<SignedCommand>) -> Result<Receipt, Refusal> {
        let body = command.body().clone();
        let mut state = self.state.lock().unwrap();
        if let Some((id, receipt)) = state.receipts.get(&(body.commander, body.seq)) {
            return match *id == command.id() {
                true => Ok(receipt.clone()),
                false => Err(Refusal::new(RefusalCode::SeqReused, "another command had this seq")),
            };
        }
        state.executed += 1;
        let outcome = match &body.operation[..] == REFUSED_OPERATION {
            true => Outcome::Refused(Refusal::new(RefusalCode::Conflict, "as you like")),
            false => Outcome::Done(body.operation),
        };
        let state_ndx = StateNdx(state.executed);
        let receipt = Receipt { app: body.app, seq: body.seq, state_ndx, outcome, chain: command.id().0 };
        let last = state.last_seq.entry(body.commander).or_default();
        *last = body.seq.0.max(*last);
        state.receipts.insert((body.commander, body.seq), (command.id(), receipt.clone()));
        Ok(receipt)
    }

    /// What a replica would say of a command.
    fn find(&self, command: CommandName) -> Result<Option<Receipt>, Refusal> {
        match self.state.lock().unwrap().receipts.get(&(command.commander, command.seq)) {
            None => Ok(None),
            Some((id, receipt)) if *id == command.id => Ok(Some(receipt.clone())),
            Some(_) => Err(Refusal::new(RefusalCode::SeqReused, "another command had this seq")),
        }
    }

    /// How many different commands were executed.
    pub fn executed(&self) -> u64 {
        self.state.lock().unwrap().executed
    }

    pub fn next_seq(&self, commander: CommanderId) -> Seq {
        Seq(self.state.lock().unwrap().last_seq.get(&commander).map_or(1, |last| last + 1))
    }
}

/// What a fake node does with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    Execute,
    Hold,
    Refuse(RefusalCode),
}

/// A node without Paxos.
pub struct FakeNode {
    pub ledger: Arc<Ledger>,
    behaviour: Mutex<Behaviour>,
    held: Mutex<Vec<(Verified<SignedCommand>, Answer)>>,
    arrived: Notify,
    executed: Notify,
}

impl FakeNode {
    pub fn new(behaviour: Behaviour) -> Arc<FakeNode> {
        FakeNode::with_ledger(behaviour, Arc::default())
    }

    pub fn with_ledger(behaviour: Behaviour, ledger: Arc<Ledger>) -> Arc<FakeNode> {
        let (behaviour, held) = (Mutex::new(behaviour), Mutex::default());
        Arc::new(FakeNode { ledger, behaviour, held, arrived: Notify::new(), executed: Notify::new() })
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Waits until so many commands are held.
    pub async fn holds(&self, count: usize) {
        soon(async {
            loop {
                let arrived = self.arrived.notified();
                if self.held.lock().unwrap().len() >= count {
                    return;
                }
                arrived.await;
            }
        })
        .await;
    }

    pub fn take_held(&self) -> Vec<(Verified<SignedCommand>, Answer)> {
        std::mem::take(&mut *self.held.lock().unwrap())
    }

    /// Executes what is held, the last first.
    pub fn release(&self) {
        for (command, answer) in self.take_held().into_iter().rev() {
            answer.send(self.ledger.execute(&command));
        }
        self.executed.notify_waiters();
    }
}

impl Intake for FakeNode {
    fn submit(&self, command: Verified<SignedCommand>, answer: Answer) {
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Execute => answer.send(self.ledger.execute(&command)),
            Behaviour::Hold => {
                self.held.lock().unwrap().push((command, answer));
                self.arrived.notify_waiters();
            }
            Behaviour::Refuse(code) => answer.send(Err(Refusal::new(code, "so it was asked for"))),
        }
    }

    fn next_seq(&self, app: AppNdx, commander: CommanderId) -> Result<Seq, Refusal> {
        match app == APP {
            true => Ok(self.ledger.next_seq(commander)),
            false => Err(Refusal::new(RefusalCode::UnknownApp, format!("there is no application {app}"))),
        }
    }
}

/// Asked about changes, it has two nodes: one has applied what was executed, of the other nothing is known.
impl Progress for FakeNode {
    fn command(
        &self,
        command: CommandName,
        wait: Duration,
    ) -> BoxFuture<'_, Result<CommandProgress, Refusal>> {
        Box::pin(async move {
            self.next_seq(command.app, command.commander)?;
            let deadline = Instant::now() + wait;
            loop {
                let executed = self.executed.notified();
                if let Some(receipt) = self.ledger.find(command)? {
                    return Ok(CommandProgress::Executed(receipt));
                }
                if tokio::time::timeout_at(deadline, executed).await.is_err() {
                    let held = self.held.lock().unwrap();
                    let waits = held.iter().any(|(held, _)| held.id() == command.id);
                    return Ok(if waits { CommandProgress::Waiting } else { CommandProgress::Unknown });
                }
            }
        })
    }

    fn change(
        &self,
        app: AppNdx,
        _: StateNdx,
        wait: Duration,
    ) -> BoxFuture<'_, Result<ChangeProgress, Refusal>> {
        Box::pin(async move {
            self.next_seq(app, CommanderId::default())?;
            tokio::time::sleep(wait).await;
            let node = |name: &str, is_up, state_ndx| NodeProgress {
                id: NodeId(Digest::of(&[name.as_bytes()])),
                name: name.to_owned(),
                is_up,
                state_ndx,
            };
            let executed = StateNdx(self.ledger.executed());
            Ok(ChangeProgress { nodes: vec![node("here", true, Some(executed)), node("there", false, None)] })
        })
    }
}

/// A certificate for `localhost` and who trusts it.
pub struct Tls {
    pub server: Arc<rustls::ServerConfig>,
    pub client: Arc<rustls::ClientConfig>,
    pub identity: TlsIdentity,
    directory: TempDir,
}

impl Tls {
    pub fn new() -> Tls {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let authority = CertificateAuthority::generate("test").unwrap();
        authority.save_new(path("ca.pem"), path("ca.key")).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        for node in ["node", "another"] {
            let key = SigningKey::generate(Algorithm::Ed25519);
            key.save_new(path(&format!("{node}.key"))).unwrap();
            std::fs::write(path(&format!("{node}.pem")), authority.issue_node(key.public(), &names).unwrap())
                .unwrap();
        }
        let identity = TlsIdentity::load(path("node.pem"), path("node.key"), path("ca.pem")).unwrap();
        let client = Arc::new(backend_client(&load_roots(path("ca.pem")).unwrap(), &[]).unwrap());
        Tls { server: Arc::new(identity.backend_server(&[]).unwrap()), client, identity, directory }
    }

    /// A file: `ca`, `node` or `another`, each with `.pem` and `.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn try_start_with(
        &self,
        addr: SocketAddr,
        node: &Arc<FakeNode>,
        door: &Arc<FakeDoor>,
    ) -> Result<Backend, BackendError> {
        let pool = Arc::new(VerifyPool::new(Arc::new(Verifier::new(CLUSTER)), 1).unwrap());
        let config = BackendConfig { addr, tls: self.server.clone(), cluster: CLUSTER, pool };
        Backend::start(config, node.clone(), door.clone(), node.clone())
    }

    pub fn try_start(&self, addr: SocketAddr, node: &Arc<FakeNode>) -> Result<Backend, BackendError> {
        self.try_start_with(addr, node, &FakeDoor::new())
    }

    /// A port that takes files.
    pub fn start_with(&self, door: &Arc<FakeDoor>) -> Backend {
        let node = FakeNode::new(Behaviour::Execute);
        self.try_start_with("127.0.0.1:0".parse().unwrap(), &node, door).unwrap()
    }

    pub fn start(&self, node: &Arc<FakeNode>) -> Backend {
        self.try_start("127.0.0.1:0".parse().unwrap(), node).unwrap()
    }
}

/// A body with an operation of the fake application.
pub fn body(key: &SigningKey, seq: u64, operation: impl Into<Vec<u8>>) -> CommandBody {
    CommandBody {
        cluster: CLUSTER,
        app: APP,
        commander: CommanderId(key.id()),
        seq: Seq(seq),
        not_after: None,
        expected: None,
        operation: operation.into().into(),
    }
}

/// A signed command with that operation.
pub fn command(key: &SigningKey, seq: u64, operation: impl Into<Vec<u8>>) -> SignedCommand {
    seal(key, body(key, seq, operation).encode().unwrap().to_vec())
}

/// A ticket for a file, or for what is said to be one.
pub fn ticket(key: &SigningKey, content: ContentKey, bytes: u64) -> SignedCommand {
    command(key, 0, ContentTicket { content, bytes }.encode())
}

/// A file of so many bytes that is like no other; no piece is like another one.
pub fn file_of(bytes: usize, seed: u64) -> Bytes {
    let words = (0..u64::MAX).map(|n| (n ^ (seed << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    words.flatten().take(bytes).collect()
}

/// Signs bytes as they are.
pub fn seal(key: &SigningKey, body: Vec<u8>) -> SignedCommand {
    let signature = key.sign(&body).into();
    SignedCommand { body: body.into(), signature, key: key.public().spki_der().clone() }
}

/// A body that declares and holds an operation of `bytes`, also where that is too much.
pub fn body_of(key: &SigningKey, seq: u64, bytes: usize) -> Vec<u8> {
    let mut encoded = body(key, seq, Vec::new()).encode().unwrap().to_vec();
    let header = encoded.len();
    encoded[header - 4..].copy_from_slice(&u32::try_from(bytes).unwrap().to_be_bytes());
    encoded.resize(header + bytes, 0);
    encoded
}
