//! Scopes: a commander whose role is limited to key prefixes changes keys that begin with one of them, and no other.
//! Conditions of a transaction may look at any key, as any reader may.

use synod_types::limits::KV_KEY_BYTES_MAX;
use synod_types::{Refusal, RefusalCode};

use crate::op::{KvChange, KvOp};

/// Whether an operation is for administrators: it is about the application as a whole.
pub(crate) fn is_administrative(operation: &[u8]) -> bool {
    match operation.first() {
        // The variant as every encoder writes it, which is most of what comes: no need to read the rest.
        Some(0..=9) => false,
        // A number can be written in more bytes than it needs; only reading it says what it is.
        _ => matches!(KvOp::decode(operation), Ok(KvOp::Compact { .. } | KvOp::Configure(_))),
    }
}

/// Checks a scope: text of 1 byte at least, with which keys begin.
pub(crate) fn check_scope(scope: &str) -> Result<(), Refusal> {
    match scope.len() {
        1..=KV_KEY_BYTES_MAX => Ok(()),
        0 => Err(Refusal::new(RefusalCode::Malformed, "an empty scope is every key: grant without scopes")),
        len => Err(Refusal::new(
            RefusalCode::TooLarge,
            format_args!("the scope has {len} bytes, more than a key can have: {KV_KEY_BYTES_MAX}"),
        )),
    }
}

/// Whether an operation changes nothing but keys that begin with one of `scopes`. Leases are their commander's own, which
/// the state knows and looks at when the operation is executed.
pub(crate) fn check_within(scopes: &[String], operation: &[u8]) -> Result<(), Refusal> {
    let within = |key: &[u8]| {
        if scopes.iter().any(|scope| key.starts_with(scope.as_bytes())) {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::NotPermitted,
            format_args!(
                "the commander's scopes do not permit changes of {:?}",
                key.escape_ascii().to_string()
            ),
        ))
    };
    match &KvOp::decode(operation)? {
        KvOp::Put { key, .. }
        | KvOp::Delete { key }
        | KvOp::CompareAndSet { key, .. }
        | KvOp::Add { key, .. }
        | KvOp::PutBound { key, .. }
        | KvOp::DeletePrefix { prefix: key } => within(key),
        KvOp::Txn(txn) => txn.then.iter().chain(&txn.otherwise).try_for_each(|change| match change {
            KvChange::Put { key, .. }
            | KvChange::Delete { key }
            | KvChange::DeletePrefix { prefix: key }
            | KvChange::Add { key, .. } => within(key),
        }),
        KvOp::GrantLease { .. } | KvOp::KeepAlive { .. } | KvOp::RevokeLease { .. } => Ok(()),
        KvOp::Compact { .. } | KvOp::Configure(_) => Err(Refusal::new(
            RefusalCode::NotPermitted,
            "this is about all keys, and the commander's scopes are not",
        )),
    }
}
