//! What is left of a divergence: a small file in the data directory that says what was found, so that a node that is started again
//! does not answer from a state that is known to be wrong, until an operator has looked and has it repaired.
//!
//! `diverged-APP` is evidence, and fences the application. `synod repair` makes it `repair-APP`: at its next start the node
//! forgets its snapshots of that application, makes the state again from the log, or gets it from the others, and keeps the file
//! as `repaired-APP`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use synod_gateway::Fence;
use synod_types::{AppNdx, StateNdx};

use crate::durable::replace;

/// What is written down, as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The application.
    pub app_ndx: u32,
    /// The first state that is known to differ.
    pub state_ndx: u64,
    /// Whether the one before it was the same.
    pub is_exact: bool,
    /// The chain value of that state on this node, if it is remembered.
    pub chain: Option<String>,
    /// Which nodes came to another one.
    pub others: Vec<String>,
}

impl Evidence {
    /// Writes it down.
    pub(crate) fn write(&self, data_dir: &Path) -> io::Result<()> {
        replace(&at(data_dir, DIVERGED, AppNdx(self.app_ndx)), &serde_json::to_vec_pretty(self)?)
    }

    /// What was written down of an application that is not repaired.
    pub fn find(data_dir: &Path, app: AppNdx) -> Option<Evidence> {
        serde_json::from_slice(&fs::read(at(data_dir, DIVERGED, app)).ok()?).ok()
    }

    pub(crate) fn fence(&self) -> Fence {
        Fence { state_ndx: StateNdx(self.state_ndx), is_exact: self.is_exact }
    }
}

const DIVERGED: &str = "diverged";
const REPAIR: &str = "repair";
const REPAIRED: &str = "repaired";

fn at(data_dir: &Path, what: &str, app: AppNdx) -> PathBuf {
    data_dir.join(format!("{what}-{app}"))
}

/// Has a node rebuild at its next start what has diverged. Says what that is.
///
/// # Errors
/// The operating system's.
pub fn repair(data_dir: &Path) -> io::Result<Vec<Evidence>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let name = entry?.file_name();
        let app = name.to_str().and_then(|name| name.strip_prefix(DIVERGED)?.strip_prefix('-')?.parse().ok());
        if let Some((app, evidence)) = app.and_then(|app| Some((app, Evidence::find(data_dir, app)?))) {
            fs::rename(at(data_dir, DIVERGED, app), at(data_dir, REPAIR, app))?;
            found.push(evidence);
        }
    }
    File::open(data_dir)?.sync_all()?;
    Ok(found)
}

/// Whether the state of an application is to be made again.
pub(crate) fn is_to_repair(data_dir: &Path, app: AppNdx) -> bool {
    at(data_dir, REPAIR, app).exists()
}

/// It is being made again, from nothing that was wrong.
pub(crate) fn is_repaired(data_dir: &Path, app: AppNdx) -> io::Result<()> {
    fs::rename(at(data_dir, REPAIR, app), at(data_dir, REPAIRED, app))?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_golden() {
        let evidence = Evidence {
            app_ndx: 7,
            state_ndx: 40,
            is_exact: true,
            chain: Some("ab".repeat(32)),
            others: vec!["node1".to_owned(), "node3".to_owned()],
        };
        let dir = tempfile::tempdir().unwrap();
        evidence.write(dir.path()).unwrap();
        let made = fs::read(at(dir.path(), DIVERGED, AppNdx(7))).unwrap();
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/diverged.json");
        synod_golden::holds_file(golden, &made);
        fs::copy(golden, at(dir.path(), DIVERGED, AppNdx(7))).unwrap();
        assert_eq!(Evidence::find(dir.path(), AppNdx(7)), Some(evidence));
    }

    #[test]
    fn evidence_stays_until_it_is_repaired_and_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let evidence = Evidence {
            app_ndx: 7,
            state_ndx: 40,
            is_exact: true,
            chain: Some("ab".to_owned()),
            others: vec!["node1".to_owned()],
        };
        evidence.write(dir.path()).unwrap();
        assert_eq!(Evidence::find(dir.path(), AppNdx(7)), Some(evidence.clone()));
        assert!(!is_to_repair(dir.path(), AppNdx(7)));
        assert_eq!(repair(dir.path()).unwrap(), [evidence]);
        assert!(is_to_repair(dir.path(), AppNdx(7)) && Evidence::find(dir.path(), AppNdx(7)).is_none());
        is_repaired(dir.path(), AppNdx(7)).unwrap();
        assert!(!is_to_repair(dir.path(), AppNdx(7)) && dir.path().join("repaired-7").exists());
        assert_eq!(repair(dir.path()).unwrap(), []);
    }
}
