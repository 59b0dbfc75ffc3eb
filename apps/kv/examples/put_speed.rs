//! How long one put takes through the machine, everything but signatures and I/O, by itself and in transactions:
//! `cargo run --release -p synod-app-kv --example put_speed`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use synod_app_kv::{Kv, KvChange, KvOp, KvTxn};
use synod_machine::{Application as _, Founders, Machine};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, CommandBody, CommanderId, Decree, Digest, LeaseMs, Seq, SignedCommand,
    Slot, TimeMs,
};

const PUTS: u64 = 400_000;
const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 256;
const TXN_PUTS: u64 = 100;
const LEASES: u64 = 100_000;

fn main() {
    println!("{PUTS} puts of {VALUE_BYTES}-byte values, {KEYS} keys, a view published after each decree");
    for batch in [1, 16, 256, 1024] {
        run(&format!("{batch:>5} commands a decree"), &decrees(PUTS, batch, put));
    }
    // So many transactions fill a decree.
    let txns = decrees(PUTS / TXN_PUTS, 16, txn);
    run(&format!("   16 transactions of {TXN_PUTS} puts a decree"), &txns);
    hashing();
    leases();
}

fn run(what: &str, decrees: &[Decree]) {
    let mut machine = founded();
    let start = Instant::now();
    let mut view = machine.view();
    for (slot, decree) in (1..).zip(decrees) {
        machine.apply(Slot(slot), decree).expect("its level is known");
        // The one before is dropped, as when a reader's pointer is replaced.
        view = machine.view();
    }
    let elapsed = start.elapsed();
    let commands: usize = decrees.iter().map(|decree| decree.commands().len()).sum();
    assert_eq!(view.state_ndx.0, u64::try_from(commands).expect("a small number"));
    print(what, elapsed.as_nanos() / u128::from(PUTS));
}

fn print(what: &str, nanos: u128) {
    println!("{what}: {}.{:03} µs a put", nanos / 1000, nanos % 1000);
}

fn key() -> Bytes {
    Bytes::from_static(b"a public key")
}

fn commander() -> CommanderId {
    CommanderId(Digest::of(&[&key()]))
}

fn founded() -> Machine {
    let administrators = [(commander(), key(), "bench".to_owned())];
    Machine::new(ClusterId::default(), AppNdx(1), &Founders::each_alone(&administrators), Box::new(Kv::new()))
}

fn key_value(n: u64) -> (Bytes, Bytes) {
    // A multiplier without a common factor with the number of keys visits all of them out of order.
    (format!("key-{:012}", n * 7_919 % KEYS).into(), vec![7; VALUE_BYTES].into())
}

fn put(n: u64) -> KvOp {
    let (key, value) = key_value(n);
    KvOp::Put { key, value }
}

fn txn(n: u64) -> KvOp {
    let put = |n| {
        let (key, value) = key_value(n);
        KvChange::Put { key, value, lease: None }
    };
    let then = (n * TXN_PUTS..(n + 1) * TXN_PUTS).map(put).collect();
    KvOp::Txn(KvTxn { compare: Vec::new(), then, otherwise: Vec::new() })
}

fn command(n: u64, op: &KvOp) -> SignedCommand {
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
    SignedCommand { body: body.into(), signature: Bytes::new(), key: Bytes::new() }
}

fn decrees(commands: u64, batch: u64, op: impl Fn(u64) -> KvOp) -> Vec<Decree> {
    let decree = |first: u64| {
        let commands = (first..commands.min(first + batch)).map(|n| command(n, &op(n))).collect();
        Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(1), commands }))
    };
    (0..commands.div_ceil(batch)).map(|n| decree(n * batch)).collect()
}

/// The part that is SHA3-256: the command id, the outcome and the chain's link.
fn hashing() {
    let body = command(0, &put(0)).body;
    let start = Instant::now();
    let mut digest = Digest::default();
    for _ in 0..PUTS {
        let id = Digest::of(&[&body]);
        let outcome = Digest::of(&[&[0; 8]]);
        digest = Digest::of(&[&digest.0, &id.0, &outcome.0]);
    }
    print(
        &format!("of which hashing, by itself ({})", digest.short()),
        start.elapsed().as_nanos() / u128::from(PUTS),
    );
}

/// What a change of the leader costs where there are as many leases as there can be.
fn leases() {
    let mut kv = Kv::new();
    let context = synod_machine::Context {
        state_ndx: synod_types::StateNdx(0),
        time: TimeMs(1),
        clock: LeaseMs(1),
        commander: commander(),
    };
    for n in 1..=LEASES {
        let context = synod_machine::Context { state_ndx: synod_types::StateNdx(n), ..context };
        kv.apply(&context, &KvOp::GrantLease { ttl_ms: 1_000 + n }.encode()[1..]).expect("there is room");
    }
    let _view = kv.fork();
    let start = Instant::now();
    kv.on_new_term(LeaseMs(2));
    println!("a new term for {LEASES} leases: {} ms", start.elapsed().as_millis());
}
