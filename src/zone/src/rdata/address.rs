//! Addresses as text: IPv4, IPv6 (RFC 4291 2.2, RFC 5952), and groups of hexadecimal digits.

use std::fmt::{self, Write};

use crate::number::hex_digit;

/// Four numbers with dots between them, none with a leading zero.
pub(crate) fn parse_ipv4(text: &[u8]) -> Option<[u8; 4]> {
    let mut octets = [0; 4];
    let mut parts = text.split(|byte| *byte == b'.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.len() > 3 || (part.len() > 1 && part[0] == b'0') {
            return None;
        }
        *octet = crate::number::decimal(part)?;
    }
    parts.next().is_none().then_some(octets)
}

/// Eight groups of hexadecimal digits, `::` for one or more groups of zeros, the last two perhaps as an IPv4 address.
pub(crate) fn parse_ipv6(text: &[u8]) -> Option<[u8; 16]> {
    let Some(gap) = text.windows(2).position(|pair| pair == b"::") else {
        let (octets, len) = parse_groups(text)?;
        return (len == 16).then_some(octets);
    };
    let (mut octets, len) = parse_groups(&text[..gap])?;
    let (behind, len_behind) = parse_groups(&text[gap + 2..])?;
    // An IPv4 address stands at the end only, and the gap is of one group at least.
    if text[..gap].contains(&b'.') || len + len_behind > 14 {
        return None;
    }
    octets[16 - len_behind..].copy_from_slice(&behind[..len_behind]);
    Some(octets)
}

/// Groups with colons between them and no gap; and how many octets they are. No text is no groups.
fn parse_groups(text: &[u8]) -> Option<([u8; 16], usize)> {
    let mut octets = [0; 16];
    let mut len = 0;
    if text.is_empty() {
        return Some((octets, 0));
    }
    let mut groups = text.split(|byte| *byte == b':').peekable();
    while let Some(group) = groups.next() {
        if groups.peek().is_none() && group.contains(&b'.') {
            octets.get_mut(len..len + 4)?.copy_from_slice(&parse_ipv4(group)?);
            len += 4;
        } else {
            octets.get_mut(len..len + 2)?.copy_from_slice(&parse_group(group)?.to_be_bytes());
            len += 2;
        }
    }
    Some((octets, len))
}

/// One to four hexadecimal digits.
fn parse_group(text: &[u8]) -> Option<u16> {
    if text.is_empty() || text.len() > 4 {
        return None;
    }
    text.iter().try_fold(0, |value, digit| Some(value << 4 | u16::from(hex_digit(*digit)?)))
}

/// Exactly four groups (RFC 6742 2.1.2).
pub(crate) fn parse_four_groups(text: &[u8]) -> Option<[u8; 8]> {
    let (octets, len) = parse_groups(text)?;
    let whole: [u8; 8] = octets[..8].try_into().ok()?;
    (len == 8 && !text.contains(&b'.')).then_some(whole)
}

/// `LEN` pairs of hexadecimal digits with hyphens between them (RFC 7043 3.2).
pub(crate) fn parse_eui<const LEN: usize>(text: &[u8]) -> Option<[u8; LEN]> {
    let mut octets = [0; LEN];
    let mut pairs = text.split(|byte| *byte == b'-');
    for octet in &mut octets {
        let &[high, low] = pairs.next()? else { return None };
        *octet = hex_digit(high)? << 4 | hex_digit(low)?;
    }
    pairs.next().is_none().then_some(octets)
}

pub(crate) fn write_ipv4(octets: &[u8], f: &mut dyn Write) -> fmt::Result {
    for (at, octet) in octets.iter().enumerate() {
        let dot = if at == 0 { "" } else { "." };
        write!(f, "{dot}{octet}")?;
    }
    Ok(())
}

/// As RFC 5952 recommends: `::` for the first of the longest runs of zero groups, if of two or more.
pub(crate) fn write_ipv6(octets: &[u8], f: &mut dyn Write) -> fmt::Result {
    if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ipv4 @ ..] = octets {
        f.write_str("::ffff:")?;
        return write_ipv4(ipv4, f);
    }
    let mut groups = [0; 8];
    for (group, pair) in groups.iter_mut().zip(octets.chunks_exact(2)) {
        *group = u16::from(pair[0]) << 8 | u16::from(pair[1]);
    }
    let (mut gap, mut gap_len, mut at) = (8, 1, 0);
    while at < 8 {
        let zeros = groups[at..].iter().take_while(|group| **group == 0).count();
        if zeros > gap_len {
            (gap, gap_len) = (at, zeros);
        }
        at += zeros.max(1);
    }
    if gap == 8 {
        return write_groups(&groups, f);
    }
    write_groups(&groups[..gap], f)?;
    f.write_str("::")?;
    write_groups(&groups[gap + gap_len..], f)
}

fn write_groups(groups: &[u16], f: &mut dyn Write) -> fmt::Result {
    for (at, group) in groups.iter().enumerate() {
        let colon = if at == 0 { "" } else { ":" };
        write!(f, "{colon}{group:x}")?;
    }
    Ok(())
}

pub(crate) fn write_four_groups(octets: &[u8], f: &mut dyn Write) -> fmt::Result {
    for (at, pair) in octets.chunks_exact(2).enumerate() {
        let colon = if at == 0 { "" } else { ":" };
        write!(f, "{colon}{:02x}{:02x}", pair[0], pair[1])?;
    }
    Ok(())
}

pub(crate) fn write_eui(octets: &[u8], f: &mut dyn Write) -> fmt::Result {
    for (at, octet) in octets.iter().enumerate() {
        let hyphen = if at == 0 { "" } else { "-" };
        write!(f, "{hyphen}{octet:02x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn ipv4_text(octets: [u8; 4]) -> String {
        let mut text = String::new();
        write_ipv4(&octets, &mut text).unwrap();
        text
    }

    fn ipv6_text(octets: [u8; 16]) -> String {
        let mut text = String::new();
        write_ipv6(&octets, &mut text).unwrap();
        text
    }

    #[test]
    fn odd_addresses_are_as_in_the_standard_library() {
        for text in [
            "",
            "::",
            ":",
            ":::",
            "1",
            "::1",
            "1::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:9",
            "1:2:3:4:5:6:7:8::",
            "1::2::3",
            "::1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1.2.3.4::",
            "1.2.3.4:1::",
            "::1.2.3",
            "::ffff:1.2.3.256",
            "12345::",
            "g::",
            "1: 2::",
            "1:2:3:4:5:6:7:",
            ":1:2:3:4:5:6:7",
            "::ffff:0:1",
            "1:0:0:2:0:0:0:3",
            "::01.2.3.4",
            "fe80::1%1",
            "1.2.3.4",
            "01.2.3.4",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            ".1.2.3",
            "0.0.0.0",
            "255.255.255.255",
            "256.1.1.1",
            "1.2.3.0004",
            "1..2.3",
        ] {
            let ipv6: Option<Ipv6Addr> = text.parse().ok();
            assert_eq!(parse_ipv6(text.as_bytes()).map(Ipv6Addr::from), ipv6, "{text}");
            let ipv4: Option<Ipv4Addr> = text.parse().ok();
            assert_eq!(parse_ipv4(text.as_bytes()).map(Ipv4Addr::from), ipv4, "{text}");
        }
    }

    proptest! {
        #[test]
        fn all_addresses_are_as_in_the_standard_library(octets: [u8; 16], zeros: u16) {
            let mut octets = octets;
            for (at, octet) in octets.iter_mut().enumerate() {
                *octet *= u8::from(zeros >> (at & !1) & 1 == 0);
            }
            let text = ipv6_text(octets);
            prop_assert_eq!(&text, &Ipv6Addr::from(octets).to_string());
            prop_assert_eq!(parse_ipv6(text.as_bytes()), Some(octets));
            let ipv4 = [octets[0], octets[1], octets[2], octets[3]];
            prop_assert_eq!(&ipv4_text(ipv4), &Ipv4Addr::from(ipv4).to_string());
        }

        #[test]
        fn garbage_is_as_in_the_standard_library(text in "[0-9a-f:.]{0,24}") {
            let ipv6: Option<Ipv6Addr> = text.parse().ok();
            prop_assert_eq!(parse_ipv6(text.as_bytes()).map(Ipv6Addr::from), ipv6);
        }
    }

    #[test]
    fn hardware_addresses_and_groups() {
        assert_eq!(parse_eui(b"00-00-5e-00-53-2A"), Some([0, 0, 0x5e, 0, 0x53, 0x2a]));
        assert_eq!(parse_eui::<6>(b"00-00-5e-00-53"), None);
        assert_eq!(parse_eui::<6>(b"00-00-5e-00-53-2a-01"), None);
        assert_eq!(parse_eui::<6>(b"0-00-5e-00-53-2a"), None);
        assert_eq!(
            parse_four_groups(b"14:4fff:ff20:EE64"),
            Some([0, 0x14, 0x4f, 0xff, 0xff, 0x20, 0xee, 0x64])
        );
        for text in ["", "1:2:3", "1:2:3:4:5", "1::2:3", "1:2:3:00004", "1:2:1.2.3.4"] {
            assert_eq!(parse_four_groups(text.as_bytes()), None, "{text}");
        }
    }
}
