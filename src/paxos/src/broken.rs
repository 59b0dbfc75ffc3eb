//! Protocol faults on purpose: proof that the simulator would find them. Without the cargo feature `broken`, which
//! only the simulator's own test enables, every question here is answered `false` at compile time.

/// One line of the protocol, wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// An acceptor accepts under a ballot below its promise.
    PromiseNotKept,
    /// A promise is not found again after a restart.
    PromiseForgotten,
    /// One vote less than a majority is a quorum.
    QuorumOffByOne,
    /// A new leader re-proposes the accepted decree of the lowest ballot.
    TakeoverLowestBallot,
    /// A new leader does not re-propose what was accepted.
    TakeoverForgetsAccepted,
    /// A leader uses the ballot number that it already promised to another.
    BallotReused,
    /// A damaged slot is reported as empty.
    DamageIsEmpty,
    /// A leader counts its own vote before it is durable.
    OwnVoteBeforeDurable,
    /// A leader counts a vote for another ballot.
    VoteOfOtherBallot,
    /// A learner takes whatever it accepted for chosen once the slot is chosen.
    LearnAnyBallot,
    /// A learner passes over a slot whose decree it does not have.
    ApplyOverHole,
    /// What one node gives is taken for the record that is missing, whichever slot it is of.
    MendsWithAnySlot,
    /// A node gives as a missing record what it has accepted and does not know as chosen.
    MendsFromUnchosen,
    /// A leader takes decrees of its own term from another node's log, so that it may announce as chosen what others
    /// accepted under its ballot and what was not chosen.
    LeaderTakesCatchUp,
    /// A leader proposes in slots behind the one in which it ends the epoch.
    ProposesAfterSeal,
    /// A new leader proposes behind an end of the epoch that it takes over.
    TakeoverPassesSeal,
    /// A new leader ends the epoch where a later leader of the epoch had passed over that.
    TakeoverRevivesSeal,
    /// A node promises and accepts in an epoch before it has everything from before.
    VotesBeforeSync,
    /// A snapshot is installed over a newer state.
    StaleSnapshot,
    /// The log is served from before where it begins.
    ServesWhatIsCut,
    /// A node that installs a snapshot does not note that its log begins there.
    SnapshotWithoutCut,
    /// A leader grants reads without asking whether it still leads.
    ReadWithoutQuorum,
    /// A new leader grants reads before a decree of its own was chosen.
    ReadBeforeBarrier,
    /// A tick goes into a slot before the commands that came earlier.
    TickOvertakes,
    /// Commands get the time at which they go into a slot, and not that at which they came.
    TimeOfProposal,
}

/// Which fault is switched on.
pub type Broken = synod_types::broken::Broken<Fault>;
