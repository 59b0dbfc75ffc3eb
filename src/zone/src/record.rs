//! What a zone is made of.

use std::fmt;

use bytes::Bytes;

use crate::name::Name;
use crate::rdata;
use crate::rtype::Rtype;

/// A resource record of class IN.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Whose record it is.
    pub owner: Name,
    /// What kind of data it holds.
    pub rtype: Rtype,
    /// The data in wire form, names in it uncompressed; at most 65,535 bytes.
    pub rdata: Bytes,
    /// How long a resolver may keep it, in seconds; at most [`TTL_MAX`].
    pub ttl: u32,
}

/// The longest time to live, in seconds (RFC 2181 8).
pub const TTL_MAX: u32 = (1 << 31) - 1;
/// Bytes of the data of one record: its length has 16 bits on the wire.
pub const RDATA_BYTES_MAX: usize = 65_535;

impl fmt::Display for Record {
    /// One line of a zone file, all names in it absolute.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { owner, rtype, rdata, ttl } = self;
        write!(f, "{owner} {ttl} IN {rtype} {}", rdata::display(*rtype, rdata))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
