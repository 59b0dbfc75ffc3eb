//! `synod demo`: a cluster of real processes, what it promises, and a leader that is killed in the middle of it.

mod process;
mod report;
mod zones;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::json;
use synod_app_kv::KvOp;
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, ExecuteError, SubmitError};
use synod_gateway::{ClusterStatus, GroupRole, NodeState};
use synod_node::config::Address;
use synod_types::{AppNdx, Level, Outcome, Receipt, StateNdx};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::founding::{CLIENT, Founded, KV, Layout, NodePlan, Plan, default_apps, found};
use crate::output::Output;
use crate::ports;
use crate::reader::{HttpNode, Reader};
use crate::status;
use crate::write;
use process::{NodeProcess, log_path};
use report::{Lines, Report};
use zones::ZONE;

/// All steps together. What takes longer has failed; stopping the nodes comes on top.
const CHECK_WAIT: Duration = Duration::from_secs(22);
/// What a single call may take.
const CALL_WAIT: Duration = Duration::from_secs(15);
/// How often something is looked at until it is so.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often it is looked whether a node has ended by itself.
const NODES_LOOKED_AT: Duration = Duration::from_millis(250);
/// How often a cluster is founded on other ports because another process took one in between.
const FOUND_TRIES: u32 = 3;
/// How fast nodes find each other again.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The application that most of the story is about.
const APP: AppNdx = KV;
/// Commands before and after the leader is killed.
const COMMANDS: usize = 10;

/// See it work: found a cluster, command it, kill its leader, and bring it back
///
/// Starts real node processes on free loopback ports, with everything in one directory. Without --check the cluster
/// stays up until Ctrl-C, for you to try things. The directory is temporary unless --dir names one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod demo
  synod demo --nodes 5 --dir /tmp/cluster
  synod demo --check          # the same without staying; fails with the name of the step, after 30 s at the latest")]
pub(crate) struct Demo {
    /// How many nodes: 3 to 15
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(3..=15))]
    nodes: u16,
    /// Where everything goes, and stays; has to be empty or new
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Stop when every step has passed
    #[arg(long)]
    check: bool,
}

/// The cluster while the demo runs.
struct Stage {
    founded: Founded,
    processes: BTreeMap<usize, NodeProcess>,
    reader: Reader,
    client: Client,
}

impl Demo {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let temporary = match &self.dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("synod-demo-").tempdir()?),
        };
        let directory = match (&self.dir, &temporary) {
            (Some(dir), _) => std::path::absolute(dir)?,
            (None, Some(temporary)) => temporary.path().join("cluster"),
            (None, None) => unreachable!("one of the two is there"),
        };
        let mut report = Report::new(output);
        report.say(format_args!(
            "synod demo: {} nodes on this machine, in {}\n\n",
            self.nodes,
            directory.display()
        ))?;
        let mut stage = None;
        let mut interrupted = Interrupted::new()?;
        let told = tokio::select! {
            told = timeout(CHECK_WAIT, self.tell(&directory, &mut stage, &mut report)) => Some(told),
            () = interrupted.wait() => None,
        };
        let is_interrupted = told.is_none();
        let told = match told {
            Some(Ok(Ok(()))) => self.finish(&report, output, &mut stage, &mut interrupted).await,
            Some(Ok(Err(why))) => Err(why),
            Some(Err(_)) => Err(report.broken_off(format_args!("not over in {} s", CHECK_WAIT.as_secs()))),
            None => Err(report.broken_off("interrupted")),
        };
        if let Some(stage) = stage {
            stage.stop().await?;
        }
        if let (Err(_), false, Some(temporary)) = (&told, is_interrupted, temporary) {
            eprintln!("the nodes' logs are in {}", temporary.keep().join("cluster").display());
        }
        told.map(|()| ExitCode::SUCCESS)
    }

    /// All steps.
    async fn tell(
        &self,
        directory: &Path,
        stage: &mut Option<Stage>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let title = format!("Found a cluster and start {} node processes", self.nodes);
        let founded = report.step("start", &title, found_and_start(directory, self.nodes)).await?;
        let stage = stage.insert(founded);

        let title = "Every node has met the others and knows the leader";
        let leader = report.step("leader", title, stage.leader()).await?;

        let title = format!("Sign {COMMANDS} commands and submit them");
        let receipt = report.step("write", &title, stage.write("before")).await?;

        let title = format!("Read at every node over HTTP, waiting for stateNdx {}", receipt.state_ndx);
        report.step("read", &title, stage.read_everywhere("before", &receipt)).await?;

        let title = format!("Publish the zone {ZONE} and wait until every node serves it");
        let published = report.step("zone", &title, stage.publish()).await?;

        let title = "Ask every node's name server over UDP";
        report.step("dns", title, stage.ask_name_servers(published)).await?;

        let title = "A command signed by a key that nobody has granted is refused";
        report.step("stranger", title, stage.refuse_stranger()).await?;

        let title = format!("Kill the leader, {}, with SIGKILL", stage.name(leader));
        report.step("kill", &title, stage.kill(leader)).await?;

        let title = format!("Go on writing without it: {COMMANDS} commands");
        let receipt = report.step("write-on", &title, stage.write("after")).await?;

        let title = "Change the zone, too, and wait until a majority serves it";
        let published = report.step("zone-on", title, stage.change_zone()).await?;

        let title = format!("Start {} again, with what it has on disk", stage.name(leader));
        report.step("restart", &title, stage.restart(leader)).await?;

        let title = "It has caught up: the same chain of commands at every node";
        report.step("caught-up", title, stage.read_everywhere("after", &receipt)).await?;

        let title = "It serves the changed zone, as every other node does";
        report.step("dns-caught-up", title, stage.ask_everywhere(published)).await
    }

    /// Says how it went; without --check, stays until Ctrl-C.
    async fn finish(
        &self,
        report: &Report,
        output: Output,
        stage: &mut Option<Stage>,
        interrupted: &mut Interrupted,
    ) -> anyhow::Result<()> {
        let (steps, took) = report.total();
        report.say(format_args!("\nAll {steps} steps passed in {:.1} s.\n", took.as_secs_f64()))?;
        let Some(stage) = stage else { return Ok(()) };
        if output == Output::Json {
            output.print(
                &json!({ "ok": true, "steps": steps, "ms": took.as_millis(), "client": stage.client_file() }),
                "",
            )?;
        }
        if self.check {
            return Ok(());
        }
        report.say(stage.to_try()?)?;
        tokio::select! {
            () = interrupted.wait() => {}
            ended = stage.any_ended() => bail!("{}", ended?),
        }
        report.say("\nStopping the nodes in order.\n")
    }
}

/// Founds a cluster and starts its nodes; again on other ports, if another process took one in between.
async fn found_and_start(directory: &Path, nodes: u16) -> anyhow::Result<(Stage, Lines)> {
    let mut tries = 1;
    loop {
        let founded = found(directory, &plan(nodes)?)?;
        match start_all(&founded).await {
            Ok(processes) => return Stage::new(founded, processes),
            Err(error) if tries < FOUND_TRIES && format!("{error:#}").contains("in use") => {
                tries += 1;
                std::fs::remove_dir_all(directory).context("cannot found the cluster again")?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn plan(nodes: u16) -> anyhow::Result<Plan> {
    let ports = ports::free(Ipv4Addr::LOCALHOST.into(), usize::from(nodes) * 4)?;
    let address = |port: u16| Address { host: Ipv4Addr::LOCALHOST.to_string(), port };
    let nodes = ports.chunks_exact(4).enumerate().map(|(n, ports)| NodePlan {
        name: format!("node{}", n + 1),
        mesh: address(ports[0]),
        backend: address(ports[1]),
        http: address(ports[2]),
        dns: Some(address(ports[3])),
    });
    Ok(Plan {
        name: "demo".to_owned(),
        nodes: nodes.collect(),
        apps: default_apps(),
        lanes: Vec::new(),
        front_ends: false,
        administrators: 1,
        signatures_needed: 1,
        level: Level::NEWEST,
        retry_delay: Some(RETRY_DELAY),
        layout: Layout::default(),
        data_dir: None,
    })
}

/// Starts all nodes at the same time: none waits for another one.
async fn start_all(founded: &Founded) -> anyhow::Result<BTreeMap<usize, NodeProcess>> {
    let starting: Vec<_> = founded
        .nodes
        .iter()
        .map(|node| {
            let node = node.clone();
            tokio::spawn(async move { NodeProcess::start(&node).await })
        })
        .collect();
    let mut processes = BTreeMap::new();
    let mut failure = None;
    for (n, starting) in starting.into_iter().enumerate() {
        match starting.await? {
            Ok(process) => drop(processes.insert(n, process)),
            Err(why) => failure = Some(why),
        }
    }
    let Some(why) = failure else { return Ok(processes) };
    for process in processes.into_values() {
        process.stop().await?;
    }
    Err(why)
}

/// Ctrl-C, or whatever else asks this process to end.
struct Interrupted {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupted {
    fn new() -> anyhow::Result<Interrupted> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Interrupted { interrupt, terminate })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

impl Stage {
    fn new(founded: Founded, processes: BTreeMap<usize, NodeProcess>) -> anyhow::Result<(Stage, Lines)> {
        let cluster = Connection::by_file(founded.directory.join(CLIENT), CALL_WAIT).cluster()?;
        let (reader, client) = (cluster.reader()?, cluster.client()?);
        let mut lines = vec![format!(
            "cluster {}, administrator {}",
            founded.cluster.short(),
            client.commander().id().short()
        )];
        for (n, node) in founded.nodes.iter().enumerate() {
            let pid = processes.get(&n).map_or(0, NodeProcess::pid);
            let NodePlan { name, backend, http, dns, mesh: _ } = &node.plan;
            let dns = dns.as_ref().map(ToString::to_string).unwrap_or_default();
            lines.push(format!(
                "{name} {}  pid {pid}  commanders {backend}  readers http://{http}  dns {dns}",
                node.id.short()
            ));
        }
        Ok((Stage { founded, processes, reader, client }, lines))
    }

    fn name(&self, node: usize) -> &str {
        &self.founded.nodes[node].plan.name
    }

    fn client_file(&self) -> PathBuf {
        self.founded.directory.join(CLIENT)
    }

    /// The HTTP ports of the nodes that run.
    fn running(&self) -> impl Iterator<Item = &HttpNode> {
        self.processes.keys().filter_map(|n| self.reader.nodes().get(*n))
    }

    /// Waits until every running node has a leader and sees all others; gives the leader.
    async fn leader(&self) -> anyhow::Result<(usize, Lines)> {
        let mut last = String::from("no node has answered");
        let looking = async {
            loop {
                match self.look_for_leader().await {
                    Ok(leader) => return leader,
                    Err(why) => last = format!("{why:#}"),
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        let found = timeout(CALL_WAIT, looking).await;
        let leader = found.ok().with_context(|| last)?;
        Ok((leader, vec![format!("{} leads application {APP} (kv)", self.name(leader))]))
    }

    async fn look_for_leader(&self) -> anyhow::Result<usize> {
        let mut leaders = Vec::new();
        for node in self.running() {
            let status = status::ask(self.reader.clone(), node.clone()).await;
            let status = status.map_err(anyhow::Error::msg)?;
            let up = status.nodes.iter().filter(|other| other.state == NodeState::Up).count();
            ensure!(up + 1 == self.processes.len(), "{} sees {up} other nodes", node.name);
            leaders.push(leader_of(&status).with_context(|| format!("{} knows no leader", node.name))?);
        }
        let first = leaders.first().context("no node runs")?.clone();
        ensure!(leaders.iter().all(|leader| *leader == first), "nodes name different leaders");
        let place = self.founded.nodes.iter().position(|node| node.plan.name == first);
        place.with_context(|| format!("{first} is no node of the cluster"))
    }

    /// Signs and submits commands; gives the last receipt.
    async fn write(&self, when: &str) -> anyhow::Result<(Receipt, Lines)> {
        let mut receipts = Vec::new();
        let mut times = Vec::new();
        for n in 1..=COMMANDS {
            let begun = Instant::now();
            let (key, value) = (format!("{when}/{n}"), format!("written {when} the leader was killed"));
            let op = KvOp::Put { key: key.into(), value: value.into() };
            let receipt = write::receipt(&self.client, APP, op.encode()).await?;
            if let Outcome::Refused(refusal) = &receipt.outcome {
                bail!("the application refused: {refusal}");
            }
            times.push(begun.elapsed());
            receipts.push(receipt);
        }
        let (Some(first), Some(last)) = (receipts.first(), receipts.last()) else {
            bail!("no command was sent")
        };
        times.sort();
        let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
        let lines = vec![format!(
            "stateNdx {} to {}, chain {}; the slowest took {:.0} ms, the median {:.1} ms",
            first.state_ndx,
            last.state_ndx,
            last.chain.short(),
            ms(times.last()),
            ms(times.get(times.len() / 2)),
        )];
        Ok((last.clone(), lines))
    }

    /// Reads at every running node in the state of a receipt: the value, and the chain of all commands so far.
    async fn read_everywhere(&self, when: &str, receipt: &Receipt) -> anyhow::Result<((), Lines)> {
        let mut lines = Vec::new();
        let min = [("min", receipt.state_ndx.to_string())];
        for node in self.running() {
            let path = format!("/v1/apps/{APP}/kv/{when}%2F{COMMANDS}");
            let value = self.reader.get_from(node, &path, &min).await?;
            let found = String::from_utf8_lossy(&value.body).into_owned();
            ensure!(found == format!("written {when} the leader was killed"), "{} has {found:?}", node.name);
            let state = self.reader.get_from(node, &format!("/v1/apps/{APP}"), &min).await?;
            let state: AppState = state.json()?;
            ensure!(
                (state.state_ndx, &state.chain) == (receipt.state_ndx, &receipt.chain.to_string()),
                "{} has chain {} at stateNdx {}, and the receipt says {} at {}",
                node.name,
                state.chain,
                state.state_ndx,
                receipt.chain,
                receipt.state_ndx
            );
            lines.push(format!(
                "{}  State-Ndx: {}  chain {}  {found:?}",
                node.name,
                state.state_ndx,
                receipt.chain.short()
            ));
        }
        ensure!(lines.len() == self.processes.len(), "not every node was asked");
        Ok(((), lines))
    }

    /// Whoever can reach the port can send commands; only those of granted keys are executed.
    async fn refuse_stranger(&self) -> anyhow::Result<((), Lines)> {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let stranger = key.id().short();
        let cluster = Connection::by_file(self.client_file(), CALL_WAIT).cluster()?;
        let client = cluster.client_of(key)?;
        let op = KvOp::Put { key: "stranger".into(), value: "was here".into() };
        let executed = client.execute(APP, op.encode().into(), CommandOptions::default()).await;
        client.close().await;
        match executed {
            Err(ExecuteError::Submit(SubmitError::Refused(refusal))) => {
                Ok(((), vec![format!("{stranger}: {refusal}")]))
            }
            Err(other) => Err(other).context("the stranger's command was not refused for what it is"),
            Ok(receipt) => match receipt.outcome {
                Outcome::Refused(refusal) => Ok(((), vec![format!("{stranger}: {refusal}")])),
                Outcome::Done(_) => bail!("the command of {stranger} was executed"),
            },
        }
    }

    async fn kill(&mut self, node: usize) -> anyhow::Result<((), Lines)> {
        let process = self.processes.remove(&node).context("the leader does not run")?;
        let pid = process.pid();
        let status = process.kill().await?;
        Ok(((), vec![format!("{} (pid {pid}) is gone: {status}", self.name(node))]))
    }

    async fn restart(&mut self, node: usize) -> anyhow::Result<((), Lines)> {
        let process = NodeProcess::start(&self.founded.nodes[node]).await?;
        let line = format!("{} (pid {}) is ready", self.name(node), process.pid());
        self.processes.insert(node, process);
        Ok(((), vec![line]))
    }

    /// Returns when a node has ended that nobody stopped.
    async fn any_ended(&mut self) -> anyhow::Result<String> {
        loop {
            for (n, process) in &mut self.processes {
                if let Some(status) = process.ended()? {
                    let node = &self.founded.nodes[*n];
                    let (name, log) = (&node.plan.name, log_path(node));
                    return Ok(format!("{name} has ended by itself, {status}; its log is {}", log.display()));
                }
            }
            sleep(NODES_LOOKED_AT).await;
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.client.close().await;
        let stopping: Vec<_> =
            self.processes.into_values().map(|process| tokio::spawn(process.stop())).collect();
        for stopping in stopping {
            stopping.await??;
        }
        Ok(())
    }

    /// The lines to copy.
    fn to_try(&self) -> anyhow::Result<String> {
        let program = std::env::current_exe()?;
        let (program, client) = (program.display(), self.client_file());
        let http = self.reader.nodes().first().context("there are nodes")?.url.clone();
        let log = self.founded.nodes.first().map(log_path).context("there are nodes")?;
        let (client, log) = (client.display(), log.display());
        let (dig, zone) = self.zone_to_try();
        Ok(format!(
            "
Try it, in another terminal:

{dig}
  curl -s '{http}/v1/zones/{ZONE}'
  curl -s '{http}/v1/cluster'

  alias synod={program}
  export SYNOD_CLIENT={client}
  synod status
{zone}
  synod kv put greeting hello
  synod kv get greeting --consistency linearizable
  synod kv cas greeting hi --absent
  synod commander list --app zones

  tail -f {log}

The cluster stays up until Ctrl-C.
"
        ))
    }
}

/// The parts of `/v1/apps/{{app}}` that the demo compares.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppState {
    state_ndx: StateNdx,
    chain: String,
}

/// The leader's name, where the node that leads says so as well.
fn leader_of(status: &ClusterStatus) -> Option<String> {
    let app = status.apps.iter().find(|app| app.app_ndx == APP)?;
    match app.role {
        GroupRole::Leader => Some(status.node_name.clone()),
        GroupRole::Candidate | GroupRole::Follower | GroupRole::Learner => {
            Some(app.leader.as_ref()?.name.clone())
        }
    }
}
