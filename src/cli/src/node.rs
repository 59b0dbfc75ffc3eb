//! `synod node`: runs a node.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use synod_node::Config;
use synod_types::Program;

use crate::daemon::{self, Daemon, Log, Options, Orders, announce};
use crate::output::Output;

/// Run a node until SIGINT or SIGTERM
///
/// When every port is open, one line with the addresses goes to standard output (a JSON object with --output json);
/// the log goes to standard error. At SIGHUP, what is logged is read from the configuration again, and so are certificates and
/// their keys, which are also read when their files change. A second signal ends the process at once, which a node survives like any crash.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod node --config cluster/node1.toml
  synod node --config cluster/node1.toml --check       # report all mistakes, start nothing
  RUST_LOG=info,synod_mesh=debug synod node --config cluster/node1.toml --log-format json")]
pub(crate) struct Node {
    #[command(flatten)]
    options: Options,
}

impl Node {
    pub(crate) fn run(self, program: Program, output: Output) -> anyhow::Result<ExitCode> {
        let config = Config { program, ..Config::load(&self.options.config)? };
        if self.options.check {
            let text = format!("{} is in order: node {}", self.options.config.display(), config.me.id);
            output.print(&json!({ "ok": true, "node": config.me.id }), text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let (threads, filter) = (config.worker_threads, config.log.clone());
        daemon::run(threads, (self.options.log_format, &filter), |log| self.serve(config, log, output))
    }

    async fn serve(self, config: Config, log: Log, output: Output) -> anyhow::Result<ExitCode> {
        let orders = Orders::listen(self.options.until_stdin_closes)?;
        let name = config.me.id.clone();
        let node = synod_node::Node::start(config).await?;
        let addresses = node.addresses();
        let dns = addresses.dns.map(|dns| format!(", dns {dns}")).unwrap_or_default();
        announce(
            output,
            &json!({
                "ready": true,
                "node": name,
                "pid": std::process::id(),
                "mesh": addresses.mesh,
                "backend": addresses.backend,
                "http": addresses.http,
                "dns": addresses.dns,
            }),
            format!(
                "{name} is ready: nodes {}, commanders {}, readers http://{}{dns}",
                addresses.mesh, addresses.backend, addresses.http
            ),
        );
        orders.follow(node, log, || Config::load(&self.options.config).map(|config| config.log)).await
    }
}

impl Daemon for synod_node::Node {
    const NAME: &str = "node";

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
