//! The long run: `cargo run --release -p synod-powerloss -- --images 1000 --cuts 20`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use synod_powerloss::load::Load;
use synod_powerloss::recorder;
use synod_powerloss::run::{Options, Report, repeat, run};

/// Record nodes under load, cut the power at random moments, and start again on what disks may have kept
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The program `synod`; by default the one beside this program
    #[arg(long, value_name = "PATH")]
    synod: Option<PathBuf>,
    /// Images of one node
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    images: u64,
    /// How many of them are started as well
    #[arg(long, value_name = "N", default_value_t = 30)]
    starts: u64,
    /// How many of them are started, recorded again, and cut once more
    #[arg(long, value_name = "N", default_value_t = 10)]
    again: u64,
    /// Images of three nodes, all of which are started
    #[arg(long, value_name = "N", default_value_t = 20)]
    cuts: u64,
    /// The seed of the first image; the others follow
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A recording that was kept, of which the image of this seed is built and checked again
    #[arg(long, value_name = "DIR")]
    repeat: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let beside = std::env::current_exe().context("where is this program?")?.with_file_name("synod");
    let synod = arguments.synod.unwrap_or(beside).canonicalize();
    let synod = synod.context("there is no synod here; build it, or say where it is with --synod")?;
    if let Some(kept) = arguments.repeat {
        repeat(&synod, &kept, arguments.seed).await?;
        eprintln!("nothing is lost");
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(recorder::is_available(), "strace is missing: install the package of that name");
    let directory = tempfile::Builder::new().prefix("powerloss").tempdir()?;
    let options = Options {
        synod,
        directory: directory.path().to_owned(),
        images: arguments.images,
        starts: arguments.starts.min(arguments.images),
        again: arguments.again.min(arguments.images),
        cuts: arguments.cuts,
        seed: arguments.seed,
        single: Load { commands: 250, value_bytes_max: 50_000, zones: 24, zone_bytes_max: 300_000 },
        again_load: Load { commands: 30, value_bytes_max: 50_000, zones: 5, zone_bytes_max: 100_000 },
        trio: Load { commands: 60, value_bytes_max: 50_000, zones: 10, zone_bytes_max: 100_000 },
    };
    let report = run(&options, &|line| eprintln!("{line}")).await?;
    match arguments.output {
        Output::Text => print!("{}", table(&report)),
        Output::Json => println!("{}", serde_json::to_string(&report)?),
    }
    if report.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("kept: {}", directory.keep().display());
    Ok(ExitCode::FAILURE)
}

fn table(report: &Report) -> String {
    let rows = [
        ("one node: operations recorded", report.single.operations.to_string()),
        ("  syncs among them", report.single.syncs.to_string()),
        ("  bytes written", report.single.bytes.to_string()),
        ("  commands acknowledged", report.single.commands.to_string()),
        ("  files uploaded", report.single.files.to_string()),
        ("  images", report.images.to_string()),
        ("  with records that had to be there", report.images_with_promises.to_string()),
        ("  with more than had to be there", report.images_with_more.to_string()),
        ("  damaged behind what had to be there", report.images_damaged.to_string()),
        ("  decrees that had to be there", report.decrees_promised.to_string()),
        ("  commands that had been answered", report.commands_told.to_string()),
        ("  files that had been acknowledged", report.files_told.to_string()),
        ("  images started", report.starts.to_string()),
        ("  commands asked about", report.commands_asked_of_one.to_string()),
        ("  images recorded and cut a second time", report.again.to_string()),
        ("  images after the second time", report.images_again.to_string()),
        ("three nodes: operations recorded", report.trio.operations.to_string()),
        ("  syncs among them", report.trio.syncs.to_string()),
        ("  bytes written", report.trio.bytes.to_string()),
        ("  commands acknowledged", report.trio.commands.to_string()),
        ("  files uploaded", report.trio.files.to_string()),
        ("  cuts, all started", report.cuts.to_string()),
        ("  commands asked about", report.commands_asked_of_three.to_string()),
        ("seconds", report.seconds.to_string()),
        ("violations", report.violations.len().to_string()),
    ];
    let mut table: String = rows.iter().map(|(what, figure)| format!("{what:<42}{figure:>14}\n")).collect();
    for violation in &report.violations {
        table.push_str(&format!("\nseed {}: {}\n  {}\n", violation.seed, violation.why, violation.repeat));
    }
    table
}
