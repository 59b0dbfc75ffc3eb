//! What every subcommand takes: the application, how to reach it, and how to write or read.

use std::process::ExitCode;

use clap::Args;
use serde::de::DeserializeOwned;
use synod_app_kv::KvOp;

use super::change::explain;
use crate::connection::Connection;
use crate::output::Output;
use crate::reader::{Answer, ReadOptions, Reader, percent_encoded};
use crate::write::{self, WriteOptions};

/// Of a command.
#[derive(Args, Debug)]
pub(super) struct Writing {
    /// The application: its number or its name
    #[arg(long, value_name = "APP", default_value = "1")]
    app: String,
    #[command(flatten)]
    options: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Writing {
    /// Has it executed, and prints the receipt.
    pub(super) async fn execute(self, op: KvOp, output: Output) -> anyhow::Result<ExitCode> {
        let cluster = self.connection.cluster()?;
        let app = cluster.app(&self.app)?;
        write::execute(&cluster, app, op.encode(), &self.options, output, explain).await
    }
}

/// Of a read.
#[derive(Args, Debug)]
pub(super) struct Reading {
    #[command(flatten)]
    pub(super) place: Place,
    #[command(flatten)]
    pub(super) read: ReadOptions,
}

/// Where something is read or followed.
#[derive(Args, Debug)]
pub(super) struct Place {
    /// The application: its number or its name
    #[arg(long, value_name = "APP", default_value = "1")]
    pub(super) app: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

impl Reading {
    /// Reads at `/v1/apps/{app}/` and `rest`.
    pub(super) async fn get(&self, rest: &str, parameters: &[(&str, String)]) -> anyhow::Result<Answer> {
        let mut all = self.read.parameters();
        all.extend_from_slice(parameters);
        Ok(self.reader()?.get(&self.place.path(rest), &all).await?)
    }

    /// The same, of JSON.
    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        rest: &str,
        parameters: &[(&str, String)],
    ) -> anyhow::Result<T> {
        self.get(rest, parameters).await?.json()
    }

    fn reader(&self) -> anyhow::Result<Reader> {
        self.place.connection.cluster()?.reader()
    }
}

impl Place {
    /// The address of `rest` in the application.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/v1/apps/{}/{rest}", percent_encoded(self.app.as_bytes()))
    }
}

/// The address of a key or a name below `word`.
pub(super) fn below(word: &str, name: &str) -> String {
    format!("{word}/{}", percent_encoded(name.as_bytes()))
}
