//! `synod recover`: founds a cluster that goes on from what is left of one that has lost more than half of its nodes.

mod statement;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use synod_types::ContentKey;

use self::statement::{AppStatement, Offered, Statement};
use crate::audit::auditor::{Break, to_rest};
use crate::audit::report::Report;
use crate::audit::walk::Verifying;
use crate::connection::Connection;
use crate::exit::Failure;
use crate::founding::heirs::{Before, HeirArgs};
use crate::founding::inherited;
use crate::output::Output;
use crate::programs::LaneArgs;
use crate::survivors::{self, Gathered, Survivors};

/// Found a cluster that goes on from what is left of one that has lost more than half of its nodes for good
///
/// Where more than half of the nodes are lost with their disks, the others cannot know what those have acknowledged, and go on with
/// nothing. This takes what the others have, says exactly what of it is certain and what may be lost, and founds another cluster that
/// goes on from there: with an id of its own, so that nobody who comes back from the one before takes part, and no command that was signed
/// for the one before is executed in it. Bring back lost nodes with their disks instead, wherever that is possible.
///
/// Of each application, all that is certain to have been decided is taken. What the nodes had accepted behind that may have been
/// decided or not; it is taken as well, since a command that nobody was told of is the smaller evil beside one that is lost though
/// it was acknowledged. Either way each command is executed once at most: a client that asks again with what it signed for the cluster
/// before is refused, and can see in the new one what became of it.
///
/// An application in a process of its own is executed by its own program, which --lane names and which is started here.
///
/// The nodes must not run. Nothing is ever written to their directories, whose logs are copied first, to $TMPDIR. Without
/// --accept-that-commands-may-be-lost, the statement is printed, and nothing is founded: exit code 3.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod recover --from-minority --genesis genesis.json --data-dir data-node3 --dir again     # what would be lost?
  synod recover --from-minority --genesis genesis.json --data-dir data-node3 --dir again --accept-that-commands-may-be-lost \\
      --hosts a.example,b.example,c.example --node-dirs --sign-with admin.pem")]
pub(crate) struct Recover {
    /// More than half of the nodes are lost
    #[arg(long, required = true)]
    from_minority: bool,
    /// The data directory of a node that is left and does not run; may be repeated: name all that there are
    #[arg(long, value_name = "DIR", required = true)]
    data_dir: Vec<PathBuf>,
    /// The client file of the cluster before: it knows the genesis document [default: client.toml]
    #[arg(long, value_name = "FILE", env = "SYNOD_CLIENT", hide_env_values = true)]
    client: Option<PathBuf>,
    /// The genesis document of the cluster before
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Take only what is certain, and nothing that was accepted behind it
    #[arg(long)]
    only_certain: bool,
    /// Found the cluster, whatever the statement says
    #[arg(long)]
    accept_that_commands_may_be_lost: bool,
    #[command(flatten)]
    programs: LaneArgs,
    #[command(flatten)]
    heirs: HeirArgs,
}

impl Recover {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let connection =
            Connection::reading(self.client.clone(), self.genesis.clone(), Vec::new(), Duration::ZERO);
        let (genesis, cluster) = connection.cluster()?.genesis()?;
        let programs = self.programs.of(&genesis)?;
        programs.have_all(&genesis)?;
        let verifying = Verifying::new(cluster)?;
        let mut survivors = Survivors::open(&self.data_dir, &genesis, cluster)?;
        let (mut views, mut apps) = (Vec::new(), Vec::new());
        let mut report = Report::silent();
        for app in &genesis.apps {
            let broken = |broken: Break| Failure::Broken(broken.to_string());
            let executor = programs.executor(app)?;
            let gathered = survivors.gather(&genesis, cluster, executor.maker(), &verifying, &mut report)?;
            let Gathered { machine, begins, offered, found } = gathered.map_err(broken)?;
            let (certain, slots) = (to_rest(&machine).map_err(broken)?, offered.len());
            let commands = offered.iter().map(|(_, decree)| decree.commands().len()).sum();
            let view = if self.only_certain || slots == 0 {
                certain.fork()
            } else {
                let machine = survivors::execute(machine, offered, &verifying)?.map_err(broken)?;
                to_rest(&machine).map_err(broken)?
            };
            let offered = Offered { slots, commands, is_included: !self.only_certain };
            apps.push(AppStatement {
                app: app.clone(),
                begins,
                found,
                certain,
                offered,
                included: view.fork(),
            });
            views.push(view);
        }
        let keys: BTreeSet<ContentKey> =
            views.iter().flat_map(|view| view.app.contents()).map(|(key, _)| key).collect();
        let missing: Vec<ContentKey> =
            keys.iter().copied().filter(|key| survivors.file(*key).is_none()).collect();
        let statement = Statement { cluster, nodes: survivors.names(), apps, missing_files: missing };
        if !self.accept_that_commands_may_be_lost {
            output.print(&statement.json(false), &statement)?;
            let text = format!(
                "nothing was founded: give --accept-that-commands-may-be-lost to have {} made all the same",
                self.heirs.directory().display()
            );
            return Err(Failure::Refused(text).into());
        }
        if output == Output::Text {
            output.print(&statement.json(true), &statement)?;
        }
        let before = Before { genesis: &genesis, cluster, views: &views };
        let made = self.heirs.found(&before, "synod recover", |put| {
            for key in &keys {
                // What nobody has was told.
                if let Some(file) = survivors.file(*key) {
                    put(&file)?;
                }
            }
            Ok(())
        })?;
        inherited::print(output, &made, &before, Some(("statement", statement.json(true))))?;
        Ok(ExitCode::SUCCESS)
    }
}
