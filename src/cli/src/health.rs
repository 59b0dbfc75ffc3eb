//! `synod health`: whether the node on this host serves, for whoever watches it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use synod_node::Config;
use synod_node::config::FrontConfig;
use tokio::time::{Instant, sleep};

use crate::output::Output;

/// For one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two of them.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Ask the node on this host whether it serves
///
/// For supervisors that run a program to find out, as containers do: the node's own configuration says where it answers.
/// Whatever certificate it shows is taken, since nothing is told to it and nothing but its word is wanted.
///
/// Exit code: 0 if clients are welcome (the node knows every application's leader and has caught up), 1 if not.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod health --config cluster/node1.toml
  synod health --config cluster/node1.toml --live      # only whether the process answers
  synod health --config cluster/node1.toml --wait 60   # after a start: when clients are welcome
  synod health --config front1.toml --front            # front ends in a process of their own")]
pub(crate) struct Health {
    /// The node's configuration: .toml or .json
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// FILE is the configuration of `synod front`, whose readers' port is asked
    #[arg(long)]
    front: bool,
    /// Ask only whether the process answers
    #[arg(long)]
    live: bool,
    /// Ask for so many seconds until it is well, as after a start
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
}

impl Health {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let http = if self.front {
            FrontConfig::load(&self.config)?
                .http
                .context("these front ends have no section http, so nobody can ask them")?
        } else {
            Config::load(&self.config)?.http
        };
        let scheme = if http.tls.is_some() { "https" } else { "http" };
        let path = if self.live { "livez" } else { "readyz" };
        let url = format!("{scheme}://{}/{path}", http.addr);
        // A program has one; that it is set already is no harm.
        let _set = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .context("cannot set up an HTTP client")?;
        let end = Instant::now() + Duration::from_secs(self.wait.into());
        let (is_well, said) = loop {
            let answer = ask(&client, &url).await;
            if matches!(answer, Ok((true, _))) || Instant::now() >= end {
                break answer.with_context(|| format!("the node does not answer at {url}"))?;
            }
            sleep(ASK_AGAIN).await;
        };
        output.print(&json!({ "ok": is_well, "url": url, "said": said.trim_end() }), said.trim_end())?;
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whether it is well, and what it says.
async fn ask(client: &reqwest::Client, url: &str) -> reqwest::Result<(bool, String)> {
    let asking = async {
        let answer = client.get(url).send().await?;
        Ok((answer.status().is_success(), answer.text().await?))
    };
    asking.await.map_err(reqwest::Error::without_url)
}
