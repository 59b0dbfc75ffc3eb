//! Every fault on purpose is found within a number of seeds: the simulator sees what it is there to see.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use synod_machine::broken as machine;
use synod_paxos::broken::{Broken, Fault};
use synod_sim::broken::{DriverFault, Mistake};
use synod_sim::run::{Report, run_caught};
use synod_sim::scenario::{ScenarioError, play_with};

/// Seeds within which each must be found.
const SEEDS_MAX: u64 = 5000;
/// Seeds that one thread takes at a time.
const CHUNK: u64 = 4;

const CORE: [Fault; 18] = [
    Fault::PromiseNotKept,
    Fault::PromiseForgotten,
    Fault::QuorumOffByOne,
    Fault::TakeoverLowestBallot,
    Fault::TakeoverForgetsAccepted,
    Fault::BallotReused,
    Fault::DamageIsEmpty,
    Fault::OwnVoteBeforeDurable,
    Fault::LearnAnyBallot,
    Fault::ApplyOverHole,
    Fault::ProposesAfterSeal,
    Fault::StaleSnapshot,
    Fault::ServesWhatIsCut,
    Fault::SnapshotWithoutCut,
    Fault::ReadWithoutQuorum,
    Fault::ReadBeforeBarrier,
    Fault::TickOvertakes,
    Fault::TimeOfProposal,
];

const MACHINE: [machine::Fault; 5] = [
    machine::Fault::BatchesExpire,
    machine::Fault::NoopsDoNotStop,
    machine::Fault::NoTimeAgain,
    machine::Fault::SnapshotWithoutSessions,
    machine::Fault::RuleBeforeLevel,
];

const DRIVER: [DriverFault; 13] = [
    DriverFault::AcknowledgeBeforeSync,
    DriverFault::DurableBeforeSync,
    DriverFault::ReadBeforeApplied,
    DriverFault::DamageReadAsEmpty,
    DriverFault::DamagedEndCutOff,
    DriverFault::LostEndUnnoticed,
    DriverFault::AcceptedTakenForChosen,
    DriverFault::TimeOfTheWall,
    DriverFault::PausesCount,
    DriverFault::NoTicks,
    DriverFault::CutWithoutSnapshot,
    DriverFault::LostSnapshotIsEmpty,
    DriverFault::LostDiskComesBack,
];

/// The first seed, of those that were tried, at which a mistake was found.
fn find(mistake: Mistake) -> Option<Report> {
    let next = AtomicU64::new(1);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let search = || {
        loop {
            let first = next.fetch_add(CHUNK, Ordering::Relaxed);
            if first > SEEDS_MAX {
                return None;
            }
            let violates = |seed| Some(run_caught(seed, Some(mistake))).filter(|r| r.violation.is_some());
            if let Some(report) = (first..first + CHUNK).find_map(violates) {
                next.store(SEEDS_MAX, Ordering::Relaxed);
                return Some(report);
            }
        }
    };
    thread::scope(|scope| {
        let searches: Vec<_> = (0..threads).map(|_| scope.spawn(search)).collect();
        let found = searches.into_iter().filter_map(|search| search.join().expect("searches do not panic"));
        found.min_by_key(|report| report.seed)
    })
}

#[test]
fn every_mistake_is_found() {
    let core = CORE.iter().map(|&fault| (format!("{fault:?}"), Mistake::Core(Broken::on(fault))));
    let of_machine = |&fault: &machine::Fault| Mistake::Machine(machine::Broken::on(fault));
    let machine = MACHINE.iter().map(|fault| (format!("{fault:?}"), of_machine(fault)));
    let driver = DRIVER.iter().map(|&fault| (format!("{fault:?}"), Mistake::Driver(fault)));
    let mut missed = Vec::new();
    for (name, mistake) in core.chain(machine).chain(driver) {
        match find(mistake) {
            Some(Report { seed, violation: Some(violation), .. }) => {
                println!("{name:<24} found at seed {seed:>4}: {}", violation.check);
            }
            _ => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}

/// Faults that need more coincidence than seeds bring about soon: the scenario of each must not go well with it.
#[test]
fn rare_mistakes_are_found_by_their_scenarios() {
    let shown = [
        (
            Mistake::Core(Broken::on(Fault::MendsWithAnySlot)),
            include_str!("../scenarios/each-answer-mends-its-own-slot.txt"),
        ),
        (
            Mistake::Core(Broken::on(Fault::MendsFromUnchosen)),
            include_str!("../scenarios/what-is-not-known-as-chosen-mends-nothing.txt"),
        ),
        (
            Mistake::Core(Broken::on(Fault::VoteOfOtherBallot)),
            include_str!("../scenarios/vote-for-an-earlier-ballot-does-not-count.txt"),
        ),
        (
            Mistake::Core(Broken::on(Fault::LeaderTakesCatchUp)),
            include_str!("../scenarios/leader-takes-nothing-from-another-log.txt"),
        ),
        (
            Mistake::Core(Broken::on(Fault::TakeoverPassesSeal)),
            include_str!("../scenarios/nothing-is-proposed-behind-the-end-of-an-epoch.txt"),
        ),
        (
            Mistake::Core(Broken::on(Fault::TakeoverRevivesSeal)),
            include_str!("../scenarios/an-end-that-was-passed-over-ends-nothing.txt"),
        ),
        (
            Mistake::Core(Broken::on(Fault::VotesBeforeSync)),
            include_str!("../scenarios/who-has-not-everything-votes-in-no-new-epoch.txt"),
        ),
        (
            Mistake::Machine(machine::Broken::on(machine::Fault::TermsAreOne)),
            include_str!("../scenarios/former-leaders-tick-ends-nothing.txt"),
        ),
    ];
    for (mistake, text) in shown {
        let steps = text.split("---").next().expect("the steps come first");
        let played = play_with(steps, Some(mistake));
        match played {
            Err(ScenarioError::Violation { violation, .. }) => {
                println!("{mistake:?} found: {}", violation.check)
            }
            Err(ScenarioError::Unexpected { what, .. }) => println!("{mistake:?} found: {what}"),
            other => panic!("{mistake:?} goes unnoticed: {other:?}"),
        }
    }
}
