//! What clients did and were told: from commands and receipts to operations of a history.

use synod_app_kv::{KvChange, KvCompare, KvCondition, KvOp, KvRelation, KvReply, KvResult, KvTxn};
use synod_client::Client;
use synod_history::register::Changed;
use synod_history::{Answer, Change, Compare, Input, Operation, Outcome, Output, Word};
use synod_types::{Outcome as Executed, Receipt, RefusalCode, SignedCommand};

use crate::registers::Ground;

/// Commands that are submitted at a time.
const CHUNK: usize = 64;

/// An operation, and the command of one that is no read.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it is in a history.
    pub operation: Operation<Input, Output>,
    /// What was submitted.
    pub command: Option<SignedCommand>,
}

/// The command that a history calls so.
pub fn kv_op(input: &Input) -> KvOp {
    let bytes = |word: &Word| word.as_bytes().to_vec().into();
    let change = |change: &Change| match change {
        Change::Put { key, value } => KvChange::Put { key: bytes(key), value: bytes(value), lease: None },
        Change::Delete { key } => KvChange::Delete { key: bytes(key) },
        Change::Add { key, delta } => KvChange::Add { key: bytes(key), delta: *delta },
    };
    let compare = |Compare { key, changed }: &Compare| KvCompare {
        key: bytes(key),
        condition: changed
            .map_or(KvCondition::Absent, |changed| KvCondition::Changed(KvRelation::Equal, changed)),
    };
    match input {
        Input::Get { .. } => unreachable!("a read is no command"),
        Input::Put { key, value } => KvOp::Put { key: bytes(key), value: bytes(value) },
        Input::Delete { key } => KvOp::Delete { key: bytes(key) },
        Input::CompareAndSet { compare: Compare { key, changed }, value } => {
            KvOp::CompareAndSet { key: bytes(key), expected: *changed, value: bytes(value) }
        }
        Input::Add { key, delta } => KvOp::Add { key: bytes(key), delta: *delta },
        Input::Txn(txn) => KvOp::Txn(KvTxn {
            compare: txn.compare.iter().map(compare).collect(),
            then: txn.then.iter().map(change).collect(),
            otherwise: txn.otherwise.iter().map(change).collect(),
        }),
    }
}

/// What a receipt says.
pub fn answered(input: &Input, receipt: &Receipt, returned: u64) -> Outcome<Output> {
    let answer = match &receipt.outcome {
        Executed::Refused(refusal) => {
            assert_eq!(refusal.code, RefusalCode::Conflict, "{input}: {refusal}");
            Answer::Conflict
        }
        Executed::Done(reply) => match KvReply::decode(reply).unwrap() {
            KvReply::Written { previous } => Answer::Written { previous },
            KvReply::Deleted { existed } => Answer::Deleted { existed },
            KvReply::Counted { value } => Answer::Counted { sum: value },
            KvReply::Txn { failed, results } => {
                Answer::Txn { failed, results: results.into_iter().map(changed).collect() }
            }
            other => panic!("{input} was answered {other:?}"),
        },
    };
    Outcome::Answered { returned, output: Output { at: receipt.state_ndx, answer } }
}

fn changed(result: KvResult) -> Changed {
    match result {
        KvResult::Put { existed } => Changed::Put { existed },
        KvResult::Deleted { count } => Changed::Deleted { existed: count == 1 },
        KvResult::Counted { value } => Changed::Counted { sum: value },
    }
}

/// Submits again what was never answered. What had been executed gets its first receipt, the rest is executed now.
pub async fn settle(records: &mut [Record], client: &Client, ground: &Ground) {
    let mut unknown: Vec<&mut Record> =
        records.iter_mut().filter(|record| record.operation.outcome == Outcome::Unknown).collect();
    for chunk in unknown.chunks_mut(CHUNK) {
        let submitting: Vec<_> = chunk
            .iter()
            .map(|record| {
                let (client, command) = (client.clone(), record.command.clone());
                let command = command.expect("only commands are of unknown outcome");
                tokio::spawn(async move { client.submit(&command).await })
            })
            .collect();
        for (record, submitting) in chunk.iter_mut().zip(submitting) {
            let receipt = submitting.await.unwrap().unwrap();
            record.operation.outcome = answered(&record.operation.input, &receipt, ground.now());
        }
    }
}
