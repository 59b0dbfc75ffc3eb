//! What every answer has around its records: header, question, OPT record.

use synod_types::StateNdx;
use synod_zone::{Rtype, Zone};

use crate::answer::Reply;
use crate::answer::chaos::Text;
use crate::cookie::COOKIE_BYTES;
use crate::message::{
    CLASS_ANY, CLASS_CHAOS, Case, HEADER_BYTES, NameTable, Opcode, Query, QueryName, Rcode, Section,
    UDP_BYTES_MAX, Writer, flag, option,
};

/// Bytes of an NSID that are told: any more would take the place of data.
const NSID_BYTES_MAX: usize = 128;
/// Bytes of an OPT record without options.
const OPT_BYTES: usize = 11;
/// Bytes of an option without its value.
const OPTION_BYTES: usize = 4;
/// ZONEVERSION's type for the SOA's serial (RFC 9660 4).
const VERSION_SOA_SERIAL: u8 = 0;
/// ZONEVERSION's type for the stateNdx: the first of those for private use, 246 to 254 (RFC 9660 6.2).
const VERSION_STATE_NDX: u8 = 246;
/// TSIG's error for a key that is not known (RFC 8945 3).
const BADKEY: u16 = 17;

/// Why there is no answer, for people (RFC 8914 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ExtendedError {
    /// The data is too old to be told.
    NotReady,
    /// The name is in no zone of this server.
    NotAuthoritative,
}

impl ExtendedError {
    fn code(self) -> u16 {
        match self {
            ExtendedError::NotReady => 14,
            ExtendedError::NotAuthoritative => 20,
        }
    }
}

/// What the ZONEVERSION options say.
#[derive(Clone, Copy)]
struct Version {
    labels: u8,
    serial: u32,
    state_ndx: StateNdx,
}

/// An answer in the making.
pub(super) struct Response<'q, 'a, 'i> {
    /// The message itself.
    pub(super) writer: Writer<'a>,
    /// Whether the first owner's data is this server's to answer with (RFC 1035 4.1.1).
    pub(super) is_authoritative: bool,
    /// Whether something that belongs there did not fit.
    pub(super) is_truncated: bool,
    query: &'q Query<'q>,
    nsid: Option<&'i [u8]>,
    cookie: Option<[u8; COOKIE_BYTES]>,
    wants_version: bool,
    version: Option<Version>,
    error: Option<ExtendedError>,
}

impl<'q, 'a, 'i> Response<'q, 'a, 'i> {
    /// An answer with the question, if that could be read, and room for the OPT record, if the query had one.
    pub(super) fn new(
        query: &'q Query<'q>,
        bytes_max: usize,
        out: &'a mut Vec<u8>,
        table: &'a mut NameTable,
    ) -> Response<'q, 'a, 'i> {
        let opt = if query.edns.is_some() { OPT_BYTES } else { 0 };
        let mut writer = Writer::new(out, table, Case::Ignored, bytes_max - opt);
        if let Some(question) = &query.question {
            writer.question(question.bytes);
        }
        Response {
            writer,
            is_authoritative: false,
            is_truncated: false,
            query,
            nsid: None,
            cookie: None,
            wants_version: false,
            version: None,
            error: None,
        }
    }

    /// The query asks for the server's identifier (RFC 5001).
    pub(super) fn tell_nsid(&mut self, nsid: &'i [u8]) {
        let nsid = &nsid[..nsid.len().min(NSID_BYTES_MAX)];
        if self.nsid.is_none() && !nsid.is_empty() {
            self.writer.reserve(OPTION_BYTES + nsid.len());
            self.nsid = Some(nsid);
        }
    }

    /// The client gets a cookie (RFC 7873).
    pub(super) fn tell_cookie(&mut self, cookie: [u8; COOKIE_BYTES]) {
        if self.cookie.is_none() {
            self.writer.reserve(OPTION_BYTES + COOKIE_BYTES);
            self.cookie = Some(cookie);
        }
    }

    /// The query asks for the zone's version (RFC 9660).
    pub(super) fn tell_version(&mut self) {
        self.wants_version = true;
    }

    /// The answer comes from this zone, in this state.
    pub(super) fn is_from(&mut self, zone: &Zone, state_ndx: StateNdx) {
        if self.wants_version && self.version.is_none() {
            let labels = u8::try_from(zone.apex().label_count()).expect("at most 127");
            self.version = Some(Version { labels, serial: zone.serial(), state_ndx });
            self.writer.reserve(2 * (OPTION_BYTES + 2) + 4 + 8);
        }
    }

    /// Nothing is sent after all.
    pub(super) fn abandon(self) {
        self.writer.abandon();
    }

    /// The answer with all that was written.
    pub(super) fn finish(mut self, rcode: Rcode) -> Reply {
        if let Some(edns) = &self.query.edns {
            let flags = if edns.dnssec_ok { 0x8000 } else { 0 };
            let (nsid, cookie, version, error) = (self.nsid, self.cookie, self.version, self.error);
            self.writer.raw(Section::Additional, |out| {
                put_opt(out, rcode, flags);
                let begin = out.len();
                if let Some(nsid) = nsid {
                    put_option(out, option::NSID, &[nsid]);
                }
                if let Some(cookie) = cookie {
                    put_option(out, option::COOKIE, &[&cookie]);
                }
                if let Some(Version { labels, serial, state_ndx }) = version {
                    let value = [labels, VERSION_SOA_SERIAL];
                    put_option(out, option::ZONEVERSION, &[&value, &serial.to_be_bytes()]);
                    let value = [labels, VERSION_STATE_NDX];
                    put_option(out, option::ZONEVERSION, &[&value, &state_ndx.0.to_be_bytes()]);
                }
                if let Some(error) = error {
                    put_option(out, option::EXTENDED_ERROR, &[&error.code().to_be_bytes()]);
                }
                let len = u16::try_from(out.len() - begin).expect("some options of a few bytes");
                out[begin - 2..begin].copy_from_slice(&len.to_be_bytes());
            });
        }
        self.finish_header(rcode)
    }

    /// The answer with an rcode and the reason; nothing was written.
    pub(super) fn finish_error(mut self, rcode: Rcode, error: ExtendedError) -> Reply {
        // There is no data whose place this could take.
        self.error = Some(error);
        self.finish(rcode)
    }

    /// The answer without an OPT record: the query's could not be read, if there was one.
    pub(super) fn finish_bare(self, rcode: Rcode) -> Reply {
        self.finish_header(rcode)
    }

    /// The answer to a query of class CHAOS: a TXT record of TTL 0.
    pub(super) fn finish_chaos(mut self, text: &Text<'_>) -> Reply {
        let text = text.as_bytes();
        let len = u8::try_from(text.len()).expect("a character string has at most 255 bytes");
        self.writer.raw(Section::Answer, |out| {
            put_question_pointer(out);
            put_fixed(out, Rtype::TXT, CLASS_CHAOS, 0, u16::from(len) + 1);
            out.push(len);
            out.extend_from_slice(text);
        });
        self.finish(Rcode::NOERROR)
    }

    /// The answer to a query that is signed with a key that this server does not have (RFC 8945 5.2.1): unsigned, its
    /// TSIG record without a signature.
    pub(super) fn finish_unknown_key(mut self, tsig: &[u8]) -> Reply {
        let Some(unsigned) = Unsigned::read(tsig) else { return self.finish_bare(Rcode::FORMERR) };
        let id = self.query.id;
        let mark = self.writer.mark();
        self.writer.raw(Section::Additional, |out| unsigned.put(id, out));
        if self.writer.is_over() {
            // Two names of 255 bytes and a question like that.
            self.writer.undo(mark);
        }
        self.finish_header(Rcode::NOTAUTH)
    }

    fn finish_header(mut self, rcode: Rcode) -> Reply {
        let opcode = u16::from(self.query.opcode.0) << 11;
        // Other opcodes may give the other flags another meaning.
        let desired = if self.query.opcode == Opcode::QUERY { self.query.flags & flag::RD } else { 0 };
        let authoritative = if self.is_authoritative { flag::AA } else { 0 };
        let truncated = if self.is_truncated { flag::TC } else { 0 };
        let flags = flag::QR | opcode | authoritative | truncated | desired | rcode.in_header();
        self.writer.header(self.query.id, flags);
        Reply::Send
    }
}

/// An OPT record (RFC 6891 6.1.2); its options follow.
fn put_opt(out: &mut Vec<u8>, rcode: Rcode, flags: u16) {
    let udp_bytes = u16::try_from(UDP_BYTES_MAX).expect("16 bits");
    let ttl = u32::from(rcode.in_opt()) << 24 | u32::from(flags);
    out.push(0);
    put_fixed(out, Rtype::OPT, udp_bytes, ttl, 0);
}

fn put_option(out: &mut Vec<u8>, code: u16, value: &[&[u8]]) {
    let len: usize = value.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&u16::try_from(len).expect("some bytes").to_be_bytes());
    for part in value {
        out.extend_from_slice(part);
    }
}

fn put_question_pointer(out: &mut Vec<u8>) {
    let pointer = 0xc000 | u16::try_from(HEADER_BYTES).expect("16 bits");
    out.extend_from_slice(&pointer.to_be_bytes());
}

fn put_fixed(out: &mut Vec<u8>, rtype: Rtype, class: u16, ttl: u32, len: u16) {
    out.extend_from_slice(&rtype.0.to_be_bytes());
    out.extend_from_slice(&class.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
}

/// What of a query's TSIG record an unsigned error says again.
struct Unsigned<'a> {
    key: QueryName,
    algorithm: QueryName,
    time_and_fudge: &'a [u8; 8],
}

impl<'a> Unsigned<'a> {
    fn read(tsig: &'a [u8]) -> Option<Unsigned<'a>> {
        let key = QueryName::read(tsig)?;
        let rdata = tsig.get(key.as_wire().len() + 10..)?;
        let algorithm = QueryName::read(rdata)?;
        let time_and_fudge = rdata.get(algorithm.as_wire().len()..)?.first_chunk()?;
        Some(Unsigned { key, algorithm, time_and_fudge })
    }

    fn put(&self, id: u16, out: &mut Vec<u8>) {
        let algorithm = self.algorithm.as_wire();
        out.extend_from_slice(self.key.as_wire());
        let len = u16::try_from(algorithm.len() + 16).expect("a name has at most 255 bytes");
        put_fixed(out, Rtype::TSIG, CLASS_ANY, 0, len);
        out.extend_from_slice(algorithm);
        out.extend_from_slice(self.time_and_fudge);
        // No signature, the number of the query, the error, and nothing else.
        for number in [0, id, BADKEY, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
