//! How many connections one client has, so that none takes all of them. It knows neither sockets nor the number of all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The connections of every client.
#[derive(Clone, Debug)]
pub struct Places {
    per_client_max: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    client: IpAddr,
}

impl Places {
    /// So many for each client.
    pub fn new(per_client_max: usize) -> Places {
        Places { per_client_max, taken: Arc::default() }
    }

    /// A place for a connection from this address; `None`: the client has as many as it may.
    pub fn take(&self, from: IpAddr) -> Option<Place> {
        let client = client_of(from);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(client).or_default();
        if *count >= self.per_client_max {
            return None;
        }
        *count += 1;
        Some(Place { places: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

/// Whom an address stands for: one host has a whole /64 of IPv6.
pub fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_places_and_gets_them_back() {
        let places = Places::new(2);
        let take = |from: &str| places.take(from.parse().unwrap());
        let (first, _second) = (take("2001:db8::1").unwrap(), take("2001:db8::ffff:ffff:ffff:ffff").unwrap());
        assert!(take("2001:db8::2").is_none());
        let _other = take("2001:db8:0:1::1").unwrap();
        let _v4 = (take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap());
        assert!(take("192.0.2.1").is_none());
        drop(first);
        assert!(take("2001:db8::2").is_some());
        assert_eq!(places.taken.lock().unwrap().len(), 3, "who has gone is forgotten");
    }
}
