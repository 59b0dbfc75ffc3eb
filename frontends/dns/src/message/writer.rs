//! Writing a message: names compressed, within a limit.

use synod_zone::zone::Rrset;
use synod_zone::{Rtype, rdata};

use crate::message::{CLASS_IN, HEADER_BYTES};

/// Where pointers no longer reach (RFC 1035 4.1.4): 14 bits.
pub(crate) const POINTER_END: usize = 0x4000;

/// Where names stand in a message, for pointers to them. `SLOTS` is a power of two; three quarters are used, and
/// names beyond that are written out. 256 are plenty for an answer, 4,096 for the messages of a transfer.
pub struct NameTable<const SLOTS: usize = 256>([u16; SLOTS]);

impl<const SLOTS: usize> NameTable<SLOTS> {
    /// A table without names.
    pub fn new() -> NameTable<SLOTS> {
        const { assert!(SLOTS.is_power_of_two() && SLOTS > 1) };
        NameTable([0; SLOTS])
    }
}

impl<const SLOTS: usize> Default for NameTable<SLOTS> {
    fn default() -> Self {
        NameTable::new()
    }
}

/// Whether a pointer may lead to the same name in another case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// It may: answers take the case of the question, and stay small.
    Ignored,
    /// It may not: a secondary gets every name as its author wrote it.
    Kept,
}

/// A section of records, by its place in the header's counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// The answer.
    Answer,
    /// The authority.
    Authority,
    /// The additional data.
    Additional,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is full")]
pub struct Full;

/// Whose record it is.
#[derive(Clone, Copy)]
pub enum Owner<'n> {
    /// The name in uncompressed wire form.
    Named(&'n [u8]),
    /// The name that stands at this place of the message, which is less than 16,384.
    At(usize),
}

/// A place to go back to.
#[derive(Clone, Copy)]
pub struct Mark {
    len: usize,
    counts: [u16; 4],
}

/// A message in the making.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    slots: &'a mut [u16],
    used: usize,
    /// The question's names are entered when the first name asks for them: many answers have none to compress.
    is_question_entered: bool,
    case: Case,
    limit: usize,
    counts: [u16; 4],
}

impl<'a> Writer<'a> {
    /// An empty message of at most `limit` bytes, in the place of what `out` held. `table` is empty.
    pub fn new<const SLOTS: usize>(
        out: &'a mut Vec<u8>,
        table: &'a mut NameTable<SLOTS>,
        case: Case,
        limit: usize,
    ) -> Writer<'a> {
        out.clear();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        Writer { out, slots: &mut table.0, used: 0, is_question_entered: false, case, limit, counts: [0; 4] }
    }

    /// Writes the header: the message's number, and the flags with opcode and rcode.
    pub fn header(&mut self, id: u16, flags: u16) {
        self.out[0..2].copy_from_slice(&id.to_be_bytes());
        self.out[2..4].copy_from_slice(&flags.to_be_bytes());
        for (count, bytes) in self.counts.iter().zip(self.out[4..HEADER_BYTES].chunks_exact_mut(2)) {
            bytes.copy_from_slice(&count.to_be_bytes());
        }
    }

    /// Writes the question as it came. It is the first thing behind the header, if anything of it is.
    pub fn question(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.out.len(), HEADER_BYTES);
        self.out.extend_from_slice(bytes);
        self.counts[0] = 1;
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is nothing behind the header.
    pub fn is_empty(&self) -> bool {
        self.out.len() == HEADER_BYTES
    }

    /// Whether [`Writer::raw`] went over the limit.
    pub fn is_over(&self) -> bool {
        self.out.len() > self.limit
    }

    /// Keeps room for this many bytes of [`Writer::raw`] at the end.
    pub fn reserve(&mut self, bytes: usize) {
        self.limit = self.limit.saturating_sub(bytes);
    }

    /// Leaves nothing behind.
    pub fn abandon(self) {
        self.out.clear();
    }

    /// Writes a record of class IN. Gives the place where its data begins: that of a CNAME is a name, to which owners
    /// can point.
    ///
    /// # Errors
    /// [`Full`]; the message is then as before.
    pub fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<usize, Full> {
        let mark = self.mark();
        let placed = self.put(section, owner, rtype, ttl, rdata);
        if placed.is_err() {
            self.undo(mark);
        }
        placed
    }

    /// Writes all records of an RRset. Gives the place where the first one's data begins.
    ///
    /// # Errors
    /// [`Full`] if there is no room for all; the message is then as before.
    pub fn rrset(&mut self, section: Section, owner: Owner<'_>, rrset: Rrset<'_>) -> Result<usize, Full> {
        let mark = self.mark();
        let placed = self.put_rrset(section, owner, rrset);
        if placed.is_err() {
            self.undo(mark);
        }
        placed
    }

    /// Writes a record that is ready, names in it uncompressed, whatever the limit.
    pub fn raw(&mut self, section: Section, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.out);
        self.count(section);
    }

    /// The place where the message is now.
    pub fn mark(&self) -> Mark {
        Mark { len: self.out.len(), counts: self.counts }
    }

    /// Takes back everything since `mark`.
    pub fn undo(&mut self, mark: Mark) {
        self.out.truncate(mark.len);
        self.counts = mark.counts;
        // Some names stand no more where the table has them; it fills again.
        self.slots.fill(0);
        self.used = 0;
        self.is_question_entered = false;
    }

    fn put_rrset(&mut self, section: Section, owner: Owner<'_>, rrset: Rrset<'_>) -> Result<usize, Full> {
        let (rtype, ttl) = (rrset.rtype(), rrset.ttl());
        let mut first = None;
        let mut owner = owner;
        for rdata in rrset.records() {
            let begin = self.out.len();
            let placed = self.put(section, owner, rtype, ttl, rdata)?;
            first = first.or(Some(placed));
            if begin < POINTER_END && matches!(owner, Owner::Named(_)) {
                owner = Owner::At(begin);
            }
        }
        Ok(first.unwrap_or(self.out.len()))
    }

    fn put(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<usize, Full> {
        match owner {
            Owner::At(at) => self.pointer(at),
            Owner::Named(name) => self.name(name),
        }
        let mut fixed = [0; 10];
        fixed[0..2].copy_from_slice(&rtype.0.to_be_bytes());
        fixed[2..4].copy_from_slice(&CLASS_IN.to_be_bytes());
        fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&fixed);
        let begin = self.out.len();
        if begin + rdata.len() > self.limit && !has_names(rtype) {
            return Err(Full);
        }
        self.rdata(rtype, rdata);
        let len = u16::try_from(self.out.len() - begin).map_err(|_| Full)?;
        self.out[begin - 2..begin].copy_from_slice(&len.to_be_bytes());
        if self.out.len() > self.limit {
            return Err(Full);
        }
        self.count(section);
        Ok(begin)
    }

    fn rdata(&mut self, rtype: Rtype, rdata: &[u8]) {
        if !has_names(rtype) {
            self.out.extend_from_slice(rdata);
            return;
        }
        for part in rdata::parts(rtype, rdata) {
            match part {
                rdata::Part::Name(name) => self.name(name),
                rdata::Part::Bytes(bytes) => self.out.extend_from_slice(bytes),
            }
        }
    }

    fn count(&mut self, section: Section) {
        let at = match section {
            Section::Answer => 1,
            Section::Authority => 2,
            Section::Additional => 3,
        };
        self.counts[at] = self.counts[at].saturating_add(1);
    }

    /// Writes a name: labels that stand nowhere yet, then a pointer to where the rest stands.
    fn name(&mut self, wire: &[u8]) {
        if !self.is_question_entered {
            self.is_question_entered = true;
            self.enter_question();
        }
        let mut rest = wire;
        while let Some((&len @ 1.., _)) = rest.split_first() {
            match self.look_up(rest) {
                Ok(at) => return self.pointer(at),
                Err(slot) => self.enter(slot, self.out.len()),
            }
            let (label, behind) = rest.split_at(1 + usize::from(len));
            self.out.extend_from_slice(label);
            rest = behind;
        }
        self.out.push(0);
    }

    fn pointer(&mut self, at: usize) {
        let at = u16::try_from(at).expect("pointers reach less than 16,384 bytes");
        self.out.extend_from_slice(&(0xc000 | at).to_be_bytes());
    }

    /// Where this name stands, or the slot for it.
    fn look_up(&self, name: &[u8]) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(name) & mask;
        loop {
            match usize::from(self.slots[slot]) {
                0 => return Err(slot),
                at if self.stands_at(at, name) => return Ok(at),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn enter(&mut self, slot: usize, at: usize) {
        if at < POINTER_END && self.used < self.slots.len() / 4 * 3 {
            self.slots[slot] = u16::try_from(at).expect("less than 16,384");
            self.used += 1;
        }
    }

    fn enter_question(&mut self) {
        if self.counts[0] == 0 {
            return;
        }
        let mut at = HEADER_BYTES;
        while let Some(&len @ 1..=63) = self.out.get(at) {
            let name = &self.out[at..];
            let end = name_len(name);
            if let Err(slot) = self.look_up(&name[..end]) {
                self.enter(slot, at);
            }
            at += 1 + usize::from(len);
        }
    }

    /// Where the name at this place is written out, at least its first label: a name may be a pointer altogether.
    pub(crate) fn labels_at(&self, mut at: usize) -> usize {
        while let Some(target) = self.target(at) {
            at = target;
        }
        at
    }

    /// Where the pointer at this place leads, if there is one. Each pointer written leads backwards.
    fn target(&self, at: usize) -> Option<usize> {
        match self.out.get(at..at + 2)? {
            [high @ 0xc0..=0xff, low] => Some(usize::from(high & 0x3f) << 8 | usize::from(*low)),
            _ => None,
        }
    }

    /// Whether this very name, root label included, stands at `at`, perhaps with pointers.
    pub(crate) fn stands_at(&self, mut at: usize, mut name: &[u8]) -> bool {
        if self.case == Case::Ignored {
            // A name without pointers is its bytes.
            let bytes = self.out.get(at..at + name.len());
            if bytes.is_some_and(|bytes| bytes.eq_ignore_ascii_case(name)) {
                return true;
            }
        }
        loop {
            at = self.labels_at(at);
            let Some(&len) = self.out.get(at) else { return false };
            let end = 1 + usize::from(len);
            let (Some(ours), Some(theirs)) = (self.out.get(at..at + end), name.get(..end)) else {
                return false;
            };
            let is_same = match self.case {
                Case::Ignored => ours.eq_ignore_ascii_case(theirs),
                Case::Kept => ours == theirs,
            };
            if !is_same || len == 0 {
                return is_same;
            }
            at += end;
            name = &name[end..];
        }
    }
}

/// Whether messages may compress names in this data: in types of RFC 1035 only (RFC 3597 4).
fn has_names(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::NS
            | Rtype::CNAME
            | Rtype::SOA
            | Rtype::PTR
            | Rtype::MX
            | Rtype::MD
            | Rtype::MF
            | Rtype::MB
            | Rtype::MG
            | Rtype::MR
            | Rtype::MINFO
    )
}

fn name_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&len @ 1..) = bytes.get(at) {
        at += 1 + usize::from(len);
    }
    at + 1
}

/// A hash in which case does not count.
fn hash(name: &[u8]) -> usize {
    let (words, rest) = name.as_chunks();
    let mut hash = words.iter().fold(u64::MAX, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    if !rest.is_empty() {
        // The last eight bytes, of which some were in already; of a shorter name, all.
        let last = match name.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        hash = mix(hash, last);
    }
    usize::try_from(hash >> 40).expect("24 bits")
}

fn mix(hash: u64, word: u64) -> u64 {
    // With these bits set, letters are in lower case; that other bytes meet as well does no harm to a hash.
    (hash.rotate_left(7) ^ (word | 0x2020_2020_2020_2020)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
