//! A member with a certificate of its own that keeps to no rule: whoever has stolen a node's key is one.
//!
//! It speaks through the mesh like every node, and leads: what it decrees is executed, as a command that is good shows each
//! time. Nothing that is not signed by one who may command is executed all the same, and nobody is stopped.

mod founding;
mod rogue_member;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use founding::Founded;
use rogue_member::Rogue;
use synod_app_kv::{KvAnswer, KvOp, KvQuery};
use synod_auth::{Algorithm, SigningKey, TlsIdentity, sign_checkpoint, sign_statement};
use synod_client::{Client, CommandOptions, Commander};
use synod_gateway::{Consistency, Read};
use synod_machine::{AuthorityOp, Grant, Role};
use synod_node::Node;
use synod_types::message::{AcceptedSlot, GroupBeat};
use synod_types::{
    AppNdx, Ballot, Batch, Certificate, Checkpoint, CheckpointSignature, ClusterId, ContentKey,
    ContentTicket, CosignMessage, Decree, Digest, GroupMessage, Message, Refusal, RefusalCode, Seq,
    SignedCommand, Slot, StateNdx, Statement, StatementSignature, TimeMs,
};

const KV: AppNdx = AppNdx(1);
const ZONES: AppNdx = AppNdx(2);
/// Under this key stands what must never be written.
const FORGED: &str = "forged";

fn put(key: &str, value: &str) -> Bytes {
    KvOp::Put { key: key.as_bytes().to_vec().into(), value: value.as_bytes().to_vec().into() }.encode().into()
}

/// Two honest nodes, and a third one's identity in other hands.
struct Stage {
    founded: Founded,
    nodes: Vec<Node>,
    rogue: Rogue,
    client: Client,
    seq: u64,
}

impl Stage {
    async fn set() -> Stage {
        let founded = Founded::new(3);
        let nodes = vec![founded.start(0).await, founded.start(1).await];
        let client = founded.client(founded.endpoints()[..2].to_vec());
        let rogue = Rogue::start(&founded, 2, &[0, 1]).await;
        Stage { founded, nodes, rogue, client, seq: 0 }
    }

    /// A state that never was, signed by the rogue twice and, it says, by an honest node.
    fn forged_certificate(&self, slot: Slot) -> Certificate {
        let (state_ndx, chain, index) = (StateNdx(slot.0), Digest([6; 32]), ContentKey::of(b"no index"));
        let checkpoint = Checkpoint { app: KV, slot, state_ndx, chain, index };
        let sign = |identity: &TlsIdentity| {
            sign_checkpoint(identity.signing_key(), self.founded.cluster, &checkpoint)
        };
        let own = sign(&self.founded.identity(2));
        let honest = self.founded.identity(0).signing_key().public().spki_der().clone();
        let forged = CheckpointSignature { key: honest, ..own.clone() };
        Certificate { checkpoint, signatures: vec![own.clone(), own, forged] }
    }

    fn commander(&self, key: SigningKey) -> Commander {
        Commander::new(Arc::new(key), self.founded.cluster)
    }

    /// The administrator's next command.
    fn signed(&mut self, operation: Bytes) -> SignedCommand {
        self.seq += 1;
        sign(self.client.commander(), KV, self.seq, operation)
    }

    fn states(&self) -> Vec<StateNdx> {
        self.nodes.iter().map(|node| node.gateway().apps()[0].state_ndx()).collect()
    }

    /// Lets the rogue decree these commands with a good one behind them, and waits until both nodes have executed that:
    /// it alone has made a state.
    async fn executes_one_of(&mut self, bad: &[SignedCommand]) {
        let before = *self.states().iter().max().expect("two nodes");
        let key = format!("control {}", self.seq);
        let good = self.signed(put(&key, "v"));
        let commands = bad.iter().cloned().chain([good]).collect();
        self.rogue.decree(KV, batch(commands, TimeMs(1))).await;
        for node in &self.nodes {
            assert_eq!(get(node, &key, before.next()).await.as_deref(), Some(&b"v"[..]));
            assert_eq!(get(node, FORGED, before.next()).await, None);
        }
        assert_eq!(self.states(), [before.next(); 2], "one command was good");
    }

    /// A client is served, and both nodes have the same history.
    async fn goes_on(&mut self, key: &str) {
        let command = self.signed(put(key, "v"));
        let receipt = self.client.submit(&command).await.expect("executed");
        for node in &self.nodes {
            assert_eq!(get(node, key, receipt.state_ndx).await.as_deref(), Some(&b"v"[..]));
            assert_eq!(get(node, FORGED, receipt.state_ndx).await, None);
            let view = node.gateway().apps()[0].view();
            assert_eq!((view.state_ndx, view.chain), (receipt.state_ndx, receipt.chain));
        }
    }

    async fn end(self) {
        self.client.close().await;
        self.rogue.stop().await;
        for node in self.nodes {
            node.stop().await;
        }
    }
}

async fn get(node: &Node, key: &str, min: StateNdx) -> Option<Vec<u8>> {
    let query = KvQuery::Get { key: key.as_bytes().to_vec().into(), at: None }.encode();
    let read = Read { consistency: Consistency::Local, min: Some(min), wait: Duration::from_secs(30) };
    let answer = node.gateway().query(KV, read, &query).await.expect("the state comes");
    match KvAnswer::decode(&answer.body).expect("an answer of kv") {
        KvAnswer::Get(entry) => entry.map(|entry| entry.value.to_vec()),
        other => panic!("a get is answered by a get, not by {other:?}"),
    }
}

fn sign(who: &Commander, app: AppNdx, seq: u64, operation: Bytes) -> SignedCommand {
    who.sign(app, Seq(seq), operation, CommandOptions::default()).expect("it is small")
}

fn batch(commands: Vec<SignedCommand>, time: TimeMs) -> Decree {
    // The term is part of what the leader makes up.
    let term = Ballot { number: 77, ..Ballot::ZERO };
    Decree::Batch(Arc::new(Batch { term, time, commands }))
}

/// Commands that do not verify, by what is wrong with them.
fn forgeries(stage: &mut Stage) -> Vec<(&'static str, SignedCommand)> {
    let good = stage.signed(put(FORGED, "v"));
    // None of these takes the seq away.
    stage.seq -= 1;
    let flipped = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    };
    let thief = stage.founded.identity(2);
    let thief_key = thief.public_key().spki_der().clone();
    let elsewhere = Commander::new(stage.client.commander().key().clone(), ClusterId(Digest([9; 32])));
    vec![
        ("another signature", SignedCommand { signature: flipped(&good.signature).into(), ..good.clone() }),
        ("another body", SignedCommand { body: flipped(&good.body).into(), ..good.clone() }),
        ("no signature", SignedCommand { signature: Bytes::new(), ..good.clone() }),
        ("no key", SignedCommand { key: Bytes::new(), signature: Bytes::new(), ..good.clone() }),
        ("no body", SignedCommand { body: Bytes::new().into(), ..good.clone() }),
        (
            "signed by the node",
            SignedCommand { signature: thief.signing_key().sign(&good.body).into(), ..good.clone() },
        ),
        (
            "signed by the node, with its key",
            SignedCommand { signature: thief.signing_key().sign(&good.body).into(), key: thief_key, ..good },
        ),
        ("for another cluster", sign(&elsewhere, KV, stage.seq + 1, put(FORGED, "v"))),
        ("for another application", sign(stage.client.commander(), ZONES, 1, put(FORGED, "v"))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_verify_is_not_executed_whatever_carries_it() {
    let mut stage = Stage::set().await;
    stage.executes_one_of(&[]).await;
    for (what, forged) in forgeries(&mut stage) {
        let before = stage.states();
        let decree = batch(vec![forged.clone()], TimeMs(1));
        // A leader's, a follower's, a candidate's and an acceptor's word.
        stage.rogue.decree_unanswered(KV, decree.clone()).await;
        let (ballot, slot) = (stage.rogue.ballot(), Slot(before[0].0 + 100));
        let accepted = vec![AcceptedSlot { slot, ballot: Ballot::CHOSEN, decree: decree.clone() }];
        for message in [
            GroupMessage::CatchUp { from: Slot(1), decrees: vec![decree.clone(); 200] },
            GroupMessage::Promise { ballot, chosen: Slot(1), damaged_through: Slot(0), accepted },
        ] {
            stage.rogue.say(KV, message);
        }
        stage.rogue.send(&Message::Forward { app: KV, hops: 0, commands: vec![forged] });
        assert_eq!(stage.states(), before, "{what}");
        stage.executes_one_of(&[]).await;
    }
    stage.goes_on("after all").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_may_command_leaves_no_trace_even_if_it_is_decreed() {
    let mut stage = Stage::set().await;
    let [writer, scoped, revoked] = [(); 3].map(|()| SigningKey::generate(Algorithm::Ed25519));
    let grant = |key: &SigningKey, scopes: &[&str]| {
        let scopes = scopes.iter().map(ToString::to_string).collect();
        let grant = Grant::unlimited(key.public().spki_der().clone(), "writer", Role::Writer);
        Bytes::from(AuthorityOp::Grant(Grant { scopes, ..grant }).encode())
    };
    for operation in [grant(&writer, &[]), grant(&scoped, &["mine/"]), grant(&revoked, &[])] {
        let command = stage.signed(operation);
        stage.client.submit(&command).await.expect("granted");
    }
    let [writer, scoped, revoked] = [writer, scoped, revoked].map(|key| stage.commander(key));
    let used = sign(&revoked, KV, 1, put("before", "v"));
    stage.client.submit(&used).await.expect("executed");
    let revoke = stage.signed(Bytes::from(AuthorityOp::Revoke { commander: revoked.id() }.encode()));
    let revoke = stage.client.submit(&revoke).await.expect("revoked");
    for node in &stage.nodes {
        get(node, "before", revoke.state_ndx).await;
    }

    let stranger = SigningKey::generate(Algorithm::Ed25519);
    let thief = stage.founded.identity(2).signing_key().to_pem();
    let thief = stage.commander(SigningKey::from_pem(&thief).expect("it was written by us"));
    let admin = stage.client.commander().clone();
    let over = CommandOptions { not_after: Some(TimeMs(0)), expected: None };
    let ticket = ContentTicket { content: ContentKey::of(b"a file"), bytes: 6 }.encode();
    let bad = [
        sign(&thief, KV, 1, put(FORGED, "v")),
        sign(&thief, KV, 1, grant(&stranger, &[])),
        sign(&writer, KV, 1, grant(&stranger, &[])),
        sign(&writer, KV, 2, Bytes::from(AuthorityOp::Revoke { commander: admin.id() }.encode())),
        sign(&scoped, KV, 1, put(FORGED, "v")),
        sign(&revoked, KV, 2, put(FORGED, "v")),
        used,
        admin.sign(KV, Seq(stage.seq + 1), put(FORGED, "v"), over).expect("it is small"),
        sign(&admin, KV, 1, put(FORGED, "v")),
        sign(&admin, KV, stage.seq + 1, ticket.into()),
        sign(&admin, KV, stage.seq + 1, Bytes::from_static(&[9])),
    ];
    // Each by itself, all together, and each again.
    for command in &bad {
        stage.executes_one_of(std::slice::from_ref(command)).await;
    }
    stage.executes_one_of(&bad).await;
    stage.executes_one_of(&[&bad[..], &bad[..]].concat()).await;
    stage.goes_on("after all").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_numbers_and_false_words_stop_nobody() {
    let mut stage = Stage::set().await;
    stage.executes_one_of(&[]).await;
    let own = stage.rogue.ballot();
    let highest = Ballot { number: u64::MAX, ..own };
    let decree = batch(Vec::new(), TimeMs(u64::MAX));
    let far = Slot(u64::MAX);
    let accepted = |slot| vec![AcceptedSlot { slot, ballot: Ballot::CHOSEN, decree: decree.clone() }];
    for ballot in
        [own, highest, Ballot::CHOSEN, Ballot { node: stage.founded.identity(0).node_id(), ..highest }]
    {
        for slot in [Slot(0), Slot(1 << 40), far] {
            for message in [
                GroupMessage::Prepare { ballot, from: slot },
                GroupMessage::Promise {
                    ballot,
                    chosen: Slot(0),
                    damaged_through: slot,
                    accepted: accepted(slot),
                },
                GroupMessage::Accept { ballot, slot, decree: decree.clone(), chosen: Slot(0) },
                GroupMessage::Accepted { ballot, slot },
                GroupMessage::Nack { ballot, promised: highest },
                GroupMessage::CatchUpRequest { from: slot },
                GroupMessage::CatchUp { from: slot, decrees: vec![Decree::Noop; 3] },
                GroupMessage::ReadIndexRequest { read: u64::MAX },
                GroupMessage::ReadIndex { read: u64::MAX, index: slot },
                GroupMessage::Confirm { ballot, round: u64::MAX },
                GroupMessage::Confirmed { ballot, round: u64::MAX },
                GroupMessage::HandOver { ballot, chosen: Slot(0) },
                GroupMessage::RecordRequest { slot },
                GroupMessage::Unreadable { slot },
                GroupMessage::Snapshot { certificate: stage.forged_certificate(slot) },
            ] {
                stage.rogue.say(KV, message.clone());
                stage.rogue.say(AppNdx(u32::MAX), message);
            }
        }
        let beat = GroupBeat { app: KV, ballot, leader: highest, happy: true, chosen: Slot(0) };
        for round in 0..200 {
            stage.rogue.send(&Message::HeartbeatReply { round, groups: vec![beat; 3] });
        }
    }
    stage.rogue.send(&Message::States(vec![
        (KV, StateNdx(u64::MAX), Digest([9; 32])),
        (AppNdx(9), StateNdx(0), Digest([9; 32])),
    ]));
    for slot in [Slot(1), Slot(1 << 40), far] {
        let Certificate { checkpoint, signatures } = stage.forged_certificate(slot);
        for signature in signatures {
            stage.rogue.send(&Message::Checkpoint { checkpoint, signature, asks: true });
        }
    }
    stage.goes_on("numbers").await;

    // Whoever does not lead refuses nothing: the client hears of the execution.
    let command = stage.signed(put("refused", "v"));
    let refusal = Refusal::new(RefusalCode::BadSignature, "says who?");
    let lie = Message::ForwardRefused { app: KV, refused: vec![(command.id(), refusal)] };
    let client = stage.client.clone();
    let mut submitting = tokio::spawn(async move { client.submit(&command).await });
    let answered = loop {
        tokio::select! {
            biased;
            answered = &mut submitting => break answered.expect("it does not panic"),
            () = tokio::task::yield_now() => stage.rogue.send(&lie),
        }
    };
    assert!(answered.is_ok(), "{answered:?}");

    // The end of time is decreed: who commands without an end goes on.
    stage.rogue.decree(KV, batch(Vec::new(), TimeMs(u64::MAX))).await;
    stage.executes_one_of(&[]).await;
    stage.goes_on("the end of time").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_signs_what_is_not_so_is_named_and_counts_for_nothing() {
    let mut stage = Stage::set().await;
    stage.goes_on("signed").await;
    let last = stage.states()[0];
    let certified = async |node: &Node| {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                looks.tick().await;
                let newest = node.gateway().certificate(KV);
                if let Some(certificate) = newest.filter(|newest| newest.statement.state_ndx >= last) {
                    return certificate;
                }
            }
        })
        .await
        .expect("two of three are a majority")
    };
    let truth = certified(&stage.nodes[0]).await.statement;
    assert_eq!(certified(&stage.nodes[1]).await.statement, truth);
    let certified_view = stage.nodes[0].gateway().certified(KV).expect("its state is in memory");
    assert_eq!(certified_view.certificate.statement, truth);
    assert_eq!(
        (certified_view.view.state_ndx, certified_view.view.app.root()),
        (truth.state_ndx, truth.root)
    );

    let own = stage.founded.identity(2);
    let other = stage.founded.identity(0);
    let sign = |identity: &TlsIdentity, statement: &Statement| {
        sign_statement(identity.signing_key(), stage.founded.cluster, statement)
    };
    let lie = Statement { root: Digest([6; 32]), ..truth };
    // In another one's name: nobody signed that, and nobody is named for it.
    let honest = StatementSignature { key: sign(&other, &lie).key, ..sign(&own, &lie) };
    stage.rogue.send(&Message::Cosign(CosignMessage::Prepare { statement: lie, signature: honest.clone() }));
    let certificate = synod_types::StateCertificate {
        statement: lie,
        members: stage.nodes[0].gateway().certificate(KV).expect("it is there").members.clone(),
        signatures: vec![honest, sign(&own, &lie)],
    };
    stage.rogue.send(&Message::Cosign(CosignMessage::Commit { certificate }));
    let signature = sign(&own, &lie);
    stage.rogue.send(&Message::Cosign(CosignMessage::Prepare { statement: lie, signature }));
    for node in &stage.nodes {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let named = async {
            while node.gateway().status().apps[0].conflicting != [own.node_id()] {
                looks.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), named).await.expect("who lies is named");
        assert_eq!(node.gateway().certificate(KV).expect("it is there").statement, truth);
    }
    stage.goes_on("after all").await;
    stage.end().await;
}
