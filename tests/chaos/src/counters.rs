//! The same signed bytes are sent again and again, to one node after another and to two at once. Each command counts one, once,
//! and whoever asks gets the receipt of the first time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use synod_client::{Client, CommandOptions, SubmitError};
use synod_history::{History, Input, Operation, Outcome, Verdict};
use synod_types::limits::SESSION_WINDOW;
use synod_types::{Receipt, Seq, SignedCommand, StateNdx};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::apps::COUNTERS;
use crate::record::{answered, kv_op};
use crate::registers::Ground;

const THINK_MS_MAX: u64 = 30;
/// Commands that are submitted at a time when all is over.
const CHUNK: usize = 64;

/// A command, and what was ever said of it.
#[derive(Clone, Debug)]
pub struct Counted {
    client: u32,
    input: Input,
    command: SignedCommand,
    invoked: u64,
    returned: Option<u64>,
    receipts: Vec<Receipt>,
    /// How often it was submitted.
    submitted: usize,
}

/// Works until it is told to stop. Each connection knows one node alone.
pub async fn client(
    number: u32,
    connections: Vec<Client>,
    mut random: StdRng,
    ground: Arc<Ground>,
    stopped: watch::Receiver<bool>,
) -> Vec<Counted> {
    let mut all: Vec<Counted> = Vec::new();
    while !*stopped.borrow() {
        sleep(Duration::from_millis(random.random_range(0..=THINK_MS_MAX))).await;
        let seq = u64::try_from(all.len()).unwrap() + 1;
        let is_new = all.is_empty() || (seq < SESSION_WINDOW && random.random_bool(0.6));
        if is_new {
            all.push(counted(number, Seq(seq), &connections[0], ground.now()));
        }
        let place = if is_new { all.len() - 1 } else { random.random_range(0..all.len()) };
        let one = random.random_range(0..connections.len());
        let other = random.random_bool(0.5).then(|| (one + 1) % connections.len());
        for submitting in [Some(one), other]
            .into_iter()
            .flatten()
            .map(|node| {
                let (connection, command) = (connections[node].clone(), all[place].command.clone());
                tokio::spawn(async move { connection.submit(&command).await })
            })
            .collect::<Vec<_>>()
        {
            all[place].note(submitting.await.unwrap(), &ground);
        }
    }
    for connection in connections {
        connection.close().await;
    }
    all
}

fn counted(client: u32, seq: Seq, connection: &Client, invoked: u64) -> Counted {
    let input = Input::Add { key: format!("counter-{client}").into(), delta: 1 };
    let operation = kv_op(&input).encode().into();
    let command = connection.commander().sign(COUNTERS, seq, operation, CommandOptions::default()).unwrap();
    Counted { client, input, command, invoked, returned: None, receipts: Vec::new(), submitted: 0 }
}

impl Counted {
    fn note(&mut self, submitted: Result<Receipt, SubmitError>, ground: &Ground) {
        self.submitted += 1;
        match submitted {
            Ok(receipt) => {
                self.returned.get_or_insert(ground.now());
                self.receipts.push(receipt);
            }
            Err(SubmitError::Refused(refusal)) => {
                assert!(refusal.code.is_transient(), "{}: {refusal}", self.input)
            }
            Err(SubmitError::Unknown { .. } | SubmitError::Unreachable { .. }) => {}
        }
    }
}

/// Submits every command again, at each node.
pub async fn settle(all: &mut [Counted], connections: &[Client], ground: &Ground) {
    for connection in connections {
        for chunk in all.chunks_mut(CHUNK) {
            let submitting: Vec<_> = chunk
                .iter()
                .map(|one| {
                    let (connection, command) = (connection.clone(), one.command.clone());
                    tokio::spawn(async move { connection.submit(&command).await })
                })
                .collect();
            for (one, submitting) in chunk.iter_mut().zip(submitting) {
                let receipt = submitting.await.unwrap().unwrap();
                one.note(Ok(receipt), ground);
            }
        }
    }
}

/// How often commands were submitted, each of which was executed once.
pub fn submissions(all: &[Counted]) -> usize {
    all.iter().map(|one| one.submitted).sum()
}

/// The history of commands that are settled.
pub fn history(start: StateNdx, all: &[Counted]) -> History {
    let operation = |one: &Counted| {
        let outcome = match (one.receipts.first(), one.returned) {
            (Some(receipt), Some(returned)) => answered(&one.input, receipt, returned),
            _ => Outcome::Unknown,
        };
        Operation { client: one.client, invoked: one.invoked, input: one.input.clone(), outcome }
    };
    History { start, operations: all.iter().map(operation).collect() }
}

/// Checks commands that are settled: one receipt for each, one state for each, and each counted once. `shown` is what the
/// nodes say that the counters hold.
///
/// # Errors
/// What does not hold.
pub fn check(start: StateNdx, all: &[Counted], shown: &[BTreeMap<String, String>]) -> Result<(), String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for one in all {
        let first = one.receipts.first().ok_or_else(|| format!("no receipt for {}", one.input))?;
        if let Some(other) = one.receipts.iter().find(|receipt| *receipt != first) {
            return Err(format!("two receipts for the same bytes: {first:?} and {other:?}"));
        }
        for key in one.input.keys() {
            *counts.entry(key.to_string()).or_default() += 1;
        }
    }
    if let verdict @ (Verdict::Violation(_) | Verdict::Undecided(_)) = history(start, all).replay() {
        return Err(format!("commands that were sent again have no order: {verdict:?}"));
    }
    let counts: BTreeMap<String, String> =
        counts.into_iter().map(|(key, count)| (key, count.to_string())).collect();
    match shown.iter().find(|shown| **shown != counts) {
        Some(shown) => Err(format!("{counts:?} was counted, and a node shows {shown:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_app_kv::KvReply;
    use synod_types::{Digest, wire};

    use super::*;

    fn receipt(seq: u64, state: u64, value: i64) -> Receipt {
        let outcome = synod_types::Outcome::Done(wire::encode(&KvReply::Counted { value }).into());
        Receipt { app: COUNTERS, seq: Seq(seq), state_ndx: StateNdx(state), outcome, chain: Digest::of(&[]) }
    }

    fn counted(invoked: u64, receipts: Vec<Receipt>) -> Counted {
        let input = Input::Add { key: "counter-1".into(), delta: 1 };
        let command = SignedCommand { body: Bytes::new().into(), signature: Bytes::new(), key: Bytes::new() };
        let submitted = receipts.len();
        Counted { client: 1, input, command, invoked, returned: Some(invoked + 5), receipts, submitted }
    }

    fn shown(count: &str) -> Vec<BTreeMap<String, String>> {
        vec![BTreeMap::from([("counter-1".to_owned(), count.to_owned())])]
    }

    #[test]
    fn each_command_counts_once_and_has_one_receipt() {
        let (first, second) = (receipt(1, 3, 1), receipt(2, 4, 2));
        let good = [counted(0, vec![first.clone(), first.clone()]), counted(10, vec![second])];
        let start = StateNdx(2);
        assert_eq!(check(start, &good, &shown("2")), Ok(()));
        assert!(check(start, &good, &shown("3")).unwrap_err().contains("a node shows"));
        let other = [counted(0, vec![first.clone(), receipt(1, 4, 2)])];
        assert!(check(start, &other, &shown("1")).unwrap_err().contains("two receipts"));
        let doubled = [counted(0, vec![first]), counted(10, vec![receipt(2, 5, 3)])];
        assert!(check(start, &doubled, &shown("2")).unwrap_err().contains("no order"));
    }
}
