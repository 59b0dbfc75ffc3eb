//! Commands on their way: what entered at this node and was not executed yet.
//!
//! A command stays here, with those who wait for it, from its entry until this node applies it, whoever proposed it
//! and however often. It is handed to the leader again when the leader changes or stays silent: executing it twice
//! is impossible (see `synod-machine`), so repeating costs nothing but work.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use synod_auth::Verified;
use synod_backend::{Answer, Answered, Intake as Entrance, Submission};
use synod_gateway::AppDoor;
use synod_machine::Applied;
use synod_types::limits::{COMMAND_WAIT_MS_MAX, INTAKE_COMMANDS_MAX};
use synod_types::{AppNdx, CommandId, CommanderId, Refusal, RefusalCode, Seq, SignedCommand};
use tokio::sync::Notify;

/// After which time a command that was handed to another node is handed on again.
const HAND_ON_AGAIN: Duration = Duration::from_secs(1);

/// What entered at this node.
pub struct Intake {
    doors: BTreeMap<AppNdx, Arc<AppDoor>>,
    state: Mutex<State>,
    /// There are fresh commands for the driver.
    pub(crate) fresh: Notify,
}

#[derive(Default)]
struct State {
    pending: HashMap<CommandId, Pending>,
    fresh: Vec<(AppNdx, SignedCommand)>,
    stopping: bool,
}

struct Pending {
    app: AppNdx,
    command: SignedCommand,
    answers: Vec<Answer>,
    deadline: Instant,
    handed_on: Instant,
}

impl Intake {
    /// An empty intake for these applications.
    pub fn new(doors: BTreeMap<AppNdx, Arc<AppDoor>>) -> Intake {
        Intake { doors, state: Mutex::default(), fresh: Notify::new() }
    }

    /// Commands that entered since the last call, for the driver to hand on.
    pub(crate) fn take_fresh(&self) -> Vec<(AppNdx, SignedCommand)> {
        std::mem::take(&mut self.state().fresh)
    }

    /// These commands of one application were applied on this node.
    pub(crate) fn on_applied(&self, applied: Vec<Applied>) {
        self.settle(applied.into_iter().map(|one| (one.command, one.result)));
    }

    /// The leader refused these commands. What may be different elsewhere or later stays pending.
    pub(crate) fn on_refused(&self, refused: Vec<(CommandId, Refusal)>) {
        let for_good = refused.into_iter().filter(|(_, refusal)| refusal.code != RefusalCode::NoLeader);
        self.settle(for_good.map(|(id, refusal)| (id, Err(refusal))));
    }

    /// Answers those of these commands that wait here, outside of the lock.
    fn settle(&self, results: impl Iterator<Item = (CommandId, Answered)>) {
        let mut settled = Vec::new();
        {
            let mut state = self.state();
            if state.pending.is_empty() {
                return;
            }
            for (id, result) in results {
                settled.extend(state.pending.remove(&id).map(|pending| (pending.answers, result)));
            }
        }
        for (answers, result) in settled {
            send(answers, result);
        }
    }

    /// The commands of `app` that wait, to be handed to a new leader.
    pub(crate) fn pending_of(&self, app: AppNdx) -> Vec<SignedCommand> {
        let now = Instant::now();
        let mut state = self.state();
        let waiting = state.pending.values_mut().filter(|pending| pending.app == app);
        waiting
            .map(|pending| {
                pending.handed_on = now;
                pending.command.clone()
            })
            .collect()
    }

    /// Gives up on what waited too long, and returns what was handed to a leader elsewhere too long ago.
    /// `led_here`: applications that this node leads, where nothing gets lost on the way.
    pub(crate) fn on_tick(&self, led_here: impl Fn(AppNdx) -> bool) -> BTreeMap<AppNdx, Vec<SignedCommand>> {
        let now = Instant::now();
        let mut again: BTreeMap<AppNdx, Vec<SignedCommand>> = BTreeMap::new();
        let mut late = Vec::new();
        {
            let mut state = self.state();
            let expired: Vec<CommandId> = state
                .pending
                .iter()
                .filter(|(_, pending)| pending.deadline <= now)
                .map(|(&id, _)| id)
                .collect();
            for id in expired {
                late.extend(state.pending.remove(&id).map(|pending| pending.answers));
            }
            for pending in state.pending.values_mut() {
                if now.duration_since(pending.handed_on) >= HAND_ON_AGAIN && !led_here(pending.app) {
                    pending.handed_on = now;
                    again.entry(pending.app).or_default().push(pending.command.clone());
                }
            }
        }
        let refusal = Refusal::new(
            RefusalCode::Timeout,
            "not executed in time, and it may still be: submit the same bytes again to find out",
        );
        for answers in late {
            send(answers, Err(refusal.clone()));
        }
        again
    }

    /// Refuses whatever waits and whatever comes.
    pub(crate) fn stop(&self) {
        let pending = {
            let mut state = self.state();
            state.stopping = true;
            std::mem::take(&mut state.pending)
        };
        for pending in pending.into_values() {
            send(pending.answers, Err(stopping()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the intake")
    }

    /// What can be answered at once: an unknown application, and a command that this node saw executed.
    fn known(&self, command: &Verified<SignedCommand>) -> Option<Answered> {
        let body = command.body();
        let Some(door) = self.doors.get(&body.app) else { return Some(Err(unknown_app(body.app))) };
        door.view().receipt(body.commander, body.seq, command.id()).map(Ok)
    }
}

impl State {
    /// Takes a command in; an answer that comes back with it is to be given at once.
    fn enter(&mut self, submission: Submission, now: Instant) -> Option<(Answer, Answered)> {
        let Submission { command, answer } = submission;
        if self.stopping {
            return Some((answer, Err(stopping())));
        }
        let full = self.pending.len() >= INTAKE_COMMANDS_MAX;
        let (command, id, body) = command.into_parts();
        match self.pending.entry(id) {
            Entry::Occupied(mut pending) => pending.get_mut().answers.push(answer),
            Entry::Vacant(_) if full => {
                let text = format!("{INTAKE_COMMANDS_MAX} commands wait at this node; try again later");
                return Some((answer, Err(Refusal::new(RefusalCode::Busy, text))));
            }
            Entry::Vacant(place) => {
                let (app, deadline) = (body.app, now + Duration::from_millis(COMMAND_WAIT_MS_MAX));
                self.fresh.push((app, command.clone()));
                place.insert(Pending { app, command, answers: vec![answer], deadline, handed_on: now });
            }
        }
        None
    }
}

impl Entrance for Intake {
    fn submit(&self, command: Verified<SignedCommand>, answer: Answer) {
        self.submit_all(vec![Submission { command, answer }]);
    }

    fn submit_all(&self, submissions: Vec<Submission>) {
        let now = Instant::now();
        let mut answers = Vec::new();
        let mut entering = Vec::with_capacity(submissions.len());
        for submission in submissions {
            match self.known(&submission.command) {
                Some(answered) => answers.push((submission.answer, answered)),
                None => entering.push(submission),
            }
        }
        let wake = {
            let mut state = self.state();
            let before = state.fresh.len();
            for submission in entering {
                answers.extend(state.enter(submission, now));
            }
            before == 0 && !state.fresh.is_empty()
        };
        if wake {
            self.fresh.notify_one();
        }
        for (answer, answered) in answers {
            answer.send(answered);
        }
    }

    fn next_seq(&self, app: AppNdx, commander: CommanderId) -> Result<Seq, Refusal> {
        let door = self.doors.get(&app).ok_or_else(|| unknown_app(app))?;
        Ok(door.view().next_seq(commander))
    }
}

fn send(answers: Vec<Answer>, answered: Answered) {
    for answer in answers {
        answer.send(answered.clone());
    }
}

fn unknown_app(app: AppNdx) -> Refusal {
    Refusal::new(
        RefusalCode::UnknownApp,
        format!("this cluster has no application {app}; GET /v1/apps lists them"),
    )
}

fn stopping() -> Refusal {
    Refusal::new(RefusalCode::Stopping, "this node is stopping: submit the same bytes at another")
}
