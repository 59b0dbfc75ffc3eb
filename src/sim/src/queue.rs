//! What will happen, by virtual time; what is due at the same time comes in the order in which it was put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things with a time.
#[derive(Clone, Debug)]
pub struct Queue<T> {
    /// Time, number, place: small, so that the heap moves little.
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    things: Vec<Option<T>>,
    free: Vec<usize>,
    last: u64,
}

impl<T> Queue<T> {
    /// Nothing will happen.
    pub fn new() -> Queue<T> {
        Queue { heap: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), last: 0 }
    }

    /// Something happens at `at_ms`.
    pub fn put(&mut self, at_ms: u64, thing: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            self.things.len() - 1
        });
        self.things[place] = Some(thing);
        self.last += 1;
        self.heap.push(Reverse((at_ms, self.last, place)));
    }

    /// When the next thing happens.
    pub fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ms, _, _))| *at_ms)
    }

    /// What happens next, and when.
    pub fn take(&mut self) -> Option<(u64, T)> {
        let Reverse((at_ms, _, place)) = self.heap.pop()?;
        self.free.push(place);
        let thing = self.things[place].take().expect("a place in the heap is filled until it is taken");
        Some((at_ms, thing))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_comes_first_and_then_the_order_of_arrival() {
        let mut queue = Queue::new();
        for (at_ms, thing) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.put(at_ms, thing);
        }
        let all: String = std::iter::from_fn(|| queue.take()).map(|(_, thing)| thing).collect();
        assert_eq!(all, "abcd");
    }
}
