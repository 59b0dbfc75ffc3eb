//! In which order messages are delivered (section 3.9).

use super::broken::{Broken, Fault};
use super::id::{Life, MessageId};
use super::message::{Cause, Message, Seat};
use super::stream::{Stream, Streams};

/// What is promised of the order. Each includes the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Order {
    /// Nothing.
    Any,
    /// The messages of one source come in the order in which it broadcast them, by their numbers (section 3.9.3).
    Fifo,
    /// Nobody gets an answer before the question: what its source had delivered or broadcast before a message comes
    /// before it. By waiting, with vector clocks (section 3.9.7).
    ///
    /// Members that are gone hold up nobody: what is waited for was delivered by the source of what waits, and whoever
    /// has the one has the other and relays it. Who began after a message is not to deliver it; he takes it in nevertheless and
    /// keeps it for the others, before he delivers what comes after it. So causes are those messages that are owed to
    /// him, and a chain that leads through others is no cause to him.
    Causal,
}

/// What comes before a message that is broadcast now to this audience by `me`.
pub(crate) fn causes(streams: &Streams, me: Life, audience: &[Seat]) -> Vec<Cause> {
    let others = streams.map.iter().filter(|(source, _)| **source != me);
    let causes = others.filter_map(|(&source, stream)| {
        let number = stream.delivered.watermark();
        let is_owed = |life: Life| life == source || stream.audience.iter().any(|seat| seat.life == life);
        let late = audience.iter().map(|seat| seat.life).filter(|&life| !is_owed(life));
        let cause = |since: u64| {
            let last = MessageId { source, number };
            let kept_from = stream
                .held
                .range(since..=number)
                .next()
                .map_or(number.saturating_add(1), |(&first, _)| first);
            Cause { last, except: late.map(|life| life.node).collect(), kept_from }
        };
        stream.since.filter(|&since| number >= since).map(cause)
    });
    causes.collect()
}

impl Order {
    /// Whether it is this message's turn at `me`. Where `all_keep` messages for others, who is not owed the earlier ones of the
    /// same source takes them in first, too.
    pub(crate) fn is_next(
        self,
        message: &Message,
        streams: &Streams,
        me: Life,
        all_keep: bool,
        broken: Broken,
    ) -> bool {
        let at = |source: Life, is_reached: &dyn Fn(&Stream) -> bool| {
            streams.map.get(&source).map_or_else(|| streams.is_forgotten(source), is_reached)
        };
        let delivered = |source: Life, number: u64| {
            at(source, &|stream| stream.since.is_some() && stream.delivered.watermark() >= number)
        };
        let is_after = |cause: &Cause| {
            let MessageId { source, number } = cause.last;
            if cause.except.contains(&me.node) && !broken.is(Fault::ExceptionsIgnored) {
                let has_all = |stream: &Stream| (cause.kept_from..=number).all(|n| stream.seen.contains(n));
                cause.kept_from > number || at(source, &has_all)
            } else {
                delivered(source, number)
            }
        };
        let MessageId { source, number } = message.id;
        let keeps = |stream: &Stream| stream.seen.watermark() >= number - 1;
        let is_kept = || !all_keep || broken.is(Fault::EarlierNotKept) || at(source, &keeps);
        let is_due = || broken.is(Fault::FifoIgnored) || (delivered(source, number - 1) && is_kept());
        match self {
            Order::Any => true,
            Order::Fifo => is_due(),
            Order::Causal if broken.is(Fault::OthersIgnored) => is_due(),
            Order::Causal => is_due() && message.causes.iter().all(is_after),
        }
    }
}
