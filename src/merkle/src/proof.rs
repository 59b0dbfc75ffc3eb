//! What shows what a key holds to somebody who has the root and nothing else.

use serde::{Deserialize, Serialize};
use synod_types::Digest;

use crate::broken::{Broken, Fault};
use crate::node::{FORK, LEAF, NOTHING};
use crate::path::{OTHERS, Path};

/// Steps of the longest proof.
pub const STEPS_MAX: usize = Path::STEPS;

/// A proof: the way from the root to where the key's leaf is, or would be.
///
/// Among a million keys it has about ten steps of 96 bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// For each step from the root the digests of the three parts that the key is not in, in their order. Zeros stand for a
    /// part without keys.
    pub steps: Vec<[Digest; 3]>,
    /// What is there: the key's leaf, another key's, which shows that there is no such key, or nothing, which shows it as well.
    pub leaf: Option<Leaf>,
}

/// A key, by its path, and the digest of what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leaf {
    /// Whose leaf it is: SHA3-256 of the key.
    pub path: Path,
    /// What it holds.
    pub value: Digest,
}

/// Why something is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// More than [`STEPS_MAX`].
    #[error("the proof has {0} steps; no key has more than {STEPS_MAX}")]
    TooLong(usize),
    /// It ends in the leaf of a key that cannot be there.
    #[error("the proof ends in the leaf of another key, which does not belong there")]
    Misplaced,
    /// It is none for this root: of another state, of another key, or changed on its way.
    #[error(
        "the proof leads to root {found}, and not to {expected}: it is of another state or key, or was changed"
    )]
    OtherRoot {
        /// The root that is trusted.
        expected: Digest,
        /// The one to which it leads.
        found: Digest,
    },
}

/// What a proof shows, to who knows that its root is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The root to which it leads.
    pub root: Digest,
    /// What the key holds in the map with this root; `None`: there is no such key.
    pub value: Option<Digest>,
}

impl Proof {
    /// What the key holds in the map with this root: the digest of it, or `None` where there is no such key.
    ///
    /// # Errors
    /// [`ProofError`] if this is no proof of that.
    pub fn verify(&self, root: &Digest, key: &[u8]) -> Result<Option<Digest>, ProofError> {
        self.verify_with(root, key, Broken::NOT)
    }

    /// The same with something wrong.
    ///
    /// # Errors
    /// As [`Proof::verify`].
    pub fn verify_with(
        &self,
        root: &Digest,
        key: &[u8],
        broken: Broken,
    ) -> Result<Option<Digest>, ProofError> {
        let Shown { root: found, value } = self.show(key, broken)?;
        if found != *root && !broken.is(Fault::AnyRoot) {
            return Err(ProofError::OtherRoot { expected: *root, found });
        }
        Ok(value)
    }

    /// What it shows of a key, and under which root. It is for who has the root only within something else: without comparing
    /// that, nothing is proved.
    ///
    /// # Errors
    /// [`ProofError`], but not that the root is another one.
    pub fn leads_to(&self, key: &[u8]) -> Result<Shown, ProofError> {
        self.show(key, Broken::NOT)
    }

    fn show(&self, key: &[u8], broken: Broken) -> Result<Shown, ProofError> {
        let path = Path::of(key);
        let root = self.root(&path, broken)?;
        let own = self.leaf.filter(|leaf| leaf.path == path || broken.is(Fault::AnyKey));
        Ok(Shown { root, value: own.map(|leaf| leaf.value) })
    }

    /// The root to which it leads, along the path of a key.
    fn root(&self, path: &Path, broken: Broken) -> Result<Digest, ProofError> {
        if self.steps.len() > STEPS_MAX {
            return Err(ProofError::TooLong(self.steps.len()));
        }
        let mut digest = match &self.leaf {
            None => NOTHING,
            Some(leaf) => {
                // The root vouches for that, too, as long as whoever made it keeps to the rules.
                if (0..self.steps.len()).any(|step| leaf.path.way(step) != path.way(step)) {
                    return Err(ProofError::Misplaced);
                }
                let whose = if broken.is(Fault::LeafWithoutKey) { NOTHING } else { leaf.path.0 };
                Digest::of(&[LEAF, &whose.0, &leaf.value.0])
            }
        };
        for (step, others) in self.steps.iter().enumerate().rev() {
            let way = path.way(step);
            let mut parts = [digest; 4];
            for (other, part) in OTHERS[way].into_iter().zip(others) {
                parts[other] = *part;
            }
            if broken.is(Fault::NeighboursSorted) {
                parts.sort_unstable();
            }
            let [a, b, c, d] = parts;
            digest = Digest::of(&[FORK, &a.0, &b.0, &c.0, &d.0]);
        }
        Ok(digest)
    }
}
