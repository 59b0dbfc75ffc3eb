//! DNS messages on the wire: a query is read, an answer is written.
//!
//! Reading ([`Query::parse`]) allocates nothing and follows no compression pointer: a query needs none. Writing
//! ([`Writer`]) compresses names, keeps within a limit, and takes back what does not fit.

mod name;
mod query;
mod writer;

pub use name::QueryName;
pub use query::{Edns, Malformed, Options, Query, Question};
pub(crate) use writer::POINTER_END;
pub use writer::{Case, Full, NameTable, Owner, Section, Writer};

/// Bytes of a message's header (RFC 1035 4.1.1).
pub const HEADER_BYTES: usize = 12;
/// Bytes of a datagram to whom did not say more with EDNS (RFC 1035 4.2.1).
pub const UDP_BYTES_MIN: usize = 512;
/// Bytes of a datagram whatever the other side says that it takes, and what this side says (RFC 9715 3): it fits into
/// one packet on nearly every path.
pub const UDP_BYTES_MAX: usize = 1232;
/// Bytes of a message on a stream: its length has 16 bits (RFC 1035 4.2.2).
pub const STREAM_BYTES_MAX: usize = 65_535;

/// The class of the Internet.
pub const CLASS_IN: u16 = 1;
/// The class in which a server speaks of itself (RFC 4892).
pub const CLASS_CHAOS: u16 = 3;
/// Any class, in a question.
pub const CLASS_ANY: u16 = 255;

/// Flags in the second half of the header's first word (RFC 1035 4.1.1).
pub mod flag {
    /// The message is a response.
    pub const QR: u16 = 0x8000;
    /// The answer is authoritative.
    pub const AA: u16 = 0x0400;
    /// The answer is cut short.
    pub const TC: u16 = 0x0200;
    /// Recursion is desired; a response has what the query had.
    pub const RD: u16 = 0x0100;
}

/// What a query asks to do (RFC 1035 4.1.1); four bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A question.
    pub const QUERY: Opcode = Opcode(0);
}

/// How it went. Twelve bits, of which the upper eight are in the OPT record (RFC 6891 6.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rcode(pub u16);

impl Rcode {
    /// All is well.
    pub const NOERROR: Rcode = Rcode(0);
    /// The query is malformed.
    pub const FORMERR: Rcode = Rcode(1);
    /// This server cannot answer at present.
    pub const SERVFAIL: Rcode = Rcode(2);
    /// The name does not exist.
    pub const NXDOMAIN: Rcode = Rcode(3);
    /// This kind of query is not implemented.
    pub const NOTIMP: Rcode = Rcode(4);
    /// This server does not answer that, or not to you.
    pub const REFUSED: Rcode = Rcode(5);
    /// A DNAME makes a name that is too long (RFC 6672 2.2).
    pub const YXDOMAIN: Rcode = Rcode(6);
    /// This server is not authoritative for that zone (RFC 5936 2.2.1), or does not know that key (RFC 8945 5.2.1).
    pub const NOTAUTH: Rcode = Rcode(9);
    /// This version of EDNS is not implemented (RFC 6891 6.1.3).
    pub const BADVERS: Rcode = Rcode(16);
    /// A cookie of this server is needed (RFC 7873 8).
    pub const BADCOOKIE: Rcode = Rcode(23);

    /// The four bits in the header.
    pub fn in_header(self) -> u16 {
        self.0 & 0xf
    }

    /// The eight bits in the OPT record.
    pub fn in_opt(self) -> u8 {
        u8::try_from(self.0 >> 4 & 0xff).expect("eight bits")
    }
}

/// EDNS options (IANA's registry).
pub mod option {
    /// The server's identifier (RFC 5001).
    pub const NSID: u16 = 3;
    /// A cookie (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// Why an answer is as it is, for people (RFC 8914).
    pub const EXTENDED_ERROR: u16 = 15;
    /// The version of the zone that the answer is from (RFC 9660).
    pub const ZONEVERSION: u16 = 19;
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}
