//! What a member can say at all. Paxos believes its members; this is what keeps a faulty one from stopping the others by a
//! number that no run of the protocol comes to, where numbers are counted on from or counted up to.

use synod_types::limits::ACCEPTED_SLOTS_MAX;
use synod_types::message::{AcceptedSlot, GroupBeat};
use synod_types::{Ballot, GroupMessage, Slot};

/// Each attempt to lead counts on by one, so nobody comes to here, and nobody who counts on from below comes to the end.
const BALLOT_NUMBER_MAX: u64 = 1 << 62;

/// Whether a message can be one of a working node, sent to one that knows every slot up to `known` as chosen.
pub fn is_plausible(message: &GroupMessage, known: Slot) -> bool {
    match message {
        GroupMessage::Prepare { ballot, .. }
        | GroupMessage::Accept { ballot, .. }
        | GroupMessage::Accepted { ballot, .. }
        | GroupMessage::Learn { ballot, .. }
        | GroupMessage::Confirm { ballot, .. }
        | GroupMessage::HandOver { ballot, .. }
        | GroupMessage::Confirmed { ballot, .. } => is_ballot(*ballot),
        GroupMessage::Nack { ballot, promised } => is_ballot(*ballot) && is_ballot(*promised),
        GroupMessage::Promise { ballot, chosen, damaged_through, accepted } => {
            is_ballot(*ballot)
                && accepted.iter().all(|held| is_ballot(held.ballot) || held.ballot == Ballot::CHOSEN)
                && accepted.is_sorted_by(|one, next| one.slot < next.slot)
                && holes(known.max(*chosen), *damaged_through, accepted) <= ACCEPTED_SLOTS_MAX
        }
        GroupMessage::CatchUpRequest { .. }
        | GroupMessage::RecordRequest { .. }
        | GroupMessage::Unreadable { .. }
        | GroupMessage::CatchUp { .. }
        | GroupMessage::ReadIndexRequest { .. }
        | GroupMessage::ReadIndex { .. }
        // A majority has signed it.
        | GroupMessage::Snapshot { .. } => true,
    }
}

/// The same of an entry in a heartbeat's answer.
pub fn is_plausible_beat(beat: &GroupBeat) -> bool {
    is_ballot(beat.ballot) && is_ballot(beat.leader)
}

fn is_ballot(ballot: Ballot) -> bool {
    ballot.number < BALLOT_NUMBER_MAX && ballot.epoch.0 < BALLOT_NUMBER_MAX
}

/// Slots behind `chosen` of which a promise speaks and in which it has no decree: a new leader proposes a no-op in each.
/// An acceptor accepts only so many slots ahead of what it knows as chosen, and holds all that it has learned as chosen
/// and not applied. One that has lost more to damage counts as one that does not answer until it has caught up.
fn holes(chosen: Slot, damaged_through: Slot, accepted: &[AcceptedSlot]) -> u64 {
    let last = accepted.last().map_or(damaged_through, |held| held.slot.max(damaged_through));
    let held = accepted.iter().filter(|held| held.slot > chosen).count();
    last.0.saturating_sub(chosen.0).saturating_sub(u64::try_from(held).unwrap_or(u64::MAX))
}
