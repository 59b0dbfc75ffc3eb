//! The `lanes` sections: which applications are processes of their own, and how these get to the node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_auth::{Genesis, GenesisApp};
use synod_types::limits::{APPS_MAX, LANE_ANSWER_MS, LANE_ANSWER_MS_MAX, SOCKET_PATH_BYTES_MAX};

use super::document::Value;
use super::fields::Fields;
use super::mistakes::Mistakes;
use super::{Config, Draft};
use crate::apps;
use crate::fronts::SOCKET;
use crate::lanes::FOLDER;

/// The shortest time that an answer may be allowed to take.
const ANSWER_MS_MIN: u64 = 100;
/// Users that a lane can name.
const USERS_MAX: usize = 64;

/// An application in a process of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneConfig {
    /// The number or name of the application.
    pub app: String,
    /// The Unix socket on which the node waits for its process; `None`: in the data directory, under the application's name.
    pub socket: Option<PathBuf>,
    /// The program that the node starts, and starts again, with its arguments; empty: somebody else does.
    pub command: Vec<String>,
    /// As whom its process may run, beside the node's own user, by number.
    pub users: Vec<u32>,
    /// The group that may use the socket, by number; `None`: no group may.
    pub group: Option<u32>,
    /// How long its process may take for one answer.
    pub answer: Duration,
}

/// Front ends in processes of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrontEndsConfig {
    /// The Unix socket at which they find the node; `None`: in the data directory.
    pub socket: Option<PathBuf>,
    /// As whom they may run, beside the node's own user, by number.
    pub users: Vec<u32>,
    /// The group that may use the socket, by number; `None`: no group may.
    pub group: Option<u32>,
}

impl Config {
    /// Where front ends in processes of their own find the node; `None`: nowhere.
    pub fn front_ends_socket(&self) -> Option<PathBuf> {
        let front_ends = self.front_ends.as_ref()?;
        Some(front_ends.socket.clone().unwrap_or_else(|| self.data_dir.join(FOLDER).join(SOCKET)))
    }
}

impl LaneConfig {
    /// The application that is meant, which must be one that a lane can serve.
    ///
    /// # Errors
    /// What is wrong with `app`.
    pub fn app_of<'a>(&self, genesis: &'a Genesis) -> Result<&'a GenesisApp, String> {
        let number = self.app.parse().ok();
        let by_number = genesis.apps.iter().find(|app| Some(app.ndx) == number);
        let found = by_number.or_else(|| genesis.apps.iter().find(|app| app.name == self.app));
        let app = found.ok_or_else(|| format!("genesis names no application {:?}", self.app))?;
        if apps::KINDS.contains(&app.kind.as_str()) {
            return Err(format!(
                "application {} is of kind {:?}, which is in this program: it needs no lane",
                app.ndx, app.kind
            ));
        }
        if app.ndx == apps::home(genesis) {
            return Err(format!(
                "application {} has the lowest number, so it keeps the members, which a node needs before any process is there: give \
                 that number to an application of kind kv or zones",
                app.ndx
            ));
        }
        Ok(app)
    }
}

impl Draft {
    /// All lanes.
    pub(super) fn read_lanes(
        fields: &mut Fields,
        directory: &Path,
        mistakes: &mut Mistakes,
    ) -> Vec<LaneConfig> {
        let lanes = fields.list("lanes", mistakes);
        if lanes.len() > APPS_MAX {
            mistakes.add("lanes", format!("there are {}; a cluster has at most {APPS_MAX}", lanes.len()));
        }
        let lanes = lanes.into_iter().enumerate();
        lanes.filter_map(|(n, lane)| read_lane(n, lane, directory, mistakes)).collect()
    }
}

impl Draft {
    /// Where front ends find the node, if the section is there.
    pub(super) fn read_front_ends(
        fields: &mut Fields,
        directory: &Path,
        mistakes: &mut Mistakes,
    ) -> Option<FrontEndsConfig> {
        let is_given = fields.has("front_ends");
        let mut section = fields.table("front_ends", mistakes);
        let socket = read_socket(&mut section, directory, mistakes);
        let (users, group) = read_admitted(&mut section, mistakes);
        section.finish(mistakes);
        is_given.then_some(FrontEndsConfig { socket, users, group })
    }
}

pub(super) fn read_socket(fields: &mut Fields, directory: &Path, mistakes: &mut Mistakes) -> Option<PathBuf> {
    let socket = fields.file("socket", directory, mistakes)?;
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        mistakes.add(
            &fields.path("socket"),
            format!("has more than {SOCKET_PATH_BYTES_MAX} bytes, which is what a socket's path can have"),
        );
    }
    Some(socket)
}

fn read_admitted(fields: &mut Fields, mistakes: &mut Mistakes) -> (Vec<u32>, Option<u32>) {
    let users = fields.list("users", mistakes);
    let users = numbers(&fields.path("users"), users, mistakes);
    let group = fields.number("group", 0..=u32::MAX.into(), mistakes);
    (users, group.and_then(|group| u32::try_from(group).ok()))
}

fn read_lane(n: usize, lane: Value, directory: &Path, mistakes: &mut Mistakes) -> Option<LaneConfig> {
    let mut lane = Fields::of(&format!("lanes[{n}]"), lane, mistakes);
    if !lane.has("app") {
        mistakes.add(&lane.path("app"), "is missing; it is needed, for example \"counter\"");
    }
    let app = lane.name_or_number("app", mistakes);
    let socket = read_socket(&mut lane, directory, mistakes);
    let command = lane.list("command", mistakes);
    let command = Fields::texts(&lane.path("command"), command, mistakes);
    let (users, group) = read_admitted(&mut lane, mistakes);
    let answer = lane.duration("answer", ANSWER_MS_MIN..=LANE_ANSWER_MS_MAX, mistakes);
    lane.finish(mistakes);
    Some(LaneConfig {
        app: app?,
        socket,
        command: command.into_iter().map(|(_, text)| text).collect(),
        users,
        group,
        answer: answer.unwrap_or(Duration::from_millis(LANE_ANSWER_MS)),
    })
}

fn numbers(path: &str, list: Vec<Value>, mistakes: &mut Mistakes) -> Vec<u32> {
    if list.len() > USERS_MAX {
        mistakes.add(path, format!("has {} entries, and at most {USERS_MAX} are allowed", list.len()));
    }
    let mut numbers = Vec::new();
    for (n, value) in list.into_iter().enumerate() {
        match value {
            Value::Integer(number) if u32::try_from(number).is_ok() => {
                numbers.extend(u32::try_from(number));
            }
            other => {
                let problem = format!("is {}, and the number of a user is expected", other.kind());
                mistakes.add(&format!("{path}[{n}]"), problem);
            }
        }
    }
    numbers
}
