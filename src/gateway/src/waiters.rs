//! Those who wait until something has risen far enough, in the order of what they wait for. Whoever raises it pays one
//! uncontended lock, and wakes exactly those whose turn has come: with nobody waiting, or with everybody waiting for
//! more, nothing is woken.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::oneshot;

/// Waiters for a rising `K`. How many there may be is the caller's business.
pub(crate) struct Waiters<K>(Mutex<Queue<K>>);

struct Queue<K> {
    /// Tells waiters for the same value apart.
    tickets: u64,
    waiting: BTreeMap<(K, u64), oneshot::Sender<()>>,
}

impl<K: Ord + Copy> Waiters<K> {
    pub(crate) fn new() -> Waiters<K> {
        Waiters(Mutex::new(Queue { tickets: 0, waiting: BTreeMap::new() }))
    }

    /// Wakes everyone who waits for `reached` or less. Whoever looks from now on must already see `reached`.
    pub(crate) fn reach(&self, reached: K) {
        let woken = {
            let mut queue = self.lock();
            match queue.waiting.first_key_value() {
                Some(((least, _), _)) if *least <= reached => {}
                _ => return,
            }
            let later = queue.waiting.split_off(&(reached, u64::MAX));
            std::mem::replace(&mut queue.waiting, later)
        };
        for waiter in woken.into_values() {
            // Who has left meanwhile needs no waking.
            let _ = waiter.send(());
        }
    }

    /// Waits until `target` is reached; `now` tells what is reached at this moment. May be dropped at any time.
    pub(crate) async fn until(&self, target: K, now: impl Fn() -> K) {
        let (_place, woken) = {
            let mut queue = self.lock();
            // Looked at under the lock: what is raised after this look finds this waiter in the queue.
            if now() >= target {
                return;
            }
            let (sender, woken) = oneshot::channel();
            let place = (target, queue.tickets);
            queue.tickets += 1;
            queue.waiting.insert(place, sender);
            (Place { waiters: self, place }, woken)
        };
        // The sender is only ever dropped by being used.
        let _ = woken.await;
    }

    fn lock(&self) -> MutexGuard<'_, Queue<K>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

/// Takes a waiter who gives up out of the queue.
struct Place<'a, K: Ord + Copy> {
    waiters: &'a Waiters<K>,
    place: (K, u64),
}

impl<K: Ord + Copy> Drop for Place<'_, K> {
    fn drop(&mut self) {
        self.waiters.lock().waiting.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn only_those_whose_turn_has_come_are_woken() {
        let waiters = Waiters::new();
        let (mut three, mut five) = (pin!(waiters.until(3, || 1)), pin!(waiters.until(5, || 1)));
        assert!(poll(three.as_mut()).is_pending() && poll(five.as_mut()).is_pending());
        waiters.reach(2);
        assert!(poll(three.as_mut()).is_pending());
        waiters.reach(4);
        assert!(poll(three.as_mut()).is_ready());
        assert!(poll(five.as_mut()).is_pending());
        waiters.reach(5);
        assert!(poll(five.as_mut()).is_ready());
    }

    #[test]
    fn who_has_no_reason_to_wait_does_not() {
        let waiters = Waiters::new();
        assert!(poll(pin!(waiters.until(3, || 3))).is_ready());
        assert!(waiters.lock().waiting.is_empty());
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind() {
        let waiters = Waiters::new();
        {
            let mut gone = pin!(waiters.until(3, || 1));
            assert!(poll(gone.as_mut()).is_pending());
            assert_eq!(waiters.lock().waiting.len(), 1);
        }
        assert!(waiters.lock().waiting.is_empty());
    }
}
