//! `synod certificate`: what members have signed of a state, and what that proves.

mod bundle;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use synod_auth::{Genesis, ProofError, StatementError, verify_bundle};
use synod_types::limits::{CERTIFICATE_BUNDLE_BYTES_MAX, GENESIS_BYTES_MAX};
use synod_types::{CertificateBundle, ClusterId, NodeId, Statement, Threshold};

use crate::connection::Connection;
use crate::exit::Failure;
use crate::output::Output;
use crate::reader::percent_encoded;
use crate::table::{Table, printable};

/// Get certificates of states, and verify them with no node to trust
///
/// Now and then the members sign what an application is: its stateNdx, the hash chain there, and a root that commits to all that it
/// holds. With the signatures of enough of them that is a certificate. Whoever has the genesis document can verify it, years later,
/// without a node: a file has everything else that this takes, also where members have changed since.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod certificate get --app kv --out kv.cert
  synod certificate verify kv.cert --genesis cluster/genesis.json")]
pub(crate) struct Certificate {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Get(Get),
    Verify(Verify),
}

/// Get the certificate of a state from a node, with what proves it
///
/// A node keeps the last certificates of each application (`[certificates] keep`). The newest one is of a state that is a second old
/// where nothing happens, and at most `every_commands` commands old where much does.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod certificate get --out kv.cert
  synod certificate get --app zones --at 4096 --out zones-4096.cert
  synod certificate get --app kv --http 127.0.0.1:9102 --out kv.cert")]
struct Get {
    /// The application: its number or its name
    #[arg(long, value_name = "APP", default_value = "1")]
    app: String,
    /// Of which state: a stateNdx, or latest
    #[arg(long, value_name = "STATENDX", default_value = "latest", value_parser = state)]
    at: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Verify a certificate against the genesis document
///
/// Asks nobody: who the first members are stands in the genesis document, and who came since is proved by the certificates that the
/// file has beside the one that is asked for.
///
/// Exit code: 0 if it proves what it says; 3 if it is not proved who the members are by then; 7 if it proves nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  synod certificate verify kv.cert --genesis cluster/genesis.json
  synod certificate verify kv.cert --genesis genesis.json --threshold all
  synod certificate verify kv.cert --genesis genesis.json --output json | jq -r .root")]
struct Verify {
    /// The certificate
    file: PathBuf,
    /// The genesis document of the cluster
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// How many members have to have signed: majority, all, or a number; never fewer than a majority
    #[arg(long, value_name = "COUNT", default_value_t = Threshold::Majority)]
    threshold: Threshold,
}

fn state(text: &str) -> Result<String, String> {
    if text == "latest" || text.parse::<u64>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("neither a stateNdx nor latest".to_owned())
    }
}

impl Certificate {
    pub(crate) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Get(get) => get.run(output).await,
            Command::Verify(verify) => verify.run(output),
        }
    }
}

impl Get {
    async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let reader = self.connection.cluster()?.reader()?;
        let path = format!("/v1/apps/{}/certificates/{}", percent_encoded(self.app.as_bytes()), self.at);
        let answer = reader.get_as("application/json", &path, &[]).await?;
        let bundle = bundle::parse(&answer.body).context("a node answered with something else")?;
        bundle::write(&self.out, &bundle)?;
        let text = format!(
            "{}\nin {}; it is proved by: synod certificate verify {} --genesis FILE",
            summary(&bundle.certificate.statement),
            self.out.display(),
            self.out.display()
        );
        output.print(&json(&bundle, &[], None), text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Verify {
    fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let name = self.genesis.display();
        let document = bundle::read(&self.genesis, GENESIS_BYTES_MAX)?;
        let (genesis, cluster) = Genesis::parse(&document).with_context(|| format!("{name}"))?;
        let bytes = bundle::read(&self.file, CERTIFICATE_BUNDLE_BYTES_MAX)?;
        let bundle = prove(&bytes, &genesis, cluster, self.threshold)?;
        let names: Vec<(NodeId, String)> =
            genesis.nodes.iter().map(|node| (node.id(), node.name.clone())).collect();
        output.print(&json(&bundle, &names, Some(self.threshold)), text(&bundle, &genesis, &names))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What the bytes of a certificate prove.
fn prove(
    bytes: &[u8],
    genesis: &Genesis,
    cluster: ClusterId,
    threshold: Threshold,
) -> Result<CertificateBundle, Failure> {
    let bundle = bundle::parse(bytes).map_err(|why| Failure::Broken(format!("{why:#}")))?;
    let first = genesis.founding_voters();
    verify_bundle(&bundle, cluster, &first, threshold).map_err(|why| failure(&why))?;
    Ok(bundle)
}

/// Whether nothing is proved, or only that is missing which would prove it.
fn failure(why: &ProofError) -> Failure {
    let text = why.to_string();
    match why {
        ProofError::Certificate(StatementError::Broken { .. })
        | ProofError::HandOver { source: StatementError::Broken { .. }, .. } => Failure::Refused(text),
        ProofError::OtherCluster { .. } | ProofError::Certificate(_) | ProofError::HandOver { .. } => {
            Failure::Broken(text)
        }
    }
}

fn summary(statement: &Statement) -> String {
    let Statement { app, epoch, slot, state_ndx, chain, root, .. } = statement;
    format!(
        "application {app}, stateNdx {state_ndx}, epoch {epoch}, slot {slot}\nchain {chain}\nroot  {root}"
    )
}

/// What is proved, for people.
fn text(bundle: &CertificateBundle, genesis: &Genesis, names: &[(NodeId, String)]) -> String {
    let certificate = &bundle.certificate;
    let signers = certificate.signers();
    let mut table = Table::new(&["MEMBER", "NAME", "SIGNED"]);
    for member in &certificate.members {
        let name = names.iter().find(|(id, _)| id == member).map_or("-", |(_, name)| name);
        let signed = if signers.contains(member) { "yes" } else { "no" };
        table.row([member.short(), printable(name), signed.to_owned()]);
    }
    let epochs = match bundle.handovers.len() {
        0 => String::new(),
        count => format!("\nmembers are proved from genesis on, over {count} epochs that ended"),
    };
    format!(
        "proved: cluster {} ({}), {}{epochs}\n\n{table}",
        printable(&genesis.name),
        bundle.cluster.short(),
        summary(&certificate.statement)
    )
}

/// The same for programs.
fn json(
    bundle: &CertificateBundle,
    names: &[(NodeId, String)],
    threshold: Option<Threshold>,
) -> serde_json::Value {
    let Statement { app, epoch, slot, state_ndx, chain, root, .. } = &bundle.certificate.statement;
    let name = |node: &NodeId| names.iter().find(|(id, _)| id == node).map(|(_, name)| name.clone());
    let signers = bundle.certificate.signers();
    json!({
        "proved": threshold.is_some(),
        "threshold": threshold.map(|threshold| threshold.to_string()),
        "cluster": bundle.cluster.to_string(),
        "appNdx": app,
        "stateNdx": state_ndx,
        "epoch": epoch,
        "slot": slot,
        "chain": chain.to_string(),
        "root": root.to_string(),
        "members": bundle.certificate.members.iter().map(|member| json!({
            "id": member.to_string(),
            "name": name(member),
            "signed": signers.contains(member),
        })).collect::<Vec<_>>(),
        "epochsEnded": bundle.handovers.len(),
    })
}

#[cfg(test)]
mod tests {
    use synod_auth::{Algorithm, GenesisAdministrator, GenesisApp, GenesisNode, SigningKey, sign_statement};
    use synod_gateway::BundleForm;
    use synod_types::{
        AppNdx, Configuration, Digest, Epoch, Slot, StateCertificate, StateNdx, StatementSignature, TimeMs,
    };

    use super::*;

    /// Three nodes of genesis, and two that came later.
    struct Stage {
        keys: Vec<SigningKey>,
        genesis: Genesis,
        cluster: ClusterId,
    }

    impl Stage {
        fn set() -> Stage {
            let keys: Vec<_> = (0..5).map(|_| SigningKey::generate(Algorithm::Ed25519)).collect();
            let node = |(n, key): (usize, &SigningKey)| GenesisNode {
                name: format!("node{}", n + 1),
                key: key.public().clone(),
            };
            let nodes = keys.iter().take(3).enumerate().map(node).collect();
            let key = SigningKey::generate(Algorithm::Ed25519).public().clone();
            let administrators = vec![GenesisAdministrator { name: "ada".to_owned(), key }];
            let apps = vec![GenesisApp { ndx: AppNdx(1), name: "kv".to_owned(), kind: "kv".to_owned() }];
            let bytes = Genesis::new("test", TimeMs(1), nodes, administrators, apps).to_bytes();
            let (genesis, cluster) = Genesis::parse(&bytes).unwrap();
            Stage { keys, genesis, cluster }
        }

        fn certificate(
            &self,
            app: u32,
            epoch: u64,
            members: &[usize],
            signers: &[usize],
        ) -> StateCertificate {
            let members = members.iter().map(|n| NodeId(self.keys[*n].id())).collect();
            let configuration = Configuration { epoch: Epoch(epoch), members };
            let statement = Statement {
                app: AppNdx(app),
                epoch: Epoch(epoch),
                members: configuration.digest(),
                slot: Slot(9),
                state_ndx: StateNdx(7),
                chain: Digest([3; 32]),
                root: Digest([4; 32]),
            };
            let sign = |n: &usize| sign_statement(&self.keys[*n], self.cluster, &statement);
            let mut signatures: Vec<_> = signers.iter().map(sign).collect();
            signatures.sort_by_key(StatementSignature::signer);
            StateCertificate { statement, members: configuration.members, signatures }
        }

        fn bundle(
            &self,
            handovers: Vec<StateCertificate>,
            certificate: StateCertificate,
        ) -> CertificateBundle {
            CertificateBundle { cluster: self.cluster, handovers, certificate }
        }

        fn prove(&self, bundle: &CertificateBundle) -> Result<(), Failure> {
            let bytes = serde_json::to_vec(&BundleForm::of(bundle)).unwrap();
            prove(&bytes, &self.genesis, self.cluster, Threshold::Majority).map(drop)
        }
    }

    #[test]
    fn no_bit_of_a_file_can_be_changed() {
        let stage = Stage::set();
        let handover = stage.certificate(1, 2, &[1, 2, 3], &[0, 1, 2]);
        let bundle = stage.bundle(vec![handover], stage.certificate(1, 2, &[1, 2, 3], &[2, 3]));
        for good in [serde_json::to_vec(&BundleForm::of(&bundle)).unwrap(), bundle.encode()] {
            let prove = |bytes: &[u8]| prove(bytes, &stage.genesis, stage.cluster, Threshold::Majority);
            assert_eq!(prove(&good), Ok(bundle.clone()));
            for bit in 0..8 * good.len() {
                let mut changed = good.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let found = prove(&changed);
                assert!(found.is_err(), "bit {bit}: {}", String::from_utf8_lossy(&changed));
            }
        }
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let stage = Stage::set();
        let good = stage.certificate(1, 0, &[0, 1, 2], &[0, 2]);
        assert_eq!(stage.prove(&stage.bundle(vec![], good.clone())), Ok(()));
        let refused = |handovers: Vec<StateCertificate>, certificate: StateCertificate, code: &str| {
            let found = stage.prove(&stage.bundle(handovers, certificate)).unwrap_err();
            let is_right =
                matches!((&found, code), (Failure::Broken(_), "broken") | (Failure::Refused(_), "refused"));
            assert!(is_right, "{found:?}");
            found.to_string()
        };
        let mut missing = good.clone();
        missing.signatures.pop();
        let text = refused(vec![], missing, "broken");
        assert!(text.contains("1 of 3 members of epoch 0 signed, and 2 have to"), "{text}");
        let text = refused(vec![], stage.certificate(1, 0, &[0, 1, 2], &[0, 1, 3]), "broken");
        assert!(text.contains("was no member in epoch 0"), "{text}");
        let mut elsewhere = good.clone();
        elsewhere.signatures[0] = stage.certificate(2, 0, &[0, 1, 2], &[0, 2]).signatures.swap_remove(0);
        let text = refused(vec![], elsewhere, "broken");
        assert!(text.contains("its signature is for another state, application or cluster"), "{text}");
        let foreign = stage.certificate(2, 2, &[1, 2, 3], &[0, 1, 2]);
        let text = refused(vec![foreign], stage.certificate(1, 2, &[1, 2, 3], &[1, 2]), "broken");
        assert!(text.contains("of application 2 proves nothing about application 1"), "{text}");
        let last = stage.certificate(1, 3, &[2, 3, 4], &[3, 4]);
        let text = refused(vec![], last, "refused");
        assert!(text.contains("the proof is broken between epoch 0 and epoch 3"), "{text}");
        assert!(text.contains("synod audit"), "{text}");
    }
}
