//! Reading a query: header, one question, and from the additional section what EDNS and TSIG put there.

use synod_zone::Rtype;

use crate::message::name::QueryName;
use crate::message::{CLASS_ANY, HEADER_BYTES, Opcode, flag, option, u16_at, u32_at};

/// A message that someone sent here, as far as it could be read.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The message's number, which the answer bears, too.
    pub id: u16,
    /// The header's flags as they came.
    pub flags: u16,
    /// What it asks to do.
    pub opcode: Opcode,
    /// What is asked; present whenever it could be read and is the only one. A message that is in order may have none.
    pub question: Option<Question<'a>>,
    /// The OPT record, if there is one.
    pub edns: Option<Edns<'a>>,
    /// The TSIG record as it came, if there is one: its name and what follows (RFC 8945 4.2).
    pub tsig: Option<&'a [u8]>,
    /// The serial of the SOA record in the authority section of an IXFR (RFC 1995 3).
    pub serial: Option<u32>,
}

/// The question (RFC 1035 4.1.2).
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The name in lower case.
    pub name: QueryName,
    /// The type.
    pub qtype: Rtype,
    /// The class.
    pub qclass: u16,
    /// The whole question as it came, its case kept.
    pub bytes: &'a [u8],
}

impl<'a> Question<'a> {
    /// The name as it came, its case kept.
    pub fn cased_name(&self) -> &'a [u8] {
        &self.bytes[..self.name.as_wire().len()]
    }
}

/// What the OPT record says (RFC 6891 6.1).
#[derive(Clone, Copy)]
pub struct Edns<'a> {
    /// Bytes of a datagram that the other side takes.
    pub udp_bytes: u16,
    /// The version of EDNS.
    pub version: u8,
    /// Whether DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// The options, which were looked through: each is whole.
    pub options: Options<'a>,
}

/// Why a message cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is malformed")]
pub struct Malformed;

impl<'a> Query<'a> {
    /// Reads a message. None if it is no query: shorter than a header, or a response. What could be read of a malformed
    /// one is there, with the reason to answer FORMERR.
    pub fn parse(message: &'a [u8]) -> Option<(Query<'a>, Result<(), Malformed>)> {
        let flags = u16_at(message, 2)?;
        if message.len() < HEADER_BYTES || flags & flag::QR != 0 {
            return None;
        }
        let mut query = Query {
            id: u16_at(message, 0)?,
            flags,
            opcode: Opcode(u8::try_from(flags >> 11 & 0xf).expect("four bits")),
            question: None,
            edns: None,
            tsig: None,
            serial: None,
        };
        let outcome = query.read_sections(message).ok_or(Malformed);
        Some((query, outcome))
    }

    /// What the COOKIE option says, if there is one.
    pub fn cookie(&self) -> Option<&'a [u8]> {
        let options = self.edns.as_ref().filter(|edns| edns.version == 0)?.options;
        options.into_iter().find_map(|(code, value)| (code == option::COOKIE).then_some(value))
    }

    fn read_sections(&mut self, message: &'a [u8]) -> Option<()> {
        let [questions, answers, authorities, additional] = [4, 6, 8, 10].map(|at| u16_at(message, at));
        // RFC 9619: a query has one question; or none, where it asks for a cookie (RFC 7873 5.4).
        let (at, soas) = match questions? {
            0 => (HEADER_BYTES, 0),
            1 => {
                let name = QueryName::read_lowercase(message.get(HEADER_BYTES..)?)?;
                let at = HEADER_BYTES + name.as_wire().len();
                let (qtype, qclass) = (Rtype(u16_at(message, at)?), u16_at(message, at + 2)?);
                let bytes = &message[HEADER_BYTES..at + 4];
                self.question = Some(Question { name, qtype, qclass, bytes });
                // An IXFR comes with the SOA that its sender has.
                (at + 4, if qtype == Rtype::IXFR { 1 } else { 0 })
            }
            _ => return None,
        };
        // A question comes with answers in no known way.
        if answers? != 0 || authorities? > soas {
            return None;
        }
        let mut reader = Reader { message, at };
        for _ in 0..authorities? {
            let record = reader.record()?;
            let numbers = record.rdata.len().checked_sub(20)?;
            if record.rtype != Rtype::SOA {
                return None;
            }
            self.serial = u32_at(record.rdata, numbers);
        }
        let additional = additional?;
        for nth in 0..additional {
            let record = reader.record()?;
            match record.rtype {
                Rtype::OPT => {
                    // One, and its owner is the root (RFC 6891 6.1.1, 6.1.2).
                    if self.edns.is_some() || record.owner != [0] {
                        return None;
                    }
                    self.edns = Some(Edns::read(&record)?);
                }
                // The last one, of class ANY (RFC 8945 5.1).
                Rtype::TSIG => {
                    if nth + 1 != additional || record.class != CLASS_ANY {
                        return None;
                    }
                    self.tsig = Some(record.bytes);
                }
                // What else stands there is not for this server.
                _ => {}
            }
        }
        Some(())
    }
}

impl<'a> Edns<'a> {
    fn read(record: &RawRecord<'a>) -> Option<Edns<'a>> {
        let [_, version, flags, _] = record.ttl.to_be_bytes();
        let options = Options(record.rdata);
        let mut rest = options;
        while rest.next().is_some() {}
        rest.0.is_empty().then_some(Edns {
            udp_bytes: record.class,
            version,
            dnssec_ok: flags & 0x80 != 0,
            options,
        })
    }
}

/// EDNS options: code and value of each (RFC 6891 6.1.2).
#[derive(Clone, Copy)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let (code, len) = (u16_at(self.0, 0)?, u16_at(self.0, 2)?);
        let end = 4 + usize::from(len);
        let value = self.0.get(4..end)?;
        self.0 = &self.0[end..];
        Some((code, value))
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

struct RawRecord<'a> {
    /// As it stands in the message: a compressed name is not spelled out.
    owner: &'a [u8],
    rtype: Rtype,
    class: u16,
    ttl: u32,
    rdata: &'a [u8],
    /// All of the record.
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn record(&mut self) -> Option<RawRecord<'a>> {
        let begin = self.at;
        let owner = self.owner()?;
        let at = begin + owner.len();
        let rtype = Rtype(u16_at(self.message, at)?);
        let class = u16_at(self.message, at + 2)?;
        let ttl = u32_at(self.message, at + 4)?;
        let len = usize::from(u16_at(self.message, at + 8)?);
        let rdata = self.message.get(at + 10..at + 10 + len)?;
        self.at = at + 10 + len;
        Some(RawRecord { owner, rtype, class, ttl, rdata, bytes: &self.message[begin..self.at] })
    }

    /// Labels up to the root label or the first pointer, which points backwards and is not followed.
    fn owner(&self) -> Option<&'a [u8]> {
        let mut at = self.at;
        loop {
            match *self.message.get(at)? {
                0 => return self.message.get(self.at..=at),
                len @ 1..=63 => at += 1 + usize::from(len),
                0xc0.. => {
                    let target = usize::from(u16_at(self.message, at)? & 0x3fff);
                    let is_backwards = (HEADER_BYTES..self.at).contains(&target);
                    return is_backwards.then(|| &self.message[self.at..at + 2]);
                }
                _ => return None,
            }
            if at - self.at > 255 {
                return None;
            }
        }
    }
}
