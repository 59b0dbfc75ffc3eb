//! The checks of routing find what they are for: each fault, switched on, shows in one of the seeds.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod routed;

use routed::storm;
use synod_delivery::broken::{Broken, Fault};

#[test]
fn each_fault_is_found() {
    for (fault, finding) in [
        (Fault::QueueUnbounded, "messages wait"),
        (Fault::LastComesFirst, "behind a later one"),
        (Fault::NameGivenTwice, "two processes have one yard"),
        (Fault::ReapedSilently, "a yard that is gone"),
        (Fault::RefusedSilently, "a yard that nobody has"),
        (Fault::LostNotTold, "a node that started again"),
    ] {
        let found: Vec<_> = (0..100).filter_map(|seed| storm(seed, Broken::on(fault)).err()).collect();
        assert!(found.iter().any(|found| found.contains(finding)), "{fault:?}: {:?}", found.first());
    }
}
