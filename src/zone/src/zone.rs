//! A zone as a name server needs it: immutable, compact, and quick to look up in.
//!
//! Everything lies in a few arrays. A name in use is a *node*, and so is every name between it and the origin (an empty
//! non-terminal, RFC 4592 2.2.2). Node 0 is the origin; the others follow in the order in which the records named them.
//!
//! ```text
//! index   hash of the lower-case name → node          one probe for a name that exists, one or two for one that does not
//! nodes   name, parent, first RRset, covering node, wildcard child
//! rrsets  type, TTL, first record                     by node; in the order of the file, but SOA first
//! names   owners, wire form, case as in the file
//! rdata   length and bytes, record after record
//! ```
//!
//! What an answer needs to know of a name's ancestors is worked out once, when the zone is built: [`Node::cover`] is the
//! topmost delegation or DNAME on the way from the origin, [`Node::wildcard`] the child `*`.
//!
//! Start with [`Zone::build`] and [`Zone::find`].

mod build;
mod index;

use crate::name::Name;
use crate::record::Record;
use crate::rtype::Rtype;
use crate::zone::index::Index;
use bytes::Bytes;

pub use crate::zone::build::BuildError;

/// The zones of a node, as whoever answers queries sees them.
pub trait Zones {
    /// The zone whose origin is exactly this name, in uncompressed wire form and lower case.
    fn zone(&self, origin: &[u8]) -> Option<&Zone>;

    /// The same, where there may also be a zone that nothing can be answered from.
    fn served(&self, origin: &[u8]) -> Option<Served<'_>> {
        self.zone(origin).map(Served::Whole)
    }
}

/// A zone of a node.
#[derive(Clone, Copy)]
pub enum Served<'z> {
    /// It can be answered from.
    Whole(&'z Zone),
    /// It was published, and its file is not here or does not load. Its names are answered with SERVFAIL, and not as if
    /// there were no such zone.
    Broken,
}

/// An immutable zone, built for look-up.
pub struct Zone {
    origin: Name,
    serial: u32,
    negative_ttl: u32,
    records: usize,
    /// The most labels that a node's name has, the origin's included.
    labels_max: usize,
    index: Index,
    /// The last one is no node: its `rrsets` ends the one before it.
    nodes: Box<[NodeEntry]>,
    /// The last one is no RRset: its `rdata` ends the one before it.
    rrsets: Box<[RrsetEntry]>,
    names: Box<[u8]>,
    rdata: Box<[u8]>,
}

/// No node.
const NONE: u32 = u32::MAX;
/// The node of the origin.
const APEX: u32 = 0;

#[derive(Clone, Copy)]
struct NodeEntry {
    /// Where the name begins in `Zone::names`.
    name: u32,
    /// [`NONE`] for the origin.
    parent: u32,
    /// The first RRset; they end where the next node's begin.
    rrsets: u32,
    /// See [`Node::cover`].
    cover: u32,
    /// See [`Node::wildcard`].
    wildcard: u32,
    /// Bytes of the name.
    name_len: u8,
    /// Labels of the name, the root label not counted.
    labels: u8,
    /// There is an NS RRset, and this is not the origin.
    is_cut: bool,
    /// There is a DNAME.
    has_dname: bool,
}

#[derive(Clone, Copy)]
struct RrsetEntry {
    ttl: u32,
    /// Where the first record's length begins in `Zone::rdata`.
    rdata: u32,
    rtype: Rtype,
}

impl Zone {
    /// Builds a zone from its records, in any order. Lenient: what a strict check refuses (data below a delegation, a
    /// CNAME beside other data) is kept, and answered as the RFCs have it. Records that occur twice are kept once; an
    /// RRset has the TTL of its record that comes first (RFC 2181 5.2 wants them equal).
    ///
    /// # Errors
    /// [`BuildError`] if there is not exactly one SOA, at the origin, or if a record is out of the zone.
    pub fn build(origin: &Name, records: Vec<Record>) -> Result<Zone, BuildError> {
        build::build(origin, &records)
    }

    /// The name of the zone, its case as in the SOA record's owner.
    #[inline]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// The SOA's serial.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// How long a resolver may remember that something is not there, in seconds: the smaller of the SOA's TTL and its
    /// last field (RFC 2308 5).
    pub fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// The SOA: an RRset of one record.
    #[inline]
    pub fn soa(&self) -> Rrset<'_> {
        Rrset { zone: self, at: 0 }
    }

    /// The node of the origin.
    #[inline]
    pub fn apex(&self) -> Node<'_> {
        self.node(APEX)
    }

    /// How many records there are.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// Every record: the SOA first, then by owner and type in the order of the file.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.nodes().flat_map(|node| {
            node.rrsets().flat_map(move |rrset| {
                rrset.records().map(move |rdata| Record {
                    owner: Name::of_valid(node.name()),
                    rtype: rrset.rtype(),
                    rdata: Bytes::copy_from_slice(rdata),
                    ttl: rrset.ttl(),
                })
            })
        })
    }

    /// Every node, the origin first. Those without RRsets are empty non-terminals.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..).take(self.nodes.len() - 1).map(|at| self.node(at))
    }

    /// Bytes that this zone takes in memory.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Zone>()
            + self.origin.as_wire().len()
            + self.index.memory_bytes()
            + size_of_val(&*self.nodes)
            + size_of_val(&*self.rrsets)
            + self.names.len()
            + self.rdata.len()
    }

    /// Looks a name up: its node, or that of its closest ancestor that exists (the closest encloser, RFC 4592 3.3.1).
    /// None if the name is neither the origin nor below it.
    ///
    /// `name` is in uncompressed wire form and lower case. What is no name at all finds nothing or an ancestor.
    pub fn find(&self, name: &[u8]) -> Option<Found<'_>> {
        let origin_len = usize::from(self.nodes[0].name_len);
        let mut below = name.len().checked_sub(origin_len)?;
        if !self.name_at(APEX).eq_ignore_ascii_case(&name[below..]) {
            return None;
        }
        // Where the labels in front of the origin begin.
        let mut starts = [0_u8; crate::name::LABELS_MAX + 1];
        let (mut count, mut at) = (0, 0);
        while at < below {
            *starts.get_mut(count)? = u8::try_from(at).ok()?;
            count += 1;
            at += 1 + usize::from(name[at]);
        }
        if at != below {
            return None;
        }
        // No node is deeper than the deepest: names below that one need no look-up.
        let depth_max = self.labels_max - usize::from(self.nodes[0].labels);
        let skip = count.saturating_sub(depth_max);
        for (nth, start) in starts[..count].iter().enumerate().skip(skip) {
            below = usize::from(*start);
            let suffix = &name[below..];
            let found = self.index.find(suffix, |node| self.name_at(node).eq_ignore_ascii_case(suffix));
            if let Some(node) = found {
                return Some(Found { node: self.node(node), exact: nth == 0 });
            }
        }
        Some(Found { node: self.apex(), exact: count == 0 })
    }

    fn node(&self, at: u32) -> Node<'_> {
        Node { zone: self, at }
    }

    #[inline]
    fn name_at(&self, node: u32) -> &[u8] {
        let entry = &self.nodes[position(node)];
        &self.names[position(entry.name)..][..usize::from(entry.name_len)]
    }
}

/// What [`Zone::find`] found.
#[derive(Clone, Copy)]
pub struct Found<'z> {
    /// The node of the name, or of its closest encloser.
    pub node: Node<'z>,
    /// Whether it is the node of the name itself.
    pub exact: bool,
}

/// A name in a zone: one with records, or with names below it that have some.
#[derive(Clone, Copy)]
pub struct Node<'z> {
    zone: &'z Zone,
    at: u32,
}

/// What stands between the origin and a name, so that the zone's data does not answer for it.
#[derive(Clone, Copy)]
pub enum Cover<'z> {
    /// Nothing.
    None,
    /// The name is at or below this delegation: an NS RRset that is not the origin's.
    Cut(Node<'z>),
    /// The name is below this node, which has a DNAME.
    Dname(Node<'z>),
}

impl<'z> Node<'z> {
    /// The name, in uncompressed wire form, its case as in the file.
    #[inline]
    pub fn name(self) -> &'z [u8] {
        self.zone.name_at(self.at)
    }

    /// Labels of the name, the root label not counted.
    pub fn label_count(self) -> usize {
        usize::from(self.entry().labels)
    }

    /// Whether this is the node of the zone's origin.
    #[inline]
    pub fn is_apex(self) -> bool {
        self.at == APEX
    }

    /// The RRsets, in the order of the file; at the origin, the SOA first.
    #[inline]
    pub fn rrsets(self) -> impl Iterator<Item = Rrset<'z>> {
        let begin = self.entry().rrsets;
        let end = self.zone.nodes[position(self.at) + 1].rrsets;
        (begin..end).map(move |at| Rrset { zone: self.zone, at })
    }

    /// The RRset of this type.
    #[inline]
    pub fn rrset(self, rtype: Rtype) -> Option<Rrset<'z>> {
        self.rrsets().find(|rrset| rrset.rtype() == rtype)
    }

    /// The topmost delegation at or above this name, or the topmost DNAME above it, whichever is nearer to the origin. A
    /// delegation comes before a DNAME of the same owner.
    #[inline]
    pub fn cover(self) -> Cover<'z> {
        match self.entry().cover {
            NONE => Cover::None,
            cover => {
                let node = self.zone.node(cover);
                if node.entry().is_cut { Cover::Cut(node) } else { Cover::Dname(node) }
            }
        }
    }

    /// What stands between the origin and a name below this node that has no node of its own.
    #[inline]
    pub fn cover_below(self) -> Cover<'z> {
        match self.cover() {
            Cover::None if self.entry().has_dname => Cover::Dname(self),
            cover => cover,
        }
    }

    /// The child `*` of this node (RFC 4592): the source of synthesis for names below this node that do not exist.
    #[inline]
    pub fn wildcard(self) -> Option<Node<'z>> {
        match self.entry().wildcard {
            NONE => None,
            at => Some(self.zone.node(at)),
        }
    }

    #[inline]
    fn entry(self) -> &'z NodeEntry {
        &self.zone.nodes[position(self.at)]
    }
}

impl PartialEq for Node<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.zone, other.zone) && self.at == other.at
    }
}

/// The records of one owner and one type; at least one.
#[derive(Clone, Copy)]
pub struct Rrset<'z> {
    zone: &'z Zone,
    at: u32,
}

impl<'z> Rrset<'z> {
    /// The type.
    #[inline]
    pub fn rtype(self) -> Rtype {
        self.entry().rtype
    }

    /// The time to live, in seconds.
    #[inline]
    pub fn ttl(self) -> u32 {
        self.entry().ttl
    }

    /// The data of every record, in the order of the file; wire form, names in it uncompressed.
    #[inline]
    pub fn records(self) -> impl Iterator<Item = &'z [u8]> + Clone {
        let begin = position(self.entry().rdata);
        let end = position(self.zone.rrsets[position(self.at) + 1].rdata);
        Rdatas(&self.zone.rdata[begin..end])
    }

    #[inline]
    fn entry(self) -> &'z RrsetEntry {
        &self.zone.rrsets[position(self.at)]
    }
}

impl PartialEq for Rrset<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.zone, other.zone) && self.at == other.at
    }
}

/// Records, one behind the other: a length in two bytes, big-endian, then that many bytes.
#[derive(Clone)]
struct Rdatas<'z>(&'z [u8]);

impl<'z> Iterator for Rdatas<'z> {
    type Item = &'z [u8];

    #[inline]
    fn next(&mut self) -> Option<&'z [u8]> {
        let (len, rest) = self.0.split_first_chunk()?;
        let (rdata, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)));
        self.0 = rest;
        Some(rdata)
    }
}

#[inline]
fn position(at: u32) -> usize {
    usize::try_from(at).expect("a usize has 32 bits or more")
}

#[cfg(test)]
mod tests;
