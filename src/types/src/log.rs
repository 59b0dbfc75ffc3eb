//! A stretch of an application's log as a node gives it out: what was chosen, for whoever executes it again.
//!
//! As bytes: [`DOMAIN`], then the encoding of [`crate::wire`].

use serde::{Deserialize, Serialize};

use crate::decree::Decree;
use crate::format;
use crate::ids::{AppNdx, ClusterId, Slot};
use crate::wire::{self, WireError};

/// First bytes of a page: what it is, and in which version.
pub const DOMAIN: &[u8; 13] = b"synod/log/v2\0";
/// The same without the version.
const NAME: &str = "synod/log/v";

/// Decrees of consecutive slots, chosen and applied by the node that gives them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogPage {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Of which application.
    pub app: AppNdx,
    /// The last slot that the node has applied. There is more where the page ends before it.
    pub applied: Slot,
    /// In the order of their slots.
    pub decrees: Vec<(Slot, Decree)>,
}

/// Why bytes are not a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogPageError {
    /// They do not begin as a page does.
    #[error("not a page of a log")]
    WrongDomain,
    /// It is one in a version that this program does not read.
    #[error("the page of a log is of version {0}, and this program reads version 2: take a newer program")]
    UnknownVersion(String),
    /// They do, and what follows is none.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl LogPage {
    /// The page as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        wire::encode_into(self, &mut bytes);
        bytes
    }

    /// Reads a page.
    ///
    /// # Errors
    /// [`LogPageError`].
    pub fn decode(bytes: &[u8]) -> Result<LogPage, LogPageError> {
        match format::split(NAME, bytes).ok_or(LogPageError::WrongDomain)? {
            ("2", page) => Ok(wire::decode(page)?),
            (version, _) => Err(LogPageError::UnknownVersion(version.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::SignedCommand;
    use crate::decree::Batch;
    use crate::digest::Digest;
    use crate::ids::{Ballot, NodeId, TimeMs};

    fn page() -> LogPage {
        let command = SignedCommand {
            body: b"body".to_vec().into(),
            signature: b"sign".to_vec().into(),
            key: b"k".to_vec().into(),
        };
        let term = Ballot { number: 5, priority: 1, node: NodeId(Digest([8; 32])), ..Ballot::ZERO };
        let batch = Batch { term, time: TimeMs(300), commands: vec![command] };
        LogPage {
            cluster: ClusterId(Digest([9; 32])),
            app: AppNdx(7),
            applied: Slot(3),
            decrees: vec![(Slot(1), Decree::Noop), (Slot(2), Decree::Batch(batch.into()))],
        }
    }

    /// Other programs read these bytes.
    #[test]
    fn the_encoding_stays_as_it_is() {
        let expected = [
            &b"synod/log/v2\0"[..],
            &[9; 32],
            &[7, 3, 2],
            &[1, 0],
            &[2, 1, 0, 5, 1],
            &[8; 32],
            &[0xac, 2, 1],
            b"\x04body\x04sign\x01k",
        ];
        assert_eq!(page().encode(), expected.concat());
    }

    #[test]
    fn a_page_reads_back_whole_or_not_at_all() {
        let bytes = page().encode();
        assert_eq!(LogPage::decode(&bytes), Ok(page()));
        for len in 0..bytes.len() {
            assert!(LogPage::decode(&bytes[..len]).is_err(), "{len} bytes were taken for a page");
        }
        let another_version = [b"synod/log/v1\0", &bytes[13..]].concat();
        assert_eq!(LogPage::decode(&another_version), Err(LogPageError::UnknownVersion("1".to_owned())));
    }
}
