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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_types::StateNdx;

    use super::*;
    use crate::op::{KvCompare, KvCondition, KvSettings, KvTxn};

    fn within(op: &KvOp) -> Result<(), RefusalCode> {
        let scopes = ["jobs/".to_owned(), "b".to_owned()];
        check_within(&scopes, &op.encode()[1..]).map_err(|refusal| refusal.code)
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn every_change_is_of_keys_within_a_scope() {
        let value = bytes("v");
        let in_txn = |then| KvOp::Txn(KvTxn { then: vec![then], ..KvTxn::default() });
        let kinds: [&dyn Fn(Bytes) -> KvOp; 11] = [
            &|key| KvOp::Put { key, value: value.clone() },
            &|key| KvOp::Delete { key },
            &|key| KvOp::CompareAndSet { key, expected: None, value: value.clone() },
            &|key| KvOp::Add { key, delta: 1 },
            &|key| KvOp::PutBound { key, value: value.clone(), lease: StateNdx(1) },
            &|prefix| KvOp::DeletePrefix { prefix },
            &|key| in_txn(KvChange::Put { key, value: value.clone(), lease: None }),
            &|key| in_txn(KvChange::Delete { key }),
            &|key| in_txn(KvChange::Add { key, delta: 1 }),
            &|prefix| in_txn(KvChange::DeletePrefix { prefix }),
            &|key| KvOp::Txn(KvTxn { otherwise: vec![KvChange::Delete { key }], ..KvTxn::default() }),
        ];
        for kind in kinds {
            for inside in ["jobs/", "jobs/1", "b", "bb"] {
                assert_eq!(within(&kind(bytes(inside))), Ok(()), "{:?}", kind(bytes(inside)));
            }
            for outside in ["jobs", "j", "a", "job", "c"] {
                let op = kind(bytes(outside));
                assert_eq!(within(&op), Err(RefusalCode::NotPermitted), "{op:?}");
            }
        }
    }

    #[test]
    fn conditions_may_look_anywhere_and_leases_are_their_commanders_own() {
        let compare = vec![KvCompare { key: bytes("elsewhere"), condition: KvCondition::Exists }];
        let then = vec![KvChange::Delete { key: bytes("b") }];
        assert_eq!(within(&KvOp::Txn(KvTxn { compare, then, otherwise: vec![] })), Ok(()));
        assert_eq!(within(&KvOp::GrantLease { ttl_ms: 1000 }), Ok(()));
        assert_eq!(within(&KvOp::KeepAlive { leases: vec![StateNdx(1)] }), Ok(()));
        assert_eq!(within(&KvOp::RevokeLease { lease: StateNdx(1) }), Ok(()));
        assert_eq!(check_within(&[], b"\x0c").map_err(|refusal| refusal.code), Err(RefusalCode::Malformed));
    }

    #[test]
    fn what_is_about_all_keys_is_for_administrators_however_it_is_written() {
        let compact = KvOp::Compact { through: StateNdx(1) };
        let configure = KvOp::Configure(KvSettings::default());
        for op in [&compact, &configure] {
            assert!(is_administrative(&op.encode()[1..]));
            assert_eq!(within(op), Err(RefusalCode::NotPermitted));
        }
        // The variant 10 in two bytes instead of one is read as well.
        let longer = [0x8a, 0, 1];
        assert_eq!(KvOp::decode(&longer), Ok(compact));
        assert!(is_administrative(&longer));
        let grant = KvOp::GrantLease { ttl_ms: 1000 };
        let last = KvOp::RevokeLease { lease: StateNdx(1) };
        for op in [grant, last, KvOp::Put { key: bytes("k"), value: bytes("v") }] {
            assert!(!is_administrative(&op.encode()[1..]), "{op:?}");
        }
        assert!(!is_administrative(b"") && !is_administrative(&[10]) && !is_administrative(&[12]));
    }

    #[test]
    fn a_scope_is_what_a_key_can_begin_with() {
        let code = |scope: &str| check_scope(scope).map_err(|refusal| refusal.code);
        assert_eq!(code(""), Err(RefusalCode::Malformed));
        assert_eq!(code("a"), Ok(()));
        assert_eq!(code(&"a".repeat(KV_KEY_BYTES_MAX)), Ok(()));
        assert_eq!(code(&"a".repeat(KV_KEY_BYTES_MAX + 1)), Err(RefusalCode::TooLarge));
    }
}
