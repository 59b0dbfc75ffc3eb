//! The counters of `apps/sdk-rust/examples/counter.rs`, as tests want them: they say which process they are, and one can be told to
//! answer otherwise than the others from some state on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, here too")]

#[path = "../../../../apps/sdk-rust/examples/counter.rs"]
mod counter;

use std::env;
use std::fs;

use counter::Counters;
use synod_cluster::worker::{LIES_FROM, PID_FILE};
use synod_sdk::{App, Bytes, Context, Options, Refusal, StateNdx};

struct Told {
    counters: Counters,
    lies_from: u64,
}

impl App for Told {
    const KIND: &'static str = Counters::KIND;
    const CHECKS: bool = Counters::CHECKS;

    fn new() -> Told {
        let lies_from = env::var(LIES_FROM).map_or(u64::MAX, |text| text.parse().unwrap());
        Told { counters: Counters::new(), lies_from }
    }

    fn check(&self, operation: &[u8]) -> Result<(), Refusal> {
        self.counters.check(operation)
    }

    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        let answer = self.counters.apply(context, operation)?;
        if context.state_ndx.0 < self.lies_from {
            Ok(answer)
        } else {
            Ok([&answer[..], b"?"].concat().into())
        }
    }

    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, String> {
        self.counters.query(state_ndx, query)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.counters.snapshot()
    }

    fn restore(snapshot: &[u8]) -> Result<Told, String> {
        Ok(Told { counters: Counters::restore(snapshot)?, ..Told::new() })
    }

    fn fork(&self) -> Option<Told> {
        Some(Told { counters: self.counters.clone(), lies_from: self.lies_from })
    }
}

fn main() {
    if let Some(path) = env::var_os(PID_FILE) {
        let new = format!("{}.new", path.display());
        fs::write(&new, std::process::id().to_string()).unwrap();
        fs::rename(new, path).unwrap();
    }
    synod_sdk::run::<Told>(&Options::default()).unwrap();
}
