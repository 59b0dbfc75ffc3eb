//! The seqs of one commander in one application, handed out so that the window over them is never left.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use synod_types::Seq;
use synod_types::limits::SESSION_WINDOW;
use tokio::sync::Notify;

/// Hands out seqs.
#[derive(Default)]
pub(crate) struct Seqs {
    state: Mutex<State>,
    /// A seq was given back, or the next one is known.
    changed: Notify,
    /// Held by who asks the cluster for the next seq.
    pub(crate) asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Unknown until the cluster was asked.
    next: Option<u64>,
    in_flight: BTreeSet<u64>,
    /// Rises whenever the cluster was asked.
    generation: u64,
}

/// A seq that is in flight until this is dropped.
pub(crate) struct HeldSeq {
    seqs: Arc<Seqs>,
    seq: u64,
    generation: u64,
}

impl HeldSeq {
    pub(crate) fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// How often the cluster had been asked when it was handed out.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for HeldSeq {
    fn drop(&mut self) {
        let mut state = self.seqs.state();
        let was_oldest = state.in_flight.first() == Some(&self.seq);
        state.in_flight.remove(&self.seq);
        drop(state);
        // Nothing else moves the window.
        if was_oldest {
            self.seqs.changed.notify_waiters();
        }
    }
}

impl Seqs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    /// How often the cluster was asked.
    pub(crate) fn generation(&self) -> u64 {
        self.state().generation
    }

    /// The cluster says that `next` is free. What was handed out is not handed out again while it is in flight; `used`
    /// is known to be taken.
    pub(crate) fn learn(&self, next: Seq, used: Option<Seq>) {
        let mut state = self.state();
        let behind = |seq: u64| seq.saturating_add(1);
        let held = state.in_flight.last().copied().map_or(0, behind);
        let used = used.map_or(0, |seq| behind(seq.0));
        state.next = Some(next.0.max(held).max(used).max(1));
        state.generation += 1;
        drop(state);
        self.changed.notify_waiters();
    }

    /// The next seq; waits while it would be too far from the oldest one in flight. `None`: the cluster has to be asked.
    pub(crate) async fn hold(self: &Arc<Self>) -> Option<HeldSeq> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                let seq = state.next?;
                let oldest = state.in_flight.first().copied().unwrap_or(seq);
                if seq - oldest < SESSION_WINDOW {
                    state.next = Some(seq.saturating_add(1));
                    state.in_flight.insert(seq);
                    let generation = state.generation;
                    return Some(HeldSeq { seqs: self.clone(), seq, generation });
                }
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_spread_stays_within_the_window() {
        let seqs = Arc::new(Seqs::default());
        assert!(seqs.hold().await.is_none(), "the cluster has to be asked first");
        seqs.learn(Seq(10), None);
        let mut held = Vec::new();
        for n in 0..SESSION_WINDOW {
            held.push(seqs.hold().await.unwrap());
            assert_eq!(held.last().unwrap().seq(), Seq(10 + n));
        }
        let waiting = seqs.hold();
        tokio::pin!(waiting);
        held.swap_remove(5);
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("the oldest is still in flight"),
            () = tokio::task::yield_now() => {}
        }
        held.swap_remove(0);
        assert_eq!(waiting.await.unwrap().seq(), Seq(10 + SESSION_WINDOW));
    }

    #[tokio::test]
    async fn what_is_used_or_in_flight_is_not_handed_out_again() {
        let seqs = Arc::new(Seqs::default());
        seqs.learn(Seq(0), None);
        let first = seqs.hold().await.unwrap();
        assert_eq!(first.seq(), Seq(1));
        seqs.learn(Seq(1), None);
        assert_eq!(seqs.hold().await.unwrap().seq(), Seq(2));
        seqs.learn(Seq(1), Some(Seq(40)));
        assert_eq!(seqs.hold().await.unwrap().seq(), Seq(41));
    }
}
