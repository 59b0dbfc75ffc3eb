//! Who may be connected: so many clients at a time, and so many connections of each.
//!
//! When there are too many, the one that has been idle longest leaves, so that a client which holds connections for
//! nothing cannot keep others out. One that is being answered stays; when all are, the new one is turned away.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use synod_places::client_of;
use tokio::sync::Notify;

use crate::counters::TrafficCounters;

/// All places of a front end.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    places_max: usize,
    places_per_client_max: usize,
    taken: Mutex<Taken>,
    /// Tells who became idle first, without a clock.
    idle_tickets: AtomicU64,
}

#[derive(Default)]
struct Taken {
    connections: HashMap<u64, Connection>,
    last_id: u64,
}

struct Connection {
    client: IpAddr,
    activity: Arc<Activity>,
}

struct Activity {
    /// The ticket that was drawn when it became idle; [`BUSY`] while it is being answered.
    idle_since: AtomicU64,
    leave: Notify,
}

const BUSY: u64 = u64::MAX;

/// One connection's place, until it is dropped. Idle to begin with.
pub(crate) struct Place {
    places: Places,
    id: u64,
    activity: Arc<Activity>,
}

/// What became of a new connection.
enum Admission {
    /// It has a place.
    Admitted(Place),
    /// It has the place of one that was idle.
    Replaced(Place),
    /// There is none for it.
    TurnedAway,
}

impl Places {
    pub(crate) fn new(places_max: usize, places_per_client_max: usize) -> Places {
        Places(Arc::new(Inner {
            places_max,
            places_per_client_max,
            taken: Mutex::default(),
            idle_tickets: AtomicU64::new(0),
        }))
    }

    /// A place for a connection from this address.
    fn admit(&self, from: IpAddr) -> Admission {
        let client = client_of(from);
        // Nothing that may panic runs under the lock.
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = taken.connections.values().filter(|connection| connection.client == client).count();
        let leaves = if of_client >= self.0.places_per_client_max {
            Some(taken.idle_longest(|connection| connection.client == client))
        } else if taken.connections.len() >= self.0.places_max {
            Some(taken.idle_longest(|_| true))
        } else {
            None
        };
        let replaces = leaves.is_some();
        match leaves {
            None => {}
            Some(None) => return Admission::TurnedAway,
            Some(Some(id)) => {
                if let Some(connection) = taken.connections.remove(&id) {
                    connection.activity.leave.notify_one();
                }
            }
        }
        taken.last_id += 1;
        let id = taken.last_id;
        let activity =
            Arc::new(Activity { idle_since: AtomicU64::new(self.idle_ticket()), leave: Notify::new() });
        taken.connections.insert(id, Connection { client, activity: Arc::clone(&activity) });
        let place = Place { places: self.clone(), id, activity };
        if replaces { Admission::Replaced(place) } else { Admission::Admitted(place) }
    }

    /// A place for a connection from this address, if there is one; what happened is counted.
    pub(crate) fn admit_counted(&self, from: IpAddr, counters: &TrafficCounters) -> Option<Place> {
        let place = match self.admit(from) {
            Admission::Admitted(place) => place,
            Admission::Replaced(place) => {
                counters.connections_refused.one();
                place
            }
            Admission::TurnedAway => {
                counters.connections_refused.one();
                return None;
            }
        };
        counters.connections.one();
        Some(place)
    }

    fn idle_ticket(&self) -> u64 {
        self.0.idle_tickets.fetch_add(1, Ordering::Relaxed)
    }
}

impl Taken {
    fn idle_longest(&self, among: impl Fn(&Connection) -> bool) -> Option<u64> {
        let of = self.connections.iter().filter(|(_, connection)| among(connection));
        let idle = of.map(|(id, connection)| (connection.activity.idle_since.load(Ordering::Relaxed), *id));
        idle.filter(|(since, _)| *since != BUSY).min().map(|(_, id)| id)
    }
}

impl Place {
    /// The client is being answered: it cannot be asked to leave.
    pub(crate) fn busy(&self) {
        self.activity.idle_since.store(BUSY, Ordering::Relaxed);
    }

    /// The client has all its answers.
    pub(crate) fn idle(&self) {
        self.activity.idle_since.store(self.places.idle_ticket(), Ordering::Relaxed);
    }

    /// Returns when the place is given to another: the connection has to be closed. Also when that happened while
    /// nobody waited here.
    pub(crate) async fn given_away(&self) {
        self.activity.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.connections.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(places: &Places, from: &str) -> Place {
        match places.admit(address(from)) {
            Admission::Admitted(place) => place,
            Admission::Replaced(_) => panic!("{from} took another's place"),
            Admission::TurnedAway => panic!("{from} was turned away"),
        }
    }

    fn replaced(places: &Places, from: &str) -> Place {
        match places.admit(address(from)) {
            Admission::Replaced(place) => place,
            Admission::Admitted(_) => panic!("there was a place left for {from}"),
            Admission::TurnedAway => panic!("{from} was turned away"),
        }
    }

    async fn leaves(place: &Place) -> bool {
        tokio::select! {
            biased;
            () = place.given_away() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn who_has_been_idle_longest_leaves() {
        let places = Places::new(3, 3);
        let (first, second, third) =
            (admitted(&places, "192.0.2.1"), admitted(&places, "192.0.2.2"), admitted(&places, "192.0.2.3"));
        first.busy();
        second.busy();
        second.idle();
        // The third has been idle since it came, the second only since it was answered.
        let fourth = replaced(&places, "192.0.2.4");
        assert_eq!((leaves(&first).await, leaves(&second).await, leaves(&third).await), (false, false, true));
        drop(third);
        let _fifth = replaced(&places, "192.0.2.5");
        assert!(leaves(&second).await);
        assert!(!leaves(&fourth).await);
    }

    #[tokio::test]
    async fn nobody_who_is_being_answered_leaves() {
        let places = Places::new(1, 1);
        let only = admitted(&places, "192.0.2.1");
        only.busy();
        assert!(matches!(places.admit(address("192.0.2.2")), Admission::TurnedAway));
        assert!(!leaves(&only).await);
        drop(only);
        drop(admitted(&places, "192.0.2.2"));
    }

    #[tokio::test]
    async fn one_client_competes_with_itself_only() {
        let places = Places::new(10, 2);
        let other = admitted(&places, "2001:db8:0:1::1");
        let (first, second) =
            (admitted(&places, "2001:db8::1"), admitted(&places, "2001:db8::ffff:ffff:ffff:ffff"));
        let third = replaced(&places, "2001:db8::2");
        assert_eq!((leaves(&other).await, leaves(&first).await, leaves(&second).await), (false, true, false));
        second.busy();
        third.busy();
        assert!(matches!(places.admit(address("2001:db8::3")), Admission::TurnedAway));
        drop(admitted(&places, "2001:db8:0:2::1"));
    }
}
