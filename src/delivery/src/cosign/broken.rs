//! Faults on purpose in the way to certificates, as in [`crate::broken`].

/// One line of the protocol, wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// One member less is enough.
    QuorumOffByOne,
    /// Just so many have to have signed, and not more.
    ExactlyEnough,
    /// A word that comes again counts again.
    RepeatsCount,
    /// A word counts, whatever it says.
    AnyWordCounts,
    /// Who is no member counts.
    StrangersCount,
    /// A certificate from elsewhere counts as one of the members whom it names.
    MembersNotLookedUp,
    /// A certificate that ends an epoch needs nobody of before.
    FormerNotAsked,
    /// A certificate from elsewhere waits for the last word here.
    CommitWaitsForWords,
    /// Nothing is sent a second time.
    SentOnce,
    /// A certificate is shown before it is stored.
    ShownUnstored,
    /// An older certificate takes the place of a newer one.
    OlderTaken,
    /// A word that differs is dropped, and nobody is named.
    ConflictIgnored,
    /// A state that ends an epoch is given up once a newer one is certified.
    HandOverGivenUp,
}

/// Which fault is switched on.
pub type Broken = synod_types::broken::Broken<Fault>;
