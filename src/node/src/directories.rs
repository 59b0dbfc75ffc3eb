//! Which data directory is whose. A node whose disk was lost, and that comes back with an empty directory under its old key, has
//! forgotten what it promised: it could promise the opposite and so undo what a majority has acknowledged. So each data
//! directory has a random name of its own, nodes tell it when a session opens, and remember that of each other one. One that comes
//! with another name than before is refused, and stops when it hears that of most.
//!
//! Two files in the data directory: `name` with its name, and `names` with a line for each other node, id and name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use synod_mesh::PeerStatus;
use synod_types::NodeId;
use synod_types::configuration::is_majority;
use synod_types::session::SessionErrorCode;
use tracing::{error, info};

use crate::durable::replace;

const OWN: &str = "name";
const OTHERS: &str = "names";

/// The name of a data directory.
pub(crate) type Name = [u8; 16];

/// The names of the other nodes' data directories.
#[derive(Debug)]
pub(crate) struct Directories {
    dir: PathBuf,
    known: Mutex<BTreeMap<NodeId, Name>>,
}

impl Directories {
    /// Finds the name of this data directory, or gives it one, and what is known of the others.
    pub(crate) fn open(dir: &Path) -> io::Result<(Name, Directories)> {
        let name = match fs::read_to_string(dir.join(OWN)) {
            Ok(text) => parse(text.trim()).ok_or_else(|| damaged(&dir.join(OWN)))?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                let name = rand::random();
                replace(&dir.join(OWN), format!("{}\n", hex::encode(name)).as_bytes())?;
                name
            }
            Err(why) => return Err(why),
        };
        let known = match fs::read_to_string(dir.join(OTHERS)) {
            Ok(text) => {
                let line = |line: &str| {
                    let (node, name) = line.split_once(' ')?;
                    Some((node.parse().ok()?, parse(name)?))
                };
                text.lines().map(line).collect::<Option<_>>().ok_or_else(|| damaged(&dir.join(OTHERS)))?
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(why) => return Err(why),
        };
        Ok((name, Directories { dir: dir.to_owned(), known: Mutex::new(known) }))
    }
}

impl synod_mesh::Directories for Directories {
    fn is_known(&self, node: NodeId, directory: Name) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = known.get(&node) {
            if *before != directory {
                error!(
                    node = node.short(),
                    "a node comes with another data directory than before, and is refused: it has \
                    forgotten what it promised. It can come back as a new node: synod member replace"
                );
            }
            return *before == directory;
        }
        let mut next = known.clone();
        next.insert(node, directory);
        let lines: String =
            next.iter().map(|(node, name)| format!("{node} {}\n", hex::encode(name))).collect();
        if let Err(why) = replace(&self.dir.join(OTHERS), lines.as_bytes()) {
            error!(node = node.short(), %why, "cannot remember the data directory of a node; it is refused until that is possible");
            return false;
        }
        info!(node = node.short(), "the data directory of a node is remembered");
        *known = next;
        true
    }
}

/// Whether most of the others say that this node comes with another data directory than before.
pub(crate) fn is_disowned(peers: &[PeerStatus]) -> bool {
    let refusals = peers.iter().filter(|peer| peer.refused == Some(SessionErrorCode::OtherDirectory)).count();
    is_majority(refusals, peers.len())
}

fn parse(text: &str) -> Option<Name> {
    let mut name = [0; 16];
    hex::decode_to_slice(text, &mut name).ok()?;
    Some(name)
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged; restore it", path.display()))
}

#[cfg(test)]
mod tests {
    use synod_mesh::Directories as _;
    use synod_types::Digest;

    use super::*;

    #[test]
    fn the_files_of_names_are_golden() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(OWN), format!("{}\n", "07".repeat(16))).unwrap();
        let (name, directories) = super::Directories::open(dir.path()).unwrap();
        assert_eq!(name, [7; 16]);
        for n in 1..=2 {
            assert!(directories.is_known(NodeId(Digest([n; 32])), [n; 16]));
        }
        for (file, kept) in [(OWN, "directory-name"), (OTHERS, "directory-names")] {
            synod_golden::holds_file(golden.join(kept), &fs::read(dir.path().join(file)).unwrap());
            fs::copy(golden.join(kept), dir.path().join(file)).unwrap();
        }
        let (name, directories) = super::Directories::open(dir.path()).unwrap();
        assert_eq!(name, [7; 16]);
        assert!(!directories.is_known(NodeId(Digest([1; 32])), [9; 16]), "it is remembered");
    }

    fn node(n: u8) -> NodeId {
        NodeId(Digest([n; 32]))
    }

    #[test]
    fn a_directory_keeps_its_name_and_another_one_has_another() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let name = |n: usize| Directories::open(dirs[n].path()).unwrap().0;
        assert_eq!(name(0), name(0));
        assert_ne!(name(0), name(1));
    }

    #[test]
    fn the_first_name_of_a_node_is_remembered_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Directories::open(dir.path()).unwrap().1;
        let first = open();
        assert!(first.is_known(node(2), [2; 16]) && first.is_known(node(3), [3; 16]));
        assert!(first.is_known(node(2), [2; 16]) && !first.is_known(node(2), [9; 16]));
        let again = open();
        assert!(!again.is_known(node(2), [9; 16]) && again.is_known(node(3), [3; 16]));
        assert!(again.is_known(node(4), [9; 16]));
    }

    #[test]
    fn damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        Directories::open(dir.path()).unwrap();
        for (file, text) in [(OWN, "0123"), (OTHERS, "no node\n")] {
            fs::write(dir.path().join(file), text).unwrap();
            assert!(Directories::open(dir.path()).unwrap_err().to_string().contains("is damaged"));
            fs::remove_file(dir.path().join(file)).unwrap();
        }
    }
}
