//! Faults on purpose in the toolbox, as in [`crate::broken`].

/// One line of the toolbox, wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// What was delivered is delivered again when it comes again.
    DeliveredTwice,
    /// Numbers of a life count as numbers of the life before.
    IncarnationIgnored,
    /// Nothing is sent a second time.
    SentOnce,
    /// Who relays a message leaves out what it says.
    RelayedEmpty,
    /// Nothing is relayed.
    NothingRelayed,
    /// Only what was delivered here is relayed.
    OnlyDeliveredRelayed,
    /// A message is uniform as soon as it is here.
    UniformAtReceipt,
    /// One node less than a majority is enough.
    QuorumOffByOne,
    /// A message counts as stable as soon as it was sent.
    StableWhenSent,
    /// Numbers of one source are delivered as they come.
    FifoIgnored,
    /// Who begins late keeps nothing that its source said earlier for those who are owed it.
    EarlierNotKept,
    /// What other sources said before is not waited for.
    OthersIgnored,
    /// What was never owed to this node is waited for, too.
    ExceptionsIgnored,
    /// A silent node is never suspected.
    NeverSuspects,
    /// A suspicion is never taken back.
    NeverRestores,
    /// The timeout does not grow with mistakes.
    TimeoutFixed,
    /// A sender may have any number of messages under way.
    NoWindow,
    /// Who was given up goes on as if nothing had happened.
    ExpelledGoesOn,
    /// That a life was given up is forgotten where it was not yet heard.
    GivenUpForgotten,
    /// Who hears that messages are settled does not give up whom others gave up before.
    SettledWithoutGivingUp,
    /// Subscribers hear of a message when it arrives.
    SubscribersAtReceipt,
    /// Lamport's clock does not hear of what is delivered.
    LamportAlone,
}

/// Which fault is switched on.
pub type Broken = synod_types::broken::Broken<Fault>;
