//! What an audit prints: a line for each step while it goes, and what it came to at the end.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use synod_auth::GenesisApp;
use synod_machine::View;
use synod_types::{AppNdx, Outcome, Slot, StateNdx};

use super::auditor::{Auditor, Break, Cause, Change};
use super::beginning::Begins;
use super::filter::Filter;
use super::words;
use crate::output::Output;
use crate::table::printable;
use crate::time;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// An application as it is printed.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) ndx: AppNdx,
    pub(crate) name: String,
    pub(crate) kind: String,
}

/// What is printed, and where.
pub(crate) struct Report {
    /// `None`: nothing is.
    output: Option<Output>,
    out: BufWriter<Stdout>,
    filter: Filter,
    quiet: bool,
    /// Whether progress goes to standard error: it must be a terminal on which no steps are shown.
    shows_progress: bool,
    progress_shown: Instant,
    apps: Vec<Value>,
    left_out: Vec<Value>,
    began: Instant,
    commands: u64,
}

impl Report {
    pub(crate) fn new(output: Output, filter: Filter, quiet: bool) -> Report {
        let shows_progress = io::stderr().is_terminal() && (quiet || !io::stdout().is_terminal());
        let (out, now) = (BufWriter::new(io::stdout()), Instant::now());
        let (apps, left_out, commands) = (Vec::new(), Vec::new(), 0);
        let (output, progress_shown, began) = (Some(output), now, now);
        Report { output, out, filter, quiet, shows_progress, progress_shown, apps, left_out, began, commands }
    }

    /// A report of which only the progress is seen.
    pub(crate) fn silent() -> Report {
        Report { output: None, ..Report::new(Output::Text, Filter::default(), true) }
    }

    /// An application's log begins.
    pub(crate) fn begin(&mut self, app: &Named, begins: &Begins) -> anyhow::Result<()> {
        if let Some(warning) = begins.warning() {
            self.clear_progress();
            eprintln!("warning: application {}: {warning}", app.ndx);
        }
        if self.output == Some(Output::Text) && !self.quiet {
            let Named { ndx, name, kind } = app;
            let begins = if *begins == Begins::Genesis { String::new() } else { format!(" {begins}") };
            writeln!(self.out, "application {ndx} ({name}, {kind}){begins}")?;
            let titles = ["STATENDX", "TIME", "COMMANDER", "OPERATION", "OUTCOME"];
            let [state_ndx, time, commander, operation, outcome] = titles;
            writeln!(self.out, "{state_ndx:>8}  {time:<20}  {commander:<16}  {operation:<44}  {outcome}")?;
        }
        Ok(())
    }

    /// The steps of one slot.
    pub(crate) fn steps(&mut self, app: &Named, view: &View, changes: &[Change]) -> anyhow::Result<()> {
        if self.quiet {
            return Ok(());
        }
        for change in changes.iter().filter(|change| self.filter.admits(change)) {
            let told = words::told(&app.kind, change, view);
            if !self.filter.admits_parts(&told) {
                continue;
            }
            let (outcome, said) = match &change.outcome {
                Outcome::Done(answer) => {
                    let (json, said) = words::explained(&app.kind, &change.cause, answer);
                    let separator = if said.is_empty() { "" } else { ": " };
                    (json!({ "done": json }), format!("done{separator}{said}"))
                }
                Outcome::Refused(refusal) => {
                    let json = json!({ "refused": { "code": refusal.code.name(), "text": refusal.text } });
                    (json, format!("refused: {refusal}"))
                }
            };
            let time = time::shown(change.time.0);
            let (name, commander, seq) = match &change.cause {
                Cause::Command { body, name, .. } => {
                    let commander = json!({ "id": body.commander.to_string(), "name": &**name });
                    (printable(name), commander, json!(body.seq))
                }
                Cause::Expiry { .. } => ("-".to_owned(), Value::Null, Value::Null),
            };
            match self.output {
                None => {}
                Some(Output::Text) => writeln!(
                    self.out,
                    "{:>8}  {time:<20}  {:<16}  {:<44}  {}",
                    change.state_ndx.0,
                    name,
                    told.text,
                    printable(&said)
                )?,
                Some(Output::Json) => {
                    let line = json!({
                        "appNdx": app.ndx,
                        "slot": change.slot,
                        "stateNdx": change.state_ndx,
                        "time": time,
                        "timeMs": change.time,
                        "commander": commander,
                        "seq": seq,
                        "command": change.cause.id().to_string(),
                        "operation": told.text,
                        "about": words::parts_json(&told.parts),
                        "outcome": outcome,
                        "chain": change.chain.to_string(),
                    });
                    writeln!(self.out, "{line}")?;
                }
            }
        }
        Ok(())
    }

    /// How far it is.
    pub(crate) fn progress(&mut self, app: &Named, slot: Slot, end: Slot, state_ndx: StateNdx) {
        if self.shows_progress && self.progress_shown.elapsed() >= PROGRESS_EVERY {
            self.progress_shown = Instant::now();
            // Nobody needs it.
            let _ = write!(io::stderr(), "\r{}: slot {slot} of {end}, stateNdx {state_ndx} \x1b[K", app.name);
        }
    }

    fn clear_progress(&self) {
        if self.shows_progress {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// An application's log is in order.
    pub(crate) fn end(
        &mut self,
        app: &Named,
        begins: &Begins,
        auditor: &Auditor,
        compared: &[String],
        unknown: u64,
    ) -> anyhow::Result<()> {
        self.clear_progress();
        let (state, totals) = (auditor.state(), auditor.totals());
        self.commands += totals.commands;
        self.apps.push(json!({
            "appNdx": app.ndx,
            "name": app.name,
            "begins": begins.json(),
            "slots": totals.slots,
            "commands": totals.commands,
            "signaturesVerified": totals.commands,
            "done": totals.done,
            "refused": totals.refused,
            "withoutTrace": totals.without_trace,
            "repeats": totals.repeats,
            "expiries": totals.expiries,
            "stateNdx": state.state_ndx,
            "chain": state.chain.to_string(),
            "comparedWith": compared,
            "slotsNotAudited": unknown,
        }));
        if self.output == Some(Output::Text) {
            writeln!(
                self.out,
                "application {} ({}) is in order: {} slots, {} commands with as many signatures verified: {} done, {} refused, \
                 {} without a trace, {} repeats; {} expiries",
                app.ndx,
                app.name,
                totals.slots,
                totals.commands,
                totals.done,
                totals.refused,
                totals.without_trace,
                totals.repeats,
                totals.expiries
            )?;
            if *begins != Begins::Genesis {
                writeln!(self.out, "  {begins}")?;
            }
            writeln!(self.out, "  stateNdx {}  chain {}", state.state_ndx, state.chain)?;
            let compared = match compared {
                [] => "nothing: --expect and --receipt say what is known from elsewhere".to_owned(),
                compared => compared.join(", "),
            };
            writeln!(self.out, "  compared with {compared}")?;
            if unknown > 0 {
                writeln!(
                    self.out,
                    "  {unknown} accepted slots behind the last known chosen one were not audited: nobody can tell here what \
                     was chosen in them"
                )?;
            }
        }
        Ok(self.out.flush()?)
    }

    /// An application's log was not looked at.
    pub(crate) fn leave_out(&mut self, app: &GenesisApp) -> anyhow::Result<()> {
        let GenesisApp { ndx, name, kind } = app;
        self.left_out.push(json!({ "appNdx": ndx, "name": name, "kind": kind }));
        if self.output == Some(Output::Text) {
            writeln!(
                self.out,
                "application {ndx} ({name}) was NOT audited: it is of kind {kind:?}, which this program does not have; --lane \
                 {name}=COMMAND names the program that executes it"
            )?;
        }
        Ok(())
    }

    /// Everything that was audited is in order.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let elapsed = self.began.elapsed();
        let millis = elapsed.as_millis().max(1);
        let rate = u128::from(self.commands) * 1000 / millis;
        match self.output {
            None => {}
            Some(Output::Text) => writeln!(
                self.out,
                "audited {} commands in {}.{:03} s: {rate} a second",
                self.commands,
                millis / 1000,
                millis % 1000
            )?,
            Some(Output::Json) => writeln!(
                self.out,
                "{}",
                json!({ "audited": true, "apps": self.apps, "notAudited": self.left_out, "elapsedMs": millis, "commandsPerSecond": rate })
            )?,
        }
        Ok(self.out.flush()?)
    }

    /// It is not.
    pub(crate) fn broken(mut self, broken: &Break) -> anyhow::Result<()> {
        self.clear_progress();
        if self.output == Some(Output::Json) {
            let Break { app, slot, state_ndx, kind, text } = broken;
            let place = json!({ "appNdx": app, "slot": slot, "stateNdx": state_ndx, "kind": kind.name(), "text": text });
            writeln!(self.out, "{}", json!({ "audited": false, "break": place, "apps": self.apps }))?;
        }
        Ok(self.out.flush()?)
    }
}
