//! How long it takes to make a snapshot of a state with a full history and 100,000 keys, and to make the state of it again:
//! `cargo run --release -p synod-app-kv --example restore_speed`.

use std::time::Instant;

use bytes::Bytes;
use synod_app_kv::{Kv, KvOp};
use synod_machine::{Application as _, Context};
use synod_types::limits::KV_HISTORY_STATES_MAX;
use synod_types::{CommanderId, Digest, LeaseMs, StateNdx, TimeMs};

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 256;

fn main() {
    let mut kv = Kv::new();
    timed("1,000,000 puts", || {
        for n in 1..=KV_HISTORY_STATES_MAX {
            let context = Context {
                state_ndx: StateNdx(n),
                time: TimeMs(n),
                clock: LeaseMs(0),
                commander: CommanderId::default(),
            };
            // In no order, each key as often as another.
            let key = format!("{:08}", n.wrapping_mul(7919) % KEYS);
            let put = KvOp::Put { key: key.into(), value: Bytes::from(vec![b'v'; VALUE_BYTES]) };
            kv.apply(&context, &put.encode()[1..]).expect("a put is executed");
        }
    });
    let snapshot = timed("a snapshot", || kv.snapshot());
    println!("{} MiB", snapshot.len() >> 20);
    timed("its hash", || Digest::of(&[&snapshot]));
    let mut restored = Kv::new();
    timed("a state of it", || restored.restore(&snapshot)).expect("it is a snapshot");
    assert!(restored.snapshot() == snapshot, "it is the same state");
}

/// Says how long something took on this thread's processor.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (cpu, begun) = (cpu_ns(), Instant::now());
    let done = work();
    println!("{what}: {} ms of processor, {:.0?}", (cpu_ns() - cpu) / 1_000_000, begun.elapsed());
    done
}

fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux system");
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds on a processor come first")
}
