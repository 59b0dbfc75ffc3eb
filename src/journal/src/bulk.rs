//! Large values in files beside the store, each written once. The store keeps several values in a page, and writes a page anew
//! as values come to it: a byte that comes in goes to the disk some five times. Of what lies here, the store only has the
//! [`Place`].
//!
//! A place is in the store only when what lies there is durable, so a place that leads nowhere is damage, never the mark of a
//! crash. Files are only appended to, each by one process: what a crash has left at the end of one is nobody's. A file goes as
//! soon as the store durably has no place in it any more. Nothing is written down about that: places are counted when the store
//! is opened.
//!
//! ```text
//! bulk/0123456789abcdef   values, one behind the other, which say themselves, by their checksums, what they are; its number is
//!                         random, so that a place in a file that was lost never leads into a later one
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::failpoint::{Point, reach, sync_path};
use crate::record::{self, Entry};

/// Bytes after which the next values go into another file.
const FILE_BYTES: u64 = 32 << 20;
/// Bytes of a value that is worth a place here; a place takes some 25.
const VALUE_BYTES_MIN: usize = 1 << 10;

/// Where a value lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// In which file.
    file: u64,
    /// From which byte on.
    at: u64,
    /// How many bytes.
    len: u32,
}

impl Place {
    /// What the store has in place of the value at `key`.
    pub(crate) fn encode(self, key: &[u8]) -> Vec<u8> {
        let place = [&self.file.to_be_bytes()[..], &self.at.to_be_bytes(), &self.len.to_be_bytes()];
        record::elsewhere(key, &place.concat())
    }

    /// The place that the store has at `key`, if it has one there.
    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Place> {
        let (file, rest) = record::decode_elsewhere(key, value)?.split_first_chunk()?;
        let (at, rest) = rest.split_first_chunk()?;
        let len = rest.try_into().ok()?;
        Some(Place {
            file: u64::from_be_bytes(*file),
            at: u64::from_be_bytes(*at),
            len: u32::from_be_bytes(len),
        })
    }
}

/// The files.
pub(crate) struct Bulk {
    dir: PathBuf,
    /// How many places there are in each file.
    places: BTreeMap<u64, u64>,
    /// Whether `places` is all of them. Where they could not be counted, no file goes before the next start.
    is_counted: bool,
    /// The one that is written to.
    current: Option<Current>,
    /// The one that was read last, if it is another one.
    read: Option<(u64, File)>,
}

struct Current {
    number: u64,
    file: File,
    bytes: u64,
    /// Whether something was written that is not durable.
    is_open: bool,
    /// Whether its name is not durable.
    is_new: bool,
}

impl Bulk {
    /// The files in `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Bulk> {
        reach(Point::BulkDirCreate)?;
        fs::create_dir_all(&dir)?;
        let mut places = BTreeMap::new();
        reach(Point::BulkList)?;
        for entry in fs::read_dir(&dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
            places.extend(number.map(|number| (number, 0)));
        }
        Ok(Bulk { dir, places, is_counted: true, current: None, read: None })
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there are no files, and so no places.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The store has a place.
    pub(crate) fn count(&mut self, place: Place) {
        *self.places.entry(place.file).or_default() += 1;
    }

    /// The store's places cannot all be told.
    pub(crate) fn give_up_counting(&mut self) {
        self.is_counted = false;
    }

    /// The store has a place no more.
    pub(crate) fn release(&mut self, place: Place) {
        if let Some(count) = self.places.get_mut(&place.file) {
            *count = count.saturating_sub(1);
        }
    }

    /// Writes the large ones of these values, and leaves their places, which are for the store when [`Bulk::sync`] has returned.
    /// `false`: there are none.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn take(&mut self, entries: &mut [Entry]) -> io::Result<bool> {
        let is_large = |entry: &Entry| entry.value.len() >= VALUE_BYTES_MIN;
        if !entries.iter().any(is_large) {
            return Ok(false);
        }
        let current = self.writable()?;
        let (number, mut at) = (current.number, current.bytes);
        let mut bytes = Vec::new();
        let mut places = 0;
        for entry in entries.iter_mut().filter(|entry| is_large(entry)) {
            let len = u32::try_from(entry.value.len()).expect("a value is a part of a record, of some KiB");
            let place = Place { file: number, at, len };
            at += u64::from(len);
            places += 1;
            bytes.extend_from_slice(&entry.value);
            entry.value = place.encode(&entry.key);
        }
        reach(Point::BulkWrite)?;
        current.file.write_all_at(&bytes, current.bytes)?;
        (current.bytes, current.is_open) = (at, true);
        *self.places.entry(number).or_default() += places;
        Ok(true)
    }

    /// The file to write to; another one where that is full.
    fn writable(&mut self) -> io::Result<&mut Current> {
        if self.current.as_ref().is_some_and(|current| current.bytes >= FILE_BYTES) {
            self.sync()?;
            self.current = None;
        }
        if self.current.is_none() {
            let number = rand::random();
            reach(Point::BulkCreate)?;
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(number))?;
            self.places.insert(number, 0);
            self.current = Some(Current { number, file, bytes: 0, is_open: false, is_new: true });
        }
        Ok(self.current.as_mut().expect("it was made"))
    }

    /// Returns when everything that was taken is on disk.
    ///
    /// # Errors
    /// The operating system's; nothing is known then about what is on disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let Some(current) = self.current.as_mut().filter(|current| current.is_open) else { return Ok(()) };
        reach(Point::BulkSync)?;
        current.file.sync_data()?;
        if current.is_new {
            sync_path(&self.dir, [Point::BulkDirOpen, Point::BulkDirSync])?;
        }
        (current.is_open, current.is_new) = (false, false);
        Ok(())
    }

    /// The value at a place; `None` if it is not there any more.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn read(&mut self, place: Place) -> io::Result<Option<Vec<u8>>> {
        let is_gone =
            |why: &io::Error| matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
        let mut value = vec![0; usize::try_from(place.len).expect("usize has 32 bits at least")];
        let mut read = || {
            let file = self.readable(place.file)?;
            reach(Point::BulkRead)?;
            file.read_exact_at(&mut value, place.at)
        };
        match read() {
            Ok(()) => Ok(Some(value)),
            Err(why) if is_gone(&why) => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn readable(&mut self, number: u64) -> io::Result<&File> {
        if let Some(current) = self.current.as_ref().filter(|current| current.number == number) {
            return Ok(&current.file);
        }
        if self.read.as_ref().is_none_or(|(last, _)| *last != number) {
            reach(Point::BulkOpen)?;
            self.read = Some((number, File::open(self.path(number))?));
        }
        let (_, file) = self.read.as_ref().expect("it was opened");
        Ok(file)
    }

    /// Removes the files in which there are no places. To be called when the store is durable as it is.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn remove_unused(&mut self) -> io::Result<()> {
        if !self.is_counted {
            return Ok(());
        }
        let current = self.current.as_ref().map(|current| current.number);
        let is_unused =
            |(number, places): (&u64, &u64)| (*places == 0 && Some(*number) != current).then_some(*number);
        while let Some(number) = self.places.iter().find_map(is_unused) {
            self.read = self.read.take().filter(|(last, _)| *last != number);
            reach(Point::BulkRemove)?;
            match fs::remove_file(self.path(number)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                _ => self.places.remove(&number),
            };
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use synod_types::{AppNdx, Slot};

    use super::*;

    #[test]
    fn a_place_is_golden() {
        let key = record::accepted_key(AppNdx(7), Slot(258), 1);
        let place = Place { file: 0x1122_3344_5566_7788, at: 70_000, len: 16_400 };
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/place-v4.hex");
        let kept = synod_golden::holds(file, [("key", key.clone()), ("value", place.encode(&key))]);
        assert_eq!(Place::decode(&kept["key"], &kept["value"]), Some(place));
    }

    #[test]
    fn what_is_no_place_is_none() {
        let (key, other) = (record::promised_key(AppNdx(7)), record::promised_key(AppNdx(8)));
        let value = Place { file: 1, at: 2, len: 3 }.encode(&key);
        assert_eq!(Place::decode(&other, &value), None, "at another key");
        for len in 0..value.len() {
            assert_eq!(Place::decode(&key, &value[..len]), None, "{len} bytes");
        }
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Place::decode(&key, &flipped), None, "bit {bit}");
        }
        assert!(record::decode_part(&key, &value).is_err(), "a place is no record");
    }
}
