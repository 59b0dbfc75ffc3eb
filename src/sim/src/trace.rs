//! What happened, one line an event. The lines are for people; their hash proves that a seed gives the same run.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use synod_types::message::AcceptedSlot;
use synod_types::{
    AppNdx, Ballot, CommandBody, Decree, Digest, Epoch, GroupMessage, Message, NodeId, Outcome, Record,
    SignedCommand, Slot,
};

use crate::client::{Answer, Request};
use crate::network::kind;

/// How much a line matters to a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// Ticks and heartbeats: part of every run, rarely of a story.
    Routine,
    /// Said over and over again: worth reading the first time.
    Refrain,
    /// Everything else.
    Notable,
}

/// Where lines go, beside into the hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sink {
    /// Nowhere.
    Silent,
    /// To standard output, each as it comes.
    Print,
    /// Notable ones are kept, refrains once.
    Keep(Kept),
}

/// Lines that were kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    lines: Vec<String>,
    refrains: BTreeSet<String>,
}

impl Kept {
    fn keep(&mut self, now_ms: u64, weight: Weight, text: fmt::Arguments<'_>) {
        let kept = match weight {
            Weight::Routine => false,
            Weight::Refrain => self.refrains.insert(text.to_string()),
            Weight::Notable => true,
        };
        if kept {
            self.lines.push(format!("{now_ms:>6} {text}"));
        }
    }
}

/// The lines of one run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: Fnv,
    sink: Sink,
    lines: u64,
}

impl Trace {
    /// An empty trace.
    pub fn new(sink: Sink) -> Trace {
        Trace { hash: Fnv(0xcbf2_9ce4_8422_2325), sink, lines: 0 }
    }

    /// Adds a line.
    pub fn line(&mut self, now_ms: u64, weight: Weight, text: fmt::Arguments<'_>) {
        self.lines += 1;
        self.hash.add(&now_ms.to_be_bytes());
        self.hash.write_fmt(text).expect("hashing text cannot fail");
        match &mut self.sink {
            Sink::Silent => {}
            Sink::Print => println!("{now_ms:>7} {text}"),
            Sink::Keep(kept) => kept.keep(now_ms, weight, text),
        }
    }

    /// The hash of every line so far.
    pub fn hash(&self) -> u64 {
        self.hash.0
    }

    /// Lines so far.
    pub fn len(&self) -> u64 {
        self.lines
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The lines that were kept since the last call.
    pub fn take_kept(&mut self) -> Vec<String> {
        match &mut self.sink {
            Sink::Keep(kept) => std::mem::take(&mut kept.lines),
            Sink::Silent | Sink::Print => Vec::new(),
        }
    }
}

/// FNV-1a, 64 bits: fast, and the same in every version of every library.
#[derive(Clone, Debug)]
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

/// The id of the node at `index`: in a world, ids are not hashes of keys.
pub fn node_id(index: usize) -> NodeId {
    NodeId(Digest([u8::try_from(index + 1).expect("few nodes"); 32]))
}

/// Where a node of that id is.
pub fn node_index(node: NodeId) -> usize {
    usize::from(node.as_bytes()[0]).checked_sub(1).expect("every node of a world was named by it")
}

/// Shows a thing of the protocol in a few characters: nodes as `n1`, commands as `c2#7`, ballots as `3.n1`.
#[derive(Clone, Copy, Debug)]
pub struct Show<T>(pub T);

impl fmt::Display for Show<NodeId> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0.as_bytes()[0])
    }
}

impl fmt::Display for Show<Ballot> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ballot::ZERO => f.write_str("none"),
            Ballot::CHOSEN => f.write_str("chosen"),
            Ballot { epoch: Epoch(0), number, node, .. } => write!(f, "{number}.{}", Show(node)),
            Ballot { epoch, number, node, .. } => write!(f, "{epoch}/{number}.{}", Show(node)),
        }
    }
}

/// The prefix that tells an application from the first one.
impl fmt::Display for Show<AppNdx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == AppNdx(1) { Ok(()) } else { write!(f, "app {} ", self.0) }
    }
}

impl fmt::Display for Show<&SignedCommand> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.key.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        match CommandBody::decode(&self.0.body) {
            Ok(body) => write!(f, "{key}#{}", body.seq),
            Err(_) => write!(f, "{key}#?"),
        }
    }
}

/// Commands that are written out; the others are counted.
const COMMANDS_SHOWN: usize = 4;

impl fmt::Display for Show<&[SignedCommand]> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, command) in self.0.iter().take(COMMANDS_SHOWN).enumerate() {
            let gap = if place > 0 { " " } else { "" };
            write!(f, "{gap}{}", Show(command))?;
        }
        match self.0.len().checked_sub(COMMANDS_SHOWN) {
            Some(rest) if rest > 0 => write!(f, " and {rest} more"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Show<&Decree> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Decree::Noop => f.write_str("no-op"),
            Decree::Seal(next) => {
                write!(f, "end of the epoch before {}:", next.epoch)?;
                next.members.iter().try_for_each(|&member| write!(f, " {}", Show(member)))
            }
            decree if decree.is_tick() => f.write_str("tick"),
            Decree::Batch(batch) => write!(f, "[{}]", Show(&batch.commands[..])),
        }
    }
}

impl fmt::Display for Show<&Record> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Record::Promised { app, ballot } => write!(f, "{}promised {}", Show(*app), Show(*ballot)),
            Record::Accepted { app, slot, ballot, decree } => {
                write!(f, "{}accepted {slot} {} {}", Show(*app), Show(*ballot), Show(decree))
            }
            Record::Chosen { app, slot } => write!(f, "{}chosen to {slot}", Show(*app)),
            Record::Cut { app, slot } => write!(f, "{}cut to {slot}", Show(*app)),
        }
    }
}

impl fmt::Display for Show<&AcceptedSlot> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AcceptedSlot { slot, ballot, decree } = self.0;
        write!(f, "{slot}: {} {}", Show(*ballot), Show(decree))
    }
}

impl fmt::Display for Show<&Message> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = kind(self.0);
        match self.0 {
            Message::Heartbeat { round } => write!(f, "{name} {}", Numbered(*round)),
            Message::HeartbeatReply { round, groups } => {
                write!(f, "{name} {}", Numbered(*round))?;
                for beat in groups {
                    let happy = if beat.happy { "happy" } else { "unhappy" };
                    let (app, ballot, leader) = (Show(beat.app), Show(beat.ballot), Show(beat.leader));
                    write!(f, "; {app}{ballot} under {leader} {happy} chosen {}", beat.chosen)?;
                }
                Ok(())
            }
            Message::Group { app, message } => write!(f, "{}{name} {}", Show(*app), Show(message)),
            Message::Forward { app, hops, commands } => {
                write!(f, "{}{name} [{}] hops {hops}", Show(*app), Show(&commands[..]))
            }
            Message::ForwardRefused { app, refused } => {
                write!(f, "{}{name} {}", Show(*app), refused.len())?;
                refused.first().map_or(Ok(()), |(_, refusal)| write!(f, " {}", refusal.code.name()))
            }
            Message::Content(_)
            | Message::Chunk(_)
            | Message::Cosign(_)
            | Message::Gossip(_)
            | Message::Route(_)
            | Message::States(_)
            | Message::Checkpoint { .. }
            | Message::ChainRequest { .. }
            | Message::Chain { .. }
            | Message::Disk { .. } => f.write_str(name),
        }
    }
}

impl fmt::Display for Show<&GroupMessage> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            GroupMessage::Prepare { ballot, from } => write!(f, "{} from {from}", Show(*ballot)),
            GroupMessage::Promise { ballot, chosen, damaged_through, accepted } => {
                write!(f, "{} chosen {chosen}", Show(*ballot))?;
                if *damaged_through > Slot(0) {
                    write!(f, " damaged to {damaged_through}")?;
                }
                accepted.iter().try_for_each(|accepted| write!(f, ", {}", Show(accepted)))
            }
            GroupMessage::Accept { ballot, slot, decree, chosen } => {
                write!(f, "{} slot {slot} {} chosen {chosen}", Show(*ballot), Show(decree))
            }
            GroupMessage::Accepted { ballot, slot } => write!(f, "{} slot {slot}", Show(*ballot)),
            GroupMessage::Nack { ballot, promised } => {
                write!(f, "{} promised {}", Show(*ballot), Show(*promised))
            }
            GroupMessage::Learn { ballot, chosen } | GroupMessage::HandOver { ballot, chosen } => {
                write!(f, "{} chosen {chosen}", Show(*ballot))
            }
            GroupMessage::CatchUpRequest { from } => write!(f, "from {from}"),
            GroupMessage::RecordRequest { slot } | GroupMessage::Unreadable { slot } => {
                write!(f, "slot {slot}")
            }
            GroupMessage::CatchUp { from, decrees } => {
                write!(f, "from {from}")?;
                decrees.iter().try_for_each(|decree| write!(f, " {}", Show(decree)))
            }
            GroupMessage::ReadIndexRequest { read } => write!(f, "{}", Numbered(*read)),
            GroupMessage::ReadIndex { read, index } => write!(f, "{} slot {index}", Numbered(*read)),
            GroupMessage::Confirm { ballot, round } | GroupMessage::Confirmed { ballot, round } => {
                write!(f, "{} round {round}", Show(*ballot))
            }
            GroupMessage::Snapshot { certificate } => write!(f, "of slot {}", certificate.checkpoint.slot),
        }
    }
}

impl fmt::Display for Show<&Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Request::Command(command) => write!(f, "command {}", Show(command)),
            Request::Read { linearizable: true } => f.write_str("linearizable read"),
            Request::Read { linearizable: false } => f.write_str("local read"),
        }
    }
}

impl fmt::Display for Show<&Answer> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Answer::Executed(receipt) => {
                write!(f, "receipt of seq {} in state {}", receipt.seq, receipt.state_ndx)?;
                match &receipt.outcome {
                    Outcome::Done(_) => Ok(()),
                    Outcome::Refused(refusal) => write!(f, ", {}", refusal.code.name()),
                }
            }
            Answer::State { state_ndx, .. } => write!(f, "state {state_ndx}"),
            Answer::Refused(code) => f.write_str(code.name()),
        }
    }
}

/// A number that a node counts from another beginning in each incarnation, as `incarnation/number`.
struct Numbered(u64);

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

/// How much a message matters to a reader.
pub fn weight(message: &Message) -> Weight {
    match message {
        Message::Heartbeat { .. } | Message::HeartbeatReply { .. } | Message::States(_) => Weight::Routine,
        Message::Group { message: GroupMessage::Learn { .. }, .. } => Weight::Refrain,
        Message::Group { .. }
        | Message::Forward { .. }
        | Message::ForwardRefused { .. }
        | Message::Content(_)
        | Message::Chunk(_)
        | Message::Cosign(_)
        | Message::Gossip(_)
        | Message::Route(_)
        | Message::Checkpoint { .. }
        | Message::ChainRequest { .. }
        | Message::Chain { .. }
        | Message::Disk { .. } => Weight::Notable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_lines_give_the_same_hash() {
        let hash = |texts: &[&str]| {
            let mut trace = Trace::new(Sink::Silent);
            for text in texts {
                trace.line(1, Weight::Notable, format_args!("{text}"));
            }
            trace.hash()
        };
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
        assert_ne!(hash(&["a", "b"]), hash(&["b", "a"]));
    }

    #[test]
    fn protocol_things_are_short() {
        let ballot = Ballot { number: 3, priority: 1, node: node_id(0), ..Ballot::ZERO };
        let message = GroupMessage::Accept { ballot, slot: Slot(4), decree: Decree::Noop, chosen: Slot(2) };
        let shown = Show(&Message::Group { app: AppNdx(2), message }).to_string();
        assert_eq!(shown, "app 2 Accept 3.n1 slot 4 no-op chosen 2");
    }
}
