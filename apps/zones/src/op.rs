//! What a command can do to zones, and what it answers. Both travel in the encoding of [`synod_types::wire`].
//!
//! An operation says in signed words what it relies on: which file, of how many bytes, with which serial. The node where
//! it enters holds it against the file; the nodes that execute it look at these words and the state alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use synod_types::command::Operation;
use synod_types::limits::{CONTENT_BYTES_MAX, OPERATION_CONTENTS_MAX, ZONES_CHANGE_BYTES_MAX};
use synod_types::wire::{self, WireError};
use synod_types::{ContentKey, Refusal, RefusalCode, StateNdx};

use crate::name::ZoneName;

/// An operation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ZonesOp {
    /// Gives one zone its content, whether it exists or not; answered by [`ZonesReply::Set`].
    Set(ZoneChange),
    /// Gives several zones their contents, all of them or none: 1 to [`OPERATION_CONTENTS_MAX`] changes of different
    /// zones. Answered by [`ZonesReply::SetMany`].
    SetMany(Vec<ZoneChange>),
    /// Ends a zone; answered by [`ZonesReply::Deleted`], also where there was none.
    Delete {
        /// Which zone.
        zone: ZoneName,
        /// What it must hold. Not [`Expected::Absent`].
        expected: Expected,
    },
    /// Gives a zone the content that it had in an earlier state, whatever its serial, also where the zone was deleted
    /// since; answered by [`ZonesReply::RolledBack`].
    Rollback {
        /// Which zone.
        zone: ZoneName,
        /// The content that it had in this state; as far as the history goes back.
        to: StateNdx,
        /// What it must hold now.
        expected: Expected,
    },
}

/// A new content for a zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneChange {
    /// Which zone.
    pub zone: ZoneName,
    /// The zone file.
    pub content: ContentKey,
    /// Its bytes, 1 to [`CONTENT_BYTES_MAX`].
    pub bytes: u64,
    /// The serial in its SOA. Must rise from the zone's present one (RFC 1982).
    pub serial: u32,
    /// The serial need not rise.
    pub force: bool,
    /// What the zone must hold now.
    pub expected: Expected,
}

/// What a zone must hold for an operation to be done; it is refused as `Conflict` otherwise. So nobody overwrites what
/// they have not seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Expected {
    /// Anything, or nothing.
    Any,
    /// There must be no such zone.
    Absent,
    /// This content.
    Content(ContentKey),
}

impl ZonesOp {
    /// The operation as it stands in a command: [`Operation::APP`], then this. The machine takes that byte off before
    /// it hands the rest to the application.
    pub fn encode(&self) -> Vec<u8> {
        let mut operation = vec![Operation::APP];
        wire::encode_into(self, &mut operation);
        operation
    }

    /// Reads the bytes behind [`Operation::APP`] and checks their limits.
    ///
    /// # Errors
    /// `Malformed` or `TooLarge`.
    pub fn decode(bytes: &[u8]) -> Result<ZonesOp, Refusal> {
        // The decoder's own words stay out of the text: they may change with its version, and the text is replicated.
        let op: ZonesOp = wire::decode(bytes).map_err(|_| {
            malformed(
                "the operation is none of the zones application's; a zone's name in it is in wire form and lower case",
            )
        })?;
        match &op {
            ZonesOp::Set(change) => check_change(change)?,
            ZonesOp::SetMany(changes) => check_changes(changes)?,
            ZonesOp::Delete { expected: Expected::Absent, .. } => {
                return Err(malformed("a zone that is expected not to exist cannot be deleted"));
            }
            ZonesOp::Delete { .. } | ZonesOp::Rollback { .. } => {}
        }
        Ok(op)
    }

    /// The zones that it may change.
    pub fn zones(&self) -> impl Iterator<Item = &ZoneName> {
        let one = match self {
            ZonesOp::Delete { zone, .. } | ZonesOp::Rollback { zone, .. } => Some(zone),
            ZonesOp::Set(_) | ZonesOp::SetMany(_) => None,
        };
        self.changes().iter().map(|change| &change.zone).chain(one)
    }

    /// The new contents; none in a deletion or a rollback.
    pub fn changes(&self) -> &[ZoneChange] {
        match self {
            ZonesOp::Set(change) => std::slice::from_ref(change),
            ZonesOp::SetMany(changes) => changes,
            ZonesOp::Delete { .. } | ZonesOp::Rollback { .. } => &[],
        }
    }
}

fn check_changes(changes: &[ZoneChange]) -> Result<(), Refusal> {
    if changes.is_empty() {
        return Err(malformed("the operation changes no zone"));
    }
    if changes.len() > OPERATION_CONTENTS_MAX {
        return Err(Refusal::new(
            RefusalCode::TooLarge,
            format_args!(
                "the operation changes {} zones; at most {OPERATION_CONTENTS_MAX} go into one",
                changes.len()
            ),
        ));
    }
    let mut zones = BTreeSet::new();
    let mut bytes = 0;
    for change in changes {
        check_change(change)?;
        bytes += change.bytes;
        if !zones.insert(change.zone.as_wire()) {
            return Err(malformed(format!("the operation changes zone {} twice", change.zone.shown())));
        }
    }
    if bytes > ZONES_CHANGE_BYTES_MAX {
        return Err(Refusal::new(
            RefusalCode::TooLarge,
            format_args!(
                "the zone files have {bytes} bytes together; at most {ZONES_CHANGE_BYTES_MAX} go into one operation"
            ),
        ));
    }
    Ok(())
}

fn check_change(change: &ZoneChange) -> Result<(), Refusal> {
    let (zone, bytes) = (change.zone.shown(), change.bytes);
    match bytes {
        0 => Err(malformed(format!("the file of zone {zone} is empty"))),
        _ if bytes > CONTENT_BYTES_MAX => Err(Refusal::new(
            RefusalCode::TooLarge,
            format_args!(
                "the file of zone {zone} has {bytes} bytes; at most {CONTENT_BYTES_MAX} are allowed"
            ),
        )),
        _ => Ok(()),
    }
}

fn malformed(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Malformed, text)
}

/// What a zone holds: a file, and what was said of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Content {
    /// The zone file.
    pub key: ContentKey,
    /// Its bytes.
    pub bytes: u64,
    /// The serial in its SOA.
    pub serial: u32,
}

/// The answer in the receipt of an operation that was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ZonesReply {
    /// The zone has the content.
    Set {
        /// What it held before; `None`: the zone is new. The content that was to be set: nothing has changed.
        previous: Option<Content>,
    },
    /// All zones have their contents.
    SetMany {
        /// How many zones have got another content.
        changed: u32,
        /// How many had theirs already.
        unchanged: u32,
    },
    /// There is no such zone any more.
    Deleted {
        /// What it held; `None`: there was none.
        previous: Option<Content>,
    },
    /// The zone has the content that it had once.
    RolledBack {
        /// That content.
        content: Content,
        /// What it held before; `None`: it had been deleted. The same content: nothing has changed.
        previous: Option<Content>,
    },
}

impl ZonesReply {
    /// Reads the answer of an [`synod_types::Outcome::Done`].
    ///
    /// # Errors
    /// [`WireError`] if it is none of this application's.
    pub fn decode(answer: &[u8]) -> Result<ZonesReply, WireError> {
        wire::decode(answer)
    }
}

#[cfg(test)]
mod tests {
    use synod_types::Digest;
    use synod_types::limits::OPERATION_BYTES_MAX;

    use super::*;

    fn zone(text: &str) -> ZoneName {
        ZoneName::parse(text).unwrap()
    }

    fn key(n: u8) -> ContentKey {
        ContentKey(Digest([n; 32]))
    }

    fn change(text: &str) -> ZoneChange {
        ZoneChange {
            zone: zone(text),
            content: key(7),
            bytes: 300,
            serial: 5,
            force: false,
            expected: Expected::Any,
        }
    }

    fn code(op: &ZonesOp) -> Option<RefusalCode> {
        ZonesOp::decode(&op.encode()[1..]).err().map(|refusal| refusal.code)
    }

    fn sized(bytes: u64) -> ZonesOp {
        ZonesOp::Set(ZoneChange { bytes, ..change("a") })
    }

    #[test]
    fn operations_read_back_without_their_first_byte() {
        let rollback =
            ZonesOp::Rollback { zone: zone("."), to: StateNdx(9), expected: Expected::Content(key(1)) };
        for op in [
            ZonesOp::Set(change("a.example")),
            ZonesOp::SetMany(vec![change("a"), change("b")]),
            ZonesOp::Delete { zone: zone("a"), expected: Expected::Any },
            rollback,
        ] {
            let encoded = op.encode();
            let Some(Operation::App(bytes)) = Operation::split(&encoded) else {
                panic!("{op:?} is not an application's operation")
            };
            assert_eq!(ZonesOp::decode(bytes), Ok(op));
        }
    }

    /// Commands are signed over these bytes, and other languages write them.
    #[test]
    fn the_encoding_stays_as_it_is() {
        let mut one = b"\x05\x01a\x01b\x00".to_vec();
        one.extend([7; 32]);
        // 300 bytes, serial 5, not forced, anything expected.
        one.extend([0xac, 2, 5, 0, 0]);
        assert_eq!(ZonesOp::Set(change("a.b")).encode(), [&[0, 0][..], &one].concat());
        assert_eq!(ZonesOp::SetMany(vec![change("a.b")]).encode(), [&[0, 1, 1][..], &one].concat());
        let absent = ZoneChange { expected: Expected::Absent, force: true, ..change("a.b") };
        let at = one.len() - 2;
        one[at..].copy_from_slice(&[1, 1]);
        assert_eq!(ZonesOp::Set(absent).encode(), [&[0, 0][..], &one].concat());
        let delete = ZonesOp::Delete { zone: zone("a"), expected: Expected::Content(key(9)) };
        assert_eq!(delete.encode(), [&b"\0\x02\x03\x01a\x00\x02"[..], &[9; 32]].concat());
        let rollback = ZonesOp::Rollback { zone: zone("."), to: StateNdx(300), expected: Expected::Any };
        assert_eq!(rollback.encode(), b"\0\x03\x01\x00\xac\x02\x00");
    }

    #[test]
    fn answers_stay_as_they_are() {
        let content = Content { key: key(7), bytes: 300, serial: 5 };
        let seven = [7; 32];
        for (reply, bytes) in [
            (ZonesReply::Set { previous: None }, vec![0, 0]),
            (ZonesReply::Set { previous: Some(content) }, [&[0, 1][..], &seven, &[0xac, 2, 5]].concat()),
            (ZonesReply::SetMany { changed: 3, unchanged: 300 }, vec![1, 3, 0xac, 2]),
            (ZonesReply::Deleted { previous: None }, vec![2, 0]),
            (
                ZonesReply::RolledBack { content, previous: None },
                [&[3][..], &seven, &[0xac, 2, 5, 0]].concat(),
            ),
        ] {
            assert_eq!(wire::encode(&reply), bytes);
            assert_eq!(ZonesReply::decode(&bytes), Ok(reply));
        }
    }

    #[test]
    fn the_limits_are_exact() {
        assert_eq!(code(&sized(0)), Some(RefusalCode::Malformed));
        assert_eq!(code(&sized(1)), None);
        assert_eq!(code(&sized(CONTENT_BYTES_MAX - 1)), None);
        assert_eq!(code(&sized(CONTENT_BYTES_MAX)), None);
        assert_eq!(code(&sized(CONTENT_BYTES_MAX + 1)), Some(RefusalCode::TooLarge));

        let many = |count: usize| ZonesOp::SetMany((0..count).map(|n| change(&format!("z{n}"))).collect());
        assert_eq!(code(&many(0)), Some(RefusalCode::Malformed));
        assert_eq!(code(&many(1)), None);
        assert_eq!(code(&many(OPERATION_CONTENTS_MAX - 1)), None);
        assert_eq!(code(&many(OPERATION_CONTENTS_MAX)), None);
        assert_eq!(code(&many(OPERATION_CONTENTS_MAX + 1)), Some(RefusalCode::TooLarge));

        let large = |last: u64| {
            let quarter = ZONES_CHANGE_BYTES_MAX / 4;
            let sizes = [quarter, quarter, quarter, quarter - 100, last];
            let changes = sizes.iter().enumerate();
            ZonesOp::SetMany(
                changes.map(|(n, &bytes)| ZoneChange { bytes, ..change(&format!("z{n}")) }).collect(),
            )
        };
        assert_eq!(code(&large(99)), None);
        assert_eq!(code(&large(100)), None);
        assert_eq!(code(&large(101)), Some(RefusalCode::TooLarge));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(
            code(&ZonesOp::SetMany(vec![change("a"), change("b"), change("a")])),
            Some(RefusalCode::Malformed)
        );
        let delete = ZonesOp::Delete { zone: zone("a"), expected: Expected::Absent };
        assert_eq!(code(&delete), Some(RefusalCode::Malformed));
        let mut upper = ZonesOp::Set(change("a")).encode();
        assert_eq!(upper[4], b'a');
        upper[4] = b'A';
        assert_eq!(ZonesOp::decode(&upper[1..]).unwrap_err().code, RefusalCode::Malformed);
    }

    #[test]
    fn the_largest_operation_fits_into_one_command() {
        let labels = "a".repeat(63);
        let largest = |n: usize| {
            let text = format!("{n:063}.{labels}.{labels}.{}", &labels[..61]);
            ZoneChange {
                bytes: ZONES_CHANGE_BYTES_MAX / 1024,
                serial: u32::MAX,
                expected: Expected::Content(key(1)),
                ..change(&text)
            }
        };
        let largest = ZonesOp::SetMany((0..OPERATION_CONTENTS_MAX).map(largest).collect());
        assert_eq!(code(&largest), None);
        assert_eq!(largest.changes()[0].zone.as_wire().len(), 255);
        assert!(largest.encode().len() <= OPERATION_BYTES_MAX);
    }
}
