//! Zone files: from text to records and back (RFC 1035 5, RFC 2308 4, RFC 3597 5).
//!
//! All of the master file format but `$INCLUDE`, since a file is one content here; and BIND's `$GENERATE`. A record
//! without a TTL takes that of `$TTL`, or else that of the record before it, or else the minimum of the SOA that it is.
//! The class is IN, written or not. Escapes are `\DDD` and `\X`; bytes above 127 stand for themselves; control bytes have
//! to be escaped. What names and times to live mean for the zone is [`crate::check()`]'s.
//!
//! Reading takes time in proportion to the file. The limits are here; each is a fault with a text, too.

mod generate;
mod lexer;
mod print;

use bytes::Bytes;

use crate::fault::{FAULTS_MAX, Fault, Faults, excerpt};
use crate::name::Name;
use crate::number::{decimal, seconds};
use crate::rdata;
use crate::record::{Record, TTL_MAX};
use crate::rtype::Rtype;

pub(crate) use lexer::{Lexer, Token};
pub use print::print;

/// Bytes of a zone file, and apart from that of what its `$GENERATE` lines make.
pub const ZONE_FILE_BYTES_MAX: usize = 64 << 20;
/// Records of a zone file.
pub const ZONE_RECORDS_MAX: usize = 4 << 20;
/// Bytes of all owners and data in wire form. A short name in a file is a long one if its origin is.
pub const ZONE_WIRE_BYTES_MAX: usize = 256 << 20;
/// Steps of one `$GENERATE`.
pub const GENERATE_STEPS_MAX: u32 = 65_536;

/// What a zone file says, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneFile {
    /// The records; equal ones may be among them.
    pub records: Vec<Record>,
    /// For each record the line on which it begins, counted from 1.
    pub lines: Vec<u32>,
}

/// Reads a zone file; relative names end in `origin` until the file says otherwise.
///
/// # Errors
/// The first [`FAULTS_MAX`] faults, with their places.
pub fn parse(text: &[u8], origin: &Name) -> Result<ZoneFile, Faults> {
    let one = |fault: String| Err(Faults::new(vec![Fault::new(0, 0, fault)]));
    if text.len() > ZONE_FILE_BYTES_MAX {
        return one(format!(
            "the file has {} bytes; a zone file has at most {ZONE_FILE_BYTES_MAX}",
            text.len()
        ));
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        let what = "a byte order mark, which is no part of a zone file; save it as UTF-8 without one";
        return Err(Faults::new(vec![Fault::new(1, 1, what.to_owned())]));
    }
    let mut reader = Reader::new(origin);
    let mut lexer = Lexer::new(text);
    let mut faults = Vec::new();
    while let Some(is_blank) = lexer.begin_entry() {
        if let Err(fault) = reader.entry(&mut lexer, is_blank) {
            faults.push(fault);
            if faults.len() == FAULTS_MAX || reader.is_full {
                break;
            }
            lexer.skip_entry();
        }
    }
    if faults.is_empty() { Ok(reader.file) } else { Err(Faults::new(faults)) }
}

/// What one entry leaves for the next.
struct Reader {
    file: ZoneFile,
    /// In wire form.
    origin: Vec<u8>,
    /// In wire form; empty before the first.
    owner: Vec<u8>,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    /// Data in the making.
    rdata: Vec<u8>,
    wire_bytes: usize,
    generated_bytes: usize,
    /// Whether a limit was reached, so that going on makes no sense.
    is_full: bool,
}

impl Reader {
    fn new(origin: &Name) -> Reader {
        Reader {
            file: ZoneFile::default(),
            origin: origin.as_wire().into(),
            owner: Vec::new(),
            default_ttl: None,
            last_ttl: None,
            rdata: Vec::new(),
            wire_bytes: 0,
            generated_bytes: 0,
            is_full: false,
        }
    }

    /// Reads a record, a directive, or nothing.
    fn entry(&mut self, lexer: &mut Lexer<'_>, is_blank: bool) -> Result<(), Fault> {
        let line = lexer.line();
        let Some(first) = lexer.next()? else { return Ok(()) };
        if !is_blank {
            return match first.raw {
                [b'$', ..] if !first.quoted => self.directive(lexer, &first),
                _ => self.owned_record(lexer, line, &first),
            };
        }
        if self.owner.is_empty() {
            let text = "the line begins with a blank, which repeats an owner, and there is none before it";
            return Err(lexer.fault(first.place, text.to_owned()));
        }
        self.record(lexer, line, first)
    }

    /// Reads a record with its owner, which `first` is.
    fn owned_record(&mut self, lexer: &mut Lexer<'_>, line: u32, first: &Token<'_>) -> Result<(), Fault> {
        self.owner.clear();
        let read = rdata::put_name(lexer, first, &self.origin, &mut self.owner);
        if read.is_err() {
            // What follows with a blank repeats no half of a name.
            self.owner.clear();
        }
        read?;
        let token = lexer.word(EXPECTED_TYPE)?;
        self.record(lexer, line, token)
    }

    /// Reads a record behind its owner; `token` is the first of it.
    fn record<'a>(&mut self, lexer: &mut Lexer<'a>, line: u32, mut token: Token<'a>) -> Result<(), Fault> {
        let begin = token.place;
        let (mut ttl, mut has_class) = (None, false);
        let rtype = loop {
            if token.quoted {
                return Err(lexer.unexpected(&token, EXPECTED_TYPE));
            }
            // No type begins with a digit, and none is called like a class.
            if ttl.is_none() && token.raw.first().is_some_and(u8::is_ascii_digit) {
                ttl = Some(read_ttl(lexer, &token)?);
            } else if !has_class && is_internet(token.raw) {
                has_class = true;
            } else if let Some(rtype) = Rtype::from_text(token.raw) {
                break rtype;
            } else if !has_class && is_class(token.raw) {
                return Err(lexer.unexpected(&token, "the class IN, which is the only one here"));
            } else {
                return Err(lexer.unexpected(&token, EXPECTED_TYPE));
            }
            token = lexer.word(EXPECTED_TYPE)?;
        };
        if rtype.is_meta() {
            return Err(
                lexer.unexpected(&token, "a type of records; it stands in questions and messages only")
            );
        }
        self.rdata.clear();
        rdata::put(rtype, lexer, &self.origin, &mut self.rdata)?;
        self.last_ttl = ttl.or(self.default_ttl).or(self.last_ttl);
        if self.last_ttl.is_none() && rtype == Rtype::SOA {
            let minimum = self.rdata.last_chunk().copied().map_or(0, u32::from_be_bytes).min(TTL_MAX);
            (self.default_ttl, self.last_ttl) = (Some(minimum), Some(minimum));
        }
        let Some(ttl) = self.last_ttl else {
            let text = "the record has no TTL; give it one, or put a line like `$TTL 3600` at the top";
            return Err(lexer.fault(begin, text.to_owned()));
        };
        self.wire_bytes += self.owner.len() + self.rdata.len();
        if self.file.records.len() == ZONE_RECORDS_MAX || self.wire_bytes > ZONE_WIRE_BYTES_MAX {
            self.is_full = true;
            let text = format!(
                "a zone has at most {ZONE_RECORDS_MAX} records, and {ZONE_WIRE_BYTES_MAX} bytes in wire form"
            );
            return Err(lexer.fault(begin, text));
        }
        let owner = Name::of_valid(&self.owner);
        self.file.records.push(Record { owner, rtype, rdata: Bytes::copy_from_slice(&self.rdata), ttl });
        self.file.lines.push(line);
        Ok(())
    }

    /// Reads a line that begins with `$`.
    fn directive(&mut self, lexer: &mut Lexer<'_>, directive: &Token<'_>) -> Result<(), Fault> {
        match &*directive.raw.to_ascii_uppercase() {
            b"$ORIGIN" => {
                let token = lexer.word("the name that relative names end in")?;
                let mut origin = Vec::new();
                rdata::put_name(lexer, &token, &self.origin, &mut origin)?;
                self.origin = origin;
            }
            b"$TTL" => {
                let token = lexer.word("the TTL of records without one")?;
                self.default_ttl = Some(read_ttl(lexer, &token)?);
            }
            b"$GENERATE" => return generate::generate(self, lexer, directive),
            b"$INCLUDE" => {
                let text = "a zone is one file here: put the included file's text in the place of $INCLUDE";
                return Err(lexer.fault(directive.place, text.to_owned()));
            }
            _ => {
                let expected = "a directive: $ORIGIN, $TTL or $GENERATE. An owner with a $ is written \\$";
                return Err(lexer.unexpected(directive, expected));
            }
        }
        match lexer.next()? {
            Some(token) => Err(lexer.surplus(&token)),
            None => Ok(()),
        }
    }
}

const EXPECTED_TYPE: &str = "a record type, or a TTL or IN in front of it";

/// The time to live that `token` is.
fn read_ttl(lexer: &Lexer<'_>, token: &Token<'_>) -> Result<u32, Fault> {
    match seconds(token.raw) {
        Some(ttl) if ttl <= TTL_MAX && !token.quoted => Ok(ttl),
        Some(_) if !token.quoted => Err(lexer.fault(
            token.place,
            format!("{} is too long; a TTL has at most {TTL_MAX} s", excerpt(token.raw)),
        )),
        _ => Err(lexer.unexpected(token, "a TTL: a number of seconds, perhaps with units as in 1h30m")),
    }
}

/// Whether `text` names a class, whichever.
fn is_class(text: &[u8]) -> bool {
    let names: [&[u8]; 6] = [b"IN", b"CH", b"CHAOS", b"HS", b"HESIOD", b"CS"];
    names.iter().any(|name| text.eq_ignore_ascii_case(name)) || class_number(text).is_some()
}

fn is_internet(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"IN") || class_number(text) == Some(1)
}

/// The number behind `CLASS` (RFC 3597 5).
fn class_number(text: &[u8]) -> Option<u16> {
    let (name, number) = text.split_at_checked(5)?;
    if name.eq_ignore_ascii_case(b"CLASS") { decimal(number) } else { None }
}
