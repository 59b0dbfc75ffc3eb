//! Data that is a list: address prefixes (RFC 3123), ports (RFC 1035 3.4.2), rendezvous servers (RFC 8005).

use std::fmt::{self, Write};

use crate::fault::Fault;
use crate::name::{self, write_labels};
use crate::number::{decimal, hex_digit};
use crate::rdata::encoding::{Base64Reader, HexReader, write_base64, write_hex};
use crate::rdata::{RdataError, address, from_text};
use crate::zone_file::Lexer;

/// Reads `1:192.0.2.0/24 !2:2001:db8::/32`, or nothing.
pub(crate) fn put_prefixes(lexer: &mut Lexer<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    while let Some(token) = lexer.next()? {
        let prefix = (!token.quoted).then(|| prefix(token.raw)).flatten();
        let (family, len, negated, octets) = prefix.ok_or_else(|| {
            lexer.unexpected(&token, "an address prefix, as in 1:192.0.2.0/24 or !2:2001:db8::/32")
        })?;
        let used = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        let [.., count] = used.to_be_bytes();
        out.extend([0, family, len, count | if negated { 0x80 } else { 0 }]);
        out.extend_from_slice(&octets[..used]);
    }
    Ok(())
}

/// Family, bits, whether it is excluded, address.
fn prefix(text: &[u8]) -> Option<(u8, u8, bool, [u8; 16])> {
    let (negated, text) = match text.strip_prefix(b"!") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let slash = text.iter().position(|byte| *byte == b'/')?;
    let len: u8 = decimal(&text[slash + 1..])?;
    let (family, octets) = match &text[..slash] {
        [b'1', b':', ipv4 @ ..] => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address::parse_ipv4(ipv4)?);
            (1, octets)
        }
        [b'2', b':', ipv6 @ ..] => (2, address::parse_ipv6(ipv6)?),
        _ => return None,
    };
    (len <= bits_max(family)).then_some((family, len, negated, octets))
}

fn bits_max(family: u8) -> u8 {
    if family == 1 { 32 } else { 128 }
}

/// The length of a list of prefixes, if all are as they should be.
pub(crate) fn prefixes_len(bytes: &[u8]) -> Result<usize, RdataError> {
    let mut rest = bytes;
    while let [high, family, len, count, behind @ ..] = rest {
        let octets = behind.get(..usize::from(count & 0x7f)).ok_or(RdataError::Truncated)?;
        if *high != 0 || !(1..=2).contains(family) || *len > bits_max(*family) {
            return Err(RdataError::Field("a prefix is of family 1 with up to 32 bits, or 2 with up to 128"));
        }
        if octets.len() > usize::from(bits_max(*family)) / 8 || octets.last() == Some(&0) {
            return Err(RdataError::Field(
                "a prefix has the octets of its address up to the last that is not 0",
            ));
        }
        rest = &behind[octets.len()..];
    }
    if rest.is_empty() { Ok(bytes.len()) } else { Err(RdataError::Truncated) }
}

pub(crate) fn write_prefixes(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    let mut rest = bytes;
    while let [_, family, len, count, behind @ ..] = rest {
        if rest.len() < bytes.len() {
            f.write_char(' ')?;
        }
        let (used, others) = behind.split_at(usize::from(count & 0x7f).min(behind.len()));
        let mut octets = [0; 16];
        octets[..used.len()].copy_from_slice(used);
        let negated = if count & 0x80 == 0 { "" } else { "!" };
        write!(f, "{negated}{family}:")?;
        if *family == 1 {
            address::write_ipv4(&octets[..4], f)?;
        } else {
            address::write_ipv6(&octets, f)?;
        }
        write!(f, "/{len}")?;
        rest = others;
    }
    Ok(())
}

/// Reads `tcp 25 80`: the protocol, by number or as `tcp` or `udp`, and ports by number.
pub(crate) fn put_services(lexer: &mut Lexer<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let expected = "a protocol: tcp, udp or a number up to 255";
    let token = lexer.word(expected)?;
    let protocol = match token.raw {
        name if name.eq_ignore_ascii_case(b"tcp") => 6,
        name if name.eq_ignore_ascii_case(b"udp") => 17,
        number => decimal(number).ok_or_else(|| lexer.unexpected(&token, expected))?,
    };
    out.push(protocol);
    let begin = out.len();
    while let Some(token) = lexer.next()? {
        let port: Option<u16> = if token.quoted { None } else { decimal(token.raw) };
        let port = usize::from(port.ok_or_else(|| lexer.unexpected(&token, "a port: a number up to 65535"))?);
        if out.len() <= begin + port / 8 {
            out.resize(begin + port / 8 + 1, 0);
        }
        out[begin + port / 8] |= 0x80 >> (port % 8);
    }
    Ok(())
}

pub(crate) fn services_len(bytes: &[u8]) -> Result<usize, RdataError> {
    match bytes {
        [] => Err(RdataError::Truncated),
        [_, .., 0] => Err(RdataError::Field("a bitmap of ports ends with an octet that is not 0")),
        [_, ports @ ..] if ports.len() > 8192 => Err(RdataError::TrailingBytes),
        _ => Ok(bytes.len()),
    }
}

pub(crate) fn write_services(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    let Some((protocol, ports)) = bytes.split_first() else { return Ok(()) };
    write!(f, "{protocol}")?;
    for (first, octet) in (0_u32..).step_by(8).zip(ports) {
        for bit in 0..8 {
            if octet & 0x80 >> bit != 0 {
                write!(f, " {}", first + bit)?;
            }
        }
    }
    Ok(())
}

/// Reads `2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSut5... rvs.example.com.`
pub(crate) fn put_host_identity(
    lexer: &mut Lexer<'_>,
    origin: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let expected = "a public key algorithm: a number up to 255";
    let token = lexer.word(expected)?;
    let algorithm: u8 = decimal(token.raw).ok_or_else(|| lexer.unexpected(&token, expected))?;
    let begin = out.len();
    out.extend([0, algorithm, 0, 0]);

    let expected = "a host identity tag: up to 255 bytes in hexadecimal digits";
    let token = lexer.word(expected)?;
    let mut hex = HexReader::default();
    let read = hex.take(token.raw, out) && hex.is_whole();
    let tag_len = u8::try_from(out.len() - begin - 4).ok().filter(|len| read && *len > 0);
    out[begin] = tag_len.ok_or_else(|| lexer.unexpected(&token, expected))?;

    let expected = "a public key in base64, in one piece";
    let token = lexer.word(expected)?;
    let (mut base64, key) = (Base64Reader::default(), out.len());
    let read = base64.take(token.raw, out) && base64.is_whole();
    let key_len = u16::try_from(out.len() - key).ok().filter(|len| read && *len > 0);
    let key_len = key_len.ok_or_else(|| lexer.unexpected(&token, expected))?;
    out[begin + 2..begin + 4].copy_from_slice(&key_len.to_be_bytes());

    while let Some(token) = lexer.next()? {
        from_text::put_name(lexer, &token, origin, out)?;
    }
    Ok(())
}

pub(crate) fn host_identity_len(bytes: &[u8]) -> Result<usize, RdataError> {
    let [tag_len, _, high, low, rest @ ..] = bytes else { return Err(RdataError::Truncated) };
    let key_len = u16::from_be_bytes([*high, *low]);
    if *tag_len == 0 || key_len == 0 {
        return Err(RdataError::Field("a host identity has a tag and a key"));
    }
    let mut servers =
        rest.get(usize::from(*tag_len) + usize::from(key_len)..).ok_or(RdataError::Truncated)?;
    while !servers.is_empty() {
        servers = &servers[name::wire_len(servers)?..];
    }
    Ok(bytes.len())
}

pub(crate) fn write_host_identity(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    let [tag_len, algorithm, high, low, rest @ ..] = bytes else { return Ok(()) };
    let (tag, rest) = rest.split_at(usize::from(*tag_len));
    let (key, mut servers) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
    write!(f, "{algorithm} ")?;
    write_hex(tag, f)?;
    f.write_char(' ')?;
    write_base64(key, f)?;
    while let Ok(len) = name::wire_len(servers) {
        f.write_char(' ')?;
        write_labels(&servers[..len], true, f)?;
        servers = &servers[len..];
    }
    Ok(())
}

/// Reads an NSAP address: `0x` and pairs of hexadecimal digits, with dots wherever they help (RFC 1706 7).
pub(crate) fn put_nsap(lexer: &mut Lexer<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let expected = "an NSAP address: 0x and pairs of hexadecimal digits, dots between them";
    let token = lexer.word(expected)?;
    let unexpected = |lexer: &Lexer<'_>| lexer.unexpected(&token, expected);
    let [b'0', b'x' | b'X', digits @ ..] = token.raw else { return Err(unexpected(lexer)) };
    let begin = out.len();
    let mut hex = HexReader::default();
    for byte in digits.iter().filter(|byte| **byte != b'.') {
        if hex_digit(*byte).is_none() || !hex.take(&[*byte], out) {
            return Err(unexpected(lexer));
        }
    }
    if hex.is_whole() && out.len() > begin { Ok(()) } else { Err(unexpected(lexer)) }
}
