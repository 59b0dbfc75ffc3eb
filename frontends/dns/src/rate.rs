//! Response rate limiting: whoever forges a victim's address gets this server to send the victim so many answers a second, and
//! no more.
//!
//! What counts are the answers to one network, an IPv4 /24 or an IPv6 /56, whatever they say: a limit that looks at
//! names could be gone round with other names. Beyond it, every other query gets the shortest answer that there is, with which a
//! client that is real comes back over TCP or with a cookie, and the others get none.

use std::hash::Hasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use siphasher::sip::SipHasher24;
use synod_types::limits::DNS_RATE_NETWORKS;

/// A thread's part of the limit. A network that is one of many at the same place shares the place's answers with the others;
/// which ones these are nobody outside knows.
pub(crate) struct RateLimit {
    per_second: u32,
    exempt: Arc<[IpNet]>,
    key: [u8; 16],
    opened: Instant,
    places: Box<[Place]>,
    limited: u64,
}

/// What networks at one place may still have.
#[derive(Clone, Copy)]
struct Place {
    /// Milliseconds since the limit was opened.
    at_ms: u32,
    /// Thousandths of answers.
    left: u32,
}

/// What to do with a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Answer it.
    Answer,
    /// Answer as short as can be.
    Short,
    /// Nothing.
    Silence,
}

impl RateLimit {
    /// So many answers a second, and at once.
    pub(crate) fn new(per_second: u32, exempt: Arc<[IpNet]>, key: [u8; 16], opened: Instant) -> RateLimit {
        let place = Place { at_ms: 0, left: per_second * 1000 };
        let places = vec![place; DNS_RATE_NETWORKS].into_boxed_slice();
        RateLimit { per_second, exempt, key, opened, places, limited: 0 }
    }

    /// Milliseconds as [`RateLimit::admit`] counts them.
    pub(crate) fn clock_ms(&self, now: Instant) -> u32 {
        // It goes round after 49 days, at which a network may have a second's answers at once.
        u32::try_from((now - self.opened).as_millis() & u128::from(u32::MAX)).expect("32 bits")
    }

    /// Counts a query from here.
    pub(crate) fn admit(&mut self, from: IpAddr, now_ms: u32) -> Admission {
        if self.exempt.iter().any(|network| network.contains(&from)) {
            return Admission::Answer;
        }
        let place = self.place(from);
        let Place { at_ms, left } = &mut self.places[place];
        let passed = u64::from(now_ms.wrapping_sub(*at_ms));
        let most = self.per_second * 1000;
        let refilled = u64::from(*left) + passed * u64::from(self.per_second);
        (*at_ms, *left) = (now_ms, u32::try_from(refilled).unwrap_or(most).min(most));
        match left.checked_sub(1000) {
            Some(rest) => {
                *left = rest;
                Admission::Answer
            }
            None => {
                self.limited += 1;
                if self.limited % 2 == 1 { Admission::Short } else { Admission::Silence }
            }
        }
    }

    fn place(&self, from: IpAddr) -> usize {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        match from {
            IpAddr::V4(address) => hasher.write(&address.octets()[..3]),
            IpAddr::V6(address) => hasher.write(&address.octets()[..7]),
        }
        let places = u64::try_from(self.places.len()).expect("usize has at most 64 bits");
        usize::try_from(hasher.finish() % places).expect("below the number of places")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: u32, exempt: &[&str]) -> RateLimit {
        let exempt = exempt.iter().map(|network| network.parse().unwrap()).collect();
        RateLimit::new(per_second, exempt, [1; 16], Instant::now())
    }

    /// How many are answered, and how many are not; of the latter, every other one is answered in short.
    fn admitted(limit: &mut RateLimit, from: &str, now_ms: u32, queries: u32) -> (u32, u32) {
        let from = from.parse().unwrap();
        let mut counts = [0_u32; 3];
        for _ in 0..queries {
            let at = match limit.admit(from, now_ms) {
                Admission::Answer => 0,
                Admission::Short => 1,
                Admission::Silence => 2,
            };
            counts[at] += 1;
        }
        let [answered, short, silence] = counts;
        assert!(short.abs_diff(silence) <= 1);
        (answered, short + silence)
    }

    #[test]
    fn a_network_has_so_many_answers_a_second() {
        let mut limit = limit(100, &[]);
        assert_eq!(admitted(&mut limit, "192.0.2.1", 0, 1000), (100, 900));
        assert_eq!(admitted(&mut limit, "192.0.2.200", 0, 10), (0, 10), "the same network");
        assert_eq!(admitted(&mut limit, "192.0.3.1", 0, 10), (10, 0), "another one");
        assert_eq!(admitted(&mut limit, "192.0.2.1", 10, 10), (1, 9), "a hundredth of a second later");
        assert_eq!(admitted(&mut limit, "192.0.2.1", 1_000_000, 200), (100, 100), "never more at once");
        assert_eq!(admitted(&mut limit, "2001:db8::1", 0, 101), (100, 1));
        assert_eq!(admitted(&mut limit, "2001:db8:0:ff::2", 0, 2), (0, 2), "one /56");
        assert_eq!(admitted(&mut limit, "2001:db8:0:100::2", 0, 2), (2, 0), "another /56");
    }

    #[test]
    fn what_is_exempt_is_not_counted() {
        let mut limit = limit(1, &["127.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(admitted(&mut limit, "127.0.0.1", 0, 50), (50, 0));
        assert_eq!(admitted(&mut limit, "2001:db8:1::1", 0, 50), (50, 0));
        assert_eq!(admitted(&mut limit, "128.0.0.1", 0, 3), (1, 2));
    }

    /// Forged addresses from everywhere: together they get what all places have, and the memory stays as it is.
    #[test]
    fn a_flood_from_everywhere_is_bounded_as_well() {
        let mut limit = limit(2, &[]);
        let mut answered = 0;
        for n in 0..4 * u32::try_from(DNS_RATE_NETWORKS).unwrap() {
            let from = std::net::Ipv4Addr::from(n << 8);
            answered += u32::from(limit.admit(from.into(), 0) == Admission::Answer);
        }
        assert!(answered <= 2 * u32::try_from(DNS_RATE_NETWORKS).unwrap(), "{answered}");
    }
}
