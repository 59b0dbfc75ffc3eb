//! The data of a record: how each type is laid out on the wire and written in a zone file.
//!
//! [`layout`] is the one table. From a type's fields follow how its text is read ([`parse`]) and written ([`display`]),
//! which bytes are data of that type ([`validate`]), and where names are in them ([`names`], [`parts`]). A type without a
//! layout holds any bytes, and is written in the generic form only: `\# 4 c0000201` (RFC 3597 5), which every type may
//! use.

mod address;
mod bitmap;
mod encoding;
mod from_text;
mod list;
mod location;
mod svcb;
mod time;
mod to_text;
mod wire;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::fault::Fault;
use crate::name::Name;
use crate::rtype::Rtype;
use crate::zone_file::Lexer;

pub(crate) use from_text::{put, put_name};
pub use wire::RdataError;

/// One field of a record's data. A field that takes the rest of the data is the last one of its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A name that messages may compress: in types of RFC 1035 only (RFC 3597 4).
    CompressibleName,
    /// A name that is never compressed.
    Name,
    /// A number of 8 bits.
    U8,
    /// A number of 16 bits.
    U16,
    /// A number of 32 bits.
    U32,
    /// Seconds in 32 bits; their text may have units.
    Seconds,
    /// A moment in 32 bits; `YYYYMMDDHHmmSS` or seconds since 1970 (RFC 4034 3.2).
    Time,
    /// A record type.
    Type,
    /// A DNSSEC algorithm in 8 bits; a number or a mnemonic (RFC 4034 A.1).
    Algorithm,
    /// A certificate's type in 16 bits; a number or a mnemonic (RFC 4398 2.1).
    CertificateType,
    /// A notification's scheme in 8 bits; a number or `NOTIFY` (RFC 9859 2.1).
    Scheme,
    /// A character string: at most 255 bytes behind their number (RFC 1035 3.3).
    String,
    /// A character string or nothing.
    OptionalString,
    /// One or more character strings, to the end.
    Strings,
    /// Bytes to the end, written as one string.
    Text,
    /// Bytes to the end, at least one, written as one string.
    NonEmptyText,
    /// A property's tag: a character string of letters and digits (RFC 8659 4.1).
    Tag,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// 64 bits, written as four groups of hexadecimal digits (RFC 6742 2.1).
    Groups,
    /// A hardware address of 48 bits (RFC 7043 3).
    Eui48,
    /// A hardware address of 64 bits (RFC 7043 4).
    Eui64,
    /// One or more bytes to the end, in hexadecimal digits.
    Hex,
    /// A DS digest to the end, in hexadecimal digits. The byte in front says its kind, which may say its length.
    Digest,
    /// The same of an SSH key.
    Fingerprint,
    /// The same of a zone.
    ZoneDigest,
    /// Bytes behind their number, in hexadecimal digits, `-` for none (RFC 5155 3.3).
    Salt,
    /// Bytes behind their number, in base32 with the extended hex alphabet (RFC 5155 3.3).
    HashedName,
    /// One or more bytes to the end, in base64.
    Base64,
    /// Bytes or nothing to the end, in base64.
    OptionalBase64,
    /// Bytes to the end, in base64, `-` for none.
    DashBase64,
    /// A bitmap of one or more types, to the end (RFC 4034 4.1.2).
    Types,
    /// A bitmap of types or nothing, to the end (RFC 5155 3.2.1).
    OptionalTypes,
    /// Address prefixes, to the end (RFC 3123 4).
    Prefixes,
    /// A protocol and its ports, to the end (RFC 1035 3.4.2).
    Services,
    /// A position, all of the data (RFC 1876 2).
    Location,
    /// An NSAP address, all of the data (RFC 1706 7).
    Nsap,
    /// Parameters of a service, to the end (RFC 9460 2.1, 2.2).
    Params,
    /// Nothing, an address or a name: the second byte of the data says which (RFC 4025 2.3).
    Gateway,
    /// A relay that is nothing, an address or a name, behind what says which (RFC 8777 4.2).
    Relay,
    /// A host's identity and its rendezvous servers, all of the data (RFC 8005 5).
    HostIdentity,
}

/// The fields of a type's data, if the type has a form of its own.
pub fn layout(rtype: Rtype) -> Option<&'static [Field]> {
    use Field::*;
    Some(match rtype {
        Rtype::A => &[Ipv4],
        Rtype::AAAA => &[Ipv6],
        Rtype::NS | Rtype::CNAME | Rtype::PTR => &[CompressibleName],
        Rtype::MD | Rtype::MF | Rtype::MB | Rtype::MG | Rtype::MR => &[CompressibleName],
        Rtype::SOA => &[CompressibleName, CompressibleName, U32, Seconds, Seconds, Seconds, Seconds],
        Rtype::MINFO => &[CompressibleName, CompressibleName],
        Rtype::MX => &[U16, CompressibleName],
        Rtype::WKS => &[Ipv4, Services],
        Rtype::HINFO => &[String, String],
        Rtype::TXT | Rtype::SPF | Rtype::NINFO | Rtype::AVC | Rtype::RESINFO | Rtype::WALLET => &[Strings],
        Rtype::RP | Rtype::TALINK => &[Name, Name],
        Rtype::AFSDB | Rtype::RT | Rtype::KX | Rtype::LP => &[U16, Name],
        Rtype::X25 => &[String],
        Rtype::ISDN => &[String, OptionalString],
        Rtype::NSAP => &[Nsap],
        Rtype::NSAP_PTR | Rtype::DNAME | Rtype::ANAME => &[Name],
        Rtype::PX => &[U16, Name, Name],
        Rtype::GPOS => &[String, String, String],
        Rtype::LOC => &[Location],
        Rtype::SRV => &[U16, U16, U16, Name],
        Rtype::NAPTR => &[U16, U16, String, String, String, Name],
        Rtype::CERT => &[CertificateType, U16, Algorithm, Base64],
        Rtype::APL => &[Prefixes],
        Rtype::DS | Rtype::CDS | Rtype::TA | Rtype::DLV => &[U16, Algorithm, U8, Digest],
        Rtype::SSHFP => &[U8, U8, Fingerprint],
        Rtype::IPSECKEY => &[U8, U8, U8, Gateway, OptionalBase64],
        Rtype::SIG | Rtype::RRSIG => &[Type, Algorithm, U8, Seconds, Time, Time, U16, Name, Base64],
        Rtype::KEY | Rtype::RKEY => &[U16, U8, Algorithm, OptionalBase64],
        Rtype::DNSKEY | Rtype::CDNSKEY => &[U16, U8, Algorithm, Base64],
        Rtype::NSEC => &[Name, Types],
        Rtype::NSEC3 => &[U8, U8, U16, Salt, HashedName, OptionalTypes],
        Rtype::NSEC3PARAM => &[U8, U8, U16, Salt],
        Rtype::DHCID | Rtype::OPENPGPKEY => &[Base64],
        Rtype::TLSA | Rtype::SMIMEA => &[U8, U8, U8, Hex],
        Rtype::HIP => &[HostIdentity],
        Rtype::CSYNC => &[U32, U16, OptionalTypes],
        Rtype::ZONEMD => &[U32, U8, U8, ZoneDigest],
        Rtype::SVCB | Rtype::HTTPS => &[U16, Name, Params],
        Rtype::DSYNC => &[Type, Scheme, U16, Name],
        Rtype::NID | Rtype::L64 => &[U16, Groups],
        Rtype::L32 => &[U16, Ipv4],
        Rtype::EUI48 => &[Eui48],
        Rtype::EUI64 => &[Eui64],
        Rtype::URI => &[U16, U16, NonEmptyText],
        Rtype::CAA => &[U8, Tag, Text],
        Rtype::DOA => &[U32, U32, U8, String, DashBase64],
        Rtype::AMTRELAY => &[U8, Relay],
        _ => return None,
    })
}

/// Whether `rdata` is data of this type: every field is there and as it should be, and nothing is behind them. Any bytes
/// are data of a type without a layout.
///
/// # Errors
/// [`RdataError`] says which field is wrong.
pub fn validate(rtype: Rtype, rdata: &[u8]) -> Result<(), RdataError> {
    let mut at = 0;
    let Some(fields) = layout(rtype) else { return Ok(()) };
    for &field in fields {
        at += wire::field_len(field, rdata, at)?;
    }
    if at == rdata.len() { Ok(()) } else { Err(RdataError::TrailingBytes) }
}

/// The data that `text` says, as behind the type in a zone file; a relative name in it ends in `origin`.
///
/// # Errors
/// The first [`Fault`], with its line and column in `text`.
pub fn parse(rtype: Rtype, text: &[u8], origin: &Name) -> Result<Bytes, Fault> {
    let mut lexer = Lexer::new(text);
    let mut rdata = Vec::new();
    lexer.begin_entry();
    put(rtype, &mut lexer, origin.as_wire(), &mut rdata)?;
    match lexer.begin_entry() {
        None => Ok(rdata.into()),
        Some(_) => Err(lexer.missing("nothing but the data of one record")),
    }
}

/// The data as a zone file writes it, on one line and with absolute names. What is no valid data of its type is written
/// in the generic form.
pub fn display(rtype: Rtype, rdata: &[u8]) -> impl fmt::Display {
    struct Text<'a>(Rtype, &'a [u8]);
    impl fmt::Display for Text<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            to_text::write(self.0, self.1, f)
        }
    }
    Text(rtype, rdata)
}

/// The names in valid data, each in wire form: those in fields of their own, not those in gateways, relays and lists.
pub fn names(rtype: Rtype, rdata: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut walk = Walk::new(rtype, rdata);
    std::iter::from_fn(move || walk.next_name(is_name)).map(|(_, name)| name)
}

/// A piece of a record's data, as whoever writes a message needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Bytes to write as they are.
    Bytes(&'a [u8]),
    /// A name in wire form that may be compressed.
    Name(&'a [u8]),
}

/// The pieces of valid data, in order: together they are all of it. Data of types that are not of RFC 1035 is one piece.
pub fn parts(rtype: Rtype, rdata: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut walk = Walk::new(rtype, rdata);
    let mut written = 0;
    let mut name = None;
    std::iter::from_fn(move || {
        if let Some(name) = name.take() {
            return Some(Part::Name(name));
        }
        let found = walk.next_name(|field| field == Field::CompressibleName);
        let (at, found) = match found {
            Some((at, found)) => (at, Some(found)),
            None => (rdata.len(), None),
        };
        let before = &rdata[written..at];
        written = at + found.map_or(0, <[u8]>::len);
        if before.is_empty() {
            return found.map(Part::Name);
        }
        name = found;
        Some(Part::Bytes(before))
    })
}

/// Valid data with its names in lower case: what is equal to it is the same data (RFC 4034 6.2).
pub fn canonical(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    let mut canonical = Cow::Borrowed(rdata);
    let mut walk = Walk::new(rtype, rdata);
    while let Some((at, name)) = walk.next_name(is_name) {
        if name.iter().any(u8::is_ascii_uppercase) {
            canonical.to_mut()[at..at + name.len()].make_ascii_lowercase();
        }
    }
    canonical
}

/// Whether two records of one type have the same data; the case of names does not count.
pub fn is_same(rtype: Rtype, ours: &[u8], theirs: &[u8]) -> bool {
    ours == theirs || (ours.len() == theirs.len() && canonical(rtype, ours) == canonical(rtype, theirs))
}

fn is_name(field: Field) -> bool {
    matches!(field, Field::Name | Field::CompressibleName)
}

/// A way through the fields of valid data.
struct Walk<'a> {
    fields: &'static [Field],
    rdata: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn new(rtype: Rtype, rdata: &'a [u8]) -> Walk<'a> {
        Walk { fields: layout(rtype).unwrap_or_default(), rdata, at: 0 }
    }

    /// The next field that is wanted, which is a name, and where it begins. In invalid data the walk ends early.
    fn next_name(&mut self, is_wanted: impl Fn(Field) -> bool) -> Option<(usize, &'a [u8])> {
        let wanted = self.fields.iter().position(|field| is_wanted(*field))?;
        let fields = &self.fields[..=wanted];
        self.fields = &self.fields[wanted + 1..];
        let mut begin = self.at;
        for &field in fields {
            begin = self.at;
            self.at += wire::field_len(field, self.rdata, begin).ok()?;
        }
        Some((begin, &self.rdata[begin..self.at]))
    }
}
