//! An application in another process: it may be away, and commands are chosen all the same.
//!
//! What is chosen meanwhile is not kept in memory: the journal has it, and it is read from there when the process is there again.
//! So is what was chosen before this node started, since its process is seldom there by then. What readers see is the state that
//! was made last, and whoever asks the application itself is told that it is away.

use std::path::PathBuf;
use std::time::Duration;

use synod_gateway::Fence;
use synod_journal::{Journal, ReadError};
use synod_lane::Presence;
use synod_machine::{Away, Machine, NotApplied};
use synod_paxos::Damage;
use synod_types::limits::CATCH_UP_BYTES_MAX;
use synod_types::{Slot, StateNdx};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::Applier;
use crate::divergence::Evidence;
use crate::driver::{Input, Next};

/// Decrees that are applied before their state is published, so that readers get their turn.
const DECREES_MAX: usize = 16;
/// Decrees that wait in memory for a process that executes them slower than they are chosen; beyond it, the journal is where they
/// wait.
const QUEUE_MAX: usize = 256;
/// How long a record that cannot be read is left alone: another node may give it meanwhile.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// What an applier needs beside for such an application.
pub(crate) struct Elsewhere {
    /// Whether the process is there.
    pub presence: watch::Receiver<Presence>,
    /// Where what was chosen can be read.
    pub journal: Journal,
    /// To the driver, which has others give what cannot be read here.
    pub inputs: mpsc::UnboundedSender<Input>,
    /// Where it is written down that the application cannot go on.
    pub data_dir: PathBuf,
    /// The last slot that was chosen, if it is not to be had by itself.
    pub behind: Slot,
    /// Nothing is executed any more.
    pub is_over: bool,
}

impl Elsewhere {
    fn is_there(&self) -> bool {
        !self.is_over && *self.presence.borrow() == Presence::There
    }

    /// In which state the process did not come to the same outcome twice, if that was found.
    fn unsteady(&self) -> Option<StateNdx> {
        match *self.presence.borrow() {
            Presence::Unsteady(state_ndx) if !self.is_over => Some(state_ndx),
            Presence::Unsteady(_) | Presence::Away | Presence::There => None,
        }
    }

    /// Returns when there is something else to do than to wait.
    async fn until_changed(&mut self) {
        if self.is_over || self.presence.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Applier {
    fn elsewhere(&mut self) -> &mut Elsewhere {
        self.elsewhere.as_mut().expect("only an application elsewhere gets here")
    }

    /// Waits for decrees and for the process, and applies what it can. `false`: there will be none any more.
    pub(super) async fn apply_next_elsewhere(&mut self) -> bool {
        loop {
            if let Some(state_ndx) = self.elsewhere().unsteady() {
                self.end(state_ndx);
            }
            if !self.elsewhere().is_there() {
                let Applier { chosen, elsewhere: Some(elsewhere), .. } = self else { return false };
                tokio::select! {
                    biased;
                    next = chosen.recv() => match next {
                        None => return false,
                        Some(next) => if self.forget(next).await { return true },
                    },
                    () = elsewhere.until_changed() => {}
                }
                continue;
            }
            let applied = self.machine().state().applied;
            let mut all = Vec::new();
            if self.elsewhere().behind > applied || self.chosen.len() > QUEUE_MAX {
                // The queue has nothing that the journal does not have, or will have.
                while let Ok(next) = self.chosen.try_recv() {
                    if self.forget(next).await {
                        return true;
                    }
                }
                all = self.read(applied.next()).await;
            } else {
                let Applier { chosen, elsewhere: Some(elsewhere), .. } = self else { return false };
                let count = tokio::select! {
                    biased;
                    count = chosen.recv_many(&mut all, DECREES_MAX) => count,
                    () = elsewhere.until_changed() => continue,
                };
                if count == 0 {
                    return false;
                }
            }
            if let Some(turns) = self.publisher.turns() {
                self.turn = Some(turns.lock_owned().await);
            }
            if self.apply_all(all) {
                return true;
            }
            self.turn = None;
        }
    }

    /// Keeps of what was chosen only how far that is. Says whether another state took the place of this one.
    async fn forget(&mut self, next: Next) -> bool {
        match next {
            Next::Decree(slot, _) => {
                self.elsewhere().behind = slot;
                false
            }
            Next::Install(machine) => {
                if let Some(turns) = self.publisher.turns() {
                    self.turn = Some(turns.lock_owned().await);
                }
                self.install(machine);
                true
            }
        }
    }

    fn install(&mut self, machine: Box<Machine>) {
        self.take_over(machine);
        self.machine().begin();
    }

    /// Applies as much as can be applied now. Says whether that was anything.
    fn apply_all(&mut self, all: Vec<Next>) -> bool {
        let (mut is_changed, mut is_away) = (false, false);
        for next in all {
            match next {
                Next::Install(machine) => {
                    self.install(machine);
                    (is_changed, is_away) = (true, false);
                }
                Next::Decree(slot, _) if is_away => self.elsewhere().behind = slot,
                Next::Decree(slot, decree) => match self.apply(slot, &decree) {
                    Ok(()) => is_changed = true,
                    Err(NotApplied::Away(why)) => {
                        self.elsewhere().behind = self.elsewhere().behind.max(slot);
                        is_away = true;
                        if let Away::Unsteady(state_ndx) = why {
                            self.end(state_ndx);
                        }
                    }
                    Err(NotApplied::UnknownLevel(why)) => {
                        self.fatal.raise(why.to_string());
                        self.elsewhere().is_over = true;
                        return is_changed;
                    }
                },
            }
        }
        is_changed
    }

    /// The application is not what it has to be: nobody can tell which of its outcomes is right.
    fn end(&mut self, state_ndx: StateNdx) {
        let (app, chain) = (self.machine().state().app_ndx, self.chains.at(state_ndx));
        error!(%app, %state_ndx, "the application's process did not come to the same outcome twice: it depends on something else than \
            its commands. This node answers nobody from it any more; when its program is mended: synod repair");
        self.publisher.set_fence(Fence { state_ndx, is_exact: true });
        let evidence = Evidence {
            app_ndx: app.0,
            state_ndx: state_ndx.0,
            is_exact: true,
            chain: chain.map(|chain| chain.to_string()),
            others: Vec::new(),
        };
        let elsewhere = self.elsewhere();
        elsewhere.is_over = true;
        if let Err(why) = evidence.write(&elsewhere.data_dir) {
            error!(%app, %why, "cannot write down that the application did not come to the same outcome twice");
        }
    }

    /// The next decrees from this slot on, as they are in the journal; none, if they cannot be read now.
    async fn read(&mut self, from: Slot) -> Vec<Next> {
        let app = self.machine().state().app_ndx;
        let Elsewhere { journal, behind, inputs, .. } = self.elsewhere();
        let (sender, read) = oneshot::channel();
        let reply = move |read| {
            // Who asked is gone only when the node stops.
            let _ = sender.send(read);
        };
        if *behind < from {
            return Vec::new();
        }
        journal.read(app, from, *behind, CATCH_UP_BYTES_MAX, Box::new(reply));
        let why = match read.await {
            Ok(Ok(decrees)) if !decrees.is_empty() => {
                info!(%app, %from, decrees = decrees.len(), of = %behind, "applying what was chosen meanwhile");
                return decrees.into_iter().map(|(slot, _, decree)| Next::Decree(slot, decree)).collect();
            }
            Ok(Ok(_)) => "there is nothing".to_owned(),
            Ok(Err(why @ ReadError::Damaged { .. })) => why.to_string(),
            // The node stops.
            Ok(Err(ReadError::Stopped)) | Err(_) => return std::future::pending().await,
            Ok(Err(ReadError::Busy | ReadError::Store(_))) => {
                tokio::time::sleep(READ_AGAIN).await;
                return Vec::new();
            }
        };
        warn!(%app, slot = %from, why, "the journal cannot be read here; the other nodes are asked");
        // As above.
        let _ = inputs.send(Input::Damaged(app, Damage::Slot(from)));
        tokio::time::sleep(READ_AGAIN).await;
        Vec::new()
    }
}
