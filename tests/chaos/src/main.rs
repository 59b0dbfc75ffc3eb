//! `chaos`: runs real clusters under faults, one seed after the other, and checks what their clients were told.
//!
//! It is `synod`, too, where it is called so: the nodes that it starts are this build of the program, never an old one.
//!
//! Exit code 0: nothing was violated; 1: something was; 2: the command line is wrong.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use synod_chaos::fault::Kind;
use synod_chaos::report::{Report, Total};
use synod_chaos::run::{Plan, run};
use synod_chaos::schedule::Schedule;

const EXAMPLES: &str = "Examples:
  chaos                                      one run of 30 s, with seed 1
  chaos --runs 60 --seconds 60               an hour, with the seeds 1 to 60
  chaos --seed 17 --seconds 60               the faults of run 17 of these once more
  chaos --seed 17 --seconds 60 --schedule    only shows them
  chaos --nodes 5 --output json              five nodes, a line of JSON for each run

Clocks are set where libfaketime is installed. Disks that fail and that are slow at whichever call take a program of its own:
  cargo run --release -p synod-chaos --features failpoints -- --runs 60 --seconds 60
What is left out is said on standard error.

The faults of a run follow from its seed, with --seconds, --nodes and what is not left out. What is in flight when one strikes does not: a violation
that depends on it may take several tries. So the cluster's directory is kept, with logs, journals and histories.

Exit code 0: nothing was violated; 1: something was; 2: the command line is wrong.";

/// Runs real clusters of Synod under faults of network, processes, disks and clocks, with clients of every kind, and checks what they were told.
#[derive(Parser)]
#[command(name = "chaos", after_help = EXAMPLES)]
struct Cli {
    /// How many runs, each with the next seed
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// For how long faults strike in each run
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The seed of the first run
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Nodes of the cluster
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u64).range(3..=7))]
    nodes: u64,
    /// Another program to test [default: the synod that this program was built with]
    #[arg(long, value_name = "PATH")]
    synod: Option<PathBuf>,
    /// Fills disks, too: each node gets one in memory, which takes root to mount
    #[arg(long)]
    full_disks: bool,
    /// Shows the faults, and runs nothing
    #[arg(long)]
    schedule: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Default)]
enum Output {
    /// For people
    #[default]
    Text,
    /// A line for each run
    Json,
}

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == synod_cluster::NAME) {
        return synod::main();
    }
    let cli = Cli::parse();
    let own = std::env::current_exe().expect("the operating system says which program this is");
    let program = cli.synod.clone().unwrap_or(own);
    if !program.is_file() {
        eprintln!("chaos: there is no program {}", program.display());
        return ExitCode::from(2);
    }
    synod_cluster::test_program(program).expect("nothing was started yet");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the operating system lets this program wait for the network");
    runtime.block_on(async {
        tokio::select! {
            code = cli.run() => code,
            // Dropped with all that it started.
            _ = tokio::signal::ctrl_c() => ExitCode::FAILURE,
        }
    })
}

impl Cli {
    async fn run(&self) -> ExitCode {
        let (mut total, kinds) = (Total::default(), self.kinds());
        for n in 0..self.runs {
            let seed = self.seed.wrapping_add(n);
            let nodes = usize::try_from(self.nodes).expect("seven at most");
            let schedule = Schedule::draw(seed, nodes, Duration::from_secs(self.seconds), &kinds);
            if self.schedule {
                println!("seed {seed}:\n{schedule}");
                continue;
            }
            let report = run(Plan { seed, nodes, schedule }).await;
            self.show(n + 1, &report);
            total.reports.push(report);
        }
        match self.output {
            _ if self.schedule => {}
            Output::Text => println!("\n{total}"),
            Output::Json => eprintln!("{}", total.line()),
        }
        if total.violations() + total.undecided() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn kinds(&self) -> Vec<Kind> {
        let possible = Kind::possible(self.synod.is_none());
        possible.into_iter().chain(self.full_disks.then_some(Kind::FullDisk)).collect()
    }

    fn show(&self, run: u64, report: &Report) {
        match self.output {
            Output::Json => {
                println!("{}", serde_json::to_string(report).expect("a report has only text keys"))
            }
            Output::Text => println!("run {run} of {}, seed {}: {report}", self.runs, report.seed),
        }
        let (Some(violation), Some(kept)) = (&report.violation, &report.kept) else { return };
        eprintln!("seed {} violates: {violation}", report.seed);
        eprintln!("the cluster and its histories are kept in {}", kept.display());
        let Cli { seconds, nodes, .. } = self;
        let disks = if self.full_disks { " --full-disks" } else { "" };
        let features = if cfg!(feature = "failpoints") { " --features failpoints" } else { "" };
        eprintln!(
            "repeat it with: cargo run --release -p synod-chaos{features} -- --seed {} --seconds {seconds} --nodes {nodes}{disks}",
            report.seed
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
