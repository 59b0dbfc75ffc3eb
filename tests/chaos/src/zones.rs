//! Zones change at one node after another, and name servers are asked all the while. Whoever was promised a state at a node, by
//! a receipt, by waiting for all, or by an earlier answer, is never answered from an earlier one there, whatever happened to
//! that node since.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use synod::dns_query::{self, DnsAnswer};
use synod::propagation::{Change, Propagation, Reach};
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesOp};
use synod_client::{Client, CommandOptions, SubmitError};
use synod_cluster::{Cluster, PATIENCE};
use synod_types::limits::SESSION_WINDOW;
use synod_types::{Outcome, Receipt, Seq, SignedCommand, StateNdx};
use synod_zone::{Name, Rtype};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::apps::ZONES;

/// The zones, one for each publisher.
pub const NAMES: [&str; 2] = ["one.example", "two.example"];
const FIRST_SERIAL: u32 = 1;
const THINK_MS_MAX: u64 = 150;
const ASK_MS_MAX: u64 = 10;
/// How long a change to be live everywhere is waited for.
const LIVE_WAIT: Duration = Duration::from_secs(3);
/// A query to a node that is down or paused gets lost.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// A state, and each zone's serial in it, below which nobody who asks may be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Floor {
    state: StateNdx,
    serials: [u32; NAMES.len()],
}

/// What was promised at each node.
#[derive(Debug)]
pub struct Promises(Mutex<Vec<Floor>>);

impl Promises {
    /// Nothing is, of so many nodes.
    pub fn new(nodes: usize) -> Promises {
        Promises(Mutex::new(vec![Floor::default(); nodes]))
    }

    fn at(&self, node: usize) -> Floor {
        self.0.lock().unwrap()[node]
    }

    fn raise(&self, node: usize, state: StateNdx, zone: usize, serial: u32) {
        let floor = &mut self.0.lock().unwrap()[node];
        floor.state = floor.state.max(state);
        floor.serials[zone] = floor.serials[zone].max(serial);
    }
}

/// A change that was signed and sent.
#[derive(Clone, Debug)]
pub struct Published {
    zone: usize,
    serial: u32,
    command: SignedCommand,
    receipt: Option<Receipt>,
}

/// What a publisher did.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Its changes.
    pub published: Vec<Published>,
    /// How often it was promised that a change is live everywhere.
    pub live: usize,
}

/// What a resolver was answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The state, the zone and its serial.
    pub served: Vec<(StateNdx, usize, u32)>,
    /// Answers that were none: silence, and SERVFAIL of who does not know whether it is behind.
    pub unanswered: usize,
    /// REFUSED, of who does not know yet that there is such a zone.
    pub refused: usize,
    /// What may not be.
    pub violations: Vec<String>,
}

/// What publishers need; each connection knows one node alone.
pub struct Publisher {
    /// Which zone it publishes: its place in [`NAMES`].
    pub zone: usize,
    /// One for each node.
    pub connections: Vec<Client>,
    /// Waits for changes to be live.
    pub propagation: Propagation,
    /// Where promises are noted.
    pub promises: Arc<Promises>,
}

impl Publisher {
    /// Publishes the zone for the first time, before anything fails, and waits until it is live everywhere.
    pub async fn first(self) -> Published {
        let published = self.publish(0, FIRST_SERIAL).await.expect("nothing fails yet");
        let state_ndx = published.receipt.as_ref().expect("nothing fails yet").state_ndx;
        assert!(self.wait(state_ndx, FIRST_SERIAL, PATIENCE).await, "a zone is live before anything fails");
        for connection in self.connections {
            connection.close().await;
        }
        published
    }

    /// Publishes further versions until it is told to stop.
    pub async fn run(self, mut random: StdRng, stopped: watch::Receiver<bool>) -> Work {
        let mut work = Work::default();
        while !*stopped.borrow() {
            sleep(Duration::from_millis(random.random_range(0..=THINK_MS_MAX))).await;
            let serial = FIRST_SERIAL + 1 + u32::try_from(work.published.len()).unwrap();
            if u64::from(serial) >= SESSION_WINDOW {
                break;
            }
            let node = random.random_range(0..self.connections.len());
            let Some(published) = self.publish(node, serial).await else { continue };
            let receipt = published.receipt.clone();
            work.published.push(published);
            if let Some(receipt) = receipt
                && random.random_bool(0.3)
            {
                work.live += usize::from(self.wait(receipt.state_ndx, serial, LIVE_WAIT).await);
            }
        }
        for connection in self.connections {
            connection.close().await;
        }
        work
    }

    /// Publishes a change through one node; `None`: nothing was submitted.
    async fn publish(&self, node: usize, serial: u32) -> Option<Published> {
        let (zone, connection) = (self.zone, &self.connections[node]);
        let file = zone_file(serial);
        let bytes = u64::try_from(file.len()).unwrap();
        let content = connection.upload(ZONES, file, |_, _| {}).await.ok()?.content;
        let name = ZoneName::parse(NAMES[zone]).unwrap();
        let change = ZoneChange { zone: name, content, bytes, serial, force: false, expected: Expected::Any };
        let operation = ZonesOp::Set(change).encode().into();
        let seq = Seq(serial.into());
        let command = connection.commander().sign(ZONES, seq, operation, CommandOptions::default()).unwrap();
        let receipt = match connection.submit(&command).await {
            Ok(receipt) => {
                // Serials only grow, and each publisher has a zone of its own.
                assert!(matches!(receipt.outcome, Outcome::Done(_)), "serial {serial}: {receipt:?}");
                self.promises.raise(node, receipt.state_ndx, zone, serial);
                Some(receipt)
            }
            Err(SubmitError::Refused(refusal)) => {
                assert!(refusal.code.is_transient(), "serial {serial}: {refusal}");
                return None;
            }
            Err(SubmitError::Unknown { .. } | SubmitError::Unreachable { .. }) => None,
        };
        Some(Published { zone, serial, command, receipt })
    }

    /// Waits until a change is live everywhere.
    async fn wait(&self, state_ndx: StateNdx, serial: u32, limit: Duration) -> bool {
        let zone = Some(Name::parse(NAMES[self.zone]).unwrap());
        let change = Change { app: ZONES, state_ndx, zone };
        let waited = self.propagation.wait(&change, Reach::All, limit, |_| {}).await.unwrap();
        if waited.is_live {
            (0..self.connections.len())
                .for_each(|node| self.promises.raise(node, state_ndx, self.zone, serial));
        }
        waited.is_live
    }
}

/// Where each node answers queries.
pub fn name_servers(cluster: &Cluster) -> Vec<SocketAddr> {
    let dns = cluster.founded.nodes.iter().map(|node| node.plan.dns.as_ref().unwrap().to_string());
    dns.map(|dns| dns.parse().unwrap()).collect()
}

/// Asks the name servers until it is told to stop.
pub async fn resolve(
    servers: Vec<SocketAddr>,
    promises: Arc<Promises>,
    mut random: StdRng,
    stopped: watch::Receiver<bool>,
) -> Answers {
    let mut answers = Answers::default();
    while !*stopped.borrow() {
        sleep(Duration::from_millis(random.random_range(0..=ASK_MS_MAX))).await;
        let (node, zone) = (random.random_range(0..servers.len()), random.random_range(0..NAMES.len()));
        answers.ask(servers[node], node, zone, &promises).await;
    }
    answers
}

impl Answers {
    /// Asks one name server for one zone. Says whether it answered.
    pub async fn ask(&mut self, server: SocketAddr, node: usize, zone: usize, promises: &Promises) -> bool {
        let www = Name::parse(&format!("www.{}", NAMES[zone])).unwrap();
        let floor = promises.at(node);
        match dns_query::ask(server, &www, Rtype::A, ANSWER_WAIT).await {
            Ok(answer) if answer.rcode == dns_query::NOERROR => match served(&answer, floor, zone) {
                Ok((state, serial)) => {
                    promises.raise(node, state, zone, serial);
                    self.served.push((state, zone, serial));
                    return true;
                }
                Err(why) => self.violations.push(format!("node{} {why}: {answer:?}", node + 1)),
            },
            Ok(answer) if answer.rcode == dns_query::REFUSED => self.refused += 1,
            Ok(answer) if dns_query::rcode_name(answer.rcode) == "SERVFAIL" => self.unanswered += 1,
            Ok(answer) => {
                self.violations.push(format!("node{} was asked for {}: {answer:?}", node + 1, NAMES[zone]))
            }
            Err(_) => self.unanswered += 1,
        }
        false
    }
}

/// What an answer says, if it may say so.
fn served(answer: &DnsAnswer, floor: Floor, zone: usize) -> Result<(StateNdx, u32), String> {
    let (Some(state), Some(serial)) = (answer.state_ndx, answer.serial) else {
        return Err("does not say from which state it answers".to_owned());
    };
    let addresses: Vec<Ipv4Addr> = answer.records.iter().filter_map(|record| record.ipv4()).collect();
    if !answer.is_authoritative || addresses != [address(serial)] {
        return Err(format!("answers with what is not in serial {serial}"));
    }
    if state < floor.state || serial < floor.serials[zone] {
        let promised = floor.serials[zone];
        return Err(format!(
            "answers with serial {serial} from state {state}, and had promised serial {promised} in state {}",
            floor.state
        ));
    }
    Ok((state, serial))
}

/// Submits every change again, at one node or another: what was never answered is executed now at the latest.
pub async fn settle(all: &mut [Published], connection: &Client) -> Result<(), String> {
    for one in all {
        match connection.submit(&one.command).await {
            Ok(receipt) if one.receipt.as_ref().is_none_or(|first| *first == receipt) => {
                one.receipt = Some(receipt)
            }
            Ok(other) => {
                return Err(format!("two receipts for the same bytes: {:?} and {other:?}", one.receipt));
            }
            // It was never taken, and its serial is not the newest any more.
            Err(SubmitError::Refused(_)) if one.receipt.is_none() => {}
            Err(why) => return Err(format!("serial {} of {}: {why}", one.serial, NAMES[one.zone])),
        }
    }
    Ok(())
}

/// Checks that changes that are settled made different states, with serials in their order, and that every answer is the one
/// of its state.
///
/// # Errors
/// What does not hold.
pub fn check(all: &[Published], answers: &[Answers]) -> Result<(), String> {
    if let Some(violation) = answers.iter().flat_map(|answers| &answers.violations).next() {
        return Err(violation.clone());
    }
    let mut made: BTreeMap<StateNdx, &Published> = BTreeMap::new();
    for one in all {
        let Some(receipt) = &one.receipt else { continue };
        if let Some(other) = made.insert(receipt.state_ndx, one) {
            return Err(format!("two changes made state {}: {one:?} and {other:?}", receipt.state_ndx));
        }
    }
    let mut served: Vec<(StateNdx, usize, u32)> =
        answers.iter().flat_map(|answers| answers.served.iter().copied()).collect();
    served.sort_unstable();
    let mut serials = [0; NAMES.len()];
    let mut next = made.into_iter().peekable();
    for (state, zone, serial) in served {
        while let Some((_, one)) = next.next_if(|(made, _)| *made <= state) {
            if matches!(one.receipt, Some(Receipt { outcome: Outcome::Done(_), .. })) {
                serials[one.zone] = one.serial;
            }
        }
        if serials[zone] != serial {
            let name = NAMES[zone];
            return Err(format!(
                "{name} has serial {} in state {state}, and was served with {serial}",
                serials[zone]
            ));
        }
    }
    Ok(())
}

fn address(serial: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + serial)
}

fn zone_file(serial: u32) -> Bytes {
    let www = address(serial);
    let text = format!(
        "$TTL 60\n@ SOA ns1 hostmaster {serial} 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\nwww A {www}\n"
    );
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(state: u64, serial: u32) -> DnsAnswer {
        let rdata = Bytes::from(address(serial).octets().to_vec());
        let owner = Name::parse("www.one.example").unwrap();
        DnsAnswer {
            is_authoritative: true,
            records: vec![dns_query::DnsRecord { owner, rtype: Rtype::A, rdata }],
            serial: Some(serial),
            state_ndx: Some(StateNdx(state)),
            ..DnsAnswer::default()
        }
    }

    #[test]
    fn nobody_is_answered_from_behind_a_promise() {
        let promises = Promises::new(2);
        promises.raise(1, StateNdx(7), 0, 3);
        let (free, bound) = (promises.at(0), promises.at(1));
        assert_eq!(served(&answer(6, 2), free, 0), Ok((StateNdx(6), 2)), "another node promised nothing");
        assert_eq!(served(&answer(7, 3), bound, 0), Ok((StateNdx(7), 3)));
        assert!(served(&answer(6, 3), bound, 0).unwrap_err().contains("had promised"));
        assert!(served(&answer(8, 2), bound, 0).unwrap_err().contains("had promised"));
        let mixed = DnsAnswer { serial: Some(4), ..answer(9, 5) };
        assert!(served(&mixed, bound, 0).unwrap_err().contains("not in serial 4"));
    }

    #[test]
    fn what_is_served_is_what_its_state_holds() {
        let answers = |served: &[(u64, usize, u32)]| {
            let served =
                served.iter().map(|(state, zone, serial)| (StateNdx(*state), *zone, *serial)).collect();
            [Answers { served, ..Answers::default() }]
        };
        let published = |zone, serial, state| Published {
            zone,
            serial,
            command: SignedCommand { body: Bytes::new().into(), signature: Bytes::new(), key: Bytes::new() },
            receipt: Some(Receipt {
                app: ZONES,
                seq: Seq(serial.into()),
                state_ndx: StateNdx(state),
                outcome: Outcome::Done(Bytes::new()),
                chain: synod_types::Digest::of(&[]),
            }),
        };
        let all = [published(0, 1, 3), published(1, 1, 4), published(0, 2, 6)];
        assert_eq!(check(&all, &answers(&[(6, 0, 2), (3, 0, 1), (5, 1, 1), (5, 0, 1)])), Ok(()));
        assert!(check(&all, &answers(&[(5, 0, 2)])).unwrap_err().contains("was served with 2"));
        assert!(check(&all, &answers(&[(7, 0, 1)])).unwrap_err().contains("has serial 2"));
        let doubled = [published(0, 1, 3), published(1, 1, 3)];
        assert!(check(&doubled, &answers(&[])).unwrap_err().contains("two changes made state 3"));
    }
}
