//! `synod kv lease`: keys that end when nobody keeps them alive.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use synod_app_kv::KvOp;
use synod_types::StateNdx;

use super::answers::{LeaseAnswer, LeasesPage, shown};
use super::options::{Reading, Writing};
use crate::duration::duration;
use crate::output::Output;
use crate::table::Table;

/// Grant leases, keep them alive, and end them
///
/// A key that is bound to a lease (`synod kv put --lease`) ends with it. Time that passes without a leader does not count.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod kv lease grant --ttl 30s         # the stateNdx of the receipt is the lease's name
  synod kv lease keep-alive 41
  synod kv lease show 41
  synod kv lease revoke 41")]
pub(crate) struct Lease {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Grant a lease, which is named by the stateNdx of the receipt
    #[command(after_help = "Example:\n  synod kv lease grant --ttl 30s")]
    Grant {
        /// For how long it lasts, from its grant and from each keep-alive on; 1s to 24h
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        ttl: Duration,
        #[command(flatten)]
        writing: Writing,
    },
    /// Let leases last their whole time again
    #[command(after_help = "Example:\n  synod kv lease keep-alive 41 57")]
    KeepAlive {
        /// Which; at most 128
        #[arg(value_name = "LEASE", required = true)]
        leases: Vec<u64>,
        #[command(flatten)]
        writing: Writing,
    },
    /// End a lease, and every key that is bound to it
    #[command(after_help = "Example:\n  synod kv lease revoke 41")]
    Revoke {
        /// Which
        lease: u64,
        #[command(flatten)]
        writing: Writing,
    },
    /// List leases in the order of their grants
    #[command(after_help = "Examples:\n  synod kv lease list\n  synod kv lease list --after 41")]
    List {
        /// Only leases behind this one
        #[arg(long, value_name = "LEASE")]
        after: Option<u64>,
        /// At most so many, 1 to 1000
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        reading: Reading,
    },
    /// Show a lease and the keys that end with it
    #[command(after_help = "Example:\n  synod kv lease show 41")]
    Show {
        /// Which
        lease: u64,
        #[command(flatten)]
        reading: Reading,
    },
}

impl Lease {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Grant { ttl, writing } => {
                let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                writing.execute(KvOp::GrantLease { ttl_ms }, output).await
            }
            Command::KeepAlive { leases, writing } => {
                let leases = leases.into_iter().map(StateNdx).collect();
                writing.execute(KvOp::KeepAlive { leases }, output).await
            }
            Command::Revoke { lease, writing } => {
                writing.execute(KvOp::RevokeLease { lease: StateNdx(lease) }, output).await
            }
            Command::List { after, limit, reading } => {
                let mut parameters = vec![("limit", limit.to_string())];
                parameters.extend(after.map(|after| ("after", after.to_string())));
                let page: LeasesPage = reading.get_json("leases", &parameters).await?;
                output.print(&page, list(&page))?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Show { lease, reading } => {
                let lease: LeaseAnswer = reading.get_json(&format!("leases/{lease}"), &[]).await?;
                output.print(&lease, show(&lease))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn list(page: &LeasesPage) -> String {
    let mut table = Table::new(&["LEASE", "TTL", "LEFT", "COMMANDER"]);
    for lease in &page.leases {
        let (ttl, left) = (seconds(lease.ttl_ms), seconds(lease.left_ms));
        let commander = lease.commander.get(..12).unwrap_or(&lease.commander);
        table.row([lease.lease.to_string(), ttl, left, commander.to_owned()]);
    }
    let more = page.leases.last().filter(|_| page.more);
    let more = more.map(|last| format!("there are more: --after {}\n", last.lease)).unwrap_or_default();
    format!("{table}stateNdx {}\n{more}", page.state_ndx)
}

fn show(answer: &LeaseAnswer) -> String {
    let lease = &answer.lease;
    let mut text = format!(
        "lease {}: {} of {} left, of commander {}\n",
        lease.lease,
        seconds(lease.left_ms),
        seconds(lease.ttl_ms),
        lease.commander
    );
    for key in &answer.keys {
        text.push_str(&format!("  {}\n", shown(key.key.as_ref(), key.key_base64.as_ref())));
    }
    format!("{text}stateNdx {}\n", answer.state_ndx)
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}
