//! SHA3-256 (FIPS 202) of many messages, four at a time.

use fearless_simd::Level;
use synod_types::Digest;

use crate::keccak::{LANES, States, WORDS, permute};

/// Bytes of a block.
const RATE: usize = 136;

/// Words of a digest.
const DIGEST_WORDS: usize = 4;

/// Messages that are hashed together, one behind the other in one buffer.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    /// None yet, with room for so many bytes in so many messages.
    pub fn with_capacity(messages: usize, bytes: usize) -> Messages {
        Messages { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(messages) }
    }

    /// Adds one, which is these parts one after the other.
    pub fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The SHA3-256 of each, in their order; none are left.
    pub fn hash(&mut self) -> Vec<Digest> {
        let mut start = 0;
        let messages: Vec<&[u8]> = self
            .ends
            .iter()
            .map(|&end| {
                let message = &self.bytes[start..end];
                start = end;
                message
            })
            .collect();
        let digests = sha3_256_many(&messages);
        self.bytes.clear();
        self.ends.clear();
        digests
    }
}

/// The SHA3-256 of each message, in their order.
pub fn sha3_256_many(messages: &[&[u8]]) -> Vec<Digest> {
    let level = Level::new();
    let mut digests = vec![Digest::default(); messages.len()];
    // Those of one length go together, so that none waits for a longer one.
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.sort_by_key(|&at| blocks(messages[at]));
    for together in order.chunks(LANES) {
        let mut states: States = [[0; LANES]; WORDS];
        let most = together.iter().map(|&at| blocks(messages[at])).max().unwrap_or(0);
        for block in 0..most {
            for (lane, &at) in together.iter().enumerate() {
                absorb(&mut states, lane, messages[at], block);
            }
            permute(level, &mut states);
            for (lane, &at) in together.iter().enumerate() {
                if block + 1 == blocks(messages[at]) {
                    digests[at] = squeeze(&states, lane);
                }
            }
        }
    }
    digests
}

/// Blocks of a message with what is put behind it, of which there is always something.
fn blocks(message: &[u8]) -> usize {
    message.len() / RATE + 1
}

/// Takes a block of a message into one lane; behind the last one nothing is left to take.
fn absorb(states: &mut States, lane: usize, message: &[u8], block: usize) {
    let rest = message.get(block * RATE..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk::<RATE>() {
        xor(states, lane, whole);
    } else if block < blocks(message) {
        let mut last = [0; RATE];
        last[..rest.len()].copy_from_slice(rest);
        // FIPS 202 6.1 and 5.1: two bits 01, then a one, zeros and a one.
        last[rest.len()] = 0x06;
        last[RATE - 1] |= 0x80;
        xor(states, lane, &last);
    }
}

fn xor(states: &mut States, lane: usize, block: &[u8; RATE]) {
    for (word, bytes) in states.iter_mut().zip(block.as_chunks().0) {
        word[lane] ^= u64::from_le_bytes(*bytes);
    }
}

fn squeeze(states: &States, lane: usize) -> Digest {
    let mut digest = [0; 32];
    for (word, bytes) in states[..DIGEST_WORDS].iter().zip(digest.as_chunks_mut().0) {
        *bytes = word[lane].to_le_bytes();
    }
    Digest(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from((at * 31 + len) % 251).unwrap()).collect()
    }

    #[track_caller]
    fn assert_each(messages: &[Vec<u8>]) {
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let expected: Vec<Digest> = slices.iter().map(|message| Digest::of(&[message])).collect();
        assert_eq!(sha3_256_many(&slices), expected);
    }

    #[test]
    fn each_is_what_it_is_by_itself() {
        assert_each(&[]);
        for len in 0..4 * RATE + 2 {
            assert_each(&[message(len)]);
        }
        // All lengths together, long and short beside each other.
        let all: Vec<Vec<u8>> = (0..1000).map(|n| message(n * 7_919 % 1000)).collect();
        assert_each(&all);
        for count in 1..10 {
            assert_each(&all[..count]);
        }
        assert_each(&[message(1_000_000), message(0), message(RATE), message(RATE - 1), message(500_000)]);
    }

    #[test]
    fn a_published_example() {
        // FIPS 202's own, from the NIST example values: SHA3-256 of nothing and of "abc".
        let digests = sha3_256_many(&[b"", b"abc"]);
        assert_eq!(
            digests[0].to_string(),
            "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"
        );
        assert_eq!(
            digests[1].to_string(),
            "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"
        );
    }

    #[test]
    fn messages_are_parts_one_after_the_other() {
        let mut messages = Messages::with_capacity(2, 8);
        messages.push(&[b"ab", b"", b"c"]);
        messages.push(&[]);
        assert_eq!(messages.bytes(), 3);
        assert_eq!(messages.hash(), [Digest::of(&[b"abc"]), Digest::of(&[])]);
        assert_eq!((messages.bytes(), messages.hash().len()), (0, 0));
    }

    #[test]
    fn every_kind_of_processor_comes_to_the_same() {
        let start: States = std::array::from_fn(|word| {
            std::array::from_fn(|lane| {
                u64::try_from(word * LANES + lane).unwrap().wrapping_mul(0x9E37_79B9_7F4A_7C15)
            })
        });
        let permuted = |level: Level| {
            let mut states = start;
            permute(level, &mut states);
            states
        };
        assert_eq!(permuted(Level::new()), permuted(Level::baseline()));
    }
}
