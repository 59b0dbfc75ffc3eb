//! A process of an application for a tool, which executes a log or reads a state where no node is. It is started for that and is
//! driven over the same lane as by a node. What it does not answer in time it does not answer: it is not started again.

use std::io;
use std::os::unix::net::{UnixListener as Listener, UnixStream};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use synod_auth::GenesisApp;
use synod_lane::lane::AttachError;
use synod_lane::{Lane, no_aside};
use synod_types::limits::LANE_START_MS_MAX;

use super::{LAST_WORDS, LaneError, Maker, bind, command, greet};
use crate::config::LaneConfig;

/// How often it is looked at whether the process has connected, or ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How many times as long as an answer a snapshot may take.
const KEEP_ANSWERS_MAX: u32 = 60;

/// A process that was started to serve one application to this one. It is ended when this is dropped.
pub struct Hired {
    lane: Arc<Lane>,
    app: GenesisApp,
    child: Child,
}

/// Why there is no such process.
#[derive(Debug, thiserror::Error)]
pub enum HireError {
    /// There is no socket for it.
    #[error(transparent)]
    Socket(#[from] LaneError),
    /// It cannot be started.
    #[error("cannot start {program}: {why}")]
    Start {
        /// What was to be started.
        program: String,
        /// What the system says.
        why: io::Error,
    },
    /// It did not connect.
    #[error("it ended ({0}) before it had connected to the socket that {variable} names", variable = super::SOCKET_VARIABLE)]
    Ended(ExitStatus),
    /// It did not connect in time.
    #[error("it did not connect within {} s to the socket that {variable} names", LANE_START_MS_MAX / 1000, variable = super::SOCKET_VARIABLE)]
    TooLate,
    /// The operating system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not the one that was expected, or does not speak as one does.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

impl Hired {
    /// Starts the configuration's command, with a socket in `dir`, which has to be nobody's but the owner's. Waits until it has
    /// connected.
    ///
    /// # Errors
    /// [`HireError`].
    pub fn start(config: &LaneConfig, app: &GenesisApp, dir: &Path) -> Result<Hired, HireError> {
        let socket = std::path::absolute(dir)?.join("lane.sock");
        let listener = bind(&socket, None).map_err(|why| LaneError::Socket { path: socket.clone(), why })?;
        let mut command = command(&config.command, &socket)?;
        let program = config.command.first().cloned().unwrap_or_default();
        let child = command.spawn().map_err(|why| HireError::Start { program, why })?;
        let lane = Lane::within(&app.kind, config.answer.saturating_mul(KEEP_ANSWERS_MAX), no_aside, |_| ());
        let mut hired = Hired { lane, app: app.clone(), child };
        let stream = hired.connected(&listener)?;
        greet(&hired.lane, app, config.answer, stream)?;
        Ok(hired)
    }

    /// Makes the application that it serves.
    pub fn maker(&self) -> Maker {
        Maker::at(&self.lane, &self.app)
    }

    fn connected(&mut self, listener: &Listener) -> Result<UnixStream, HireError> {
        let begun = Instant::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) => return Err(why.into()),
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(HireError::Ended(status));
            }
            if begun.elapsed() > Duration::from_millis(LANE_START_MS_MAX) {
                return Err(HireError::TooLate);
            }
            sleep(LOOK_AGAIN);
        }
    }

    fn has_ended(&mut self) -> bool {
        // Whose end cannot be told is killed.
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Hired {
    fn drop(&mut self) {
        self.lane.close();
        let begun = Instant::now();
        while !self.has_ended() {
            if begun.elapsed() > LAST_WORDS {
                // Both fail only where it has ended.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            sleep(LOOK_AGAIN);
        }
    }
}
