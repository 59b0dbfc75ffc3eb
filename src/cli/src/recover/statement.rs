//! What of a cluster is certain, and what may be lost.

use std::fmt;

use serde_json::{Value, json};
use synod_auth::GenesisApp;
use synod_machine::View;
use synod_types::{ClusterId, ContentKey, Slot};

use crate::audit::beginning::Begins;
use crate::survivors::Found;
use crate::time;

/// Files that are missing that are named.
const FILES_SHOWN_MAX: usize = 10;

/// Of all applications.
pub(super) struct Statement {
    pub(super) cluster: ClusterId,
    /// Whose data directories were looked at.
    pub(super) nodes: Vec<String>,
    pub(super) apps: Vec<AppStatement>,
    /// Files to which a state refers and that no node has.
    pub(super) missing_files: Vec<ContentKey>,
}

/// Of one.
pub(super) struct AppStatement {
    pub(super) app: GenesisApp,
    pub(super) begins: Begins,
    pub(super) found: Found,
    /// The state up to where it is certain.
    pub(super) certain: View,
    pub(super) offered: Offered,
    /// The state with what was included.
    pub(super) included: View,
}

/// What may have been chosen behind what is certain.
#[derive(Clone, Copy)]
pub(super) struct Offered {
    pub(super) slots: usize,
    pub(super) commands: usize,
    pub(super) is_included: bool,
}

impl AppStatement {
    /// The last slot that is taken.
    fn last(&self) -> Slot {
        self.included.applied
    }

    /// Whether everything that was acknowledged is taken.
    fn is_complete(&self) -> bool {
        let Found { unreadable, damaged, .. } = &self.found;
        let is_all = self.offered.is_included || self.offered.slots == 0;
        self.found.is_majority() && unreadable.is_none() && damaged.is_empty() && is_all
    }

    /// What may be lost, sentence by sentence.
    fn lost(&self) -> Vec<String> {
        let Found { unreadable, cut_off, voters, present, .. } = &self.found;
        let state_ndx = self.included.state_ndx;
        let mut lost = Vec::new();
        if let Some((from, to)) = unreadable {
            lost.push(format!("LOST: slots {from} to {to} are known to be chosen, and can be read in none of these directories"));
        }
        if let Some((from, to)) = cut_off {
            lost.push(format!(
                "slots up to {to} hold something that cannot be used, since slot {from} is missing: commands in them are lost unless they are \
                 signed anew"
            ));
        }
        if self.offered.slots > 0 && !self.offered.is_included {
            let Offered { slots, commands, .. } = self.offered;
            lost.push(format!("{commands} commands in {slots} slots that may have been acknowledged are left out, as --only-certain wants it"));
        }
        if self.is_complete() {
            lost.push(format!(
                "nothing that was acknowledged: these are {present} of {voters} nodes, more than half. Start them as they are, and the cluster \
                 goes on by itself"
            ));
        } else if !self.found.is_majority() {
            lost.push(format!(
                "whatever was acknowledged behind stateNdx {state_ndx} and only the lost nodes had: {present} of {voters} nodes are here. The \
                 last decree here is of {}",
                time::shown(self.included.time.0)
            ));
        } else {
            lost.push(format!("whatever was acknowledged behind stateNdx {state_ndx} in what is damaged"));
        }
        lost
    }

    fn json(&self) -> Value {
        let Found { unreadable, cut_off, damaged, voters, present } = &self.found;
        let state = |view: &View| {
            json!({
                "stateNdx": view.state_ndx,
                "slot": view.applied,
                "chain": view.chain.to_string(),
                "timeMs": view.time,
            })
        };
        json!({
            "appNdx": self.app.ndx,
            "name": self.app.name,
            "begins": self.begins.json(),
            "certain": state(&self.certain),
            "offered": {
                "slots": self.offered.slots,
                "commands": self.offered.commands,
                "included": self.offered.is_included,
            },
            "taken": state(&self.included),
            "voters": voters,
            "present": present,
            "complete": self.is_complete(),
            "unreadable": unreadable.map(|(from, to)| [from, to]),
            "cutOff": cut_off.map(|(from, to)| [from, to]),
            "damaged": damaged,
            "mayBeLost": self.lost(),
        })
    }
}

impl Statement {
    /// For programs.
    pub(super) fn json(&self, is_accepted: bool) -> Value {
        json!({
            "accepted": is_accepted,
            "cluster": self.cluster.to_string(),
            "nodes": self.nodes,
            "apps": self.apps.iter().map(AppStatement::json).collect::<Vec<_>>(),
            "missingFiles": self.missing_files.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

/// For people.
impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "What is left at {} of cluster {}:\n", self.nodes.join(", "), self.cluster)?;
        for one in &self.apps {
            let AppStatement { app, certain, offered, included, .. } = one;
            writeln!(f, "application {} ({}) {}", app.ndx, app.name, one.begins)?;
            if let Some(warning) = one.begins.warning() {
                writeln!(f, "  warning   {warning}")?;
            }
            writeln!(
                f,
                "  certain   everything up to stateNdx {}, slot {}, of {}",
                certain.state_ndx,
                certain.applied,
                time::shown(certain.time.0)
            )?;
            let Offered { slots, commands, is_included } = *offered;
            if slots > 0 && is_included {
                writeln!(
                    f,
                    "  included  {commands} commands in {slots} slots behind it, up to stateNdx {}, slot {}: accepted here, and perhaps never \
                     acknowledged",
                    included.state_ndx,
                    one.last()
                )?;
            }
            for what in &one.found.damaged {
                writeln!(f, "  damaged   {what}")?;
            }
            let lost = one.lost();
            let title = if one.is_complete() { "lost     " } else { "may be lost:" };
            for (nth, what) in lost.iter().enumerate() {
                let title = if nth == 0 { title } else { "         " };
                writeln!(f, "  {title} {what}")?;
            }
            writeln!(f)?;
        }
        if !self.missing_files.is_empty() {
            let shown: Vec<String> =
                self.missing_files.iter().take(FILES_SHOWN_MAX).map(ToString::to_string).collect();
            writeln!(
                f,
                "{} zone files are on none of these nodes; their zones answer SERVFAIL until they are published again: {}\n",
                self.missing_files.len(),
                shown.join(", ")
            )?;
        }
        Ok(())
    }
}
