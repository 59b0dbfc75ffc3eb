//! The states of a cluster that runs, over its readers' ports.

use synod_auth::{Genesis, GenesisApp};
use synod_machine::View;
use synod_node::lanes::Maker;
use synod_types::ClusterId;

use super::{States, Taken, patience};
use crate::audit::auditor::Auditor;
use crate::audit::beginning::Begins;
use crate::audit::expectation::Claim;
use crate::audit::report::{Named, Report};
use crate::audit::source::Nodes;
use crate::audit::walk::{Until, Verifying, walk};
use crate::connection::Cluster;
use crate::exit::Failure;
use crate::programs::Programs;
use crate::reader::HttpNode;

/// How often a state is taken anew whose log was cut off meanwhile.
const TRIES: usize = 3;

/// Takes the states of all applications, and gives the nodes to ask for files.
pub(super) fn take(
    known: &Cluster,
    genesis: &Genesis,
    cluster: ClusterId,
    programs: &Programs,
    verifying: &Verifying,
) -> anyhow::Result<(States, Nodes)> {
    let mut nodes = Nodes::new(known.reader()?, patience(known))?;
    let (mut taken, mut silent) = (Vec::new(), Vec::new());
    let mut report = Report::silent();
    for app in &genesis.apps {
        let executor = programs.executor(app)?;
        let mut tries = 0;
        let (view, begins) = loop {
            tries += 1;
            let (claims, furthest) = claims(&nodes, app, &mut silent)?;
            nodes = nodes.preferring(&furthest);
            match state(&nodes, claims, genesis, cluster, executor.maker(), verifying, &mut report) {
                Ok(state) => break state,
                // Its log was cut, or the node stops: the others may have it.
                Err(why) if tries < TRIES && matches!(why.downcast_ref(), Some(Failure::Refused(_))) => {}
                Err(why) => return Err(why),
            }
        };
        taken.push(Taken { view, begins });
    }
    let names: Vec<&str> = nodes.nodes().iter().map(|node| node.name.as_str()).collect();
    let source = format!("the readers' ports of {}", names.join(", "));
    let warnings = silent.into_iter().map(|(node, why)| format!("{node} was not asked: {why}")).collect();
    Ok((States { taken, warnings, source }, nodes))
}

/// What the nodes that answer say of an application, and which of them is furthest.
fn claims(
    nodes: &Nodes,
    app: &GenesisApp,
    silent: &mut Vec<(String, String)>,
) -> anyhow::Result<(Vec<Claim>, HttpNode)> {
    let (mut claims, mut furthest) = (Vec::<Claim>::new(), None);
    let mut failed = None;
    for node in nodes.nodes() {
        match nodes.claim(node, app.ndx) {
            Ok(claim) => {
                if claims.iter().all(|other| other.applied < claim.applied) {
                    furthest = Some(node.clone());
                }
                claims.push(claim);
            }
            Err(why) => {
                if silent.iter().all(|(known, _)| *known != node.name) {
                    silent.push((node.name.clone(), format!("{why:#}")));
                }
                failed = Some(why);
            }
        }
    }
    match (furthest, failed) {
        (Some(furthest), _) => Ok((claims, furthest)),
        (None, Some(why)) => Err(why),
        (None, None) => Err(Failure::Usage("no readers' port is known".to_owned()).into()),
    }
}

/// The state of an application, from the first of the nodes.
fn state(
    nodes: &Nodes,
    mut claims: Vec<Claim>,
    genesis: &Genesis,
    cluster: ClusterId,
    maker: &Maker,
    verifying: &Verifying,
    report: &mut Report,
) -> anyhow::Result<(View, Begins)> {
    let app = maker.app();
    let broken = |broken: crate::audit::auditor::Break| Failure::Broken(broken.to_string());
    let (begins, machine) = match nodes.newest(genesis, cluster, maker)? {
        Some(found) => Begins::found(found, genesis, app, synod_types::Slot(0))?.map_err(broken)?,
        None if genesis.origin.is_some() => {
            let text = format!(
                "application {}: no majority has signed a snapshot yet; try again in a moment",
                app.ndx
            );
            return Err(Failure::Refused(text).into());
        }
        None => Begins::with_genesis(genesis, cluster, maker),
    };
    machine.begin();
    // Asked behind the snapshot, so that the log goes on from it.
    let furthest = nodes.claim(&nodes.nodes()[0], app.ndx)?;
    let (first, end, min) = (machine.state().applied, furthest.applied, furthest.state_ndx);
    claims.retain(|claim| claim.by != furthest.by && first <= claim.applied && claim.applied <= end);
    claims.push(furthest);
    let mut auditor = Auditor::new(machine, Vec::new(), claims).map_err(broken)?;
    let named = Named { ndx: app.ndx, name: app.name.clone(), kind: app.kind.clone() };
    let source = nodes.source(app.ndx, cluster, first, end, min);
    let walked = walk(source, verifying, &mut auditor, Until::TheEnd, |auditor, _| {
        let state = auditor.state();
        report.progress(&named, state.applied, end, state.state_ndx);
        Ok(())
    })?;
    walked.and_then(|()| auditor.finish()).map_err(broken)?;
    Ok((auditor.to_rest().map_err(broken)?, begins))
}
