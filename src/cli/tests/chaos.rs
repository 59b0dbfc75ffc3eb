//! A cluster meets each kind of fault of network, processes and clocks once, while clients of every kind work, and all that they were
//! told holds (`synod-chaos`).
//!
//! A schedule is replayed with `SYNOD_CHAOS_SEED=N`. The long proof:
//!
//! ```text
//! cargo run --release -p synod-chaos --features failpoints -- --runs 60 --seconds 60
//! ```

use std::collections::BTreeMap;

use synod_chaos::fault::Kind;
use synod_chaos::run::{Plan, run};
use synod_chaos::schedule::Schedule;

const SEED: &str = "SYNOD_CHAOS_SEED";
const NODES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_were_told_holds_through_each_kind_of_fault() {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    let kinds = Kind::possible(true);
    let schedule = Schedule::of_each_kind(seed, NODES, &kinds);
    eprintln!("to replay this schedule: {SEED}={seed}\n{schedule}");
    let report = run(Plan { seed, nodes: NODES, schedule }).await;
    if let (Some(violation), Some(kept)) = (&report.violation, &report.kept) {
        panic!("{violation}\nthe cluster and its histories are kept in {}", kept.display());
    }
    let figures = &report.figures;
    assert_eq!(figures.storm.faults, kinds.into_iter().map(|kind| (kind, 1)).collect::<BTreeMap<_, _>>());
    assert!(figures.network.lost > 0, "{:?}", figures.network);
    for (what, count) in [
        ("operations", figures.operations),
        ("transfers", figures.transfers),
        ("balances", figures.balances),
        ("repeats", figures.submissions - figures.counted),
        ("leases that were kept alive", figures.kept_alive),
        ("watched states", figures.watched),
        ("reconnects", figures.reconnects),
        ("changes of zones", figures.zone_changes),
        ("DNS answers", figures.dns_answers),
    ] {
        assert!(count > 0, "there were no {what}");
    }
    eprintln!("{report}; {:.1} s", report.seconds);
}
