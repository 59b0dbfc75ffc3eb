//! Faults on purpose: proof that the simulator would find them. Without the cargo feature `broken`, which only the
//! simulator's own test enables, every question here is answered `false` at compile time.

/// One line of the machine, wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// A batch with commands ends what has run out before it.
    BatchesExpire,
    /// The lease clock runs on over a no-op.
    NoopsDoNotStop,
    /// The lease clock runs from any leader's batch to any other's.
    TermsAreOne,
    /// What runs out does not get its whole time again in a new term.
    NoTimeAgain,
    /// A snapshot is made without the sessions.
    SnapshotWithoutSessions,
    /// A program goes by the newest rules that it knows, though the application is not on that level.
    RuleBeforeLevel,
}

/// Which fault is switched on.
pub type Broken = synod_types::broken::Broken<Fault>;
