//! Bytes as text: hexadecimal, base64 and base32 (RFC 4648 4, 7, 8).

use std::fmt::{self, Write};

use crate::number::hex_digit;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";

/// Reads hexadecimal digits that come in pieces, cut anywhere.
#[derive(Default)]
pub(crate) struct HexReader {
    high: Option<u8>,
}

impl HexReader {
    /// Takes one more piece; false if not all of it are digits.
    pub(crate) fn take(&mut self, text: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in text {
            let Some(digit) = hex_digit(byte) else { return false };
            match self.high.take() {
                None => self.high = Some(digit << 4),
                Some(high) => out.push(high | digit),
            }
        }
        true
    }

    /// Whether the digits were even in number.
    pub(crate) fn is_whole(&self) -> bool {
        self.high.is_none()
    }
}

/// Reads base64 that comes in pieces, cut anywhere: padded, and with nothing in the bits that it does not use.
#[derive(Default)]
pub(crate) struct Base64Reader {
    bits: u32,
    characters: u8,
    padding: u8,
}

impl Base64Reader {
    /// Takes one more piece; false if it cannot go on like that.
    pub(crate) fn take(&mut self, text: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in text {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' if self.characters >= 2 => {
                    self.padding += 1;
                    0
                }
                _ => return false,
            };
            // Behind padding comes nothing but padding, and nothing at all behind the end.
            if self.padding > 0 && byte != b'=' || self.padding > 2 {
                return false;
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.characters += 1;
            if self.characters == 4 {
                let [_, octets @ ..] = self.bits.to_be_bytes();
                let (used, unused) = octets.split_at(3 - usize::from(self.padding));
                if unused.iter().any(|octet| *octet != 0) {
                    return false;
                }
                out.extend_from_slice(used);
                self.bits = 0;
                self.characters = 0;
                if self.padding > 0 {
                    self.padding = 3;
                }
            }
        }
        true
    }

    /// Whether the characters came in fours.
    pub(crate) fn is_whole(&self) -> bool {
        self.characters == 0
    }
}

/// Appends what `text` says in base32 with the extended hex alphabet, in either case and without padding.
pub(crate) fn put_base32(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut bits, mut count) = (0_u16, 0);
    for byte in text {
        let value = match byte.to_ascii_uppercase() {
            digit @ b'0'..=b'9' => digit - b'0',
            letter @ b'A'..=b'V' => letter - b'A' + 10,
            _ => return false,
        };
        bits = bits << 5 | u16::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            let [_, octet] = (bits >> count).to_be_bytes();
            out.push(octet);
            bits &= (1 << count) - 1;
        }
    }
    // What is left is padding of less than one character, and zero.
    count < 5 && bits == 0
}

pub(crate) fn write_hex(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    for byte in bytes {
        write!(f, "{byte:02X}")?;
    }
    Ok(())
}

pub(crate) fn write_base64(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    for chunk in bytes.chunks(3) {
        let octet = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for at in 0..4 {
            if at > chunk.len() {
                f.write_char('=')?;
            } else {
                let [.., value] = (bits >> (18 - 6 * at) & 63).to_be_bytes();
                f.write_char(char::from(BASE64[usize::from(value)]))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn write_base32(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    for chunk in bytes.chunks(5) {
        let mut octets = [0; 8];
        octets[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(octets);
        for at in 0..(chunk.len() * 8).div_ceil(5) {
            let [.., value] = (bits >> (35 - 5 * at) & 31).to_be_bytes();
            f.write_char(char::from(BASE32[usize::from(value)]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base64(pieces: &[&str]) -> Option<Vec<u8>> {
        let (mut reader, mut out) = (Base64Reader::default(), Vec::new());
        let good = pieces.iter().all(|piece| reader.take(piece.as_bytes(), &mut out));
        (good && reader.is_whole()).then_some(out)
    }

    fn base32(text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        put_base32(text.as_bytes(), &mut out).then_some(out)
    }

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, in_64, in_32) in [
            ("", "", ""),
            ("f", "Zg==", "CO"),
            ("fo", "Zm8=", "CPNG"),
            ("foo", "Zm9v", "CPNMU"),
            ("foob", "Zm9vYg==", "CPNMUOG"),
            ("fooba", "Zm9vYmE=", "CPNMUOJ1"),
            ("foobar", "Zm9vYmFy", "CPNMUOJ1E8"),
        ] {
            let (mut text_64, mut text_32) = (String::new(), String::new());
            write_base64(plain.as_bytes(), &mut text_64).unwrap();
            write_base32(plain.as_bytes(), &mut text_32).unwrap();
            assert_eq!((&*text_64, &*text_32), (in_64, in_32));
            assert_eq!(base64(&[in_64]).as_deref(), Some(plain.as_bytes()));
            assert_eq!(base32(in_32).as_deref(), Some(plain.as_bytes()));
            assert_eq!(base32(&in_32.to_lowercase()).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for text in [
            "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=", "====", "Z===", "Zg==Zg==", "Zm8=Zg==", "Zm-v",
            "Zg=g",
        ] {
            assert_eq!(base64(&[text]), None, "{text}");
        }
        assert_eq!(base64(&["Z", "m9vY", "g=", "="]).as_deref(), Some(&b"foob"[..]));
        for text in ["C", "CP", "CPN", "CPNMUO", "CW", "C-"] {
            assert_eq!(base32(text), None, "{text}");
        }
        let mut reader = HexReader::default();
        let mut out = Vec::new();
        assert!(reader.take(b"0", &mut out) && !reader.is_whole() && reader.take(b"Af", &mut out));
        assert!(!reader.is_whole() && !reader.take(b"g", &mut out));
        assert_eq!(out, [0x0a]);
    }

    proptest! {
        #[test]
        fn bytes_read_back(bytes: Vec<u8>) {
            let (mut hex, mut in_64, mut in_32) = (String::new(), String::new(), String::new());
            write_hex(&bytes, &mut hex).unwrap();
            write_base64(&bytes, &mut in_64).unwrap();
            write_base32(&bytes, &mut in_32).unwrap();
            let mut out = Vec::new();
            prop_assert!(HexReader::default().take(hex.as_bytes(), &mut out));
            prop_assert_eq!(&out, &bytes);
            prop_assert_eq!(base64(&[&in_64]), Some(bytes.clone()));
            prop_assert_eq!(base32(&in_32), Some(bytes));
        }
    }
}
