//! How long one put takes through the machine, everything but signatures and I/O, by itself and in transactions:
//! `cargo run --release -p synod-app-kv --example put_speed`.

use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_app_kv::{Kv, KvChange, KvOp, KvQuery, KvTxn};
use synod_machine::{Application as _, Context, Founders, Machine, View};
use synod_types::{
    AppNdx, Ballot, Batch, ClusterId, CommandBody, CommanderId, Decree, Digest, LeaseMs, Seq, SignedCommand,
    Slot, StateNdx, TimeMs,
};
use tikv_jemallocator::Jemalloc;

/// As in the program.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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
    roots();
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

/// Who asks for roots.
#[derive(Clone, Copy)]
enum Roots {
    Nobody,
    /// Whoever executes the commands.
    Here,
    /// Another thread, as at a node.
    Beside,
}

/// What it costs that every key can be proved: a root every so many commands, as certificates ask for it, in turn with the same
/// commands without, when all keys are there.
fn roots() {
    const ROUNDS: usize = 5;
    const BATCH: u64 = 16;
    println!(
        "with and without roots, {BATCH} commands a decree, in turn, the median of {ROUNDS} rounds, µs a put"
    );
    println!("a root every  without, by the clock  roots by another thread  processor's time of a root");
    let decrees = decrees(PUTS, BATCH, put);
    for every in [1_024, 8_192, 65_536, 131_072] {
        let kinds = [Roots::Nobody, Roots::Here, Roots::Beside];
        let mut costs = kinds.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (costs, kind) in costs.iter_mut().zip(kinds) {
                costs.push(rooted(&decrees, BATCH, every, kind));
            }
        }
        let median = |kind: usize, of: fn(&Cost) -> f64| {
            let mut costs: Vec<f64> = costs[kind].iter().map(of).collect();
            costs.sort_by(f64::total_cmp);
            costs[ROUNDS / 2]
        };
        let (without, rooting, beside) =
            (median(0, |cost| cost.taken), median(1, |cost| cost.rooting), median(2, |cost| cost.taken));
        println!(
            "{every:>12}  {without:>21.2}  {beside:>11.2} ({:>+6.1} %)  {rooting:>13.2} ({:>5.1} % of a put)",
            100.0 * (beside / without - 1.0),
            100.0 * rooting / without
        );
    }

    let mut kv = Kv::new();
    for n in 0..KEYS {
        let state_ndx = StateNdx(n + 1);
        let context = Context { state_ndx, time: TimeMs(1), clock: LeaseMs(1), commander: commander() };
        kv.apply(&context, &put(n).encode()[1..]).expect("there is room");
    }
    let mut restored = Kv::new();
    let before = resident();
    restored.restore(&kv.snapshot()).expect("its own snapshot");
    drop(kv);
    let without = resident();
    let start = Instant::now();
    let root = restored.root();
    println!("the first root of {KEYS} keys after a restore ({}): {:?}", root.short(), start.elapsed());
    println!("resident: {before} before the restore, {without} without the root, {} with it", resident());
    let start = Instant::now();
    for n in 0..1000 {
        restored.query(StateNdx(1), &KvQuery::Prove { key: key_value(n).0 }.encode()).expect("a query");
    }
    println!("a proof: {:?}", start.elapsed() / 1000);
}

/// Microseconds a put.
struct Cost {
    /// By the clock.
    taken: f64,
    /// Of the processor, in roots.
    rooting: f64,
}

/// What commands cost when all keys are there.
fn rooted(decrees: &[Decree], batch: u64, root_every: usize, roots: Roots) -> Cost {
    let mut machine = founded();
    let mut decrees = (1..).zip(decrees);
    // So many put each key once.
    let filled = usize::try_from(KEYS / batch).expect("a small number");
    for (slot, decree) in decrees.by_ref().take(filled) {
        machine.apply(Slot(slot), decree).expect("its level is known");
    }
    let mut view = machine.view();
    view.app.root();
    let (due, states) = mpsc::channel::<View>();
    let beside = thread::spawn(move || states.iter().for_each(|view| _ = view.app.root()));
    let (mut puts, mut since, mut rooting) = (0, 0, Duration::ZERO);
    let begun = Instant::now();
    let mut taken = Duration::ZERO;
    for (slot, decree) in decrees {
        machine.apply(Slot(slot), decree).expect("its level is known");
        view = machine.view();
        since += decree.commands().len();
        if since >= root_every {
            let start = processor();
            match roots {
                Roots::Nobody => {}
                Roots::Here => _ = view.app.root(),
                Roots::Beside => due.send(machine.view()).expect("it waits for more"),
            }
            rooting += processor() - start;
            (puts, since, taken) = (puts + since, 0, begun.elapsed());
        }
    }
    drop(due);
    beside.join().expect("it ends with its work");
    let puts = f64::from(u32::try_from(puts).expect("a small number"));
    let each = |time: Duration| time.as_secs_f64() * 1e6 / puts;
    Cost { taken: each(taken), rooting: each(rooting) }
}

/// How long this thread has had a processor, where the system tells: what waits for one on a busy machine costs nothing.
fn processor() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| start.elapsed(), Duration::from_nanos)
}

/// Memory of this process, where the system tells.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
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
