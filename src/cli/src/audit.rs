//! `synod audit`: executes a cluster's logs again, from genesis, and says who changed what; or where a log is not what it
//! should be.
//!
//! [`auditor`] is the part that judges, and is pure. [`source`] reads, [`walk`] brings both together on all cores.

pub(crate) mod auditor;
pub(crate) mod beginning;
pub(crate) mod expectation;
mod filter;
pub(crate) mod report;
pub(crate) mod source;
pub(crate) mod walk;
pub(crate) mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use synod_auth::{Genesis, GenesisApp};
use synod_journal::Known;
use synod_machine::Machine;
use synod_node::lanes::Maker;
use synod_node::{Beginning, BeginningError, Voucher};
use synod_types::{AppNdx, ClusterId, Configuration, Digest, Slot, StateNdx};

use crate::connection::{self, Connection};
use crate::exit::Failure;
use crate::output::Output;
use crate::programs::{LaneArgs, Programs};
use crate::receipt::kept;
use auditor::{Auditor, Break, Change, Kind};
use beginning::Begins;
use expectation::Expectation;
use filter::Filter;
use report::{Named, Report};
use source::{Archive, DataDir, Nodes, Source, Unread};
use walk::{Until, Verifying, walk};

/// Verify a whole log, from its beginning to its end, and show who changed what
///
/// Every signature is verified, every command is executed again by the code that a node runs, and the hash chain that comes
/// of it is held against what is known from elsewhere: with --url, what each of these nodes says of itself; with --data-dir,
/// what --expect and --receipt say. Trusted are the genesis document and this program, and no node.
///
/// The log of an application in a process of its own can be executed by its own program alone, which --lane names: it is started here,
/// and is trusted with nothing but what its commands come to. Without it, such an application is left out, and it is said which.
///
/// Nodes cut their logs. Where a node keeps an archive, --archive has what was cut off. Without it, the audit of a data
/// directory begins with a snapshot, and what was before is believed to those who have signed that: it says who.
///
/// The log of a data directory is copied first, to $TMPDIR, and nothing is ever written into it. Its node must not run.
///
/// Exit code: 0 if all is in order; 7 at the first thing that is not, with its application, slot and stateNdx.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod audit --url 127.0.0.1:9101 --url 127.0.0.1:9102 --quiet     # do these nodes agree with genesis and each other?
  synod audit --data-dir cluster/data-node1 --receipt receipts.json
  synod audit --archive cluster/archive-node1 --data-dir cluster/data-node1  # also what was cut off from its log
  synod audit --data-dir cluster/data-node1 --app kv --expect 812:9f2c…  # a chain that was written down earlier
  synod audit --url 127.0.0.1:9101 --app kv --key 'service/*' --since 2026-11-21
  synod audit --url 127.0.0.1:9101 --commander deploy --output json | jq .operation
  synod audit --url 127.0.0.1:9101 --lane visits=/usr/local/bin/visits       # with an application in a process of its own")]
pub(crate) struct Audit {
    #[command(flatten)]
    log: LogArgs,
    /// Only this application: its number or its name
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// A chain that is known, of the application that --app names; may be repeated
    #[arg(long, value_name = "STATENDX:CHAIN", value_parser = known_chain, requires = "app")]
    expect: Vec<(StateNdx, Digest)>,
    /// Receipts that must be proved by the log; may be repeated
    #[arg(long, value_name = "FILE")]
    receipt: Vec<PathBuf>,
    /// Show nothing but what it comes to
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    filter: Filter,
}

/// Where a log is, and whose.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    place: Place,
    /// The client file, which `synod init` writes: it knows the genesis document [default: client.toml]
    #[arg(long, value_name = "FILE", env = "SYNOD_CLIENT", hide_env_values = true)]
    client: Option<PathBuf>,
    /// The genesis document of the cluster
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Of a cluster that was restored: the backup with which it begins, where the nodes have that no more
    #[arg(long, value_name = "BACKUP")]
    origin: Option<PathBuf>,
    #[command(flatten)]
    programs: LaneArgs,
    /// Seconds after which a node that does not answer is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
struct Place {
    /// The archive of a node, with what it has cut off from its log; what comes behind is in --data-dir or at --url
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    /// The data directory of a node that does not run
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    /// The readers' port of a running node; may be repeated: the log comes from the first one, and all must agree with it
    #[arg(long, value_name = "HOST:PORT")]
    url: Vec<String>,
}

/// A log that can be walked, of a cluster that is known.
pub(crate) struct Logs {
    pub(crate) genesis: Genesis,
    pub(crate) cluster: ClusterId,
    verifying: Verifying,
    /// What comes first, if it was given.
    archive: Option<Archive>,
    /// The backup with which the cluster begins, if it was given.
    origin: Option<PathBuf>,
    /// What executes applications in processes of their own.
    programs: Programs,
    /// Who is proved to have been members, by the log of the application that keeps them, once that was audited from its beginning.
    proved: Vec<Configuration>,
    /// What comes behind.
    store: Stored,
}

enum Stored {
    DataDir(Box<DataDir>),
    Nodes(Nodes),
    /// An archive only.
    Nothing,
}

impl LogArgs {
    /// Opens what the arguments name.
    pub(crate) fn open(&self) -> anyhow::Result<Logs> {
        let timeout = Duration::from_secs(self.timeout);
        let (client, genesis) = (self.client.clone(), self.genesis.clone());
        let known = Connection::reading(client, genesis, self.place.url.clone(), timeout).cluster()?;
        let (genesis, cluster) = known.genesis()?;
        let programs = self.programs.of(&genesis)?;
        let store = match &self.place.data_dir {
            Some(dir) => Stored::DataDir(Box::new(DataDir::open(dir, cluster)?)),
            None if self.place.url.is_empty() => Stored::Nothing,
            None => Stored::Nodes(Nodes::new(known.reader()?, timeout)?),
        };
        let archive = self.place.archive.as_deref().map(Archive::new);
        let (verifying, origin) = (Verifying::new(cluster)?, self.origin.clone());
        Ok(Logs { genesis, cluster, verifying, archive, origin, programs, proved: Vec::new(), store })
    }
}

fn known_chain(text: &str) -> Result<(StateNdx, Digest), String> {
    let known =
        text.split_once(':').and_then(|(state, chain)| Some((state.parse().ok()?, chain.parse().ok()?)));
    known.ok_or_else(|| "a stateNdx, a colon and the 64 hex digits of its chain are expected".to_owned())
}

impl Audit {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let mut logs = self.log.open()?;
        let apps = match &self.app {
            None => logs.genesis.apps.clone(),
            Some(text) => {
                let ndx = connection::find_app(&logs.genesis, text)?;
                logs.genesis.apps.iter().filter(|app| app.ndx == ndx).cloned().collect()
            }
        };
        let expectations = self.expectations(&logs, &apps)?;
        // Who names one is told that it cannot be done; who wants all gets all that can be.
        let (apps, left_out): (Vec<_>, Vec<_>) =
            apps.into_iter().partition(|app| self.app.is_some() || logs.programs.have(app));
        let mut report = Report::new(output, self.filter, self.quiet);
        for app in &apps {
            let expected = expectations.iter().filter(|expected| expected.app == app.ndx).cloned().collect();
            if let Err(broken) = logs.audit(app, expected, Until::TheEnd, &mut report)? {
                report.broken(&broken)?;
                return Err(Failure::Broken(broken.to_string()).into());
            }
        }
        for app in &left_out {
            report.leave_out(app)?;
        }
        report.finish()?;
        Ok(ExitCode::SUCCESS)
    }

    fn expectations(&self, logs: &Logs, apps: &[GenesisApp]) -> anyhow::Result<Vec<Expectation>> {
        let mut expectations = Vec::new();
        if let [app] = apps {
            expectations.extend(self.expect.iter().map(|&(state_ndx, chain)| {
                let by = format!("--expect {state_ndx}");
                Expectation { app: app.ndx, state_ndx, chain, by, receipt: None }
            }));
        }
        for path in &self.receipt {
            for receipt in kept::load(path)? {
                logs.check_receipt(&receipt, path)?;
                let by = format!("the receipt in {}", path.display());
                expectations.push(Expectation::of_receipt(receipt, by));
            }
        }
        Ok(expectations)
    }
}

impl Logs {
    /// The application with this number.
    pub(crate) fn app(&self, ndx: AppNdx) -> Option<&GenesisApp> {
        self.genesis.apps.iter().find(|app| app.ndx == ndx)
    }

    /// Whether a receipt is of this cluster at all.
    pub(crate) fn check_receipt(
        &self,
        receipt: &kept::KeptReceipt,
        path: &std::path::Path,
    ) -> Result<(), Failure> {
        let path = path.display();
        if let Some(cluster) = receipt.cluster.filter(|cluster| *cluster != self.cluster) {
            let text =
                format!("the receipt in {path} is of cluster {cluster}, and the log of {}", self.cluster);
            return Err(Failure::Broken(text));
        }
        if self.app(receipt.app).is_none() {
            let text = format!(
                "the receipt in {path} is of application {}, which is none of this cluster",
                receipt.app
            );
            return Err(Failure::Broken(text));
        }
        Ok(())
    }

    /// Audits one application's log, and says with what it begins. The inner error is what is wrong with it.
    pub(crate) fn audit(
        &mut self,
        app: &GenesisApp,
        expected: Vec<Expectation>,
        until: Until,
        report: &mut Report,
    ) -> anyhow::Result<Result<Begins, Break>> {
        let named = Named { ndx: app.ndx, name: app.name.clone(), kind: app.kind.clone() };
        let executor = self.programs.executor(app)?;
        let known = match self.known(app.ndx) {
            Ok(known) => known,
            Err(Unread::Broken { slot, kind, text }) => {
                return Ok(Err(Break { app: app.ndx, slot, state_ndx: StateNdx(0), kind, text }));
            }
            Err(Unread::Failed(why)) => return Err(why),
        };
        let (begins, machine) = match self.begin(executor.maker(), known.cut)? {
            Ok(begun) => begun,
            Err(broken) => return Ok(Err(broken)),
        };
        machine.begin();
        let claims = match &self.store {
            Stored::Nodes(nodes) if until == Until::TheEnd => nodes.claims(app.ndx)?,
            Stored::Nodes(_) | Stored::DataDir(_) | Stored::Nothing => Vec::new(),
        };
        let compared: Vec<String> = expected
            .iter()
            .map(|known| known.by.clone())
            .chain(claims.iter().map(|claim| claim.by.clone()))
            .collect();
        let furthest = claims.iter().max_by_key(|claim| claim.applied);
        let end = furthest.map_or(Slot(u64::MAX), |claim| claim.applied);
        let min = furthest.map_or(StateNdx(0), |claim| claim.state_ndx);
        let mut auditor = match Auditor::new(machine, expected, claims.clone()) {
            Ok(auditor) => auditor,
            Err(broken) => return Ok(Err(broken)),
        };
        report.begin(&named, &begins)?;
        let is_proved = match &begins {
            Begins::Genesis => true,
            Begins::Snapshot(snapshot) => matches!(snapshot.voucher, Voucher::Genesis | Voucher::Members),
        };
        let mut proved = std::mem::take(&mut self.proved);
        let mut go = |source: &mut dyn Source, auditor: &mut Auditor, report: &mut Report| {
            let end = source.end();
            walk(source, &self.verifying, auditor, until, |auditor, changes| {
                let state = auditor.state();
                if is_proved && let Some(members) = state.authority().members() {
                    let now = members.configuration();
                    if proved.last() != Some(&now) {
                        proved.push(now);
                    }
                }
                report.progress(&named, state.applied, end, state.state_ndx);
                report.steps(&named, state, &changes)
            })
        };
        if let Some(archive) = &self.archive {
            let mut source = archive.source(app.ndx, self.cluster, auditor.state().applied)?;
            if let Err(broken) = go(&mut source, &mut auditor, report)? {
                return Ok(Err(broken));
            }
        }
        let last = auditor.state().applied;
        let is_done = until == Until::NothingIsExpected && !auditor.expects_more();
        let walked = match &mut self.store {
            _ if is_done => Ok(()),
            Stored::Nothing => Ok(()),
            Stored::DataDir(_) if last < known.cut => {
                let text = format!(
                    "the archive ends with slot {last}, and the log begins behind slot {}",
                    known.cut
                );
                Err(auditor.broken(last.next(), Kind::Hole, text))
            }
            Stored::Nodes(nodes) => {
                let mut source = nodes.source(app.ndx, self.cluster, last, end, min);
                go(&mut source, &mut auditor, report)?
            }
            Stored::DataDir(dir) => {
                let mut walked = go(&mut dir.chosen(app.ndx, last, known.chosen), &mut auditor, report)?;
                if walked.is_ok() && auditor.expects_more() {
                    let accepted = dir.accepted(app.ndx, auditor.state().applied, known);
                    walked = prove_accepted(accepted, &self.verifying, &mut auditor, |auditor, changes| {
                        report.steps(&named, auditor.state(), changes)
                    })?;
                }
                walked
            }
        };
        self.proved = proved;
        let finished = walked.and_then(|()| auditor.finish());
        let is_to_the_end = until == Until::TheEnd;
        let stood_by = finished.and_then(|()| is_to_the_end.then(|| auditor.to_rest()).transpose());
        if let Err(broken) = stood_by {
            return Ok(Err(broken));
        }
        let audited = auditor.state().applied.0.saturating_sub(known.chosen.0);
        report.end(&named, &begins, &auditor, &compared, known.behind.saturating_sub(audited))?;
        Ok(Ok(begins))
    }

    /// How much of an application's log is known to be chosen, where nobody says so while it is read.
    fn known(&mut self, app: AppNdx) -> Result<Known, Unread> {
        match &mut self.store {
            Stored::Nodes(_) | Stored::Nothing => {
                Ok(Known { cut: Slot(0), chosen: Slot(0), behind: 0, last: Slot(0) })
            }
            Stored::DataDir(dir) => dir.known(app),
        }
    }

    /// The state with which an application's log begins that was cut off behind slot `cut`.
    fn begin(&self, maker: &Maker, cut: Slot) -> anyhow::Result<Result<(Begins, Machine), Break>> {
        let (genesis, cluster, app) = (&self.genesis, self.cluster, maker.app());
        let began = genesis.origin_of(app.ndx).map_or(Slot(0), |origin| origin.slot);
        match &self.store {
            Stored::DataDir(dir) if cut > began && self.archive.is_none() => {
                Begins::with_snapshot(dir.dir(), genesis, &self.proved, cluster, maker, cut)
            }
            Stored::DataDir(_) | Stored::Nodes(_) | Stored::Nothing if began == Slot(0) => {
                Ok(Ok(Begins::with_genesis(genesis, cluster, maker)))
            }
            _ if let Some(backup) = &self.origin => {
                Begins::with_backup(backup, genesis, cluster, maker).map(Ok)
            }
            Stored::DataDir(dir) => {
                let found = Beginning::find(dir.dir(), genesis, &self.proved, cluster, maker, began);
                let is_it = |found: &Beginning| found.checkpoint.slot == began;
                let found = found.and_then(|found| {
                    is_it(&found)
                        .then_some(found)
                        .ok_or_else(|| BeginningError::NoSnapshot { cut: began, dir: dir.dir().to_owned() })
                });
                match Begins::found(found, genesis, app, began)? {
                    Err(Break { kind: Kind::Hole, .. }) => Err(no_origin(app).into()),
                    begun => Ok(begun),
                }
            }
            Stored::Nodes(nodes) => match nodes.newest(genesis, cluster, maker)? {
                Some(found) if found.as_ref().map_or(true, |found| found.checkpoint.slot == began) => {
                    Begins::found(found, genesis, app, began)
                }
                Some(_) | None => Err(no_origin(app).into()),
            },
            Stored::Nothing => Err(no_origin(app).into()),
        }
    }
}

/// There is nothing with which an audit of a cluster could begin that was restored.
fn no_origin(app: &GenesisApp) -> Failure {
    Failure::Usage(format!(
        "the state with which application {} of this cluster begins is not there any more: give the backup from which the cluster was \
         restored, with --origin",
        app.ndx
    ))
}

/// Goes on behind the last slot that is known to be chosen: what was accepted there is proved to be what was chosen if it comes to
/// everything that is still expected.
fn prove_accepted(
    accepted: impl Source,
    verifying: &Verifying,
    auditor: &mut Auditor,
    show: impl FnOnce(&Auditor, &[Change]) -> anyhow::Result<()>,
) -> anyhow::Result<Result<(), Break>> {
    let chosen = auditor.state().applied;
    let mut proved = Vec::new();
    let walked = walk(accepted, verifying, auditor, Until::NothingIsExpected, |_, changes| {
        proved.extend(changes);
        Ok(())
    })?;
    match walked {
        Ok(()) if auditor.expects_more() => Ok(Ok(())),
        Ok(()) => {
            show(auditor, &proved)?;
            Ok(Ok(()))
        }
        Err(broken) if broken.kind.is_of_states() => {
            let text = format!(
                "{}; or what was accepted behind slot {chosen} is not what was chosen: nobody can tell that here",
                broken.text
            );
            Ok(Err(Break { text, ..broken }))
        }
        Err(broken) => Ok(Err(broken)),
    }
}
