//! What each operation does, and what running out does.

use bytes::Bytes;
use synod_machine::{Context, Moment};
use synod_types::limits::{KV_DELETE_MANY_BYTES_MAX, KV_DELETE_MANY_MAX, KV_LEASES_MAX};
use synod_types::{CommanderId, Refusal, RefusalCode, StateNdx};

use crate::op::{KvOp, KvReply};
use crate::state::{Draft, KvState, NoRoom};
use crate::txn;

/// Executes an operation that is within its limits; on a refusal nothing has changed.
pub(crate) fn apply(state: &mut KvState, context: &Context, op: KvOp) -> Result<KvReply, Refusal> {
    let mut draft = Draft::new(state, context.state_ndx, context.time, context.clock);
    match execute(&mut draft, context.commander, op) {
        Ok(reply) => {
            draft.keep();
            Ok(reply)
        }
        Err(refusal) => {
            draft.undo();
            Err(refusal)
        }
    }
}

/// Ends what has run out; as much as one command could. The rest is due at once again.
pub(crate) fn expire(state: &mut KvState, moment: &Moment) -> KvReply {
    let mut draft = Draft::new(state, moment.state_ndx, moment.time, moment.clock);
    let count = draft.expire();
    draft.keep();
    KvReply::DeletedMany { count: number(count) }
}

fn execute(draft: &mut Draft<'_>, commander: CommanderId, op: KvOp) -> Result<KvReply, Refusal> {
    match op {
        KvOp::Put { key, value } => put(draft, &key, value, None),
        KvOp::Delete { key } => Ok(KvReply::Deleted { existed: draft.remove(&key) }),
        KvOp::CompareAndSet { key, expected, value } => {
            compare(draft.state(), &key, expected)?;
            put(draft, &key, value, None)
        }
        KvOp::Txn(txn) => txn::execute(draft, commander, txn),
        KvOp::DeletePrefix { prefix } => {
            let count = delete_prefix(draft, &mut Removals::default(), &prefix)?;
            Ok(KvReply::DeletedMany { count })
        }
        KvOp::Add { key, delta } => Ok(KvReply::Counted { value: add(draft, &key, delta)? }),
        KvOp::PutBound { key, value, lease } => {
            check_binding(draft.state(), commander, lease, &key)?;
            put(draft, &key, value, Some(lease))
        }
        KvOp::GrantLease { ttl_ms } => grant(draft, commander, ttl_ms),
        KvOp::KeepAlive { leases } => keep_alive(draft, commander, leases),
        KvOp::RevokeLease { lease } => {
            check_owned(draft.state(), commander, lease)?.ok_or_else(|| no_lease(lease))?;
            Ok(KvReply::DeletedMany { count: number(draft.end(lease, false)) })
        }
        KvOp::Compact { through } => compact(draft, through),
        KvOp::Configure(settings) => {
            draft.configure(&settings);
            Ok(KvReply::Configured)
        }
    }
}

fn put(draft: &mut Draft<'_>, key: &[u8], value: Bytes, lease: Option<StateNdx>) -> Result<KvReply, Refusal> {
    Ok(KvReply::Written { previous: write(draft, key, value, lease)? })
}

/// Writes a key, and binds it to a lease that passed [`check_binding`], or frees it; gives the state that had changed it.
pub(crate) fn write(
    draft: &mut Draft<'_>,
    key: &[u8],
    value: Bytes,
    lease: Option<StateNdx>,
) -> Result<Option<StateNdx>, Refusal> {
    draft.write(key, value, lease).map_err(|NoRoom { bytes }| {
        let quota = draft.state().settings().quota_bytes;
        Refusal::new(
            RefusalCode::QuotaExceeded,
            format_args!(
                "all keys would take {bytes} bytes, over the quota of {quota}: delete keys, or have the quota raised"
            ),
        )
    })
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

/// What one command removes without naming each key, up to here.
#[derive(Default)]
pub(crate) struct Removals {
    keys: usize,
    key_bytes: usize,
}

/// Removes the keys that begin with `prefix`; gives how many there were.
pub(crate) fn delete_prefix(
    draft: &mut Draft<'_>,
    removals: &mut Removals,
    prefix: &[u8],
) -> Result<u64, Refusal> {
    let mut keys = Vec::new();
    for (key, _) in draft.state().range(prefix, None) {
        removals.keys += 1;
        removals.key_bytes += key.len();
        if removals.keys > KV_DELETE_MANY_MAX || removals.key_bytes > KV_DELETE_MANY_BYTES_MAX {
            return Err(Refusal::new(
                RefusalCode::QuotaExceeded,
                format_args!(
                    "more than {KV_DELETE_MANY_MAX} keys, or {KV_DELETE_MANY_BYTES_MAX} bytes of them, begin so; \
                     delete them by longer prefixes, in several commands"
                ),
            ));
        }
        keys.push(Bytes::copy_from_slice(key));
    }
    draft.expect(keys.len());
    for key in &keys {
        draft.remove(key);
    }
    Ok(number(keys.len()))
}

/// Adds to a counter; gives the sum.
pub(crate) fn add(draft: &mut Draft<'_>, key: &[u8], delta: i64) -> Result<i64, Refusal> {
    let conflict = |text: &str| Refusal::new(RefusalCode::Conflict, text);
    let (value, lease) = match draft.state().entry(key) {
        Some(entry) => {
            let value = counter(&entry.value).ok_or_else(|| {
                conflict(
                    "the key's value is not a whole number of 64 bits in decimal digits: it is no counter",
                )
            })?;
            (value, entry.lease)
        }
        None => (0, None),
    };
    let sum = value.checked_add(delta).ok_or_else(|| conflict("the sum would not fit into 64 bits"))?;
    write(draft, key, sum.to_string().into(), lease)?;
    Ok(sum)
}

fn counter(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    // Rust reads a plus sign as well.
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn grant(draft: &mut Draft<'_>, commander: CommanderId, ttl_ms: u64) -> Result<KvReply, Refusal> {
    if draft.state().leases_len() >= KV_LEASES_MAX {
        return Err(Refusal::new(
            RefusalCode::QuotaExceeded,
            format_args!("there are {KV_LEASES_MAX} leases already; revoke some, or wait until some run out"),
        ));
    }
    draft.grant(ttl_ms, commander);
    Ok(KvReply::Leased)
}

fn keep_alive(
    draft: &mut Draft<'_>,
    commander: CommanderId,
    leases: Vec<StateNdx>,
) -> Result<KvReply, Refusal> {
    let mut gone = Vec::new();
    let mut kept = Vec::with_capacity(leases.len());
    for lease in leases {
        match check_owned(draft.state(), commander, lease)? {
            Some(()) => kept.push(lease),
            None => gone.push(lease),
        }
    }
    for lease in kept {
        draft.renew(lease);
    }
    Ok(KvReply::KeptAlive { gone })
}

/// Whether there is such a lease, for whom it was granted to: it is nobody else's to use.
fn check_owned(state: &KvState, commander: CommanderId, lease: StateNdx) -> Result<Option<()>, Refusal> {
    match state.lease(lease) {
        Some(granted) if granted.commander != commander => Err(Refusal::new(
            RefusalCode::Conflict,
            format_args!("lease {lease} belongs to another commander"),
        )),
        Some(_) => Ok(Some(())),
        None => Ok(None),
    }
}

/// Whether a commander can bind a key to a lease.
pub(crate) fn check_binding(
    state: &KvState,
    commander: CommanderId,
    lease: StateNdx,
    key: &[u8],
) -> Result<(), Refusal> {
    check_owned(state, commander, lease)?.ok_or_else(|| no_lease(lease))?;
    if state.lease(lease).is_some_and(|granted| granted.has_room_for(key)) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::QuotaExceeded,
        format_args!(
            "{KV_DELETE_MANY_MAX} keys, or {KV_DELETE_MANY_BYTES_MAX} bytes of them, are bound to lease {lease} already; \
             take another lease"
        ),
    ))
}

fn no_lease(lease: StateNdx) -> Refusal {
    Refusal::new(
        RefusalCode::Conflict,
        format_args!("there is no lease {lease}: it ran out or was revoked, or there never was one"),
    )
}

fn compact(draft: &mut Draft<'_>, through: StateNdx) -> Result<KvReply, Refusal> {
    if through > draft.state_ndx() {
        return Err(Refusal::new(
            RefusalCode::Conflict,
            format_args!("state {through} is not there yet; this command makes state {}", draft.state_ndx()),
        ));
    }
    draft.compact(through);
    Ok(KvReply::Compacted { oldest: draft.state().oldest() })
}

/// A count, as it travels.
pub(crate) fn number(count: usize) -> u64 {
    u64::try_from(count).expect("usize has at most 64 bits")
}
