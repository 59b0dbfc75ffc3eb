//! The length of each field in wire form, and what makes it valid.

use crate::name::{self, NameError};
use crate::rdata::{Field, bitmap, list, location, svcb};

/// Why bytes are no data of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RdataError {
    /// A name is none.
    #[error("a name in it is not valid: {0}")]
    Name(#[from] NameError),
    /// The data ends inside a field.
    #[error("it ends too soon")]
    Truncated,
    /// There is more than the fields take.
    #[error("there are bytes behind its last field")]
    TrailingBytes,
    /// A field has a value that it cannot have.
    #[error("{0}")]
    Field(&'static str),
}

/// The length of the field that begins at `at`.
pub(crate) fn field_len(field: Field, rdata: &[u8], at: usize) -> Result<usize, RdataError> {
    let bytes = rdata.get(at..).ok_or(RdataError::Truncated)?;
    let len = match field {
        Field::CompressibleName | Field::Name => name::wire_len(bytes)?,
        Field::U8 | Field::Algorithm | Field::Scheme => 1,
        Field::U16 | Field::Type | Field::CertificateType => 2,
        Field::U32 | Field::Seconds | Field::Time | Field::Ipv4 => 4,
        Field::Eui48 => 6,
        Field::Groups | Field::Eui64 => 8,
        Field::Ipv6 => 16,
        Field::String | Field::Salt => string_len(bytes)?,
        Field::OptionalString => {
            if bytes.is_empty() {
                0
            } else {
                string_len(bytes)?
            }
        }
        Field::Strings => {
            let mut len = string_len(bytes)?;
            while len < bytes.len() {
                len += string_len(&bytes[len..])?;
            }
            len
        }
        Field::Tag => {
            let len = string_len(bytes)?;
            if len < 2 || !bytes[1..len.min(bytes.len())].iter().all(u8::is_ascii_alphanumeric) {
                return Err(RdataError::Field("a tag is letters and digits, at least one"));
            }
            len
        }
        Field::HashedName => {
            let len = string_len(bytes)?;
            if len < 2 {
                return Err(RdataError::Field("a hashed name has at least one byte"));
            }
            len
        }
        Field::Text | Field::OptionalBase64 | Field::DashBase64 => bytes.len(),
        Field::NonEmptyText | Field::Hex | Field::Base64 | Field::Nsap => match bytes.len() {
            0 => return Err(RdataError::Truncated),
            len => len,
        },
        Field::Digest | Field::Fingerprint | Field::ZoneDigest => {
            let kind = *rdata.get(at.wrapping_sub(1)).ok_or(RdataError::Truncated)?;
            let wanted = digest_len(field, kind).filter(|_| !is_delete(rdata));
            if bytes.is_empty() {
                return Err(RdataError::Truncated);
            }
            if wanted.is_some_and(|wanted| wanted != bytes.len()) {
                return Err(RdataError::Field("a digest of this kind has another length"));
            }
            if field == Field::ZoneDigest && bytes.len() < 12 {
                return Err(RdataError::Field("a zone's digest has at least 12 bytes"));
            }
            bytes.len()
        }
        Field::Types if bytes.is_empty() => return Err(RdataError::Truncated),
        Field::Types | Field::OptionalTypes => bitmap::validate(bytes)?,
        Field::Prefixes => list::prefixes_len(bytes)?,
        Field::Services => list::services_len(bytes)?,
        Field::Location => location::validate(bytes)?,
        Field::Params => svcb::validate(rdata, at)?,
        Field::Gateway => match rdata.get(1) {
            Some(&kind) => gateway_len(kind, bytes)?,
            None => return Err(RdataError::Truncated),
        },
        Field::Relay => match bytes {
            [kind, relay @ ..] => 1 + gateway_len(kind & 0x7f, relay)?,
            [] => return Err(RdataError::Truncated),
        },
        Field::HostIdentity => list::host_identity_len(bytes)?,
    };
    if len > bytes.len() { Err(RdataError::Truncated) } else { Ok(len) }
}

/// The length of a character string with the number in front; it may be beyond the end.
fn string_len(bytes: &[u8]) -> Result<usize, RdataError> {
    bytes.first().map(|len| usize::from(*len) + 1).ok_or(RdataError::Truncated)
}

/// Bytes of a digest of this kind, if it is known (IANA's registries of DS digests, SSHFP fingerprints, ZONEMD hashes).
fn digest_len(field: Field, kind: u8) -> Option<usize> {
    match (field, kind) {
        (Field::Digest | Field::Fingerprint, 1) => Some(20),
        (Field::Digest | Field::Fingerprint, 2) | (Field::Digest, 3) => Some(32),
        (Field::Digest, 4) | (Field::ZoneDigest, 1) => Some(48),
        (Field::ZoneDigest, 2) => Some(64),
        _ => None,
    }
}

/// Whether this is the DS that asks for the removal of all (RFC 8078 4).
fn is_delete(rdata: &[u8]) -> bool {
    rdata == [0, 0, 0, 0, 0]
}

/// The length of a gateway or relay of this kind (RFC 4025 2.3, RFC 8777 4.2.3).
fn gateway_len(kind: u8, bytes: &[u8]) -> Result<usize, RdataError> {
    Ok(match kind {
        0 => 0,
        1 => 4,
        2 => 16,
        3 => name::wire_len(bytes)?,
        _ => return Err(RdataError::Field("a gateway's type is 0, 1, 2 or 3")),
    })
}
