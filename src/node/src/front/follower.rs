//! Follows one application: takes a whole state from the node, executes what is chosen behind it, and shows what comes of that.
//!
//! It executes as a node does, so that the same states come of it; the hash chain is held against the node's. Where the node's log does
//! not go back far enough any more, a whole state is taken again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use synod_gateway::AppPublisher;
use synod_lane::front::{FrontAnswer, FrontQuestion};
use synod_lane::message::Blob;
use synod_machine::{Machine, SnapshotError};
use synod_types::{AppNdx, ClusterId, Configuration, LogPage, Slot, Versions};
use tokio::task::block_in_place;
use tracing::{info, warn};

use super::asker::Asker;
use super::beside::file;
use super::kept::Kept;
use super::line::{Line, LineError, Pauses};
use crate::apps;
use crate::cosigning::marks::Marks;
use crate::tasks::Fatal;

/// How long a file is waited for before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where an application is followed, and as what.
#[derive(Clone)]
pub(crate) struct Origin {
    pub app: AppNdx,
    pub kind: String,
    pub cluster: ClusterId,
    pub socket: PathBuf,
    /// By the rules of which levels this program can execute.
    pub levels: Versions,
    /// Commands from one state that is signed to the next.
    pub sign_every: u64,
    pub asker: Asker,
}

/// Why following ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the node has no answer: {0}")]
    Problem(String),
    #[error("the node said something that makes no sense: {0}")]
    Unexpected(String),
    /// This process cannot go on.
    #[error("{0}")]
    Fatal(String),
}

/// One application on its way.
pub(crate) struct Follower {
    origin: Origin,
    machine: Machine,
    marks: Marks,
    publisher: Arc<AppPublisher>,
    kept: Arc<Kept>,
    fatal: Fatal,
    /// Whether readers see the state of the machine, with its files.
    is_shown: bool,
}

impl Origin {
    /// Takes a whole state, with its files, however long that takes.
    ///
    /// # Errors
    /// [`FollowError::Fatal`].
    pub(crate) async fn begin(&self) -> Result<Machine, FollowError> {
        let (mut pauses, mut is_told) = (Pauses::new(), false);
        loop {
            let taken = async {
                let (mut line, _) = Line::open(&self.socket).await?;
                self.take_whole(&mut line, true).await
            };
            match taken.await {
                Ok(mut machine) => {
                    // As at a node that starts, the state is shown before all its files are there.
                    self.supply(&mut machine).await;
                    return Ok(machine);
                }
                Err(FollowError::Fatal(why)) => return Err(FollowError::Fatal(why)),
                Err(why) if !is_told => {
                    is_told = true;
                    warn!(app = %self.app, %why, "cannot take the application's state; it is tried again");
                }
                Err(_) => {}
            }
            pauses.pause().await;
        }
    }

    async fn take_whole(&self, line: &mut Line, certified: bool) -> Result<Machine, FollowError> {
        line.ask(FrontQuestion::Whole { app: self.app.to_string(), certified }).await?;
        let mut snapshot = Vec::new();
        loop {
            match line.told().await? {
                FrontAnswer::Piece { bytes: Blob(bytes), last } => {
                    snapshot.extend_from_slice(&bytes);
                    if last {
                        break;
                    }
                }
                other => return Err(refusal(&other)),
            }
        }
        let application = apps::new(&self.kind).ok_or_else(|| {
            FollowError::Fatal(format!("this program has no application of kind {:?}", self.kind))
        })?;
        let restored = block_in_place(|| Machine::restore(self.cluster, self.app, &snapshot, application));
        let restored = restored.and_then(|machine| Ok(machine.with_levels(self.levels)?));
        let machine = restored.map_err(|why| match why {
            SnapshotError::UnknownLevel(_) | SnapshotError::UnknownVersion(_) => FollowError::Fatal(format!(
                "application {} is of a newer program than this one: {why}",
                self.app
            )),
            why => FollowError::Unexpected(why.to_string()),
        })?;
        let (state_ndx, slot) = (machine.state().state_ndx, machine.state().applied);
        info!(app = %self.app, %state_ndx, %slot, bytes = snapshot.len(), "the whole state was taken from the node");
        metrics::counter!("synod_front_wholes_total", "app" => self.app.to_string()).increment(1);
        Ok(machine)
    }

    /// Gives the application the files that it wants. Says whether none is missing.
    async fn supply(&self, machine: &mut Machine) -> bool {
        let mut is_whole = true;
        for key in machine.wanted() {
            match file(&self.asker, key, false).await {
                Some(file) => block_in_place(|| machine.supply(&key, &file)),
                None => is_whole = false,
            }
        }
        is_whole
    }
}

impl Follower {
    /// Goes on from `machine`, whose state is published already.
    pub(crate) fn new(
        origin: Origin,
        machine: Machine,
        publisher: Arc<AppPublisher>,
        kept: Arc<Kept>,
        fatal: Fatal,
    ) -> Follower {
        // Where an epoch begins is told by the states themselves; who founded the cluster does not matter here.
        let marks = Marks::new(origin.sign_every, Configuration::default(), machine.state());
        kept.keep_due(publisher.door().view());
        // A file that was not there when the state was taken is asked for again.
        let is_shown = machine.wanted().is_empty();
        Follower { origin, machine, marks, publisher, kept, fatal, is_shown }
    }

    /// Which application.
    pub(crate) fn app(&self) -> AppNdx {
        self.origin.app
    }

    /// Follows until the process stops.
    pub(crate) async fn run(mut self) {
        let (mut pauses, mut told) = (Pauses::new(), String::new());
        loop {
            let before = self.machine.state().applied;
            match self.follow().await {
                FollowError::Fatal(why) => {
                    self.fatal.raise(why);
                    // The process stops, and this task with it.
                    std::future::pending().await
                }
                FollowError::Line(LineError::Closed | LineError::Connect(_)) => {}
                why => {
                    let why = why.to_string();
                    if told != why {
                        warn!(app = %self.origin.app, why, "the application is not followed just now");
                        told = why;
                    }
                }
            }
            if self.machine.state().applied > before {
                (pauses, told) = (Pauses::new(), String::new());
            }
            pauses.pause().await;
        }
    }

    async fn follow(&mut self) -> FollowError {
        match self.try_follow().await {
            Ok(never) => match never {},
            Err(why) => why,
        }
    }

    async fn try_follow(&mut self) -> Result<std::convert::Infallible, FollowError> {
        let (mut line, _) = Line::open(&self.origin.socket).await?;
        loop {
            let (app, after) = (self.origin.app.to_string(), self.machine.state().applied.0);
            line.ask(FrontQuestion::Decrees { app, after }).await?;
            self.execute_all(&mut line).await?;
            let machine = self.origin.take_whole(&mut line, false).await?;
            if machine.state().applied <= self.machine.state().applied {
                let at = machine.state().applied;
                return Err(FollowError::Problem(format!(
                    "it is no further than slot {at}, and its log is cut"
                )));
            }
            self.marks.restart(machine.state());
            self.machine = machine;
            self.show().await;
        }
    }

    /// Executes what the node tells until its log does not go on from here.
    async fn execute_all(&mut self, line: &mut Line) -> Result<(), FollowError> {
        loop {
            let told = tokio::select! {
                told = line.told() => told?,
                () = tokio::time::sleep(PATIENCE), if !self.is_shown => {
                    self.show().await;
                    continue;
                }
            };
            match told {
                FrontAnswer::Decrees { page, state_ndx, chain } => {
                    let page = LogPage::decode(&page.0);
                    let page = page.map_err(|why| FollowError::Unexpected(why.to_string()))?;
                    block_in_place(|| self.execute(&page))?;
                    self.compare(page.applied, state_ndx, &chain)?;
                    if !page.decrees.is_empty() || !self.is_shown {
                        self.show().await;
                    }
                }
                FrontAnswer::Cut { .. } => return Ok(()),
                FrontAnswer::Problem { code, .. } if code == "log-not-here" => return Ok(()),
                other => return Err(refusal(&other)),
            }
        }
    }

    fn execute(&mut self, page: &LogPage) -> Result<(), FollowError> {
        let Origin { app, cluster, .. } = self.origin;
        if (page.app, page.cluster) != (app, cluster) {
            return Err(FollowError::Fatal("the node is one of another cluster".to_owned()));
        }
        for (slot, decree) in &page.decrees {
            let next = self.machine.state().applied.next();
            if *slot != next {
                return Err(FollowError::Unexpected(format!("slot {slot} where {next} comes next")));
            }
            self.marks.before(decree, self.machine.state());
            let applied = self.machine.apply(*slot, decree);
            applied.map_err(|why| FollowError::Fatal(why.to_string()))?;
            if let Some(mark) = self.marks.after(self.machine.state()) {
                self.kept.keep_due(mark.view);
            }
        }
        let decrees = u64::try_from(page.decrees.len()).unwrap_or(u64::MAX);
        metrics::counter!("synod_front_decrees_total", "app" => app.to_string()).increment(decrees);
        Ok(())
    }

    /// Holds the state against the node's, where both are equally far.
    fn compare(&self, applied: Slot, state_ndx: u64, chain: &str) -> Result<(), FollowError> {
        let state = self.machine.state();
        let is_comparable = state.applied == applied;
        if is_comparable && (state.state_ndx.0, state.chain.to_string()) != (state_ndx, chain.to_owned()) {
            return Err(FollowError::Fatal(format!(
                "application {} is in state {} with chain {} here and in state {state_ndx} with chain {chain} at the node, of the same \
                 commands: one of the two programs is wrong. `synod status` says whether the node differs from the others",
                self.origin.app, state.state_ndx, state.chain
            )));
        }
        Ok(())
    }

    /// Shows the state to readers, once its files are there.
    async fn show(&mut self) {
        self.is_shown = self.origin.supply(&mut self.machine).await;
        if self.is_shown {
            self.publisher.publish(self.machine.view());
            if let Some(mark) = self.marks.latest(|| self.publisher.door().view()) {
                self.kept.keep_last(mark.view);
            }
        }
    }
}

fn refusal(answer: &FrontAnswer) -> FollowError {
    match answer {
        FrontAnswer::Problem { code, text, .. } => FollowError::Problem(format!("{code}: {text}")),
        FrontAnswer::Cut { behind } => FollowError::Problem(format!("its log begins behind slot {behind}")),
        other => FollowError::Unexpected(format!("{other:?}").chars().take(200).collect()),
    }
}
