//! What a way to another process costs: the counters of `counter.rs` in this process and in one of their own, through the same machine,
//! signatures and disk left out, in turns: `cargo run --release -p synod-sdk --example lane_speed`.

#[path = "counter.rs"]
mod counter;

use std::env;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use counter::Counters;
use synod_lane::message::{Hello, Welcome};
use synod_lane::{Lane, Link};
use synod_machine::{Application, Founders, Machine, QueryError, RestoreError};
use synod_sdk::{
    App as _, Bytes, CommanderId, Context, Digest, Options, Refusal, SOCKET_VARIABLE, StateNdx, TimeMs,
};
use synod_types::command::Operation;
use synod_types::{AppNdx, Ballot, Batch, ClusterId, CommandBody, Decree, Seq, SignedCommand, Slot};

const COMMANDS: u64 = 100_000;
const SINGLE: u64 = 20_000;
const TURNS: usize = 3;
const NAMES: u64 = 1000;

/// The counters in this process.
#[derive(Clone)]
struct Here(Counters);

impl Application for Here {
    fn kind(&self) -> &'static str {
        "counter"
    }

    fn check(&self, operation: &[u8]) -> Result<(), Refusal> {
        self.0.check(operation)
    }

    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        synod_sdk::App::apply(&mut self.0, context, operation)
    }

    fn query(&self, state_ndx: StateNdx, query: &[u8]) -> Result<Bytes, QueryError> {
        self.0.query(state_ndx, query).map_err(QueryError)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0 = Counters::restore(snapshot).map_err(RestoreError)?;
        Ok(())
    }

    fn digest(&self) -> Digest {
        self.0.digest()
    }

    fn fork(&self) -> Box<dyn Application> {
        // A real one shares its state; this one is never looked at.
        Box::new(Here(Counters::new()))
    }
}

/// A process with the counters.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if env::var_os(SOCKET_VARIABLE).is_some() {
        return Ok(synod_sdk::run::<Counters>(&Options::default())?);
    }
    println!("{COMMANDS} commands; µs for one, through the machine, in one process | in two");
    for batch in [1, 4, 16, 64, 256, 1024] {
        let decrees = decrees(if batch == 1 { SINGLE } else { COMMANDS }, batch);
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            here.push(run(&mut machine(Box::new(Here(Counters::new()))), &decrees));
            let (_process, lane) = process()?;
            let mut machine = machine(lane.application());
            machine.begin();
            there.push(run(&mut machine, &decrees));
        }
        let (here, there) = (median(here), median(there));
        println!("{batch:>5} in a decree: {} | {}", text(here), text(there));
    }
    Ok(())
}

fn process() -> Result<(Process, Arc<Lane>), Box<dyn std::error::Error>> {
    let path = env::temp_dir().join(format!("synod-lane-speed-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let process = Process(Command::new(env::current_exe()?).env(SOCKET_VARIABLE, &path).spawn()?);
    let (stream, _) = listener.accept()?;
    std::fs::remove_file(&path)?;
    let (link, _): (Link, Hello) = Link::accept(stream, Duration::from_secs(10))?;
    let lane = Lane::new("counter", synod_lane::no_aside, |_| {});
    lane.attach(link, Welcome { version: 1, app: 1, name: "counter".to_owned() }, false)?;
    Ok((process, lane))
}

/// Nanoseconds for one command.
fn run(machine: &mut Machine, decrees: &[Decree]) -> u128 {
    let begun = Instant::now();
    for (slot, decree) in (1..).zip(decrees) {
        machine.try_apply(Slot(slot), decree).expect("its process is there");
    }
    let commands: usize = decrees.iter().map(|decree| decree.commands().len()).sum();
    assert_eq!(machine.state().state_ndx.0, u64::try_from(commands).expect("a small number"));
    begun.elapsed().as_nanos() / u128::from(machine.state().state_ndx.0)
}

fn median(mut all: Vec<u128>) -> u128 {
    all.sort_unstable();
    all[all.len() / 2]
}

fn text(nanos: u128) -> String {
    format!("{}.{:02}", nanos / 1000, nanos % 1000 / 10)
}

fn machine(application: Box<dyn Application>) -> Machine {
    let administrators = [(commander(), key(), "bench".to_owned())];
    Machine::new(ClusterId::default(), AppNdx(1), &Founders::each_alone(&administrators), application)
}

fn key() -> Bytes {
    Bytes::from_static(b"a public key")
}

fn commander() -> CommanderId {
    CommanderId(Digest::of(&[&key()]))
}

fn command(n: u64) -> SignedCommand {
    let operation = format!("counter-{:08} +{n}", n * 7_919 % NAMES);
    let body = CommandBody {
        cluster: ClusterId::default(),
        app: AppNdx(1),
        commander: commander(),
        seq: Seq(n + 1),
        not_after: None,
        expected: None,
        operation: [&[Operation::APP], operation.as_bytes()].concat().into(),
    };
    let body = body.encode().expect("the operation is small");
    SignedCommand { body: body.into(), signature: Bytes::new(), key: Bytes::new() }
}

fn decrees(commands: u64, batch: u64) -> Vec<Decree> {
    let decree = |first: u64| {
        let commands = (first..commands.min(first + batch)).map(command).collect();
        Decree::Batch(Arc::new(Batch { term: Ballot::ZERO, time: TimeMs(1), commands }))
    };
    (0..commands.div_ceil(batch)).map(|n| decree(n * batch)).collect()
}
