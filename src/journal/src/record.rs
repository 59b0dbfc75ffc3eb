//! What is on disk: the keys and values of every record. The bytes here are a format: a golden test holds them.
//!
//! ```text
//! key    tag (1) ‖ appNdx (u32) [‖ slot (u64) ‖ part (u16)]                      numbers big-endian, so that keys
//!        tag 1 promised, 2 chosen, 4 cut (without slot and part), 3 accepted    sort by slot
//! value  crc32 (u32) ‖ version (1) ‖ parts (u16) ‖ crc32 of the body (u32) ‖ a part of the body
//!        [‖ number (u64) ‖ tally (u64)]
//! body   postcard: Ballot (promised), Slot (chosen, cut), (Ballot, Decree) (accepted)
//! ```
//!
//! What stands in brackets at a value's end is in version 3, which the writer makes of version 2: which write it was, and what
//! the log held behind it ([`crate::tally`]). What is large by then is put into a file of its own ([`crate::bulk`]), and at its key
//! stands where it is:
//!
//! ```text
//! value  crc32 (u32) ‖ version 4 (1) ‖ file (u64) ‖ first byte (u64) ‖ bytes (u32)
//! ```
//!
//! The first crc32 is over the key and all of the value behind it, so that a value at another key is as wrong as a
//! flipped bit. A body longer than [`PART_BYTES`] is spread over several keys; each part says of how many and of
//! which body it is, so that parts of two bodies are never taken for one.

use synod_types::wire;
use synod_types::{AppNdx, Ballot, Decree, Record, Slot};

/// Bytes of a body in one value. The store below keeps up to some twenty values in one page, and a page must stay
/// below the size at which it leaves the log (see [`crate::sled_store`]).
pub const PART_BYTES: usize = 16 << 10;
/// The version of a value without number and tally.
pub const FORMAT_VERSION: u8 = 2;
/// The version of a value with both: what the writer writes.
pub const SEALED_VERSION: u8 = 3;
/// The version of what stands for a value that lies elsewhere.
pub const ELSEWHERE_VERSION: u8 = 4;

const TAG_PROMISED: u8 = 1;
const TAG_CHOSEN: u8 = 2;
const TAG_ACCEPTED: u8 = 3;
const TAG_CUT: u8 = 4;

const HEADER_BYTES: usize = 4 + 1 + 2 + 4;
const SEAL_BYTES: usize = 8 + 8;
const ACCEPTED_KEY_BYTES: usize = 1 + 4 + 8 + 2;

/// One key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Where.
    pub key: Vec<u8>,
    /// What.
    pub value: Vec<u8>,
}

impl Entry {
    /// Bytes of both.
    pub fn len(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The record is there and is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is damaged")]
pub struct Damaged;

/// The key of an application's promise.
pub fn promised_key(app: AppNdx) -> Vec<u8> {
    app_key(TAG_PROMISED, app)
}

/// The key of an application's hint on what is chosen.
pub fn chosen_key(app: AppNdx) -> Vec<u8> {
    app_key(TAG_CHOSEN, app)
}

/// The key of where an application's log was cut.
pub fn cut_key(app: AppNdx) -> Vec<u8> {
    app_key(TAG_CUT, app)
}

/// The key of one part of what was accepted in a slot.
pub fn accepted_key(app: AppNdx, slot: Slot, part: u16) -> Vec<u8> {
    let mut key = app_key(TAG_ACCEPTED, app);
    key.extend_from_slice(&slot.0.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// A key behind every accepted record of an application and before those of the next one.
pub fn accepted_end(app: AppNdx) -> Vec<u8> {
    let mut key = accepted_key(app, Slot(u64::MAX), u16::MAX);
    key.push(0);
    key
}

/// The keys of what was accepted up to `slot`: the first one, and one behind the last.
pub fn accepted_through(app: AppNdx, slot: Slot) -> (Vec<u8>, Vec<u8>) {
    (accepted_key(app, Slot(0), 0), accepted_key(app, slot.next(), 0))
}

/// Of how many parts a value is one, if it is in order; at least 1.
pub fn parts_of(value: &[u8]) -> u16 {
    value.get(5..7).and_then(|parts| parts.try_into().ok()).map_or(1, u16::from_be_bytes).max(1)
}

/// The application of a key.
pub fn app_of(key: &[u8]) -> Option<AppNdx> {
    let app = key.get(1..5)?.try_into().ok()?;
    Some(AppNdx(u32::from_be_bytes(app)))
}

/// The slot of an accepted record's key.
pub fn slot_of(accepted_key: &[u8]) -> Option<Slot> {
    let key: &[u8; ACCEPTED_KEY_BYTES] = accepted_key.try_into().ok()?;
    let slot = key[5..13].try_into().expect("eight bytes of fifteen");
    (key[0] == TAG_ACCEPTED).then_some(Slot(u64::from_be_bytes(slot)))
}

/// The entries that hold `record`, in the order of their keys.
pub fn encode(record: &Record) -> Vec<Entry> {
    match record {
        Record::Promised { app, ballot } => vec![entry(promised_key(*app), 1, &wire::encode(ballot))],
        Record::Chosen { app, slot } => vec![entry(chosen_key(*app), 1, &wire::encode(slot))],
        Record::Cut { app, slot } => vec![entry(cut_key(*app), 1, &wire::encode(slot))],
        Record::Accepted { app, slot, ballot, decree } => {
            let body = wire::encode(&(ballot, decree));
            let parts = body.chunks(PART_BYTES);
            let count = u16::try_from(parts.len()).expect("a decree is far below 65,535 parts of 16 KiB");
            let digest = crc32fast::hash(&body);
            (0..count)
                .zip(parts)
                .map(|(part, bytes)| part_entry(accepted_key(*app, *slot, part), count, digest, bytes))
                .collect()
        }
    }
}

/// Reads a promise.
///
/// # Errors
/// [`Damaged`].
pub fn decode_promised(app: AppNdx, value: &[u8]) -> Result<Ballot, Damaged> {
    decode_single(&promised_key(app), value)
}

/// Reads a hint on what is chosen.
///
/// # Errors
/// [`Damaged`].
pub fn decode_chosen(app: AppNdx, value: &[u8]) -> Result<Slot, Damaged> {
    decode_single(&chosen_key(app), value)
}

/// Reads where the log was cut.
///
/// # Errors
/// [`Damaged`].
pub fn decode_cut(app: AppNdx, value: &[u8]) -> Result<Slot, Damaged> {
    decode_single(&cut_key(app), value)
}

/// One checked part of an accepted record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// How many parts the record has.
    pub parts: u16,
    /// Over the whole body.
    pub digest: u32,
    /// Which write it was, and the tally behind it.
    pub seal: Option<Seal>,
    bytes: &'a [u8],
}

/// What the writer adds to a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seal {
    /// The number of the write; all values of one have the same.
    pub number: u64,
    /// The tally behind it.
    pub tally: u64,
}

/// Adds what the writer knows to a value as [`encode`] makes it.
pub fn seal(entry: &mut Entry, seal: Seal) {
    entry.value[4] = SEALED_VERSION;
    entry.value.extend_from_slice(&seal.number.to_be_bytes());
    entry.value.extend_from_slice(&seal.tally.to_be_bytes());
    let crc = checksum(&entry.key, &entry.value[4..]);
    entry.value[..4].copy_from_slice(&crc.to_be_bytes());
}

/// A value that is in order, as it was before it was sealed.
pub fn unseal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.get(4) == Some(&SEALED_VERSION) {
        value.truncate(value.len().saturating_sub(SEAL_BYTES));
        value[4] = FORMAT_VERSION;
        let crc = checksum(key, &value[4..]);
        value[..4].copy_from_slice(&crc.to_be_bytes());
    }
    value
}

/// Checks the value at `key`.
///
/// # Errors
/// [`Damaged`].
pub fn decode_part<'a>(key: &[u8], value: &'a [u8]) -> Result<Part<'a>, Damaged> {
    let (crc, rest) = value.split_first_chunk().ok_or(Damaged)?;
    let (header, bytes) = rest.split_first_chunk::<{ HEADER_BYTES - 4 }>().ok_or(Damaged)?;
    let [version, parts_high, parts_low, digest @ ..] = *header;
    let parts = u16::from_be_bytes([parts_high, parts_low]);
    if checksum(key, rest) != u32::from_be_bytes(*crc) || parts == 0 {
        return Err(Damaged);
    }
    let digest = u32::from_be_bytes(digest);
    match version {
        FORMAT_VERSION => Ok(Part { parts, digest, seal: None, bytes }),
        SEALED_VERSION => {
            let (bytes, seal) = bytes.split_last_chunk::<SEAL_BYTES>().ok_or(Damaged)?;
            let (number, tally) = seal.split_at(8);
            let number = u64::from_be_bytes(number.try_into().expect("eight bytes"));
            let tally = u64::from_be_bytes(tally.try_into().expect("eight bytes"));
            Ok(Part { parts, digest, seal: Some(Seal { number, tally }), bytes })
        }
        _ => Err(Damaged),
    }
}

/// Puts the parts of an accepted record together.
#[derive(Debug)]
pub struct Assembly {
    parts: u16,
    digest: u32,
    body: Vec<u8>,
}

impl Assembly {
    /// Begins with the first part.
    pub fn new(first: &Part<'_>) -> Assembly {
        Assembly { parts: first.parts, digest: first.digest, body: first.bytes.to_vec() }
    }

    /// Appends the next part.
    ///
    /// # Errors
    /// [`Damaged`] if it is a part of another record.
    pub fn push(&mut self, part: &Part<'_>) -> Result<(), Damaged> {
        if part.parts != self.parts || part.digest != self.digest {
            return Err(Damaged);
        }
        self.body.extend_from_slice(part.bytes);
        Ok(())
    }

    /// The record, and the bytes of its body.
    ///
    /// # Errors
    /// [`Damaged`] if the parts do not make one.
    pub fn finish(self) -> Result<(Ballot, Decree, usize), Damaged> {
        if crc32fast::hash(&self.body) != self.digest {
            return Err(Damaged);
        }
        let (ballot, decree) = wire::decode(&self.body).map_err(|_| Damaged)?;
        Ok((ballot, decree, self.body.len()))
    }
}

fn app_key(tag: u8, app: AppNdx) -> Vec<u8> {
    let mut key = Vec::with_capacity(ACCEPTED_KEY_BYTES);
    key.push(tag);
    key.extend_from_slice(&app.0.to_be_bytes());
    key
}

fn entry(key: Vec<u8>, parts: u16, body: &[u8]) -> Entry {
    part_entry(key, parts, crc32fast::hash(body), body)
}

fn part_entry(key: Vec<u8>, parts: u16, digest: u32, bytes: &[u8]) -> Entry {
    let mut value = Vec::with_capacity(HEADER_BYTES + bytes.len());
    value.extend_from_slice(&[0; 4]);
    value.push(FORMAT_VERSION);
    value.extend_from_slice(&parts.to_be_bytes());
    value.extend_from_slice(&digest.to_be_bytes());
    value.extend_from_slice(bytes);
    let crc = checksum(&key, &value[4..]);
    value[..4].copy_from_slice(&crc.to_be_bytes());
    Entry { key, value }
}

fn decode_single<T: serde::de::DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, Damaged> {
    let part = decode_part(key, value)?;
    if part.parts != 1 || crc32fast::hash(part.bytes) != part.digest {
        return Err(Damaged);
    }
    wire::decode(part.bytes).map_err(|_| Damaged)
}

/// What stands at `key` for a value that lies elsewhere: `place` says where.
pub(crate) fn elsewhere(key: &[u8], place: &[u8]) -> Vec<u8> {
    let rest = [&[ELSEWHERE_VERSION], place].concat();
    [&checksum(key, &rest).to_be_bytes()[..], &rest].concat()
}

/// Where the value at `key` lies, if it is elsewhere.
pub(crate) fn decode_elsewhere<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, rest) = value.split_first_chunk()?;
    let place = rest.strip_prefix(&[ELSEWHERE_VERSION])?;
    (checksum(key, rest) == u32::from_be_bytes(*crc)).then_some(place)
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use synod_types::{Batch, Configuration, Digest, Epoch, NodeId, SignedCommand, TimeMs};

    use super::*;

    const APP: AppNdx = AppNdx(7);

    fn ballot() -> Ballot {
        Ballot { number: 3, priority: 1, node: NodeId(Digest([9; 32])), ..Ballot::ZERO }
    }

    fn decree(bytes: usize) -> Decree {
        let command = SignedCommand {
            body: vec![5; bytes].into(),
            signature: vec![6; 2].into(),
            key: vec![7; 3].into(),
        };
        Decree::Batch(Arc::new(Batch {
            term: ballot(),
            time: TimeMs(1_700_000_000_000),
            commands: vec![command],
        }))
    }

    fn accepted(bytes: usize) -> Record {
        Record::Accepted { app: APP, slot: Slot(258), ballot: ballot(), decree: decree(bytes) }
    }

    fn decode(entries: &[Entry]) -> Result<(Ballot, Decree, usize), Damaged> {
        let first = decode_part(&entries[0].key, &entries[0].value)?;
        let mut assembly = Assembly::new(&first);
        for entry in &entries[1..] {
            assembly.push(&decode_part(&entry.key, &entry.value)?)?;
        }
        assembly.finish()
    }

    #[test]
    fn the_bytes_on_disk_are_golden() {
        let lines: Vec<String> = [
            Record::Promised { app: APP, ballot: ballot() },
            Record::Chosen { app: APP, slot: Slot(258) },
            accepted(4),
        ]
        .iter()
        .flat_map(encode)
        .map(|entry| format!("{} {}\n", hex::encode(entry.key), hex::encode(entry.value)))
        .collect();
        assert_eq!(lines.concat(), include_str!("../tests/golden/records-v2.hex"));
    }

    /// The other kinds of record and of decree, in the same version.
    #[test]
    fn the_rest_is_golden_too_and_is_read() {
        let seal = Configuration { epoch: Epoch(2), members: vec![NodeId(Digest([8; 32]))] };
        let kinds = [Decree::Noop, Decree::Seal(Arc::new(seal))].map(|decree| Record::Accepted {
            app: APP,
            slot: Slot(258),
            ballot: ballot(),
            decree,
        });
        let [noop, seal] = kinds.clone();
        let records = [
            ("cut", Record::Cut { app: APP, slot: Slot(258) }),
            ("accepted.noop", noop),
            ("accepted.seal", seal),
        ];
        let made = records.iter().flat_map(|(name, record)| {
            let [entry] = &encode(record)[..] else { panic!("a small record has one part") };
            [(format!("{name}.key"), entry.key.clone()), (format!("{name}.value"), entry.value.clone())]
        });
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/records-v2-more.hex");
        let kept = synod_golden::holds(file, made.collect::<Vec<_>>());
        for (name, record) in ["accepted.noop", "accepted.seal"].iter().zip(kinds) {
            let (key, value) = (kept[&format!("{name}.key")].clone(), kept[&format!("{name}.value")].clone());
            let (found, decree, _) = decode(&[Entry { key, value }]).unwrap();
            let Record::Accepted { ballot, decree: expected, .. } = record else { unreachable!() };
            assert_eq!((found, decree), (ballot, expected));
        }
    }

    #[test]
    fn the_bytes_of_sealed_values_are_golden() {
        let records = [
            Record::Promised { app: APP, ballot: ballot() },
            Record::Chosen { app: APP, slot: Slot(258) },
            Record::Cut { app: APP, slot: Slot(7) },
            accepted(4),
        ];
        let mut lines = String::new();
        for mut entry in records.iter().flat_map(encode) {
            seal(&mut entry, Seal { number: 258, tally: 0x1122_3344_5566_7788 });
            let part = decode_part(&entry.key, &entry.value).unwrap();
            assert_eq!(part.seal, Some(Seal { number: 258, tally: 0x1122_3344_5566_7788 }));
            lines += &format!("{} {}\n", hex::encode(entry.key), hex::encode(entry.value));
        }
        assert_eq!(lines, include_str!("../tests/golden/records-v3.hex"));
    }

    #[test]
    fn records_read_back_whole_and_in_parts() {
        for bytes in [0, 1, PART_BYTES - 100, PART_BYTES, 3 * PART_BYTES, 1 << 20] {
            let entries = encode(&accepted(bytes));
            assert!(entries.iter().all(|entry| entry.value.len() <= PART_BYTES + HEADER_BYTES));
            assert!(entries.is_sorted_by_key(|entry| entry.key.clone()));
            assert!(entries.iter().all(|entry| slot_of(&entry.key) == Some(Slot(258))));
            let (found, value, _) = decode(&entries).unwrap();
            assert_eq!((found, value), (ballot(), decree(bytes)));
        }
        let promised = encode(&Record::Promised { app: APP, ballot: ballot() });
        assert_eq!(decode_promised(APP, &promised[0].value), Ok(ballot()));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_damage() {
        let [mut entry] = encode(&accepted(4)).try_into().unwrap();
        all_flips_and_truncations(&entry);
        seal(&mut entry, Seal { number: 3, tally: 4 });
        all_flips_and_truncations(&entry);
    }

    fn all_flips_and_truncations(entry: &Entry) {
        for bit in 0..entry.value.len() * 8 {
            let mut flipped = entry.clone();
            flipped.value[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&[flipped]), Err(Damaged), "bit {bit}");
        }
        for len in 0..entry.value.len() {
            assert!(decode_part(&entry.key, &entry.value[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_value_at_another_key_is_damage() {
        let promised = encode(&Record::Promised { app: APP, ballot: ballot() });
        assert_eq!(decode_promised(AppNdx(8), &promised[0].value), Err(Damaged));
        let entry = &encode(&accepted(4))[0];
        assert_eq!(decode_part(&accepted_key(APP, Slot(259), 0), &entry.value), Err(Damaged));
    }

    #[test]
    fn parts_of_two_records_are_not_one() {
        let mut mixed = encode(&accepted(2 * PART_BYTES));
        let mut other = encode(&accepted(2 * PART_BYTES + 1));
        mixed[1] = other.remove(1);
        assert_eq!(decode(&mixed), Err(Damaged));
    }

    #[test]
    fn accepted_keys_end_before_the_next_application() {
        assert!(accepted_key(APP, Slot(u64::MAX), u16::MAX) < accepted_end(APP));
        assert!(accepted_end(APP) < accepted_key(AppNdx(8), Slot(0), 0));
    }
}
