//! What changed between two versions of a zone.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::name::Name;
use crate::order::Order;
use crate::rdata;
use crate::record::Record;
use crate::rtype::Rtype;

/// What has to be taken from the old records and added to them to get the new ones. A record is known by its owner, type
/// and data, in which the case of names does not count. As text, one line for each: `-` and the record, `+` and the
/// record, `~` and the RRset with both TTLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// New records without an old one, in canonical order of owners, then by type and data.
    pub added: Vec<Record>,
    /// Old records without a new one, in the same order.
    pub removed: Vec<Record>,
    /// RRsets that are in both and live for another time; records that stay are not listed for it.
    pub retimed: Vec<Retimed>,
}

/// An RRset whose TTL changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retimed {
    /// Whose RRset it is.
    pub owner: Name,
    /// Of which type.
    pub rtype: Rtype,
    /// Its TTL before, in seconds.
    pub old_ttl: u32,
    /// Its TTL now, in seconds.
    pub new_ttl: u32,
}

impl Diff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.retimed.is_empty()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for record in &self.removed {
            writeln!(f, "- {record}")?;
        }
        for record in &self.added {
            writeln!(f, "+ {record}")?;
        }
        for Retimed { owner, rtype, old_ttl, new_ttl } in &self.retimed {
            writeln!(f, "~ {owner} {rtype}: TTL {old_ttl} is now {new_ttl}")?;
        }
        Ok(())
    }
}

/// Compares two versions of a zone. Equal records of one version count once, and an RRset's TTL is that of its first
/// record.
pub fn diff(old: &[Record], new: &[Record]) -> Diff {
    let mut diff = Diff::default();
    let (old_order, new_order) = (order(old), order(new));
    let (mut olds, mut news) = (old_order.owners().peekable(), new_order.owners().peekable());
    loop {
        let ordering = match (olds.peek(), news.peek()) {
            (None, None) => return diff,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.key.cmp(new.key),
        };
        let old_owner = if ordering.is_le() { olds.next() } else { None };
        let new_owner = if ordering.is_ge() { news.next() } else { None };
        let old_items = items(old, old_owner.iter().flat_map(|owner| owner.records()));
        let new_items = items(new, new_owner.iter().flat_map(|owner| owner.records()));
        diff.compare(&old_items, &new_items);
    }
}

fn order(records: &[Record]) -> Order {
    Order::new(records.iter().enumerate(), 0)
}

/// A record of an owner, and what it is known by.
struct Item<'a> {
    record: &'a Record,
    rdata: Cow<'a, [u8]>,
    /// That of the first record of its RRset.
    ttl: u32,
}

impl Item<'_> {
    fn key(&self) -> (Rtype, &[u8]) {
        (self.record.rtype, &self.rdata)
    }
}

/// The records of one owner by type and data, each once.
fn items(records: &[Record], indexes: impl Iterator<Item = usize>) -> Vec<Item<'_>> {
    let of = |index: usize| {
        let record = &records[index];
        Item { record, rdata: rdata::canonical(record.rtype, &record.rdata), ttl: record.ttl }
    };
    let mut items: Vec<Item<'_>> = indexes.map(of).collect();
    // A stable sort: the first record of a type stays in front of the others until its TTL is known.
    items.sort_by_key(|item| item.record.rtype);
    for rrset in items.chunk_by_mut(|a, b| a.record.rtype == b.record.rtype) {
        let ttl = rrset[0].ttl;
        rrset.iter_mut().for_each(|item| item.ttl = ttl);
        rrset.sort_by(|a, b| a.rdata.cmp(&b.rdata));
    }
    items.dedup_by(|a, b| a.key() == b.key());
    items
}

impl Diff {
    /// Compares the records of one owner.
    fn compare(&mut self, olds: &[Item<'_>], news: &[Item<'_>]) {
        let (mut olds, mut news) = (olds.iter().peekable(), news.iter().peekable());
        let mut retimed = None;
        loop {
            let ordering = match (olds.peek(), news.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.key().cmp(&new.key()),
            };
            let old = if ordering.is_le() { olds.next() } else { None };
            let new = if ordering.is_ge() { news.next() } else { None };
            match (old, new) {
                (Some(old), Some(new)) => {
                    let rtype = new.record.rtype;
                    if old.ttl != new.ttl && retimed != Some(rtype) {
                        retimed = Some(rtype);
                        let owner = new.record.owner.clone();
                        self.retimed.push(Retimed { owner, rtype, old_ttl: old.ttl, new_ttl: new.ttl });
                    }
                }
                (old, new) => {
                    self.removed.extend(old.map(|item| item.record.clone()));
                    self.added.extend(new.map(|item| item.record.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone_file;

    fn records(text: &str) -> Vec<Record> {
        zone_file::parse(text.as_bytes(), &"example.org".parse().unwrap()).unwrap().records
    }

    #[test]
    fn added_removed_and_retimed() {
        let old = records(
            "$TTL 300\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\na A 192.0.2.2\na A 192.0.2.3\na MX 1 NS1\n\
             gone TXT x\n",
        );
        let new = records(
            "$TTL 600\n@ 300 SOA ns1 host 2 2 3 4 5\n@ 300 NS NS1.example.org.\nNS1 A 192.0.2.1\nns1 A 192.0.2.1\n\
             a A 192.0.2.4\na A 192.0.2.3\na 300 MX 1 ns1\n",
        );
        let text = diff(&old, &new).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "- example.org. 300 IN SOA ns1.example.org. host.example.org. 1 2 3 4 5",
                "- a.example.org. 300 IN A 192.0.2.2",
                "- gone.example.org. 300 IN TXT \"x\"",
                "+ example.org. 300 IN SOA ns1.example.org. host.example.org. 2 2 3 4 5",
                "+ a.example.org. 600 IN A 192.0.2.4",
                "~ a.example.org. A: TTL 300 is now 600",
                "~ NS1.example.org. A: TTL 300 is now 600",
            ]
        );
        assert!(diff(&new, &new).is_empty() && diff(&[], &[]).is_empty());
        let back = diff(&new, &old);
        assert_eq!((back.added.len(), back.removed.len(), back.retimed.len()), (3, 2, 2));
    }
}
