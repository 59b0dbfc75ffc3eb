//! DNS cookies (RFC 7873, RFC 9018): who sends back a cookie that this server made has received it, and is where it says to
//! be.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

/// The only version of a server's cookie that is known here (RFC 9018 4).
const VERSION: u8 = 1;
/// Bytes of a client's part.
const CLIENT_BYTES: usize = 8;
/// Bytes of the option's value with both parts.
pub(crate) const COOKIE_BYTES: usize = 24;
/// A cookie that is older is none any more (RFC 9018 4.3).
const AGE_S_MAX: u32 = 3600;
/// How far the clock that made it may be ahead: that of another server with the same secret.
const AHEAD_S_MAX: u32 = 300;

/// What a server makes its cookies with.
#[derive(Clone, Copy)]
pub struct CookieSecret(pub [u8; 16]);

/// Where a client's message came from.
#[derive(Clone, Copy)]
pub enum ClientAddress {
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 address.
    V6([u8; 16]),
}

/// The cookies of one client, at one moment.
#[derive(Clone, Copy)]
pub struct Cookies<'a> {
    /// The server's secret.
    pub secret: &'a CookieSecret,
    /// Where the client's message came from.
    pub client: ClientAddress,
    /// Seconds since 1970; it may go round.
    pub now: u32,
}

impl Cookies<'_> {
    /// The option's value in an answer to a query with `value` in it; `None`: that is no cookie.
    pub(crate) fn answer(&self, value: &[u8]) -> Option<[u8; COOKIE_BYTES]> {
        let client = value.first_chunk::<CLIENT_BYTES>()?;
        // RFC 7873 4: a client's part alone, or a server's with it, of 8 to 32 bytes.
        let is_sound = matches!(value.len(), CLIENT_BYTES | 16..=40);
        is_sound.then(|| self.cookie(client, self.now))
    }

    /// Whether this is a cookie that the client had from this server, lately.
    pub(crate) fn is_valid(&self, value: &[u8]) -> bool {
        let Ok(value) = <&[u8; COOKIE_BYTES]>::try_from(value) else { return false };
        let (client, rest) = value.split_first_chunk().expect("24 bytes");
        let made = u32::from_be_bytes(*rest[4..].first_chunk().expect("12 bytes"));
        // Serial numbers (RFC 1982), as the clock goes round.
        let age = self.now.wrapping_sub(made);
        let is_recent = age <= AGE_S_MAX || made.wrapping_sub(self.now) <= AHEAD_S_MAX;
        is_recent && *value == self.cookie(client, made)
    }

    /// RFC 9018 4.4.
    fn cookie(&self, client: &[u8; CLIENT_BYTES], made: u32) -> [u8; COOKIE_BYTES] {
        let mut cookie = [0; COOKIE_BYTES];
        cookie[..8].copy_from_slice(client);
        cookie[8] = VERSION;
        cookie[12..16].copy_from_slice(&made.to_be_bytes());
        let mut hasher = SipHasher24::new_with_key(&self.secret.0);
        hasher.write(&cookie[..16]);
        match self.client {
            ClientAddress::V4(address) => hasher.write(&address),
            ClientAddress::V6(address) => hasher.write(&address),
        }
        cookie[16..].copy_from_slice(&hasher.finish().to_le_bytes());
        cookie
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 9018, appendix A.
    #[test]
    fn cookies_are_as_the_rfc_shows() {
        for (secret, client, now, asked, answered) in [
            (
                "e5e973e5a6b2a43f48e7dc849e37bfcf",
                [198, 51, 100, 100],
                1_559_731_985,
                "2464c4abcf10c957",
                "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            ),
            (
                "e5e973e5a6b2a43f48e7dc849e37bfcf",
                [198, 51, 100, 100],
                1_559_734_385,
                "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
                "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
            ),
        ] {
            let secret = CookieSecret(bytes(secret).try_into().unwrap());
            let cookies = Cookies { secret: &secret, client: ClientAddress::V4(client), now };
            assert_eq!(cookies.answer(&bytes(asked)).unwrap()[..], bytes(answered)[..]);
            assert!(cookies.is_valid(&bytes(answered)));
            assert_eq!(cookies.is_valid(&bytes(asked)), asked.len() == 48, "an hour is not over");
        }
    }

    #[test]
    fn a_cookie_is_good_for_one_client_and_one_hour() {
        let secret = CookieSecret([7; 16]);
        let client = ClientAddress::V6([1; 16]);
        let made = u32::MAX - 10;
        let at = |now, client| Cookies { secret: &secret, client, now };
        let cookie = at(made, client).answer(&[1; 8]).unwrap();
        for (after, valid) in [(0, true), (AGE_S_MAX, true), (AGE_S_MAX + 1, false), (1 << 31, false)] {
            assert_eq!(at(made.wrapping_add(after), client).is_valid(&cookie), valid, "after {after} s");
        }
        assert!(at(made - AHEAD_S_MAX, client).is_valid(&cookie));
        assert!(!at(made - AHEAD_S_MAX - 1, client).is_valid(&cookie));
        assert!(!at(made, ClientAddress::V6([2; 16])).is_valid(&cookie));
        let other = CookieSecret([8; 16]);
        assert!(!Cookies { secret: &other, client, now: made }.is_valid(&cookie));
        for bit in 0..cookie.len() * 8 {
            let mut forged = cookie;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!at(made, client).is_valid(&forged), "bit {bit}");
        }
    }

    #[test]
    fn what_is_no_cookie_is_told_from_one() {
        let secret = CookieSecret([7; 16]);
        let cookies = Cookies { secret: &secret, client: ClientAddress::V4([192, 0, 2, 1]), now: 1 };
        for len in 0..64 {
            let is_sound = len == 8 || (16..=40).contains(&len);
            assert_eq!(cookies.answer(&vec![1; len]).is_some(), is_sound, "{len} bytes");
        }
    }
}
