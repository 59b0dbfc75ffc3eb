//! The checks of the simulated signers find what they are for: each fault, switched on, shows in one of the seeds.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod signers;

use signers::run;
use synod_delivery::cosign::broken::{Broken, Fault};

/// In how many seeds a fault has to show.
const SEEDS: u64 = 1000;

/// The first seed in which it shows, and how.
fn find(fault: Fault) -> Option<String> {
    (0..SEEDS).find_map(|seed| run(seed, Broken::on(fault)).err())
}

macro_rules! faults {
    ($($name:ident: $fault:ident finds $words:literal;)*) => {
        $(#[test]
        fn $name() {
            let found = find(Fault::$fault);
            eprintln!("{:?}: {found:?}", Fault::$fault);
            assert!(found.as_ref().is_some_and(|found| found.contains($words)), "{found:?}");
        })*
    };
}

faults! {
    no_creation_by_less_than_enough: QuorumOffByOne finds "too few have signed";
    no_creation_by_repeats: RepeatsCount finds "too few have signed";
    no_creation_by_other_words: AnyWordCounts finds "did not sign this";
    no_creation_by_strangers: StrangersCount finds "too few have signed";
    agreement_on_the_members: MembersNotLookedUp finds "of what is not so";
    agreement_of_the_former: FormerNotAsked finds "too few of the former";
    validity_of_more_than_enough: ExactlyEnough finds "proves the members up to";
    validity_before_the_last_word: CommitWaitsForWords finds "no certificate of the last state";
    validity_where_messages_get_lost: SentOnce finds "no certificate of the last state";
    durability: ShownUnstored finds "is not stored";
    no_way_back: OlderTaken finds "goes back";
    who_lies_is_named: ConflictIgnored finds "did not name";
    members_are_proved: HandOverGivenUp finds "proves the members up to";
}
