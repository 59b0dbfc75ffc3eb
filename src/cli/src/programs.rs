//! The programs that execute applications in processes of their own, for tools that execute logs themselves: each is started here for
//! as long as its log or its state is read, with a socket in a directory that is the owner's alone.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use synod_auth::{Genesis, GenesisApp};
use synod_node::apps::KINDS;
use synod_node::config::LaneConfig;
use synod_node::lanes::{Hired, Maker};
use synod_types::AppNdx;
use synod_types::limits::{LANE_ANSWER_MS, LANE_ANSWER_MS_MAX};
use tempfile::TempDir;

use crate::exit::Failure;

/// The arguments that name them.
#[derive(Args, Clone, Debug)]
pub(crate) struct LaneArgs {
    /// The program of an application in a process of its own, with its arguments, as in the `command` of a node's `[[lanes]]`:
    /// it is started here, to execute that application's log; may be repeated
    #[arg(long = "lane", value_name = "APP=COMMAND", value_parser = app_and_command)]
    lanes: Vec<AppCommand>,
    /// Seconds that such a program may take for an answer
    #[arg(
        long = "lane-answer",
        value_name = "SECONDS",
        default_value_t = LANE_ANSWER_MS / 1000,
        value_parser = clap::value_parser!(u64).range(1..=LANE_ANSWER_MS_MAX / 1000)
    )]
    answer: u64,
}

/// An application, by number or name, and what starts its process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AppCommand {
    app: String,
    command: Vec<String>,
}

/// What is started for which application.
pub(crate) struct Programs(BTreeMap<AppNdx, LaneConfig>);

/// What executes one application, until this is dropped.
pub(crate) struct Executor {
    maker: Maker,
    /// The process, which ends before its directory goes.
    _process: Option<(Hired, TempDir)>,
}

fn app_and_command(text: &str) -> Result<AppCommand, String> {
    let (app, command) =
        text.split_once('=').ok_or("the application, = and what starts its program are expected")?;
    let command = shlex::split(command).ok_or("a quote in the command is not closed")?;
    if command.is_empty() {
        return Err("what starts the program is missing behind the =".to_owned());
    }
    Ok(AppCommand { app: app.to_owned(), command })
}

impl LaneArgs {
    /// Holds them against the applications of a cluster. Nothing is started yet.
    pub(crate) fn of(&self, genesis: &Genesis) -> Result<Programs, Failure> {
        let mut programs = BTreeMap::new();
        for AppCommand { app, command } in &self.lanes {
            let lane = LaneConfig {
                app: app.clone(),
                socket: None,
                command: command.clone(),
                users: Vec::new(),
                group: None,
                answer: Duration::from_secs(self.answer),
            };
            let app = lane.app_of(genesis).map_err(|why| Failure::Usage(format!("--lane: {why}")))?;
            if programs.insert(app.ndx, lane).is_some() {
                return Err(Failure::Usage(format!("--lane: application {} has two of them", app.ndx)));
            }
        }
        Ok(Programs(programs))
    }
}

impl Programs {
    /// Whether there is something that executes this application.
    pub(crate) fn have(&self, app: &GenesisApp) -> bool {
        is_here(app) || self.0.contains_key(&app.ndx)
    }

    /// Checks that there is something for all applications, before anything is begun.
    pub(crate) fn have_all(&self, genesis: &Genesis) -> Result<(), Failure> {
        match genesis.apps.iter().find(|app| !self.have(app)) {
            None => Ok(()),
            Some(app) => Err(missing(app)),
        }
    }

    /// What executes this application: this program, or its own, which is started.
    pub(crate) fn executor(&self, app: &GenesisApp) -> anyhow::Result<Executor> {
        let Some(lane) = self.0.get(&app.ndx) else {
            if is_here(app) {
                return Ok(Executor { maker: Maker::of_program(app), _process: None });
            }
            return Err(missing(app).into());
        };
        let dir = tempfile::Builder::new()
            .prefix("synod-lane-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a temporary directory for an application's socket; see $TMPDIR")?;
        let process = Hired::start(lane, app, dir.path()).with_context(|| {
            let GenesisApp { ndx, name, .. } = app;
            format!("application {ndx} ({name}): its program cannot be used: {}", lane.command.join(" "))
        })?;
        Ok(Executor { maker: process.maker(), _process: Some((process, dir)) })
    }
}

impl Executor {
    /// Makes the application.
    pub(crate) fn maker(&self) -> &Maker {
        &self.maker
    }
}

/// Whether this program has such applications.
pub(crate) fn is_here(app: &GenesisApp) -> bool {
    KINDS.contains(&app.kind.as_str())
}

fn missing(app: &GenesisApp) -> Failure {
    let (GenesisApp { ndx, name, kind }, kinds) = (app, KINDS.join(", "));
    Failure::Usage(format!(
        "application {ndx} ({name}) is of kind {kind:?}, and this program has {kinds}: name the program that executes it, with \
         --lane {name}=COMMAND"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_apart_as_a_shell_takes_them_apart() {
        let words = |text: &str| app_and_command(text).map(|AppCommand { app, command }| (app, command));
        let expected =
            |command: &[&str]| ("visits".to_owned(), command.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(words("visits=/usr/bin/visits"), Ok(expected(&["/usr/bin/visits"])));
        assert_eq!(
            words("visits=env A=1 'a b' \"c d\" e\\ f"),
            Ok(expected(&["env", "A=1", "a b", "c d", "e f"]))
        );
        for (text, why) in [("visits", "= and what"), ("visits=", "missing"), ("visits='a", "not closed")] {
            let said = words(text).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
