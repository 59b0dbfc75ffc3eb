//! Which programs the nodes have, which levels they know, and what follows for a switch: put together from what every node
//! that answers says.

use serde_json::{Value, json};
use synod_gateway::{ClusterStatus, NodeState, NodeStatus, ProgramStatus, VersionRange};
use synod_types::{AppNdx, Level, NodeId, Versions};

use super::level;
use crate::member::Census;
use crate::table::{Table, printable};

/// What is to be known before a switch.
pub(super) struct Picture {
    nodes: Vec<Node>,
    apps: Vec<App>,
}

/// One node.
struct Node {
    name: String,
    is_member: bool,
    /// `None`: nobody who answers knows.
    program: Option<ProgramStatus>,
    /// Whether it is there: it answers, or another one has a session with it.
    is_there: bool,
    /// Why another node refuses it, or is refused.
    refused: Option<String>,
    /// The level of each application, as it says itself.
    levels: Option<Vec<(AppNdx, Level)>>,
}

/// One application.
pub(super) struct App {
    /// Its number.
    pub(super) ndx: AppNdx,
    /// Its name.
    pub(super) name: String,
    /// The highest level that a node says it is on.
    pub(super) level: Level,
}

impl Picture {
    pub(super) fn of(census: &Census) -> Picture {
        let statuses: Vec<&ClusterStatus> = census.statuses().collect();
        let latest = census.latest();
        let node = |known: &NodeStatus| {
            let own = statuses.iter().find(|status| status.node_id == known.id);
            let seen = || statuses.iter().flat_map(|status| &status.nodes).filter(|node| node.id == known.id);
            let own_entry = || own.and_then(|status| of_itself(status, known.id));
            Node {
                name: known.name.clone(),
                is_member: known.is_member,
                program: own_entry().or_else(|| seen().find_map(|node| node.program.clone())),
                is_there: own.is_some() || seen().any(|node| node.state == NodeState::Up),
                refused: seen().find_map(|node| node.refused.clone()),
                levels: own
                    .map(|status| status.apps.iter().map(|app| (app.app_ndx, level(app.level))).collect()),
            }
        };
        let apps = latest.apps.iter().map(|app| {
            let all = statuses.iter().flat_map(|status| &status.apps);
            let levels = all.filter(|one| one.app_ndx == app.app_ndx).map(|one| level(one.level));
            App { ndx: app.app_ndx, name: app.name.clone(), level: levels.max().unwrap_or_default() }
        });
        Picture { nodes: latest.nodes.iter().map(node).collect(), apps: apps.collect() }
    }

    pub(super) fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.iter()
    }

    fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_member)
    }

    /// The highest level that any member knows: what a switch would come to if nothing held it up.
    fn newest(&self) -> Level {
        let known = self.members().filter_map(|node| node.program.as_ref());
        let highest = known.map(|program| level(program.levels.max)).max();
        self.apps().map(|app| app.level).chain(highest).max().unwrap_or_default()
    }

    /// Members that keep the cluster from the newest level, each with the reason.
    fn holds_up(&self) -> Vec<String> {
        let newest = self.newest();
        let is_due = self.apps().any(|app| app.level < newest);
        let words = |node: &Node| match &node.program {
            _ if !node.is_there => {
                Some(format!("{} is not there: start it, or remove it (synod member remove)", node.name))
            }
            None => Some(format!("of {} nobody who answers knows the program", node.name)),
            Some(program) if program.levels.max < newest.0 => Some(format!(
                "{} has program {}, which knows level {} at most: install the newer one",
                node.name, program.version, program.levels.max
            )),
            Some(_) => None,
        };
        if is_due { self.members().filter_map(words).collect() } else { Vec::new() }
    }

    /// The level that all members know, if that is worth a switch.
    ///
    /// # Errors
    /// What holds it up, and what to do.
    pub(super) fn goal(&self) -> Result<Level, String> {
        let holds_up = self.holds_up();
        if holds_up.is_empty() {
            return Ok(self.newest());
        }
        Err(format!(
            "the switch to level {} waits for every member: {}. Nothing was ordered",
            self.newest(),
            holds_up.join("; ")
        ))
    }

    /// Whether there is nothing to do.
    pub(super) fn is_done(&self) -> bool {
        let newest = self.newest();
        self.apps().all(|app| app.level == newest) && self.nodes.iter().all(|node| node.refused.is_none())
    }

    /// Members that do not say of every application, or of `only`, that it is on this level.
    pub(super) fn not_switched(&self, goal: Level, only: Option<AppNdx>) -> Vec<String> {
        let is_on = |levels: &Vec<(AppNdx, Level)>| {
            levels
                .iter()
                .filter(|(ndx, _)| only.is_none_or(|only| only == *ndx))
                .all(|(_, level)| *level >= goal)
        };
        let behind = self.members().filter(|node| !node.levels.as_ref().is_some_and(is_on));
        behind.map(|node| node.name.clone()).collect()
    }

    pub(super) fn json(&self) -> Value {
        let range = |VersionRange { min, max }| json!({ "min": min, "max": max });
        let nodes = self.nodes.iter().map(|node| {
            json!({
                "name": node.name,
                "isMember": node.is_member,
                "isThere": node.is_there,
                "program": node.program.as_ref().map(|program| program.version.clone()),
                "wire": node.program.as_ref().map(|program| range(program.wire)),
                "levels": node.program.as_ref().map(|program| range(program.levels)),
                "refused": node.refused,
            })
        });
        let apps = self.apps().map(|app| json!({ "appNdx": app.ndx, "name": app.name, "level": app.level }));
        json!({
            "nodes": nodes.collect::<Vec<_>>(),
            "apps": apps.collect::<Vec<_>>(),
            "newest": self.newest(),
            "holdsUp": self.holds_up(),
            "isDone": self.is_done(),
        })
    }

    pub(super) fn text(&self) -> String {
        let newest = self.newest();
        let mut nodes = Table::new(&["NODE", "PROGRAM", "WIRE", "LEVELS", "MEMBER", "THERE"]);
        for node in &self.nodes {
            let cell = |of: &dyn Fn(&ProgramStatus) -> String| {
                node.program.as_ref().map_or_else(|| "-".to_owned(), of)
            };
            let word = |is: bool| if is { "yes" } else { "no" }.to_owned();
            nodes.row([
                node.name.clone(),
                cell(&|program| printable(&program.version)),
                cell(&|program| shown(program.wire)),
                cell(&|program| shown(program.levels)),
                word(node.is_member),
                word(node.is_there),
            ]);
        }
        let mut apps = Table::new(&["APP", "LEVEL", "TO COME"]);
        for app in self.apps() {
            let to_come = if app.level < newest { newest.to_string() } else { "-".to_owned() };
            apps.row([format!("{} {}", app.ndx, app.name), app.level.to_string(), to_come]);
        }
        let mut text = format!("{nodes}\n{apps}");
        for node in &self.nodes {
            if let Some(why) = &node.refused {
                text.push_str(&format!("\n! {}: {}", node.name, printable(why)));
            }
        }
        let holds_up = self.holds_up();
        for line in &holds_up {
            text.push_str(&format!("\n! {}", printable(line)));
        }
        text.push_str(&if self.apps().all(|app| app.level == newest) {
            format!("\nevery application is on level {newest}, the newest that any member knows")
        } else if holds_up.is_empty() {
            format!("\nevery member knows level {newest}: synod upgrade finish")
        } else {
            format!("\nthe switch to level {newest} waits for what is above")
        });
        text
    }
}

/// What a node says of its own program. One from before programs were told says only its version.
fn of_itself(status: &ClusterStatus, id: NodeId) -> Option<ProgramStatus> {
    status.nodes.iter().find(|node| node.id == id)?.program.clone()
}

fn shown(VersionRange { min, max }: VersionRange) -> String {
    Versions { min, max }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(max: u32) -> ProgramStatus {
        let range = |max| VersionRange { min: 1, max };
        ProgramStatus { version: format!("0.{max}.0"), wire: range(1), levels: range(max) }
    }

    fn node(name: &str, max: Option<u32>, is_there: bool, is_on: u32) -> Node {
        Node {
            name: name.to_owned(),
            is_member: true,
            program: max.map(program),
            is_there,
            refused: None,
            levels: is_there.then(|| vec![(AppNdx(1), Level(is_on)), (AppNdx(2), Level(is_on))]),
        }
    }

    fn picture(nodes: Vec<Node>, level: u32) -> Picture {
        let app =
            |(ndx, name): (u32, &str)| App { ndx: AppNdx(ndx), name: name.to_owned(), level: Level(level) };
        Picture { nodes, apps: [(1, "kv"), (2, "zones")].into_iter().map(app).collect() }
    }

    #[test]
    fn whoever_is_old_or_away_holds_the_switch_up() {
        let mut all = picture(
            vec![
                node("node1", Some(2), true, 1),
                node("node2", Some(1), true, 1),
                node("node3", Some(2), false, 1),
                node("node4", None, true, 1),
            ],
            1,
        );
        let why = all.goal().unwrap_err();
        for part in [
            "the switch to level 2 waits for every member",
            "node2 has program 0.1.0, which knows level 1 at most",
            "node3 is not there",
            "of node4 nobody who answers knows the program",
        ] {
            assert!(why.contains(part), "{why}");
        }
        assert!(!all.is_done());
        // Who is no member holds up nothing.
        all.nodes[1..].iter_mut().for_each(|node| node.is_member = false);
        assert_eq!(all.goal(), Ok(Level(2)));
    }

    #[test]
    fn where_all_are_new_there_is_a_switch_and_then_nothing() {
        let before = picture(vec![node("node1", Some(2), true, 1), node("node2", Some(2), true, 1)], 1);
        assert_eq!((before.goal(), before.is_done()), (Ok(Level(2)), false));
        assert_eq!(before.not_switched(Level(2), None), ["node1", "node2"]);
        let text = before.text();
        assert!(text.ends_with("every member knows level 2: synod upgrade finish"), "{text}");

        let after = picture(vec![node("node1", Some(2), true, 2), node("node2", Some(2), true, 2)], 2);
        assert_eq!((after.goal(), after.is_done()), (Ok(Level(2)), true));
        assert_eq!(after.not_switched(Level(2), None), [""; 0]);
        let expected = "\
NODE   PROGRAM  WIRE  LEVELS  MEMBER  THERE
node1  0.2.0    1     1-2     yes     yes
node2  0.2.0    1     1-2     yes     yes

APP      LEVEL  TO COME
1 kv     2      -
2 zones  2      -

every application is on level 2, the newest that any member knows";
        assert_eq!(after.text(), expected);
    }

    #[test]
    fn an_old_node_that_is_there_after_the_switch_is_told_apart() {
        let mut all = picture(vec![node("node1", Some(2), true, 2), node("node2", Some(1), false, 1)], 2);
        assert_eq!(all.goal(), Ok(Level(2)), "nothing is left to switch");
        all.nodes[1].refused = Some("no wire version in common".to_owned());
        assert!(!all.is_done());
        assert!(all.text().contains("! node2: no wire version in common"));
    }
}
