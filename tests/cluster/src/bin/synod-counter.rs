//! The counters of `apps/sdk-rust/examples/counter.rs`, as tests want them: they say which process they are, and one can be told to
//! be in the wrong: to answer otherwise than the others from some state on, to die, to hang, to forget, to babble.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, here too")]

#[path = "../../../../apps/sdk-rust/examples/counter.rs"]
mod counter;

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use counter::Counters;
use synod_cluster::worker::{BABBLES, DIES_AT, FORGETS, HANGS_AT, LIES_FROM, PID_FILE};
use synod_sdk::{App, Bytes, Context, Options, Refusal, SOCKET_VARIABLE, StateNdx};

#[derive(Clone)]
struct Told {
    counters: Counters,
    lies_from: StateNdx,
    dies_at: StateNdx,
    hangs_at: StateNdx,
}

/// The state that a variable names; if there is none, one that never comes.
fn state(variable: &str) -> StateNdx {
    StateNdx(env::var(variable).map_or(u64::MAX, |text| text.parse().unwrap()))
}

impl App for Told {
    const KIND: &'static str = Counters::KIND;
    const CHECKS: bool = Counters::CHECKS;

    fn new() -> Told {
        Told {
            counters: Counters::new(),
            lies_from: state(LIES_FROM),
            dies_at: state(DIES_AT),
            hangs_at: state(HANGS_AT),
        }
    }

    fn check(&self, operation: &[u8]) -> Result<(), Refusal> {
        self.counters.check(operation)
    }

    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        if context.state_ndx == self.dies_at {
            std::process::exit(9);
        }
        if context.state_ndx == self.hangs_at {
            loop {
                std::thread::park();
            }
        }
        let answer = self.counters.apply(context, operation)?;
        if context.state_ndx < self.lies_from { Ok(answer) } else { Ok([&answer[..], b"?"].concat().into()) }
    }

    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, String> {
        self.counters.query(state_ndx, query)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.counters.snapshot()
    }

    fn restore(snapshot: &[u8]) -> Result<Told, String> {
        let mut lines: Vec<&[u8]> = snapshot.split_inclusive(|byte| *byte == b'\n').collect();
        if env::var_os(FORGETS).is_some() {
            lines.pop();
        }
        Ok(Told { counters: Counters::restore(&lines.concat())?, ..Told::new() })
    }

    fn fork(&self) -> Option<Told> {
        Some(self.clone())
    }
}

fn main() {
    if let Some(path) = env::var_os(PID_FILE) {
        let new = format!("{}.new", path.display());
        fs::write(&new, std::process::id().to_string()).unwrap();
        fs::rename(new, path).unwrap();
    }
    if env::var_os(BABBLES).is_some() {
        let mut stream = UnixStream::connect(env::var_os(SOCKET_VARIABLE).unwrap()).unwrap();
        stream.write_all(b"\0\0\0\x07babble!").unwrap();
        // Until it is turned away.
        let _ = stream.read_to_end(&mut Vec::new());
        return;
    }
    synod_sdk::run::<Told>(&Options::default()).unwrap();
}
