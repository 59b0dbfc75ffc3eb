//! The checks of the simulated world find what they are for: each fault, switched on, shows in one of the seeds.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod world;

use synod_delivery::broken::{Broken, Fault};
use world::run;

/// In how many seeds a fault has to show.
const SEEDS: u64 = 400;

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
    a_node_counts_itself_too_early: OwnBeforeDurable finds "never stored it";
    one_less_than_a_majority: QuorumOffByOne finds "for a majority";
    a_receipt_counts_for_another_file: ReceiptOfOtherFile finds "receipt of another file";
    nothing_is_offered_twice: OffersOnce finds "does not have";
    a_wrong_whole_is_forgiven: WrongWholeForgiven finds "does not have";
    a_wrong_piece_is_forgiven: WrongPieceForgiven finds "asks a liar again";
    the_silent_stay: FaithfulToSilence finds "not quiet";
    the_dead_are_waited_for: PiecesOfTheDead finds "does not have";
    no_window: NoWindow finds "pieces are asked of one node";
    never_quiet: NeverQuiet finds "not quiet";
    a_loss_is_ignored: LossIgnored finds "does not have";
}
