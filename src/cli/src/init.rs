//! `synod init`: makes the files of a new cluster.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use serde_json::json;
use synod_app_zones::ZonesApp;
use synod_auth::GenesisApp;
use synod_types::versions::LEVELS;
use synod_types::{AppNdx, Level};

use crate::exit::Failure;
use crate::founding::nodes::NodeArgs;
use crate::founding::{CLIENT, Founded, Layout, NodeFiles, Plan, found};
use crate::output::Output;
use crate::table::Table;

/// Found a cluster: make its authority, keys, certificates, genesis document and configurations
///
/// Everything goes into one directory, which has to be empty or new. Each node then needs its own three files
/// (NAME.toml, NAME.pem, NAME-key.pem), ca.pem and genesis.json; with --node-dirs they are in a directory NAME. Keep ca-key.pem and admin.pem off the nodes: whoever has
/// the former can make nodes, whoever has the latter commands. Where there are several administrators, give each of them
/// the own key, and nobody two.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod init --dir cluster                                   # three nodes on this host, for trying
  synod init --dir cluster --hosts a.example,b.example,c.example
  synod init --dir cluster --app 1=config:kv --app 2=dns:zones --name prod
  synod init --dir cluster --hosts a.example,b.example --node-dirs
  synod init --dir cluster --admins 3 --signatures 2         # two of three administrators change who commands")]
pub(crate) struct Init {
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    nodes: NodeArgs,
    /// Where each node keeps its logs, on its host; by default beside its configuration
    #[arg(long, value_name = "PATH")]
    data_dir: Option<String>,
    /// Leave a cluster that was founded in DIR as it is
    #[arg(long)]
    once: bool,
    /// The cluster's name, for people
    #[arg(long, default_value = "synod")]
    name: String,
    /// How many administrators, each with a key of its own: admin.pem, admin2.pem, …
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    admins: u16,
    /// How many administrators must sign each change of who commands; for ever
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=64))]
    signatures: u32,
    /// The level by whose rules it begins; a lower one only where nodes with an older program are to take part
    #[arg(long, default_value_t = LEVELS.max, value_name = "N", value_parser = clap::value_parser!(u32).range(i64::from(LEVELS.min)..=i64::from(LEVELS.max)))]
    level: u32,
    /// An application: its number, its name and its kind (kv or zones, or that of a --lane); may be repeated
    #[arg(long = "app", value_name = "NDX=NAME:KIND", default_values = ["1=kv:kv", "2=zones:zones"])]
    apps: Vec<AppPlan>,
    /// An application, by its name, that is a process of its own: then it may be of any kind; may be repeated
    #[arg(long = "lane", value_name = "NAME")]
    lanes: Vec<String>,
    /// Each node has a socket for front ends in processes of their own: `synod front`
    #[arg(long)]
    front_ends: bool,
}

impl Init {
    pub(crate) fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let plan = self.plan()?;
        if self.once && self.dir.join(CLIENT).exists() {
            let text = format!("a cluster was founded in {}; it stays as it is", self.dir.display());
            output.print(&json!({ "founded": false, "client": self.dir.join(CLIENT) }), text)?;
            return Ok(ExitCode::SUCCESS);
        }
        let founded = found(&self.dir, &plan)?;
        let nodes = founded.nodes.iter().map(|node| {
            json!({
                "name": node.plan.name,
                "id": node.id.to_string(),
                "config": node.config,
                "mesh": node.plan.mesh.to_string(),
                "backend": node.plan.backend.to_string(),
                "http": node.plan.http.to_string(),
                "dns": node.plan.dns.as_ref().map(ToString::to_string),
            })
        });
        let administrators = founded.administrators.iter().map(|administrator| {
            json!({
                "name": administrator.name,
                "id": administrator.id.to_string(),
                "key": administrator.key,
            })
        });
        let json = json!({
            "clusterId": founded.cluster.to_string(),
            "clusterName": founded.genesis.name,
            "administrators": administrators.collect::<Vec<_>>(),
            "signaturesNeeded": founded.genesis.signatures_needed,
            "client": self.dir.join(CLIENT),
            "nodes": nodes.collect::<Vec<_>>(),
        });
        output.print(&json, Report { founded: &founded, layout: self.nodes.layout() })?;
        Ok(ExitCode::SUCCESS)
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let nodes = self.nodes.plans(self.apps.iter().map(|AppPlan(app)| app))?;
        if self.signatures > u32::from(self.admins) {
            let text = format!("--signatures {} needs as many --admins at least", self.signatures);
            return Err(Failure::Usage(text).into());
        }
        Ok(Plan {
            name: self.name.clone(),
            nodes,
            apps: self.apps.iter().map(|AppPlan(app)| app.clone()).collect(),
            lanes: self.lanes.clone(),
            front_ends: self.front_ends,
            administrators: self.admins.into(),
            signatures_needed: self.signatures,
            level: Level(self.level),
            retry_delay: None,
            layout: self.nodes.layout(),
            data_dir: self.data_dir.clone(),
        })
    }
}

/// `NDX=NAME:KIND`
#[derive(Clone, Debug)]
struct AppPlan(GenesisApp);

impl FromStr for AppPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<AppPlan, String> {
        let parts = text.split_once('=').and_then(|(ndx, rest)| {
            let (name, kind) = rest.split_once(':')?;
            let ndx = AppNdx(ndx.parse().ok()?);
            Some(GenesisApp { ndx, name: name.to_owned(), kind: kind.to_owned() })
        });
        parts.map(AppPlan).ok_or_else(|| "NDX=NAME:KIND is expected, as in 1=kv:kv".to_owned())
    }
}

/// What was made, and what to do next.
struct Report<'a> {
    founded: &'a Founded,
    layout: Layout,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Founded { directory, cluster, genesis, administrators, nodes } = self.founded;
        let dir = directory.display();
        writeln!(f, "cluster {} is founded: {cluster}\n", genesis.name)?;
        let mut files = Table::new(&["FILE", "WHAT IT IS"]);
        let mut file = |name: &str, what: &str| files.row([format!("{dir}/{name}"), what.to_owned()]);
        file("genesis.json", "what founds the cluster; every node and tool needs it");
        file("ca.pem", "the authority's certificate; every node and tool needs it");
        file("ca-key.pem", "SECRET: makes certificates for nodes; keep it off them");
        for administrator in administrators {
            let (name, id) = (&administrator.name, administrator.id.short());
            file(&format!("{name}.pem"), &format!("SECRET: the key of the administrator {name}, {id}"));
        }
        file("client.toml", "how the tools reach the cluster");
        for node in nodes {
            let name = &node.plan.name;
            let files = NodeFiles::of(self.layout, name);
            file(&files.config, &format!("configuration of {name}"));
            file(&files.certificate, &format!("certificate of {name}"));
            file(&files.key, &format!("SECRET: the key of {name}"));
        }
        writeln!(f, "{files}")?;
        let titles = ["NODE", "ID", "NODES' PORT", "COMMANDERS' PORT", "READERS' PORT", "DNS PORT"];
        let mut table = Table::new(&titles);
        for node in nodes {
            let plan = &node.plan;
            let addresses = [&plan.mesh, &plan.backend, &plan.http].map(ToString::to_string);
            let dns = plan.dns.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            table.row([plan.name.clone(), node.id.short()].into_iter().chain(addresses).chain([dns]));
        }
        writeln!(f, "{table}")?;
        let host = &nodes.first().map_or("", |node| &node.plan.mesh.host);
        if nodes.iter().all(|node| node.plan.mesh.host == **host) {
            writeln!(f, "Next, each in a terminal of its own:")?;
            for node in nodes {
                writeln!(f, "  synod node --config {}", node.config.display())?;
            }
        } else {
            writeln!(
                f,
                "Next, copy to each host, and nowhere else, what its node needs, and start it there:"
            )?;
            for node in nodes {
                let (name, host) = (&node.plan.name, &node.plan.mesh.host);
                let needed = match self.layout {
                    Layout::Together => format!("{name}.toml {name}.pem {name}-key.pem ca.pem genesis.json"),
                    Layout::NodeDirectories => format!("{name}/"),
                };
                let config = NodeFiles::of(self.layout, name).config;
                writeln!(f, "  {host}: {needed}")?;
                writeln!(f, "  {:width$}  synod node --config {config}", "", width = host.len())?;
            }
        }
        let client = directory.join(CLIENT);
        let client = std::path::absolute(&client).unwrap_or(client);
        if genesis.signatures_needed > 1 {
            let (needed, all) = (genesis.signatures_needed, administrators.len());
            writeln!(
                f,
                "{needed} of the {all} administrators sign each change of who commands; give each the own key,"
            )?;
        }
        writeln!(f, "and then:\n  export SYNOD_CLIENT={}", client.display())?;
        writeln!(f, "  synod status")?;
        if genesis.apps.iter().any(|app| app.kind == ZonesApp::KIND) {
            writeln!(f, "  synod zone set example.org example.org.zone --wait all")?;
        }
        if genesis.apps.iter().any(|app| app.kind == "kv") {
            writeln!(f, "  synod kv put greeting hello")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::founding::default_apps;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        init: Init,
    }

    fn plan(arguments: &str) -> anyhow::Result<Plan> {
        let arguments = std::iter::once("init").chain(arguments.split_whitespace());
        Arguments::try_parse_from(arguments)?.init.plan()
    }

    #[test]
    fn nodes_on_one_host_have_ports_of_their_own() {
        let plan = plan("--dir x").unwrap();
        let ports = plan.nodes.iter().flat_map(|node| {
            [node.mesh.port, node.backend.port, node.http.port, node.dns.as_ref().unwrap().port]
        });
        let ports: Vec<u16> = ports.collect();
        let expected = [7101, 8101, 9101, 10_101, 7102, 8102, 9102, 10_102, 7103, 8103, 9103, 10_103];
        assert_eq!(ports, expected);
        assert_eq!(plan.apps, default_apps());
    }

    #[test]
    fn dns_is_answered_where_there_are_zones() {
        for (arguments, has_dns) in [
            ("--dir x --no-dns", false),
            ("--dir x --app 1=kv:kv", false),
            ("--dir x --app 1=kv:kv --app 7=names:zones", true),
        ] {
            let plan = plan(arguments).unwrap();
            assert!(plan.nodes.iter().all(|node| node.dns.is_some() == has_dns), "{arguments}");
        }
    }

    #[test]
    fn nodes_on_hosts_of_their_own_have_the_same_ports() {
        let plan =
            plan("--dir x --hosts a,b,::1,a --base-port 7000 --app 2=two:kv --app 3=three:kv").unwrap();
        let mesh: Vec<String> = plan.nodes.iter().map(|node| node.mesh.to_string()).collect();
        assert_eq!(mesh, ["a:7000", "b:7000", "[::1]:7000", "a:7001"]);
        assert_eq!(plan.apps.len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for arguments in [
            "",
            "--dir x --nodes 0",
            "--dir x --nodes 16",
            "--dir x --base-port 63000",
            "--dir x --base-port 0",
            "--dir x --host a/b",
            "--dir x --app kv",
            "--dir x --nodes 3 --hosts a,b",
            "--dir x --admins 0",
            "--dir x --admins 65",
            "--dir x --signatures 2",
            "--dir x --admins 3 --signatures 4",
            "--dir x --admins 3 --signatures 0",
        ] {
            assert!(plan(arguments).is_err(), "{arguments:?} was taken");
        }
    }
}
