//! Faults on purpose: proof that the tests would find them. Without the cargo feature `broken`, which only this crate's own
//! test enables, every question here is answered `false` at compile time.

/// One line of the map or of the check of a proof, wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// Where all keys of a part but one are removed, the part stays: equal maps have other roots.
    LonelyKept,
    /// A removal takes nothing away.
    NothingRemoved,
    /// What lies deeper than two steps is not hashed into the root again.
    DeepUnhashed,
    /// The leaf's digest leaves out whose leaf it is.
    LeafWithoutKey,
    /// A proof may end in any root.
    AnyRoot,
    /// What a proof shows of another key is taken for this one's.
    AnyKey,
    /// Neighbours count in whatever order they come.
    NeighboursSorted,
    /// A tree is brought up to date from what another state held.
    WrongBase,
}

/// Which fault is switched on.
pub type Broken = synod_types::broken::Broken<Fault>;
