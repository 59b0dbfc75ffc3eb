//! SHA3-256 (FIPS 202) of many messages, as many at a time as a vector of the processor has lanes.

use std::array::from_fn;

use super::Digest;
use super::keccak::{WORDS, permute};
use fearless_simd::{Level, Simd, dispatch, prelude::*};

/// Bytes of a block.
const RATE: usize = 136;

/// Words of a block, and of a digest.
const RATE_WORDS: usize = RATE / 8;
/// See [`RATE_WORDS`].
const DIGEST_WORDS: usize = 4;

/// Lanes of a vector, at most: 512 bits.
const LANES_MAX: usize = 8;

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
        let digests = Digest::of_each(&messages);
        self.bytes.clear();
        self.ends.clear();
        digests
    }
}

impl Digest {
    /// The digest of each message, in their order: for eight in the time of one or two, as the processor has it. Messages of
    /// about one length are best together.
    pub fn of_each(messages: &[&[u8]]) -> Vec<Digest> {
        each_at(Level::new(), messages)
    }
}

/// The same with what such a processor has. What comes out is the same with all.
fn each_at(level: Level, messages: &[&[u8]]) -> Vec<Digest> {
    let mut digests = vec![Digest::default(); messages.len()];
    // Those of one length go together, so that none waits for a longer one.
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.sort_by_key(|&at| blocks(messages[at]));
    dispatch!(level, simd => {
        for together in order.chunks(lanes(simd)) {
            match *together {
                // In the only lane of many it would take a little longer.
                [alone] => digests[alone] = Digest::of(&[messages[alone]]),
                _ => hash_together(simd, together, messages, &mut digests),
            }
        }
    });
    digests
}

fn lanes<S: Simd>(_: S) -> usize {
    assert!(S::u64s::LEN <= LANES_MAX, "no vector has more than 512 bits");
    S::u64s::LEN
}

/// Hashes as many messages as there are lanes, or fewer.
#[inline(always)]
fn hash_together<S: Simd>(simd: S, together: &[usize], messages: &[&[u8]], digests: &mut [Digest]) {
    let most = together.iter().map(|&at| blocks(messages[at])).max().unwrap_or(0);
    let mut states = [S::u64s::splat(simd, 0); WORDS];
    for block in 0..most {
        let mut taken = [[0; RATE]; LANES_MAX];
        for (taken, &at) in taken.iter_mut().zip(together) {
            take(messages[at], block, taken);
        }
        for (word, state) in states[..RATE_WORDS].iter_mut().enumerate() {
            *state ^= S::u64s::from_fn(simd, |lane| word_of(&taken[lane], word));
        }
        states = permute(simd, states);
        let squeezed: [&[u64]; DIGEST_WORDS] = from_fn(|word| states[word].as_slice());
        for (lane, &at) in together.iter().enumerate() {
            if block + 1 == blocks(messages[at]) {
                for (bytes, words) in digests[at].0.as_chunks_mut().0.iter_mut().zip(squeezed) {
                    *bytes = words[lane].to_le_bytes();
                }
            }
        }
    }
}

/// Blocks of a message with what is put behind it, of which there is always something.
fn blocks(message: &[u8]) -> usize {
    message.len() / RATE + 1
}

/// A block of a message; behind the last one it stays as it is.
#[inline(always)]
fn take(message: &[u8], block: usize, into: &mut [u8; RATE]) {
    let rest = message.get(block * RATE..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk::<RATE>() {
        *into = *whole;
    } else if block < blocks(message) {
        into[..rest.len()].copy_from_slice(rest);
        // FIPS 202 6.1 and 5.1: two bits 01, then a one, zeros and a one.
        into[rest.len()] = 0x06;
        into[RATE - 1] |= 0x80;
    }
}

#[inline(always)]
fn word_of(block: &[u8; RATE], word: usize) -> u64 {
    u64::from_le_bytes(block.as_chunks().0[word])
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
        assert_eq!(Digest::of_each(&slices), expected);
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
        let digests = Digest::of_each(&[b"", b"abc"]);
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
        let all: Vec<Vec<u8>> = (0..50).map(|n| message(n * 7_919 % 500)).collect();
        let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        assert_eq!(each_at(Level::new(), &all), each_at(Level::baseline(), &all));
    }
}
