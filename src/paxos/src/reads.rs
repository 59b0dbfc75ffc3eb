//! Linearizable reads by read index (Ongaro's thesis, 6.4): the leader notes how far it has chosen, asks whether it
//! still leads, and a quorum's word makes the note good for every read that came before the question.

use synod_types::limits::READS_PENDING_MAX;
use synod_types::{NodeId, Slot};

use crate::event::ReadId;
use crate::quorum::Votes;

/// Who waits for a read index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reader {
    /// This node.
    Here(ReadId),
    /// Another node, with its own number for the read.
    There(NodeId, u64),
}

/// A leader's reads.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Reads {
    /// Came after the current question was asked.
    waiting: Vec<Reader>,
    asked: Option<Question>,
    round: u64,
}

/// Whether this node still leads.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Question {
    /// Its number in the term.
    pub round: u64,
    /// Who said yes.
    pub votes: Votes,
    /// Ticks since it was sent last.
    pub waited: u32,
    readers: Vec<Reader>,
    index: Slot,
}

impl Reads {
    /// A read came. `false`: too many wait.
    pub fn push(&mut self, reader: Reader) -> bool {
        let room = self.waiting.len() < READS_PENDING_MAX;
        if room {
            self.waiting.push(reader);
        }
        room
    }

    /// Asks, if somebody waits and no question is open. `chosen` is how far this node has chosen now.
    pub fn ask(&mut self, chosen: Slot) -> Option<&mut Question> {
        if self.asked.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.round += 1;
        let readers = std::mem::take(&mut self.waiting);
        let question =
            Question { round: self.round, votes: Votes::default(), waited: 0, readers, index: chosen };
        Some(self.asked.insert(question))
    }

    /// The open question.
    pub fn question(&mut self) -> Option<&mut Question> {
        self.asked.as_mut()
    }

    /// The question is answered: who may read, and from which slot on.
    pub fn granted(&mut self) -> (Vec<Reader>, Slot) {
        self.asked.take().map_or_else(Default::default, |question| (question.readers, question.index))
    }

    /// Everybody who waits; nobody does afterwards.
    pub fn drain(&mut self) -> Vec<Reader> {
        let mut readers = self.asked.take().map_or_else(Vec::new, |question| question.readers);
        readers.append(&mut self.waiting);
        readers
    }
}
