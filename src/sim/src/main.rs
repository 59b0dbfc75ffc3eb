//! `sim`: runs seeds of the deterministic world, replays one, or plays scenarios.
//!
//! Exit code 0: nothing was violated; 1: something was, or a scenario did not go as told; 2: the command line is wrong.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use synod_sim::run::{Report, run, run_caught};
use synod_sim::scenario;
use synod_sim::trace::Sink;

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(1);

/// Runs clusters of Synod in virtual time, under faults, and checks every event.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    seeds: Seeds,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Seeds {
    /// Runs so many seeds, one after the other
    #[arg(long, value_name = "COUNT", conflicts_with = "seed")]
    seeds: Option<u64>,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 1, requires = "seeds")]
    start: u64,
    /// Threads that run seeds [default: one a processor]
    #[arg(long, value_name = "THREADS", requires = "seeds")]
    jobs: Option<usize>,
    /// Replays one seed, with a line for every event
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Shows only what came of it
    #[arg(long, requires = "seed")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Plays scenarios and compares their traces with what the files tell
    Scenario {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Cli { seeds, command } = Cli::parse();
    let good = match (command, seeds) {
        (Some(Command::Scenario { files }), _) => play(&files),
        (None, Seeds { seed: Some(seed), quiet, .. }) => replay(seed, quiet),
        (None, Seeds { seeds: Some(count), start, jobs, .. }) => {
            let jobs = jobs.or_else(|| thread::available_parallelism().ok().map(usize::from));
            run_all(start, count, jobs.unwrap_or(1))
        }
        (None, _) => {
            eprintln!("sim: name seeds to run, one seed to replay, or scenarios; see sim --help");
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seeds on all threads until they are through or one fails.
fn run_all(start: u64, count: u64, jobs: usize) -> bool {
    let began = Instant::now();
    let next = AtomicU64::new(start);
    let failed = AtomicBool::new(false);
    let total = Mutex::new(Total::default());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= start.saturating_add(count) {
                        break;
                    }
                    let report = run_caught(seed, None);
                    if report.violation.is_some() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    let mut total = total.lock().expect("no thread panics while it counts");
                    total.add(&report);
                    total.show_progress(count, began);
                }
            });
        }
    });
    let total = total.into_inner().expect("no thread panics while it counts");
    total.show(began);
    for report in &total.failed {
        show_violation(report);
    }
    total.failed.is_empty()
}

#[derive(Default)]
struct Total {
    seeds: u64,
    events: u64,
    virtual_ms: u64,
    failed: Vec<Report>,
    shown: Option<Instant>,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.events += report.events;
        self.virtual_ms += report.virtual_ms;
        if report.violation.is_some() {
            self.failed.push(report.clone());
        }
    }

    fn show_progress(&mut self, count: u64, began: Instant) {
        let shown = self.shown.get_or_insert(began);
        if shown.elapsed() >= PROGRESS && std::io::stderr().is_terminal() {
            *shown = Instant::now();
            eprint!("\r{} of {count} seeds", self.seeds);
        }
    }

    fn show(&self, began: Instant) {
        let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let per_second = u128::from(self.events) * 1000 / u128::from(wall_ms);
        let (tenths, per_hour) = (self.virtual_ms / 360_000, 10);
        eprint!("\r");
        println!(
            "{} seeds, {} events, {per_second} events/s, {}.{} virtual hours in {}.{:03} s, {} failed",
            self.seeds,
            self.events,
            tenths / per_hour,
            tenths % per_hour,
            wall_ms / 1000,
            wall_ms % 1000,
            self.failed.len()
        );
    }
}

fn show_violation(report: &Report) {
    if let Some(violation) = &report.violation {
        println!("seed {} violates: {violation}", report.seed);
        println!("replay it with: cargo run --release --bin sim -- --seed {}", report.seed);
    }
}

fn replay(seed: u64, quiet: bool) -> bool {
    let report = run(seed, if quiet { Sink::Silent } else { Sink::Print }, None);
    let Report { events, virtual_ms, trace_hash, .. } = report;
    println!("seed {seed}: {events} events, {virtual_ms} virtual ms, trace {trace_hash:016x}");
    show_violation(&report);
    report.violation.is_none()
}

fn play(files: &[PathBuf]) -> bool {
    let mut good = true;
    for file in files {
        match scenario::check_file(file) {
            Ok(()) => println!("{}: as told", file.display()),
            Err(error) => {
                println!("{}: {error}", file.display());
                good = false;
            }
        }
    }
    good
}
