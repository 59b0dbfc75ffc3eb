//! A node's end of a lane: one application, whichever worker has its state just now.
//!
//! [`LaneApp`] is what the machine holds, a handle; all of an application's handles share one [`Lane`]. The lane has at most one
//! worker. One that comes is brought to where the last one was: it is reset, given the last snapshot, and executes every command
//! since, whose outcomes have to be what they were. If they are not, the application is no deterministic state machine, and
//! nothing is executed here any more until the node is started again: [`Away::Unsteady`].
//!
//! Where the worker goes away in the middle of a batch, nobody knows how much of it was executed, and nobody needs to know: the next
//! worker begins behind what the node has outcomes of.
//!
//! A snapshot is kept by the worker and fetched piece by piece between other questions, so that a large state holds nobody up for
//! long. Every one that came whole shortens what the next worker has to execute.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_machine::{Apart, Application, Away, Context, QueryError, RestoreError, Unanswered};
use synod_types::limits::{
    LANE_AGAIN_BYTES, LANE_AGAIN_COMMANDS_MAX, LANE_ANSWER_BYTES_MAX, LANE_KEEP_MS_MAX, LANE_PIECE_BYTES,
    LANE_STATE_BYTES_MAX,
};
use synod_types::{Digest, Refusal, StateNdx};
use tracing::{error, info, warn};

use crate::link::{Aside, Link, LinkError, step_aside};
use crate::message::{Answer, Batch, Blob, Command, Question, Reception, Welcome};
use crate::tail::{Executed, Tail};

/// How long a worker is left alone that has not made its snapshot yet.
const LATER: Duration = Duration::from_millis(20);

/// How a lane is, as its node is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// No worker, or one that is being brought to where the last one was.
    Away,
    /// A worker answers.
    There,
    /// One did not come to the outcome in this state that another one had come to: there will be none any more.
    Unsteady(StateNdx),
}

/// One application in a process of its own.
pub struct Lane {
    kind: &'static str,
    /// Whether the worker wants to see operations before they are ordered.
    checks: AtomicBool,
    /// How long the worker may say that its snapshot is not made yet.
    keep_max: Duration,
    /// Where whoever asks the worker waits for it.
    aside: Aside,
    state: Mutex<State>,
    /// Closes the connection while somebody waits for it. Never held with anything else.
    breaker: Mutex<Breaker>,
    tell: Box<dyn Fn(Presence) + Send + Sync>,
}

#[derive(Default)]
struct Breaker {
    stream: Option<UnixStream>,
    is_closed: bool,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    /// Whether the worker is where the last one was.
    is_ready: bool,
    tail: Tail,
    keeping: Option<Keeping>,
    unsteady: Option<StateNdx>,
    /// What became of the last worker, if there is none.
    lost: Option<String>,
}

/// A state that the worker keeps.
struct Keeping {
    /// The last command in it.
    through: StateNdx,
    bytes: Vec<u8>,
    /// The next piece.
    next: u32,
    /// Since when the worker says that it is not made yet.
    later: Option<Instant>,
    /// Who waits for it, if anybody does.
    kept: Option<Arc<Kept>>,
}

/// A state that somebody wants as a snapshot: nothing, until it is there or cannot be had any more.
type Kept = Mutex<Option<Result<Bytes, Away>>>;

/// A handle for the machine, and for those who read.
pub struct LaneApp {
    lane: Arc<Lane>,
    /// What execution is to begin with, until it does.
    restored: Arc<Mutex<Option<Bytes>>>,
    kept: Option<Arc<Kept>>,
}

/// Why a worker is turned away.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// It is not what was expected.
    #[error("{0}")]
    Unwanted(String),
    /// There is one.
    #[error("another process serves this application already")]
    Occupied,
    /// Nothing is executed here any more.
    #[error(
        "the application did not come to the same outcome twice, in state {0}: this node executes nothing of it until it is repaired"
    )]
    Unsteady(StateNdx),
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
    /// The connection is of no use.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl Lane {
    /// A lane without a worker, for an application of this kind. `tell` is called with what becomes of the worker, from within
    /// other calls, and must not wait. Whoever executes and asks here waits `aside` for what takes longer than a moment.
    pub fn new(kind: &str, aside: Aside, tell: impl Fn(Presence) + Send + Sync + 'static) -> Arc<Lane> {
        Lane::within(kind, Duration::from_millis(LANE_KEEP_MS_MAX), aside, tell)
    }

    /// The same, whose worker may take at most `keep_max` to make a snapshot.
    pub fn within(
        kind: &str,
        keep_max: Duration,
        aside: Aside,
        tell: impl Fn(Presence) + Send + Sync + 'static,
    ) -> Arc<Lane> {
        Arc::new(Lane {
            // A program has as many kinds as genesis has applications, and each lives as long as the program.
            kind: Box::leak(kind.to_owned().into_boxed_str()),
            checks: AtomicBool::new(false),
            keep_max,
            aside,
            state: Mutex::default(),
            breaker: Mutex::default(),
            tell: Box::new(tell),
        })
    }

    /// The kind of application.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// A handle for a machine.
    pub fn application(self: &Arc<Lane>) -> Box<dyn Application> {
        Box::new(LaneApp { lane: Arc::clone(self), restored: Arc::default(), kept: None })
    }

    /// Takes a worker whose Hello was heard, and brings it to where the last one was, which may take long. `checks`: whether it
    /// wants to see operations before they are ordered.
    ///
    /// # Errors
    /// [`AttachError`], which it is told, too.
    pub fn attach(&self, mut link: Link, welcome: Welcome, checks: bool) -> Result<(), AttachError> {
        let mut state = self.lock();
        if state.link.as_mut().is_some_and(|link| !link.is_open()) {
            self.lose(&mut state, &LinkError::Closed);
        }
        if state.link.is_some() {
            return Err(Lane::turn_away(link, AttachError::Occupied));
        }
        if let Some(state_ndx) = state.unsteady {
            return Err(Lane::turn_away(link, AttachError::Unsteady(state_ndx)));
        }
        let breaker = link.breaker()?;
        if self.breaker().is_closed {
            return Err(Lane::turn_away(link, AttachError::Stopping));
        }
        link.send(&Reception::Welcome(welcome))?;
        self.breaker().stream = Some(breaker);
        state.link = Some(link);
        state.lost = None;
        self.checks.store(checks, Ordering::Relaxed);
        state.is_ready = false;
        if self.breaker().is_closed {
            self.hang_up();
        }
        // Why not has been said.
        let _ = self.make_ready(&mut state);
        Ok(())
    }

    /// Tells a worker why it is not taken, and gives the reason back.
    pub fn turn_away(mut link: Link, why: AttachError) -> AttachError {
        // It may be gone already.
        let _ = link.send(&Reception::Refused(why.to_string()));
        why
    }

    /// Finds out whether the worker is still there, unless it is being asked just now.
    pub fn look(&self) {
        let Ok(mut state) = self.state.try_lock() else { return };
        if state.link.as_mut().is_some_and(|link| !link.is_open()) {
            self.lose(&mut state, &LinkError::Closed);
        }
    }

    /// Ends the connection, whoever waits for it.
    pub fn hang_up(&self) {
        if let Some(stream) = self.breaker().stream.take() {
            // It fails only where it is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends the connection for good: the node stops.
    pub fn close(&self) {
        self.breaker().is_closed = true;
        self.hang_up();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is in the middle of something has no link any more, or is made ready again.
        match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(why)) => why.into_inner(),
            Err(TryLockError::WouldBlock) => {
                step_aside(self.aside, || self.state.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker is gone, or of no use.
    fn lose(&self, state: &mut State, why: &LinkError) {
        if state.link.take().is_none() {
            return;
        }
        self.hang_up();
        match why {
            LinkError::Closed => info!(kind = self.kind, "the application's process is gone"),
            why => error!(kind = self.kind, %why, "the application's process is given up"),
        }
        state.lost = Some(why.to_string());
        state.is_ready = false;
        state.drop_kept();
        (self.tell)(Presence::Away);
    }

    /// Asks the worker.
    fn ask(&self, state: &mut State, question: &Question) -> Result<Answer, Away> {
        let link = state.link.as_mut().ok_or(Away::Gone)?;
        match link.ask(question, self.aside) {
            Ok(Answer::Failed(why)) => {
                self.lose(state, &LinkError::Failed(why));
                Err(Away::Gone)
            }
            Ok(answer) => Ok(answer),
            Err(why) => {
                self.lose(state, &why);
                Err(Away::Gone)
            }
        }
    }

    /// Asks the worker to do something.
    fn tell_to(&self, state: &mut State, question: &Question) -> Result<(), Away> {
        match self.ask(state, question)? {
            Answer::Done => Ok(()),
            other => Err(self.unexpected(state, &other)),
        }
    }

    fn unexpected(&self, state: &mut State, answer: &Answer) -> Away {
        let mut said = format!("{answer:?}");
        said.truncate(said.floor_char_boundary(100));
        self.lose(state, &LinkError::Unexpected(said));
        Away::Gone
    }

    /// Has the worker execute commands of one decree.
    fn execute(
        &self,
        state: &mut State,
        commands: &[(Context, Bytes)],
    ) -> Result<Vec<Result<Bytes, Refusal>>, Away> {
        let Some((first, _)) = commands.first() else { return Ok(Vec::new()) };
        let (time, clock) = (first.time.0, first.clock.0);
        let batch = commands.iter().map(|(context, operation)| Command::new(context, operation.clone()));
        let question = Question::Apply(Batch { time, clock, commands: batch.collect() });
        let outcomes = match self.ask(state, &question)? {
            Answer::Applied(outcomes) if outcomes.len() == commands.len() => outcomes,
            other => return Err(self.unexpected(state, &other)),
        };
        let outcomes: Result<Vec<_>, _> =
            outcomes.into_iter().map(crate::message::Outcome::into_result).collect();
        outcomes.map_err(|why| {
            self.lose(state, &why.into());
            Away::Gone
        })
    }

    /// Brings the worker to where the last one was, if it is not there yet.
    fn make_ready(&self, state: &mut State) -> Result<(), Away> {
        if let Some(state_ndx) = state.unsteady {
            return Err(Away::Unsteady(state_ndx));
        }
        if state.is_ready {
            return Ok(());
        }
        step_aside(self.aside, || self.bring_there(state))
    }

    fn bring_there(&self, state: &mut State) -> Result<(), Away> {
        self.tell_to(state, &Question::Reset)?;
        if let Some(snapshot) = state.tail.snapshot.clone() {
            let (mut from, last) = (0, snapshot.len());
            loop {
                let to = last.min(from + LANE_PIECE_BYTES);
                let bytes = Blob(snapshot.slice(from..to));
                self.tell_to(state, &Question::Restore { bytes, last: to == last })?;
                if to == last {
                    break;
                }
                from = to;
            }
        }
        let again = self.execute_again(state)?;
        state.is_ready = true;
        info!(kind = self.kind, commands = again, "the application's process is ready");
        (self.tell)(Presence::There);
        Ok(())
    }

    /// Has the worker execute what was executed since the snapshot; gives how many commands these were.
    fn execute_again(&self, state: &mut State) -> Result<usize, Away> {
        let (mut done, mut last) = (0, None);
        loop {
            let (mut commands, mut outcomes, mut bytes) = (Vec::new(), Vec::new(), 0);
            let behind = |one: &&Executed| last.is_none_or(|last| one.context.state_ndx > last);
            for one in state.tail.to_execute().filter(behind) {
                let is_of_batch = commands.first().is_none_or(|(first, _): &(Context, Bytes)| {
                    (first.time, first.clock) == (one.context.time, one.context.clock)
                });
                if !is_of_batch || commands.len() >= LANE_AGAIN_COMMANDS_MAX || bytes >= LANE_AGAIN_BYTES {
                    break;
                }
                bytes += one.operation.len();
                commands.push((one.context, one.operation.clone()));
                outcomes.push(one.outcome.clone());
            }
            let Some((context, _)) = commands.last() else { return Ok(done) };
            last = Some(context.state_ndx);
            let again = self.execute(state, &commands)?;
            let other = again.iter().zip(&outcomes).position(|(again, outcome)| again != outcome);
            if let Some(place) = other {
                let state_ndx = commands[place].0.state_ndx;
                error!(kind = self.kind, %state_ndx, "the application did not come to the same outcome twice");
                state.unsteady = Some(state_ndx);
                self.lose(state, &LinkError::Unexpected(format!("another outcome in state {state_ndx}")));
                (self.tell)(Presence::Unsteady(state_ndx));
                return Err(Away::Unsteady(state_ndx));
            }
            done += commands.len();
        }
    }

    /// Has the worker keep its state; `kept` is for who waits for it.
    fn keep(&self, state: &mut State, kept: Option<Arc<Kept>>) -> Result<(), Away> {
        state.drop_kept();
        self.tell_to(state, &Question::Keep)?;
        let through = state.tail.last();
        state.keeping = Some(Keeping { through, bytes: Vec::new(), next: 0, later: None, kept });
        Ok(())
    }

    /// Fetches the next piece of what is kept. Says whether there is something left to fetch, and whether it is to be waited for.
    fn fetch(&self, state: &mut State) -> Result<Fetched, Away> {
        let Some(keeping) = &state.keeping else { return Ok(Fetched::All) };
        let number = keeping.next;
        match self.ask(state, &Question::Piece { number })? {
            Answer::Later => self.wait_for_piece(state),
            Answer::Piece { bytes: Blob(bytes), last } => {
                let Some(mut keeping) = state.keeping.take() else { return Ok(Fetched::All) };
                keeping.bytes.extend_from_slice(&bytes);
                (keeping.next, keeping.later) = (keeping.next + 1, None);
                if keeping.bytes.len() > LANE_STATE_BYTES_MAX || (bytes.is_empty() && !last) {
                    state.keeping = Some(keeping);
                    let why = format!(
                        "a state of more than {LANE_STATE_BYTES_MAX} bytes, or an empty piece of one"
                    );
                    self.lose(state, &LinkError::Unexpected(why));
                    return Err(Away::Gone);
                }
                if !last {
                    state.keeping = Some(keeping);
                    return Ok(Fetched::Piece);
                }
                let bytes = Bytes::from(keeping.bytes);
                state.tail.shorten(bytes.clone(), keeping.through);
                if let Some(kept) = keeping.kept {
                    fill(&kept, Ok(bytes));
                }
                Ok(Fetched::All)
            }
            other => Err(self.unexpected(state, &other)),
        }
    }

    /// The next piece is not made yet.
    fn wait_for_piece(&self, state: &mut State) -> Result<Fetched, Away> {
        let Some(keeping) = &mut state.keeping else { return Ok(Fetched::All) };
        if keeping.later.get_or_insert_with(Instant::now).elapsed() <= self.keep_max {
            return Ok(Fetched::Nothing);
        }
        self.lose(state, &LinkError::TooLate(self.keep_max));
        Err(Away::Gone)
    }

    /// Gets a snapshot at once, whatever waits for it.
    fn shorten(&self, state: &mut State) -> Result<(), Away> {
        if state.keeping.is_none() {
            self.keep(state, None)?;
        }
        step_aside(self.aside, || {
            loop {
                match self.fetch(state)? {
                    Fetched::All => return Ok(()),
                    Fetched::Piece => {}
                    Fetched::Nothing => std::thread::sleep(LATER),
                }
            }
        })
    }
}

/// What came of asking for a piece.
enum Fetched {
    Nothing,
    Piece,
    All,
}

impl State {
    /// What is kept cannot be had any more.
    fn drop_kept(&mut self) {
        if let Some(kept) = self.keeping.take().and_then(|keeping| keeping.kept) {
            fill(&kept, Err(Away::Gone));
        }
    }
}

fn fill(kept: &Kept, with: Result<Bytes, Away>) {
    kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(with);
}

impl Apart for LaneApp {
    fn begin(&self) {
        let restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lane = &self.lane;
        let mut state = lane.lock();
        state.drop_kept();
        state.tail = Tail::behind(restored);
        state.is_ready = false;
        // Why not has been said, or there is no worker yet.
        let _ = lane.make_ready(&mut state);
    }

    fn apply_all(&self, commands: &[(Context, &[u8])]) -> Result<Vec<Result<Bytes, Refusal>>, Away> {
        let lane = &self.lane;
        let mut state = lane.lock();
        lane.make_ready(&mut state)?;
        if state.tail.is_full() {
            warn!(kind = lane.kind, "the application stands still until its snapshot is there");
            lane.shorten(&mut state)?;
        }
        let known = commands.iter().map_while(|(context, _)| state.tail.outcome(context.state_ndx));
        let mut outcomes: Vec<_> = known.cloned().collect();
        let new: Vec<(Context, Bytes)> = commands[outcomes.len()..]
            .iter()
            .map(|(context, operation)| (*context, Bytes::copy_from_slice(operation)))
            .collect();
        let made = lane.execute(&mut state, &new)?;
        for ((context, operation), outcome) in new.into_iter().zip(&made) {
            state.tail.push(Executed { context, operation, outcome: outcome.clone() });
        }
        outcomes.extend(made);
        Ok(outcomes)
    }

    fn settle(&self) {
        let lane = &self.lane;
        let mut state = lane.lock();
        state.tail.settle();
        if !state.is_ready {
            return;
        }
        // Whether anything goes wrong is seen by whoever asks next.
        if state.keeping.is_some() {
            let _ = lane.fetch(&mut state);
        } else if state.tail.is_long() {
            let _ = lane.keep(&mut state, None);
        }
    }

    fn checks(&self) -> bool {
        self.lane.checks.load(Ordering::Relaxed)
    }

    fn check(&self, operation: &[u8]) -> Result<(), Refusal> {
        let lane = &self.lane;
        let mut state = lane.lock();
        if lane.make_ready(&mut state).is_err() {
            return Ok(());
        }
        let question = Question::Check { operation: Blob(Bytes::copy_from_slice(operation)) };
        match lane.ask(&mut state, &question) {
            Ok(Answer::Refused(refused)) => match refused.into_refusal() {
                Ok(refusal) => return Err(refusal),
                Err(why) => lane.lose(&mut state, &why.into()),
            },
            Ok(Answer::Done) | Err(_) => {}
            Ok(other) => {
                let _ = lane.unexpected(&mut state, &other);
            }
        }
        Ok(())
    }

    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, Unanswered> {
        let lane = &self.lane;
        let mut state = lane.lock();
        lane.make_ready(&mut state)?;
        let question = Question::Query { state_ndx: state_ndx.0, query: Blob(Bytes::copy_from_slice(query)) };
        match lane.ask(&mut state, &question)? {
            Answer::Answered(Blob(answer)) if answer.len() <= LANE_ANSWER_BYTES_MAX => Ok(answer),
            Answer::NotAQuery(why) => Err(QueryError(why).into()),
            other => Err(lane.unexpected(&mut state, &other).into()),
        }
    }

    fn fork_to_keep(&self) -> Box<dyn Application> {
        let lane = &self.lane;
        let kept: Arc<Kept> = Arc::default();
        let mut state = lane.lock();
        // One that somebody waits for is finished first, so that one is.
        let is_taken = state.keeping.as_ref().is_some_and(|keeping| keeping.kept.is_some());
        let is_kept = !is_taken
            && lane.make_ready(&mut state).is_ok()
            && lane.keep(&mut state, Some(Arc::clone(&kept))).is_ok();
        if !is_kept {
            fill(&kept, Err(Away::Gone));
        }
        drop(state);
        Box::new(LaneApp { kept: Some(kept), ..self.copy() })
    }

    fn snapshot(&self) -> Result<Vec<u8>, Away> {
        let Some(kept) = &self.kept else { return Err(Away::Gone) };
        loop {
            let mut state = self.lane.lock();
            // Outside of the lock, nobody fills it.
            let there = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(there) = there {
                return there.map(|bytes| bytes.to_vec());
            }
            let fetched = self.lane.fetch(&mut state);
            drop(state);
            match fetched {
                Ok(Fetched::Nothing) => std::thread::sleep(LATER),
                // The next look finds it, or that it cannot be had.
                Ok(Fetched::Piece | Fetched::All) | Err(_) => {}
            }
        }
    }

    fn why_away(&self) -> Option<String> {
        self.lane.lock().lost.clone()
    }
}

impl LaneApp {
    fn copy(&self) -> LaneApp {
        LaneApp {
            lane: Arc::clone(&self.lane),
            restored: Arc::clone(&self.restored),
            kept: self.kept.clone(),
        }
    }
}

impl Application for LaneApp {
    fn kind(&self) -> &'static str {
        self.lane.kind
    }

    /// Without a way to the worker nothing is refused; whoever may wait asks [`Apart::check`].
    fn check(&self, _operation: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn apply(&mut self, _: &Context, _: &[u8]) -> Result<Bytes, Refusal> {
        unreachable!("the machine has an application apart execute by apply_all")
    }

    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, QueryError> {
        Apart::query(self, state_ndx, query).map_err(|why| match why {
            Unanswered::NotAQuery(why) => why,
            Unanswered::Away(why) => QueryError(why.to_string()),
        })
    }

    fn snapshot(&self) -> Vec<u8> {
        unreachable!("whoever has an application apart makes snapshots by try_snapshot")
    }

    /// The bytes are for the worker to look at; whoever restores knows them by their hash.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.restored = Arc::new(Mutex::new(Some(Bytes::copy_from_slice(snapshot))));
        self.kept = None;
        Ok(())
    }

    /// Zeros: nothing of it is proved by itself, and what the hash chain says of it is signed all the same. Nobody waits for the
    /// worker to sign a state.
    fn root(&self) -> Digest {
        Digest::default()
    }

    /// As the worker has it now; zeros where it is away.
    fn digest(&self) -> Digest {
        let mut state = self.lane.lock();
        let ready = self.lane.make_ready(&mut state);
        let Ok(answer) = ready.and_then(|()| self.lane.ask(&mut state, &Question::Digest)) else {
            return Digest::default();
        };
        if let Answer::Digest(Blob(digest)) = &answer
            && let Ok(digest) = digest[..].try_into()
        {
            return Digest(digest);
        }
        // Whoever asks next is told.
        let _ = self.lane.unexpected(&mut state, &answer);
        Digest::default()
    }

    fn fork(&self) -> Box<dyn Application> {
        Box::new(self.copy())
    }

    fn apart(&self) -> Option<&dyn Apart> {
        Some(self)
    }
}
