//! What goes into the core and what comes out. Both are data; the driver performs effects in the order in which
//! they come.

use std::collections::BTreeSet;

use synod_types::{
    AppNdx, Ballot, Certificate, Configuration, Decree, Message, NodeId, Record, RefusalCode, SignedCommand,
    Slot, TimeMs,
};

/// Numbers the [`Effect::Persist`] of one node from 1; durability is reported in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PersistNdx(pub u64);

/// The driver's number for a read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u64);

/// What happens to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A tick of the driver's clock passed (`Config` counts in ticks).
    Tick,
    /// A message arrived, with every command in it verified. `from` is derived from the connection.
    Message {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// Commands, verified and admitted, that this node is asked to order if it leads the application.
    Propose {
        /// The application.
        app: AppNdx,
        /// The commands.
        commands: Vec<SignedCommand>,
        /// The driver's clock, which is the leader's if this node leads.
        now: TimeMs,
    },
    /// Something runs out by now, unless what waits to be proposed prevents it: a tick is to be ordered behind that, if
    /// this node leads and none waits.
    ProposeTick {
        /// The application.
        app: AppNdx,
        /// The leader's clock.
        now: TimeMs,
    },
    /// A linearizable read wants to know which slot it has to wait for.
    Read {
        /// The application.
        app: AppNdx,
        /// The driver's number for it.
        read: ReadId,
    },
    /// If this node leads, another one is asked to lead instead; until it does, this one leads on.
    HandOver {
        /// The application.
        app: AppNdx,
        /// Who is to lead; `None`: of the nodes that are reached, the one that has chosen most, and a fit one if there is any.
        to: Option<NodeId>,
    },
    /// Who is there, and who is to vote: to be said at the start, and again whenever that changes.
    Nodes {
        /// The other nodes with which this one is connected. The others are strangers.
        others: Vec<NodeId>,
        /// The members that are wanted. A leader ends its group's epoch for them once those among them that do not vote yet
        /// have nearly everything.
        wanted: Configuration,
    },
    /// This node is to lead a group as long as it can; `None`: any. Whoever leads hands over to it.
    Prefer {
        /// The application.
        app: AppNdx,
        /// Which node.
        node: Option<NodeId>,
    },
    /// These nodes had better not lead, whichever group it is: their disks are slow, or full. What this node leads, if it is one
    /// of them, it hands over to one that is not.
    Unfit {
        /// All there are.
        nodes: BTreeSet<NodeId>,
    },
    /// Every [`Effect::Persist`] up to this one is durable.
    Durable {
        /// The last durable one.
        up_to: PersistNdx,
    },
    /// A snapshot that [`Effect::FetchSnapshot`] asked for is whole, verified and durable here.
    SnapshotFetched {
        /// The application.
        app: AppNdx,
        /// The last slot that it contains.
        slot: Slot,
        /// Who decides in the slots behind it.
        configuration: Configuration,
    },
    /// Something that this node's journal was told, and has reported as durable, cannot be read any more.
    Damaged {
        /// The application.
        app: AppNdx,
        /// What.
        what: Damage,
    },
    /// Snapshots here, durable, have everything up to `slot`, and nobody shall be served the log from before.
    CutLog {
        /// The application.
        app: AppNdx,
        /// The last slot that is not needed.
        slot: Slot,
    },
}

/// What of a journal cannot be read any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Damage {
    /// The promise.
    Promise,
    /// What is known as chosen.
    Chosen,
    /// Where the log begins.
    Cut,
    /// The record of a slot.
    Slot(Slot),
}

/// What a node is to do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make `records` durable, all or none; then send `unlocks` and report [`Event::Durable`]. Several may be made
    /// durable at once, in order. What is in `unlocks` must not leave earlier: that is why it is in here.
    Persist {
        /// The number to report.
        ndx: PersistNdx,
        /// What to append.
        records: Vec<Record>,
        /// What may be sent when the records are durable.
        unlocks: Vec<(NodeId, Message)>,
    },
    /// Send now; needs nothing to be durable. May be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Apply this decree. Each slot comes once per start of the core, in order, without a hole but those that
    /// [`Effect::InstallSnapshot`] leaps, from the first slot behind what was recovered as chosen.
    Chosen {
        /// The application.
        app: AppNdx,
        /// The slot.
        slot: Slot,
        /// The value.
        decree: Decree,
    },
    /// Read chosen decrees from the journal, from `from` up to at most `up_to` and about
    /// [`synod_types::limits::CATCH_UP_BYTES_MAX`], and send them as a `CatchUp`; if the first one cannot be read, the newest
    /// certified snapshot that has it, or `Unreadable`. Every earlier Persist is in the journal by then, durable or not.
    ServeLog {
        /// Who asked.
        to: NodeId,
        /// The application.
        app: AppNdx,
        /// The first slot.
        from: Slot,
        /// The last slot that is chosen.
        up_to: Slot,
    },
    /// The record of this slot is gone from the logs of all nodes: this one cannot read it, and every other one has said so
    /// of its own.
    RecordLost {
        /// The application.
        app: AppNdx,
        /// The slot.
        slot: Slot,
        /// Whether this node's state lacks it. It can then never come further: the node has to stop, and must not go on
        /// without it. Otherwise the state has what was in it, and is to be kept as a snapshot at once.
        is_needed: bool,
    },
    /// Send the newest certified snapshot, as a [`synod_types::GroupMessage::Snapshot`]: who asked for the log asked from
    /// before where it begins.
    OfferSnapshot {
        /// Who asked.
        to: NodeId,
        /// The application.
        app: AppNdx,
    },
    /// Get this snapshot from whoever has it, make it durable, and report [`Event::SnapshotFetched`]. Asked for again and
    /// again as long as this node is behind; other nodes may offer others meanwhile.
    FetchSnapshot {
        /// Which, of which application.
        certificate: Certificate,
    },
    /// Go on from the snapshot that was reported: [`Effect::Chosen`] goes on behind its slot.
    InstallSnapshot {
        /// The application.
        app: AppNdx,
        /// The last slot that it contains.
        slot: Slot,
    },
    /// A read may be answered from a state that has applied `index`.
    ReadGranted {
        /// The application.
        app: AppNdx,
        /// The driver's number for the read.
        read: ReadId,
        /// The slot.
        index: Slot,
    },
    /// A read cannot be granted now: no leader is known or it did not answer in time.
    ReadRefused {
        /// The application.
        app: AppNdx,
        /// The driver's number for the read.
        read: ReadId,
        /// `NoLeader` or `Busy`.
        code: RefusalCode,
    },
    /// These commands were not proposed and will not be: this node does not lead (any more), or its queue is full.
    Unproposed {
        /// The application.
        app: AppNdx,
        /// Which.
        commands: Vec<SignedCommand>,
        /// `NoLeader` or `Busy`.
        code: RefusalCode,
    },
    /// The leader that this node knows has changed.
    LeaderChanged {
        /// The application.
        app: AppNdx,
        /// The leader's ballot; `None` while this node sees none.
        leader: Option<Ballot>,
        /// Whether this node leads and has a quorum's promise.
        leads: bool,
    },
}
