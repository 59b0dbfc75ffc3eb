//! Which messages overtake which.
//!
//! Each priority has its own queue, its own stream and its own reader, so that a large batch of old decrees never
//! delays the heartbeat that keeps a leader. Within a priority, messages arrive in the order in which they were
//! sent; between priorities there is no order.

use synod_types::limits::ROUTE_SMALL_BYTES_MAX;
use synod_types::{ContentMessage, GroupMessage, Message, RouteMessage};

/// How urgent a message is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Priority {
    /// Small, and somebody waits for it: heartbeats, refusals, read indexes.
    Control,
    /// What makes progress: both phases of Paxos, and forwarded commands.
    Replication,
    /// Old decrees for a node that lags behind.
    Bulk,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Priority; 3] = [Priority::Control, Priority::Replication, Priority::Bulk];

    /// The priority of a message.
    pub fn of(message: &Message) -> Priority {
        match message {
            Message::Heartbeat { .. }
            | Message::HeartbeatReply { .. }
            | Message::States(_)
            | Message::ChainRequest { .. }
            | Message::Chain { .. }
            | Message::Disk { .. } => Priority::Control,
            Message::Content(message) | Message::Chunk(message) => match message {
                ContentMessage::Held(_)
                | ContentMessage::Seek { .. }
                | ContentMessage::NotHeld { .. }
                | ContentMessage::PieceRequest { .. } => Priority::Control,
                ContentMessage::Offer { .. } | ContentMessage::Piece { .. } => Priority::Bulk,
            },
            // Their order is their own business; what is large delays nothing that makes progress.
            Message::Route(
                RouteMessage::Asked(bytes) | RouteMessage::Told(bytes) | RouteMessage::Packet(bytes),
            ) => {
                if bytes.len() > ROUTE_SMALL_BYTES_MAX {
                    Priority::Bulk
                } else {
                    Priority::Replication
                }
            }
            Message::Forward { .. }
            | Message::ForwardRefused { .. }
            | Message::Checkpoint { .. }
            | Message::Cosign(_)
            | Message::Gossip(_) => Priority::Replication,
            Message::Group { message, .. } => match message {
                GroupMessage::Nack { .. }
                | GroupMessage::Learn { .. }
                | GroupMessage::ReadIndexRequest { .. }
                | GroupMessage::ReadIndex { .. }
                | GroupMessage::Confirm { .. }
                | GroupMessage::Confirmed { .. }
                | GroupMessage::HandOver { .. } => Priority::Control,
                GroupMessage::Prepare { .. }
                | GroupMessage::Promise { .. }
                | GroupMessage::Accept { .. }
                | GroupMessage::Accepted { .. }
                | GroupMessage::CatchUpRequest { .. }
                | GroupMessage::RecordRequest { .. }
                | GroupMessage::Unreadable { .. }
                | GroupMessage::Snapshot { .. } => Priority::Replication,
                GroupMessage::CatchUp { .. } => Priority::Bulk,
            },
        }
    }

    /// The byte that a stream of this priority begins with.
    pub(crate) fn stream_byte(self) -> u8 {
        match self {
            Priority::Control => 1,
            Priority::Replication => 2,
            Priority::Bulk => 3,
        }
    }

    /// The priority of the stream that begins with `byte`.
    pub(crate) fn of_stream_byte(byte: u8) -> Option<Priority> {
        Priority::ALL.into_iter().find(|priority| priority.stream_byte() == byte)
    }

    /// Rank among the streams of a connection, as QUIC's scheduler takes it: the highest goes first.
    pub(crate) fn stream_rank(self) -> i32 {
        -i32::from(self.stream_byte())
    }

    /// Place in [`Priority::ALL`].
    pub(crate) fn place(self) -> usize {
        usize::from(self.stream_byte() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_bytes_agree() {
        for (place, priority) in Priority::ALL.into_iter().enumerate() {
            assert_eq!(priority.place(), place);
            assert_eq!(Priority::of_stream_byte(priority.stream_byte()), Some(priority));
        }
        assert_eq!(Priority::of_stream_byte(0), None);
        assert_eq!(Priority::of_stream_byte(4), None);
    }
}
