//! A map from keys to digests of what they hold, with one digest for all of it: the root. Against the root alone anybody can
//! check what a single key holds, or that there is no such key, with a proof of some hundred bytes.
//!
//! The map is a trie over the SHA3-256 of keys, four ways at each step, in which a part with one key is that key's leaf. So it
//! has one form for each content, however that came about, and nobody can make it deep by choosing keys. Its bytes are in
//! docs/PROTOCOL.md, "Proofs".
//!
//! Nothing here knows an application, a certificate or where a root comes from, and nothing here does I/O. Start with [`Tree`]
//! (the map), then [`Proof`] (what is checked), and [`Derived`] (how an application has a tree beside its state for the price
//! of what changed).

pub mod broken;
mod derived;
mod node;
mod path;
mod proof;
mod store;
mod tree;
mod update;

pub use derived::{Changes, Derived, Source};
pub use path::Path;
pub use proof::{Leaf, Proof, ProofError, STEPS_MAX, Shown};
pub use synod_types::digest::Messages;
pub use tree::Tree;
