//! What each operation does. Everything is looked at before anything changes, so that a refusal changes nothing.

use synod_machine::Context;
use synod_types::limits::{ZONES_BYTES_MAX, ZONES_MAX};
use synod_types::{Refusal, RefusalCode, StateNdx};
use synod_zone::serial_is_newer;

use crate::name::ZoneName;
use crate::op::{Content, Expected, ZoneChange, ZonesOp, ZonesReply};
use crate::state::{Held, NoRoom, Version, ZonesState};

/// Executes an operation that is within its limits; on a refusal nothing has changed.
///
/// Setting the content that a zone has already is done, makes no version and needs no serial that rises: publishing the
/// same files again is no mistake. What the operation expects must hold all the same.
pub(crate) fn apply(state: &mut ZonesState, context: &Context, op: &ZonesOp) -> Result<ZonesReply, Refusal> {
    match op {
        ZonesOp::Set(change) => {
            let previous = check_change(state, change)?;
            set_all(state, context, std::slice::from_ref(change))?;
            Ok(ZonesReply::Set { previous })
        }
        ZonesOp::SetMany(changes) => {
            for change in changes {
                check_change(state, change)?;
            }
            let changed = set_all(state, context, changes)?;
            let unchanged = changes.len() - changed;
            let count = |count: usize| u32::try_from(count).expect("an operation changes few zones");
            Ok(ZonesReply::SetMany { changed: count(changed), unchanged: count(unchanged) })
        }
        ZonesOp::Delete { zone, expected } => {
            check_expected(state, zone, *expected)?;
            let previous = state.content(zone);
            if previous.is_some() {
                state.put(zone, version(context, None, None));
            }
            Ok(ZonesReply::Deleted { previous })
        }
        ZonesOp::Rollback { zone, to, expected } => {
            check_expected(state, zone, *expected)?;
            let previous = state.content(zone);
            let content = held_in(state, context, zone, *to)?;
            if previous != Some(content) {
                check_room(state, [(zone, content)].into_iter())?;
                state.put(zone, version(context, Some(content), Some(*to)));
            }
            Ok(ZonesReply::RolledBack { content, previous })
        }
    }
}

/// Makes the changes, which were checked one by one; gives how many zones have got another content.
fn set_all(state: &mut ZonesState, context: &Context, changes: &[ZoneChange]) -> Result<usize, Refusal> {
    let mut new: Vec<(&ZoneName, Content)> =
        changes.iter().map(|change| (&change.zone, content(change))).collect();
    new.retain(|(zone, content)| state.content(zone) != Some(*content));
    check_room(state, new.iter().copied())?;
    for (zone, content) in &new {
        state.put(zone, version(context, Some(*content), None));
    }
    Ok(new.len())
}

fn content(change: &ZoneChange) -> Content {
    Content { key: change.content, bytes: change.bytes, serial: change.serial }
}

fn version(context: &Context, content: Option<Content>, rolled_back_to: Option<StateNdx>) -> Version {
    let Context { state_ndx, time, commander, .. } = *context;
    Version { content, changed: state_ndx, time, commander, rolled_back_to }
}

/// Checks a change by itself; gives what the zone holds.
fn check_change(state: &ZonesState, change: &ZoneChange) -> Result<Option<Content>, Refusal> {
    check_expected(state, &change.zone, change.expected)?;
    let present = state.content(&change.zone);
    if let Some(present) = present
        && present != content(change)
        && !change.force
        && !serial_is_newer(change.serial, present.serial)
    {
        return Err(conflict(format_args!(
            "zone {} has serial {}, and {} is no later one (RFC 1982): raise the serial in its SOA, or force the change",
            change.zone.shown(),
            present.serial,
            change.serial
        )));
    }
    Ok(present)
}

fn check_expected(state: &ZonesState, zone: &ZoneName, expected: Expected) -> Result<(), Refusal> {
    let present = state.content(zone);
    match (expected, present) {
        (Expected::Any, _) | (Expected::Absent, None) => Ok(()),
        (Expected::Content(key), Some(present)) if key == present.key => Ok(()),
        (Expected::Absent, Some(_)) => {
            Err(conflict(format_args!("{}; it was expected not to exist", holds(state, zone))))
        }
        (Expected::Content(key), _) => {
            Err(conflict(format_args!("{}; {} was expected", holds(state, zone), key.short())))
        }
    }
}

/// What a zone holds, in words.
fn holds(state: &ZonesState, zone: &ZoneName) -> String {
    let name = zone.shown();
    match (state.content(zone), state.record(zone)) {
        (Some(Content { key, serial, .. }), Some(record)) => {
            let changed = record.current().changed;
            format!("zone {name} has content {key} (serial {serial}) since stateNdx {changed}")
        }
        (None, Some(record)) => format!("zone {name} was deleted in stateNdx {}", record.current().changed),
        (_, None) => format!("there is no zone {name}"),
    }
}

/// The content that a zone had in a state.
fn held_in(state: &ZonesState, context: &Context, zone: &ZoneName, to: StateNdx) -> Result<Content, Refusal> {
    let name = zone.shown();
    if to >= context.state_ndx {
        let last = context.state_ndx.0.saturating_sub(1);
        return Err(conflict(format_args!(
            "the application was in stateNdx {last} so far; zone {name} cannot go back to stateNdx {to}"
        )));
    }
    let Some(record) = state.record(zone) else {
        return Err(conflict(format_args!("there is no zone {name}, and no history of one; set it instead")));
    };
    match record.held_in(to) {
        Held::Content(content) => Ok(content),
        Held::Nothing => Err(conflict(format_args!(
            "no zone {name} is known of stateNdx {to}; to have none again, delete it"
        ))),
        Held::Forgotten => Err(conflict(format_args!(
            "the history of zone {name} goes back to stateNdx {} only, not to {to}; set the content instead",
            record.begins()
        ))),
    }
}

fn check_room<'a>(
    state: &ZonesState,
    changes: impl Iterator<Item = (&'a ZoneName, Content)>,
) -> Result<(), Refusal> {
    state.check_room(changes).map_err(|full| {
        let text = match full {
            NoRoom::Zones => {
                format!("the application would have more than {ZONES_MAX} zones; delete some first")
            }
            NoRoom::Bytes => format!(
                "the zone files would have more than {ZONES_BYTES_MAX} bytes together; delete zones first"
            ),
        };
        Refusal::new(RefusalCode::QuotaExceeded, text)
    })
}

fn conflict(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Conflict, text)
}
