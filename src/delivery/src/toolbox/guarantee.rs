//! What is promised of each message by itself; [`super::order`] says in which order they come.

use synod_types::configuration::is_majority;

use super::broken::{Broken, Fault};

/// What a message's broadcast promises. Each includes the one before.
///
/// None delivers a message twice, or one that nobody broadcast. "Correct" is who never crashes and is never given up; "all"
/// are those to whom the message is owed, which its audience names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Guarantee {
    /// If the source is correct, all correct ones deliver it (section 3.2). Where the source dies, some do, and some do not.
    BestEffort,
    /// If any correct one delivers it, all correct ones do, whatever becomes of the source (section 3.3).
    ///
    /// Lazy (section 3.3.2): whoever has a message of a source that he suspects relays it, so that n messages are enough as
    /// long as nothing fails, where eager relaying takes n². A wrong suspicion costs some messages that are not needed.
    /// What a relay needs of its detector is that the dead are suspected in the end.
    Reliable,
    /// If anyone delivers it, who may crash right then, all correct ones do (section 3.4).
    ///
    /// A majority has to have it first (section 3.4.3), and whoever of them lives relays it, delivered or not. It holds as
    /// long as fewer than half of the members crash, since who starts again has forgotten what others counted on.
    Uniform,
}

impl Guarantee {
    /// Whether messages are relayed for sources that may be dead.
    pub(crate) fn relays(self, broken: Broken) -> bool {
        self > Guarantee::BestEffort && !broken.is(Fault::NothingRelayed)
    }

    /// Whether a message may be delivered that so many of the members have.
    pub(crate) fn is_met(self, holders: usize, members: usize, broken: Broken) -> bool {
        match self {
            Guarantee::BestEffort | Guarantee::Reliable => true,
            Guarantee::Uniform if broken.is(Fault::UniformAtReceipt) => true,
            Guarantee::Uniform if broken.is(Fault::QuorumOffByOne) => is_majority(holders + 1, members),
            Guarantee::Uniform => is_majority(holders, members),
        }
    }
}
