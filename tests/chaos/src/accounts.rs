//! Money is moved between accounts, each time in one transaction: so the accounts hold nothing together, in every state, at
//! every node, whoever reads, and however.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use synod_client::{Client, CommandOptions};
use synod_cluster::{Page, PageEntry, Readers};
use synod_history::{Change, Entry, History, Input, Outcome, Registers, Txn, Verdict};
use synod_types::limits::SESSION_WINDOW;
use synod_types::{Seq, StateNdx};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::apps::ACCOUNTS;
use crate::record::{Record, kv_op};
use crate::registers::{Ground, submit};

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
const AMOUNT_MAX: i64 = 100;
const READ_PATIENCE: Duration = Duration::from_secs(2);
const THINK_MS_MAX: u64 = 30;

/// What a client did and saw.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Transfers.
    pub transfers: Vec<Record>,
    /// All accounts, as they were read.
    pub balances: Vec<Balances>,
}

/// How accounts are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// As the node has them.
    Local,
    /// From this state or a later one.
    Min(StateNdx),
    /// With everything that was acknowledged before.
    Linearizable,
}

/// All accounts in one state.
#[derive(Clone, Debug)]
pub struct Balances {
    /// The state from which, or from a later one, they have to be.
    pub floor: StateNdx,
    /// Which state was read.
    pub at: StateNdx,
    /// What they held.
    pub entries: Vec<PageEntry>,
}

impl Balances {
    /// What a page says.
    pub fn of(page: Page, floor: StateNdx) -> Balances {
        Balances { floor, at: page.state_ndx, entries: page.entries }
    }
}

/// Works until it is told to stop. `acknowledged` is the highest state that anybody was told.
pub async fn client(
    number: u32,
    connection: Client,
    mut random: StdRng,
    ground: Arc<Ground>,
    acknowledged: Arc<AtomicU64>,
    stopped: watch::Receiver<bool>,
) -> Work {
    let (mut work, mut seq) = (Work::default(), 0);
    while !*stopped.borrow() {
        sleep(Duration::from_millis(random.random_range(0..=THINK_MS_MAX))).await;
        if seq + 1 == SESSION_WINDOW || random.random_bool(0.4) {
            let known = StateNdx(acknowledged.load(Ordering::Relaxed));
            let (freshness, floor) = match random.random_range(0..3) {
                0 => (Freshness::Local, StateNdx(0)),
                1 => (Freshness::Min(known), known),
                _ => (Freshness::Linearizable, known),
            };
            let node = random.random_range(0..ground.readers().len());
            if let Some(page) = read(ground.readers(), node, freshness).await {
                if freshness == Freshness::Linearizable {
                    acknowledged.fetch_max(page.state_ndx.0, Ordering::Relaxed);
                }
                work.balances.push(Balances::of(page, floor));
            }
            continue;
        }
        seq += 1;
        let input = transfer(&mut random);
        let operation = kv_op(&input).encode().into();
        let command =
            connection.commander().sign(ACCOUNTS, Seq(seq), operation, CommandOptions::default()).unwrap();
        let (invoked, is_stubborn) = (ground.now(), random.random_bool(0.5));
        let outcome = submit(&connection, &command, &input, &ground, is_stubborn, &stopped).await;
        if let Outcome::Answered { output, .. } = &outcome {
            acknowledged.fetch_max(output.at.0, Ordering::Relaxed);
        }
        let operation = synod_history::Operation { client: number, invoked, input, outcome };
        work.transfers.push(Record { operation, command: Some(command) });
    }
    connection.close().await;
    work
}

/// Reads all accounts.
pub async fn read(readers: &Readers, node: usize, freshness: Freshness) -> Option<Page> {
    let how = match freshness {
        Freshness::Local => String::new(),
        Freshness::Min(state) => format!("&min={state}&wait=1"),
        Freshness::Linearizable => "&consistency=linearizable&wait=1".to_owned(),
    };
    let path = format!("/v1/apps/{ACCOUNTS}/kv?limit=1000{how}");
    timeout(READ_PATIENCE, readers.get_json(node, &path)).await.ok()?.ok()
}

fn transfer(random: &mut StdRng) -> Input {
    let amount = random.random_range(1..=AMOUNT_MAX);
    let from = random.random_range(0..NAMES.len());
    let to = (from + random.random_range(1..NAMES.len())) % NAMES.len();
    let add = |name: usize, delta| Change::Add { key: NAMES[name].into(), delta };
    Input::Txn(Txn { then: vec![add(from, -amount), add(to, amount)], ..Txn::default() })
}

/// Checks transfers whose outcomes are all known, and every balance that was seen, against the order that they claim.
///
/// # Errors
/// What does not hold.
pub fn check(transfers: &History, balances: &[Balances]) -> Result<(), String> {
    if let verdict @ (Verdict::Violation(_) | Verdict::Undecided(_)) = transfers.replay() {
        return Err(format!("the transfers have no order: {verdict:?}"));
    }
    let made = transfers.operations.iter().filter_map(|one| Some((one.output()?.at, &one.input)));
    let made: BTreeMap<StateNdx, &Input> = made.collect();
    let mut balances: Vec<&Balances> = balances.iter().collect();
    balances.sort_by_key(|read| read.at);
    let (mut next, mut accounts) = (made.into_iter().peekable(), Registers::default());
    for Balances { floor, at, entries } in balances {
        if at < floor {
            return Err(format!("state {at} was read where state {floor} was the earliest that may be"));
        }
        while let Some((made, input)) = next.next_if(|(made, _)| made <= at) {
            accounts.execute(made, input);
        }
        let sum: i64 = entries.iter().map(|entry| entry.value.parse::<i64>().unwrap()).sum();
        if sum != 0 {
            return Err(format!("the accounts hold {sum} together in state {at}: {entries:?}"));
        }
        let Registers(expected) = &accounts;
        let is_equal = entries.len() == expected.len()
            && entries.iter().zip(expected).all(|(entry, (key, Entry { value, changed }))| {
                (&*entry.key, &*entry.value, entry.changed) == (&**key, &**value, *changed)
            });
        if !is_equal {
            return Err(format!("the accounts of state {at} are {expected:?}, and were read as {entries:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "c1 0..10 txn then add alice -5, add bob 5 -> @1 then sum -5, sum 5\n\
                        c1 20..30 txn then add bob -5, add carol 5 -> @2 then sum 0, sum 5\n";

    fn read(at: u64, floor: u64, entries: &[(&str, &str, u64)]) -> Balances {
        let entry = |(key, value, changed): &(&str, &str, u64)| PageEntry {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            changed: StateNdx(*changed),
        };
        Balances { floor: StateNdx(floor), at: StateNdx(at), entries: entries.iter().map(entry).collect() }
    }

    #[test]
    fn what_was_read_is_what_the_transfers_left() {
        let history = History::parse(GOOD).unwrap();
        let first = read(1, 1, &[("alice", "-5", 1), ("bob", "5", 1)]);
        let second = read(2, 0, &[("alice", "-5", 1), ("bob", "0", 2), ("carol", "5", 2)]);
        assert_eq!(check(&history, &[second.clone(), first.clone()]), Ok(()));
        for (bad, why) in [
            (read(1, 2, &[("alice", "-5", 1), ("bob", "5", 1)]), "the earliest that may be"),
            (read(1, 0, &[("alice", "-5", 1)]), "together"),
            (read(2, 0, &[("alice", "-5", 1), ("bob", "5", 1)]), "were read as"),
            (read(1, 0, &[]), "were read as"),
        ] {
            let error = check(&history, &[bad]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_transfer_that_was_made_twice_is_found() {
        let doubled = GOOD.replace("@2 then sum 0", "@2 then sum -5");
        let history = History::parse(&doubled).unwrap();
        assert!(check(&history, &[]).unwrap_err().contains("no order"));
    }
}
