//! What the front end has done so far, counted by transport.
//!
//! Each UDP thread counts into a place of its own, so that counting one query costs a few additions that no other core
//! waits for. A snapshot adds them up; the numbers in it are each right, and not all of the very same instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What carries queries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carrier {
    /// Datagrams.
    Udp,
    /// TCP (RFC 7766).
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over QUIC (RFC 9250).
    Quic,
}

/// What one carrier has carried since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Messages that came, whatever they were.
    pub queries: u64,
    /// Answers by the low four bits of their RCODE, as they stand in the header (RFC 1035): BADVERS (16) counts as 0.
    pub replies: [u64; 16],
    /// Answers with TC.
    pub truncated: u64,
    /// Messages that got no answer, because they are none to answer: responses, and less than a header.
    pub malformed: u64,
    /// Queries beyond the rate limit: every other one of them got a short answer, the others none.
    pub limited: u64,
    /// Answers that the operating system did not take, and that were not sent again.
    pub dropped: u64,
    /// Zones that were transferred to their end.
    pub transfers: u64,
    /// Transfers that were refused: the client is not allowed to, or too many were under way.
    pub transfers_refused: u64,
    /// Connections that were let in.
    pub connections: u64,
    /// Connections that were turned away, or closed in favour of a new one, because there were too many.
    pub connections_refused: u64,
}

/// Every carrier's traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Datagrams.
    pub udp: Traffic,
    /// TCP.
    pub tcp: Traffic,
    /// DNS over TLS.
    pub tls: Traffic,
    /// DNS over HTTPS.
    pub https: Traffic,
    /// DNS over QUIC.
    pub quic: Traffic,
}

/// A number that only rises.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where one thread, or one carrier on the runtime, counts. Aligned so that two of them share no cache line.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct TrafficCounters {
    pub(crate) queries: Counter,
    replies: [Counter; 16],
    truncated: Counter,
    pub(crate) malformed: Counter,
    pub(crate) limited: Counter,
    pub(crate) dropped: Counter,
    pub(crate) transfers: Counter,
    pub(crate) transfers_refused: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_refused: Counter,
}

impl TrafficCounters {
    /// Counts an answer by what its header says.
    pub(crate) fn reply(&self, message: &[u8]) {
        let &[_, _, flags, rcode, ..] = message else {
            return;
        };
        self.replies[usize::from(rcode & 0x0f)].one();
        if flags & 0x02 != 0 {
            self.truncated.one();
        }
    }

    fn add_to(&self, traffic: &mut Traffic) {
        traffic.queries += self.queries.value();
        for (sum, counter) in traffic.replies.iter_mut().zip(&self.replies) {
            *sum += counter.value();
        }
        traffic.truncated += self.truncated.value();
        traffic.malformed += self.malformed.value();
        traffic.limited += self.limited.value();
        traffic.dropped += self.dropped.value();
        traffic.transfers += self.transfers.value();
        traffic.transfers_refused += self.transfers_refused.value();
        traffic.connections += self.connections.value();
        traffic.connections_refused += self.connections_refused.value();
    }
}

/// Every place where something is counted.
#[derive(Clone, Default)]
pub(crate) struct Counters(Vec<(Carrier, Arc<TrafficCounters>)>);

impl Counters {
    /// A new place for this carrier.
    pub(crate) fn open(&mut self, carrier: Carrier) -> Arc<TrafficCounters> {
        let counters = Arc::new(TrafficCounters::default());
        self.0.push((carrier, Arc::clone(&counters)));
        counters
    }

    pub(crate) fn snapshot(&self) -> Counts {
        let mut counts = Counts::default();
        for (carrier, counters) in &self.0 {
            counters.add_to(match carrier {
                Carrier::Udp => &mut counts.udp,
                Carrier::Tcp => &mut counts.tcp,
                Carrier::Tls => &mut counts.tls,
                Carrier::Https => &mut counts.https,
                Carrier::Quic => &mut counts.quic,
            });
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_adds_up_what_each_place_counted() {
        let mut counters = Counters::default();
        let (one, other) = (counters.open(Carrier::Udp), counters.open(Carrier::Udp));
        let tcp = counters.open(Carrier::Tcp);
        one.queries.add(2);
        one.reply(&[0, 0, 0x84, 0x00]);
        one.reply(&[0, 0, 0x86, 0x03]);
        other.queries.one();
        other.reply(&[0, 0, 0x84, 0x03]);
        tcp.transfers.one();
        // Less than a header counts nowhere.
        tcp.reply(&[0, 0, 0x86]);

        let counts = counters.snapshot();
        assert_eq!((counts.udp.queries, counts.udp.truncated), (3, 1));
        assert_eq!((counts.udp.replies[0], counts.udp.replies[3]), (1, 2));
        assert_eq!(counts.tcp, Traffic { transfers: 1, ..Traffic::default() });
        assert_eq!(counts.quic, Traffic::default());
    }
}
