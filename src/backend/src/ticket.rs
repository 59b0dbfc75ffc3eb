//! What both transports ask of an upload before the node hears of it.

use std::sync::Arc;

use bytes::Bytes;
use synod_auth::{Unverified, Verified};
use synod_types::{ContentKey, ContentReceipt, ContentTicket, Manifest, Refusal, RefusalCode, SignedCommand};

use crate::counters::count;
use crate::shared::{Room, Shared};

/// A ticket whose signature was verified.
pub(crate) struct VerifiedTicket {
    pub(crate) command: Verified<SignedCommand>,
    pub(crate) ticket: ContentTicket,
}

impl Shared {
    /// Verifies a ticket. That is one signature, which takes less than a hand-over to another thread and back.
    pub(crate) fn verify_ticket(&self, command: SignedCommand) -> Result<VerifiedTicket, Refusal> {
        self.check_not_stopping()?;
        let command = self.pool.verifier().verify_command(Unverified(command))?;
        let ticket = ContentTicket::decode(&command.body().operation).ok_or_else(|| {
            let text = "the signed command is no ticket: its operation is not 2, a content key and a size";
            Refusal::new(RefusalCode::Malformed, text)
        })?;
        Ok(VerifiedTicket { command, ticket })
    }

    /// Offers a file to the node; gives the pieces that it wants.
    pub(crate) async fn offer(
        &self,
        ticket: VerifiedTicket,
        manifest: Manifest,
    ) -> Result<Vec<u32>, Refusal> {
        count(&self.counters.files_offered);
        let VerifiedTicket { command, ticket } = ticket;
        check_manifest(&manifest, &ticket)?;
        self.door.offer(command, manifest).await
    }

    /// Gives the node a piece.
    pub(crate) async fn piece(&self, content: ContentKey, number: u32, bytes: Bytes) -> Result<(), Refusal> {
        self.door.piece(content, number, bytes).await?;
        count(&self.counters.pieces_taken);
        Ok(())
    }

    /// Waits until a majority holds the file.
    pub(crate) async fn held(&self, content: ContentKey) -> Result<Vec<ContentReceipt>, Refusal> {
        self.door.held(content).await
    }

    /// Room for `bytes` of a file, while the back end is open.
    pub(crate) fn file_room(self: &Arc<Self>, bytes: usize) -> Result<Room, Refusal> {
        self.check_not_stopping()?;
        self.room(bytes)
    }
}

/// Checks that a manifest can be one, and is one of a file with the ticket's size.
fn check_manifest(manifest: &Manifest, ticket: &ContentTicket) -> Result<(), Refusal> {
    use synod_types::content::ManifestError;
    manifest.check().map_err(|error| match error {
        ManifestError::TooLarge { .. } => Refusal::new(RefusalCode::TooLarge, error),
        ManifestError::Empty | ManifestError::Pieces { .. } => Refusal::new(RefusalCode::Malformed, error),
    })?;
    if manifest.bytes != ticket.bytes {
        let text = format!(
            "the ticket is for a file of {} bytes, and the manifest is of one with {}",
            ticket.bytes, manifest.bytes
        );
        return Err(Refusal::new(RefusalCode::Malformed, text));
    }
    Ok(())
}

/// Checks that a piece is as long as its place in a file of `file_bytes`.
pub(crate) fn check_place(file_bytes: u64, number: u32, piece: &[u8]) -> Result<(), Refusal> {
    // Where a piece lies follows from the size alone.
    let expected = Manifest { bytes: file_bytes, pieces: Vec::new() }.place(number).map(|(_, bytes)| bytes);
    let text = match expected {
        Some(expected) if expected == piece.len() => return Ok(()),
        Some(expected) => format!("piece {number} has {expected} bytes, and {} came", piece.len()),
        None => format!("a file of {file_bytes} bytes has no piece {number}"),
    };
    Err(Refusal::new(RefusalCode::Malformed, text))
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;
    use synod_types::limits::{CONTENT_BYTES_MAX, CONTENT_PIECE_BYTES};

    use super::*;

    #[test]
    fn the_size_limit_of_a_file_is_exact() {
        let code = |bytes: u64| {
            let pieces = usize::try_from(bytes.div_ceil(256 << 10)).unwrap();
            let manifest = Manifest { bytes, pieces: vec![Digest([0; 32]); pieces] };
            let ticket = ContentTicket { content: ContentKey::default(), bytes };
            check_manifest(&manifest, &ticket).err().map(|refusal| refusal.code)
        };
        assert_eq!(code(0), Some(RefusalCode::Malformed));
        assert_eq!(code(1), None);
        assert_eq!(code(CONTENT_BYTES_MAX - 1), None);
        assert_eq!(code(CONTENT_BYTES_MAX), None);
        assert_eq!(code(CONTENT_BYTES_MAX + 1), Some(RefusalCode::TooLarge));
    }

    #[test]
    fn a_manifest_fits_its_ticket() {
        let manifest = Manifest::of(b"a file").unwrap();
        let ticket = ContentTicket { content: ContentKey::of(b"a file"), bytes: 7 };
        let refusal = check_manifest(&manifest, &ticket).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Malformed);
        assert!(refusal.text.contains("7 bytes") && refusal.text.contains("with 6"), "{refusal}");
    }

    #[test]
    fn a_piece_fits_its_place() {
        let whole = vec![0; CONTENT_PIECE_BYTES];
        let file_bytes = u64::try_from(CONTENT_PIECE_BYTES).unwrap() + 3;
        assert_eq!(check_place(file_bytes, 0, &whole), Ok(()));
        assert_eq!(check_place(file_bytes, 1, &[0; 3]), Ok(()));
        for (number, piece) in
            [(0, &whole[1..]), (0, b""), (1, &whole), (1, b"four"), (2, b""), (u32::MAX, b"x")]
        {
            let refusal = check_place(file_bytes, number, piece).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Malformed);
        }
    }
}
