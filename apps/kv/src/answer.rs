//! What each question is answered. No answer is larger than its limits, and none takes long: what would look through much of
//! the state does so page by page.

use bytes::Bytes;
use synod_merkle::Path;
use synod_types::StateNdx;
use synod_types::limits::{
    KV_CHANGES_SCANNED_MAX, KV_KEY_BYTES_MAX, KV_QUEUE_KEYS_MAX, KV_RANGE_BYTES_MAX, KV_RANGE_ENTRIES_MAX,
    KV_VALUE_BYTES_MAX,
};

use crate::apply::number;
use crate::query::{
    KvAnswer, KvEntry, KvHistoryMax, KvKeyChange, KvLease, KvQuery, KvSelection, KvStateChanges, KvUsage,
    KvVersion,
};
use crate::state::{Change, Entry, KvState, Lease, Version, keys_of};

/// Answers from `state`, which is state `state_ndx`.
pub(crate) fn answer(state: &KvState, state_ndx: StateNdx, query: &KvQuery) -> KvAnswer {
    match query {
        KvQuery::Get { key, at: None } => KvAnswer::Get(state.entry(key).map(|entry| known(key, entry))),
        KvQuery::Get { key, at: Some(at) } => refused(state, state_ndx, *at)
            .unwrap_or_else(|| KvAnswer::Get(state.entry_at(key, *at).map(|entry| known(key, entry)))),
        KvQuery::Range { prefix, after, limit, at: None } => {
            range(state.range(prefix, after.as_deref()), *limit)
        }
        KvQuery::Range { prefix, after, limit, at: Some(at) } => refused(state, state_ndx, *at)
            .unwrap_or_else(|| range(state.range_at(prefix, after.as_deref(), *at), *limit)),
        KvQuery::History { key, before, limit } => match before {
            Some(before) => history(state, key, state.versions_before(key, *before), *limit),
            None => history(state, key, state.versions(key), *limit),
        },
        KvQuery::Changes { after, of, limit } => {
            refused(state, state_ndx, *after).unwrap_or_else(|| changes(state, state_ndx, *after, of, *limit))
        }
        KvQuery::Lease { lease } => KvAnswer::Lease(state.lease(*lease).map(|granted| {
            let keys = keys_of(granted).take(KV_RANGE_ENTRIES_MAX);
            (
                lease_known(state, *lease, granted),
                keys.map(|key| Bytes::copy_from_slice(key.as_bytes())).collect(),
            )
        })),
        KvQuery::Leases { after, limit } => leases(state, *after, *limit),
        KvQuery::Queue { prefix, limit } => queue(state, prefix, *limit),
        KvQuery::Usage => KvAnswer::Usage(usage(state)),
        KvQuery::Prove { key } => KvAnswer::Proved {
            entry: state.entry(key).map(|entry| known(key, entry)),
            proof: state.tree().prove(&Path::of(key)),
        },
    }
}

/// The answer to a question about a state that is not there, or not any more.
fn refused(state: &KvState, state_ndx: StateNdx, at: StateNdx) -> Option<KvAnswer> {
    if at > state_ndx {
        return Some(KvAnswer::NotYet);
    }
    let oldest = state.oldest();
    (at < oldest).then_some(KvAnswer::Compacted { oldest })
}

fn limit_of(limit: u32) -> usize {
    match usize::try_from(limit) {
        Ok(limit @ 1..KV_RANGE_ENTRIES_MAX) => limit,
        _ => KV_RANGE_ENTRIES_MAX,
    }
}

/// How much still fits into an answer.
struct Page {
    entries: usize,
    bytes: usize,
}

impl Page {
    fn of(limit: u32) -> Page {
        Page { entries: limit_of(limit), bytes: KV_RANGE_BYTES_MAX }
    }

    /// Takes room for entries with so many bytes of keys and values, if there is.
    fn take(&mut self, entries: usize, bytes: usize) -> bool {
        let (Some(entries), Some(bytes)) = (self.entries.checked_sub(entries), self.bytes.checked_sub(bytes))
        else {
            return false;
        };
        (self.entries, self.bytes) = (entries, bytes);
        true
    }
}

// A page that holds nothing although there is more would be asked for again without end.
const _: () = assert!(KV_KEY_BYTES_MAX + KV_VALUE_BYTES_MAX <= KV_RANGE_BYTES_MAX);

fn range<'a>(found: impl Iterator<Item = (&'a [u8], &'a Entry)>, limit: u32) -> KvAnswer {
    let mut page = Page::of(limit);
    let mut entries = Vec::new();
    for (key, entry) in found {
        if !page.take(1, key.len() + entry.value.len()) {
            return KvAnswer::Range { entries, more: true };
        }
        entries.push(known(key, entry));
    }
    KvAnswer::Range { entries, more: false }
}

fn history<'a>(
    state: &KvState,
    key: &[u8],
    found: impl Iterator<Item = Version<'a>>,
    limit: u32,
) -> KvAnswer {
    let mut page = Page::of(limit);
    let oldest = state.oldest();
    let mut versions = Vec::new();
    for version in found {
        if !page.take(1, key.len() + version.entry.map_or(0, |entry| entry.value.len())) {
            return KvAnswer::History { versions, more: true, oldest };
        }
        let entry = version.entry.map(|entry| known(key, entry));
        versions.push(KvVersion { changed: version.changed, entry });
    }
    KvAnswer::History { versions, more: false, oldest }
}

/// A state is given whole, or not at all: a page has one at least, if there is one, and others as long as there is room.
fn changes(state: &KvState, state_ndx: StateNdx, after: StateNdx, of: &KvSelection, limit: u32) -> KvAnswer {
    let limit = limit_of(limit);
    let mut page = Page { entries: KV_RANGE_ENTRIES_MAX, bytes: KV_RANGE_BYTES_MAX };
    let mut states: Vec<KvStateChanges> = Vec::new();
    let mut through = after;
    for (scanned, (made, time, changes)) in state.changes_behind(after).enumerate() {
        if scanned == KV_CHANGES_SCANNED_MAX {
            return KvAnswer::Changes { states, through };
        }
        let selected = selected(changes, of);
        if !selected.is_empty() {
            let bytes = selected.iter().map(change_bytes).sum();
            let has_room = states.len() < limit && page.take(selected.len(), bytes);
            if !has_room && !states.is_empty() {
                return KvAnswer::Changes { states, through };
            }
            let changes = selected.iter().map(change_known).collect();
            states.push(KvStateChanges { state_ndx: made, time, changes });
            if !has_room {
                return KvAnswer::Changes { states, through: made };
            }
        }
        through = made;
    }
    KvAnswer::Changes { states, through: state_ndx }
}

/// The changes of the selected keys, which are in the order of their keys.
fn selected<'a>(changes: &'a [Change], of: &KvSelection) -> &'a [Change] {
    let from = match of {
        KvSelection::Key(key) => key,
        KvSelection::Prefix(prefix) => prefix,
    };
    let is_selected = |key: &[u8]| match of {
        KvSelection::Key(selected) => key == selected,
        KvSelection::Prefix(prefix) => key.starts_with(prefix),
    };
    let behind = &changes[changes.partition_point(|change| change.key.as_bytes() < &from[..])..];
    &behind[..behind.partition_point(|change| is_selected(change.key.as_bytes()))]
}

fn change_bytes(change: &Change) -> usize {
    change.key.as_bytes().len() + change.after.as_ref().map_or(0, |entry| entry.value.len())
}

fn change_known(change: &Change) -> KvKeyChange {
    let key = change.key.as_bytes();
    KvKeyChange {
        key: Bytes::copy_from_slice(key),
        entry: change.after.as_ref().map(|entry| known(key, entry)),
        expired: change.expired,
    }
}

fn leases(state: &KvState, after: Option<StateNdx>, limit: u32) -> KvAnswer {
    let limit = limit_of(limit);
    let mut leases: Vec<KvLease> = state
        .leases_behind(after)
        .take(limit + 1)
        .map(|(lease, granted)| lease_known(state, lease, granted))
        .collect();
    let more = leases.len() > limit;
    leases.truncate(limit);
    KvAnswer::Leases { leases, more }
}

/// Who stands there, by the state that made its key, and by the key where one state made several. A key with a further slash
/// is another queue's, whose name begins with this one's.
fn queue(state: &KvState, prefix: &[u8], limit: u32) -> KvAnswer {
    let mut members: Vec<_> = state.range(prefix, None).take(KV_QUEUE_KEYS_MAX + 1).collect();
    let count = number(members.len());
    if members.len() > KV_QUEUE_KEYS_MAX {
        // Who is first among so many, a glance cannot say; and a part of them must not name a holder.
        return KvAnswer::Queue { entries: Vec::new(), count };
    }
    members.retain(|(key, _)| !key[prefix.len()..].contains(&b'/'));
    let count = number(members.len());
    members.sort_unstable_by_key(|(key, entry)| (entry.created, *key));
    let mut page = Page::of(limit);
    let first = members.into_iter().take_while(|(key, entry)| page.take(1, key.len() + entry.value.len()));
    KvAnswer::Queue { entries: first.map(|(key, entry)| known(key, entry)).collect(), count }
}

fn usage(state: &KvState) -> KvUsage {
    let settings = state.settings();
    let (history_states, history_bytes) = state.history_held();
    KvUsage {
        keys: number(state.len()),
        bytes: state.bytes(),
        quota_bytes: settings.quota_bytes,
        leases: number(state.leases_len()),
        oldest: state.oldest(),
        history_states: number(history_states),
        history_bytes,
        history_max: KvHistoryMax {
            states: settings.history_states,
            bytes: settings.history_bytes,
            age_ms: settings.history_age_ms,
        },
    }
}

fn known(key: &[u8], entry: &Entry) -> KvEntry {
    KvEntry {
        key: Bytes::copy_from_slice(key),
        value: entry.value.clone(),
        created: entry.created,
        changed: entry.changed,
        lease: entry.lease,
    }
}

fn lease_known(state: &KvState, lease: StateNdx, granted: &Lease) -> KvLease {
    KvLease {
        lease,
        ttl_ms: granted.ttl_ms,
        left_ms: granted.deadline.0.saturating_sub(state.clock().0),
        commander: granted.commander,
    }
}
