//! What both transports share: the node, the verifiers, the counters, and how much may be in flight.
//!
//! Commands go through [`Shared::admit`] and [`Shared::execute`]; files through `crate::ticket`, and hold their [`Room`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use synod_auth::{Unverified, Verifier, VerifyPool};
use synod_types::limits::{BACKEND_BAD_SIGNATURE_US, BACKEND_BYTES_MAX};
use synod_types::{ClusterId, Refusal, RefusalCode, SignedCommand};
use tokio::sync::{Mutex as Turn, oneshot};
use tokio::time::sleep;

use crate::content::ContentDoor;
use crate::counters::{Counters, count};
use crate::intake::{Answer, Answered, Intake, Submission};
use crate::progress::Progress;

/// Up to so many commands, of so many bytes together, are verified in the task that has them: that takes less than a
/// hand-over to another thread and back.
const INLINE_COMMANDS_MAX: usize = 4;
const INLINE_BYTES_MAX: usize = 64 << 10;

/// What both transports share.
pub(crate) struct Shared {
    pub(crate) cluster: ClusterId,
    pub(crate) intake: Arc<dyn Intake>,
    pub(crate) door: Arc<dyn ContentDoor>,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) pool: Arc<VerifyPool>,
    pub(crate) counters: Arc<Counters>,
    stopping: AtomicBool,
    /// Whose turn it is to wait for bad signatures.
    forgers: Turn<()>,
}

impl Shared {
    pub(crate) fn new(
        cluster: ClusterId,
        pool: Arc<VerifyPool>,
        intake: Arc<dyn Intake>,
        door: Arc<dyn ContentDoor>,
        progress: Arc<dyn Progress>,
    ) -> Shared {
        let (counters, stopping) = (Arc::default(), AtomicBool::new(false));
        let forgers = Turn::default();
        Shared { cluster, intake, door, progress, pool, counters, stopping, forgers }
    }

    /// From now on new commands are refused.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Refuses what comes when the back end closes.
    pub(crate) fn check_not_stopping(&self) -> Result<(), Refusal> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Refusal::new(RefusalCode::Stopping, "this node is stopping; submit elsewhere"));
        }
        Ok(())
    }

    /// Counts a command that arrived and makes room for it. The room is given back by [`Shared::answered`].
    pub(crate) fn admit(&self, command: &SignedCommand) -> Result<usize, Refusal> {
        count(&self.counters.commands);
        self.check_not_stopping()?;
        command.check_sizes().map_err(|error| Refusal::new(RefusalCode::TooLarge, error))?;
        let bytes = command.len();
        self.hold(bytes)?;
        Ok(bytes)
    }

    /// Makes room for bytes of files.
    pub(crate) fn room(self: &Arc<Self>, bytes: usize) -> Result<Room, Refusal> {
        self.hold(bytes)?;
        Ok(Room { shared: self.clone(), bytes })
    }

    fn hold(&self, bytes: usize) -> Result<(), Refusal> {
        let held = self.counters.bytes_held.fetch_add(bytes, Ordering::Relaxed);
        if held + bytes > BACKEND_BYTES_MAX {
            self.give_back(bytes);
            let text = format!(
                "{held} bytes of commands and files wait at this node; submit again later or elsewhere"
            );
            return Err(Refusal::new(RefusalCode::Busy, text));
        }
        Ok(())
    }

    /// Gives back the room of a command.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.counters.bytes_held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts what became of a command that was admitted with `bytes`, or refused at once with none.
    pub(crate) fn answered(&self, bytes: usize, answered: &Answered) {
        self.give_back(bytes);
        match answered {
            Ok(_) => count(&self.counters.executed),
            Err(refusal) => self.counters.refuse(refusal.code),
        }
    }

    /// Verifies `commands` and hands those that verify to the node, in order; returns when that is done, so that who
    /// calls again keeps the order. Each command is answered, whatever happens. Gives how many had a bad signature, for
    /// [`Shared::slow_down`].
    pub(crate) async fn execute(self: &Arc<Self>, commands: Vec<(SignedCommand, Answer)>) -> usize {
        let bytes: usize = commands.iter().map(|(command, _)| command.len()).sum();
        if commands.len() <= INLINE_COMMANDS_MAX && bytes <= INLINE_BYTES_MAX {
            return self.verify(self.pool.verifier(), commands);
        }
        let (done, wait) = oneshot::channel();
        // Where the pool has no room it drops the job, and the commands are still to be answered.
        let commands = Arc::new(Mutex::new(commands));
        let job = (self.clone(), commands.clone());
        let queued = self.pool.submit(move |verifier| {
            let (shared, commands) = job;
            // Who waits may have left.
            let _ = done.send(shared.verify(verifier, take(&commands)));
        });
        match queued {
            // An error means that the pool is gone; the answers went with it, and each has said so.
            Ok(()) => wait.await.unwrap_or(0),
            Err(busy) => {
                for (_, answer) in take(&commands) {
                    answer.send(Err(Refusal::new(RefusalCode::Busy, busy)));
                }
                0
            }
        }
    }

    /// Waits for what so many bad signatures cost, behind everybody else who has sent some. A bad signature costs its sender
    /// nothing and a node as much as a good one; this way those who send them have a small part of the node's time
    /// between them, however many they are, and nobody else waits.
    pub(crate) async fn slow_down(&self, bad_signatures: usize) {
        if bad_signatures > 0 {
            let _turn = self.forgers.lock().await;
            let count = u64::try_from(bad_signatures).unwrap_or(u64::MAX);
            sleep(Duration::from_micros(count.saturating_mul(BACKEND_BAD_SIGNATURE_US))).await;
        }
    }

    /// Gives how many of the commands had a bad signature.
    fn verify(&self, verifier: &Verifier, commands: Vec<(SignedCommand, Answer)>) -> usize {
        let mut bad_signatures = 0;
        let mut submissions = Vec::with_capacity(commands.len());
        let (commands, answers): (Vec<_>, Vec<_>) =
            commands.into_iter().map(|(command, answer)| (Unverified(command), answer)).unzip();
        for (command, answer) in verifier.verify_commands(commands).into_iter().zip(answers) {
            match command {
                Ok(command) => submissions.push(Submission { command, answer }),
                Err(refusal) => {
                    bad_signatures += usize::from(refusal.code == RefusalCode::BadSignature);
                    answer.send(Err(refusal));
                }
            }
        }
        if !submissions.is_empty() {
            self.intake.submit_all(submissions);
        }
        bad_signatures
    }
}

/// Room for bytes in flight, given back when it is dropped.
pub(crate) struct Room {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.give_back(self.bytes);
    }
}

fn take<T>(batch: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *batch.lock().expect("nothing panics while it is held"))
}
