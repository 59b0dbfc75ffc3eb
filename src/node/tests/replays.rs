//! Signed commands come back as often as somebody who has recorded them likes, from everywhere and in any order: the same
//! bytes through the same verifier and the same machine as in a node. Each is executed once.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use synod_app_kv::{Kv, KvAnswer, KvOp, KvQuery};
use synod_auth::{Algorithm, SigningKey, Unverified, Verified, Verifier};
use synod_machine::{Application, Founders, Machine};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, CommandBody, CommanderId, Decree, Digest, Level, Receipt, Seq,
    SignedCommand, TimeMs, wire,
};

const CLUSTER: ClusterId = ClusterId(Digest([5; 32]));
const APP: AppNdx = AppNdx(1);
/// Each with commands of its own.
const COMMANDERS: usize = 4;
const COMMANDS: u64 = 250;
/// Copies that come together.
const TOGETHER_MAX: usize = 64;
const REPLAYS: usize = 1_000_000;

/// A replica's way from bytes to state.
struct Replica {
    verifier: Verifier,
    machine: Machine,
    random: StdRng,
    time: u64,
}

/// The bytes of a command, and what was answered first.
struct Recorded {
    bytes: Vec<u8>,
    receipt: Receipt,
}

#[test]
fn a_million_replays_execute_nothing() {
    let begun = Instant::now();
    // One of them signs with RSA.
    let keys: Vec<_> = (0..COMMANDERS)
        .map(|n| SigningKey::generate(if n == 0 { Algorithm::Rsa2048 } else { Algorithm::Ed25519 }))
        .collect();
    let mut replica = Replica::founded_by(&keys);
    let mut recorded: Vec<Recorded> = Vec::new();
    for seq in 1..=COMMANDS {
        for key in &keys {
            let bytes = wire::encode(&sign(key, seq));
            let [applied] = replica.take([&bytes]).try_into().expect("one answer");
            let receipt = applied.0.expect("executed");
            assert!(!applied.1, "it comes for the first time");
            recorded.push(Recorded { bytes, receipt });
        }
    }
    let executed = u64::try_from(recorded.len()).expect("a thousand");
    let chain = replica.machine.state().chain;

    let mut replayed = 0;
    while replayed < REPLAYS {
        let together = replica.random.random_range(1..=TOGETHER_MAX.min(REPLAYS - replayed));
        let drawn: Vec<&Recorded> =
            (0..together).map(|_| &recorded[replica.random.random_range(0..recorded.len())]).collect();
        let answers = replica.take(drawn.iter().map(|recorded| &recorded.bytes));
        for (answer, recorded) in answers.into_iter().zip(drawn) {
            assert!(answer.1, "it is a repeat");
            assert_eq!(answer.0.as_ref(), Ok(&recorded.receipt));
        }
        if replica.random.random_ratio(1, 1000) {
            replica.restart();
        }
        replayed += together;
    }
    let state = replica.machine.state();
    assert_eq!((state.state_ndx.0, state.chain, replica.counter()), (executed, chain, executed));
    eprintln!("{replayed} replays of {} commands in {:.1} s", recorded.len(), begun.elapsed().as_secs_f64());
}

/// Adds one, so that whatever is executed twice shows.
fn sign(key: &SigningKey, seq: u64) -> SignedCommand {
    let body = CommandBody {
        cluster: CLUSTER,
        app: APP,
        commander: CommanderId(key.id()),
        seq: Seq(seq),
        not_after: None,
        expected: None,
        operation: KvOp::Add { key: "counter".into(), delta: 1 }.encode().into(),
    };
    let body = body.encode().expect("it is small");
    let signature = key.sign(&body).into();
    SignedCommand { body: body.into(), signature, key: key.public().spki_der().clone() }
}

impl Replica {
    fn founded_by(keys: &[SigningKey]) -> Replica {
        let administrator = |key: &SigningKey| {
            (CommanderId(key.id()), Bytes::copy_from_slice(key.public().spki_der()), key.id().to_string())
        };
        let founders = Founders {
            administrators: keys.iter().map(administrator).collect(),
            signatures_needed: 1,
            level: Level::NEWEST,
            members: Vec::new(),
        };
        let machine = Machine::new(CLUSTER, APP, &founders, kv());
        Replica { verifier: Verifier::new(CLUSTER), machine, random: StdRng::seed_from_u64(1), time: 0 }
    }

    /// Takes commands as they come in a message, and decrees them; gives each one's result, and whether it was a repeat.
    fn take<'a>(
        &mut self,
        commands: impl IntoIterator<Item = &'a Vec<u8>>,
    ) -> Vec<(Result<Receipt, synod_types::Refusal>, bool)> {
        let commands = commands.into_iter().map(|bytes| Unverified(wire::decode(bytes).expect("a command")));
        let verified = self.verifier.verify_commands(commands.collect());
        let commands = verified
            .into_iter()
            .map(|command| Verified::into_inner(command.expect("it is signed")))
            .collect();
        // Time goes on, and leaders change.
        self.time += 1;
        let term = Ballot { number: self.random.random_range(1..5), ..Ballot::ZERO };
        let decree = Decree::Batch(Arc::new(Batch { term, time: TimeMs(self.time), commands }));
        let slot = self.machine.state().applied.next();
        let applied = self.machine.apply(slot, &decree).expect("its level is known");
        applied.into_iter().map(|one| (one.result, one.repeated)).collect()
    }

    /// What the commands have counted.
    fn counter(&self) -> u64 {
        let state = self.machine.state();
        let query = KvQuery::Get { key: "counter".into(), at: None }.encode();
        let answer = state.app.query(state.state_ndx, &query).expect("it is there");
        match KvAnswer::decode(&answer).expect("an answer of kv") {
            KvAnswer::Get(Some(entry)) => {
                str::from_utf8(&entry.value).expect("digits").parse().expect("a number")
            }
            other => panic!("{other:?}"),
        }
    }

    /// What was verified is forgotten, and the state is the one of a snapshot.
    fn restart(&mut self) {
        self.verifier = Verifier::new(CLUSTER);
        let snapshot = self.machine.snapshot();
        self.machine = Machine::restore(CLUSTER, APP, &snapshot, kv()).expect("its own snapshot");
    }
}

fn kv() -> Box<dyn Application> {
    Box::new(Kv::new())
}
