//! Submits commands, wherever a node takes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use synod_auth::Algorithm;
use synod_types::command::CommandError;
use synod_types::limits::APPS_MAX;
use synod_types::request::{Reply, Request};
use synod_types::{AppNdx, Receipt, Refusal, RefusalCode, Seq, SignedCommand};
use tokio::sync::Semaphore;

use crate::call::{CallError, call};
use crate::commander::{CommandOptions, Commander};
use crate::config::{ClientConfig, ConfigError, Timeouts};
use crate::error::{AskError, ExecuteError, SubmitError};
use crate::roster::Roster;
use crate::seqs::{HeldSeq, Seqs};

/// How often an operation is signed anew because its seq was taken or out of reach.
const SEQ_TRIES: u32 = 8;
/// Files that are uploaded at a time. A node lets a session have more, so none of them is forgotten there.
const UPLOADS_MAX: usize = 4;

/// A commander's way into a cluster. Cheap to clone; clones share their sessions, one for each node, each opened when
/// it is first needed and again when it was lost. Thousands of calls may be in flight at a time.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    roster: Roster,
    commander: Commander,
    timeouts: Timeouts,
    seqs: Mutex<HashMap<AppNdx, Arc<Seqs>>>,
    uploads: Semaphore,
}

impl Client {
    /// A client that connects when it is first used.
    ///
    /// # Errors
    /// [`ConfigError`] says what does not fit.
    pub fn new(config: ClientConfig) -> Result<Client, ConfigError> {
        let commander = config.commander.clone();
        let timeouts = config.timeouts;
        let roster = Roster::new(config)?;
        let (seqs, uploads) = (Mutex::default(), Semaphore::new(UPLOADS_MAX));
        Ok(Client { inner: Arc::new(Inner { roster, commander, timeouts, seqs, uploads }) })
    }

    /// Whose client it is.
    pub fn commander(&self) -> &Commander {
        &self.inner.commander
    }

    /// Submits a command until its receipt comes, or it is refused for good, or the time is over. Sends the same bytes
    /// as often as needed, to any node: a command is executed once at most, and a repeat gets the receipt of the first.
    /// An executed command that the application refused has a receipt as well.
    ///
    /// # Errors
    /// [`SubmitError`] says whether the command may have been executed.
    pub async fn submit(&self, command: &SignedCommand) -> Result<Receipt, SubmitError> {
        if let Err(error) = command.check_sizes() {
            return Err(SubmitError::Refused(Refusal::new(RefusalCode::TooLarge, error)));
        }
        let request = Request::Submit(command.clone());
        let unknown = |why| SubmitError::Unknown { command: Box::new(command.clone()), why };
        match call(&self.inner.roster, request, command.len(), &self.inner.timeouts).await {
            Ok(Reply::Executed { receipt, .. }) => Ok(receipt),
            Ok(_) => Err(unknown("the node answered something else than what was asked".to_owned())),
            Err(CallError::Refused(refusal)) => Err(SubmitError::Refused(refusal)),
            Err(CallError::Unreachable(why)) => Err(SubmitError::Unreachable { why }),
            Err(CallError::Unknown(why)) => Err(unknown(why)),
        }
    }

    /// The lowest seq above every one that some node has seen executed for this commander.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn next_seq(&self, app: AppNdx) -> Result<Seq, AskError> {
        match call(&self.inner.roster, Request::NextSeq { app }, 0, &self.inner.timeouts).await {
            Ok(Reply::NextSeq { seq, .. }) => Ok(seq),
            Ok(_) => {
                let why = "the node answered something else than what was asked".to_owned();
                Err(AskError::Unreachable { why })
            }
            Err(CallError::Refused(refusal)) => Err(AskError::Refused(refusal)),
            Err(CallError::Unreachable(why) | CallError::Unknown(why)) => Err(AskError::Unreachable { why }),
        }
    }

    /// Signs and submits an operation under a seq of its own. The first call for an application asks the cluster for the
    /// next seq. Other clients of the same commander are borne: where they took a seq, the next one is tried.
    ///
    /// # Errors
    /// [`ExecuteError`]; `Submit(Unknown)` carries the command to submit again.
    pub async fn execute(
        &self,
        app: AppNdx,
        operation: Bytes,
        options: CommandOptions,
    ) -> Result<Receipt, ExecuteError> {
        Ok(self.execute_with_command(app, operation, options).await?.1)
    }

    /// [`Client::execute`], for who keeps the command with its receipt.
    ///
    /// # Errors
    /// The same.
    pub async fn execute_with_command(
        &self,
        app: AppNdx,
        operation: Bytes,
        options: CommandOptions,
    ) -> Result<(SignedCommand, Receipt), ExecuteError> {
        let seqs = self.seqs(app)?;
        let mut tries = 1;
        loop {
            let held = self.hold_seq(app, &seqs).await?;
            let command = self.sign(app, held.seq(), operation.clone(), options).await?;
            match self.submit(&command).await {
                Ok(receipt) => return Ok((command, receipt)),
                // All of these say that this command was not executed, so another may take its place.
                Err(SubmitError::Refused(Refusal {
                    code: code @ (RefusalCode::SeqReused | RefusalCode::SeqTooFar | RefusalCode::StaleSeq),
                    ..
                })) if tries < SEQ_TRIES => {
                    tries += 1;
                    let (seq, generation) = (held.seq(), held.generation());
                    drop(held);
                    let used = (code == RefusalCode::SeqReused).then_some(seq);
                    self.ask(app, &seqs, generation, used).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Leaves the cluster in order. Without it the sessions are cut when the last clone is dropped.
    pub async fn close(&self) {
        self.inner.roster.close().await;
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.inner.roster
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.inner.timeouts
    }

    /// A turn at uploading.
    pub(crate) fn uploads(&self) -> &Semaphore {
        &self.inner.uploads
    }

    fn seqs(&self, app: AppNdx) -> Result<Arc<Seqs>, AskError> {
        let mut seqs = self.inner.seqs.lock().expect("nothing panics while it is held");
        if let Some(seqs) = seqs.get(&app) {
            return Ok(seqs.clone());
        }
        if seqs.len() >= APPS_MAX {
            let text = format!("a cluster has at most {APPS_MAX} applications");
            return Err(AskError::Refused(Refusal::new(RefusalCode::UnknownApp, text)));
        }
        Ok(seqs.entry(app).or_default().clone())
    }

    async fn hold_seq(&self, app: AppNdx, seqs: &Arc<Seqs>) -> Result<HeldSeq, AskError> {
        loop {
            if let Some(held) = seqs.hold().await {
                return Ok(held);
            }
            self.ask(app, seqs, 0, None).await?;
        }
    }

    /// Asks the cluster for the next seq, unless someone did since `generation`; `used` is known to be taken.
    async fn ask(
        &self,
        app: AppNdx,
        seqs: &Arc<Seqs>,
        generation: u64,
        used: Option<Seq>,
    ) -> Result<(), AskError> {
        let _asking = seqs.asking.lock().await;
        if seqs.generation() == generation {
            let next = self.next_seq(app).await?;
            seqs.learn(next, used);
        }
        Ok(())
    }

    pub(crate) async fn sign(
        &self,
        app: AppNdx,
        seq: Seq,
        operation: Bytes,
        options: CommandOptions,
    ) -> Result<SignedCommand, CommandError> {
        let commander = self.inner.commander.clone();
        let sign = move || commander.sign(app, seq, operation, options);
        if self.inner.commander.key().public().algorithm() == Algorithm::Ed25519 {
            return sign();
        }
        // A millisecond and more: not on the threads that carry the traffic.
        let signed = tokio::task::spawn_blocking(sign).await;
        signed.expect("signing does not panic, and a blocking task is not aborted")
    }
}
