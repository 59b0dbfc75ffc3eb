//! What each zone holds and held: persistent maps. A copy is O(1), and a change copies one path of each tree.
//!
//! A zone has versions. The last one is what it holds now, and the ones before it are its history. Deleting a zone is a
//! version, too, one without content: a deleted zone can be brought back for as long as any of its history stands.
//!
//! History is bounded three times: for one zone, in number, and in bytes. Over a bound the version goes first that was
//! replaced first. A file to which no version refers any more is of no use to anybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use synod_machine::RestoreError;
use synod_merkle::{Derived, Tree};
use synod_types::limits::{
    CONTENT_BYTES_MAX, CONTENT_FILES_MAX, ZONE_HISTORY_MAX, ZONES_BYTES_MAX, ZONES_HISTORY_BYTES_MAX,
    ZONES_HISTORY_MAX, ZONES_MAX,
};
use synod_types::{CommanderId, ContentKey, StateNdx, TimeMs, wire};

use crate::name::ZoneName;
use crate::op::Content;

const _: () = assert!(
    ZONES_MAX + ZONES_HISTORY_MAX < CONTENT_FILES_MAX,
    "a node keeps every file to which a zone refers"
);

/// First bytes of a snapshot: what it is, and in which version.
const SNAPSHOT_DOMAIN: &[u8; 15] = b"synod/zones/v1\0";

/// What a zone held from one state on, until its next version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The content; `None`: the zone was deleted.
    pub content: Option<Content>,
    /// The state that made this version.
    pub changed: StateNdx,
    /// That state's time.
    pub time: TimeMs,
    /// Who commanded it.
    pub commander: CommanderId,
    /// It is the content that the zone had in this earlier state, by a rollback.
    pub rolled_back_to: Option<StateNdx>,
}

impl Version {
    fn bytes(&self) -> u64 {
        self.content.map_or(0, |content| content.bytes)
    }
}

/// A zone, with its history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneRecord {
    /// In the order in which they came; at least one, at most [`ZONE_HISTORY_MAX`] and one.
    versions: Vec<Version>,
    /// There were versions before these.
    is_cut: bool,
}

/// What a zone held in some state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// This.
    Content(Content),
    /// There was no such zone.
    Nothing,
    /// The history does not go back so far.
    Forgotten,
}

impl ZoneRecord {
    /// What it holds now.
    pub fn current(&self) -> &Version {
        self.versions.last().expect("a zone has a version")
    }

    /// Every version that is known, the latest first.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = &Version> {
        self.versions.iter().rev()
    }

    /// The first state of which the history knows.
    pub fn begins(&self) -> StateNdx {
        self.versions[0].changed
    }

    /// Whether there were versions before those that are known.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// What it held in a state.
    pub fn held_in(&self, state_ndx: StateNdx) -> Held {
        match self.versions().find(|version| version.changed <= state_ndx) {
            Some(Version { content: Some(content), .. }) => Held::Content(*content),
            Some(_) => Held::Nothing,
            None if self.is_cut => Held::Forgotten,
            None => Held::Nothing,
        }
    }
}

/// How much there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limits {
    zones: usize,
    bytes: u64,
    history: usize,
    history_bytes: u64,
}

const LIMITS: Limits = Limits {
    zones: ZONES_MAX,
    bytes: ZONES_BYTES_MAX,
    history: ZONES_HISTORY_MAX,
    history_bytes: ZONES_HISTORY_BYTES_MAX,
};

/// All zones of one application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZonesState {
    /// Zones with content. Records are behind pointers because a changed path of the tree copies all of its neighbours.
    live: OrdMap<ZoneName, Arc<ZoneRecord>>,
    /// Zones without, of which some history stands.
    deleted: OrdMap<ZoneName, Arc<ZoneRecord>>,
    /// How many versions refer to a file.
    references: OrdMap<ContentKey, u32>,
    /// Every earlier version of every zone: the state that replaced it, and whose it is.
    retired: OrdSet<(StateNdx, ZoneName)>,
    /// Bytes of what zones hold now.
    bytes: u64,
    /// Bytes of earlier versions.
    history_bytes: u64,
    limits: Limits,
    /// The map in which each zone can be proved; what changes, it finds by itself.
    proved: Derived<ZonesState>,
}

/// Zones as a snapshot has them, in order.
type Records = Vec<(ZoneName, Arc<ZoneRecord>)>;

/// Why a change does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoRoom {
    /// More than [`ZONES_MAX`] zones.
    Zones,
    /// More than [`ZONES_BYTES_MAX`].
    Bytes,
}

impl ZonesState {
    /// A zone with its history, deleted or not; `None` where neither the zone nor any history of it is known.
    pub fn record(&self, zone: &ZoneName) -> Option<&ZoneRecord> {
        self.live.get(zone).or_else(|| self.deleted.get(zone)).map(Arc::as_ref)
    }

    /// The zones that are not deleted.
    pub(crate) fn live(&self) -> &OrdMap<ZoneName, Arc<ZoneRecord>> {
        &self.live
    }

    /// The map in which what each zone holds can be proved. It costs what changed since it was last asked for.
    pub(crate) fn tree(&self) -> Tree {
        self.proved.tree(self)
    }

    /// What a zone holds; `None`: there is no such zone.
    pub fn content(&self, zone: &ZoneName) -> Option<Content> {
        self.live.get(zone)?.current().content
    }

    /// The zones at and below a name and behind another, in canonical order.
    pub fn zones<'a>(
        &'a self,
        below: &'a ZoneName,
        after: Option<&'a ZoneName>,
    ) -> impl Iterator<Item = (&'a ZoneName, &'a ZoneRecord)> {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after >= below => Bound::Excluded(after),
            _ => Bound::Included(below),
        };
        self.live
            .range::<_, ZoneName>((start, Bound::Unbounded))
            .map(|(zone, record)| (zone, record.as_ref()))
            .take_while(|(zone, _)| zone.is_at_or_below(below))
    }

    /// How many zones there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there are no zones.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Bytes of the files of all zones, of at most [`ZONES_BYTES_MAX`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many earlier versions there are, of all zones.
    pub fn history_len(&self) -> usize {
        self.retired.len()
    }

    /// Whether any version refers to a file.
    pub fn refers_to(&self, key: &ContentKey) -> bool {
        self.references.contains_key(key)
    }

    /// Every file to which a version refers, with its bytes.
    pub(crate) fn contents(&self) -> Vec<(ContentKey, u64)> {
        let records = self.live.values().chain(self.deleted.values());
        let contents = records.flat_map(|record| record.versions()).filter_map(|version| version.content);
        let contents: BTreeMap<ContentKey, u64> =
            contents.map(|content| (content.key, content.bytes)).collect();
        contents.into_iter().collect()
    }

    /// Whether these changes fit together. They are of different zones.
    pub(crate) fn check_room<'a>(
        &self,
        changes: impl Iterator<Item = (&'a ZoneName, Content)>,
    ) -> Result<(), NoRoom> {
        let (mut zones, mut bytes, mut freed) = (self.len(), self.bytes, 0);
        for (zone, content) in changes {
            bytes += content.bytes;
            match self.content(zone) {
                Some(replaced) => freed += replaced.bytes,
                None => zones += 1,
            }
        }
        if zones > self.limits.zones {
            return Err(NoRoom::Zones);
        }
        if bytes - freed > self.limits.bytes {
            return Err(NoRoom::Bytes);
        }
        Ok(())
    }

    /// Adds a version, which is the newest of all zones; forgets what is over the bounds of history.
    pub(crate) fn put(&mut self, zone: &ZoneName, version: Version) {
        let known = self.live.remove(zone).or_else(|| self.deleted.remove(zone));
        let mut record =
            known.unwrap_or_else(|| Arc::new(ZoneRecord { versions: Vec::new(), is_cut: false }));
        if let Some(replaced) = record.versions.last() {
            self.bytes -= replaced.bytes();
            self.history_bytes += replaced.bytes();
            self.retired.insert((version.changed, zone.clone()));
        }
        self.bytes += version.bytes();
        self.refer(&version);
        Arc::make_mut(&mut record).versions.push(version);
        self.keep(zone, record);

        if self.record(zone).is_some_and(|record| record.versions.len() > ZONE_HISTORY_MAX + 1) {
            self.forget_oldest(zone);
        }
        while self.retired.len() > self.limits.history || self.history_bytes > self.limits.history_bytes {
            let Some((_, oldest)) = self.retired.get_min() else { break };
            let oldest = oldest.clone();
            self.forget_oldest(&oldest);
        }
    }

    /// Puts a record where it belongs; a deleted zone without history is forgotten.
    fn keep(&mut self, zone: &ZoneName, record: Arc<ZoneRecord>) {
        let map = match record.current().content {
            Some(_) => &mut self.live,
            None if record.versions.len() == 1 => return,
            None => &mut self.deleted,
        };
        map.insert(zone.clone(), record);
    }

    /// Drops the oldest version of a zone that has an earlier one.
    fn forget_oldest(&mut self, zone: &ZoneName) {
        let known = self.live.remove(zone).or_else(|| self.deleted.remove(zone));
        let mut record = known.expect("what is retired is a version of a known zone");
        let versions = &mut Arc::make_mut(&mut record).versions;
        let forgotten = versions.remove(0);
        let replaced_by = versions.first().expect("the current version is never retired").changed;
        Arc::make_mut(&mut record).is_cut = true;
        self.retired.remove(&(replaced_by, zone.clone()));
        self.history_bytes -= forgotten.bytes();
        self.release(&forgotten);
        self.keep(zone, record);
    }

    fn refer(&mut self, version: &Version) {
        let Some(Content { key, .. }) = version.content else { return };
        let count = self.references.get(&key).copied().unwrap_or(0);
        self.references.insert(key, count + 1);
    }

    fn release(&mut self, version: &Version) {
        let Some(Content { key, .. }) = version.content else { return };
        match self.references.get(&key).copied() {
            Some(count @ 2..) => self.references.insert(key, count - 1),
            _ => self.references.remove(&key),
        };
    }

    /// Every record in order, behind [`SNAPSHOT_DOMAIN`]: zones, then deleted zones.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let records = |map: &OrdMap<ZoneName, Arc<ZoneRecord>>| -> Records {
            map.iter().map(|(zone, record)| (zone.clone(), Arc::clone(record))).collect()
        };
        let mut out = SNAPSHOT_DOMAIN.to_vec();
        wire::encode_into(&(records(&self.live), records(&self.deleted)), &mut out);
        out
    }

    /// The opposite of [`ZonesState::snapshot`], for bytes of unknown origin.
    pub(crate) fn restore(snapshot: &[u8]) -> Result<ZonesState, RestoreError> {
        let error = |why: &str| RestoreError(why.to_owned());
        let encoded = snapshot.strip_prefix(SNAPSHOT_DOMAIN).ok_or_else(|| error("it is of another kind"))?;
        let (live, deleted): (Records, Records) =
            wire::decode(encoded).map_err(|why| RestoreError(why.to_string()))?;
        let mut state = ZonesState::default();
        for (records, is_live) in [(&live, true), (&deleted, false)] {
            if !records.is_sorted_by(|a, b| a.0 < b.0) {
                return Err(error("the zones are not in order"));
            }
            for (zone, record) in records {
                check_record(record, is_live).map_err(error)?;
                if !is_live && state.live.contains_key(zone) {
                    return Err(error("a zone is deleted and is not"));
                }
                state.take(zone, record);
            }
        }
        let limits = state.limits;
        if state.len() > limits.zones
            || state.bytes > limits.bytes
            || state.retired.len() > limits.history
            || state.history_bytes > limits.history_bytes
        {
            return Err(error("there is more than the limits allow"));
        }
        Ok(state)
    }

    /// Takes a record as it is.
    fn take(&mut self, zone: &ZoneName, record: &Arc<ZoneRecord>) {
        for version in &record.versions {
            self.refer(version);
        }
        for pair in record.versions.windows(2) {
            self.history_bytes += pair[0].bytes();
            self.retired.insert((pair[1].changed, zone.clone()));
        }
        self.bytes += record.current().bytes();
        self.keep(zone, Arc::clone(record));
    }
}

impl Default for ZonesState {
    fn default() -> ZonesState {
        ZonesState {
            live: OrdMap::new(),
            deleted: OrdMap::new(),
            references: OrdMap::new(),
            retired: OrdSet::new(),
            bytes: 0,
            history_bytes: 0,
            limits: LIMITS,
            proved: Derived::default(),
        }
    }
}

fn check_record(record: &ZoneRecord, is_live: bool) -> Result<(), &'static str> {
    let versions = &record.versions;
    let least = if is_live { 1 } else { 2 };
    if !(least..=ZONE_HISTORY_MAX + 1).contains(&versions.len()) {
        return Err("a zone has too few or too many versions");
    }
    if record.current().content.is_some() != is_live {
        return Err("a zone is among the deleted ones and has content, or the other way round");
    }
    if !versions.is_sorted_by(|a, b| a.changed < b.changed && a.time <= b.time) {
        return Err("the versions of a zone are not in order");
    }
    if versions
        .iter()
        .any(|version| version.content.is_some_and(|it| !(1..=CONTENT_BYTES_MAX).contains(&it.bytes)))
    {
        return Err("a file is empty or over its limit");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;

    use super::*;

    fn zone(text: &str) -> ZoneName {
        ZoneName::parse(text).unwrap()
    }

    fn content(n: u8, bytes: u64) -> Content {
        Content { key: ContentKey(Digest([n; 32])), bytes, serial: u32::from(n) }
    }

    fn version(changed: u64, content: Option<Content>) -> Version {
        Version {
            content,
            changed: StateNdx(changed),
            time: TimeMs(changed),
            commander: CommanderId::default(),
            rolled_back_to: None,
        }
    }

    fn limited(zones: usize, bytes: u64, history: usize, history_bytes: u64) -> ZonesState {
        ZonesState { limits: Limits { zones, bytes, history, history_bytes }, ..ZonesState::default() }
    }

    /// Everything that is counted is what it would be if it were counted anew.
    #[track_caller]
    fn assert_counted(state: &ZonesState) {
        let mut restored = ZonesState::restore(&state.snapshot()).unwrap();
        restored.limits = state.limits;
        assert_eq!(&restored, state);
    }

    #[test]
    fn the_limits_are_those_of_the_house() {
        assert_eq!(
            ZonesState::default().limits,
            Limits {
                zones: ZONES_MAX,
                bytes: ZONES_BYTES_MAX,
                history: ZONES_HISTORY_MAX,
                history_bytes: ZONES_HISTORY_BYTES_MAX
            }
        );
    }

    #[test]
    fn the_limit_on_zones_is_exact() {
        let mut state = limited(2, 1000, 10, 1000);
        state.put(&zone("a"), version(1, Some(content(1, 1))));
        let (b, c) = (zone("b"), zone("c"));
        let one = content(1, 1);
        assert_eq!(state.check_room([(&b, one)].into_iter()), Ok(()));
        assert_eq!(state.check_room([(&b, one), (&c, one)].into_iter()), Err(NoRoom::Zones));
        state.put(&b, version(2, Some(one)));
        assert_eq!(state.check_room([(&c, one)].into_iter()), Err(NoRoom::Zones));
        assert_eq!(state.check_room([(&b, one)].into_iter()), Ok(()), "it is there already");
        state.put(&b, version(3, None));
        assert_eq!(state.check_room([(&c, one)].into_iter()), Ok(()), "a deleted zone does not count");
    }

    #[test]
    fn the_limit_on_bytes_is_exact() {
        let mut state = limited(10, 100, 10, 1000);
        state.put(&zone("a"), version(1, Some(content(1, 60))));
        let (a, b) = (zone("a"), zone("b"));
        for (bytes, fits) in [(39, true), (40, true), (41, false)] {
            let fit = state.check_room([(&b, content(2, bytes))].into_iter());
            assert_eq!(fit.is_ok(), fits, "{bytes}");
        }
        for (bytes, fits) in [(99, true), (100, true), (101, false)] {
            let fit = state.check_room([(&a, content(2, bytes))].into_iter());
            assert_eq!(fit.is_ok(), fits, "{bytes} instead of 60");
        }
        let together = [(&a, content(2, 50)), (&b, content(2, 50))];
        assert_eq!(state.check_room(together.into_iter()), Ok(()));
        let together = [(&a, content(2, 50)), (&b, content(2, 51))];
        assert_eq!(state.check_room(together.into_iter()), Err(NoRoom::Bytes));
    }

    #[test]
    fn a_zone_remembers_so_many_versions_and_no_more() {
        let mut state = ZonesState::default();
        let a = zone("a");
        for n in 1..=u8::try_from(ZONE_HISTORY_MAX + 1).unwrap() {
            state.put(&a, version(u64::from(n), Some(content(n, 10))));
        }
        let record = state.record(&a).unwrap();
        assert_eq!((record.versions().len(), record.is_cut()), (ZONE_HISTORY_MAX + 1, false));
        assert_eq!(record.held_in(StateNdx(0)), Held::Nothing);
        assert_eq!(record.held_in(StateNdx(1)), Held::Content(content(1, 10)));
        assert!(state.refers_to(&content(1, 10).key));

        state.put(&a, version(100, Some(content(100, 10))));
        let record = state.record(&a).unwrap();
        assert_eq!((record.versions().len(), record.is_cut()), (ZONE_HISTORY_MAX + 1, true));
        assert_eq!(record.begins(), StateNdx(2));
        assert_eq!(record.held_in(StateNdx(1)), Held::Forgotten);
        assert_eq!(record.held_in(StateNdx(99)), Held::Content(content(33, 10)));
        assert_eq!(record.held_in(StateNdx(u64::MAX)), Held::Content(content(100, 10)));
        assert!(!state.refers_to(&content(1, 10).key) && state.refers_to(&content(2, 10).key));
        assert_counted(&state);
    }

    #[test]
    fn what_was_replaced_first_is_forgotten_first() {
        let mut state = limited(10, 1000, 3, 1000);
        let (a, b) = (zone("a"), zone("b"));
        state.put(&a, version(1, Some(content(1, 1))));
        state.put(&b, version(2, Some(content(2, 1))));
        state.put(&b, version(3, Some(content(3, 1))));
        state.put(&a, version(4, Some(content(4, 1))));
        state.put(&b, version(5, None));
        assert_eq!(state.history_len(), 3);
        assert!(state.refers_to(&content(2, 1).key));
        state.put(&a, version(6, Some(content(6, 1))));
        assert_eq!(state.history_len(), 3);
        assert!(!state.refers_to(&content(2, 1).key), "it was replaced in state 3, before 1 was in state 4");
        assert!(state.refers_to(&content(1, 1).key));
        assert_counted(&state);
        state.put(&a, version(7, Some(content(7, 1))));
        assert!(!state.refers_to(&content(1, 1).key));
        assert_eq!(state.record(&b).unwrap().held_in(StateNdx(4)), Held::Content(content(3, 1)));
        state.put(&a, version(8, Some(content(8, 1))));
        assert_eq!(state.record(&b), None, "a deleted zone goes with the last of its history");
        assert_counted(&state);
    }

    #[test]
    fn history_is_bounded_in_bytes() {
        let mut state = limited(10, 1000, 10, 100);
        let a = zone("a");
        for (n, bytes) in [(1, 40), (2, 60), (3, 1)] {
            state.put(&a, version(u64::from(n), Some(content(n, bytes))));
        }
        assert_eq!((state.history_len(), state.history_bytes), (2, 100));
        state.put(&a, version(4, Some(content(4, 5))));
        assert_eq!((state.history_len(), state.history_bytes), (2, 61));
        assert_counted(&state);
    }

    #[test]
    fn one_file_may_serve_several_zones_and_versions() {
        let mut state = ZonesState::default();
        let file = content(1, 10);
        state.put(&zone("a"), version(1, Some(file)));
        state.put(&zone("b"), version(1, Some(file)));
        state.put(&zone("a"), version(2, None));
        assert_eq!((state.bytes(), state.references.get(&file.key)), (10, Some(&2)));
        assert_eq!(state.record(&zone("a")).unwrap().held_in(StateNdx(1)), Held::Content(file));
        assert_counted(&state);
    }

    #[test]
    fn zones_are_found_at_and_below_a_name() {
        let mut state = ZonesState::default();
        for (n, name) in ["org", "a.org", "b.a.org", "b.org", "com", "aorg"].into_iter().enumerate() {
            state.put(&zone(name), version(u64::try_from(n).unwrap() + 1, Some(content(1, 1))));
        }
        let found = |below: &str, after: Option<&str>| -> Vec<String> {
            let (below, after) = (zone(below), after.map(zone));
            state.zones(&below, after.as_ref()).map(|(zone, _)| zone.to_string()).collect()
        };
        assert_eq!(found(".", None), ["aorg.", "com.", "org.", "a.org.", "b.a.org.", "b.org."]);
        assert_eq!(found("org", None), ["org.", "a.org.", "b.a.org.", "b.org."]);
        assert_eq!(found("a.org", None), ["a.org.", "b.a.org."]);
        assert_eq!(found("org", Some("a.org")), ["b.a.org.", "b.org."]);
        assert_eq!(found("org", Some("aorg")), found("org", None), "before the name is no place to start");
        assert_eq!(found("org", Some("z.org")), [""; 0]);
        assert_eq!(found("net", None), [""; 0]);
    }

    #[test]
    fn a_snapshot_that_cannot_be_is_refused() {
        type Records = Vec<(ZoneName, ZoneRecord)>;
        let restore = |live: Records, deleted: Records| {
            let mut snapshot = SNAPSHOT_DOMAIN.to_vec();
            wire::encode_into(&(live, deleted), &mut snapshot);
            ZonesState::restore(&snapshot)
        };
        let record = |versions: &[(u64, Option<Content>)]| {
            let versions = versions.iter().map(|&(changed, content)| version(changed, content)).collect();
            ZoneRecord { versions, is_cut: false }
        };
        let (some, none) = (Some(content(1, 1)), None);
        let (a, b) = (zone("a"), zone("b"));
        let one = record(&[(1, some)]);
        let gone = record(&[(1, some), (2, none)]);
        let live = |record: &ZoneRecord| restore(vec![(a.clone(), record.clone())], vec![]);
        let deleted = |record: &ZoneRecord| restore(vec![], vec![(a.clone(), record.clone())]);
        assert!(live(&one).is_ok() && deleted(&gone).is_ok());
        assert!(restore(vec![(a.clone(), one.clone())], vec![(b.clone(), gone.clone())]).is_ok());
        assert!(
            restore(vec![(b.clone(), one.clone()), (a.clone(), one.clone())], vec![]).is_err(),
            "out of order"
        );
        assert!(restore(vec![(a.clone(), one.clone()), (a.clone(), one.clone())], vec![]).is_err(), "twice");
        assert!(restore(vec![(a.clone(), one.clone())], vec![(a.clone(), gone.clone())]).is_err(), "both");
        assert!(live(&gone).is_err() && deleted(&one).is_err(), "in the wrong place");
        assert!(live(&record(&[])).is_err() && deleted(&record(&[(1, none)])).is_err(), "too few versions");
        assert!(live(&record(&[(2, some), (2, some)])).is_err(), "versions out of order");
        let full: Vec<_> = (0..).map(|n| (n, some)).take(ZONE_HISTORY_MAX + 1).collect();
        assert!(live(&record(&full)).is_ok());
        let over: Vec<_> = (0..).map(|n| (n, some)).take(ZONE_HISTORY_MAX + 2).collect();
        assert!(live(&record(&over)).is_err(), "too many versions");
        for (bytes, good) in
            [(0, false), (1, true), (CONTENT_BYTES_MAX, true), (CONTENT_BYTES_MAX + 1, false)]
        {
            assert_eq!(live(&record(&[(1, Some(content(1, bytes)))])).is_ok(), good, "{bytes} bytes");
        }
    }
}
