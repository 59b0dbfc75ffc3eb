//! `host:port`: where something listens or is reached. The one rule for it, which the configuration, the mesh and the machine
//! share: what one of them takes, the others take as well.

use crate::limits::ADDRESS_BYTES_MAX;

/// Bytes of a host name at most (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Why a text is no `host:port`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHostPort {
    /// It has more than [`ADDRESS_BYTES_MAX`] bytes.
    TooLong,
    /// There is no colon.
    NoPort,
    /// What is before the last colon is neither a host name nor an IPv4 address nor an IPv6 address in brackets.
    BadHost,
    /// What is behind it is no number from 0 to 65535 in decimal digits.
    BadPort,
}

/// Takes `host:port` apart. An IPv6 address stands in brackets, and is given without them. Nothing is resolved. Port 0 is one
/// too: whether it means anything is for the caller.
///
/// # Errors
/// [`NoHostPort`] says what does not fit.
pub fn split(text: &str) -> Result<(&str, u16), NoHostPort> {
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(NoHostPort::TooLong);
    }
    let (host, port) = text.rsplit_once(':').ok_or(NoHostPort::NoPort)?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match in_brackets {
        Some(host) => is_ipv6(host),
        None => is_host_name(host),
    };
    if !is_host {
        return Err(NoHostPort::BadHost);
    }
    // Rust takes "+7" for a number; nobody else does. What is taken here is part of what machines execute, so it is not a
    // library's to change.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or(NoHostPort::BadPort)?;
    Ok((in_brackets.unwrap_or(host), port))
}

/// Whether something can be reached under this, as far as that can be told without resolving the host.
pub fn is_host_port(text: &str) -> bool {
    split(text).is_ok_and(|(_, port)| port != 0)
}

/// Letters, digits, '-', '_' and '.': DNS names, the names of containers, and IPv4 addresses.
fn is_host_name(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(plain)
}

/// An IPv6 address as RFC 4291, section 2.2, writes it, without a zone.
fn is_ipv6(text: &str) -> bool {
    let Some((before, behind)) = text.split_once("::") else { return groups(text, true) == Some(8) };
    // The two colons stand for one group at least.
    let before = if before.is_empty() { Some(0) } else { groups(before, false) };
    let behind = if behind.is_empty() { Some(0) } else { groups(behind, true) };
    before.zip(behind).is_some_and(|(before, behind)| before + behind < 8)
}

/// How many groups of 16 bits these are, with colons between them; the end may be an IPv4 address, which is two.
fn groups(text: &str, may_end_in_ipv4: bool) -> Option<usize> {
    let (text, more) = match text.rsplit_once(':') {
        Some((rest, last)) if may_end_in_ipv4 && last.contains('.') => (rest, is_ipv4(last).then_some(2)?),
        None if may_end_in_ipv4 && text.contains('.') => return is_ipv4(text).then_some(2),
        _ => (text, 0),
    };
    let is_group =
        |group: &str| (1..=4).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split(':').all(is_group).then(|| text.split(':').count() + more)
}

/// Four numbers from 0 to 255 without zeros before them.
fn is_ipv4(text: &str) -> bool {
    let is_byte = |part: &str| {
        let is_short = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_short && part.parse::<u8>().is_ok() && (part.len() == 1 || !part.starts_with('0'))
    };
    text.split('.').count() == 4 && text.split('.').all(is_byte)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// The system's library is of the same opinion, today.
    #[test]
    fn ipv6_addresses_are_what_others_take_for_one() {
        for text in [
            "::",
            "::1",
            "1::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1::8",
            "1:2:3:4:5:6:1.2.3.4",
            "::1.2.3.4",
            "::ffff:192.0.2.1",
            "1::5:1.2.3.4",
            "fe80::a:B:c:0001",
            "1.2.3.4",
            "1.2.3.4::",
            "::1.2.3.4:5",
            "",
            ":",
            ":1",
            "1:",
            ":::",
            "1::2::3",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2:3:4:5:6:7:8",
            "12345::",
            "g::",
            "::1.2.3",
            "::1.2.3.256",
            "::01.2.3.4",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1:2:3:4:5::6:1.2.3.4",
            "::%1",
            "fe80::1%eth0",
            "::-1",
            "::+1",
            " ::1",
            "1:2:3:4:5:6::1.2.3.4",
            "::1:2:3:4:5:6:1.2.3.4",
        ] {
            assert_eq!(is_ipv6(text), text.parse::<Ipv6Addr>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn hosts_and_ports_come_apart() {
        assert_eq!(split("127.0.0.1:1"), Ok(("127.0.0.1", 1)));
        assert_eq!(split("[::1]:65535"), Ok(("::1", 65535)));
        assert_eq!(split("synod_node-1.example.com:7101"), Ok(("synod_node-1.example.com", 7101)));
        assert_eq!(split("localhost:0"), Ok(("localhost", 0)));
        assert!(is_host_port("localhost:1") && !is_host_port("localhost:0"));
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!("{}:1", "a".repeat(HOST_BYTES_MAX + 1));
        let longer = format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX));
        for (text, why) in [
            ("", NoHostPort::NoPort),
            ("localhost", NoHostPort::NoPort),
            (":7101", NoHostPort::BadHost),
            ("::1:7101", NoHostPort::BadHost),
            ("[::1]", NoHostPort::BadHost),
            ("[no]:1", NoHostPort::BadHost),
            ("a b:1", NoHostPort::BadHost),
            ("ä:1", NoHostPort::BadHost),
            (&long, NoHostPort::BadHost),
            (&longer, NoHostPort::TooLong),
            ("x:65536", NoHostPort::BadPort),
            ("x:-1", NoHostPort::BadPort),
            ("x:+1", NoHostPort::BadPort),
            ("x:", NoHostPort::BadPort),
        ] {
            assert_eq!(split(text), Err(why), "{text:?}");
        }
    }
}
