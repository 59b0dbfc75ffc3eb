//! Faults on purpose: proof that the tests would find them. Without the cargo feature `broken`, which only this crate's
//! own test enables, every question here is answered `false` at compile time.

/// One line of the protocol, wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// A node counts itself as a holder before the file is durable.
    OwnBeforeDurable,
    /// One node less than a majority is enough.
    QuorumOffByOne,
    /// A receipt counts for every file that is awaited.
    ReceiptOfOtherFile,
    /// Nothing is offered a second time, and a peer that comes back is not asked what it holds.
    OffersOnce,
    /// A wrong whole is blamed on nobody.
    WrongWholeForgiven,
    /// A wrong piece is blamed on nobody.
    WrongPieceForgiven,
    /// A donor that does not answer stays the only one.
    FaithfulToSilence,
    /// Pieces that were asked of a peer that went down are never asked of another.
    PiecesOfTheDead,
    /// Pieces are asked for as fast as they are missed.
    NoWindow,
    /// Who holds a file is asked again and again.
    NeverQuiet,
    /// Who lost a file does not look for it.
    LossIgnored,
    /// Gossip: the word that came last counts, and not the newest one.
    OlderWordTaken,
    /// Gossip: nobody is told what he asks for.
    NothingPulled,
    /// Gossip: who hears of a later life of himself goes on with his own.
    LaterLifeIgnored,
    /// Routing: a queue takes everything.
    QueueUnbounded,
    /// Routing: what came last is taken first.
    LastComesFirst,
    /// Routing: a yard that is open is opened again.
    NameGivenTwice,
    /// Routing: who waits for a yard that is gone is not told.
    ReapedSilently,
    /// Routing: who sends to where nobody takes it is not told.
    RefusedSilently,
    /// Routing: who waits for a node that started again is not told.
    LostNotTold,
}

/// Which fault is switched on.
pub type Broken = synod_types::broken::Broken<Fault>;
