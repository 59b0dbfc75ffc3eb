//! The checks of the simulated group find what they are for: each fault, switched on, shows in one of the seeds.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod group;
mod hand;

use group::{Promise, run};
use synod_delivery::toolbox::broken::{Broken, Fault};
use synod_delivery::toolbox::{Guarantee, Order};

/// In how many seeds a fault has to show.
const SEEDS: u64 = 1000;

/// The first seed in which it shows, and how.
fn find(fault: Fault, guarantee: Guarantee, order: Order) -> Option<String> {
    (0..SEEDS).find_map(|seed| run(seed, Promise { guarantee, order }, Broken::on(fault)).err())
}

macro_rules! faults {
    ($($name:ident: $fault:ident in $guarantee:ident $order:ident finds $words:literal;)*) => {
        $(#[test]
        fn $name() {
            let found = find(Fault::$fault, Guarantee::$guarantee, Order::$order);
            eprintln!("{:?}: {found:?}", Fault::$fault);
            assert!(found.as_ref().is_some_and(|found| found.contains($words)), "{found:?}");
        })*
    };
}

faults! {
    no_duplication: DeliveredTwice in BestEffort Any finds "twice";
    no_creation: RelayedEmpty in Reliable Any finds "nobody broadcast";
    ids_survive_restarts: IncarnationIgnored in BestEffort Any finds "never delivered";
    validity: SentOnce in BestEffort Any finds "never delivered";
    agreement: NothingRelayed in Reliable Any finds "never delivered";
    agreement_of_those_who_were_told_too_early: StableWhenSent in Reliable Any finds "never delivered";
    uniform_agreement_at_receipt: UniformAtReceipt in Uniform Any finds "never delivered";
    uniform_agreement_of_less_than_a_majority: QuorumOffByOne in Uniform Any finds "never delivered";
    fifo_order: FifoIgnored in Reliable Fifo finds "before";
    causal_order: OthersIgnored in Reliable Causal finds "before its cause";
    causal_order_holds_up_nobody: ExceptionsIgnored in Reliable Causal finds "never delivered";
    the_dead_are_suspected: NeverSuspects in BestEffort Any finds "does not suspect";
    the_living_are_restored: NeverRestores in BestEffort Any finds "still suspects";
    mistakes_end: TimeoutFixed in BestEffort Any finds "goes on suspecting";
    a_window_ends: NoWindow in BestEffort Any finds "under way";
    who_was_given_up_stops: ExpelledGoesOn in Reliable Any finds "was given up";
    subscribers_hear_of_deliveries: SubscribersAtReceipt in Reliable Causal finds "before";
    causes_are_earlier: LamportAlone in Reliable Causal finds "by Lamport's clock";
}

/// They show in one of some thousand seeds, so each is looked for where it is.
#[test]
fn faults_that_are_rare() {
    let rare = [
        (Fault::GivenUpForgotten, Order::Causal, &[2612, 4116][..]),
        (Fault::EarlierNotKept, Order::Causal, &[967, 2603]),
        (Fault::SettledWithoutGivingUp, Order::Fifo, &[17_557]),
    ];
    for (fault, order, seeds) in rare {
        for &seed in seeds {
            let promise = Promise { guarantee: Guarantee::Reliable, order };
            let found = run(seed, promise, Broken::on(fault)).err();
            assert!(found.is_some(), "{fault:?} in seed {seed}");
        }
    }
}

/// Too rare for seeds: three have to have it, two of them die, and the third knows of nobody.
#[test]
fn uniform_agreement_of_what_is_pending() {
    let left = hand::two_deliverers_die(Broken::on(Fault::OnlyDeliveredRelayed));
    assert!(left.iter().all(|(_, delivered)| delivered.is_empty()), "{left:?}");
}
