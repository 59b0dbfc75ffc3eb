//! Content: files that commands refer to by their hash, and that travel beside the log in hashed pieces.
//!
//! A command is small and a zone file may not be. So the file goes to the nodes first, each of which stores it and signs
//! a [`ContentReceipt`]; when a majority has, the command that names its [`ContentKey`] may be ordered.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{ClusterId, ContentKey, NodeId};
use crate::limits::{CONTENT_BYTES_MAX, CONTENT_PIECE_BYTES};

impl ContentKey {
    /// The key of a file: SHA3-256 of its bytes.
    pub fn of(file: &[u8]) -> ContentKey {
        ContentKey(Digest::of(&[file]))
    }
}

/// How a file falls into pieces: each has [`CONTENT_PIECE_BYTES`], the last one the rest. Says nothing about the whole,
/// which its key alone proves.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Bytes of the file, 1 to [`CONTENT_BYTES_MAX`].
    pub bytes: u64,
    /// SHA3-256 of each piece, in order.
    pub pieces: Vec<Digest>,
}

/// Why a manifest cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// An empty file.
    #[error("the file is empty")]
    Empty,
    /// Over the limit.
    #[error("the file has {bytes} bytes; at most {CONTENT_BYTES_MAX} are allowed")]
    TooLarge {
        /// Bytes that it declares.
        bytes: u64,
    },
    /// The number of pieces is not the one that the size makes.
    #[error("{bytes} bytes make {expected} pieces, and the manifest has {found}")]
    Pieces {
        /// Bytes that it declares.
        bytes: u64,
        /// Pieces that so many bytes make.
        expected: u64,
        /// Pieces that it lists.
        found: usize,
    },
}

impl Manifest {
    /// The manifest of a file.
    ///
    /// # Errors
    /// [`ManifestError::Empty`], [`ManifestError::TooLarge`].
    pub fn of(file: &[u8]) -> Result<Manifest, ManifestError> {
        let bytes = u64::try_from(file.len()).unwrap_or(u64::MAX);
        check_bytes(bytes)?;
        let pieces: Vec<&[u8]> = file.chunks(CONTENT_PIECE_BYTES).collect();
        Ok(Manifest { bytes, pieces: Digest::of_each(&pieces) })
    }

    /// Checks a manifest from elsewhere: its size is within the limit, and its pieces are as many as the size makes.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn check(&self) -> Result<(), ManifestError> {
        check_bytes(self.bytes)?;
        let expected = self.bytes.div_ceil(PIECE);
        if u64::try_from(self.pieces.len()) != Ok(expected) {
            let (bytes, found) = (self.bytes, self.pieces.len());
            return Err(ManifestError::Pieces { bytes, expected, found });
        }
        Ok(())
    }

    /// Where a piece begins in the file, and how many bytes it has; `None` if there is no such piece.
    pub fn place(&self, number: u32) -> Option<(u64, usize)> {
        let start = u64::from(number) * PIECE;
        let bytes = self.bytes.checked_sub(start).filter(|&left| left > 0)?.min(PIECE);
        Some((start, usize::try_from(bytes).ok()?))
    }

    /// Whether these are the bytes of piece `number`.
    pub fn proves(&self, number: u32, piece: &[u8]) -> bool {
        let digest = usize::try_from(number).ok().and_then(|at| self.pieces.get(at));
        digest.is_some_and(|digest| *digest == Digest::of(&[piece]))
    }
}

// Bytes of a piece, in the type of a file's size.
const PIECE: u64 = 256 << 10;
const _: () = assert!(CONTENT_PIECE_BYTES == 256 << 10, "two constants for one number");

fn check_bytes(bytes: u64) -> Result<(), ManifestError> {
    match bytes {
        0 => Err(ManifestError::Empty),
        _ if bytes > CONTENT_BYTES_MAX => Err(ManifestError::TooLarge { bytes }),
        _ => Ok(()),
    }
}

/// A node's word that it has stored a file durably.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ContentReceipt {
    /// Which file.
    pub content: ContentKey,
    /// Who has it.
    pub node: NodeId,
    /// The node's public key (SubjectPublicKeyInfo, DER), whose hash is its id.
    pub key: Bytes,
    /// Over [`ContentReceipt::signed_bytes`], made as for a command.
    pub signature: Bytes,
}

impl ContentReceipt {
    /// The bytes that a node signs: what they are for, the cluster, the file, the node.
    pub fn signed_bytes(cluster: ClusterId, content: ContentKey, node: NodeId) -> Vec<u8> {
        let mut bytes = b"synod/content/v1\0".to_vec();
        bytes.extend_from_slice(cluster.as_bytes());
        bytes.extend_from_slice(content.as_bytes());
        bytes.extend_from_slice(node.as_bytes());
        bytes
    }
}

/// What nodes say to each other about content.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ContentMessage {
    /// The sender has this file, and will give its pieces.
    Offer {
        /// Which file.
        content: ContentKey,
        /// Its pieces.
        manifest: Manifest,
    },
    /// The sender has stored the file durably.
    Held(ContentReceipt),
    /// Who has this file? Answered by [`ContentMessage::Held`], and by [`ContentMessage::Offer`] where the sender has it
    /// not; or by [`ContentMessage::NotHeld`].
    Seek {
        /// Which file.
        content: ContentKey,
        /// Whether the sender has it itself, and only asks who else does.
        held: bool,
    },
    /// The sender does not have the file, or cannot read it. From who has it, this brings an
    /// [`ContentMessage::Offer`].
    NotHeld {
        /// Which file.
        content: ContentKey,
    },
    /// Asks for a piece; answered by [`ContentMessage::Piece`] or [`ContentMessage::NotHeld`].
    PieceRequest {
        /// Which file.
        content: ContentKey,
        /// Which piece, from 0.
        number: u32,
    },
    /// A piece.
    Piece {
        /// Which file.
        content: ContentKey,
        /// Which piece, from 0.
        number: u32,
        /// Its bytes.
        bytes: Bytes,
    },
}

impl ContentMessage {
    /// As [`Message::since`](crate::Message::since).
    pub(crate) fn since(&self) -> u32 {
        match self {
            ContentMessage::Offer { .. }
            | ContentMessage::Held(_)
            | ContentMessage::Seek { .. }
            | ContentMessage::NotHeld { .. }
            | ContentMessage::PieceRequest { .. }
            | ContentMessage::Piece { .. } => 1,
        }
    }
}

/// A commander's signed leave to upload a file: the operation of a [`crate::CommandBody`] that is never executed. Its
/// other fields say, as for a command, for which cluster and application, who, and until when; seq and expected state
/// mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentTicket {
    /// Which file.
    pub content: ContentKey,
    /// Its bytes.
    pub bytes: u64,
}

impl ContentTicket {
    /// First byte of the operation; see [`crate::command::Operation`].
    pub const FIRST_BYTE: u8 = 2;

    /// The operation: [`ContentTicket::FIRST_BYTE`], the key, the size (u64, big-endian).
    pub fn encode(&self) -> Vec<u8> {
        let mut operation = vec![ContentTicket::FIRST_BYTE];
        operation.extend_from_slice(self.content.as_bytes());
        operation.extend_from_slice(&self.bytes.to_be_bytes());
        operation
    }

    /// Reads an operation; `None` if it is not a ticket.
    pub fn decode(operation: &[u8]) -> Option<ContentTicket> {
        let (&first, rest) = operation.split_first()?;
        let (content, bytes) = rest.split_first_chunk::<32>()?;
        let bytes = u64::from_be_bytes(bytes.try_into().ok()?);
        let ticket = ContentTicket { content: ContentKey(Digest(*content)), bytes };
        (first == ContentTicket::FIRST_BYTE).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_places_and_proves_every_piece() {
        let file: Vec<u8> = (0..u8::MAX).cycle().take(2 * CONTENT_PIECE_BYTES + 3).collect();
        let manifest = Manifest::of(&file).unwrap();
        manifest.check().unwrap();
        let mut copy = Vec::new();
        for number in 0..3 {
            let (start, bytes) = manifest.place(number).unwrap();
            let start = usize::try_from(start).unwrap();
            assert!(manifest.proves(number, &file[start..start + bytes]));
            assert!(!manifest.proves(number + 1, &file[start..start + bytes]));
            copy.extend_from_slice(&file[start..start + bytes]);
        }
        assert_eq!(copy, file);
        assert_eq!(manifest.place(3), None);
    }

    #[test]
    fn a_manifest_that_cannot_be_one_is_refused() {
        assert_eq!(Manifest::of(b""), Err(ManifestError::Empty));
        let digest = Digest([0; 32]);
        for (bytes, pieces, good) in [
            (1, 1, true),
            (PIECE, 1, true),
            (PIECE + 1, 2, true),
            (CONTENT_BYTES_MAX, 256, true),
            (CONTENT_BYTES_MAX + 1, 257, false),
            (0, 0, false),
            (PIECE, 2, false),
            (PIECE + 1, 1, false),
            (u64::MAX, 1, false),
        ] {
            let manifest = Manifest { bytes, pieces: vec![digest; pieces] };
            assert_eq!(manifest.check().is_ok(), good, "{bytes} bytes in {pieces} pieces");
        }
    }

    #[test]
    fn a_ticket_reads_back_and_nothing_else_is_one() {
        let ticket = ContentTicket { content: ContentKey::of(b"a file"), bytes: 6 };
        let operation = ticket.encode();
        assert_eq!(operation.len(), 41);
        assert_eq!(ContentTicket::decode(&operation), Some(ticket));
        for len in 0..operation.len() {
            assert_eq!(ContentTicket::decode(&operation[..len]), None);
        }
        let mut other = operation.clone();
        other[0] = 0;
        assert_eq!(ContentTicket::decode(&other), None);
        other.push(0);
        assert_eq!(ContentTicket::decode(&other), None);
    }
}
