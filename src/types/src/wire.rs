//! The binary encoding of everything that serde describes here: postcard 1 (its specification is public), in
//! frames of [`crate::frame`]. Decoding refuses trailing bytes.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{FrameTooLarge, put_frame};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode a {what}: {why}")]
pub struct WireError {
    /// The name of the type that was expected.
    pub what: &'static str,
    /// What is wrong.
    pub why: String,
}

/// Encodes `value`.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(value, &mut out);
    out
}

/// Appends the encoding of `value`.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let behind = Behind(std::mem::take(out));
    *out = postcard::serialize_with_flavor(value, behind)
        .expect("types here always serialize, and a Vec takes every byte");
}

/// Bytes to which an encoding is appended, slice by slice: postcard's own way to extend something takes byte by byte.
struct Behind(Vec<u8>);

impl Flavor for Behind {
    type Output = Vec<u8>;

    #[inline(always)]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline(always)]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Appends a frame with the encoding of `value`.
///
/// # Errors
/// [`FrameTooLarge`] if it is over `max` bytes.
pub fn put<T: Serialize>(out: &mut Vec<u8>, max: usize, value: &T) -> Result<(), FrameTooLarge> {
    put_frame(out, max, |out| encode_into(value, out))
}

/// Decodes all of `bytes`.
///
/// # Errors
/// [`WireError`] if they are not exactly one `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let name = std::any::type_name::<T>();
    let what = name.rsplit("::").next().unwrap_or(name);
    let error = |why: String| WireError { what, why };
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(error(format!("{} bytes too many", rest.len()))),
        Err(why) => Err(error(why.to_string())),
    }
}
