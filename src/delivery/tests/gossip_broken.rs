//! The checks of gossip find what they are for: each fault, switched on, shows in one of the seeds.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod rumour;

use rumour::{converge, storm};
use synod_delivery::broken::{Broken, Fault};

#[test]
fn who_takes_older_words_goes_back() {
    let found = (0..100).find_map(|seed| storm(seed, Broken::on(Fault::OlderWordTaken)).err());
    assert!(found.as_ref().is_some_and(|found| found.contains("went back")), "{found:?}");
}

#[test]
fn who_ignores_his_later_lives_is_not_heard() {
    let found = (0..100).find_map(|seed| storm(seed, Broken::on(Fault::LaterLifeIgnored)).err());
    assert!(found.as_ref().is_some_and(|found| found.contains("not everybody knows what")), "{found:?}");
}

#[test]
fn where_nothing_is_pulled_it_takes_longer() {
    let rounds = |broken| (0..50).map(|seed| converge(33, 1, 0, seed, broken).0).max();
    assert!(rounds(Broken::on(Fault::NothingPulled)) > rounds(Broken::NOT));
}
