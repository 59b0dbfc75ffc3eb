//! Counters by name: an application in a process of its own.
//!
//! An operation is `NAME` or `NAME +N` or `NAME -N`, as text: it adds to the counter, which begins at 0 and never falls below it,
//! and answers its value. A query is `NAME`, and answers its value, or `*`, and answers all of them, one a line.
//!
//! ```text
//! SYNOD_LANE=data-node1/lanes/counter.sock cargo run -p synod-sdk --example counter
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;

use synod_sdk::{App, Bytes, Context, Options, Refusal, RefusalCode, StateNdx};

/// All counters. A `BTreeMap` has an order, so that equal states are equal bytes.
#[derive(Clone, Default)]
pub struct Counters(BTreeMap<String, u64>);

impl App for Counters {
    const KIND: &'static str = "counter";
    const CHECKS: bool = true;

    fn new() -> Counters {
        Counters::default()
    }

    fn check(&self, operation: &[u8]) -> Result<(), Refusal> {
        parse(operation).map(drop)
    }

    fn apply(&mut self, _: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        let (name, change) = parse(operation)?;
        let value = self.0.get(name).copied().unwrap_or_default();
        let value = value.checked_add_signed(change).ok_or_else(|| {
            Refusal::new(
                RefusalCode::Conflict,
                format!("{name} is {value}, and {change} would leave its range"),
            )
        })?;
        self.0.insert(name.to_owned(), value);
        Ok(value.to_string().into())
    }

    fn query(&self, _: StateNdx, query: &[u8]) -> Result<Bytes, String> {
        match std::str::from_utf8(query) {
            Ok("*") => Ok(self.lines().into()),
            Ok(name) => Ok(self.0.get(name).copied().unwrap_or_default().to_string().into()),
            Err(_) => Err("a name is text".to_owned()),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.lines().into()
    }

    fn restore(snapshot: &[u8]) -> Result<Counters, String> {
        let text = std::str::from_utf8(snapshot).map_err(|why| why.to_string())?;
        let counter = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let counters =
            text.lines().map(|line| counter(line).ok_or_else(|| format!("{line:?} is no counter")));
        counters.collect::<Result<_, _>>().map(Counters)
    }

    /// A copy of all counters: they are few.
    fn fork(&self) -> Option<Counters> {
        Some(self.clone())
    }
}

impl Counters {
    fn lines(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    }
}

fn parse(operation: &[u8]) -> Result<(&str, i64), Refusal> {
    let malformed = || Refusal::new(RefusalCode::Malformed, "an operation is NAME, NAME +N or NAME -N");
    let text = std::str::from_utf8(operation).map_err(|_| malformed())?;
    let (name, change) = text.split_once(' ').unwrap_or((text, "+1"));
    let is_name = !name.is_empty() && name.chars().all(|sign| sign.is_ascii_graphic() && sign != '*');
    // A sign and at most 19 digits: what two programs of a cluster take must be the very same.
    if !is_name || !change.starts_with(['+', '-']) || change.len() > 20 {
        return Err(malformed());
    }
    Ok((name, change.parse().map_err(|_| malformed())?))
}

#[allow(dead_code, reason = "tests take the application alone")]
fn main() -> ExitCode {
    match synod_sdk::run::<Counters>(&Options::default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("counter: {why}");
            ExitCode::FAILURE
        }
    }
}
