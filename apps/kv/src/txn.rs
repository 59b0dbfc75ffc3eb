//! Transactions: conditions on the state before, and one of two lists of changes, made as a whole.

use std::cmp::Ordering;

use synod_types::{CommanderId, Refusal, StateNdx};

use crate::apply::{Removals, add, check_binding, delete_prefix, write};
use crate::op::{KvChange, KvCompare, KvCondition, KvRelation, KvReply, KvResult, KvTxn};
use crate::state::{Draft, KvState};

/// Makes `then` or `otherwise`, each change seeing the ones before it. One that is refused refuses them all.
pub(crate) fn execute(draft: &mut Draft<'_>, commander: CommanderId, txn: KvTxn) -> Result<KvReply, Refusal> {
    let failed = txn.compare.iter().position(|compare| !holds(draft.state(), compare));
    let changes = if failed.is_none() { txn.then } else { txn.otherwise };
    let count = changes.len();
    draft.expect(count);
    let mut removals = Removals::default();
    let mut results = Vec::with_capacity(count);
    for (index, change) in changes.into_iter().enumerate() {
        let result = make(draft, commander, &mut removals, change).map_err(|Refusal { code, text }| {
            Refusal::new(code, format_args!("change {} of {count}: {text}", index + 1))
        })?;
        results.push(result);
    }
    let failed = failed.map(|index| u32::try_from(index).expect("a transaction has few conditions"));
    Ok(KvReply::Txn { failed, results })
}

fn make(
    draft: &mut Draft<'_>,
    commander: CommanderId,
    removals: &mut Removals,
    change: KvChange,
) -> Result<KvResult, Refusal> {
    match change {
        KvChange::Put { key, value, lease } => {
            if let Some(lease) = lease {
                check_binding(draft.state(), commander, lease, &key)?;
            }
            let previous = write(draft, &key, value, lease)?;
            Ok(KvResult::Put { existed: previous.is_some() })
        }
        KvChange::Delete { key } => Ok(KvResult::Deleted { count: u64::from(draft.remove(&key)) }),
        KvChange::DeletePrefix { prefix } => {
            Ok(KvResult::Deleted { count: delete_prefix(draft, removals, &prefix)? })
        }
        KvChange::Add { key, delta } => Ok(KvResult::Counted { value: add(draft, &key, delta)? }),
    }
}

fn holds(state: &KvState, compare: &KvCompare) -> bool {
    let entry = state.entry(&compare.key);
    match (&compare.condition, entry) {
        (KvCondition::Absent, entry) => entry.is_none(),
        (_, None) => false,
        (KvCondition::Exists, Some(_)) => true,
        (KvCondition::Value(relation, value), Some(entry)) => stands(*relation, entry.value.cmp(value)),
        (KvCondition::Created(relation, created), Some(entry)) => {
            stands_to(*relation, entry.created, *created)
        }
        (KvCondition::Changed(relation, changed), Some(entry)) => {
            stands_to(*relation, entry.changed, *changed)
        }
    }
}

fn stands_to(relation: KvRelation, actual: StateNdx, given: StateNdx) -> bool {
    stands(relation, actual.cmp(&given))
}

fn stands(relation: KvRelation, actual_to_given: Ordering) -> bool {
    match relation {
        KvRelation::Equal => actual_to_given.is_eq(),
        KvRelation::NotEqual => actual_to_given.is_ne(),
        KvRelation::Less => actual_to_given.is_lt(),
        KvRelation::Greater => actual_to_given.is_gt(),
    }
}
