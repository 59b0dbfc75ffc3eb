//! Where the processes of applications get to this node: a Unix socket for each application in a process of its own, who may
//! connect to it, and the processes that this node starts itself.
//!
//! The rights of the socket keep others out, and who connects is asked of the kernel beside that (`SO_PEERCRED`): whoever may get to
//! the file by a mistake in its rights does not get in all the same.
//!
//! [`maker`] says where an application is; [`hired`] is a process that a tool has started for itself.

mod hired;
mod maker;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::future::pending;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener as Listener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use synod_auth::{Genesis, GenesisApp};
use synod_lane::lane::AttachError;
use synod_lane::message::{Hello, VERSION, Welcome};
use synod_lane::{Aside, Lane, Link, LinkError, Presence};
use synod_types::AppNdx;
use synod_types::limits::{
    LANE_HELLO_MS_MAX, LANE_RESTART_MS_MAX, LANE_RESTART_MS_MIN, SOCKET_PATH_BYTES_MAX,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, watch};
use tokio::task::block_in_place;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tracing::{error, info, warn};

use crate::config::{Config, LaneConfig};
use crate::tasks::Tasks;

pub use self::hired::{HireError, Hired};
pub use self::maker::Maker;

/// Where a process finds the path of its socket.
pub const SOCKET_VARIABLE: &str = "SYNOD_LANE";
/// Where the sockets are in a data directory.
pub(crate) const FOLDER: &str = "lanes";
/// Connections of one lane that have not said yet who they are.
const GREETINGS_MAX: usize = 4;
/// How often it is looked at whether a process that is not asked anything is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a process that was given up gets to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A process that was there for so long is started again at once when it ends.
const STEADY: Duration = Duration::from_secs(10);
/// How long accepting rests after the system had no descriptor or memory for it.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Why there is no lane.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The configuration makes no sense.
    #[error("lanes: {0}")]
    Config(String),
    /// The socket cannot be made.
    #[error("cannot make the socket {}: {why}", .path.display())]
    Socket {
        /// Where it was to be.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
}

/// All lanes of a node.
#[derive(Default)]
pub(crate) struct Lanes(BTreeMap<AppNdx, Open>);

struct Open {
    lane: Arc<Lane>,
    presence: watch::Receiver<Presence>,
    listener: Listener,
    socket: PathBuf,
    admitted: Admitted,
    app: GenesisApp,
    config: LaneConfig,
}

/// As whom a process may run that connects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Admitted {
    users: Vec<u32>,
    group: Option<u32>,
}

impl Admitted {
    /// The node's own user, and these.
    pub(crate) fn of(users: &[u32], group: Option<u32>) -> Admitted {
        let own = rustix::process::geteuid().as_raw();
        Admitted { users: users.iter().copied().chain([own]).collect(), group }
    }

    /// Whether whoever has connected may; who may not is logged, as one who would be among `whom`.
    pub(crate) fn admits_peer(&self, stream: &UnixStream, whom: &str) -> bool {
        match stream.peer_cred() {
            Ok(peer) if self.admits(peer.uid(), peer.gid()) => true,
            Ok(peer) => {
                let (user, group) = (peer.uid(), peer.gid());
                warn!(user, group, "a process of this user may not be one of the {whom}");
                false
            }
            Err(why) => {
                warn!(%why, "whose a process is that would be one of the {whom} cannot be told");
                false
            }
        }
    }

    fn admits(&self, user: u32, group: u32) -> bool {
        self.users.contains(&user) || self.group == Some(group)
    }
}

impl Lanes {
    /// Makes the sockets; nobody is let in yet.
    ///
    /// # Errors
    /// [`LaneError`].
    pub(crate) fn open(config: &Config, genesis: &Genesis) -> Result<Lanes, LaneError> {
        let mut lanes = BTreeMap::new();
        for one in &config.lanes {
            let app = one.app_of(genesis).map_err(LaneError::Config)?;
            if lanes.contains_key(&app.ndx) {
                return Err(LaneError::Config(format!("application {} has two of them", app.ndx)));
            }
            lanes.insert(app.ndx, open(one, app, &config.data_dir)?);
        }
        Ok(Lanes(lanes))
    }

    /// Makes applications for this one of genesis.
    pub(crate) fn maker(&self, app: &GenesisApp) -> Maker {
        match self.0.get(&app.ndx) {
            Some(open) => Maker::at(&open.lane, app),
            None => Maker::of_program(app),
        }
    }

    /// Whether an application's process is there.
    pub(crate) fn presence(&self, app: AppNdx) -> Option<watch::Receiver<Presence>> {
        self.0.get(&app).map(|open| open.presence.clone())
    }

    /// All of them, to be closed when the node stops.
    pub(crate) fn all(&self) -> Vec<Arc<Lane>> {
        self.0.values().map(|open| Arc::clone(&open.lane)).collect()
    }

    /// Lets processes in, and starts those that this node is to start.
    ///
    /// # Errors
    /// [`LaneError::Socket`].
    pub(crate) fn start(self, tasks: &mut Tasks) -> Result<(), LaneError> {
        for (ndx, open) in self.0 {
            let Open { lane, presence, listener, socket, admitted, app, config } = open;
            let listener = UnixListener::from_std(listener)
                .map_err(|why| LaneError::Socket { path: socket.clone(), why })?;
            let porter = Porter { lane: Arc::clone(&lane), app, admitted, answer: config.answer };
            tasks.spawn(format!("lane of application {ndx}"), Arc::new(porter).run(listener));
            if !config.command.is_empty() {
                let keeper = Keeper { ndx, command: config.command, socket, presence };
                tasks.spawn(format!("keeper of application {ndx}'s process"), keeper.run());
            }
        }
        Ok(())
    }
}

fn open(config: &LaneConfig, app: &GenesisApp, data_dir: &Path) -> Result<Open, LaneError> {
    let name = format!("{}.sock", app.name);
    let (socket, listener) = listen(config.socket.as_deref(), data_dir, &name, config.group)?;
    let (tell, presence) = watch::channel(Presence::Away);
    let labels = [("app", app.ndx.to_string())];
    let aside: Aside = |work| block_in_place(work);
    let lane = Lane::new(&app.kind, aside, move |presence| {
        let is_there = presence == Presence::There;
        metrics::gauge!("synod_lane_up", &labels).set(if is_there { 1.0 } else { 0.0 });
        if is_there {
            metrics::counter!("synod_lane_processes_total", &labels).increment(1);
        }
        tell.send_replace(presence);
    });
    let admitted = Admitted::of(&config.users, config.group);
    Ok(Open { lane, presence, listener, socket, admitted, app: app.clone(), config: config.clone() })
}

/// A socket at this place, or, where none is given, under this name in the data directory.
pub(crate) fn listen(
    place: Option<&Path>,
    data_dir: &Path,
    name: &str,
    group: Option<u32>,
) -> Result<(PathBuf, Listener), LaneError> {
    let folder = data_dir.join(FOLDER);
    let socket = place.map_or_else(|| folder.join(name), Path::to_owned);
    let failed = |why| LaneError::Socket { path: socket.clone(), why };
    if place.is_none() {
        let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder);
        made.map_err(failed)?;
    }
    let socket = std::path::absolute(&socket).map_err(failed)?;
    let listener = bind(&socket, group).map_err(|why| LaneError::Socket { path: socket.clone(), why })?;
    Ok((socket, listener))
}

/// A socket that nobody else could ever connect to: it gets its rights before it gets its name.
fn bind(path: &Path, group: Option<u32>) -> io::Result<Listener> {
    let mut new = path.as_os_str().to_owned();
    new.push("~");
    if new.len() > SOCKET_PATH_BYTES_MAX {
        let text = format!(
            "its path has more than {} bytes: give a shorter one (socket)",
            SOCKET_PATH_BYTES_MAX - 1
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match fs::remove_file(&new) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        Ok(()) | Err(_) => {}
    }
    let listener = Listener::bind(&new)?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(&new, Permissions::from_mode(mode))?;
    if group.is_some() {
        chown(&new, None, group)?;
    }
    fs::rename(&new, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Lets processes in that serve one application.
struct Porter {
    lane: Arc<Lane>,
    app: GenesisApp,
    admitted: Admitted,
    answer: Duration,
}

impl Porter {
    async fn run(self: Arc<Porter>, listener: UnixListener) {
        let greetings = Arc::new(Semaphore::new(GREETINGS_MAX));
        let mut looking = tokio::time::interval(LOOK_EVERY);
        looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let place = Arc::clone(&greetings).acquire_owned();
            let place = place.await.expect("nobody closes it");
            let accepted = loop {
                tokio::select! {
                    accepted = listener.accept() => break accepted,
                    _ = looking.tick() => self.lane.look(),
                }
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(why) => {
                    warn!(app = %self.app.ndx, %why, "cannot take the connection of an application's process");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            if !self.admitted.admits_peer(&stream, &format!("processes of application {}", self.app.ndx)) {
                continue;
            }
            let porter = Arc::clone(&self);
            // Not waited for: it ends within the time that a process has for its Hello and its answers.
            tokio::task::spawn_blocking(move || {
                let _place = place;
                let taken = stream.into_std().and_then(|stream| {
                    stream.set_nonblocking(false)?;
                    Ok(stream)
                });
                let taken = taken.map_err(|why| AttachError::Link(LinkError::Io(why)));
                match taken.and_then(|stream| greet(&porter.lane, &porter.app, porter.answer, stream)) {
                    Ok(program) => {
                        info!(app = %porter.app.ndx, program, "the application's process has connected")
                    }
                    Err(why) => {
                        warn!(app = %porter.app.ndx, %why, "a process that would serve the application is refused")
                    }
                }
            });
        }
    }
}

/// Hears who connects, and takes it if it is what is wanted.
fn greet(
    lane: &Lane,
    app: &GenesisApp,
    answer: Duration,
    stream: std::os::unix::net::UnixStream,
) -> Result<String, AttachError> {
    let patience = Duration::from_millis(LANE_HELLO_MS_MAX);
    let (mut link, hello): (Link, Hello) = Link::accept(stream, patience)?;
    link.set_patience(Some(answer))?;
    let (lowest, highest) = hello.versions;
    let unwanted = if !(lowest..=highest).contains(&VERSION) {
        Some(format!("it speaks versions {lowest} to {highest}, and this program {VERSION}"))
    } else if hello.kind != app.kind {
        Some(format!("it serves the kind {:?}, and this application is of kind {:?}", hello.kind, app.kind))
    } else {
        None
    };
    if let Some(why) = unwanted {
        return Err(Lane::turn_away(link, AttachError::Unwanted(why)));
    }
    let welcome = Welcome { version: VERSION, app: app.ndx.0, name: app.name.clone() };
    lane.attach(link, welcome, hello.checks)?;
    Ok(hello.program)
}

/// What starts an application's process, which gets to its node by this socket.
fn command(command: &[String], socket: &Path) -> io::Result<std::process::Command> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // What this process prints is for programs, so what its children print goes where it logs.
    let log = io::stderr().as_fd().try_clone_to_owned()?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).env(SOCKET_VARIABLE, socket);
    command.stdin(Stdio::null()).stdout(Stdio::from(log));
    Ok(command)
}

/// Starts an application's process, and starts it again.
struct Keeper {
    ndx: AppNdx,
    command: Vec<String>,
    socket: PathBuf,
    presence: watch::Receiver<Presence>,
}

impl Keeper {
    async fn run(mut self) {
        let (least, most) =
            (Duration::from_millis(LANE_RESTART_MS_MIN), Duration::from_millis(LANE_RESTART_MS_MAX));
        let mut wait = least;
        loop {
            let begun = Instant::now();
            match self.spawn() {
                Ok(mut child) => {
                    let ended = self.until_end(&mut child).await;
                    warn!(app = %self.ndx, ended, "the application's process ended; it is started again");
                }
                Err(why) => {
                    error!(app = %self.ndx, command = self.command.join(" "), %why, "cannot start the application's process");
                }
            }
            wait = if begun.elapsed() >= STEADY { least } else { most.min(wait * 2) };
            tokio::time::sleep(wait).await;
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        Command::from(command(&self.command, &self.socket)?).kill_on_drop(true).spawn()
    }

    /// Returns when the process has ended; ends it, where it was given up.
    async fn until_end(&mut self, child: &mut Child) -> String {
        let presence = &mut self.presence;
        let given_up = async {
            // The sender is in the lane, which others have.
            if presence.wait_for(|presence| *presence == Presence::There).await.is_ok() {
                let _ = presence.wait_for(|presence| *presence != Presence::There).await;
            } else {
                pending().await
            }
        };
        let words = |ended: io::Result<std::process::ExitStatus>| match ended {
            Ok(status) => status.to_string(),
            Err(why) => why.to_string(),
        };
        tokio::select! {
            ended = child.wait() => return words(ended),
            () = given_up => {}
        }
        if let Ok(ended) = timeout(LAST_WORDS, child.wait()).await {
            return words(ended);
        }
        warn!(app = %self.ndx, "the application's process was given up and is still there; it is killed");
        // It fails only where it has ended.
        let _ = child.kill().await;
        words(child.wait().await)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn only_those_who_were_named_get_in() {
        let admitted = Admitted { users: vec![1000, 7], group: None };
        assert!(admitted.admits(7, 99) && admitted.admits(1000, 0));
        assert!(!admitted.admits(0, 7), "root is nobody here, unless the node runs as root");
        let group = Admitted { users: Vec::new(), group: Some(50) };
        assert!(group.admits(3, 50) && !group.admits(50, 3));
    }

    #[test]
    fn a_socket_is_the_owners_alone_and_takes_the_place_of_an_old_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.sock");
        let mode = || fs::metadata(&path).expect("it is there").mode() & 0o777;
        let first = bind(&path, None).expect("it can be made");
        assert_eq!(mode(), 0o600);
        drop(first);
        let own = rustix::process::getegid().as_raw();
        let _second = bind(&path, Some(own)).expect("it can be made again");
        assert_eq!((mode(), fs::metadata(&path).expect("it is there").gid()), (0o660, own));
        let long = dir.path().join("x".repeat(120));
        let why = bind(&long, None).expect_err("too long").to_string();
        assert!(why.contains("give a shorter one"), "{why}");
    }
}
