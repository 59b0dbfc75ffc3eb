//! `synod front`: runs front ends in a process of their own.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use synod_node::config::FrontConfig;
use synod_node::front::{Given, take_given};
use synod_types::Program;

use crate::daemon::{self, Daemon, Log, Options, Orders, announce};
use crate::output::Output;

/// Run the HTTP and DNS front ends of a node in a process of their own, until SIGINT or SIGTERM
///
/// The process connects to the node's socket for front ends (section [front_ends] in the node's configuration), takes the states of its
/// applications and follows them, so that it can be stopped, upgraded and started without touching the node, and answers local reads
/// while the node is away. When it has the states and its ports are open, one line with the addresses goes to standard output
/// (a JSON object with --output json); the log goes to standard error. At SIGHUP, what is logged is read from the configuration again,
/// and so are certificates and their keys, which are also read when their files change.
///
/// Sockets that are handed over, as systemd does it (LISTEN_FDS), are used for the addresses in the configuration that they have.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod front --config front1.toml
  synod front --config front1.toml --check             # report all mistakes, start nothing

A configuration has the node's socket, and sections http and dns as a node's has them:
  socket = \"data-node1/lanes/front-ends.sock\"
  [http]
  addr = \"0.0.0.0:80\"
  [dns]
  addr = \"0.0.0.0:53\"")]
pub(crate) struct Front {
    #[command(flatten)]
    options: Options,
}

impl Front {
    pub(crate) fn run(self, program: Program, output: Output) -> anyhow::Result<ExitCode> {
        let config = FrontConfig { program, ..FrontConfig::load(&self.options.config)? };
        if self.options.check {
            let text = format!("{} is in order", self.options.config.display());
            output.print(&json!({ "ok": true, "socket": config.socket }), text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let given =
            take_given().context("a socket that was handed over to this process is none of TCP or UDP")?;
        let (threads, filter) = (config.worker_threads, config.log.clone());
        daemon::run(threads, (self.options.log_format, &filter), |log| self.serve(config, given, log, output))
    }

    async fn serve(
        self,
        config: FrontConfig,
        given: Given,
        log: Log,
        output: Output,
    ) -> anyhow::Result<ExitCode> {
        let mut orders = Orders::listen(self.options.until_stdin_closes)?;
        // It may have to wait for its node, and be told to stop meanwhile.
        let front = tokio::select! {
            started = synod_node::Front::start(config, given) => started?,
            () = orders.stop() => return Ok(ExitCode::SUCCESS),
        };
        let (node, addresses) = (front.node().to_owned(), front.addresses());
        let http = addresses.http.map(|http| format!("readers http://{http}"));
        let dns = addresses.dns.map(|dns| format!("dns {dns}"));
        let ports: Vec<String> = http.into_iter().chain(dns).collect();
        announce(
            output,
            &json!({
                "ready": true,
                "node": node,
                "pid": std::process::id(),
                "http": addresses.http,
                "dns": addresses.dns,
            }),
            format!("the front ends of {node} are ready: {}", ports.join(", ")),
        );
        orders.follow(front, log, || FrontConfig::load(&self.options.config).map(|config| config.log)).await
    }
}

impl Daemon for synod_node::Front {
    const NAME: &str = "front ends";

    fn failed(&self) -> impl Future<Output = String> {
        self.failed()
    }

    fn read_certificates_again(&self) {
        self.read_certificates_again();
    }

    fn stop(self) -> impl Future<Output = ()> {
        self.stop()
    }
}
