//! One application as front ends see it: the published state, who leads, and a place to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use synod_machine::View;
use synod_types::limits::READS_PENDING_MAX;
use synod_types::{AppNdx, Slot, StateNdx};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::freshness::Freshness;
use crate::reads::{ReadIndexes, ReadQuestions, ReadRefused, read_indexes};
use crate::status::Leader;
use crate::waiters::Waiters;

/// After how long a read asks again that no leader confirmed: an election takes several of these.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// One application, for reading. The node opens it, and publishes through the [`AppPublisher`] that it gets with it.
pub struct AppDoor {
    ndx: AppNdx,
    name: String,
    kind: &'static str,
    view: ArcSwap<View>,
    leader: ArcSwapOption<Leader>,
    caught_up: AtomicBool,
    fence: ArcSwapOption<Fence>,
    freshness: Freshness,
    state_waiters: Waiters<StateNdx>,
    slot_waiters: Waiters<Slot>,
    read_indexes: ReadIndexes,
    /// One permit for each read that may wait.
    places: Semaphore,
    /// Of an application in another process: whoever asks it has its turn, and so has whoever executes commands until their
    /// state is published. So each answer comes from the state that was published last.
    turns: Option<Arc<Mutex<()>>>,
}

/// What is known of a node that came to other states than a majority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The first state that is known to differ.
    pub state_ndx: StateNdx,
    /// Whether it is the very first one.
    pub is_exact: bool,
}

/// The node's hand on a door: it alone publishes states.
pub struct AppPublisher {
    door: Arc<AppDoor>,
}

impl AppDoor {
    /// A door for the application of `first`, which is the state to begin with, under the name that the configuration
    /// gives it. The publisher belongs to whoever applies decrees, the questions to whoever drives Paxos.
    pub fn open(name: impl Into<String>, first: View) -> (Arc<AppDoor>, AppPublisher, ReadQuestions) {
        let (read_indexes, questions) = read_indexes();
        let turns = first.app.apart().is_some().then(Arc::default);
        let door = Arc::new(AppDoor {
            ndx: first.app_ndx,
            name: name.into(),
            kind: first.app.kind(),
            view: ArcSwap::from_pointee(first),
            leader: ArcSwapOption::empty(),
            caught_up: AtomicBool::new(false),
            fence: ArcSwapOption::empty(),
            freshness: Freshness::new(),
            state_waiters: Waiters::new(),
            slot_waiters: Waiters::new(),
            read_indexes,
            places: Semaphore::new(READS_PENDING_MAX),
            turns,
        });
        (Arc::clone(&door), AppPublisher { door }, questions)
    }

    /// Its number in the cluster.
    pub fn ndx(&self) -> AppNdx {
        self.ndx
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which kind of application it is (`"kv"`).
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// How many commands it has executed on this node.
    pub fn state_ndx(&self) -> StateNdx {
        self.view.load().state_ndx
    }

    /// The last slot that is applied on this node.
    pub fn applied(&self) -> Slot {
        self.view.load().applied
    }

    /// Its state on this node, to keep.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Its state on this node, for a look: cheaper than [`AppDoor::view`], not to be held across a wait.
    pub fn peek(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// Who leads it, as far as this node knows.
    pub fn leader(&self) -> Option<Arc<Leader>> {
        self.leader.load_full()
    }

    /// Whether clients are well served here: the node knows the leader, and has had everything since it started.
    pub fn is_ready(&self) -> bool {
        self.leader.load().is_some() && self.caught_up.load(Ordering::Acquire) && !self.is_fenced()
    }

    /// Whether this node knew, at most `max` ago, that it had applied all that was chosen by then. False as long as it
    /// never knew: what it has may be old, and nobody can tell how old.
    pub fn fresh_within(&self, max: Duration) -> bool {
        self.age().is_some_and(|age| age <= max)
    }

    /// How long ago this node last knew that it had applied all that was chosen by then; `None`: it never knew.
    /// Nothing is known of a state that is not the others'.
    pub fn age(&self) -> Option<Duration> {
        self.freshness.age().filter(|_| !self.is_fenced())
    }

    /// A look without a copy: name servers ask before each batch of queries.
    fn is_fenced(&self) -> bool {
        self.fence.load().is_some()
    }

    /// Since when this node's states are not those of the others, if they are not: nobody is answered from them.
    pub fn fence(&self) -> Option<Arc<Fence>> {
        self.fence.load_full()
    }

    /// Whether it is in another process, so that it may be away.
    pub fn is_elsewhere(&self) -> bool {
        self.turns.is_some()
    }

    /// Where the turns are taken, if the application is in another process.
    pub(crate) fn turns(&self) -> Option<Arc<Mutex<()>>> {
        self.turns.clone()
    }

    /// A place among those who wait; `None` when there is none left.
    pub(crate) fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.try_acquire().ok()
    }

    /// Waits until this node has the state, however long that takes. How many wait here is the caller's business, and so is
    /// the end of the wait when the node stops: [`Gateway::until_stopping`](crate::Gateway::until_stopping).
    pub async fn until_state(&self, state_ndx: StateNdx) {
        self.state_waiters.until(state_ndx, || self.view.load().state_ndx).await;
    }

    /// Waits until this node has applied the slot, as [`AppDoor::until_state`] does for a state.
    pub async fn until_applied(&self, slot: Slot) {
        self.slot_waiters.until(slot, || self.view.load().applied).await;
    }

    /// The slot that has to be applied for everything to be there that is chosen by now (a read index, OngaroPhD section 6.4).
    pub(crate) async fn read_index(&self) -> Result<Slot, ReadRefused> {
        self.read_indexes.obtain().await
    }

    /// Waits until this node has all that was chosen when this was called. Between one leader and the next there is nobody to ask: it
    /// asks again, so that an answer can come within `wait`.
    pub(crate) async fn until_leader_state(&self, wait: Duration) -> Result<(), ReadRefused> {
        let last_ask = Instant::now() + wait.saturating_sub(ASK_AGAIN);
        let index = loop {
            match self.read_index().await {
                Err(ReadRefused::NoLeader) if Instant::now() < last_ask => {
                    tokio::time::sleep(ASK_AGAIN).await
                }
                obtained => break obtained?,
            }
        };
        self.until_applied(index).await;
        Ok(())
    }
}

impl AppPublisher {
    /// Replaces the state that readers see, and wakes those who waited for it. O(1), whatever readers do.
    ///
    /// # Panics
    /// If the view is another application's, or earlier than the one before: a reader never sees time run back.
    pub fn publish(&self, view: View) {
        let (state_ndx, applied) = (view.state_ndx, view.applied);
        assert_eq!(view.app_ndx, self.door.ndx, "a view goes to its own application's door");
        let before = self.door.view.swap(Arc::new(view));
        assert!(
            before.state_ndx <= state_ndx && before.applied <= applied,
            "application {} went back from state {} (slot {}) to {state_ndx} (slot {applied})",
            self.door.ndx,
            before.state_ndx,
            before.applied,
        );
        self.door.state_waiters.reach(state_ndx);
        self.door.slot_waiters.reach(applied);
    }

    /// Says who leads; `None` while nobody is known to.
    pub fn set_leader(&self, leader: Option<Leader>) {
        self.door.leader.store(leader.map(Arc::new));
    }

    /// Says that this node's states are not those of the others.
    pub fn set_fence(&self, fence: Fence) {
        self.door.fence.store(Some(Arc::new(fence)));
    }

    /// Says that they are again.
    pub fn lift_fence(&self) {
        self.door.fence.store(None);
    }

    /// Says that this node has applied all that any node had chosen; from now on it is behind by what is under way only.
    pub fn set_caught_up(&self) {
        self.door.caught_up.store(true, Ordering::Release);
    }

    /// Says that this node has applied all that was chosen at `as_of`. That is the moment when the question was asked
    /// of which a quorum's or the leader's answer proves it, not the moment when the answer came: what was chosen in
    /// between may be missing. An earlier moment than one already said changes nothing.
    pub fn set_fresh(&self, as_of: Instant) {
        self.door.freshness.set(as_of);
    }

    /// Of an application in another process: the turn of whoever has it execute commands, to be kept until their state is
    /// published.
    pub fn turns(&self) -> Option<Arc<Mutex<()>>> {
        self.door.turns()
    }

    /// The door that this publishes to.
    pub fn door(&self) -> &Arc<AppDoor> {
        &self.door
    }
}
