//! Applies what was chosen, in its own task for each application: the only place where state changes.
//!
//! A state is shown to readers when the files to which it refers are supplied, and its commands are answered after that.
//! So whoever has a receipt finds at this node what the command made, files included.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Histogram};
use synod_gateway::AppPublisher;
use synod_machine::{Applied, Machine, NotApplied};
use synod_types::{ContentKey, Decree, Outcome, Receipt, Slot, StateNdx};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::chains::Chains;
use crate::cosigning::marks::Marks;
use crate::cosigning::{Ask as CosignAsk, Cosigning};
use crate::driver::Next;
use crate::intake::Intake;
use crate::snapshots::pace::Pace;
use crate::snapshots::{Ask, Snapshots};
use crate::tasks::Fatal;

mod elsewhere;

pub(crate) use elsewhere::Elsewhere;

/// Decrees that are applied before their state is published and their commands are answered.
const DECREES_MAX: usize = 64;
/// Files that are fetched at a time, each of which is in memory once it is there.
const FILES_MAX: usize = 8;
/// Bytes of a file from which on an application takes it on a thread of its own.
const BLOCKING_BYTES: usize = 64 << 10;
/// How long a file is waited for before further decrees are applied: one of them may have made the file needless, and
/// a needless file may be nowhere any more.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing comes of waiting for a file before it is said in the log, and said again.
const SILENCE: Duration = Duration::from_secs(15);

/// Applies the decrees of one application until the driver is gone. `obtain` gives a file, however long that takes, and
/// `None` if the node stops. At a level that this program does not know it goes no further, and the node ends.
pub(crate) async fn run<F>(
    machine: Machine,
    publisher: Arc<AppPublisher>,
    intake: Arc<Intake>,
    chains: Arc<Chains>,
    beside: Beside,
    chosen: mpsc::UnboundedReceiver<Next>,
    obtain: impl Fn(ContentKey) -> F,
) where
    F: Future<Output = Option<Bytes>> + Send + 'static,
{
    let app = machine.state().app_ndx.to_string();
    let apply_seconds = metrics::histogram!("synod_apply_seconds", "app" => app.clone());
    let results = Results { app, counters: BTreeMap::new() };
    let machine = Some(machine);
    let Beside { snapshots, pace, cosigning, marks, fatal, elsewhere } = beside;
    let mut applier = Applier {
        machine,
        publisher,
        intake,
        chains,
        snapshots,
        pace,
        cosigning,
        marks,
        fatal,
        chosen,
        applied: Vec::new(),
        is_installed: false,
        elsewhere,
        turn: None,
        apply_seconds,
        results,
    };
    applier.machine().begin();
    // First of all for what the journal's replay made: a file of it may have been lost.
    while applier.supply(&obtain).await {
        applier.show();
        if !applier.apply_next().await {
            return;
        }
    }
}

/// What an applier tells of what it does.
pub(crate) struct Beside {
    /// Take what is due.
    pub snapshots: Snapshots,
    /// Says when one is.
    pub pace: Pace,
    /// Takes states that are to be signed.
    pub cosigning: Cosigning,
    /// Says which.
    pub marks: Marks,
    /// Ends the node.
    pub fatal: Fatal,
    /// What there is beside where the application is in another process.
    pub elsewhere: Option<Elsewhere>,
}

struct Applier {
    /// `None` only while a thread has it.
    machine: Option<Machine>,
    publisher: Arc<AppPublisher>,
    intake: Arc<Intake>,
    chains: Arc<Chains>,
    snapshots: Snapshots,
    pace: Pace,
    cosigning: Cosigning,
    marks: Marks,
    fatal: Fatal,
    chosen: mpsc::UnboundedReceiver<Next>,
    /// What became of commands whose state is not published yet.
    applied: Vec<Applied>,
    /// Whether the state that is not published yet came whole from another node.
    is_installed: bool,
    elsewhere: Option<Elsewhere>,
    /// Nobody asks the application in another process from a state that is not published yet.
    turn: Option<OwnedMutexGuard<()>>,
    apply_seconds: Histogram,
    results: Results,
}

/// Counts what became of commands, and expiries.
struct Results {
    app: String,
    counters: BTreeMap<&'static str, Counter>,
}

impl Results {
    fn count(&mut self, applied: &Applied) {
        let result = match &applied.result {
            Ok(_) if applied.repeated => "repeated",
            Ok(_) if applied.commander.is_none() => "expiry",
            Ok(Receipt { outcome: Outcome::Done(_), .. }) => "done",
            Ok(Receipt { outcome: Outcome::Refused(refusal), .. }) | Err(refusal) => refusal.code.name(),
        };
        let app = &self.app;
        let counter = self.counters.entry(result).or_insert_with(
            || metrics::counter!("synod_commands_total", "app" => app.clone(), "result" => result),
        );
        counter.increment(1);
    }
}

impl Applier {
    fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("a thread gives it back before this task goes on")
    }

    /// Waits for decrees and applies them. `false`: there will be none any more.
    async fn apply_next(&mut self) -> bool {
        if self.elsewhere.is_some() {
            return self.apply_next_elsewhere().await;
        }
        let mut all = Vec::new();
        let count = self.chosen.recv_many(&mut all, DECREES_MAX).await;
        for next in all {
            match next {
                Next::Decree(slot, decree) => {
                    if let Err(why) = self.apply(slot, &decree) {
                        self.fatal.raise(why.to_string());
                        // The node stops, and this task with it.
                        std::future::pending().await
                    }
                }
                Next::Install(machine) => self.take_over(machine),
            }
        }
        count > 0
    }

    /// Goes on from another state.
    fn take_over(&mut self, machine: Box<Machine>) {
        self.pace.restart(machine.state());
        self.marks.restart(machine.state());
        self.machine = Some(*machine);
        self.is_installed = true;
    }

    fn apply(&mut self, slot: Slot, decree: &Decree) -> Result<(), NotApplied> {
        let state = self.machine.as_ref().map(Machine::state);
        self.marks.before(decree, state.expect("a thread gives it back before this task goes on"));
        let begun = Instant::now();
        let applied = self.machine().try_apply(slot, decree)?;
        self.apply_seconds.record(begun.elapsed());
        applied.iter().for_each(|one| self.results.count(one));
        self.applied.extend(applied);
        let machine = self.machine.as_ref().expect("a thread gives it back before this task goes on");
        let mark = self.marks.after(machine.state());
        mark.into_iter().for_each(|mark| self.cosigning.tell(CosignAsk::Due(mark)));
        if self.pace.on_applied(decree, machine.state()) {
            let view = machine.view_to_keep();
            self.snapshots.tell(Ask::Due(Arc::new(view)));
        }
        Ok(())
    }

    /// Publishes the state, and then answers.
    fn show(&mut self) {
        let view = self.machine().view();
        let installed = std::mem::take(&mut self.is_installed).then(|| view.fork());
        if let Some(view) = &installed {
            self.chains.restart(view.state_ndx, view.chain);
        }
        let made = self.applied.iter().filter(|one| !one.repeated).filter_map(|one| one.result.as_ref().ok());
        let from = installed.as_ref().map_or(StateNdx(0), |view| view.state_ndx);
        let made = made.filter(|receipt| receipt.state_ndx > from);
        self.chains.extend(made.map(|receipt| (receipt.state_ndx, receipt.chain)));
        self.publisher.publish(view);
        if let Some(mark) = self.marks.latest(|| self.publisher.door().view()) {
            self.cosigning.set_latest(mark);
        }
        self.turn = None;
        self.intake.on_applied(std::mem::take(&mut self.applied));
        if let Some(view) = installed {
            self.intake.on_installed(&view);
        }
    }

    /// Supplies every file that the state wants; fetches several at a time. `false`: the node stops.
    async fn supply<F>(&mut self, obtain: &impl Fn(ContentKey) -> F) -> bool
    where
        F: Future<Output = Option<Bytes>> + Send + 'static,
    {
        let mut fetching = Fetching::default();
        let mut supplied = BTreeSet::new();
        let mut told = Instant::now();
        loop {
            let mut wanted: VecDeque<ContentKey> = self.machine().wanted().into();
            if wanted.is_empty() {
                return true;
            }
            wanted.retain(|key| !supplied.contains(key));
            if wanted.is_empty() {
                error!("an application wants files that it was given; its readers go without");
                return true;
            }
            fetching.keep_only(&wanted);
            loop {
                fetching.fill(&mut wanted, obtain);
                let patience = tokio::time::sleep(PATIENCE);
                let fetched = tokio::select! {
                    biased;
                    fetched = fetching.next() => fetched,
                    () = patience => Fetched::Nothing,
                };
                match fetched {
                    Fetched::File(key, file) => {
                        self.take(key, file).await;
                        supplied.insert(key);
                        told = Instant::now();
                        self.show_more();
                    }
                    Fetched::Stopping => return false,
                    Fetched::All => break,
                    Fetched::Nothing => {
                        if told.elapsed() >= SILENCE {
                            told = Instant::now();
                            fetching.tell();
                        }
                        if !self.chosen.is_empty() {
                            while !self.chosen.is_empty() {
                                self.apply_next().await;
                            }
                            // The others need not be remembered until the files are there.
                            self.intake.retain_awaited(&mut self.applied);
                            // A decree may want again what an earlier one got.
                            supplied.clear();
                            break;
                        }
                    }
                }
            }
        }
    }

    /// After a start readers see the state before all its files are there; now there is one more.
    fn show_more(&mut self) {
        let shown = self.publisher.door().peek().applied;
        if shown == self.machine().state().applied {
            let view = self.machine().view();
            self.publisher.publish(view);
        }
    }

    /// Gives the application a file.
    async fn take(&mut self, key: ContentKey, file: Bytes) {
        if file.len() < BLOCKING_BYTES {
            return self.machine().supply(&key, &file);
        }
        let mut machine = self.machine.take().expect("a thread gives it back before this task goes on");
        let supplied = tokio::task::spawn_blocking(move || {
            machine.supply(&key, &file);
            machine
        });
        match supplied.await {
            Ok(machine) => self.machine = Some(machine),
            Err(why) => match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Files on their way.
#[derive(Default)]
struct Fetching {
    tasks: JoinSet<(ContentKey, Option<Bytes>)>,
    keys: BTreeMap<ContentKey, AbortHandle>,
}

/// What came of waiting for files.
enum Fetched {
    File(ContentKey, Bytes),
    /// Every file that was asked for is there.
    All,
    /// None came in time.
    Nothing,
    Stopping,
}

impl Fetching {
    /// Calls off what is not wanted any more.
    fn keep_only(&mut self, wanted: &VecDeque<ContentKey>) {
        let wanted: BTreeSet<&ContentKey> = wanted.iter().collect();
        self.keys.retain(|key, task| {
            let is_wanted = wanted.contains(key);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
    }

    /// Begins to fetch as many files as may be fetched at a time.
    fn fill<F>(&mut self, wanted: &mut VecDeque<ContentKey>, obtain: &impl Fn(ContentKey) -> F)
    where
        F: Future<Output = Option<Bytes>> + Send + 'static,
    {
        while self.keys.len() < FILES_MAX
            && let Some(key) = wanted.pop_front()
        {
            self.keys.entry(key).or_insert_with(|| {
                let file = obtain(key);
                self.tasks.spawn(async move { (key, file.await) })
            });
        }
    }

    async fn next(&mut self) -> Fetched {
        loop {
            match self.tasks.join_next().await {
                None => return Fetched::All,
                Some(Ok((key, file))) => {
                    // What was called off may have been there already.
                    if self.keys.remove(&key).is_some() {
                        return file.map_or(Fetched::Stopping, |file| Fetched::File(key, file));
                    }
                }
                Some(Err(why)) => match why.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_called_off) => {}
                },
            }
        }
    }

    /// Says in the log what is missing.
    fn tell(&self) {
        let keys: Vec<String> = self.keys.keys().map(|key| key.short()).collect();
        warn!(files = keys.join(" "), "waiting for files to which the state refers; no node gives them");
    }
}

#[cfg(test)]
mod tests;
