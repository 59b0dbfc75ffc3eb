//! How far the log has come at least: a small file beside it, `log-head`.
//!
//! After each sync of the log the numbers of the last writes ([`crate::tally`]) go into one of two places of the file, in turn,
//! without a sync of their own. So after a power loss they may be old ones, and never say more than what is durable in
//! the log. A log whose numbers are lower has lost its end.
//!
//! ```text
//! place   4,096 bytes, two of them: "synodhd1" ‖ turn (u64) ‖ count (u32) ‖ [appNdx (u32) ‖ number (u64)]… ‖ crc32 (u32)
//! ```
//!
//! A place that is torn or damaged says nothing, nor does a file that is missing: then there is nothing to hold the log against,
//! which is logged.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use synod_types::AppNdx;

use crate::failpoint::{Point, reach};

const MAGIC: &[u8; 8] = b"synodhd1";
const PLACE_BYTES: usize = 4096;

/// The file, open.
#[derive(Debug)]
pub struct Head {
    file: File,
    turn: u64,
    /// What was written last.
    numbers: BTreeMap<AppNdx, u64>,
}

impl Head {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> io::Result<Head> {
        reach(Point::HeadOpen)?;
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        reach(Point::HeadRead)?;
        let mut newest = None;
        for place in 0..2 {
            let mut bytes = [0; PLACE_BYTES];
            let found = match file.read_exact_at(&mut bytes, place_at(place)) {
                Ok(()) => decode(&bytes),
                Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => None,
                Err(why) => return Err(why),
            };
            newest = newest.max(found);
        }
        let (turn, numbers) = newest.unwrap_or_default();
        Ok(Head { file, turn, numbers })
    }

    /// The number that an application's log has come to at least; 0 if nothing is known.
    pub fn number(&self, app: AppNdx) -> u64 {
        self.numbers.get(&app).copied().unwrap_or_default()
    }

    /// Whether the file says anything.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Writes down that the log has come to these numbers, and is durable that far. Applications that are not among them stay.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&mut self, numbers: impl Iterator<Item = (AppNdx, u64)>) -> io::Result<()> {
        let mut is_new = false;
        for (app, number) in numbers {
            is_new |= self.numbers.insert(app, number) != Some(number);
        }
        if !is_new {
            return Ok(());
        }
        self.turn += 1;
        reach(Point::HeadWrite)?;
        self.file.write_all_at(&encode(self.turn, &self.numbers), place_at(self.turn % 2))
    }

    /// Gives both places their length on disk, so that later writes change no metadata.
    ///
    /// # Errors
    /// The operating system's.
    pub fn make_durable(&mut self) -> io::Result<()> {
        for _ in 0..2 {
            self.turn += 1;
            reach(Point::HeadWrite)?;
            self.file.write_all_at(&encode(self.turn, &self.numbers), place_at(self.turn % 2))?;
        }
        reach(Point::HeadSync)?;
        self.file.sync_all()
    }
}

fn place_at(place: u64) -> u64 {
    place * u64::try_from(PLACE_BYTES).expect("4 KiB")
}

/// A whole place, so that nothing of an earlier one is left behind.
fn encode(turn: u64, numbers: &BTreeMap<AppNdx, u64>) -> Vec<u8> {
    let count = u32::try_from(numbers.len()).expect("few applications");
    let mut bytes = [&MAGIC[..], &turn.to_be_bytes(), &count.to_be_bytes()].concat();
    for (app, number) in numbers {
        bytes.extend_from_slice(&app.0.to_be_bytes());
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes.resize(PLACE_BYTES, 0);
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, BTreeMap<AppNdx, u64>)> {
    let (turn, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
    let (entries, rest) = rest.split_at_checked(count.checked_mul(12)?)?;
    let crc = crc32fast::hash(&bytes[..MAGIC.len() + 8 + 4 + entries.len()]);
    if rest.first_chunk() != Some(&crc.to_be_bytes()) {
        return None;
    }
    let mut numbers = BTreeMap::new();
    for entry in entries.chunks_exact(12) {
        let (app, number) = entry.split_at(4);
        let app = AppNdx(u32::from_be_bytes(app.try_into().ok()?));
        numbers.insert(app, u64::from_be_bytes(number.try_into().ok()?));
    }
    Some((u64::from_be_bytes(*turn), numbers))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_place_is_golden() {
        let numbers = BTreeMap::from([(AppNdx(1), 300), (AppNdx(4), 70_000)]);
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/head-v1.hex");
        let kept = synod_golden::holds(golden, [("place", encode(258, &numbers))]);
        assert_eq!(decode(&kept["place"]), Some((258, numbers)));
    }

    #[test]
    fn a_flipped_byte_costs_one_turn_at_most() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log-head");
        let mut head = Head::open(&path).unwrap();
        assert!(head.is_empty());
        head.make_durable().unwrap();
        for number in 1..=9 {
            head.write([(AppNdx(1), number), (AppNdx(4), 2 * number)].into_iter()).unwrap();
            let again = Head::open(&path).unwrap();
            assert_eq!((again.number(AppNdx(1)), again.number(AppNdx(4))), (number, 2 * number));
        }
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            let number = Head::open(&path).unwrap().number(AppNdx(1));
            assert!([8, 9].contains(&number), "byte {at}: {number}");
        }
        fs::write(&path, &bytes[..PLACE_BYTES + 9]).unwrap();
        assert!([8, 9].contains(&Head::open(&path).unwrap().number(AppNdx(1))));
    }
}
