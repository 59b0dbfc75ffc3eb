//! A few seeds, as in every change; `sim --seeds` runs many.

use synod_sim::run::run;
use synod_sim::trace::Sink;

#[test]
fn some_seeds_hold() {
    for seed in 1..=40 {
        let report = run(seed, Sink::Silent, None);
        assert_eq!(report.violation, None, "seed {seed}; replay it with sim --seed {seed}");
    }
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    for seed in [1, 2, 3] {
        let (once, again) = (run(seed, Sink::Silent, None), run(seed, Sink::Silent, None));
        assert_eq!((once.trace_hash, once.events), (again.trace_hash, again.events), "seed {seed}");
    }
    assert_ne!(run(1, Sink::Silent, None).trace_hash, run(2, Sink::Silent, None).trace_hash);
}
