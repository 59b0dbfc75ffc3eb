//! One file on its way here: who can give it, under which manifest, and which pieces are where.
//!
//! A manifest is as good as the word of who offered it, until the whole is hashed. So pieces are asked of those alone who
//! offered the very manifest under which they are received: whoever sent a wrong piece contradicted himself, and a wrong
//! whole is the lie of all who offered its manifest. While manifests differ, the one that most nodes offer goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use synod_types::{Manifest, NodeId};

use crate::event::Attempt;

/// How often in a row a donor may let a question go unanswered before another manifest is tried.
const SILENCES_MAX: u32 = 3;

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// Who needs it here.
    pub need: Need,
    /// What came of it before.
    pub past: Past,
    /// Whose offer began it; `None`: this node went looking for it.
    pub offered_by: Option<NodeId>,
    /// Who offered it, up or not.
    pub donors: BTreeMap<NodeId, Donor>,
    /// What is going on.
    pub stage: Stage,
    /// The search for donors.
    pub search: Search,
}

/// Who needs a file here; the greatest counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Need {
    /// Nobody: another node offered it.
    Offered,
    /// This node had it.
    Lost,
    /// Somebody asked for it, and is to be told.
    Asked,
}

/// What came of a file so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Past {
    /// How often nobody had it.
    pub vain: u32,
    /// How often the disk could not.
    pub failed: u32,
}

/// Who offered a file.
#[derive(Debug)]
pub(crate) struct Donor {
    /// The same allocation for equal manifests of one file.
    pub manifest: Arc<Manifest>,
    /// Questions that went unanswered.
    pub silences: u32,
    /// Of these, the last ones without a piece in between.
    pub silences_in_a_row: u32,
}

/// Asking everybody who has the file, while no donor is there. Begins anew with each piece that is written.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// How often everybody was asked.
    pub rounds: u32,
    /// When to ask again.
    pub due: u64,
    /// Who said in this round that it does not have it.
    pub noes: BTreeSet<NodeId>,
}

/// What is going on with a file.
#[derive(Debug)]
pub(crate) enum Stage {
    /// There is no manifest.
    Seeking,
    /// The disk opens the partial file.
    Beginning(Receiving),
    /// Pieces are coming in.
    Getting(Receiving),
}

/// Pieces under one manifest.
#[derive(Debug)]
pub(crate) struct Receiving {
    /// As its donors say.
    pub manifest: Arc<Manifest>,
    /// The number of the attempt.
    pub attempt: Attempt,
    /// Neither here nor asked for.
    pub missing: BTreeSet<u32>,
    /// Asked for: of whom, and since when nothing of it came.
    pub asked: BTreeMap<u32, (NodeId, u64)>,
    /// With the disk: whose.
    pub writing: BTreeMap<u32, NodeId>,
}

impl Receiving {
    /// Pieces that were asked of a donor and are not written yet.
    pub(crate) fn load_of(&self, donor: NodeId) -> usize {
        let asked = self.asked.values().filter(|(of, _)| *of == donor).count();
        asked + self.writing.values().filter(|of| **of == donor).count()
    }

    /// Everything that was asked of a donor is missing again; whether that was anything.
    pub(crate) fn take_back(&mut self, donor: NodeId) -> bool {
        let taken: Vec<u32> =
            self.asked.iter().filter(|(_, (of, _))| *of == donor).map(|(&n, _)| n).collect();
        for number in &taken {
            self.asked.remove(number);
            self.missing.insert(*number);
        }
        !taken.is_empty()
    }
}

impl Fetch {
    pub(crate) fn new(need: Need, past: Past, offered_by: Option<NodeId>) -> Fetch {
        Fetch {
            need,
            past,
            offered_by,
            donors: BTreeMap::new(),
            stage: Stage::Seeking,
            search: Search::default(),
        }
    }

    /// The pieces of attempt `attempt`, if that is the present one.
    pub(crate) fn receiving(&mut self, attempt: Attempt) -> Option<&mut Receiving> {
        match &mut self.stage {
            Stage::Beginning(receiving) | Stage::Getting(receiving) => {
                Some(receiving).filter(|receiving| receiving.attempt == attempt)
            }
            Stage::Seeking => None,
        }
    }

    /// The manifest under which pieces are received.
    pub(crate) fn manifest(&self) -> Option<&Arc<Manifest>> {
        match &self.stage {
            Stage::Seeking => None,
            Stage::Beginning(receiving) | Stage::Getting(receiving) => Some(&receiving.manifest),
        }
    }

    /// A node offers the file.
    pub(crate) fn add_donor(&mut self, node: NodeId, manifest: Manifest) {
        let known = self.donors.values().map(|donor| &donor.manifest).chain(self.manifest());
        let same = known.into_iter().find(|known| ***known == manifest).cloned();
        let manifest = same.unwrap_or_else(|| Arc::new(manifest));
        match self.donors.get_mut(&node) {
            Some(donor) => donor.manifest = manifest,
            None => {
                self.donors.insert(node, Donor { manifest, silences: 0, silences_in_a_row: 0 });
            }
        }
        self.search.noes.remove(&node);
    }

    /// Whether a donor can be asked for pieces under the manifest of this moment.
    pub(crate) fn gives(&self, node: NodeId, up: &BTreeSet<NodeId>) -> bool {
        let donor = self.donors.get(&node).filter(|_| up.contains(&node));
        donor.is_some_and(|donor| {
            self.manifest().is_some_and(|manifest| Arc::ptr_eq(manifest, &donor.manifest))
        })
    }

    /// The donor of whom the next piece is asked: one with room, that answers, with little to do.
    pub(crate) fn donor_with_room(
        &self,
        up: &BTreeSet<NodeId>,
        room: impl Fn(NodeId) -> Option<usize>,
    ) -> Option<NodeId> {
        let donors = self.donors.iter().filter(|&(&node, _)| self.gives(node, up));
        let ready = donors.filter_map(|(&node, donor)| Some((donor, room(node)?, node)));
        let best = ready.min_by_key(|(donor, load, node)| (donor.is_silent(), *load, donor.silences, *node));
        best.map(|(_, _, node)| node)
    }

    /// The manifest to go on with: that of a donor who answers, of which most are of one mind. `None`: nobody is there.
    pub(crate) fn best_manifest(&self, up: &BTreeSet<NodeId>) -> Option<&Arc<Manifest>> {
        let there = || self.donors.iter().filter(|(node, _)| up.contains(node)).map(|(_, donor)| donor);
        let support = |manifest| {
            there().filter(|donor| Arc::ptr_eq(&donor.manifest, manifest) && !donor.is_silent()).count()
        };
        // Of equals, the present one stays; and then the one that failed least often.
        let best = there().min_by_key(|donor| {
            let stays = self.manifest().is_some_and(|manifest| Arc::ptr_eq(manifest, &donor.manifest));
            (usize::MAX - support(&donor.manifest), !stays || donor.is_silent(), donor.silences)
        });
        best.map(|donor| &donor.manifest)
    }
}

impl Donor {
    /// Whether it stopped answering.
    pub(crate) fn is_silent(&self) -> bool {
        self.silences_in_a_row >= SILENCES_MAX
    }
}
