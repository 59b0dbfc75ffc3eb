//! What each operation does.

use bytes::Bytes;
use synod_types::limits::KV_STATE_BYTES_MAX;
use synod_types::{Refusal, RefusalCode, StateNdx};

use crate::op::{KvOp, KvReply};
use crate::state::{KvState, NoRoom};

/// Executes an operation that is within its limits; on a refusal nothing has changed.
pub(crate) fn apply(state: &mut KvState, state_ndx: StateNdx, op: KvOp) -> Result<KvReply, Refusal> {
    match op {
        KvOp::Put { key, value } => write(state, state_ndx, &key, value),
        KvOp::Delete { key } => Ok(KvReply::Deleted { existed: state.remove(&key) }),
        KvOp::CompareAndSet { key, expected, value } => {
            compare(state, &key, expected)?;
            write(state, state_ndx, &key, value)
        }
        _ => Err(Refusal::new(RefusalCode::Malformed, "not built yet")),
    }
}

fn write(state: &mut KvState, state_ndx: StateNdx, key: &[u8], value: Bytes) -> Result<KvReply, Refusal> {
    match state.write(key, value, state_ndx) {
        Ok(previous) => Ok(KvReply::Written { previous }),
        Err(NoRoom) => Err(Refusal::new(
            RefusalCode::QuotaExceeded,
            format_args!("the application holds its {KV_STATE_BYTES_MAX} bytes; delete keys first"),
        )),
    }
}

fn compare(state: &KvState, key: &[u8], expected: Option<StateNdx>) -> Result<(), Refusal> {
    let actual = state.entry(key).map(|entry| entry.changed);
    if expected == actual {
        return Ok(());
    }
    let found = match actual {
        Some(changed) => format!("the key last changed in stateNdx {changed}"),
        None => "the key does not exist".to_owned(),
    };
    let wanted = match expected {
        Some(changed) => format!("it was expected to have changed last in stateNdx {changed}"),
        None => "it was expected not to exist".to_owned(),
    };
    Err(Refusal::new(RefusalCode::Conflict, format_args!("{found}; {wanted}")))
}
