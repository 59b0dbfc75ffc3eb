//! How long one put takes through the machine, everything but signatures and I/O:
//! `cargo run --release -p synod-app-kv --example put_speed`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use synod_app_kv::{Kv, KvOp};
use synod_machine::Machine;
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, CommandBody, CommanderId, Decree, Digest, Seq, SignedCommand, Slot,
    TimeMs,
};

const PUTS: u64 = 400_000;
const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 256;

fn main() {
    println!("{PUTS} puts of {VALUE_BYTES}-byte values, {KEYS} keys, a view published after each decree");
    for batch in [1, 16, 256, 1024] {
        let decrees = decrees(batch);
        let mut machine = founded();
        let start = Instant::now();
        let mut view = machine.view();
        for (slot, decree) in (1..).zip(&decrees) {
            machine.apply(Slot(slot), decree);
            // The one before is dropped, as when a reader's pointer is replaced.
            view = machine.view();
        }
        let elapsed = start.elapsed();
        assert_eq!(view.state_ndx.0, PUTS);
        let nanos = elapsed.as_nanos() / u128::from(PUTS);
        println!("{batch:>5} commands a decree: {}.{:03} µs a put", nanos / 1000, nanos % 1000);
    }
    hashing();
}

fn key() -> Bytes {
    Bytes::from_static(b"a public key")
}

fn commander() -> CommanderId {
    CommanderId(Digest::of(&[&key()]))
}

fn founded() -> Machine {
    let administrators = [(commander(), key(), "bench".to_owned())];
    Machine::new(ClusterId::default(), AppNdx(1), &administrators, Box::new(Kv::new()))
}

fn put(n: u64) -> SignedCommand {
    // A multiplier without a common factor with the number of keys visits all of them out of order.
    let key = format!("key-{:012}", n * 7_919 % KEYS);
    let op = KvOp::Put { key: key.into(), value: vec![7; VALUE_BYTES].into() };
    let body = CommandBody {
        cluster: ClusterId::default(),
        app: AppNdx(1),
        commander: commander(),
        seq: Seq(n + 1),
        not_after: None,
        expected: None,
        operation: op.encode().into(),
    };
    let body = body.encode().expect("the operation is small");
    SignedCommand { body, signature: Bytes::new(), key: Bytes::new() }
}

fn decrees(batch: u64) -> Vec<Decree> {
    let decree = |first: u64| {
        let commands = (first..PUTS.min(first + batch)).map(put).collect();
        Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(1), commands }))
    };
    (0..PUTS.div_ceil(batch)).map(|n| decree(n * batch)).collect()
}

/// The part that is SHA3-256: the command id, the outcome and the chain's link.
fn hashing() {
    let body = put(0).body;
    let start = Instant::now();
    let mut digest = Digest::default();
    for _ in 0..PUTS {
        let id = Digest::of(&[&body]);
        let outcome = Digest::of(&[&[0; 8]]);
        digest = Digest::of(&[&digest.0, &id.0, &outcome.0]);
    }
    let nanos = start.elapsed().as_nanos() / u128::from(PUTS);
    println!("of which hashing: {}.{:03} µs ({})", nanos / 1000, nanos % 1000, digest.short());
}
