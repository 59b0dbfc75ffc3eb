//! A change that was waited for is live: nodes are killed and come back while zones change, and each time that waiting is
//! over, every node's name server answers with the change, from its stateNdx or a later one.
//!
//! A schedule is replayed with `SYNOD_PROPAGATION_SEED=N`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustls::RootCertStore;
use synod::dns_query::{self, DnsAnswer};
use synod::propagation::{Change, Propagation, Reach};
use synod::reader::{HttpNode, Reader};
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesOp};
use synod_client::{Client, CommandOptions, Timeouts};
use synod_cluster::{Cluster, PATIENCE, ZONES, eventually};
use synod_types::{Outcome, StateNdx};
use synod_zone::{Name, Rtype};

const SEED: &str = "SYNOD_PROPAGATION_SEED";
const NODES: usize = 3;
const CHANGES: u32 = 200;
/// One in so many changes meets a kill.
const CALM: u32 = 6;
/// A query to a process that is being killed gets lost.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
const ZONE: &str = "example.org";
/// What is sent to a node that is dead is soon sent to another one.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    attempt: Duration::from_secs(1),
    total: PATIENCE,
    upload: PATIENCE,
    idle: Duration::from_secs(1),
};

/// When, on its way, a change meets a kill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// Before its file is sent.
    BeforeUpload,
    /// When a majority has the file, and the command is not sent yet.
    BeforeCommand,
    /// When it is ordered, and the waiting has not begun.
    BeforeWaiting,
    /// While nodes are being waited for: one that answered already may be the one.
    WhileWaiting,
}

struct Storm {
    cluster: Cluster,
    client: Client,
    propagation: Propagation,
    random: StdRng,
    kills: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_waited_for_is_served_by_every_name_server() {
    let seed = std::env::var(SEED).map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    eprintln!("to replay this schedule: {SEED}={seed}");
    let begun = Instant::now();
    let cluster = Cluster::start(NODES).await;
    let client = cluster.client(cluster.administrator(), 0, TIMEOUTS);
    let nodes = cluster.founded.nodes.iter().map(|node| {
        let dns = node.plan.dns.as_ref().map(ToString::to_string);
        HttpNode::named(node.plan.name.clone(), &node.plan.http.to_string()).with_dns(dns)
    });
    let reader = Reader::new(nodes.collect(), &RootCertStore::empty().into(), PATIENCE).unwrap();
    let propagation = Propagation::new(&cluster.founded.genesis, cluster.founded.cluster, reader).unwrap();
    let random = StdRng::seed_from_u64(seed);
    let mut storm = Storm { cluster, client, propagation, random, kills: 0 };

    let mut last = StateNdx(0);
    let mut waits = Vec::new();
    for serial in 1..=CHANGES {
        let (state_ndx, waited) = storm.change(serial).await;
        assert!(state_ndx > last, "change {serial} made stateNdx {state_ndx}, and the one before it {last}");
        last = state_ndx;
        waits.push(waited);
    }
    assert!(storm.kills > 0, "no node was killed");
    storm.client.close().await;
    storm.cluster.stop_all().await;
    waits.sort();
    eprintln!(
        "{CHANGES} changes, {} kills in {:.1} s; waiting took {:.0} ms in the median, {:.0} ms at most",
        storm.kills,
        begun.elapsed().as_secs_f64(),
        waits[waits.len() / 2].as_secs_f64() * 1000.0,
        waits[waits.len() - 1].as_secs_f64() * 1000.0
    );
}

impl Storm {
    /// Publishes the next content of the zone and waits until it is live everywhere; then asks every name server.
    async fn change(&mut self, serial: u32) -> (StateNdx, Duration) {
        let moment = self.random.random_bool(1.0 / f64::from(CALM)).then(|| {
            let moments =
                [Moment::BeforeUpload, Moment::BeforeCommand, Moment::BeforeWaiting, Moment::WhileWaiting];
            moments[self.random.random_range(0..moments.len())]
        });
        let victims = self.victims();
        let www = address(serial);
        let file = zone_file(serial, www);
        let bytes = u64::try_from(file.len()).unwrap();

        self.kill_at(moment, Moment::BeforeUpload, &victims);
        let uploaded = self.client.upload(ZONES, file, |_, _| {}).await.unwrap();
        assert!(uploaded.receipts.len() > NODES / 2);

        self.kill_at(moment, Moment::BeforeCommand, &victims);
        let zone = ZoneName::parse(ZONE).unwrap();
        let content = uploaded.content;
        let change = ZoneChange { zone, content, bytes, serial, force: false, expected: Expected::Any };
        let operation = ZonesOp::Set(change).encode().into();
        let receipt = self.client.execute(ZONES, operation, CommandOptions::default()).await.unwrap();
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "change {serial}: {receipt:?}");
        let state_ndx = receipt.state_ndx;

        self.kill_at(moment, Moment::BeforeWaiting, &victims);
        let zone = Some(Name::parse(ZONE).unwrap());
        let waiting = tokio::spawn({
            let propagation = self.propagation.clone();
            let change = Change { app: ZONES, state_ndx, zone };
            async move { propagation.wait(&change, Reach::All, PATIENCE, |_| {}).await }
        });
        if moment == Some(Moment::WhileWaiting) && self.random.random_bool(0.5) {
            // It has answered, or is about to: another life will have to keep that word.
            eventually("who is to be killed has the change", async || {
                let answer = self.ask(victims[0]).await;
                answer.is_some_and(|answer| answer.state_ndx >= Some(state_ndx))
            })
            .await;
        }
        self.kill_at(moment, Moment::WhileWaiting, &victims);
        let waited = waiting.await.unwrap().unwrap();
        let logs = || (0..NODES).map(|n| self.cluster.log(n)).collect::<Vec<_>>().join("\n---\n");
        assert!(waited.is_live, "change {serial} is not live at {}\n{}", waited.standings.missing(), logs());

        for node in 0..NODES {
            let answer = self.ask(node).await;
            // Whoever was killed behind his own word has another life since, which may not have begun to answer. But it
            // never answers with what was before.
            let is_back = moment == Some(Moment::WhileWaiting) && victims.contains(&node);
            if !is_back || answer.as_ref().is_some_and(|answer| answer.rcode == dns_query::NOERROR) {
                let answer = answer.unwrap_or_else(|| panic!("node {node} does not answer"));
                assert_served(node, &answer, serial, www, state_ndx);
            }
        }
        for &victim in victims.iter().filter(|_| moment.is_some()) {
            self.cluster.ready(victim).await;
            eventually("who was killed answers with the change", async || match self.ask(victim).await {
                Some(answer) if answer.rcode == dns_query::NOERROR => {
                    assert_served(victim, &answer, serial, www, state_ndx);
                    true
                }
                _ => false,
            })
            .await;
        }
        (state_ndx, waited.took)
    }

    /// One node, or now and then two, which leave no majority until they are back.
    fn victims(&mut self) -> Vec<usize> {
        let first = self.random.random_range(0..NODES);
        let second = (first + self.random.random_range(1..NODES)) % NODES;
        if self.random.random_bool(0.2) { vec![first, second] } else { vec![first] }
    }

    /// If this is the moment, the victims are killed, and started again at once.
    fn kill_at(&mut self, moment: Option<Moment>, now: Moment, victims: &[usize]) {
        if moment != Some(now) {
            return;
        }
        for &victim in victims {
            self.cluster.kill(victim);
        }
        for &victim in victims {
            self.cluster.spawn(victim);
        }
        self.kills += victims.len();
    }

    /// What a node's name server answers; `None`: nothing.
    async fn ask(&self, node: usize) -> Option<DnsAnswer> {
        let dns = self.cluster.founded.nodes[node].plan.dns.as_ref().unwrap();
        let server = SocketAddr::new(dns.host.parse().unwrap(), dns.port);
        let www = Name::parse(&format!("www.{ZONE}")).unwrap();
        dns_query::ask(server, &www, Rtype::A, ANSWER_WAIT).await.ok()
    }
}

#[track_caller]
fn assert_served(node: usize, answer: &DnsAnswer, serial: u32, www: Ipv4Addr, state_ndx: StateNdx) {
    let addresses: Vec<Ipv4Addr> = answer.records.iter().filter_map(|record| record.ipv4()).collect();
    assert_eq!(
        (answer.rcode, answer.is_authoritative, answer.serial, addresses),
        (dns_query::NOERROR, true, Some(serial), vec![www]),
        "node {node} was to answer from stateNdx {state_ndx}: {answer:?}"
    );
    assert!(
        answer.state_ndx >= Some(state_ndx),
        "node {node} was to answer from stateNdx {state_ndx}: {answer:?}"
    );
}

fn address(serial: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + serial)
}

fn zone_file(serial: u32, www: Ipv4Addr) -> Bytes {
    let text = format!(
        "$TTL 60\n@ SOA ns1 hostmaster {serial} 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\nwww A {www}\n"
    );
    text.into()
}
