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
//! **What it takes on trust.** A word is its node's own only if somebody verified that: who drives this takes out what is not signed,
//! or a node that lies could make up words of others.

use std::collections::{BTreeMap, BTreeSet};

use synod_types::limits::GOSSIP_WORDS_MAX;
use synod_types::{GossipMessage, NodeId, Version, Word};

use crate::broken::{Broken, Fault};

/// Behind all that a node says.
const EVERYTHING: Version = Version { life: u64::MAX, number: u64::MAX, tag: u64::MAX };

/// One node.
#[derive(Clone, Debug)]
pub struct Gossip<W> {
    me: NodeId,
    /// The latest version of this node's words that it has said or heard of; it may have said it in an earlier life.
    latest: Version,
    tag: u64,
    /// How many others are asked in a round.
    fanout: usize,
    /// The others.
    others: BTreeSet<NodeId>,
    known: BTreeMap<NodeId, (Version, W)>,
    /// Distances that were asked at, in all rounds.
    asked: u64,
    broken: Broken,
}

impl<W: Clone> Gossip<W> {
    /// A node that has said nothing yet. `life` is greater than in its lives before, as far as it can tell: where it is not, it
    /// takes a later one as soon as it hears of itself. `tag`: see [`Version`].
    pub fn new(me: NodeId, life: u64, tag: u64, fanout: usize) -> Gossip<W> {
        let (latest, others) = (Version { life, number: 0, tag }, BTreeSet::new());
        Gossip { me, latest, tag, fanout, others, known: BTreeMap::new(), asked: 0, broken: Broken::NOT }
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

    /// This node says something, as which version it is told; what it said before needs not to be told any more.
    pub fn say(&mut self, says: impl FnOnce(Version) -> W) {
        let Version { life, number, .. } = self.latest;
        self.latest = Version { life, number: number.saturating_add(1), tag: self.tag };
        self.known.insert(self.me, (self.latest, says(self.latest)));
    }

    /// The newest words that are known, this node's own too.
    pub fn words(&self) -> impl Iterator<Item = (NodeId, Version, &W)> {
        self.known.iter().map(|(node, (version, says))| (*node, *version, says))
    }

    /// The newest word of a node that is known.
    pub fn word(&self, node: NodeId) -> Option<&W> {
        self.known.get(&node).map(|(_, says)| says)
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

    /// A message came from a node. Gives the answer to it, and says of whom there is news. News of this node itself are from a life
    /// that it does not remember: it has to say its word again, or nobody will hear it.
    pub fn on_message(&mut self, message: GossipMessage<W>) -> (Option<GossipMessage<W>>, BTreeSet<NodeId>) {
        match message {
            GossipMessage::Heads(heads) => {
                let theirs: BTreeMap<NodeId, Version> = heads.into_iter().collect();
                let words = self.newer_than(|node| theirs.get(&node).copied().unwrap_or_default());
                let lacks = theirs.into_iter().filter(|(node, version)| self.lacks(*node, *version));
                let lacks: Vec<_> = lacks.map(|(node, _)| (node, self.version(node))).collect();
                (answer(words, lacks), BTreeSet::new())
            }
            GossipMessage::News { words, lacks } => {
                let news = words.into_iter().filter_map(|word| self.take(word)).collect();
                let lacks: BTreeMap<NodeId, Version> = lacks.into_iter().collect();
                // Of whom they did not ask, they need nothing.
                let words = self.newer_than(|node| lacks.get(&node).copied().unwrap_or(EVERYTHING));
                let words = if self.broken.is(Fault::NothingPulled) { Vec::new() } else { words };
                (answer(words, Vec::new()), news)
            }
        }
    }

    fn version(&self, node: NodeId) -> Version {
        if node == self.me {
            return self.latest;
        }
        self.known.get(&node).map(|(version, _)| *version).unwrap_or_default()
    }

    fn lacks(&self, node: NodeId, version: Version) -> bool {
        (self.others.contains(&node) || node == self.me) && version > self.version(node)
    }

    /// Words newer than what somebody has; a few, since another round brings the others.
    fn newer_than(&self, theirs: impl Fn(NodeId) -> Version) -> Vec<Word<W>> {
        let newer = self.words().filter(|(node, version, _)| theirs(*node) < *version);
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
            if self.broken.is(Fault::LaterLifeIgnored) {
                return None;
            }
            self.latest = version;
            return Some(node);
        }
        self.others.contains(&node).then(|| {
            self.known.insert(node, (version, says));
            node
        })
    }
}

fn answer<W>(words: Vec<Word<W>>, lacks: Vec<(NodeId, Version)>) -> Option<GossipMessage<W>> {
    (!words.is_empty() || !lacks.is_empty()).then_some(GossipMessage::News { words, lacks })
}
