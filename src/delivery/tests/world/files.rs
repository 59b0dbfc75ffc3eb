//! Files without bytes: a piece is known by its first byte, its *kind*, and its digest is made of that. So a world moves
//! gigabytes in no time, and a lie is a kind that is not in the file.

use std::sync::LazyLock;

use bytes::Bytes;
use synod_types::limits::CONTENT_PIECE_BYTES;
use synod_types::{ContentKey, Digest, Manifest};

use super::random::Random;

/// Kinds of true pieces are below this one.
pub const FIRST_LIE: u8 = 200;

/// Byte `i` is `i` modulo 256: a slice that begins at `kind` begins with `kind`.
static BYTES: LazyLock<Bytes> =
    LazyLock::new(|| (0..=u8::MAX).cycle().take(CONTENT_PIECE_BYTES + 256).collect::<Vec<u8>>().into());

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    pub key: ContentKey,
    pub bytes: u64,
    pub kinds: Vec<u8>,
}

impl File {
    pub fn new(number: u8, random: &mut Random) -> File {
        let pieces = random.pick(&[1, 1, 1, 2, 2, 3, 5, 9, 20, 40]);
        let last = random.within(1..=u64::try_from(CONTENT_PIECE_BYTES).unwrap());
        let bytes = (pieces - 1) * u64::try_from(CONTENT_PIECE_BYTES).unwrap() + last;
        let mut kind = || u8::try_from(random.within(0..=u64::from(FIRST_LIE) - 1)).unwrap();
        let kinds = (0..pieces).map(|_| kind()).collect();
        let mut key = [number; 32];
        key[0] = u8::try_from(random.within(0..=255)).unwrap();
        File { key: ContentKey(Digest(key)), bytes, kinds }
    }

    pub fn manifest(&self) -> Manifest {
        Manifest { bytes: self.bytes, pieces: self.kinds.iter().map(|&kind| Digest([kind; 32])).collect() }
    }

    /// The manifest of another file, as liar number `liar` makes it up: all pieces but one are true.
    pub fn false_manifest(&self, liar: usize) -> Manifest {
        let mut manifest = self.manifest();
        let at = liar % manifest.pieces.len();
        manifest.pieces[at] = Digest([FIRST_LIE + u8::try_from(liar).unwrap(); 32]);
        manifest
    }

    /// Whether these pieces under this manifest are the file.
    pub fn is_made_by(&self, manifest: &Manifest) -> bool {
        *manifest == self.manifest()
    }
}

/// A piece of this kind.
pub fn piece(kind: u8, len: usize) -> Bytes {
    BYTES.slice(usize::from(kind)..usize::from(kind) + len)
}

/// What [`Manifest::proves`] says of real pieces.
pub fn proves(manifest: &Manifest, number: u32, bytes: &[u8]) -> bool {
    let digest = manifest.pieces.get(usize::try_from(number).unwrap());
    digest.is_some_and(|digest| *digest == Digest([bytes[0]; 32]))
        && manifest.place(number).is_some_and(|(_, len)| len == bytes.len())
}
