//! What nodes say to each other. The sender is not in the message: the mesh derives it from the connection.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Certificate, Checkpoint, CheckpointSignature};
use crate::command::SignedCommand;
use crate::content::ContentMessage;
use crate::decree::Decree;
use crate::digest::Digest;
use crate::ids::{AppNdx, Ballot, CommandId, Slot, StateNdx};
use crate::outcome::Refusal;
use crate::route::RouteMessage;
use crate::standing::{GossipMessage, SignedStanding};
use crate::statement::CosignMessage;

/// A message between two nodes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Asks for a [`Message::HeartbeatReply`]; one a round, to each other node, for all groups together.
    Heartbeat {
        /// The sender's round.
        round: u64,
    },
    /// Proves that both directions work, and says where the sender stands in each group.
    HeartbeatReply {
        /// The round of the heartbeat that is answered.
        round: u64,
        /// One entry for each group of the sender, in the order of its appNdx.
        groups: Vec<GroupBeat>,
    },
    /// A message of one Paxos group.
    Group {
        /// The group.
        app: AppNdx,
        /// What it says.
        message: GroupMessage,
    },
    /// Commands that entered at the sender, for the leader to propose. The sender keeps them until it sees them
    /// executed, and sends them again where that takes too long: executing twice is impossible (see `machine`).
    Forward {
        /// The application of all of them.
        app: AppNdx,
        /// How often they were passed on already; limited, so that they do not circle.
        hops: u8,
        /// Verified by the sender; verified again by the receiver.
        commands: Vec<SignedCommand>,
    },
    /// The leader will not propose these forwarded commands.
    ForwardRefused {
        /// The application of all of them.
        app: AppNdx,
        /// Which, and why.
        refused: Vec<(CommandId, Refusal)>,
    },
    /// About files that commands refer to.
    Content(ContentMessage),
    /// How many commands the sender has executed, of each of its applications, and the hash chain's value there.
    States(Vec<(AppNdx, StateNdx, Digest)>),
    /// The sender has made a snapshot, and this is its word for it.
    Checkpoint {
        /// What it is of.
        checkpoint: Checkpoint,
        /// The sender's word.
        signature: CheckpointSignature,
        /// Whether the sender has not got the word of a majority yet: who has made the same one answers.
        asks: bool,
    },
    /// Which chain values has the receiver, from this state on?
    ChainRequest {
        /// The application.
        app: AppNdx,
        /// The first state.
        from: StateNdx,
    },
    /// Answers that: one for each state, at most [`CHAIN_VALUES_MAX`](crate::limits::CHAIN_VALUES_MAX).
    Chain {
        /// The application.
        app: AppNdx,
        /// The first state of which the sender remembers it.
        from: StateNdx,
        /// The values.
        values: Vec<Digest>,
    },
    /// How the sender's disk is.
    Disk {
        /// Whether it is nearly full, so that the sender keeps nothing new.
        is_low: bool,
        /// Whether it is much slower than those of others, so that the sender had better not lead.
        is_slow: bool,
        /// How long a sync takes, in microseconds.
        sync_us: u32,
    },
    /// About the files that snapshots are made of.
    Chunk(ContentMessage),
    /// On the way to certificates.
    Cosign(CosignMessage),
    /// How far nodes are.
    Gossip(GossipMessage<SignedStanding>),
    /// On behalf of front ends.
    Route(RouteMessage),
}

impl Message {
    /// The wire version that brought this message: in a session of an older one it is not sent, as if it were lost. A new
    /// variant of a message, anywhere inside, gets its own line here and raises
    /// [`MESH_WIRE`](crate::versions::MESH_WIRE); fields of a variant never change.
    pub fn since(&self) -> u32 {
        match self {
            Message::Heartbeat { .. }
            | Message::HeartbeatReply { .. }
            | Message::Forward { .. }
            | Message::ForwardRefused { .. }
            | Message::States(_)
            | Message::Checkpoint { .. }
            | Message::ChainRequest { .. }
            | Message::Chain { .. }
            | Message::Disk { .. } => 1,
            Message::Cosign(_) | Message::Gossip(_) => 2,
            Message::Route(_) => 3,
            Message::Group { message, .. } => message.since(),
            Message::Content(message) | Message::Chunk(message) => message.since(),
        }
    }

    /// The application of which the message speaks, and the commands in it; `None` if it can have none.
    pub fn commands(&self) -> Option<(AppNdx, Vec<&SignedCommand>)> {
        match self {
            Message::Heartbeat { .. }
            | Message::HeartbeatReply { .. }
            | Message::ForwardRefused { .. }
            | Message::Content(_)
            | Message::Chunk(_)
            | Message::Cosign(_)
            | Message::Gossip(_)
            | Message::Route(_)
            | Message::States(_)
            | Message::ChainRequest { .. }
            | Message::Chain { .. }
            | Message::Disk { .. }
            | Message::Checkpoint { .. } => None,
            Message::Forward { app, commands, .. } => Some((*app, commands.iter().collect())),
            Message::Group { app, message } => {
                let commands = match message {
                    GroupMessage::Accept { decree, .. } => decree.commands().iter().collect(),
                    GroupMessage::CatchUp { decrees, .. } => {
                        decrees.iter().flat_map(Decree::commands).collect()
                    }
                    GroupMessage::Promise { accepted, .. } => {
                        accepted.iter().flat_map(|slot| slot.decree.commands()).collect()
                    }
                    GroupMessage::Prepare { .. }
                    | GroupMessage::Accepted { .. }
                    | GroupMessage::Nack { .. }
                    | GroupMessage::Learn { .. }
                    | GroupMessage::CatchUpRequest { .. }
                    | GroupMessage::ReadIndexRequest { .. }
                    | GroupMessage::ReadIndex { .. }
                    | GroupMessage::Confirm { .. }
                    | GroupMessage::Confirmed { .. }
                    | GroupMessage::Snapshot { .. }
                    | GroupMessage::HandOver { .. }
                    | GroupMessage::RecordRequest { .. }
                    | GroupMessage::Unreadable { .. } => return None,
                };
                Some((*app, commands))
            }
        }
    }
}

/// Where a node stands in one group, for the election (OmniPaxos, section 5: "Ballot Leader Election").
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct GroupBeat {
    /// The group.
    pub app: AppNdx,
    /// The ballot under which the sender leads or would lead.
    pub ballot: Ballot,
    /// The highest leader's ballot that the sender knows of.
    pub leader: Ballot,
    /// Whether the sender leads with a quorum, or sees a leader that does.
    pub happy: bool,
    /// The last slot up to which the sender knows every decree as chosen.
    pub chosen: Slot,
}

/// A message of one Paxos group.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum GroupMessage {
    /// Phase 1a: promise `ballot`, and say what was accepted from slot `from` on.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The first slot that the candidate does not know as chosen.
        from: Slot,
    },
    /// Phase 1b.
    Promise {
        /// The ballot that is promised.
        ballot: Ballot,
        /// Every slot up to here is chosen, and the acceptor can send its decree.
        chosen: Slot,
        /// In the slots behind `chosen` up to this one, what is not in `accepted` may have been accepted and lost to
        /// damage: the acceptor does not know. 0: nothing is damaged.
        damaged_through: Slot,
        /// What the acceptor holds behind `chosen`.
        accepted: Vec<AcceptedSlot>,
    },
    /// Phase 2a.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
        /// The value.
        decree: Decree,
        /// Every slot up to here is chosen.
        chosen: Slot,
    },
    /// Phase 2b: durable at the sender.
    Accepted {
        /// The leader's ballot.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
    },
    /// The sender promised a higher ballot.
    Nack {
        /// The ballot that is refused.
        ballot: Ballot,
        /// The ballot that the sender promised.
        promised: Ballot,
    },
    /// Every slot up to `chosen` is chosen. In each of them an acceptor that accepted under `ballot` holds the
    /// chosen decree; one that accepted under another ballot must fetch it.
    Learn {
        /// The leader's ballot.
        ballot: Ballot,
        /// The last chosen slot.
        chosen: Slot,
    },
    /// Asks any node for the chosen decrees from slot `from` on; answered by [`GroupMessage::CatchUp`], or by
    /// [`GroupMessage::Snapshot`] from who has cut them off.
    CatchUpRequest {
        /// The first slot that is missing.
        from: Slot,
    },
    /// Chosen decrees, in slot order without a hole, of slots `from`, `from + 1`, …
    CatchUp {
        /// The slot of the first decree.
        from: Slot,
        /// As many as fit into a message.
        decrees: Vec<Decree>,
    },
    /// Asks the leader for a read index; the answer is [`GroupMessage::ReadIndex`] or none.
    ReadIndexRequest {
        /// The sender's number for its question.
        read: u64,
    },
    /// A read that has applied every slot up to `index` is linearizable for who asked `read`.
    ReadIndex {
        /// The number from the question.
        read: u64,
        /// The slot.
        index: Slot,
    },
    /// The leader asks whether it still leads.
    Confirm {
        /// The leader's ballot.
        ballot: Ballot,
        /// The leader's number for the question.
        round: u64,
    },
    /// The sender has promised nothing higher.
    Confirmed {
        /// The leader's ballot.
        ballot: Ballot,
        /// The number from the question.
        round: u64,
    },
    /// The log that was asked for begins further on: the sender has a snapshot instead.
    Snapshot {
        /// Of which state, with the word of a majority for it.
        certificate: Certificate,
    },
    /// The leader is about to go: the receiver is to stand at once, without waiting until the leader is missed.
    HandOver {
        /// The leader's ballot.
        ballot: Ballot,
        /// Every slot up to here is chosen.
        chosen: Slot,
    },
    /// Asks for the chosen decree of one slot, whose record the sender cannot read any more; answered by a
    /// [`GroupMessage::CatchUp`] of one decree, by [`GroupMessage::Unreadable`], or by [`GroupMessage::Snapshot`] from who has
    /// cut it off.
    RecordRequest {
        /// The slot.
        slot: Slot,
    },
    /// The sender's log does not give the record of this slot, for which it was asked.
    Unreadable {
        /// The slot.
        slot: Slot,
    },
}

impl GroupMessage {
    /// As [`Message::since`].
    fn since(&self) -> u32 {
        match self {
            GroupMessage::Prepare { .. }
            | GroupMessage::Promise { .. }
            | GroupMessage::Accept { .. }
            | GroupMessage::Accepted { .. }
            | GroupMessage::Nack { .. }
            | GroupMessage::Learn { .. }
            | GroupMessage::CatchUpRequest { .. }
            | GroupMessage::CatchUp { .. }
            | GroupMessage::ReadIndexRequest { .. }
            | GroupMessage::ReadIndex { .. }
            | GroupMessage::Confirm { .. }
            | GroupMessage::Confirmed { .. }
            | GroupMessage::Snapshot { .. }
            | GroupMessage::HandOver { .. }
            | GroupMessage::RecordRequest { .. }
            | GroupMessage::Unreadable { .. } => 1,
        }
    }
}

/// What an acceptor holds in one slot, as phase 1 reports it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AcceptedSlot {
    /// The slot.
    pub slot: Slot,
    /// The highest ballot under which it accepted.
    pub ballot: Ballot,
    /// The value.
    pub decree: Decree,
}
