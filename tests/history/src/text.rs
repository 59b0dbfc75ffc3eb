//! How a history is written down: one operation a line, with its client, its time, what was asked, and what was answered.
//!
//! ```text
//! # Lines that begin so are for people.
//! start 2
//! c1   0..10   put x a                          -> @3 new
//! c2   5..25   get x                            -> @3 a changed 3
//! c1  20..30   cas x @3 b                       -> @4 previous 3
//! c2  30..     delete x                         -> unknown
//! c1  35..40   cas x @3 c                       -> @6 conflict
//! c1  41..45   add n 5                          -> @7 sum 5
//! c2  50..60   txn x@none n@7 then put x a, add n 1 else delete x -> @8 then new, sum 6
//! c1  50..60   delete y                         -> failed
//! ```
//!
//! `start` names the state before the first operation, 0 if it is left out. `@3` says the state of an answer; of a
//! condition, the one that last wrote the key, and `@none` that there is no such key. A key is `new` or `replaced` in a
//! transaction, where other answers say which state it had `previous`ly been written by. `delete` answers `deleted` or
//! `nothing`, `get` what it found or `absent`. A transaction says `then`, or `else` and which condition failed first, and
//! what came of its changes. Keys and values are words.

use std::fmt;
use std::str::SplitWhitespace;

use synod_types::StateNdx;

use crate::history::History;
use crate::operation::{Operation, Outcome};
use crate::register::{Answer, Change, Changed, Compare, Entry, Input, Output, Registers, Txn, UNTOLD, Word};

/// A line that is no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {why}; {text:?} is to be `CLIENT FROM..TO WHAT -> OUTCOME`, as in `c1 0..10 put x a -> @1 new`"
)]
pub struct TextError {
    /// Which line, from 1 on.
    pub line: usize,
    /// What it says.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

/// Reads a history.
pub(crate) fn parse(text: &str) -> Result<History, TextError> {
    let mut history = History::default();
    for (number, text) in text.lines().enumerate() {
        let text = text.trim();
        let fault = |why| TextError { line: number + 1, text: text.to_owned(), why };
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(start) = text.strip_prefix("start ") {
            history.start = state(start).map_err(fault)?;
            continue;
        }
        history.operations.push(operation(text).map_err(fault)?);
    }
    Ok(history)
}

fn operation(text: &str) -> Result<Operation<Input, Output>, &'static str> {
    let (before, after) = text.split_once("->").ok_or("the arrow is missing")?;
    let mut words = before.split_whitespace();
    let client = words.next().and_then(|word| word.strip_prefix('c'));
    let client = client.and_then(|number| number.parse().ok()).ok_or("the client is no c and a number")?;
    let (invoked, returned) =
        words.next().and_then(|word| word.split_once("..")).ok_or("the time is missing")?;
    let invoked = invoked.parse().map_err(|_| "the time of the invocation is no number")?;
    let returned = match returned {
        "" => None,
        returned => Some(returned.parse().map_err(|_| "the time of the answer is no number")?),
    };
    if returned.is_some_and(|returned| returned < invoked) {
        return Err("the answer comes before the invocation");
    }
    let input = input(&mut words)?;
    let outcome = match (after.trim(), returned) {
        ("unknown", None) => Outcome::Unknown,
        ("unknown", Some(_)) => return Err("what is unknown has no time of an answer"),
        (_, None) => return Err("an answer has a time"),
        ("failed", Some(returned)) => Outcome::Failed { returned },
        (answer, Some(returned)) => Outcome::Answered { returned, output: output(answer, &input)? },
    };
    Ok(Operation { client, invoked, input, outcome })
}

fn input(words: &mut SplitWhitespace<'_>) -> Result<Input, &'static str> {
    let mut word = |why| words.next().map(Word::from).ok_or(why);
    let verb = word("what was asked is missing")?;
    let input = match &*verb {
        "txn" => return txn(words),
        "get" => Input::Get { key: word("the key is missing")? },
        "put" => Input::Put { key: word("the key is missing")?, value: word("the value is missing")? },
        "delete" => Input::Delete { key: word("the key is missing")? },
        "cas" => {
            let key = word("the key is missing")?;
            let changed = expected(&word("the expected state is missing")?)?;
            Input::CompareAndSet { compare: Compare { key, changed }, value: word("the value is missing")? }
        }
        "add" => {
            let key = word("the key is missing")?;
            let delta = word("the number is missing")?.parse().map_err(|_| "what is added is no number")?;
            Input::Add { key, delta }
        }
        _ => return Err("what was asked is none of get, put, delete, cas, add and txn"),
    };
    if words.next().is_some() { Err("there are words left over") } else { Ok(input) }
}

fn txn(words: &mut SplitWhitespace<'_>) -> Result<Input, &'static str> {
    let mut txn = Txn::default();
    loop {
        match words.next().ok_or("`then` is missing")? {
            "then" => break,
            condition => {
                let at = condition.rfind('@').ok_or("a condition is KEY@STATE or KEY@none")?;
                let (key, changed) = condition.split_at(at);
                txn.compare.push(Compare { key: key.into(), changed: expected(changed)? });
            }
        }
    }
    let rest: Vec<&str> = words.collect();
    let end = rest.iter().position(|word| *word == "else").unwrap_or(rest.len());
    txn.then = changes(&rest[..end])?;
    txn.otherwise = changes(rest.get(end + 1..).unwrap_or_default())?;
    Ok(Input::Txn(txn))
}

fn changes(words: &[&str]) -> Result<Vec<Change>, &'static str> {
    let text = words.join(" ");
    let changes = text.split(',').filter(|change| !change.trim().is_empty());
    let change = |text: &str| match input(&mut text.split_whitespace())? {
        Input::Put { key, value } => Ok(Change::Put { key, value }),
        Input::Delete { key } => Ok(Change::Delete { key }),
        Input::Add { key, delta } => Ok(Change::Add { key, delta }),
        Input::Get { .. } | Input::CompareAndSet { .. } | Input::Txn(_) => {
            Err("a transaction changes by put, delete and add")
        }
    };
    changes.map(change).collect()
}

fn output(text: &str, input: &Input) -> Result<Output, &'static str> {
    let (at, answer) = text.split_once(' ').unwrap_or((text, ""));
    let at = state(at.strip_prefix('@').ok_or("the answer's state is missing")?)?;
    let words: Vec<&str> = answer.split_whitespace().collect();
    let answer = match (input, words.as_slice()) {
        (Input::Get { .. }, ["absent"]) => Answer::Absent,
        (Input::Get { .. }, [value, "changed", changed]) => {
            Answer::Found(Entry { value: Word::from(*value), changed: state(changed)? })
        }
        (Input::Put { .. } | Input::CompareAndSet { .. }, ["new"]) => Answer::Written { previous: None },
        (Input::Put { .. } | Input::CompareAndSet { .. }, ["previous", previous]) => {
            Answer::Written { previous: Some(state(previous)?) }
        }
        (Input::Delete { .. }, ["deleted"]) => Answer::Deleted { existed: true },
        (Input::Delete { .. }, ["nothing"]) => Answer::Deleted { existed: false },
        (Input::Add { .. }, ["sum", sum]) => Answer::Counted { sum: number(sum)? },
        (Input::Txn(_), ["then", ..]) => {
            let results = results(answer.trim_start().trim_start_matches("then"))?;
            Answer::Txn { failed: None, results }
        }
        (Input::Txn(_), ["else", failed, results @ ..]) => {
            let failed = failed.parse().map_err(|_| "which condition failed is no number")?;
            Answer::Txn { failed: Some(failed), results: self::results(&results.join(" "))? }
        }
        (Input::CompareAndSet { .. } | Input::Add { .. } | Input::Txn(_), ["conflict"]) => Answer::Conflict,
        _ => return Err("that is no answer to what was asked"),
    };
    Ok(Output { at, answer })
}

fn results(text: &str) -> Result<Vec<Changed>, &'static str> {
    let results = text.split(',').map(str::trim).filter(|result| !result.is_empty());
    let result = |result: &str| match result {
        "new" => Ok(Changed::Put { existed: false }),
        "replaced" => Ok(Changed::Put { existed: true }),
        "deleted" => Ok(Changed::Deleted { existed: true }),
        "nothing" => Ok(Changed::Deleted { existed: false }),
        sum => {
            let sum =
                sum.strip_prefix("sum ").ok_or("a change answers new, replaced, deleted, nothing or sum")?;
            Ok(Changed::Counted { sum: number(sum)? })
        }
    };
    results.map(result).collect()
}

fn expected(text: &str) -> Result<Option<StateNdx>, &'static str> {
    match text.strip_prefix('@') {
        Some("none") => Ok(None),
        Some(changed) => state(changed).map(Some),
        None => Err("an expected state is @ and a number, or @none"),
    }
}

fn state(text: &str) -> Result<StateNdx, &'static str> {
    text.trim().parse().map(StateNdx).map_err(|_| "a state is no number")
}

fn number(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "a sum is no number")
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "start {}", self.start)?;
        self.operations.iter().try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

impl fmt::Display for Operation<Input, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { client, invoked, input, outcome } = self;
        match outcome {
            Outcome::Answered { returned, output: Output { at, answer } } => {
                write!(f, "c{client} {invoked}..{returned} {input} -> @{at} {answer}")
            }
            Outcome::Unknown => write!(f, "c{client} {invoked}.. {input} -> unknown"),
            Outcome::Failed { returned } => write!(f, "c{client} {invoked}..{returned} {input} -> failed"),
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Get { key } => write!(f, "get {key}"),
            Input::Put { key, value } => write!(f, "put {key} {value}"),
            Input::Delete { key } => write!(f, "delete {key}"),
            Input::CompareAndSet { compare: Compare { key, changed }, value } => {
                write!(f, "cas {key} {} {value}", Expected(*changed))
            }
            Input::Add { key, delta } => write!(f, "add {key} {delta}"),
            Input::Txn(txn) => txn.fmt(f),
        }
    }
}

impl fmt::Display for Txn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("txn")?;
        for Compare { key, changed } in &self.compare {
            write!(f, " {key}{}", Expected(*changed))?;
        }
        f.write_str(" then")?;
        list(f, &self.then)?;
        if !self.otherwise.is_empty() {
            f.write_str(" else")?;
            list(f, &self.otherwise)?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Put { key, value } => write!(f, "put {key} {value}"),
            Change::Delete { key } => write!(f, "delete {key}"),
            Change::Add { key, delta } => write!(f, "add {key} {delta}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Found(Entry { value, changed }) => write!(f, "{value} changed {changed}"),
            Answer::Absent => f.write_str("absent"),
            Answer::Written { previous: Some(previous) } => write!(f, "previous {previous}"),
            Answer::Written { previous: None } => f.write_str("new"),
            Answer::Deleted { existed } => f.write_str(if *existed { "deleted" } else { "nothing" }),
            Answer::Counted { sum } => write!(f, "sum {sum}"),
            Answer::Txn { failed: None, results } => {
                f.write_str("then")?;
                list(f, results)
            }
            Answer::Txn { failed: Some(failed), results } => {
                write!(f, "else {failed}")?;
                list(f, results)
            }
            Answer::Conflict => f.write_str("conflict"),
        }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Changed::Put { existed } => f.write_str(if *existed { "replaced" } else { "new" }),
            Changed::Deleted { existed } => f.write_str(if *existed { "deleted" } else { "nothing" }),
            Changed::Counted { sum } => write!(f, "sum {sum}"),
        }
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no key");
        }
        for (place, (key, Entry { value, changed })) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{key} = {value} changed ")?;
            match changed {
                &UNTOLD => f.write_str("by a command without an answer")?,
                changed => write!(f, "{changed}")?,
            }
        }
        Ok(())
    }
}

/// The state that is expected to have written a key.
struct Expected(Option<StateNdx>);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(changed) => write!(f, "@{changed}"),
            None => f.write_str("@none"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    items.iter().enumerate().try_for_each(|(place, item)| {
        let comma = if place == 0 { "" } else { "," };
        write!(f, "{comma} {item}")
    })
}
