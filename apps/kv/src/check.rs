//! The limits of an operation, as far as the operation alone can tell.

use synod_types::limits::{
    KV_HISTORY_BYTES_MAX, KV_HISTORY_STATES_MAX, KV_KEEP_ALIVE_MAX, KV_KEY_BYTES_MAX, KV_LEASE_MS_MAX,
    KV_LEASE_MS_MIN, KV_STATE_BYTES_MAX, KV_TXN_OPS_MAX, KV_VALUE_BYTES_MAX,
};
use synod_types::{Refusal, RefusalCode};

use crate::op::{KvChange, KvCondition, KvOp, KvSettings, KvTxn};

/// Checks every limit.
///
/// # Errors
/// `Malformed` or `TooLarge`.
pub(crate) fn check(op: &KvOp) -> Result<(), Refusal> {
    match op {
        KvOp::Put { key, value }
        | KvOp::CompareAndSet { key, expected: _, value }
        | KvOp::PutBound { key, value, lease: _ } => {
            check_key(key)?;
            check_value(value)
        }
        KvOp::Delete { key } | KvOp::Add { key, delta: _ } => check_key(key),
        KvOp::Txn(txn) => check_txn(txn),
        KvOp::DeletePrefix { prefix } => check_prefix(prefix),
        KvOp::GrantLease { ttl_ms } => check_ttl(*ttl_ms),
        KvOp::KeepAlive { leases } => {
            if leases.is_empty() {
                return Err(Refusal::new(RefusalCode::Malformed, "no lease is named"));
            }
            check_count("leases", leases.len(), KV_KEEP_ALIVE_MAX)
        }
        KvOp::RevokeLease { lease: _ } | KvOp::Compact { through: _ } => Ok(()),
        KvOp::Configure(settings) => check_settings(settings),
    }
}

fn check_txn(txn: &KvTxn) -> Result<(), Refusal> {
    check_count("conditions", txn.compare.len(), KV_TXN_OPS_MAX)?;
    check_count("changes in a list", txn.then.len().max(txn.otherwise.len()), KV_TXN_OPS_MAX)?;
    for compare in &txn.compare {
        check_key(&compare.key)?;
        if let KvCondition::Value(_, value) = &compare.condition {
            check_value(value)?;
        }
    }
    txn.then.iter().chain(&txn.otherwise).try_for_each(check_change)
}

fn check_change(change: &KvChange) -> Result<(), Refusal> {
    match change {
        KvChange::Put { key, value, lease: _ } => {
            check_key(key)?;
            check_value(value)
        }
        KvChange::Delete { key } | KvChange::Add { key, delta: _ } => check_key(key),
        KvChange::DeletePrefix { prefix } => check_prefix(prefix),
    }
}

fn check_key(key: &[u8]) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(Refusal::new(RefusalCode::Malformed, "the key is empty"));
    }
    check_bytes("key", key.len(), KV_KEY_BYTES_MAX)
}

fn check_prefix(prefix: &[u8]) -> Result<(), Refusal> {
    if prefix.is_empty() {
        return Err(Refusal::new(RefusalCode::Malformed, "the prefix is empty: every key begins with it"));
    }
    check_bytes("prefix", prefix.len(), KV_KEY_BYTES_MAX)
}

fn check_value(value: &[u8]) -> Result<(), Refusal> {
    check_bytes("value", value.len(), KV_VALUE_BYTES_MAX)
}

fn check_bytes(what: &str, len: usize, max: usize) -> Result<(), Refusal> {
    if len <= max {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::TooLarge,
        format_args!("the {what} has {len} bytes; at most {max} are allowed"),
    ))
}

fn check_count(what: &str, count: usize, max: usize) -> Result<(), Refusal> {
    if count <= max {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::TooLarge,
        format_args!("there are {count} {what}; at most {max} are allowed"),
    ))
}

fn check_ttl(ttl_ms: u64) -> Result<(), Refusal> {
    if (KV_LEASE_MS_MIN..=KV_LEASE_MS_MAX).contains(&ttl_ms) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::Malformed,
        format_args!("a lease of {ttl_ms} ms; it can last from {KV_LEASE_MS_MIN} to {KV_LEASE_MS_MAX} ms"),
    ))
}

fn check_settings(settings: &KvSettings) -> Result<(), Refusal> {
    let KvSettings { quota_bytes, history_states, history_bytes, history_age_ms: _ } = settings;
    for (what, given, max) in [
        ("quota", quota_bytes, KV_STATE_BYTES_MAX),
        ("number of states", history_states, KV_HISTORY_STATES_MAX),
        ("number of bytes of history", history_bytes, KV_HISTORY_BYTES_MAX),
    ] {
        if let Some(given) = given.filter(|given| *given > max) {
            return Err(Refusal::new(
                RefusalCode::TooLarge,
                format_args!("a {what} of {given}; at most {max} is allowed"),
            ));
        }
    }
    Ok(())
}
