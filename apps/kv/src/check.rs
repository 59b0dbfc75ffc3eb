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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_types::StateNdx;

    use super::*;
    use crate::op::KvCompare;

    const MALFORMED: Option<RefusalCode> = Some(RefusalCode::Malformed);
    const TOO_LARGE: Option<RefusalCode> = Some(RefusalCode::TooLarge);

    /// What is said where the operation enters, and where it is executed.
    fn code(op: &KvOp) -> Option<RefusalCode> {
        KvOp::decode(&op.encode()[1..]).err().map(|refusal| refusal.code)
    }

    fn of(len: usize) -> Bytes {
        vec![1; len].into()
    }

    fn txn(compare: usize, then: usize, otherwise: usize) -> KvOp {
        let condition = KvCompare { key: of(1), condition: KvCondition::Exists };
        let change = KvChange::Delete { key: of(1) };
        let changes = |count| vec![change.clone(); count];
        KvOp::Txn(KvTxn {
            compare: vec![condition; compare],
            then: changes(then),
            otherwise: changes(otherwise),
        })
    }

    #[test]
    fn keys_and_prefixes_have_1_to_4096_bytes_wherever_they_are() {
        let (value, lease) = (of(0), StateNdx(1));
        let in_txn = |then| KvOp::Txn(KvTxn { then: vec![then], ..KvTxn::default() });
        let kinds: [&dyn Fn(Bytes) -> KvOp; 12] = [
            &|key| KvOp::Put { key, value: value.clone() },
            &|key| KvOp::Delete { key },
            &|key| KvOp::CompareAndSet { key, expected: None, value: value.clone() },
            &|key| KvOp::Add { key, delta: 1 },
            &|key| KvOp::PutBound { key, value: value.clone(), lease },
            &|prefix| KvOp::DeletePrefix { prefix },
            &|key| in_txn(KvChange::Put { key, value: value.clone(), lease: None }),
            &|key| in_txn(KvChange::Delete { key }),
            &|key| in_txn(KvChange::Add { key, delta: 1 }),
            &|prefix| in_txn(KvChange::DeletePrefix { prefix }),
            &|key| {
                let compare = vec![KvCompare { key, condition: KvCondition::Exists }];
                KvOp::Txn(KvTxn { compare, ..KvTxn::default() })
            },
            &|key| KvOp::Txn(KvTxn { otherwise: vec![KvChange::Delete { key }], ..KvTxn::default() }),
        ];
        for kind in kinds {
            assert_eq!(code(&kind(of(0))), MALFORMED, "{:?}", kind(of(0)));
            assert_eq!(code(&kind(of(1))), None);
            assert_eq!(code(&kind(of(KV_KEY_BYTES_MAX - 1))), None);
            assert_eq!(code(&kind(of(KV_KEY_BYTES_MAX))), None);
            assert_eq!(code(&kind(of(KV_KEY_BYTES_MAX + 1))), TOO_LARGE);
        }
    }

    #[test]
    fn values_have_a_limit_wherever_they_are() {
        let in_txn = |compare, then| KvOp::Txn(KvTxn { compare, then, otherwise: Vec::new() });
        let kinds: [&dyn Fn(Bytes) -> KvOp; 5] = [
            &|value| KvOp::Put { key: of(1), value },
            &|value| KvOp::CompareAndSet { key: of(1), expected: None, value },
            &|value| KvOp::PutBound { key: of(1), value, lease: StateNdx(1) },
            &|value| in_txn(vec![], vec![KvChange::Put { key: of(1), value, lease: None }]),
            &|value| {
                let condition = KvCondition::Value(crate::KvRelation::Equal, value);
                in_txn(vec![KvCompare { key: of(1), condition }], vec![])
            },
        ];
        for kind in kinds {
            assert_eq!(code(&kind(of(0))), None);
            assert_eq!(code(&kind(of(KV_VALUE_BYTES_MAX - 1))), None);
            assert_eq!(code(&kind(of(KV_VALUE_BYTES_MAX))), None);
            assert_eq!(code(&kind(of(KV_VALUE_BYTES_MAX + 1))), TOO_LARGE);
        }
    }

    #[test]
    fn each_list_of_a_transaction_has_128_at_most() {
        let max = KV_TXN_OPS_MAX;
        assert_eq!(code(&txn(0, 0, 0)), None);
        assert_eq!(code(&txn(max - 1, max - 1, max - 1)), None);
        assert_eq!(code(&txn(max, max, max)), None);
        assert_eq!(code(&txn(max + 1, 0, 0)), TOO_LARGE);
        assert_eq!(code(&txn(0, max + 1, 0)), TOO_LARGE);
        assert_eq!(code(&txn(0, 0, max + 1)), TOO_LARGE);
    }

    #[test]
    fn a_keep_alive_names_1_to_128_leases() {
        let keep_alive = |count| KvOp::KeepAlive { leases: vec![StateNdx(1); count] };
        assert_eq!(code(&keep_alive(0)), MALFORMED);
        assert_eq!(code(&keep_alive(1)), None);
        assert_eq!(code(&keep_alive(KV_KEEP_ALIVE_MAX - 1)), None);
        assert_eq!(code(&keep_alive(KV_KEEP_ALIVE_MAX)), None);
        assert_eq!(code(&keep_alive(KV_KEEP_ALIVE_MAX + 1)), TOO_LARGE);
    }

    #[test]
    fn a_lease_lasts_from_a_second_to_a_day() {
        let grant = |ttl_ms| code(&KvOp::GrantLease { ttl_ms });
        assert_eq!(grant(KV_LEASE_MS_MIN - 1), MALFORMED);
        assert_eq!(grant(KV_LEASE_MS_MIN), None);
        assert_eq!(grant(KV_LEASE_MS_MIN + 1), None);
        assert_eq!(grant(KV_LEASE_MS_MAX - 1), None);
        assert_eq!(grant(KV_LEASE_MS_MAX), None);
        assert_eq!(grant(KV_LEASE_MS_MAX + 1), MALFORMED);
        assert_eq!(grant(u64::MAX), MALFORMED);
    }

    #[test]
    fn settings_stay_below_what_memory_is_planned_for() {
        let code = |settings| code(&KvOp::Configure(settings));
        let none = KvSettings::default();
        assert_eq!(code(none), None);
        let max = KV_STATE_BYTES_MAX;
        for (given, refused) in [(0, None), (max - 1, None), (max, None), (max + 1, TOO_LARGE)] {
            assert_eq!(code(KvSettings { quota_bytes: Some(given), ..none }), refused);
        }
        let max = KV_HISTORY_STATES_MAX;
        for (given, refused) in [(0, None), (max - 1, None), (max, None), (max + 1, TOO_LARGE)] {
            assert_eq!(code(KvSettings { history_states: Some(given), ..none }), refused);
        }
        let max = KV_HISTORY_BYTES_MAX;
        for (given, refused) in [(0, None), (max - 1, None), (max, None), (max + 1, TOO_LARGE)] {
            assert_eq!(code(KvSettings { history_bytes: Some(given), ..none }), refused);
        }
        assert_eq!(code(KvSettings { history_age_ms: Some(u64::MAX), ..none }), None);
    }
}
