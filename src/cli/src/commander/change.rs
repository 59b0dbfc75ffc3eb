//! `synod commander add`, `revoke`, `rotate`, `approve` and `withdraw`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;
use synod_auth::SigningKey;
use synod_machine::authority::{AuthorityOp, AuthorityReply, Grant, Role};
use synod_types::{CommanderId, Digest, StateNdx, TimeMs};

use super::current::{self, Commanders, Pending};
use super::show;
use crate::connection::{Cluster, Connection};
use crate::exit::Failure;
use crate::output::Output;
use crate::public_key;
use crate::reader::ReadOptions;
use crate::table::printable;
use crate::time;
use crate::write::{self, Explained, WriteOptions};

/// Let a key command the application, or change what a commander may do
///
/// Everything that was granted to the same key before is replaced. A writer with --scope changes nothing outside of it: a
/// scope is a key's prefix in a kv application, and a zone with all below it in a zones application.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod commander add deploy --app 1 --key deploy.pem --role writer
  synod commander add alice --app kv --key alice-public.pem --role administrator
  synod commander add ci --app zones --key ci.pem --role writer --scope a.example --scope b.example
  synod commander add temp --app kv --key temp.pem --role writer --valid-to +30d
  synod commander add next --app kv --key next.pem --role writer --valid-from 2027-01-31T12:00:00Z")]
pub(super) struct Add {
    /// A name, for people
    name: String,
    /// The commander's key: a private key or a public one (PEM); only the public half is sent
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What it may do
    #[arg(long, value_enum)]
    role: RoleName,
    /// The part of the application to which a writer is confined; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// When it may begin to command, by the cluster's time: RFC 3339, or a span from now on such as +12h
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    valid_from: Option<TimeMs>,
    /// When it may command for the last time: RFC 3339, or a span from now on such as +30d
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    valid_to: Option<TimeMs>,
    #[command(flatten)]
    common: Common,
}

/// Let nothing new of a commander be executed from here on
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  synod commander revoke 8f3c2a91b0de --app 1")]
pub(super) struct Revoke {
    /// Its id, or as many of its first digits as no other commander has
    id: String,
    #[command(flatten)]
    common: Common,
}

/// Give everything that was granted to the signing key to a new key, and revoke the old one
///
/// Signed with the old key, which is that of the client file or --sign-with. The private half of the new one has to be
/// there, so that nobody hands over to a key that nobody has; it is not sent.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod keygen --out new.pem
  synod commander rotate --app 1 --key new.pem
  synod commander rotate --app 1 --key new.pem --sign-with old.pem")]
pub(super) struct Rotate {
    /// The new private key (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// Sign a change that another administrator proposed
///
/// The digest says which one: `synod commander pending` shows it beside what the change would do.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  synod commander approve 17 --app 1 --digest 3f0c6b… --sign-with admin2.pem"
)]
pub(super) struct Approve {
    /// The stateNdx that proposed it
    change: u64,
    /// SHA3-256 of the operation that was proposed, 64 hex digits
    #[arg(long, value_name = "HEX")]
    digest: Digest,
    #[command(flatten)]
    common: Common,
}

/// Take back a change that the same administrator proposed
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  synod commander withdraw 17 --app 1")]
pub(super) struct Withdraw {
    /// The stateNdx that proposed it
    change: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Common {
    /// The application: its number or its name
    #[arg(long, value_name = "APP")]
    app: String,
    #[command(flatten)]
    options: WriteOptions,
    #[command(flatten)]
    connection: Connection,
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

impl Common {
    /// Has an operation executed that is about `commander`; `words` say what is so once it is done.
    async fn execute(
        self,
        cluster: &Cluster,
        op: &AuthorityOp,
        commander: Option<CommanderId>,
        words: String,
        output: Output,
    ) -> anyhow::Result<ExitCode> {
        let app = cluster.app(&self.app)?;
        let explain = |answer: &[u8]| explained(answer, commander, words, &self.app);
        write::execute(cluster, app, op.encode(), &self.options, output, explain).await
    }
}

/// What the answer to an operation on commanders means; `words` say what is so once it is done.
pub(crate) fn explained(
    answer: &[u8],
    commander: Option<CommanderId>,
    words: String,
    app: &str,
) -> Explained {
    let commander = commander.map(|id| id.to_string());
    match AuthorityReply::decode(answer) {
        Ok(AuthorityReply::Done) => (json!({ "commander": commander }), words),
        Ok(AuthorityReply::Pending { change, digest, approvals, needed }) => (
            json!({
                "commander": commander,
                "pending": {
                    "change": change,
                    "digest": digest.to_string(),
                    "approvals": approvals,
                    "needed": needed,
                },
            }),
            format!(
                "change {change} is signed by {approvals} of {needed} administrators; another one signs it with\n  synod \
                 commander approve {change} --app {app} --digest {digest}"
            ),
        ),
        Err(_) => write::hex(answer),
    }
}

impl Add {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Add { name, key, role, scopes, valid_from, valid_to, common } = self;
        let cluster = common.connection.cluster()?;
        let (key, _) = public_key::load(&key)?;
        let (id, role) = (CommanderId(key.id()), role.role());
        let words = format!("{} ({}) is a {} now", printable(&name), id.short(), role.name());
        let key = key.spki_der().clone();
        let op = AuthorityOp::Grant(Grant { key, name, role, scopes, valid_from, valid_to });
        common.execute(&cluster, &op, Some(id), words, output).await
    }
}

impl Revoke {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Revoke { id, common } = self;
        let cluster = common.connection.cluster()?;
        let id = match id.parse::<CommanderId>() {
            Ok(id) => id,
            Err(_) => {
                let list: Commanders = current::read(&cluster, &common.app, "", &[]).await?;
                list.find(&id)?.parse()?
            }
        };
        let op = AuthorityOp::Revoke { commander: id };
        common.execute(&cluster, &op, Some(id), format!("{} is revoked", id.short()), output).await
    }
}

impl Rotate {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Rotate { key: file, common } = self;
        let cluster = common.connection.cluster()?;
        let key = SigningKey::load(&file)?;
        let id = CommanderId(key.id());
        let words = format!(
            "{} takes the place of the signing key, which is revoked; sign with {} from now on (`key` in the client file)",
            id.short(),
            file.display()
        );
        let op = AuthorityOp::Rotate { key: key.public().spki_der().clone() };
        common.execute(&cluster, &op, Some(id), words, output).await
    }
}

impl Approve {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Approve { change, digest, common } = self;
        let cluster = common.connection.cluster()?;
        // What was acknowledged is seen, whichever node answers.
        let read = ReadOptions::linearizable().parameters();
        let pending: Pending = current::read(&cluster, &common.app, "/pending", &read).await?;
        let waiting = pending.pending.iter().find(|waiting| waiting.change == change).ok_or_else(|| {
            let app = &common.app;
            Failure::Usage(format!(
                "no change {change} is pending; `synod commander pending --app {app}` shows them"
            ))
        })?;
        let op = waiting.operation()?;
        if op.digest() != digest {
            let text = format!("change {change} has the digest {}; look at what it would do", op.digest());
            return Err(Failure::Usage(text).into());
        }
        let names: Commanders = current::read(&cluster, &common.app, "", &read).await?;
        let words = format!("change {change} is made: {}", printable(&show::operation(&op, &names)));
        let op = AuthorityOp::Approve { change: StateNdx(change), digest };
        common.execute(&cluster, &op, None, words, output).await
    }
}

impl Withdraw {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let Withdraw { change, common } = self;
        let cluster = common.connection.cluster()?;
        let op = AuthorityOp::Withdraw { change: StateNdx(change) };
        common.execute(&cluster, &op, None, format!("change {change} is withdrawn"), output).await
    }
}
