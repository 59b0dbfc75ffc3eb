//! Nodes that have come to another state than a majority: since when, and what was changed in that state, as a node says that has
//! come to the same one as the others.

use serde::Deserialize;
use serde::Serialize;
use synod_gateway::{AppStatus, ClusterStatus};
use synod_types::{AppNdx, StateNdx};

use super::Answered;
use crate::reader::Reader;

/// A node that differs in an application.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Diverged {
    node: String,
    app_ndx: AppNdx,
    app: String,
    /// The first state that differs, as far as is known.
    state_ndx: StateNdx,
    /// The keys or zones that were changed in that state, where it is remembered; empty also where the command was refused.
    changed: Option<Vec<String>>,
}

/// A page of what has changed of keys.
#[derive(Deserialize)]
struct Changes {
    states: Vec<State>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    state_ndx: StateNdx,
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    key: String,
}

/// A page of zones.
#[derive(Deserialize)]
struct Zones {
    zones: Vec<Zone>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Zone {
    zone: String,
    changed: StateNdx,
}

/// Every node that says so of itself, and what was changed there.
pub(super) async fn find(answered: &[Answered], reader: &Reader) -> Vec<Diverged> {
    let mut found = Vec::new();
    for status in answered.iter().filter_map(|(_, status)| status.as_ref().ok()) {
        for app in &status.apps {
            if let Some(state_ndx) = app.diverged {
                let changed = changed(app, state_ndx, reader).await;
                found.push(Diverged::of(status, app, state_ndx, changed));
            }
        }
    }
    found
}

/// What was changed in a state: keys, or zones that were not changed since. Nodes that differ do not answer, so that the
/// others do.
async fn changed(app: &AppStatus, state_ndx: StateNdx, reader: &Reader) -> Option<Vec<String>> {
    let of_app = format!("/v1/apps/{}", app.app_ndx);
    if app.kind == "zones" {
        let mut zones = Vec::new();
        let mut next = Some(format!("{of_app}/zones"));
        while let Some(path) = next {
            let page: Zones = reader.get(&path, &[]).await.ok()?.json().ok()?;
            let there = page.zones.into_iter().filter(|zone| zone.changed == state_ndx);
            zones.extend(there.map(|zone| zone.zone));
            next = page.next;
        }
        return Some(zones);
    }
    let before = state_ndx.0.checked_sub(1)?;
    let parameters = [("after", before.to_string()), ("limit", "1".to_owned()), ("wait", "0".to_owned())];
    let page: Changes = reader.get(&format!("{of_app}/watch"), &parameters).await.ok()?.json().ok()?;
    let there = page.states.into_iter().filter(|state| state.state_ndx == state_ndx);
    Some(there.flat_map(|state| state.changes).map(|change| change.key).collect())
}

impl Diverged {
    fn of(
        status: &ClusterStatus,
        app: &AppStatus,
        state_ndx: StateNdx,
        changed: Option<Vec<String>>,
    ) -> Diverged {
        let (node, name) = (status.node_name.clone(), app.name.clone());
        Diverged { node, app_ndx: app.app_ndx, app: name, state_ndx, changed }
    }

    /// What an operator has to know.
    pub(super) fn line(&self) -> String {
        let Diverged { node, app_ndx, app, state_ndx, changed } = self;
        let changed = match changed.as_deref() {
            Some([]) => "There, nothing was changed that is remembered".to_owned(),
            Some(names) => format!("There was changed: {}", names.join(", ")),
            None => "What was changed there is not remembered".to_owned(),
        };
        format!(
            "!! {node} differs from a majority in application {app_ndx} {app} from stateNdx {state_ndx} on, and answers nobody from it. \
             {changed} (synod audit tells who did). Keep its data directory for who looks into it; then, on its host: synod repair"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_state_and_keys() {
        let line = |changed: Option<&[&str]>| {
            let changed = changed.map(|names| names.iter().map(|&name| name.to_owned()).collect());
            let app = "kv".to_owned();
            let node = "node2".to_owned();
            Diverged { node, app_ndx: AppNdx(1), app, state_ndx: StateNdx(7), changed }.line()
        };
        let named = line(Some(&["a", "b/c"]));
        assert!(named.starts_with("!! node2 differs from a majority in application 1 kv from stateNdx 7 on"));
        assert!(named.contains("There was changed: a, b/c ("), "{named}");
        assert!(line(Some(&[])).contains("nothing was changed"));
        assert!(line(None).contains("not remembered"));
    }
}
