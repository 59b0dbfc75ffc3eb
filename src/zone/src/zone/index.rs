//! From a name to its node: an open-addressing hash table with linear probing.
//!
//! A slot holds 32 bits of the hash beside the node's number, so that a probe that meets another name rarely has to
//! look at that name. The hash is fixed (nothing here is random), and it is seeded by the zone's own names: whoever
//! writes a zone whose names collide changes the seed by writing it.

/// Three quarters of the slots are in use at most.
const SLOTS_PER_NODES: (usize, usize) = (4, 3);
const VACANT: u64 = u64::MAX;

/// Odd constants with well-mixed bits: the fractional parts of the golden ratio and of the square root of 3.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const ROOT_3: u64 = 0xbb67_ae85_84ca_a73b;

/// The nodes of a zone by name. It knows no names itself: the caller compares.
pub(super) struct Index {
    seed: u64,
    /// The upper 32 bits of a slot are the lower bits of the hash, the lower 32 the node. At least one is [`VACANT`].
    slots: Box<[u64]>,
}

impl Index {
    /// An index with room for this many nodes.
    pub(super) fn with_room(nodes: usize, seed: u64) -> Index {
        let (slots, per_nodes) = SLOTS_PER_NODES;
        Index { seed, slots: vec![VACANT; nodes * slots / per_nodes + 2].into() }
    }

    /// Whether this many nodes are all it has room for.
    pub(super) fn is_full(&self, nodes: usize) -> bool {
        let (slots, per_nodes) = SLOTS_PER_NODES;
        nodes * slots / per_nodes + 2 > self.slots.len()
    }

    /// The node of a name in lower case, of those that `is_it` accepts.
    pub(super) fn find(&self, name: &[u8], is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.probe(hash(self.seed, name), is_it).ok()
    }

    /// Adds a node by its name in lower case, which is not in it yet.
    pub(super) fn insert(&mut self, name: &[u8], node: u32) {
        let hash = hash(self.seed, name);
        let Err(slot) = self.probe(hash, |_| false) else { unreachable!("nothing is accepted") };
        self.slots[slot] = tag(hash) | u64::from(node);
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// The node, or the vacant slot where it would be.
    fn probe(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let mut at = scale(hash, self.slots.len());
        loop {
            let slot = self.slots[at];
            if slot == VACANT {
                return Err(at);
            }
            if slot & !LOW == tag(hash) {
                let node = u32::try_from(slot & LOW).expect("32 bits");
                if is_it(node) {
                    return Ok(node);
                }
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }
}

const LOW: u64 = 0xffff_ffff;

fn tag(hash: u64) -> u64 {
    hash << 32
}

/// A number below `len`, by the hash's upper bits.
fn scale(hash: u64, len: usize) -> usize {
    let len = u128::try_from(len).expect("a usize has 128 bits or less");
    usize::try_from((u128::from(hash) * len) >> 64).expect("less than len")
}

/// A hash of bytes: multiplications to 128 bits, folded.
pub(super) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let len = u64::try_from(bytes.len()).expect("a usize has 64 bits or less");
    let (words, rest) = bytes.as_chunks();
    let mut hash =
        words.iter().fold(seed ^ ROOT_3, |hash, word| fold(hash ^ u64::from_le_bytes(*word), GOLDEN));
    if !rest.is_empty() {
        // The last eight bytes, of which some were in already; of fewer, all.
        let last = match bytes.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        hash = fold(hash ^ last, GOLDEN);
    }
    fold(hash ^ len, ROOT_3)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let low = u64::try_from(product & u128::from(u64::MAX)).expect("64 bits");
    let high = u64::try_from(product >> 64).expect("64 bits");
    low ^ high
}
