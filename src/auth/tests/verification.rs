//! What a verifier takes and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod vectors;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use synod_auth::{Algorithm, SigningKey, Unverified, Verifier, VerifierCounters, VerifyPool};
use synod_types::command::BODY_HEADER_BYTES;
use synod_types::limits::{KEY_DER_BYTES_MAX, OPERATION_BYTES_MAX, SIGNATURE_BYTES_MAX};
use synod_types::message::{AcceptedSlot, GroupMessage};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, CommandBody, CommanderId, Decree, Digest, Message, RefusalCode, Seq,
    SignedCommand, Slot, TimeMs,
};
use vectors::Vector;

const CLUSTER: ClusterId = ClusterId(Digest([3; 32]));
const APP: AppNdx = AppNdx(7);

fn body(commander: Digest, operation: usize) -> CommandBody {
    CommandBody {
        cluster: CLUSTER,
        app: APP,
        commander: CommanderId(commander),
        seq: Seq(1),
        not_after: None,
        expected: None,
        operation: vec![0; operation].into(),
    }
}

fn sign(key: &SigningKey, body: &CommandBody) -> SignedCommand {
    let body = body.encode().unwrap();
    let signature = key.sign(&body).into();
    SignedCommand { body: body.into(), signature, key: key.public().spki_der().clone() }
}

fn command(key: &SigningKey) -> SignedCommand {
    sign(key, &body(key.id(), 10))
}

/// The command in a committed vector.
fn committed(vector: &Vector) -> SignedCommand {
    let key = vector.key().public().spki_der().clone();
    SignedCommand { body: vector.read("body.bin").into(), signature: vector.read("signature.bin"), key }
}

fn flipped(bytes: &Bytes, bit: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}

#[track_caller]
fn refused(verifier: &Verifier, command: &SignedCommand) -> RefusalCode {
    verifier.verify_command(Unverified(command.clone())).expect_err("this has to be refused").code
}

#[test]
fn the_committed_commands_verify_and_are_made_again() {
    for vector in Vector::all() {
        let (key, command) = (vector.key(), committed(&vector));
        assert_eq!(key.id(), vector.commander_id.0);
        assert_eq!(key.sign(&command.body), command.signature);
        let cluster = ClusterId(Digest::of(&[b"a cluster for test vectors\n"]));
        let verified = Verifier::new(cluster).verify_command(Unverified(command.clone())).unwrap();
        assert_eq!(verified.id(), vector.command_id);
        assert_eq!(verified.id(), command.id());
        assert_eq!(verified.body().commander, vector.commander_id);
        assert_eq!(*verified.body(), CommandBody::decode(&command.body).unwrap());
        assert_eq!(*verified, command);
        assert_eq!(verified.into_inner(), command);
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for vector in Vector::all() {
        let command = committed(&vector);
        let verifier = Verifier::new(CommandBody::decode(&command.body).unwrap().cluster);
        // Remembered before, so that what is remembered is no way around the check either.
        verifier.verify_command(Unverified(command.clone())).unwrap();
        let bits = |bytes: &Bytes| 0..bytes.len() * 8;
        for bit in bits(&command.body) {
            let forged = SignedCommand { body: flipped(&command.body, bit).into(), ..command.clone() };
            refused(&verifier, &forged);
        }
        for bit in bits(&command.signature) {
            let forged = SignedCommand { signature: flipped(&command.signature, bit), ..command.clone() };
            assert_eq!(refused(&verifier, &forged), RefusalCode::BadSignature);
        }
        for bit in bits(&command.key) {
            let forged = SignedCommand { key: flipped(&command.key, bit), ..command.clone() };
            assert_eq!(refused(&verifier, &forged), RefusalCode::BadSignature);
        }
        let count = bits(&command.body).len() + bits(&command.signature).len() + bits(&command.key).len();
        let refused = u64::try_from(count).unwrap();
        assert_eq!(verifier.counters(), VerifierCounters { accepted: 1, refused, remembered: 0 });
        verifier.verify_command(Unverified(command)).unwrap();
    }
}

#[test]
fn a_signature_is_for_one_key_one_body_and_one_length() {
    let verifier = Verifier::new(CLUSTER);
    let [key, other] = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519));
    let good = command(&key);
    verifier.verify_command(Unverified(good.clone())).unwrap();
    let wrong_key = SignedCommand { key: other.public().spki_der().clone(), ..good.clone() };
    let wrong_signer = SignedCommand { signature: other.sign(&good.body).into(), ..good.clone() };
    let imposter = sign(&other, &body(key.id(), 10));
    let other_body = SignedCommand { body: body(key.id(), 11).encode().unwrap().into(), ..good.clone() };
    let none = SignedCommand { signature: Bytes::new(), ..good.clone() };
    let short = SignedCommand { signature: good.signature.slice(1..), ..good.clone() };
    let long = SignedCommand { signature: [&good.signature[..], &[0]].concat().into(), ..good.clone() };
    for command in [wrong_key, wrong_signer, imposter, other_body, none, short, long] {
        assert_eq!(refused(&verifier, &command), RefusalCode::BadSignature);
    }
    assert_eq!(verifier.counters(), VerifierCounters { accepted: 1, refused: 7, remembered: 0 });
}

#[test]
fn another_cluster_and_other_bytes_are_refused() {
    let verifier = Verifier::new(CLUSTER);
    let key = SigningKey::generate(Algorithm::Ed25519);
    let elsewhere = CommandBody { cluster: ClusterId(Digest([4; 32])), ..body(key.id(), 10) };
    assert_eq!(refused(&verifier, &sign(&key, &elsewhere)), RefusalCode::WrongCluster);
    let good = command(&key);
    for body in [Bytes::new(), good.body.slice(1..), good.body.slice(..good.body.len() - 1)] {
        let signature = key.sign(&body).into();
        let odd = SignedCommand { body: body.into(), signature, key: good.key.clone() };
        assert_eq!(refused(&verifier, &odd), RefusalCode::Malformed);
    }
    // Bytes that are no key, under their own hash.
    let no_key = Bytes::from_static(b"no key");
    let body = body(Digest::of(&[&no_key]), 10).encode().unwrap();
    let odd = SignedCommand { signature: key.sign(&body).into(), body: body.into(), key: no_key };
    assert_eq!(refused(&verifier, &odd), RefusalCode::Malformed);
}

#[test]
fn the_size_limits_are_exact() {
    let verifier = Verifier::new(CLUSTER);
    let key = SigningKey::generate(Algorithm::Ed25519);
    for operation in [OPERATION_BYTES_MAX - 1, OPERATION_BYTES_MAX] {
        verifier.verify_command(Unverified(sign(&key, &body(key.id(), operation)))).unwrap();
    }
    let mut oversize = sign(&key, &body(key.id(), OPERATION_BYTES_MAX));
    let mut bytes = oversize.body.to_vec();
    bytes.push(0);
    let declared = u32::try_from(OPERATION_BYTES_MAX + 1).unwrap().to_be_bytes();
    bytes[BODY_HEADER_BYTES - 4..BODY_HEADER_BYTES].copy_from_slice(&declared);
    oversize.body = bytes.into();
    oversize.signature = key.sign(&oversize.body).into();
    assert_eq!(refused(&verifier, &oversize), RefusalCode::TooLarge);

    let good = command(&key);
    for (extra, code) in [(0, RefusalCode::BadSignature), (1, RefusalCode::TooLarge)] {
        let signature = vec![0; SIGNATURE_BYTES_MAX + extra].into();
        assert_eq!(refused(&verifier, &SignedCommand { signature, ..good.clone() }), code);
        let key = vec![0; KEY_DER_BYTES_MAX + extra].into();
        assert_eq!(refused(&verifier, &SignedCommand { key, ..good.clone() }), code);
    }
}

fn decree(commands: &[SignedCommand]) -> Decree {
    Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(1), commands: commands.to_vec() }))
}

/// Every message that carries commands, with these.
fn messages(app: AppNdx, commands: &[SignedCommand]) -> Vec<Message> {
    let ballot = Ballot { number: 1, ..Ballot::ZERO };
    let accepted = |slot| AcceptedSlot { slot: Slot(slot), ballot, decree: decree(commands) };
    let group = |message| Message::Group { app, message };
    vec![
        Message::Forward { app, hops: 0, commands: commands.to_vec() },
        group(GroupMessage::Accept { ballot, slot: Slot(1), decree: decree(commands), chosen: Slot(0) }),
        group(GroupMessage::CatchUp { from: Slot(1), decrees: vec![Decree::Noop, decree(commands)] }),
        group(GroupMessage::Promise {
            ballot,
            chosen: Slot(0),
            damaged_through: Slot(0),
            accepted: vec![accepted(1)],
        }),
    ]
}

#[test]
fn every_command_in_a_message_is_verified() {
    let key = SigningKey::generate(Algorithm::Ed25519);
    let good = command(&key);
    let bad = SignedCommand { signature: flipped(&good.signature, 9), ..good.clone() };
    for message in messages(APP, &[good.clone(), good.clone()]) {
        let verifier = Verifier::new(CLUSTER);
        let verified = verifier.verify_message(Unverified(message.clone())).unwrap();
        assert_eq!(*verified, message);
        assert_eq!(verifier.counters(), VerifierCounters { accepted: 2, refused: 0, remembered: 0 });
        verifier.verify_message(Unverified(message)).unwrap();
        assert_eq!(verifier.counters(), VerifierCounters { accepted: 4, refused: 0, remembered: 2 });
    }
    for message in messages(APP, &[good.clone(), bad]) {
        let refusal = Verifier::new(CLUSTER).verify_message(Unverified(message)).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::BadSignature);
    }
    for message in messages(AppNdx(APP.0 + 1), &[good]) {
        let refusal = Verifier::new(CLUSTER).verify_message(Unverified(message)).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Malformed, "signed for another application");
    }
}

#[test]
fn what_carries_no_command_costs_nothing() {
    let verifier = Verifier::new(CLUSTER);
    let ballot = Ballot::ZERO;
    for message in [
        Message::Heartbeat { round: 1 },
        Message::Group { app: APP, message: GroupMessage::Prepare { ballot, from: Slot(1) } },
        Message::Group {
            app: APP,
            message: GroupMessage::Accept { ballot, slot: Slot(1), decree: Decree::Noop, chosen: Slot(0) },
        },
    ] {
        assert_eq!(verifier.verify_message(Unverified(message.clone())).unwrap().into_inner(), message);
    }
    assert_eq!(verifier.counters(), VerifierCounters::default());
}

#[test]
fn what_was_verified_at_entry_is_remembered_in_any_thread() {
    let verifier = Arc::new(Verifier::new(CLUSTER));
    let pool = VerifyPool::new(Arc::clone(&verifier), 2).unwrap();
    let keys = [(); 3].map(|()| SigningKey::generate(Algorithm::Ed25519));
    let commands: Vec<_> = keys.iter().map(command).collect();
    for command in &commands {
        verifier.verify_command(Unverified(command.clone())).unwrap();
    }
    let (done, results) = mpsc::channel();
    for message in messages(APP, &commands) {
        let done = done.clone();
        let job = move |verifier: &Verifier| {
            done.send(verifier.verify_message(Unverified(message)).is_ok()).unwrap();
        };
        pool.submit(job).unwrap();
    }
    for _ in 0..4 {
        assert_eq!(results.recv_timeout(Duration::from_secs(20)), Ok(true));
    }
    assert_eq!(verifier.counters(), VerifierCounters { accepted: 15, refused: 0, remembered: 12 });
}
