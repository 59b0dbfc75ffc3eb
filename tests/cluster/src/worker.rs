//! Processes of applications beside the nodes of a cluster. Each is killed when it is dropped, and ends by itself when its node does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use synod_auth::GenesisApp;
use synod_types::{AppNdx, Certificate, StateNdx, wire};

use crate::founding::default_apps;
use crate::{Cluster, NAME, Readers};

/// What the process `synod-counter` finds in its environment: where to write which process it is, from which state on its
/// answers are not those of the others, and in the command of which state it dies, or hangs.
pub const PID_FILE: &str = "SYNOD_COUNTER_PID_FILE";
/// See [`PID_FILE`].
pub const LIES_FROM: &str = "SYNOD_COUNTER_LIES_FROM";
/// See [`PID_FILE`].
pub const DIES_AT: &str = "SYNOD_COUNTER_DIES_AT";
/// See [`PID_FILE`].
pub const HANGS_AT: &str = "SYNOD_COUNTER_HANGS_AT";
/// Whether it forgets a counter whenever it is given a state.
pub const FORGETS: &str = "SYNOD_COUNTER_FORGETS";
/// Whether it says what nobody understands.
pub const BABBLES: &str = "SYNOD_COUNTER_BABBLES";

/// The application that is in processes of its own.
pub const COUNTER: AppNdx = AppNdx(3);

/// The usual applications, and the counters.
pub fn apps() -> Vec<GenesisApp> {
    let counter = GenesisApp { ndx: COUNTER, name: "counter".to_owned(), kind: "counter".to_owned() };
    [default_apps(), vec![counter]].concat()
}

/// The state of the counters' newest snapshot that a majority has signed, as a node has it.
pub async fn certified(readers: &Readers, n: usize) -> Option<StateNdx> {
    let file = readers.get(n, &format!("/v1/apps/{COUNTER}/snapshot")).await.ok()?;
    // Its name and version end with a zero.
    let end = file.iter().position(|byte| *byte == 0).unwrap();
    let certificate: Certificate = wire::decode(&file[end + 1..]).unwrap();
    Some(certificate.checkpoint.state_ndx)
}

/// A process that serves an application to one node.
pub struct Worker {
    child: Child,
}

impl Worker {
    /// Starts one; it waits for its node.
    pub fn start(
        cluster: &Cluster,
        n: usize,
        command: &[OsString],
        environment: &[(&str, OsString)],
    ) -> Worker {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(cluster.path(&format!("{NAME}-worker-{n}.log")))
            .unwrap();
        let child = Command::new(&command[0])
            .args(&command[1..])
            .env("SYNOD_LANE", Worker::socket(cluster, n))
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Worker { child }
    }

    /// Where a node waits for it.
    pub fn socket(cluster: &Cluster, n: usize) -> PathBuf {
        cluster.data_dir(n).join("lanes").join("counter.sock")
    }

    /// Kills it with SIGKILL; it is gone when this returns.
    pub fn kill(&mut self) {
        // It has ended by itself where its node has.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}
