//! Who applies: nodes that are no members and call as members do, with a certificate of an authority that is trusted and
//! a Hello that is genuine.
//!
//! They get no session. They are remembered, so that an administrator sees them and decides, and they call again and
//! again, so that a decision needs no way to tell them. Who was rejected is not shown any more.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use synod_types::limits::{APPLICANT_SILENT_MS_MAX, APPLICANTS_MAX};
use synod_types::{NodeId, Program};

/// A node that is no member and would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applicant {
    /// SHA3-256 of its key, which it has proved to hold.
    pub id: NodeId,
    /// What its certificate calls it, [`node_name`](synod_auth::CertificateFacts::node_name). Two may have one name.
    pub name: String,
    /// Where it says that it can be reached: `host:port`. Nobody has tried.
    pub address: String,
    /// What its program is.
    pub program: Program,
    /// When it called first.
    pub first_seen: SystemTime,
    /// When it called last.
    pub last_seen: SystemTime,
    /// What was against its name when it called last.
    pub conflict: Option<Conflict>,
}

/// A name that is known with another key: a node that was made anew, or one that plays another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The node that has the name.
    pub known: NodeId,
}

/// All that apply.
#[derive(Debug, Default)]
pub(crate) struct Applicants(Mutex<Called>);

#[derive(Debug, Default)]
struct Called {
    /// Who called least recently comes first.
    listed: VecDeque<Applicant>,
    rejected: BTreeSet<NodeId>,
}

impl Applicants {
    /// Whether somebody has decided against this node.
    pub(crate) fn is_rejected(&self, id: NodeId) -> bool {
        self.called().rejected.contains(&id)
    }

    /// Whoever is one of these is not listed, from now on.
    pub(crate) fn set_rejected(&self, rejected: Vec<NodeId>) {
        let mut called = self.called();
        called.rejected = rejected.into_iter().collect();
        let Called { listed, rejected } = &mut *called;
        listed.retain(|applicant| !rejected.contains(&applicant.id));
    }

    /// Remembers one that has just called. Says whether that is news: it is not listed yet, or something new is against its
    /// name.
    pub(crate) fn on_call(
        &self,
        id: NodeId,
        name: &str,
        address: &str,
        program: &Program,
        conflict: Option<Conflict>,
        now: SystemTime,
    ) -> bool {
        let mut called = self.called();
        called.drop_silent(now);
        if called.rejected.contains(&id) {
            return false;
        }
        let place = called.listed.iter().position(|applicant| applicant.id == id);
        let before = place.and_then(|place| called.listed.remove(place));
        let is_news = before.as_ref().is_none_or(|before| before.conflict != conflict);
        if called.listed.len() >= APPLICANTS_MAX {
            called.listed.pop_front();
        }
        let first_seen = before.map_or(now, |before| before.first_seen);
        called.listed.push_back(Applicant {
            id,
            name: name.to_owned(),
            address: address.to_owned(),
            program: program.clone(),
            first_seen,
            last_seen: now,
            conflict,
        });
        is_news
    }

    /// Forgets those that apply no more, since they are members.
    pub(crate) fn forget(&self, is_member: impl Fn(NodeId) -> bool) {
        self.called().listed.retain(|applicant| !is_member(applicant.id));
    }

    /// All that have called lately; who called least recently comes first.
    pub(crate) fn list(&self, now: SystemTime) -> Vec<Applicant> {
        let mut called = self.called();
        called.drop_silent(now);
        called.listed.iter().cloned().collect()
    }

    fn called(&self) -> MutexGuard<'_, Called> {
        // Nothing can panic between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Called {
    fn drop_silent(&mut self, now: SystemTime) {
        let limit = Duration::from_millis(APPLICANT_SILENT_MS_MAX);
        // A clock that was set back makes somebody stay longer, and nothing else.
        self.listed.retain(|applicant| now.duration_since(applicant.last_seen).unwrap_or_default() <= limit);
    }
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;

    use super::*;

    const BEGIN: SystemTime = SystemTime::UNIX_EPOCH;

    fn id(number: usize) -> NodeId {
        NodeId(Digest::of(&[&number.to_be_bytes()]))
    }

    fn at(seconds: u64) -> SystemTime {
        BEGIN + Duration::from_secs(seconds)
    }

    fn call(applicants: &Applicants, number: usize, seconds: u64) -> bool {
        applicants.on_call(id(number), "n", "host:1", &Program::of_node(), None, at(seconds))
    }

    fn listed(applicants: &Applicants, seconds: u64) -> Vec<NodeId> {
        applicants.list(at(seconds)).into_iter().map(|applicant| applicant.id).collect()
    }

    #[test]
    fn who_called_least_recently_makes_room() {
        let applicants = Applicants::default();
        (0..APPLICANTS_MAX).for_each(|number| assert!(call(&applicants, number, 0)));
        assert!(!call(&applicants, 0, 1), "it is listed already");
        assert!(call(&applicants, APPLICANTS_MAX, 2));
        let expected: Vec<_> = (2..APPLICANTS_MAX).chain([0, APPLICANTS_MAX]).map(id).collect();
        assert_eq!(listed(&applicants, 2), expected);
        assert!(call(&applicants, 1, 3), "it was forgotten");
        assert_eq!(listed(&applicants, 3).len(), APPLICANTS_MAX);
    }

    #[test]
    fn who_calls_no_more_is_forgotten() {
        let applicants = Applicants::default();
        let limit = APPLICANT_SILENT_MS_MAX / 1000;
        assert!(call(&applicants, 1, 0));
        assert!(call(&applicants, 2, 1));
        assert_eq!(listed(&applicants, limit), [id(1), id(2)]);
        assert_eq!(listed(&applicants, limit + 1), [id(2)]);
        assert!(!call(&applicants, 2, limit + 1));
        let [applicant] = &applicants.list(at(2 * limit))[..] else { panic!("one is left") };
        assert_eq!((applicant.first_seen, applicant.last_seen), (at(1), at(limit + 1)));
        assert!(call(&applicants, 2, 2 * limit + 2), "it was forgotten");
        assert_eq!(applicants.list(BEGIN)[0].first_seen, at(2 * limit + 2), "though the clock was set back");
    }

    #[test]
    fn the_newest_call_says_what_is_listed_and_a_new_conflict_is_news() {
        let applicants = Applicants::default();
        let conflict = Some(Conflict { known: id(2) });
        assert!(applicants.on_call(id(1), "old", "host:1", &Program::of_node(), None, at(0)));
        assert!(applicants.on_call(id(1), "new", "host:2", &Program::of_node(), conflict, at(1)));
        assert!(!applicants.on_call(id(1), "new", "host:2", &Program::of_node(), conflict, at(2)));
        let expected = Applicant {
            id: id(1),
            name: "new".to_owned(),
            address: "host:2".to_owned(),
            program: Program::of_node(),
            first_seen: at(0),
            last_seen: at(2),
            conflict,
        };
        assert_eq!(applicants.list(at(2)), [expected]);
    }

    #[test]
    fn whoever_is_decided_about_is_not_listed() {
        let applicants = Applicants::default();
        (1..=3).for_each(|number| assert!(call(&applicants, number, 0)));
        applicants.set_rejected(vec![id(2)]);
        assert!(applicants.is_rejected(id(2)) && !applicants.is_rejected(id(1)));
        assert!(!call(&applicants, 2, 0));
        applicants.forget(|member| member == id(1));
        assert_eq!(listed(&applicants, 0), [id(3)]);
        applicants.set_rejected(vec![]);
        assert!(call(&applicants, 2, 0), "the decision was taken back");
    }
}
