//! From records to a zone, in time proportional to their number (but for sorting the records of one name).

use std::ops::Range;

use crate::name::{LABELS_MAX, NAME_BYTES_MAX, Name};
use crate::rdata;
use crate::record::{RDATA_BYTES_MAX, Record};
use crate::rtype::Rtype;
use crate::zone::index::{self, Index};
use crate::zone::{APEX, NONE, NodeEntry, RrsetEntry, Zone, position};

/// Bytes of one of the arrays that a zone lies in: what a 32-bit position reaches, and far beyond any zone file.
const ARRAY_BYTES_MAX: usize = 1 << 30;
/// Names and records of a zone: their numbers have 32 bits, and less than all of them.
const ENTRIES_MAX: usize = 1 << 28;

/// Why records make no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// There is no SOA at the origin.
    #[error("the zone {0} has no SOA record at its origin")]
    NoSoa(Name),
    /// There is more than one SOA, or one that is not at the origin.
    #[error("a zone has one SOA record, at its origin; this one is at {0}")]
    SecondSoa(Name),
    /// The SOA's data is not two names and five numbers.
    #[error("the SOA record's data is not two names and five numbers")]
    BadSoa,
    /// A record is out of the zone.
    #[error("{0} is neither the zone's origin nor below it")]
    OutOfZone(Name),
    /// Data beyond 65,535 bytes.
    #[error("the data of a record at {0} has more than {RDATA_BYTES_MAX} bytes")]
    RecordTooLarge(Name),
    /// More than a zone can hold.
    #[error(
        "the zone is too large: at most {ENTRIES_MAX} records, and {ARRAY_BYTES_MAX} bytes of names or data"
    )]
    TooLarge,
}

pub(super) fn build(origin: &Name, records: &[Record]) -> Result<Zone, BuildError> {
    let soa = find_soa(origin, records)?;
    let (serial, minimum) = soa_numbers(&soa.rdata).ok_or(BuildError::BadSoa)?;

    let mut builder = Builder::new(&soa.owner, records);
    let mut owners = Vec::with_capacity(records.len());
    for record in records {
        let owner = match owners.last() {
            // Records of one owner mostly stand together.
            Some(last) if builder.name(*last) == record.owner.as_wire() => *last,
            _ => builder.node(&record.owner)?,
        };
        owners.push(owner);
    }
    builder.fit();
    builder.fill(records, &owners)?;
    let labels_max = builder.nodes.iter().map(|node| node.labels).max().unwrap_or(0);

    // The sentinels: where the last node's RRsets and the last RRset's records end.
    let rrsets_end = number(builder.rrsets.len())?;
    let rdata_end = number(builder.rdata.len())?;
    builder.nodes.push(NodeEntry { rrsets: rrsets_end, ..NodeEntry::NEW });
    builder.rrsets.push(RrsetEntry { ttl: 0, rdata: rdata_end, rtype: Rtype(0) });
    Ok(Zone {
        origin: soa.owner.clone(),
        serial,
        negative_ttl: minimum.min(builder.rrsets[0].ttl),
        records: builder.records,
        labels_max: usize::from(labels_max),
        index: builder.index,
        nodes: builder.nodes.into(),
        rrsets: builder.rrsets.into(),
        names: builder.names.into(),
        rdata: builder.rdata.into(),
    })
}

fn find_soa<'a>(origin: &Name, records: &'a [Record]) -> Result<&'a Record, BuildError> {
    let mut soa: Option<&Record> = None;
    for record in records.iter().filter(|record| record.rtype == Rtype::SOA) {
        match soa {
            Some(first) if first.owner != record.owner || first.rdata != record.rdata => {
                return Err(BuildError::SecondSoa(record.owner.clone()));
            }
            None if record.owner != *origin => return Err(BuildError::SecondSoa(record.owner.clone())),
            Some(_) => {}
            None => soa = Some(record),
        }
    }
    soa.ok_or_else(|| BuildError::NoSoa(origin.clone()))
}

/// Serial and minimum.
fn soa_numbers(rdata: &[u8]) -> Option<(u32, u32)> {
    let mname = crate::name::wire_len(rdata).ok()?;
    let rname = crate::name::wire_len(&rdata[mname..]).ok()?;
    let numbers: &[u8; 20] = rdata[mname + rname..].try_into().ok()?;
    let at = |begin: usize| u32::from_be_bytes(numbers[begin..begin + 4].try_into().expect("four bytes"));
    Some((at(0), at(16)))
}

struct Builder {
    index: Index,
    seed: u64,
    nodes: Vec<NodeEntry>,
    rrsets: Vec<RrsetEntry>,
    names: Vec<u8>,
    rdata: Vec<u8>,
    records: usize,
}

impl NodeEntry {
    const NEW: NodeEntry = NodeEntry {
        name: 0,
        parent: NONE,
        rrsets: 0,
        cover: NONE,
        wildcard: NONE,
        name_len: 0,
        labels: 0,
        is_cut: false,
        has_dname: false,
    };
}

impl Builder {
    /// A zone with nothing but the node of its origin.
    fn new(origin: &Name, records: &[Record]) -> Builder {
        let seed = records.iter().fold(0, |seed, record| index::hash(seed, record.owner.as_wire()));
        let mut builder = Builder {
            index: Index::with_room(1, seed),
            seed,
            nodes: Vec::new(),
            rrsets: Vec::new(),
            names: Vec::new(),
            rdata: Vec::new(),
            records: 0,
        };
        builder.add_node(origin.as_wire(), NONE, origin.label_count()).expect("room for one");
        builder
    }

    /// The node of an owner; it and those of its ancestors are added where they are missing.
    fn node(&mut self, owner: &Name) -> Result<u32, BuildError> {
        let wire = owner.as_wire();
        let origin_len = usize::from(self.nodes[0].name_len);
        let in_zone = wire.len().checked_sub(origin_len);
        let Some(below) = in_zone.filter(|below| wire[*below..].eq_ignore_ascii_case(self.name(APEX))) else {
            return Err(BuildError::OutOfZone(owner.clone()));
        };
        // The names that are missing, from the owner up; then the first ancestor that is there.
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = &mut lower[..wire.len()];
        lower.copy_from_slice(wire);
        lower.make_ascii_lowercase();
        let mut missing = [0; LABELS_MAX];
        let (mut count, mut at) = (0, 0);
        let mut parent = APEX;
        while at < below {
            if let Some(node) = self.find(&lower[at..]) {
                parent = node;
                break;
            }
            missing[count] = at;
            count += 1;
            at += 1 + usize::from(wire[at]);
        }
        if at > below {
            return Err(BuildError::OutOfZone(owner.clone()));
        }
        for at in missing[..count].iter().rev() {
            let labels = usize::from(self.nodes[position(parent)].labels) + 1;
            let node = self.add_node(&wire[*at..], parent, labels)?;
            if wire[*at..].starts_with(b"\x01*") {
                self.nodes[position(parent)].wildcard = node;
            }
            parent = node;
        }
        Ok(parent)
    }

    fn find(&self, lower: &[u8]) -> Option<u32> {
        self.index.find(lower, |node| self.name(node).eq_ignore_ascii_case(lower))
    }

    fn name(&self, node: u32) -> &[u8] {
        let entry = &self.nodes[position(node)];
        &self.names[position(entry.name)..][..usize::from(entry.name_len)]
    }

    fn add_node(&mut self, wire: &[u8], parent: u32, labels: usize) -> Result<u32, BuildError> {
        let node = number(self.nodes.len())?;
        if self.nodes.len() >= ENTRIES_MAX {
            return Err(BuildError::TooLarge);
        }
        let name = number(self.names.len())?;
        self.names.extend_from_slice(wire);
        self.nodes.push(NodeEntry {
            name,
            parent,
            name_len: u8::try_from(wire.len()).expect("a name has at most 255 bytes"),
            labels: u8::try_from(labels).expect("a name has at most 127 labels"),
            ..NodeEntry::NEW
        });
        if self.index.is_full(self.nodes.len()) {
            self.grow();
        } else {
            self.index.insert(&wire.to_ascii_lowercase(), node);
        }
        Ok(node)
    }

    /// Puts all nodes into an index with room for twice as many.
    fn grow(&mut self) {
        self.index_again(self.nodes.len() * 2);
    }

    fn index_again(&mut self, room: usize) {
        let mut index = Index::with_room(room, self.seed);
        let mut lower = [0; NAME_BYTES_MAX];
        for node in 0..number(self.nodes.len()).expect("checked when they were added") {
            let name = self.name(node);
            let lower = &mut lower[..name.len()];
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            index.insert(lower, node);
        }
        self.index = index;
    }

    /// All nodes are there: the index gets the room that it needs and no more.
    fn fit(&mut self) {
        self.index_again(self.nodes.len());
        self.names.shrink_to_fit();
    }

    /// Puts the records where they belong, then works out what covers what.
    fn fill(&mut self, records: &[Record], owners: &[u32]) -> Result<(), BuildError> {
        if records.len() > ENTRIES_MAX {
            return Err(BuildError::TooLarge);
        }
        let by_owner = group(owners, self.nodes.len());
        let mut ranks = Vec::new();
        for node in 0..self.nodes.len() {
            self.nodes[node].rrsets = number(self.rrsets.len())?;
            by_type(records, &by_owner.members[by_owner.range(node)], &mut ranks);
            for same_type in ranks.chunk_by(|a, b| a.rank == b.rank) {
                self.add_rrset(records, same_type)?;
                let rtype = records[same_type[0].record].rtype;
                self.nodes[node].is_cut |= rtype == Rtype::NS && node != position(APEX);
                self.nodes[node].has_dname |= rtype == Rtype::DNAME;
            }
        }
        self.cover();
        Ok(())
    }

    fn add_rrset(&mut self, records: &[Record], members: &[Ranked]) -> Result<(), BuildError> {
        let first = &records[members[0].record];
        self.rrsets.push(RrsetEntry { ttl: first.ttl, rdata: number(self.rdata.len())?, rtype: first.rtype });
        for record in distinct(records, members) {
            let Ok(len) = u16::try_from(record.rdata.len()) else {
                return Err(BuildError::RecordTooLarge(record.owner.clone()));
            };
            self.rdata.extend_from_slice(&len.to_be_bytes());
            self.rdata.extend_from_slice(&record.rdata);
            self.records += 1;
        }
        Ok(())
    }

    /// A parent comes before or after its children; each node asks upwards until it meets one that knows.
    fn cover(&mut self) {
        let mut known = vec![false; self.nodes.len()];
        known[position(APEX)] = true;
        let mut path = Vec::with_capacity(LABELS_MAX);
        for node in 0..self.nodes.len() {
            let mut at = node;
            while !known[at] {
                path.push(at);
                at = position(self.nodes[at].parent);
            }
            while let Some(at) = path.pop() {
                let parent = self.nodes[at].parent;
                let above = self.nodes[position(parent)];
                let this = number(at).expect("checked when it was added");
                self.nodes[at].cover = match above.cover {
                    NONE if above.has_dname => parent,
                    NONE if self.nodes[at].is_cut => this,
                    cover => cover,
                };
                known[at] = true;
            }
        }
    }
}

/// The records' numbers, node by node, in the order of the file.
struct ByOwner {
    begins: Vec<usize>,
    members: Vec<usize>,
}

impl ByOwner {
    fn range(&self, node: usize) -> Range<usize> {
        self.begins[node]..self.begins[node + 1]
    }
}

fn group(owners: &[u32], nodes: usize) -> ByOwner {
    let mut begins = vec![0; nodes + 1];
    for owner in owners {
        begins[position(*owner) + 1] += 1;
    }
    for node in 0..nodes {
        begins[node + 1] += begins[node];
    }
    let mut next = begins.clone();
    let mut members = vec![0; owners.len()];
    for (record, owner) in owners.iter().enumerate() {
        let slot = &mut next[position(*owner)];
        members[*slot] = record;
        *slot += 1;
    }
    ByOwner { begins, members }
}

/// A record's number, and its RRset's place among those of the same owner.
#[derive(Clone, Copy)]
struct Ranked {
    rank: usize,
    record: usize,
}

/// Sorts one owner's records by type, the types by their first record; SOA comes first.
fn by_type(records: &[Record], members: &[usize], ranks: &mut Vec<Ranked>) {
    ranks.clear();
    ranks.extend(members.iter().map(|record| Ranked { rank: *record, record: *record }));
    if ranks.len() < 2 {
        return;
    }
    ranks.sort_by_key(|ranked| (records[ranked.record].rtype.0, ranked.record));
    for same_type in ranks.chunk_by_mut(|a, b| records[a.record].rtype == records[b.record].rtype) {
        let is_soa = records[same_type[0].record].rtype == Rtype::SOA;
        let rank = if is_soa { 0 } else { same_type[0].record + 1 };
        for ranked in same_type {
            ranked.rank = rank;
        }
    }
    ranks.sort_by_key(|ranked| (ranked.rank, ranked.record));
}

/// The records of one RRset without repetitions, in the order of the file.
fn distinct<'a>(records: &'a [Record], members: &[Ranked]) -> impl Iterator<Item = &'a Record> {
    let mut kept: Vec<(Vec<u8>, usize)> = match members {
        [one] => vec![(Vec::new(), one.record)],
        many => many.iter().map(|ranked| (canonical(&records[ranked.record]), ranked.record)).collect(),
    };
    // Sorting is stable: of equal ones, the first stays.
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    kept.dedup_by(|later, earlier| later.0 == earlier.0);
    kept.sort_by_key(|(_, record)| *record);
    kept.into_iter().map(|(_, record)| &records[record])
}

/// A record's data with its names in lower case: equal for equal records (RFC 4034 6.2, RFC 6840 5.1).
fn canonical(record: &Record) -> Vec<u8> {
    let mut canonical = record.rdata.to_vec();
    for name in rdata::names(record.rtype, &record.rdata) {
        let begin = name.as_ptr().addr() - record.rdata.as_ptr().addr();
        canonical[begin..begin + name.len()].make_ascii_lowercase();
    }
    canonical
}

/// A number of 32 bits that is not [`NONE`].
fn number(len: usize) -> Result<u32, BuildError> {
    if len > ARRAY_BYTES_MAX {
        return Err(BuildError::TooLarge);
    }
    u32::try_from(len).map_err(|_| BuildError::TooLarge)
}
