//! Clients of registers: each does one operation after another, reading at any node and writing through one after another,
//! and notes what it asked, when, and what it was told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use synod_client::{Client, CommandOptions, SubmitError, Timeouts};
use synod_cluster::{KV, KeyRead, Readers};
use synod_history::{Answer, Change, Compare, Entry, Input, Operation, Outcome, Output, Txn, Word};
use synod_types::limits::SESSION_WINDOW;
use synod_types::{Seq, SignedCommand, StateNdx};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::record::{Record, answered, kv_op};

/// Few keys, so that clients meet.
pub const HOT_KEYS: [&str; 7] = ["a", "b", "c", "d", "n", "p", "q"];
const COUNTER: &str = "n";
/// The keys that transactions join, and the search therefore takes together.
const PAIR: [&str; 2] = ["p", "q"];
/// The keys that hold no number.
const REGISTERS: [&str; 6] = ["a", "b", "c", "d", "p", "q"];
/// A client soon asks another node, and soon gives up: the outcome of its command is then unknown.
pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    attempt: Duration::from_millis(400),
    total: Duration::from_millis(800),
    upload: Duration::from_millis(800),
    idle: Duration::from_secs(1),
};
/// How long a reader waits.
const READ_PATIENCE: Duration = Duration::from_secs(2);
const LINEARIZABLE: &str = "?consistency=linearizable&wait=1";
/// How long a client thinks at most, so that its commands of a run fit into its window.
const THINK_MS_MAX: u64 = 15;

/// What clients share: the clock by which they note times, and what was last heard of a key, to expect it.
pub struct Ground {
    readers: Readers,
    begun: Instant,
    heard: Mutex<BTreeMap<Word, (StateNdx, Option<StateNdx>)>>,
}

impl Ground {
    /// Time begins now.
    pub fn new(readers: Readers) -> Ground {
        Ground { readers, begun: Instant::now(), heard: Mutex::default() }
    }

    /// The nodes' HTTP ports.
    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap()
    }

    /// A linearizable read, if it is answered.
    pub async fn read(&self, client: u32, node: usize, key: &str) -> Option<Operation<Input, Output>> {
        let invoked = self.now();
        let read = self.readers.key(node, key, LINEARIZABLE, READ_PATIENCE).await?;
        Some(self.found(client, key, invoked, read))
    }

    /// A read that was answered by now.
    pub fn found(&self, client: u32, key: &str, invoked: u64, read: KeyRead) -> Operation<Input, Output> {
        let KeyRead { at, found } = read;
        let answer = found
            .map_or(Answer::Absent, |(value, changed)| Answer::Found(Entry { value: value.into(), changed }));
        let outcome = Outcome::Answered { returned: self.now(), output: Output { at, answer } };
        Operation { client, invoked, input: Input::Get { key: key.into() }, outcome }
    }

    /// What is likely to have last changed a key.
    fn expected(&self, key: &str) -> Compare {
        let heard = self.heard.lock().unwrap();
        Compare { key: key.into(), changed: heard.get(key).and_then(|(_, changed)| *changed) }
    }

    fn hear(&self, Operation { input, outcome, .. }: &Operation<Input, Output>) {
        let Outcome::Answered { output: Output { at, answer }, .. } = outcome else { return };
        let changed = match (input, answer) {
            (_, Answer::Conflict) => return,
            (_, Answer::Found(entry)) => Some(entry.changed),
            (_, Answer::Absent | Answer::Deleted { .. }) => None,
            _ => Some(*at),
        };
        let mut heard = self.heard.lock().unwrap();
        for key in input.keys() {
            let last = heard.entry(key.clone()).or_default();
            if *at >= last.0 {
                *last = (*at, changed);
            }
        }
    }
}

/// Works until it is told to stop.
pub async fn client(
    number: u32,
    connection: Client,
    mut random: StdRng,
    ground: Arc<Ground>,
    stopped: watch::Receiver<bool>,
) -> Vec<Record> {
    let mut records = Vec::new();
    let mut seq = 0;
    while !*stopped.borrow() {
        sleep(Duration::from_millis(random.random_range(0..=THINK_MS_MAX))).await;
        // Whoever writes on could not ask for its first receipts any more.
        if seq + 1 == SESSION_WINDOW || random.random_bool(0.4) {
            let key = HOT_KEYS[random.random_range(0..HOT_KEYS.len())];
            // A read without an answer tells nothing, and changes nothing.
            if let Some(operation) =
                ground.read(number, random.random_range(0..ground.readers.len()), key).await
            {
                ground.hear(&operation);
                records.push(Record { operation, command: None });
            }
            continue;
        }
        seq += 1;
        let input = draw(number, seq, &mut random, &ground);
        let operation = kv_op(&input).encode().into();
        let command =
            connection.commander().sign(KV, Seq(seq), operation, CommandOptions::default()).unwrap();
        let is_stubborn = random.random_bool(0.5);
        let invoked = ground.now();
        let outcome = submit(&connection, &command, &input, &ground, is_stubborn, &stopped).await;
        let operation = Operation { client: number, invoked, input, outcome };
        ground.hear(&operation);
        records.push(Record { operation, command: Some(command) });
    }
    connection.close().await;
    records
}

/// Submits a command; who is stubborn does so until it is answered, or all is over.
pub(crate) async fn submit(
    connection: &Client,
    command: &SignedCommand,
    input: &Input,
    ground: &Ground,
    is_stubborn: bool,
    stopped: &watch::Receiver<bool>,
) -> Outcome<Output> {
    let mut is_in_doubt = false;
    loop {
        match connection.submit(command).await {
            Ok(receipt) => return answered(input, &receipt, ground.now()),
            Err(SubmitError::Refused(refusal)) if !refusal.code.is_transient() => {
                panic!("{input}: {refusal}");
            }
            Err(SubmitError::Refused(_) | SubmitError::Unreachable { .. }) if !is_in_doubt => {
                return Outcome::Failed { returned: ground.now() };
            }
            Err(_) => is_in_doubt = true,
        }
        if !is_stubborn || *stopped.borrow() {
            return Outcome::Unknown;
        }
    }
}

/// Every value is unique.
fn draw(number: u32, seq: u64, random: &mut StdRng, ground: &Ground) -> Input {
    let value = Word::from(format!("{number}.{seq}"));
    let name = REGISTERS[random.random_range(0..REGISTERS.len())];
    let key = Word::from(name);
    match random.random_range(0..12) {
        0..4 => Input::Put { key, value },
        4..7 => Input::CompareAndSet { compare: ground.expected(name), value },
        7 => Input::CompareAndSet { compare: Compare { key, changed: None }, value },
        8 => Input::Delete { key },
        9 => Input::Add { key: COUNTER.into(), delta: random.random_range(-9..=9) },
        10 => {
            let put = |key: &str| Change::Put { key: key.into(), value: value.clone() };
            let compare = PAIR.map(|key| ground.expected(key)).into();
            Input::Txn(Txn { compare, then: PAIR.map(put).into(), otherwise: vec![put(PAIR[0])] })
        }
        _ => {
            let then =
                vec![Change::Delete { key: PAIR[0].into() }, Change::Put { key: PAIR[1].into(), value }];
            Input::Txn(Txn { compare: Vec::new(), then, otherwise: Vec::new() })
        }
    }
}
