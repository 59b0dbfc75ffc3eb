//! One run: a new cluster, all workloads at once, faults, healing, and then the checks.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use synod::propagation::Propagation;
use synod::watcher::Transport;
use synod_auth::SigningKey;
use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::disk::Disk;
use synod_cluster::{Cluster, PATIENCE, eventually, put};
use synod_history::{History, Input, Operation, Output, Verdict};
use synod_types::StateNdx;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use crate::apps::{self, ACCOUNTS, COUNTERS, REGISTERS, ZONES};
use crate::commanders::{again, granted};
use crate::network::Network;
use crate::record::{self, Record};
use crate::registers::{Ground, HOT_KEYS, TIMEOUTS};
use crate::report::{Figures, Report};
use crate::schedule::Schedule;
use crate::storm::{DISK, rage};
use crate::zones::{Answers, Promises, Published, Publisher};
use crate::{accounts, alike, counters, registers, watchers, zones};

/// How many clients each workload has.
const REGISTER_CLIENTS: u32 = 4;
const ACCOUNT_CLIENTS: u32 = 2;
const COUNTER_CLIENTS: u32 = 2;
const RESOLVERS: usize = 2;
/// The client that only reads, when all is healed, and the one that writes the last key.
const READER: u32 = 100;
const LAST_WRITER: u32 = 101;
/// Far more than the search takes.
const STEPS_MAX: u64 = 20_000_000;
/// How often a cluster is founded because another process took one of its ports in between.
const FOUND_TRIES: usize = 5;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Chance is drawn from it, but for the schedule, which was drawn before.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// What is done to them.
    pub schedule: Schedule,
}

/// Makes a run and says what came of it. What panics is a violation, too.
pub async fn run(plan: Plan) -> Report {
    let begun = Instant::now();
    let seed = plan.seed;
    let mut random = StdRng::seed_from_u64(seed);
    let has_disks = plan.schedule.fills_disks();
    let (mut cluster, network, disks) = found(plan.nodes, has_disks, &mut random).await;
    // Kept until it is known that nobody has to look at it.
    cluster.directory.disable_cleanup(true);
    let directory = cluster.directory.path().to_owned();
    fs::write(directory.join("schedule.txt"), plan.schedule.to_string()).unwrap();
    // A task of its own ends with its panic, and is dropped, with its nodes, where this function is.
    let local = LocalSet::new();
    let mut running = local.spawn_local(go(disks, cluster, network, plan, random));
    let (figures, violation) = match local.run_until(joined(&mut running)).await {
        Ok((figures, result)) => (figures, result.err()),
        Err(panic) => (Figures::default(), Some(panic)),
    };
    let kept = match &violation {
        Some(violation) => {
            let _ = fs::write(directory.join("violation.txt"), violation);
            Some(directory)
        }
        None => {
            let _ = fs::remove_dir_all(&directory);
            None
        }
    };
    Report { seed, figures, violation, kept, seconds: begun.elapsed().as_secs_f64() }
}

/// What a task gave, or with what it panicked.
async fn joined<T>(task: &mut JoinHandle<T>) -> Result<T, String> {
    task.await.map_err(|ended| match ended.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (None, Some(text)) => (*text).to_owned(),
            (None, None) => "a panic without a word".to_owned(),
        },
        Err(aborted) => aborted.to_string(),
    })
}

async fn all_joined<T>(tasks: Vec<JoinHandle<T>>) -> Result<Vec<T>, String> {
    let mut ended = Vec::new();
    for mut task in tasks {
        ended.push(joined(&mut task).await?);
    }
    Ok(ended)
}

/// Founds a cluster whose nodes reach each other through our links, and starts it.
async fn found(nodes: usize, has_disks: bool, random: &mut StdRng) -> (Cluster, Network, Vec<Disk>) {
    let mut tries = 1;
    loop {
        let mut cluster = Cluster::found_apps(nodes, apps::founded());
        let mesh: Vec<String> = cluster.founded.nodes.iter().map(|node| node.plan.mesh.to_string()).collect();
        let addresses: Vec<SocketAddr> = mesh.iter().map(|address| address.parse().unwrap()).collect();
        let network = Network::open(addresses, random).await.unwrap();
        for n in 0..nodes {
            let file = format!("{}-linked.toml", cluster.name(n));
            let linked = |text| {
                let others = (0..nodes).filter(|other| *other != n);
                others.fold(text, |text: String, other| {
                    text.replace(&mesh[other], &network.address(n, other).to_string())
                })
            };
            cluster.founded.nodes[n].config = cluster.changed_config(n, &file, linked);
        }
        let mut disks = Vec::new();
        for n in 0..if has_disks { nodes } else { 0 } {
            let at = cluster.directory.path().join(format!("disk-{}", cluster.name(n)));
            let disk = Disk::mount(&at, DISK).expect("small disks are mounted, which takes root");
            let file = format!("{}-disk.toml", cluster.name(n));
            cluster.founded.nodes[n].config = cluster.with_data_dir(n, &file, &disk.path().join("data"));
            disks.push(disk);
        }
        match cluster.try_start_all().await {
            Ok(()) => return (cluster, network, disks),
            Err(log) if tries < FOUND_TRIES && log.contains("in use") => tries += 1,
            Err(log) => panic!("{log}"),
        }
    }
}

/// The disks come first, since what comes first is dropped last: nobody uses them any more when they are unmounted.
async fn go(
    disks: Vec<Disk>,
    mut cluster: Cluster,
    network: Network,
    plan: Plan,
    mut random: StdRng,
) -> (Figures, Result<(), String>) {
    let mut figures = Figures::default();
    let workloads = Workloads::start(&cluster, &mut random).await;
    figures.storm = rage(&mut cluster, &network, &disks, &plan.schedule).await;
    figures.network = network.tally();
    let result = workloads.finish(&cluster, &mut figures).await;
    if result.is_ok() {
        cluster.stop_all().await;
    }
    (figures, result)
}

/// Everything that runs while faults strike.
struct Workloads {
    ground: Arc<Ground>,
    stop: watch::Sender<bool>,
    /// The state of each workload's application in which its clients may write.
    starts: [StateNdx; 3],
    /// A key that may write in each application.
    keys: [SigningKey; 4],
    registers: Vec<JoinHandle<Vec<Record>>>,
    accounts: Vec<JoinHandle<accounts::Work>>,
    counters: Vec<JoinHandle<Vec<counters::Counted>>>,
    watchers: Vec<JoinHandle<watchers::Followed>>,
    publishers: Vec<JoinHandle<zones::Work>>,
    resolvers: Vec<JoinHandle<Answers>>,
    first: Vec<Published>,
}

impl Workloads {
    async fn start(cluster: &Cluster, random: &mut StdRng) -> Workloads {
        let nodes = cluster.len();
        let mut chance = || StdRng::seed_from_u64(random.next_u64());
        let ground = Arc::new(Ground::new(cluster.readers.clone()));
        let (stop, stopped) = watch::channel(false);
        let from = |key: &SigningKey, number: u32| {
            cluster.client(again(key), usize::try_from(number).unwrap() % nodes, TIMEOUTS)
        };

        let (register_keys, registers_start) = granted(cluster, REGISTERS, REGISTER_CLIENTS).await;
        let clients = (1..).zip(&register_keys);
        let registers = clients.map(|(number, key)| {
            let connection = from(key, number);
            tokio::spawn(registers::client(number, connection, chance(), ground.clone(), stopped.clone()))
        });
        let registers = registers.collect();

        let (account_keys, accounts_start) = granted(cluster, ACCOUNTS, ACCOUNT_CLIENTS).await;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let clients = (1..).zip(&account_keys);
        let accounts = clients.map(|(number, key)| {
            let (connection, acknowledged) = (from(key, number), acknowledged.clone());
            let (ground, stopped) = (ground.clone(), stopped.clone());
            tokio::spawn(accounts::client(number, connection, chance(), ground, acknowledged, stopped))
        });
        let accounts = accounts.collect();

        let (counter_keys, counters_start) = granted(cluster, COUNTERS, COUNTER_CLIENTS).await;
        let clients = (1..).zip(&counter_keys);
        let counters = clients.map(|(number, key)| {
            let connections = at_each(cluster, key, TIMEOUTS);
            tokio::spawn(counters::client(number, connections, chance(), ground.clone(), stopped.clone()))
        });
        let counters = counters.collect();

        let reader = watchers::reader(cluster);
        let watchers = [Transport::Stream, Transport::Poll, Transport::Stream].into_iter();
        let watchers = watchers
            .map(|transport| {
                tokio::spawn(watchers::follow(reader.clone(), registers_start, transport, chance()))
            })
            .collect();

        // Every name server knows every zone before anything fails.
        let (zone_keys, _) = granted(cluster, ZONES, u32::try_from(zones::NAMES.len()).unwrap()).await;
        let promises = Arc::new(Promises::new(nodes));
        let (mut publishers, mut first) = (Vec::new(), Vec::new());
        for (zone, key) in zone_keys.iter().enumerate() {
            let connections = at_each(cluster, key, TIMEOUTS);
            let founded = &cluster.founded;
            let propagation = Propagation::new(&founded.genesis, founded.cluster, reader.clone()).unwrap();
            let publisher = Publisher { zone, connections, propagation, promises: promises.clone() };
            let published = publisher.publish(0, 1).await.expect("nothing fails yet");
            let state = published.state_ndx().expect("nothing fails yet");
            assert!(publisher.wait(state, 1, PATIENCE).await, "a zone is live before anything fails");
            first.push(published);
            publishers.push(tokio::spawn(publisher.run(1, chance(), stopped.clone())));
        }
        let servers = name_servers(cluster);
        let resolvers = (0..RESOLVERS).map(|_| {
            tokio::spawn(zones::resolve(servers.clone(), promises.clone(), chance(), stopped.clone()))
        });
        let resolvers = resolvers.collect();

        let starts = [registers_start, accounts_start, counters_start];
        let keys = [&register_keys, &account_keys, &counter_keys, &zone_keys].map(|keys| again(&keys[0]));
        Workloads {
            ground,
            stop,
            starts,
            keys,
            registers,
            accounts,
            counters,
            watchers,
            publishers,
            resolvers,
            first,
        }
    }

    /// Ends all of them, learns what became of what was never answered, and checks everything.
    async fn finish(self, cluster: &Cluster, figures: &mut Figures) -> Result<(), String> {
        let healed = Instant::now();
        recover(cluster).await;
        figures.recovered_ms = millis(healed.elapsed());
        self.stop.send_replace(true);
        let ground = &self.ground;
        let patient = |key: &SigningKey| cluster.client(again(key), 0, Timeouts::default());
        let [register_key, account_key, counter_key, zone_key] = &self.keys;
        let [registers_start, accounts_start, counters_start] = self.starts;

        let mut records = all_joined(self.registers).await?.concat();
        let works = all_joined(self.accounts).await?;
        let mut counted = all_joined(self.counters).await?.concat();
        let published = all_joined(self.publishers).await?;
        let mut answers = all_joined(self.resolvers).await?;

        // As the clients knew it when faults ended.
        let recorded = operations(&records);
        let mut transfers: Vec<Record> = works.iter().flat_map(|work| work.transfers.clone()).collect();
        figures.count(&recorded);
        figures.count(&operations(&transfers));
        let (live, mut changes) = (published.iter().map(|work| work.live).sum(), self.first);
        changes.extend(published.into_iter().flat_map(|work| work.published));

        let (registers, accounts) = (patient(register_key), patient(account_key));
        record::settle(&mut records, &registers, ground).await;
        record::settle(&mut transfers, &accounts, ground).await;
        let zones = patient(zone_key);
        zones::settle(&mut changes, &zones).await?;
        let nodes = at_each(cluster, counter_key, Timeouts::default());
        counters::settle(&mut counted, &nodes, ground).await;
        for client in [accounts, zones].into_iter().chain(nodes) {
            client.close().await;
        }

        // The last reads and the last write, which the watchers wait for.
        let mut last = read_everything(ground).await;
        last.push(write_end(&registers, ground).await);
        registers.close().await;
        let end = last.last().and_then(Operation::output).expect("it was answered").at;
        let mut recorded = History { start: registers_start, operations: recorded };
        let mut settled = History { start: registers_start, operations: operations(&records) };
        recorded.operations.extend(last.iter().cloned());
        settled.operations.extend(last);
        let transfers = History { start: accounts_start, operations: operations(&transfers) };
        let directory = cluster.directory.path();
        keep(directory, "registers-recorded", &recorded);
        keep(directory, "registers", &settled);
        keep(directory, "accounts", &transfers);
        keep(directory, "counters", &counters::history(counters_start, &counted));

        let followed = timeout(PATIENCE, all_joined(self.watchers)).await;
        let followed = followed.map_err(|_| "a watcher does not see the last write".to_owned())??;
        let logs = watchers::logs(cluster, &watchers::reader(cluster), registers_start, end).await;
        let mut balances: Vec<_> = works.into_iter().flat_map(|work| work.balances).collect();
        for node in 0..cluster.len() {
            let page =
                accounts::read(&cluster.readers, node, true).await.ok_or("no answer when all is healed")?;
            let (floor, at, entries) = (StateNdx(0), page.state_ndx, page.entries);
            balances.push(accounts::Balances { floor, at, entries });
        }
        ask_everything(cluster, &mut answers).await;
        alike::check(cluster).await?;
        alike::audit(cluster)?;
        let shown = shown(cluster).await?;

        figures.transfers = transfers.operations.len();
        figures.balances = balances.len();
        figures.submissions = counters::submissions(&counted);
        figures.counted = counted.len();
        figures.reconnects = followed.iter().map(|one| one.reconnects).sum();
        figures.watched = followed.iter().map(|one| one.states.len()).sum();
        figures.zone_changes = changes.len();
        figures.live = live;
        figures.dns_answers = answers.iter().map(|one| one.served.len()).sum();
        figures.dns_unanswered = answers.iter().map(|one| one.unanswered).sum();
        figures.dns_refused = answers.iter().map(|one| one.refused).sum();

        zones::check(&changes, &answers).map_err(|why| format!("zones: {why}"))?;
        counters::check(counters_start, &counted, &shown).map_err(|why| format!("counters: {why}"))?;
        accounts::check(&transfers, &balances).map_err(|why| format!("accounts: {why}"))?;
        watchers::check(&logs, &settled, &followed).map_err(|why| format!("watchers: {why}"))?;
        let checking = tokio::task::spawn_blocking(move || linearizable(&recorded, &settled));
        figures.steps = checking.await.unwrap()?;
        Ok(())
    }
}

/// A client for each node, which knows that node alone.
fn at_each(cluster: &Cluster, key: &SigningKey, timeouts: Timeouts) -> Vec<Client> {
    (0..cluster.len()).map(|n| cluster.client_of(again(key), vec![cluster.endpoint(n)], timeouts)).collect()
}

fn name_servers(cluster: &Cluster) -> Vec<SocketAddr> {
    let dns = cluster.founded.nodes.iter().map(|node| node.plan.dns.as_ref().unwrap().to_string());
    dns.map(|dns| dns.parse().unwrap()).collect()
}

/// Waits until every node can answer a linearizable read of every application: there are leaders, and all hear of them.
async fn recover(cluster: &Cluster) {
    for (node, app) in (0..cluster.len()).flat_map(|node| apps::ALL.map(|app| (node, app))) {
        let path = format!("/v1/apps/{app}?consistency=linearizable&wait=1");
        eventually("a node answers linearizable reads when all is healed", async || {
            cluster.readers.get(node, &path).await.is_ok()
        })
        .await;
    }
}

fn operations(records: &[Record]) -> Vec<Operation<Input, Output>> {
    records.iter().map(|record| record.operation.clone()).collect()
}

/// Reads every register at every node.
async fn read_everything(ground: &Ground) -> Vec<Operation<Input, Output>> {
    let mut reads = Vec::new();
    for (node, key) in (0..ground.readers().len()).flat_map(|node| HOT_KEYS.map(|key| (node, key))) {
        eventually("a node answers when all is healed", async || {
            let read = ground.read(READER, node, key).await;
            let is_there = read.is_some();
            reads.extend(read);
            is_there
        })
        .await;
    }
    reads
}

async fn write_end(client: &Client, ground: &Ground) -> Operation<Input, Output> {
    let input = Input::Put { key: watchers::END.into(), value: watchers::END.into() };
    let invoked = ground.now();
    let operation = put(watchers::END, watchers::END);
    let receipt = client.execute(REGISTERS, operation, CommandOptions::default()).await.unwrap();
    let outcome = record::answered(&input, &receipt, ground.now());
    Operation { client: LAST_WRITER, invoked, input, outcome }
}

/// Asks every name server for every zone; what was promised under faults holds behind them, too.
async fn ask_everything(cluster: &Cluster, answers: &mut Vec<Answers>) {
    let servers = name_servers(cluster);
    let promises = Promises::new(servers.len());
    let mut last = Answers::default();
    for (node, zone) in
        (0..servers.len()).flat_map(|node| (0..zones::NAMES.len()).map(move |zone| (node, zone)))
    {
        eventually("a name server answers when all is healed", async || {
            last.ask(servers[node], node, zone, &promises).await
        })
        .await;
    }
    answers.push(last);
}

/// What each node says that the counters hold.
async fn shown(cluster: &Cluster) -> Result<Vec<BTreeMap<String, String>>, String> {
    let mut all = Vec::new();
    for node in 0..cluster.len() {
        let path = format!("/v1/apps/{COUNTERS}/kv?limit=1000");
        let page: synod_cluster::Page =
            cluster.readers.get_json(node, &path).await.map_err(|why| why.to_string())?;
        all.push(page.entries.into_iter().map(|entry| (entry.key, entry.value)).collect());
    }
    Ok(all)
}

/// Both checks of what clients of registers were told; gives the steps of the search.
fn linearizable(recorded: &History, settled: &History) -> Result<u64, String> {
    let accepted = |what: &str, verdict| match verdict {
        Verdict::Linearizable => Ok(()),
        Verdict::Violation(why) => Err(format!("registers, {what}: {why}")),
        Verdict::Undecided(why) => Err(format!("registers, {what}: undecided: {why}")),
    };
    accepted("replayed", settled.replay())?;
    let mut steps = 0;
    for (what, history) in [("as recorded", recorded), ("settled", settled)] {
        let search = history.search(STEPS_MAX);
        steps += search.steps;
        accepted(what, search.verdict)?;
    }
    Ok(steps)
}

fn keep(directory: &Path, name: &str, history: &History) -> PathBuf {
    let path = directory.join(format!("history-{name}.txt"));
    fs::write(&path, history.to_string()).unwrap();
    path
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}
