//! The checks find what they are for: each fault, switched on, shows in one of the seeds.

mod world;

use synod_merkle::broken::{Broken, Fault};

/// In how many seeds a fault has to show.
const SEEDS: u64 = 200;

macro_rules! faults {
    ($($name:ident: $fault:ident in $run:expr, finds $words:literal;)*) => {
        $(#[test]
        fn $name() {
            let run: fn(u64, usize, Broken) -> Result<(), String> = $run;
            let found = (0..SEEDS).find_map(|seed| run(seed, 250, Broken::on(Fault::$fault)).err());
            eprintln!("{:?}: {found:?}", Fault::$fault);
            assert!(found.as_ref().is_some_and(|found| found.contains($words)), "{found:?}");
        })*
    };
}

faults! {
    what_is_lonely_stays: LonelyKept in world::run, finds "the root is";
    nothing_is_removed: NothingRemoved in world::run, finds "the root is";
    what_is_deep_is_not_hashed: DeepUnhashed in world::run, finds "the root is";
    a_leaf_is_anybodys: LeafWithoutKey in world::run_without_roots, finds "taken for a proof";
    any_root_will_do: AnyRoot in world::run, finds "taken for a proof";
    any_key_will_do: AnyKey in world::run, finds "a proof of None";
    neighbours_have_no_place: NeighboursSorted in world::run_without_roots, finds "taken for a proof";
    a_tree_begins_anywhere: WrongBase in world::states::run, finds "another state's";
}
