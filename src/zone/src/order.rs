//! Records in the order of their owners, without moving them.

use std::cmp::Ordering;
use std::ops::Range;

use crate::name;
use crate::record::Record;

/// Records in canonical order of their owners, and those of one owner in the order in which they came. What is below a
/// name follows it directly.
pub(crate) struct Order {
    /// Keys that compare as their names do ([`name::put_sort_key`]), one behind the other.
    keys: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Where the owner's key is.
    begin: u32,
    end: u32,
    /// Which record.
    index: u32,
}

impl Order {
    /// The order of `records`. All owners end in the same `suffix` bytes of wire form, which play no part.
    ///
    /// # Panics
    /// If keys or records outgrow 32 bits; [`crate::zone_file`]'s limits are far below.
    pub(crate) fn new<'a>(records: impl Iterator<Item = (usize, &'a Record)>, suffix: usize) -> Order {
        let mut order = Order { keys: Vec::new(), entries: Vec::new() };
        let narrow = |number: usize| u32::try_from(number).expect("a zone file is not that large");
        let mut last: &[u8] = &[];
        let mut range = 0..0;
        for (index, record) in records {
            let wire = record.owner.as_wire();
            // Records of one owner mostly stand together, and share a key then.
            if wire != last {
                let begin = order.keys.len();
                name::put_sort_key(&wire[..wire.len() - suffix], &mut order.keys);
                range = narrow(begin)..narrow(order.keys.len());
                last = wire;
            }
            order.entries.push(Entry { begin: range.start, end: range.end, index: narrow(index) });
        }
        let keys = &order.keys;
        order.entries.sort_unstable_by(|a, b| a.compare_owner(b, keys).then(a.index.cmp(&b.index)));
        order
    }

    /// Each owner's key and records.
    pub(crate) fn owners(&self) -> impl Iterator<Item = Owner<'_>> {
        let mut begin = 0;
        std::iter::from_fn(move || {
            let first = self.entries.get(begin)?;
            let rest = &self.entries[begin..];
            let same = |entry: &&Entry| first.compare_owner(entry, &self.keys) == Ordering::Equal;
            let len = rest.iter().take_while(same).count();
            let range = begin..begin + len;
            begin = range.end;
            Some(Owner { key: first.key(&self.keys), range, order: self })
        })
    }

    /// The records at `range`, as indexes.
    pub(crate) fn records(&self, range: Range<usize>) -> impl Iterator<Item = usize> + Clone {
        self.entries[range].iter().map(|entry| usize::try_from(entry.index).unwrap_or(usize::MAX))
    }
}

impl Entry {
    fn key<'a>(&self, keys: &'a [u8]) -> &'a [u8] {
        let at = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        &keys[at(self.begin)..at(self.end)]
    }

    fn compare_owner(&self, other: &Entry, keys: &[u8]) -> Ordering {
        if self.begin == other.begin && self.end == other.end {
            return Ordering::Equal;
        }
        self.key(keys).cmp(other.key(keys))
    }
}

/// One owner of records.
pub(crate) struct Owner<'a> {
    /// Compares as the name does; a name below it has a key that begins with it.
    pub(crate) key: &'a [u8],
    /// Where its records are in the order.
    pub(crate) range: Range<usize>,
    order: &'a Order,
}

impl Owner<'_> {
    /// Its records, as indexes.
    pub(crate) fn records(&self) -> impl Iterator<Item = usize> + Clone {
        self.order.records(self.range.clone())
    }
}
