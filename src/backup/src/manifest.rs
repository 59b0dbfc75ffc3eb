//! What a backup holds, as its maker has signed it.

use serde::{Deserialize, Serialize};
use synod_types::{AppNdx, ClusterId, Digest, Slot, StateNdx, TimeMs};

/// What the field `format` says.
pub(crate) const FORMAT: &str = "synod/backup/v1";

/// What is in a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Manifest {
    pub(crate) format: String,
    /// The program that made it, and its version.
    pub program: String,
    /// When.
    pub made_ms: TimeMs,
    /// From what: readers' ports, or a data directory.
    pub source: String,
    /// Of which cluster.
    #[serde(with = "shown")]
    pub cluster: ClusterId,
    /// What people call it.
    pub cluster_name: String,
    /// The genesis document.
    pub genesis: Section,
    /// The applications, in the order of genesis.
    pub apps: Vec<BackedUp>,
    /// The files to which the states refer.
    pub files: Files,
    /// What whoever restores it should know.
    pub warnings: Vec<String>,
}

/// A part of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// How long it is.
    pub bytes: u64,
    /// SHA3-256.
    #[serde(with = "shown")]
    pub digest: Digest,
}

/// All files, one behind the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// How many there are.
    pub count: u64,
    /// Bytes of all of them, with a key and a length before each.
    pub bytes: u64,
    /// SHA3-256 of that.
    #[serde(with = "shown")]
    pub digest: Digest,
}

/// One application.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BackedUp {
    /// Its number.
    pub app_ndx: AppNdx,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// The last slot that is in the state.
    pub slot: Slot,
    /// How many commands and expiries had been executed.
    pub state_ndx: StateNdx,
    /// The hash chain there.
    #[serde(with = "shown")]
    pub chain: Digest,
    /// The time of the last decree.
    pub time_ms: TimeMs,
    /// The state, a snapshot.
    pub state: Section,
    /// From what the state was made.
    pub begins: Begins,
    /// To how many files it refers.
    pub files: u64,
    /// Bytes of these.
    pub file_bytes: u64,
}

/// The state from which the log was executed, to the one that is in the backup; all signatures behind it were verified.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Begins {
    /// In words: genesis, or a snapshot and who vouches for it.
    pub with: String,
    /// Its last slot.
    pub slot: Slot,
    /// Its number.
    pub state_ndx: StateNdx,
    /// Who has signed it, in the words of genesis or as ids.
    pub signed_by: Vec<String>,
}

impl Manifest {
    /// An empty one, to be filled in.
    pub fn new(program: String, source: String, cluster: ClusterId, cluster_name: String) -> Manifest {
        let (genesis, made_ms) = (Section { bytes: 0, digest: Digest::default() }, TimeMs(0));
        let files = Files { count: 0, bytes: 0, digest: Digest::default() };
        let (format, apps, warnings) = (FORMAT.to_owned(), Vec::new(), Vec::new());
        Manifest { format, program, made_ms, source, cluster, cluster_name, genesis, apps, files, warnings }
    }
}

/// Digests and ids as text.
mod shown {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
