//! What shows what a zone holds, or that there is no such zone, to somebody who has the state's root and nothing else. A zone's
//! file is named by its hash, so who has the file has it proved, too. The bytes are in docs/PROTOCOL.md, "Proofs".

use std::convert::Infallible;
use std::sync::Arc;

use imbl::OrdMap;
use synod_merkle::{Changes, Messages, Proof, ProofError, Source};
use synod_types::Digest;

use crate::name::ZoneName;
use crate::op::Content;
use crate::state::{Version, ZoneRecord, ZonesState};

/// First bytes of what is hashed for a zone.
const ZONE_DOMAIN: &[u8; 20] = b"synod/zones/zone/v1\0";

/// First bytes of what is hashed for a root: no other application's is one of this one's.
const ROOT_DOMAIN: &[u8; 20] = b"synod/zones/root/v1\0";

/// Why an answer is not proved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneProofError {
    /// The proof is none.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The proof is of another state or zone, or was changed.
    #[error(
        "the proof leads to root {found}, and not to {expected}: it is of another state or zone, or was changed"
    )]
    OtherRoot {
        /// The root that is trusted.
        expected: Digest,
        /// The one to which it leads.
        found: Digest,
    },
    /// The proof shows that the zone holds something else.
    #[error(
        "the zone holds something else than the answer says: its file, serial, state or commander was changed"
    )]
    OtherVersion,
    /// The answer has a zone, and the proof shows that there is none.
    #[error("the answer has a zone, and there is no such zone")]
    Absent,
    /// The answer has no zone, and the proof shows that there is one.
    #[error("the answer says that there is no such zone, and there is one")]
    Present,
}

/// Whether, in the state with this root, `zone` holds exactly `version`; `None`, or a version without content: whether there is
/// no such zone.
///
/// # Errors
/// [`ZoneProofError`] if the proof does not show that: nothing of the answer may be believed then.
pub fn verify(
    root: &Digest,
    zone: &ZoneName,
    version: Option<&Version>,
    proof: &Proof,
) -> Result<(), ZoneProofError> {
    let shown = proof.leads_to(zone.as_wire())?;
    let found = self::root(&shown.root);
    if found != *root {
        return Err(ZoneProofError::OtherRoot { expected: *root, found });
    }
    let held = version.and_then(|version| Some((version, version.content?)));
    match (held, shown.value) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(ZoneProofError::Present),
        (Some(_), None) => Err(ZoneProofError::Absent),
        (Some((version, content)), Some(value)) => {
            let mut messages = Messages::default();
            put_version(version, &content, &mut messages);
            if messages.hash() == [value] { Ok(()) } else { Err(ZoneProofError::OtherVersion) }
        }
    }
}

/// The root of a state, from that of its map.
pub(crate) fn root(map: &Digest) -> Digest {
    Digest::of(&[ROOT_DOMAIN, &map.0])
}

/// Puts what is hashed for a zone that has content. States count from 1, so 0 is no rollback.
fn put_version(version: &Version, content: &Content, messages: &mut Messages) {
    let Version { changed, time, commander, rolled_back_to, content: _ } = version;
    messages.push(&[
        ZONE_DOMAIN,
        content.key.as_bytes(),
        &content.bytes.to_be_bytes(),
        &content.serial.to_be_bytes(),
        &changed.0.to_be_bytes(),
        &time.0.to_be_bytes(),
        commander.as_bytes(),
        &rolled_back_to.unwrap_or_default().0.to_be_bytes(),
    ]);
}

impl Source for ZonesState {
    type Key = ZoneName;
    type Value = Arc<ZoneRecord>;
    type Mark = Infallible;

    fn map(&self) -> &OrdMap<ZoneName, Arc<ZoneRecord>> {
        self.live()
    }

    /// There is no list of changes: zones are few and change seldom, so they are compared.
    fn mark(&self) -> Option<Infallible> {
        None
    }

    fn since<'a>(&'a self, mark: &Infallible) -> Option<Changes<'a, ZoneName, Arc<ZoneRecord>>> {
        match *mark {}
    }

    fn put_key(zone: &ZoneName, keys: &mut Messages) {
        keys.push(&[zone.as_wire()]);
    }

    fn put_value(record: &Arc<ZoneRecord>, values: &mut Messages) {
        let version = record.current();
        let content = version.content.expect("a zone that is not deleted has content");
        put_version(version, &content, values);
    }
}
