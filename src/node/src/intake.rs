//! Commands on their way: what entered at this node and was not executed yet.
//!
//! A command stays here, with those who wait for it, from its entry until this node applies it, whoever proposed it
//! and however often. It is handed to the leader again when the leader changes or stays silent: executing it twice
//! is impossible (see `synod-machine`), so repeating costs nothing but work.
//!
//! A command that refers to files waits for them first, at the [gate](crate::gate) of the node where it enters.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::Histogram;
use synod_auth::Verified;
use synod_backend::{Answer, Answered, Intake as Entrance, Submission};
use synod_gateway::AppDoor;
use synod_machine::{Applied, View};
use synod_types::command::Operation;
use synod_types::limits::{COMMAND_WAIT_MS_MAX, INTAKE_COMMANDS_MAX};
use synod_types::{
    AppNdx, CommandId, CommanderId, ContentKey, Receipt, Refusal, RefusalCode, Seq, SignedCommand,
};
use tokio::sync::{Notify, mpsc};

use crate::gate::{GATED_BYTES_MAX, GATED_COMMANDS_MAX, Gated};
use crate::space::{self, Space};

/// After which time a command that was handed to another node is handed on again.
const HAND_ON_AGAIN: Duration = Duration::from_secs(1);
/// How long a command may wait for its answer.
const COMMAND_WAIT: Duration = Duration::from_millis(COMMAND_WAIT_MS_MAX);

/// What entered at this node.
pub struct Intake {
    space: Arc<Space>,
    doors: BTreeMap<AppNdx, Arc<AppDoor>>,
    state: Mutex<State>,
    /// Commands that wait for their files.
    gate: mpsc::UnboundedSender<Gated>,
    /// How long commands waited for their answers.
    seconds: BTreeMap<AppNdx, Histogram>,
    /// There are fresh commands for the driver.
    pub(crate) fresh: Notify,
}

#[derive(Default)]
struct State {
    pending: HashMap<CommandId, Pending>,
    /// What has not passed the gate.
    gated: HashMap<CommandId, Held>,
    gated_bytes: usize,
    fresh: Vec<(AppNdx, SignedCommand)>,
    stopping: bool,
    /// This node has no part in the cluster.
    is_outside: bool,
}

struct Pending {
    app: AppNdx,
    command: SignedCommand,
    /// Nobody waits here for what entered at another node.
    answers: Vec<Answer>,
    deadline: Instant,
    handed_on: Instant,
}

/// A command that waits at the gate, with those who wait for it.
struct Held {
    app: AppNdx,
    command: SignedCommand,
    answers: Vec<Answer>,
    deadline: Instant,
}

/// What this node can say of a command that arrives.
enum Arrival {
    /// The answer.
    Answered(Answered),
    /// It is to be ordered; before that, these files are to be there, and an application in another process may want to see it.
    New { contents: Vec<ContentKey>, is_checked: bool },
}

impl Intake {
    /// An empty intake for these applications. Commands that refer to files go to `gate`, which is to call
    /// [`Intake::pass`] or [`Intake::turn_away`] for each of them.
    pub(crate) fn new(
        doors: BTreeMap<AppNdx, Arc<AppDoor>>,
        gate: mpsc::UnboundedSender<Gated>,
        space: Arc<Space>,
    ) -> Intake {
        let seconds = |app: &AppNdx| metrics::histogram!("synod_command_seconds", "app" => app.to_string());
        let seconds = doors.keys().map(|app| (*app, seconds(app))).collect();
        Intake { doors, space, state: Mutex::default(), gate, seconds, fresh: Notify::new() }
    }

    /// Commands that entered since the last call, for the driver to hand on.
    pub(crate) fn take_fresh(&self) -> Vec<(AppNdx, SignedCommand)> {
        std::mem::take(&mut self.state().fresh)
    }

    /// These commands of one application were applied on this node.
    pub(crate) fn on_applied(&self, applied: Vec<Applied>) {
        self.settle(applied.into_iter().map(|one| (one.command, one.result)));
    }

    /// These commands were executed before, as these receipts say.
    pub(crate) fn on_executed(&self, executed: Vec<(CommandId, Receipt)>) {
        self.settle(executed.into_iter().map(|(id, receipt)| (id, Ok(receipt))));
    }

    /// A state came whole from another node: what waits here and was executed on the way to it is answered.
    pub(crate) fn on_installed(&self, view: &View) {
        let waiting: Vec<SignedCommand> = {
            let state = self.state();
            let of_app = state.pending.values().filter(|pending| pending.app == view.app_ndx);
            of_app.map(|pending| pending.command.clone()).collect()
        };
        self.settle(waiting.iter().filter_map(|command| Some((command.id(), Ok(view.receipt_of(command)?)))));
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
            if state.pending.is_empty() && state.gated.is_empty() {
                return;
            }
            for (id, result) in results {
                let pending = state.pending.remove(&id);
                let pending = pending.map(|pending| (pending.app, pending.deadline, pending.answers));
                // It may have entered at another node, too.
                let held = || state.take_held(id).map(|held| (held.app, held.deadline, held.answers));
                settled.extend(pending.or_else(held).map(|waiting| (waiting, result)));
            }
        }
        let now = Instant::now();
        for ((app, deadline, answers), result) in settled {
            if let Some(seconds) = self.seconds.get(&app) {
                seconds.record(COMMAND_WAIT.saturating_sub(deadline.saturating_duration_since(now)));
            }
            send(answers, result);
        }
    }

    /// Keeps what somebody waits for at this node.
    pub(crate) fn retain_awaited(&self, applied: &mut Vec<Applied>) {
        let state = self.state();
        applied
            .retain(|one| state.pending.contains_key(&one.command) || state.gated.contains_key(&one.command));
    }

    /// The files of a command at the gate are there, and are what the command says: it enters.
    pub(crate) fn pass(&self, id: CommandId) {
        let wake = {
            let mut state = self.state();
            // Executed meanwhile, or the node stops.
            let Some(Held { app, command, answers, deadline }) = state.take_held(id) else { return };
            let wake = state.fresh.is_empty();
            state.admit(id, app, command, answers, deadline);
            wake
        };
        if wake {
            self.fresh.notify_one();
        }
    }

    /// A command at the gate is refused.
    pub(crate) fn turn_away(&self, id: CommandId, refusal: &Refusal) {
        let held = self.state().take_held(id);
        if let Some(held) = held {
            send(held.answers, Err(refusal.clone()));
        }
    }

    /// Keeps commands of another node, which passed the gate there, until they are executed or somebody leads. Where there is no
    /// room, they are dropped: those who wait for them are elsewhere, and the other half of the room is for who waits here.
    pub(crate) fn keep(&self, app: AppNdx, commands: Vec<SignedCommand>) {
        let Some(door) = self.doors.get(&app) else { return };
        let (view, now) = (door.peek(), Instant::now());
        let mut state = self.state();
        if state.stopping || state.is_outside {
            return;
        }
        let (mut kept, mut dropped) = (0, 0);
        for command in commands {
            let id = command.id();
            let is_known = state.pending.contains_key(&id) || state.gated.contains_key(&id);
            if is_known || view.receipt_of(&command).is_some() {
                continue;
            }
            if state.pending.len() >= INTAKE_COMMANDS_MAX / 2 {
                dropped += 1;
                continue;
            }
            kept += 1;
            let (answers, deadline) = (Vec::new(), now + COMMAND_WAIT);
            state.pending.insert(id, Pending { app, command, answers, deadline, handed_on: now });
        }
        let count =
            |what, of| metrics::counter!("synod_relayed_commands_total", "what" => what).increment(of);
        count("kept", kept);
        count("dropped", dropped);
    }

    /// Keeps what entered here.
    pub(crate) fn retain_entered(&self, commands: &mut Vec<SignedCommand>) {
        let state = self.state();
        let has_entered = |pending: &Pending| !pending.answers.is_empty();
        commands.retain(|command| state.pending.get(&command.id()).is_some_and(has_entered));
    }

    /// The commands of `app` that entered here and wait, to be handed to a new leader. What others relayed to this node waits a moment
    /// longer: they do the same, if they are still there.
    pub(crate) fn entered_of(&self, app: AppNdx) -> Vec<SignedCommand> {
        let now = Instant::now();
        let mut state = self.state();
        let entered = |pending: &&mut Pending| pending.app == app && !pending.answers.is_empty();
        let waiting = state.pending.values_mut().filter(entered);
        waiting
            .map(|pending| {
                pending.handed_on = now;
                pending.command.clone()
            })
            .collect()
    }

    /// Gives up on what waited too long, and returns what was handed to a leader elsewhere too long ago.
    /// `led_here`: applications that this node leads, where nothing that entered here gets lost on the way.
    pub(crate) fn on_tick(&self, led_here: impl Fn(AppNdx) -> bool) -> BTreeMap<AppNdx, Vec<SignedCommand>> {
        let now = Instant::now();
        let mut again: BTreeMap<AppNdx, Vec<SignedCommand>> = BTreeMap::new();
        let (mut late, mut executed) = (Vec::new(), Vec::new());
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
            for (id, pending) in &mut state.pending {
                let is_late = now.duration_since(pending.handed_on) >= HAND_ON_AGAIN;
                if !is_late || (!pending.answers.is_empty() && led_here(pending.app)) {
                    continue;
                }
                let Pending { app, command, handed_on, .. } = pending;
                *handed_on = now;
                // It may have come in while its execution was on the way out.
                match self.doors.get(app).and_then(|door| door.peek().receipt_of(command)) {
                    Some(receipt) => executed.push((*id, receipt)),
                    None => again.entry(*app).or_default().push(command.clone()),
                }
            }
        }
        self.on_executed(executed);
        let refusal = Refusal::new(
            RefusalCode::Timeout,
            "not executed in time, and it may still be: submit the same bytes again to find out",
        );
        for answers in late {
            send(answers, Err(refusal.clone()));
        }
        again
    }

    /// As if everything that waits had been handed on long ago.
    #[cfg(test)]
    fn make_late(&self) {
        for pending in self.state().pending.values_mut() {
            pending.handed_on -= HAND_ON_AGAIN;
        }
    }

    /// Whether a command entered here and was not executed here yet.
    pub(crate) fn awaits(&self, id: CommandId) -> bool {
        let state = self.state();
        state.pending.contains_key(&id) || state.gated.contains_key(&id)
    }

    /// Refuses whatever waits and whatever comes.
    pub(crate) fn stop(&self) {
        self.state().stopping = true;
        self.give_up(&stopping());
    }

    /// Says whether this node has no part in the cluster: nothing that enters here could be executed then, and what waits is
    /// better asked for elsewhere.
    pub(crate) fn set_outside(&self, is_outside: bool) {
        let was_outside = std::mem::replace(&mut self.state().is_outside, is_outside);
        if is_outside && !was_outside {
            // The others may have it, so nobody is to believe that it was not executed.
            let text = "this node is no member of the cluster any more: submit the same bytes at another";
            self.give_up(&Refusal::new(RefusalCode::Stopping, text));
        }
    }

    fn give_up(&self, refusal: &Refusal) {
        let (pending, gated) = {
            let mut state = self.state();
            state.gated_bytes = 0;
            (std::mem::take(&mut state.pending), std::mem::take(&mut state.gated))
        };
        let pending = pending.into_values().map(|pending| pending.answers);
        for answers in pending.chain(gated.into_values().map(|held| held.answers)) {
            send(answers, Err(refusal.clone()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the intake")
    }

    /// What can be answered at once is: an unknown application, and a command that this node saw executed.
    fn look_at(&self, command: &Verified<SignedCommand>) -> Arrival {
        let body = command.body();
        let Some(door) = self.doors.get(&body.app) else {
            return Arrival::Answered(Err(unknown_app(body.app)));
        };
        if door.fence().is_some() {
            let text = "this node differs from the others in this application, and takes no commands for it: submit the same bytes at another";
            return Arrival::Answered(Err(Refusal::new(RefusalCode::Stopping, text)));
        }
        let view = door.peek();
        if let Some(receipt) = view.receipt(body.commander, body.seq, command.id()) {
            return Arrival::Answered(Ok(receipt));
        }
        match Operation::split(&body.operation) {
            // An application without files answers this without a look at the operation.
            Some(Operation::App(operation)) => Arrival::New {
                contents: view.app.content_of(operation),
                is_checked: view.app.apart().is_some_and(|apart| apart.checks()),
            },
            Some(Operation::Authority(_)) | None => Arrival::New { contents: Vec::new(), is_checked: false },
        }
    }
}

impl State {
    /// Takes a command in. What is answered at once goes to `answers`; what comes back is for the gate.
    fn enter(
        &mut self,
        submission: Submission,
        (contents, is_checked): (Vec<ContentKey>, bool),
        now: Instant,
        answers: &mut Vec<(Answer, Answered)>,
    ) -> Option<Gated> {
        let Submission { command, answer } = submission;
        if self.stopping {
            answers.push((answer, Err(stopping())));
            return None;
        }
        if self.is_outside {
            answers.push((answer, Err(outside())));
            return None;
        }
        let (command, id, body) = command.into_parts();
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.answers.push(answer);
            return None;
        }
        if let Some(held) = self.gated.get_mut(&id) {
            held.answers.push(answer);
            return None;
        }
        if self.pending.len() + self.gated.len() >= INTAKE_COMMANDS_MAX {
            let text = format!("{INTAKE_COMMANDS_MAX} commands wait at this node; try again later");
            answers.push((answer, Err(Refusal::new(RefusalCode::Busy, text))));
            return None;
        }
        let (app, deadline) = (body.app, now + COMMAND_WAIT);
        if contents.is_empty() && !is_checked {
            self.admit(id, app, command, vec![answer], deadline);
            return None;
        }
        let bytes = self.gated_bytes + command.len();
        if self.gated.len() >= GATED_COMMANDS_MAX || bytes > GATED_BYTES_MAX {
            let count = self.gated.len();
            let text = format!(
                "{count} commands wait at this node for their files, or to be checked; try again later"
            );
            answers.push((answer, Err(Refusal::new(RefusalCode::Busy, text))));
            return None;
        }
        self.gated_bytes = bytes;
        self.gated.insert(id, Held { app, command, answers: vec![answer], deadline });
        Some(Gated { id, body, contents, deadline: deadline.into() })
    }

    /// A command is to be ordered.
    fn admit(
        &mut self,
        id: CommandId,
        app: AppNdx,
        command: SignedCommand,
        answers: Vec<Answer>,
        deadline: Instant,
    ) {
        self.fresh.push((app, command.clone()));
        let handed_on = Instant::now();
        self.pending.insert(id, Pending { app, command, answers, deadline, handed_on });
    }

    fn take_held(&mut self, id: CommandId) -> Option<Held> {
        let held = self.gated.remove(&id)?;
        self.gated_bytes -= held.command.len();
        Some(held)
    }
}

impl Entrance for Intake {
    fn submit(&self, command: Verified<SignedCommand>, answer: Answer) {
        self.submit_all(vec![Submission { command, answer }]);
    }

    fn submit_all(&self, submissions: Vec<Submission>) {
        let is_low = self.space.is_low();
        let now = Instant::now();
        let mut answers = Vec::new();
        let mut entering = Vec::with_capacity(submissions.len());
        for submission in submissions {
            match self.look_at(&submission.command) {
                Arrival::Answered(answered) => answers.push((submission.answer, answered)),
                Arrival::New { .. } if is_low => answers.push((submission.answer, Err(space::refusal()))),
                Arrival::New { contents, is_checked } => entering.push((submission, (contents, is_checked))),
            }
        }
        let wake = {
            let mut state = self.state();
            let before = state.fresh.len();
            for (submission, gate) in entering {
                if let Some(gated) = state.enter(submission, gate, now, &mut answers) {
                    // The gate is gone only when the node stops, which answers what waits at it.
                    let _ = self.gate.send(gated);
                }
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
        // What it knows is old, and a number that was used is refused for good.
        if self.state().is_outside {
            return Err(outside());
        }
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

fn outside() -> Refusal {
    Refusal::new(RefusalCode::NoLeader, "this node is no member of the cluster: ask another")
}

#[cfg(test)]
mod tests;
