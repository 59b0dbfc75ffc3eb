//! Everything that clients do while faults strike, and what is made of it when all is healed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use synod::founding::Founded;
use synod::propagation::Propagation;
use synod::watcher::Transport;
use synod_auth::SigningKey;
use synod_client::{Client, Timeouts};
use synod_cluster::{Cluster, PATIENCE};
use synod_history::{History, Input, Operation, Output};
use synod_types::StateNdx;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::apps::{ACCOUNTS, COUNTERS, LEASES, REGISTERS, ZONES};
use crate::commanders::{again, granted};
use crate::record::{self, Record};
use crate::registers::{Ground, TIMEOUTS};
use crate::report::Figures;
use crate::zones::{Answers, Promises, Published, Publisher};
use crate::{accounts, alike, counters, healed, leases, registers, times, watchers, zones};

/// How many clients each workload has.
const REGISTER_CLIENTS: u32 = 4;
const ACCOUNT_CLIENTS: u32 = 2;
const COUNTER_CLIENTS: u32 = 2;
const KEEPERS: u32 = 2;
const RESOLVERS: usize = 2;

/// Everything that runs while faults strike; ends when this is dropped.
pub struct Workloads {
    ground: Arc<Ground>,
    stop: watch::Sender<bool>,
    /// The state of each workload's application in which its clients may write.
    starts: [StateNdx; 3],
    /// A key that may write in each application.
    keys: [SigningKey; 4],
    registers: JoinSet<Vec<Record>>,
    accounts: JoinSet<accounts::Work>,
    counters: JoinSet<Vec<counters::Counted>>,
    keepers: JoinSet<leases::Kept>,
    watchers: JoinSet<watchers::Followed>,
    publishers: JoinSet<zones::Work>,
    resolvers: JoinSet<Answers>,
    first: Vec<Published>,
    promises: Arc<Promises>,
}

impl Workloads {
    /// Lets all of them begin.
    pub async fn start(cluster: &Cluster, random: &mut StdRng) -> Workloads {
        let nodes = cluster.len();
        let mut chance = || StdRng::seed_from_u64(random.next_u64());
        let ground = Arc::new(Ground::new(cluster.readers.clone()));
        let (stop, stopped) = watch::channel(false);
        let from = |key: &SigningKey, number: u32| {
            cluster.client(again(key), usize::try_from(number).unwrap() % nodes, TIMEOUTS)
        };

        let (register_keys, registers_start) = granted(cluster, REGISTERS, REGISTER_CLIENTS).await;
        let mut registers = JoinSet::new();
        for (number, key) in (1..).zip(&register_keys) {
            let (connection, ground) = (from(key, number), ground.clone());
            registers.spawn(registers::client(number, connection, chance(), ground, stopped.clone()));
        }

        let (account_keys, accounts_start) = granted(cluster, ACCOUNTS, ACCOUNT_CLIENTS).await;
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut accounts = JoinSet::new();
        for (number, key) in (1..).zip(&account_keys) {
            let (connection, acknowledged) = (from(key, number), acknowledged.clone());
            let (ground, stopped) = (ground.clone(), stopped.clone());
            accounts.spawn(accounts::client(number, connection, chance(), ground, acknowledged, stopped));
        }

        let (counter_keys, counters_start) = granted(cluster, COUNTERS, COUNTER_CLIENTS).await;
        let mut counters = JoinSet::new();
        for (number, key) in (1..).zip(&counter_keys) {
            let (connections, ground) = (at_each(cluster, key, TIMEOUTS), ground.clone());
            counters.spawn(counters::client(number, connections, chance(), ground, stopped.clone()));
        }

        let (keeper_keys, _) = granted(cluster, LEASES, KEEPERS).await;
        let mut keepers = JoinSet::new();
        for (number, key) in (1..).zip(&keeper_keys) {
            let (connection, ground) = (from(key, number), ground.clone());
            keepers.spawn(leases::keeper(number, connection, chance(), ground, stopped.clone()));
        }

        let reader = watchers::reader(cluster);
        let mut watchers = JoinSet::new();
        for transport in [Transport::Stream, Transport::Poll, Transport::Stream] {
            watchers.spawn(watchers::follow(reader.clone(), registers_start, transport, chance()));
        }

        // Every name server knows every zone before anything fails.
        let (zone_keys, _) = granted(cluster, ZONES, u32::try_from(zones::NAMES.len()).unwrap()).await;
        let promises = Arc::new(Promises::new(nodes));
        let Founded { genesis, cluster: id, .. } = &cluster.founded;
        let propagation = Propagation::new(genesis, *id, reader).unwrap();
        let (mut publishers, mut first) = (JoinSet::new(), Vec::new());
        for (zone, key) in zone_keys.iter().enumerate() {
            let publisher = |timeouts| Publisher {
                zone,
                connections: at_each(cluster, key, timeouts),
                propagation: propagation.clone(),
                promises: promises.clone(),
            };
            first.push(publisher(Timeouts::default()).first().await);
            publishers.spawn(publisher(TIMEOUTS).run(chance(), stopped.clone()));
        }
        let mut resolvers = JoinSet::new();
        for _ in 0..RESOLVERS {
            let (servers, promises) = (zones::name_servers(cluster), promises.clone());
            resolvers.spawn(zones::resolve(servers, promises, chance(), stopped.clone()));
        }

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
            keepers,
            watchers,
            publishers,
            resolvers,
            first,
            promises,
        }
    }

    /// Ends all of them, learns what became of what was never answered, and checks everything. The cluster was founded after `begun`.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn finish(
        self,
        cluster: &Cluster,
        figures: &mut Figures,
        begun: Instant,
    ) -> Result<(), String> {
        let last_fault = Instant::now();
        healed::recover(cluster).await;
        figures.recovered_ms = millis(last_fault.elapsed());
        self.stop.send_replace(true);
        let mut done = Done {
            records: all_joined(self.registers).await?.concat(),
            accounts: all_joined(self.accounts).await?,
            counted: all_joined(self.counters).await?.concat(),
            kept: all_joined(self.keepers).await?,
            zones: all_joined(self.publishers).await?,
            answers: all_joined(self.resolvers).await?,
        };
        done.zones.push(zones::Work { published: self.first, live: 0 });

        // As the clients knew it when faults ended.
        let (ground, directory) = (&self.ground, cluster.directory.path());
        let [registers_start, accounts_start, counters_start] = self.starts;
        let mut recorded = History { start: registers_start, operations: operations(&done.records) };
        healed::keep(directory, "registers-recorded", &recorded);
        done.count(figures);

        let zones_settled = done.settle(cluster, &self.keys, ground).await;

        // The last reads and the last write, which the watchers wait for.
        let mut last = healed::read_registers(ground).await;
        let (end, write) = healed::write_end(cluster, &self.keys[0], ground).await;
        last.push(write);
        let mut settled = History { start: registers_start, operations: operations(&done.records) };
        recorded.operations.extend(last.iter().cloned());
        settled.operations.extend(last);
        let transfers: Vec<&Record> = done.accounts.iter().flat_map(|work| &work.transfers).collect();
        let transfers = transfers.into_iter().map(|record| record.operation.clone()).collect();
        let transfers = History { start: accounts_start, operations: transfers };
        healed::keep(directory, "registers", &settled);
        healed::keep(directory, "accounts", &transfers);
        healed::keep(directory, "counters", &counters::history(counters_start, &done.counted));

        let followed = timeout(PATIENCE, all_joined(self.watchers)).await;
        let followed = followed.map_err(|_| "a watcher does not see the last write".to_owned())??;
        figures.reconnects = followed.iter().map(|one| one.reconnects).sum();
        figures.watched = followed.iter().map(|one| one.states.len()).sum();
        let logs = watchers::logs(cluster, &watchers::reader(cluster), registers_start, end).await;
        let mut balances: Vec<_> = done.accounts.into_iter().flat_map(|work| work.balances).collect();
        balances.extend(healed::read_balances(cluster).await);
        done.answers.push(healed::ask_name_servers(cluster, &self.promises).await);
        let changes: Vec<Published> = done.zones.into_iter().flat_map(|work| work.published).collect();
        let shown = healed::read_counters(cluster).await?;

        leases::run_out(cluster).await;
        let alike = alike::check(cluster).await;
        let audited = alike::audit(cluster);
        let times = times::check(cluster, || begun.elapsed()).await;
        let times = times.map(|off_ms| figures.clocks_off_ms = off_ms);
        let leases = leases::check(&done.kept);
        let zones = zones_settled.and_then(|()| zones::check(&changes, &done.answers));
        let counters = counters::check(counters_start, &done.counted, &shown);
        let accounts = accounts::check(&transfers, &balances);
        let watchers = watchers::check(&logs, &settled, &followed);
        let checking = tokio::task::spawn_blocking(move || healed::linearizable(&recorded, &settled));
        let registers = checking.await.unwrap().map(|steps| figures.steps = steps);
        all_hold([
            ("nodes", alike),
            ("audit", audited),
            ("times", times),
            ("leases", leases),
            ("zones", zones),
            ("counters", counters),
            ("accounts", accounts),
            ("watchers", watchers),
            ("registers", registers),
        ])
    }
}

/// What clients did.
struct Done {
    records: Vec<Record>,
    accounts: Vec<accounts::Work>,
    counted: Vec<counters::Counted>,
    kept: Vec<leases::Kept>,
    zones: Vec<zones::Work>,
    answers: Vec<Answers>,
}

impl Done {
    /// Counts what was done while faults struck.
    fn count(&self, figures: &mut Figures) {
        let transfers = self.accounts.iter().flat_map(|work| &work.transfers);
        let operations = self.records.iter().chain(transfers).map(|record| record.operation.clone());
        figures.count(&operations.collect::<Vec<_>>());
        figures.transfers = self.accounts.iter().map(|work| work.transfers.len()).sum();
        figures.balances = self.accounts.iter().map(|work| work.balances.len()).sum();
        figures.counted = self.counted.len();
        figures.submissions = counters::submissions(&self.counted);
        figures.leases = self.kept.iter().map(|kept| kept.granted).sum();
        figures.kept_alive = self.kept.iter().map(|kept| kept.times).sum();
        figures.ran_out = self.kept.iter().map(|kept| kept.ran_out).sum();
        figures.zone_changes = self.zones.iter().map(|work| work.published.len()).sum();
        figures.live = self.zones.iter().map(|work| work.live).sum();
        figures.dns_answers = self.answers.iter().map(|one| one.served.len()).sum();
        figures.dns_unanswered = self.answers.iter().map(|one| one.unanswered).sum();
        figures.dns_refused = self.answers.iter().map(|one| one.refused).sum();
    }

    /// Submits again: what was never answered, and of zones and counters everything, which gets the receipt that it got.
    async fn settle(
        &mut self,
        cluster: &Cluster,
        keys: &[SigningKey; 4],
        ground: &Ground,
    ) -> Result<(), String> {
        let [registers, accounts, counters, zones] = keys;
        let patient = |key: &SigningKey| cluster.client(again(key), 0, Timeouts::default());
        let (registers, accounts, zones) = (patient(registers), patient(accounts), patient(zones));
        let nodes = at_each(cluster, counters, Timeouts::default());
        record::settle(&mut self.records, &registers, ground).await;
        for work in &mut self.accounts {
            record::settle(&mut work.transfers, &accounts, ground).await;
        }
        counters::settle(&mut self.counted, &nodes, ground).await;
        let mut settled = Ok(());
        for work in &mut self.zones {
            settled = settled.and(zones::settle(&mut work.published, &zones).await);
        }
        for client in [registers, accounts, zones].into_iter().chain(nodes) {
            client.close().await;
        }
        settled
    }
}

/// Whether all checks hold; otherwise what each of them found.
fn all_hold<const N: usize>(checks: [(&str, Result<(), String>); N]) -> Result<(), String> {
    let found = checks.into_iter().filter_map(|(what, check)| Some(format!("{what}: {}", check.err()?)));
    let found: Vec<String> = found.collect();
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

/// A client for each node, which knows that node alone.
fn at_each(cluster: &Cluster, key: &SigningKey, timeouts: Timeouts) -> Vec<Client> {
    (0..cluster.len()).map(|n| cluster.client_of(again(key), vec![cluster.endpoint(n)], timeouts)).collect()
}

fn operations(records: &[Record]) -> Vec<Operation<Input, Output>> {
    records.iter().map(|record| record.operation.clone()).collect()
}

/// With what a task ended that gave nothing.
pub fn panicked(ended: JoinError) -> String {
    match ended.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (None, Some(text)) => (*text).to_owned(),
            (None, None) => "a panic without a word".to_owned(),
        },
        Err(aborted) => aborted.to_string(),
    }
}

async fn all_joined<T: 'static>(mut tasks: JoinSet<T>) -> Result<Vec<T>, String> {
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        all.push(ended.map_err(panicked)?);
    }
    Ok(all)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}
