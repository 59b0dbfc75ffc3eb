//! Changes of who commands that wait for further signatures, where genesis asks for several.
//!
//! Each bears the number of the state that proposed it. It waits until enough administrators have signed it, its author
//! takes it back or stops being an administrator, or [`CHANGE_PENDING_MS_MAX`] of decree time have passed.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use synod_types::limits::{CHANGE_PENDING_MS_MAX, CHANGES_PENDING_BY_ONE_MAX, CHANGES_PENDING_MAX};
use synod_types::{CommanderId, Digest, Refusal, RefusalCode, StateNdx, TimeMs};

use super::op::AuthorityOp;

/// A change that waits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingChange {
    /// The state that proposed it.
    pub change: StateNdx,
    /// When, in decree time.
    pub time: TimeMs,
    /// Who.
    pub by: CommanderId,
    /// A grant, a revocation, a change of the members, or the next level.
    pub op: Arc<AuthorityOp>,
    /// Who has signed it, the author first.
    pub approvals: Vec<CommanderId>,
}

impl PendingChange {
    /// What an approval names.
    pub fn digest(&self) -> Digest {
        self.op.digest()
    }

    /// The last millisecond at which it can be signed.
    pub fn lapses(&self) -> TimeMs {
        TimeMs(self.time.0.saturating_add(CHANGE_PENDING_MS_MAX))
    }
}

/// All that wait. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub(super) struct Changes(OrdMap<StateNdx, Arc<PendingChange>>);

impl Changes {
    /// In the order in which they were proposed.
    pub(super) fn iter(&self) -> impl Iterator<Item = &PendingChange> {
        self.0.values().map(Arc::as_ref)
    }

    /// Forgets what has lapsed.
    pub(super) fn lapse(&mut self, time: TimeMs) {
        self.keep(|pending| pending.lapses() >= time);
    }

    /// Adds a change, signed by its author.
    pub(super) fn propose(&mut self, pending: PendingChange) -> Result<(), Refusal> {
        let of_author = self.iter().filter(|other| other.by == pending.by).count();
        let quota = |text: String| Err(Refusal::new(RefusalCode::QuotaExceeded, text));
        if of_author >= CHANGES_PENDING_BY_ONE_MAX {
            return quota(format!(
                "the administrator has {of_author} changes pending already; withdraw one, or have one approved"
            ));
        }
        if self.0.len() >= CHANGES_PENDING_MAX {
            return quota(format!("there are {CHANGES_PENDING_MAX} changes pending already"));
        }
        self.0.insert(pending.change, Arc::new(pending));
        Ok(())
    }

    /// The change that was proposed in a state.
    pub(super) fn find(&self, change: StateNdx) -> Result<&PendingChange, Refusal> {
        self.0.get(&change).map(Arc::as_ref).ok_or_else(|| {
            Refusal::new(
                RefusalCode::Conflict,
                format_args!(
                    "no change of stateNdx {change} is pending: it was made, was withdrawn, or has lapsed"
                ),
            )
        })
    }

    /// Adds a signature; gives the change as it is signed now.
    pub(super) fn approve(
        &mut self,
        change: StateNdx,
        digest: Digest,
        by: CommanderId,
    ) -> Result<PendingChange, Refusal> {
        let pending = self.find(change)?;
        let conflict = |text: String| Err(Refusal::new(RefusalCode::Conflict, text));
        if pending.digest() != digest {
            return conflict(format!(
                "the change of stateNdx {change} has the digest {}, not {}; look at what it would do",
                pending.digest().short(),
                digest.short()
            ));
        }
        if pending.approvals.contains(&by) {
            return conflict(format!(
                "commander {} has signed the change of stateNdx {change} already",
                by.short()
            ));
        }
        let mut pending = pending.clone();
        pending.approvals.push(by);
        self.0.insert(change, Arc::new(pending.clone()));
        Ok(pending)
    }

    /// Takes a change out.
    pub(super) fn remove(&mut self, change: StateNdx) {
        self.0.remove(&change);
    }

    /// A commander is no administrator any more: what it proposed and signed counts for nothing.
    pub(super) fn forget(&mut self, commander: CommanderId) {
        self.keep(|pending| pending.by != commander);
        self.replace(|pending| pending.approvals.retain(|approval| *approval != commander));
    }

    /// A commander has changed its key: what it proposed and signed stays its own.
    pub(super) fn rename(&mut self, old: CommanderId, new: CommanderId) {
        let rename = |id: &mut CommanderId| {
            if *id == old {
                *id = new;
            }
        };
        self.replace(|pending| {
            rename(&mut pending.by);
            pending.approvals.iter_mut().for_each(rename);
        });
    }

    fn keep(&mut self, is_kept: impl Fn(&PendingChange) -> bool) {
        if !self.iter().all(&is_kept) {
            let kept = self.0.iter().filter(|(_, pending)| is_kept(pending));
            self.0 = kept.map(|(change, pending)| (*change, Arc::clone(pending))).collect();
        }
    }

    fn replace(&mut self, change: impl Fn(&mut PendingChange)) {
        for key in self.0.keys().copied().collect::<Vec<_>>() {
            if let Some(pending) = self.0.get_mut(&key) {
                change(Arc::make_mut(pending));
            }
        }
    }

    /// For changes of unknown origin; whose they are is for the caller to check.
    pub(super) fn from_records(
        records: Vec<PendingChange>,
        state_ndx: StateNdx,
    ) -> Result<Changes, &'static str> {
        if records.len() > CHANGES_PENDING_MAX {
            return Err("there are too many pending changes");
        }
        if !records.is_sorted_by(|a, b| a.change < b.change) {
            return Err("the pending changes are not in order");
        }
        for pending in &records {
            if pending.change > state_ndx || pending.change == StateNdx(0) {
                return Err("a change was proposed in a state that was never reached");
            }
            if !pending.op.needs_signatures() || pending.op.check().is_err() {
                return Err("a pending change is none that could have been proposed");
            }
            let twice = |(n, id): (usize, &CommanderId)| pending.approvals[..n].contains(id);
            if pending.approvals.iter().enumerate().any(twice) {
                return Err("a pending change is signed twice by one administrator");
            }
        }
        Ok(Changes(records.into_iter().map(|pending| (pending.change, Arc::new(pending))).collect()))
    }
}
