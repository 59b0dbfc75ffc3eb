//! Gossip: each node has a word to say of itself, and everybody learns the newest word of everybody, from whomever has it. Who
//! cannot be reached by some is heard of through others, and nobody has to lead.
//!
//! In each round a node tells a few others which words it has, by their versions; who knows newer ones answers with them, and asks
//! for those that it lacks: push and pull (Demers et al., *Epidemic Algorithms for Replicated Database Maintenance*, 1987, section
//! 1.3; van Renesse et al., *Efficient Reconciliation and Flow Control for Anti-Entropy Protocols*, 2008).
//!
//! **Whom.** With all in a ring by their ids, those 1, 2, 4, … places further, one distance after the other, as in a hypercube. So
//! a word needs about log₂ n rounds where nothing is lost, and no random number. Each time around they are all one place
//! further, so that everybody asks everybody in the end, whoever is dead.
//!
//! **What it takes on trust.** A word is its node's own only if somebody verified that: what comes in is verified before, or a node
//! that lies can make up words of others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use synod_types::NodeId;
use synod_types::limits::GOSSIP_WORDS_MAX;

use crate::broken::{Broken, Fault};

/// Which word of a node it is: a later one is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Version {
    /// When this life of the node began, by its own clock.
    pub life: u64,
    /// How many words it had said in it, and this one.
    pub number: u64,
    /// Drawn at random in each life: a clock that was set back can show the same time twice.
    pub tag: u64,
}

/// What a node says, and which of its words that is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Word<W> {
    /// Who says it.
    pub node: NodeId,
    /// Which one it is.
    pub version: Version,
    /// What it says.
    pub says: W,
}

/// What nodes send each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum GossipMessage<W> {
    /// Opens an exchange: whose words the sender has, up to which version.
    Heads(Vec<(NodeId, Version)>),
    /// Words that the receiver lacks.
    News {
        /// At most [`GOSSIP_WORDS_MAX`].
        words: Vec<Word<W>>,
        /// Whose words the sender lacks, and up to which version it has them.
        lacks: Vec<(NodeId, Version)>,
    },
}

/// One node.
#[derive(Clone, Debug)]
pub struct Gossip<W> {
    me: NodeId,
    /// How many others are asked in a round.
    fanout: usize,
    /// The others.
    others: BTreeSet<NodeId>,
    known: BTreeMap<NodeId, (Version, W)>,
    /// Distances that were asked at, in all rounds.
    asked: u64,
    broken: Broken,
}

impl<W: Clone + PartialEq> Gossip<W> {
    /// A node that begins to say something. `life` is greater than in its lives before, as far as it can tell: where it is not, it
    /// takes a later one as soon as it hears of itself. `tag`: see [`Version`].
    pub fn new(me: NodeId, life: u64, tag: u64, fanout: usize, says: W) -> Gossip<W> {
        let known = BTreeMap::from([(me, (Version { life, number: 1, tag }, says))]);
        Gossip { me, fanout, others: BTreeSet::new(), known, asked: 0, broken: Broken::NOT }
    }

    /// The same with a fault.
    #[must_use]
    pub fn broken(self, broken: Broken) -> Gossip<W> {
        Gossip { broken, ..self }
    }

    /// These are the others. What the rest said is forgotten.
    pub fn set_others(&mut self, others: impl IntoIterator<Item = NodeId>) {
        self.others = others.into_iter().filter(|node| *node != self.me).collect();
        self.known.retain(|node, _| *node == self.me || self.others.contains(node));
    }

    /// This node says something; what it said before needs not to be told any more.
    pub fn say(&mut self, says: W) {
        let (version, said) = self.known.get_mut(&self.me).expect("a node knows its own word");
        if *said != says {
            *said = says;
            version.number += 1;
        }
    }

    /// The newest words that are known, this node's own too.
    pub fn words(&self) -> impl Iterator<Item = (NodeId, Version, &W)> {
        self.known.iter().map(|(node, (version, says))| (*node, *version, says))
    }

    /// A round: what to send to whom.
    pub fn on_round(&mut self) -> Vec<(NodeId, GossipMessage<W>)> {
        let ring: Vec<NodeId> =
            self.others.range(self.me..).chain(self.others.range(..self.me)).copied().collect();
        let asks = self.fanout.min(ring.len());
        let mut asked = BTreeSet::new();
        while asked.len() < asks {
            asked.extend(ring.get(self.next_place(ring.len())));
        }
        asked.into_iter().map(|node| (node, GossipMessage::Heads(self.heads()))).collect()
    }

    /// The next place in a ring of so many others: 0 is the one behind this node.
    fn next_place(&mut self, others: usize) -> usize {
        // So that 2^0 to 2^(turns - 1) reach around the ring.
        let turns = u64::from(usize::BITS - others.leading_zeros());
        let (around, turn) = (self.asked / turns, self.asked % turns);
        self.asked += 1;
        let others = u64::try_from(others).expect("usize has at most 64 bits");
        let place = ((1 << turn) - 1 + around % others) % others;
        usize::try_from(place).expect("less than the others")
    }

    fn heads(&self) -> Vec<(NodeId, Version)> {
        self.known.iter().map(|(node, (version, _))| (*node, *version)).collect()
    }

    /// A message came from a node. Gives the answer to it, and says of whom there is news.
    pub fn on_message(&mut self, message: GossipMessage<W>) -> (Option<GossipMessage<W>>, BTreeSet<NodeId>) {
        match message {
            GossipMessage::Heads(heads) => {
                let theirs: BTreeMap<NodeId, Version> = heads.into_iter().collect();
                let words = self.newer_than(|node| theirs.get(&node).copied());
                let lacks = theirs.into_iter().filter(|(node, version)| self.lacks(*node, *version));
                let lacks: Vec<_> = lacks.map(|(node, _)| (node, self.version(node))).collect();
                (answer(words, lacks), BTreeSet::new())
            }
            GossipMessage::News { words, lacks } => {
                let news = words.into_iter().filter_map(|word| self.take(word)).collect();
                let lacks: BTreeMap<NodeId, Version> = lacks.into_iter().collect();
                // Of whom they did not ask, they need nothing.
                let words = self.newer_than(|node| lacks.get(&node).copied().or(Some(Version::MAX)));
                let words = if self.broken.is(Fault::NothingPulled) { Vec::new() } else { words };
                (answer(words, Vec::new()), news)
            }
        }
    }

    fn version(&self, node: NodeId) -> Version {
        self.known.get(&node).map(|(version, _)| *version).unwrap_or_default()
    }

    fn lacks(&self, node: NodeId, version: Version) -> bool {
        (self.others.contains(&node) || node == self.me) && version > self.version(node)
    }

    /// Words newer than what somebody has; a few, since another round brings the others.
    fn newer_than(&self, theirs: impl Fn(NodeId) -> Option<Version>) -> Vec<Word<W>> {
        let newer = self.words().filter(|(node, version, _)| theirs(*node).unwrap_or_default() < *version);
        let word = |(node, version, says): (NodeId, Version, &W)| Word { node, version, says: says.clone() };
        newer.take(GOSSIP_WORDS_MAX).map(word).collect()
    }

    /// Takes a word, if it is news; says whose it is.
    fn take(&mut self, word: Word<W>) -> Option<NodeId> {
        let Word { node, version, says } = word;
        if !self.lacks(node, version) && !self.broken.is(Fault::OlderWordTaken) {
            return None;
        }
        if node == self.me {
            // It is from a life that this one does not remember; what this node says now is later.
            let (own, _) = self.known.get_mut(&self.me)?;
            if !self.broken.is(Fault::LaterLifeIgnored) {
                *own = Version { number: version.number.saturating_add(1), tag: own.tag, life: version.life };
            }
            return None;
        }
        self.others.contains(&node).then(|| {
            self.known.insert(node, (version, says));
            node
        })
    }
}

impl Version {
    /// Behind all that a node says.
    const MAX: Version = Version { life: u64::MAX, number: u64::MAX, tag: u64::MAX };
}

fn answer<W>(words: Vec<Word<W>>, lacks: Vec<(NodeId, Version)>) -> Option<GossipMessage<W>> {
    (!words.is_empty() || !lacks.is_empty()).then_some(GossipMessage::News { words, lacks })
}
