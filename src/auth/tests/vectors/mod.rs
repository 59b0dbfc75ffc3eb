//! The committed commands of this folder.

use std::path::PathBuf;

use bytes::Bytes;
use synod_auth::SigningKey;
use synod_types::{CommandId, CommanderId};

/// A command that was signed with `openssl`.
pub struct Vector {
    /// The folder and the first part of the files' names.
    stem: PathBuf,
    /// What the committed file says.
    pub command_id: CommandId,
    /// What the committed file says.
    pub commander_id: CommanderId,
}

impl Vector {
    pub fn all() -> [Vector; 2] {
        ["ed25519", "rsa-2048"].map(|name| {
            let stem = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
            let ids = std::fs::read_to_string(stem.with_extension("ids.txt")).unwrap();
            let id = |what| ids.lines().find_map(|line| line.strip_prefix(what)).unwrap().trim();
            Vector {
                command_id: id("command ").parse().unwrap(),
                commander_id: id("commander ").parse().unwrap(),
                stem,
            }
        })
    }

    pub fn path(&self, extension: &str) -> PathBuf {
        self.stem.with_extension(extension)
    }

    pub fn read(&self, extension: &str) -> Bytes {
        std::fs::read(self.path(extension)).unwrap().into()
    }

    /// The private key. Not by `SigningKey::load`: git does not keep a file's mode.
    pub fn key(&self) -> SigningKey {
        SigningKey::from_pem(str::from_utf8(&self.read("key.pem")).unwrap()).unwrap()
    }
}
