//! Watchers follow the registers from node to node. What each was told is what the log says, and the log is what the clients'
//! receipts say: every change, once, in order.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rustls::RootCertStore;
use synod::reader::{HttpNode, Reader};
use synod::watcher::{Event, Selection, StateChanges, Transport, Watcher};
use synod_cluster::{Cluster, eventually};
use synod_history::{History, Input, Registers};
use synod_types::StateNdx;

use crate::apps::REGISTERS;

/// The key whose change is the last thing that a watcher waits for.
pub const END: &str = "end";
/// Events after which a watcher goes to another node, at most.
const EVENTS_MAX: usize = 40;
/// Longer than all nodes are down at a time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a watcher was told, and how often it went to another node.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Every state that changed something.
    pub states: Vec<StateChanges>,
    /// How often it left a node.
    pub reconnects: usize,
}

/// Reads from all nodes, beginning at one of them.
pub fn reader(cluster: &Cluster) -> Reader {
    let nodes = cluster.founded.nodes.iter().map(|node| {
        let dns = node.plan.dns.as_ref().map(ToString::to_string);
        HttpNode::named(node.plan.name.clone(), &node.plan.http.to_string()).with_dns(dns)
    });
    Reader::new(nodes.collect(), &RootCertStore::empty().into(), PATIENCE).unwrap()
}

/// Follows all registers behind `after`, until the last change of all.
pub async fn follow(reader: Reader, after: StateNdx, transport: Transport, mut random: StdRng) -> Followed {
    let mut watcher = watcher(&reader, after, transport);
    let (mut states, mut reconnects) = (Vec::new(), 0);
    loop {
        for _ in 0..random.random_range(1..=EVENTS_MAX) {
            let Event::Change(state) = watcher.next().await.unwrap() else { continue };
            let is_last = state.changes.iter().any(|change| change.key.as_deref() == Some(END));
            states.push(state);
            if is_last {
                return Followed { states, reconnects };
            }
        }
        watcher.leave();
        reconnects += 1;
    }
}

fn watcher(reader: &Reader, after: StateNdx, transport: Transport) -> Watcher {
    let everything = Selection::Prefix(String::new());
    Watcher::new(reader, &REGISTERS.to_string(), everything, Some(after.0), transport)
}

/// What each node says that changed, when all is over.
pub async fn logs(
    cluster: &Cluster,
    reader: &Reader,
    after: StateNdx,
    last: StateNdx,
) -> Vec<Vec<StateChanges>> {
    let mut logs = Vec::new();
    for (n, node) in reader.nodes().iter().enumerate() {
        eventually("every node has caught up", async || {
            cluster.readers.state(n, "").await.is_ok_and(|state| state.state_ndx >= last)
        })
        .await;
        let one = Reader::new(vec![node.clone()], &RootCertStore::empty().into(), PATIENCE).unwrap();
        let (mut watcher, mut log) = (watcher(&one, after, Transport::Poll), Vec::new());
        while watcher.through() < Some(last.0) {
            if let Event::Change(state) = watcher.next().await.unwrap() {
                log.push(state);
            }
        }
        logs.push(log);
    }
    logs
}

/// What changed, by state and key; `None`: the key was removed.
type Changes = BTreeMap<u64, BTreeMap<String, Option<String>>>;

/// What the clients' commands changed, by their receipts; the outcomes of all have to be known.
fn changed(history: &History) -> Changes {
    let made = history.operations.iter().filter(|one| !one.input.is_read());
    let made: BTreeMap<StateNdx, &Input> =
        made.filter_map(|one| Some((one.output()?.at, &one.input))).collect();
    let (mut changes, mut registers) = (Changes::new(), Registers::default());
    for (at, input) in made {
        let before = registers.clone();
        registers.execute(at, input);
        let (Registers(before), Registers(after)) = (&before, &registers);
        for key in input.keys() {
            let (before, after) = (before.get(key), after.get(key));
            if before != after {
                let value = after.map(|entry| entry.value.to_string());
                changes.entry(at.0).or_default().insert(key.to_string(), value);
            }
        }
    }
    changes
}

fn told(states: &[StateChanges]) -> Changes {
    let keys = |state: &StateChanges| {
        let changes = state.changes.iter();
        changes.map(|change| (change.key.clone().unwrap_or_default(), change.value.clone())).collect()
    };
    states.iter().map(|state| (state.state_ndx, keys(state))).collect()
}

/// Checks that all logs are equal, that they say what the history says, and that each watcher was told just that.
///
/// # Errors
/// What does not hold.
pub fn check(logs: &[Vec<StateChanges>], history: &History, followed: &[Followed]) -> Result<(), String> {
    let log = logs.first().ok_or("there is no log")?;
    if let Some(n) = logs.iter().position(|other| other != log) {
        return Err(format!(
            "node1 and node{} do not remember the same: {}",
            n + 1,
            first_difference(log, &logs[n])
        ));
    }
    let (told, changed) = (told(log), changed(history));
    if told != changed {
        let at = told.keys().chain(changed.keys()).find(|at| told.get(at) != changed.get(at));
        let at = at.expect("they differ");
        return Err(format!(
            "by its receipts state {at} changed {:?}, and the log says {:?}",
            changed.get(at),
            told.get(at)
        ));
    }
    for (n, Followed { states, .. }) in followed.iter().enumerate() {
        if states != log {
            return Err(format!(
                "watcher {} was not told what the log says: {}",
                n + 1,
                first_difference(log, states)
            ));
        }
    }
    Ok(())
}

fn first_difference(one: &[StateChanges], other: &[StateChanges]) -> String {
    let n = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    format!(
        "{} states and {}; the first difference is {:?} and {:?}",
        one.len(),
        other.len(),
        one.get(n),
        other.get(n)
    )
}

#[cfg(test)]
mod tests {
    use synod::watcher::KeyChange;

    use super::*;

    const HISTORY: &str = "c1 0..10 put x a -> @1 new\n\
                           c1 11..20 delete y -> @2 nothing\n\
                           c1 21..30 txn then put y b, delete x -> @3 then new, deleted\n";

    fn state(state_ndx: u64, changes: &[(&str, Option<&str>)]) -> StateChanges {
        let change = |(key, value): &(&str, Option<&str>)| KeyChange {
            key: Some((*key).to_owned()),
            value: value.map(str::to_owned),
            ..KeyChange::default()
        };
        StateChanges { state_ndx, time_ms: 0, changes: changes.iter().map(change).collect() }
    }

    #[test]
    fn watchers_are_told_what_the_receipts_say_each_change_once_and_in_order() {
        let history = History::parse(HISTORY).unwrap();
        let log = vec![state(1, &[("x", Some("a"))]), state(3, &[("x", None), ("y", Some("b"))])];
        let told = |states: Vec<StateChanges>| [Followed { states, reconnects: 0 }];
        assert_eq!(check(&[log.clone(), log.clone()], &history, &told(log.clone())), Ok(()));
        let doubled = vec![log[0].clone(), log[0].clone(), log[1].clone()];
        let swapped = vec![log[1].clone(), log[0].clone()];
        for bad in [vec![log[0].clone()], doubled, swapped] {
            let error = check(&[log.clone(), log.clone()], &history, &told(bad)).unwrap_err();
            assert!(error.contains("watcher 1"), "{error}");
        }
        let other = vec![log[0].clone(), state(3, &[("x", None)])];
        let error = check(&[log.clone(), other.clone()], &history, &told(log)).unwrap_err();
        assert!(error.contains("node2"), "{error}");
        let error = check(&[other.clone(), other.clone()], &history, &told(other)).unwrap_err();
        assert!(error.contains("state 3"), "{error}");
    }
}
