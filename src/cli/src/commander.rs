//! `synod commander`: who may command an application.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use synod_machine::authority::{AuthorityOp, Role};
use synod_types::CommanderId;

use crate::connection::{Cluster, Connection};
use crate::exit::Failure;
use crate::output::Output;
use crate::public_key;
use crate::reader::{ReadOptions, percent_encoded};
use crate::table::Table;
use crate::write::{self, WriteOptions};

/// Digits of an id that are enough to name a commander, where only one begins with them.
const PREFIX_DIGITS_MIN: usize = 4;

/// Grant, revoke and list the commanders of an application
///
/// Each application has its own commanders, changed by commands in its own log. Only an administrator changes them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod commander add deploy --app 1 --key deploy.pem --role writer
  synod commander add alice --app kv --key alice-public.pem --role administrator
  synod commander list --app 1
  synod commander revoke 8f3c2a91b0de --app 1")]
pub(crate) struct Commander {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Let a key command the application, or change the name and role of one that may
    #[command(
        after_help = "Examples:\n  synod commander add deploy --app 1 --key deploy.pem --role writer\n  \
                            synod commander add alice --app kv --key alice-public.pem --role administrator"
    )]
    Add {
        /// A name, for people
        name: String,
        /// The application: its number or its name
        #[arg(long, value_name = "APP")]
        app: String,
        /// The commander's key: a private key or a public one (PEM); only the public half is sent
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// What it may do
        #[arg(long, value_enum)]
        role: RoleName,
        #[command(flatten)]
        options: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// Let nothing new of a commander be executed from here on
    #[command(after_help = "Example:\n  synod commander revoke 8f3c2a91b0de --app 1")]
    Revoke {
        /// Its id, or as many of its first digits as no other commander has
        id: String,
        /// The application: its number or its name
        #[arg(long, value_name = "APP")]
        app: String,
        #[command(flatten)]
        options: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// List all commanders, revoked ones too
    #[command(
        after_help = "Examples:\n  synod commander list --app 1\n  synod commander list --app kv --min 12"
    )]
    List {
        /// The application: its number or its name
        #[arg(long, value_name = "APP")]
        app: String,
        #[command(flatten)]
        read: ReadOptions,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum RoleName {
    /// May do the application's own operations
    Writer,
    /// May do everything, also change who commands
    Administrator,
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            RoleName::Writer => Role::Writer,
            RoleName::Administrator => Role::Administrator,
        }
    }
}

/// What `/v1/apps/{app}/commanders` answers.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Commanders {
    app_ndx: u32,
    state_ndx: u64,
    commanders: Vec<Listed>,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
struct Listed {
    id: String,
    name: String,
    role: String,
    since: u64,
    revoked: Option<u64>,
}

impl Commander {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Add { name, app, key, role, options, connection } => {
                let cluster = connection.cluster()?;
                let app = cluster.app(&app)?;
                let (key, _) = public_key::load(&key)?;
                let id = key.id();
                let op =
                    AuthorityOp::Grant { key: key.spki_der().clone(), name: name.clone(), role: role.role() };
                let explain = |_: &[u8]| {
                    let words = format!("{name} ({}) is a {} now", id.short(), role.role().name());
                    (json!({ "commander": id.to_string() }), words)
                };
                write::execute(&cluster, app, op.encode(), &options, output, explain).await
            }
            Command::Revoke { id, app, options, connection } => {
                let cluster = connection.cluster()?;
                let app_ndx = cluster.app(&app)?;
                let id = match id.parse::<CommanderId>() {
                    Ok(id) => id,
                    Err(_) => {
                        let list = list(&cluster, &app, ReadOptions::default()).await?;
                        find(&list.commanders, &id)?.parse()?
                    }
                };
                let op = AuthorityOp::Revoke { commander: id };
                let explain =
                    |_: &[u8]| (json!({ "commander": id.to_string() }), format!("{} is revoked", id.short()));
                write::execute(&cluster, app_ndx, op.encode(), &options, output, explain).await
            }
            Command::List { app, read, connection } => {
                let list = list(&connection.cluster()?, &app, read).await?;
                output.print(&list, text(&list))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

async fn list(cluster: &Cluster, app: &str, read: ReadOptions) -> anyhow::Result<Commanders> {
    let path = format!("/v1/apps/{}/commanders", percent_encoded(app.as_bytes()));
    cluster.reader()?.get(&path, &read.parameters()).await?.json()
}

/// The id that begins with `prefix`, among those who may still command.
fn find<'a>(commanders: &'a [Listed], prefix: &str) -> Result<&'a str, Failure> {
    let prefix = prefix.to_lowercase();
    let is_hex = prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || prefix.len() < PREFIX_DIGITS_MIN {
        let text = format!(
            "{prefix:?} names no commander: give its id, or at least {PREFIX_DIGITS_MIN} of its first digits"
        );
        return Err(Failure::Usage(text));
    }
    let active = commanders.iter().filter(|commander| commander.revoked.is_none());
    let found: Vec<&Listed> = active.filter(|commander| commander.id.starts_with(&prefix)).collect();
    match &found[..] {
        [one] => Ok(&one.id),
        [] => Err(Failure::Usage(format!(
            "no commander's id begins with {prefix}; `synod commander list` shows them"
        ))),
        many => {
            let many: Vec<String> = many.iter().map(|one| format!("{} ({})", one.id, one.name)).collect();
            Err(Failure::Usage(format!("{prefix} begins more than one id: {}", many.join(", "))))
        }
    }
}

fn text(list: &Commanders) -> String {
    let mut table = Table::new(&["COMMANDER", "NAME", "ROLE", "SINCE", "REVOKED"]);
    for commander in &list.commanders {
        let since = if commander.since == 0 { "genesis".to_owned() } else { commander.since.to_string() };
        let revoked = commander.revoked.map_or_else(|| "-".to_owned(), |revoked| revoked.to_string());
        let short: String = commander.id.chars().take(12).collect();
        table.row([short, commander.name.clone(), commander.role.clone(), since, revoked]);
    }
    format!("{table}stateNdx {}\n", list.state_ndx)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, name: &str, since: u64, revoked: Option<u64>) -> Listed {
        Listed { id: id.to_owned(), name: name.to_owned(), role: "writer".to_owned(), since, revoked }
    }

    #[test]
    fn a_prefix_stands_for_one_commander() {
        let all = [
            listed("abcd11", "a", 1, None),
            listed("abcd22", "b", 2, None),
            listed("ffff00", "c", 1, Some(3)),
        ];
        assert_eq!(find(&all, "ABCD1"), Ok("abcd11"));
        for bad in ["abcd", "abc", "ffff", "9999", "a", "a name", ""] {
            assert!(find(&all, bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn the_list_reads_well() {
        let commanders = vec![
            listed("8f3c2a91b0de0000", "admin", 0, None),
            listed("1122334455667788", "old\nkey", 4, Some(17)),
        ];
        let expected = "\
COMMANDER     NAME      ROLE    SINCE    REVOKED
8f3c2a91b0de  admin     writer  genesis  -
112233445566  old\\nkey  writer  4        17
stateNdx 18
";
        assert_eq!(text(&Commanders { app_ndx: 1, state_ndx: 18, commanders }), expected);
    }
}
