//! A whole machine as bytes: the application's state and everything around it. Equal machines give equal bytes.
//!
//! `"synod/machine/v3\0" ‖ level (u32, big-endian) ‖ length of the head (u64, big-endian) ‖ head ‖ application ‖ SHA3-256 of all
//! before`; the head (identity, numbers, clocks, members, authority, sessions) is in the encoding of [`synod_types::wire`], the
//! application's part is its own business.
//!
//! **The level decides the format.** Nodes sign each other's snapshots, so those with newer programs must make the very bytes that
//! those with older ones make, as long as there are such. On level 1 that is version 2, which is the same without the level.
//!
//! The digest finds damage. It is no signature: whether a snapshot from elsewhere may be believed is decided by who
//! fetches it. A snapshot is made from a [`View`], so that making one never holds up the machine.

use serde::{Deserialize, Serialize};
use synod_types::format;
use synod_types::versions::LEVELS;
use synod_types::wire::{self, WireError};
use synod_types::{
    AppNdx, ClusterId, Configuration, Digest, Epoch, Level, Slot, StateNdx, TimeMs, UnknownLevel,
};

use crate::apart::Away;
use crate::application::{Application, RestoreError};
use crate::authority::{Authority, AuthorityRecord};
use crate::chain;
use crate::lease_clock::LeaseClock;
use crate::session::{SessionRecord, Sessions};
use crate::view::View;

/// What a snapshot begins with in every version.
const NAME: &str = "synod/machine/v";
/// Bytes of the digest at the end.
const DIGEST_BYTES: usize = 32;

/// Why bytes are not a snapshot of this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes do not begin as a snapshot does, or there are too few.
    #[error("not a snapshot of a machine")]
    NotASnapshot,
    /// It is one in a version that this program does not read.
    #[error(
        "the snapshot of a machine is of version {0}, and this program reads versions 2 and 3: install a newer program"
    )]
    UnknownVersion(String),
    /// It is of a level that this program does not know.
    #[error(transparent)]
    UnknownLevel(#[from] UnknownLevel),
    /// The bytes are not those that were written.
    #[error("the snapshot is damaged: its digest does not match; fetch it again from another node")]
    Damaged,
    /// The digest is right, and the head cannot be decoded all the same.
    #[error("the snapshot's head is damaged: {0}")]
    Head(WireError),
    /// It is a snapshot of something else.
    #[error("the snapshot is of {what} {found}, not of {expected}")]
    Foreign {
        /// What differs: a cluster, an application, a kind of application.
        what: &'static str,
        /// What the snapshot says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// What it says cannot be the state of a machine.
    #[error("the snapshot contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// The application refused its part.
    #[error(transparent)]
    Application(#[from] RestoreError),
}

/// Everything but the application's own state.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    cluster: ClusterId,
    app_ndx: AppNdx,
    kind: String,
    state_ndx: StateNdx,
    chain: Digest,
    time: TimeMs,
    clock: LeaseClock,
    applied: Slot,
    configuration: Option<Configuration>,
    authority: AuthorityRecord,
    sessions: Vec<SessionRecord>,
}

impl View {
    fn head(&self) -> Head {
        Head {
            cluster: self.cluster,
            app_ndx: self.app_ndx,
            kind: self.app.kind().to_owned(),
            state_ndx: self.state_ndx,
            chain: self.chain,
            time: self.time,
            clock: self.clock,
            applied: self.applied,
            configuration: self.configuration.clone(),
            authority: self.authority.to_record(),
            sessions: self.sessions.to_records(),
        }
    }

    /// The whole state as bytes; equal states give equal bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        self.snapshot_around(|out| self.app.snapshot_into(out))
    }

    /// As [`View::snapshot`], where the application may be in another process: of a view that was made to be kept.
    ///
    /// # Errors
    /// [`Away`].
    pub fn try_snapshot(&self) -> Result<Vec<u8>, Away> {
        match self.app.apart() {
            Some(apart) => {
                let app = apart.snapshot()?;
                Ok(self.snapshot_around(|out| out.extend_from_slice(&app)))
            }
            None => Ok(self.snapshot()),
        }
    }

    /// The snapshot with what `app` appends as the application's part.
    fn snapshot_around(&self, app: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let format = Format::of(self.level());
        let head = wire::encode(&self.head());
        let head_len = u64::try_from(head.len()).expect("usize has at most 64 bits");
        let mut out = format.begin();
        out.extend_from_slice(&head_len.to_be_bytes());
        out.extend_from_slice(&head);
        app(&mut out);
        let digest = Digest::of(&[&out]);
        out.extend_from_slice(&digest.0);
        out
    }

    /// A digest of the whole state: equal exactly where the states are equal.
    pub fn digest(&self) -> Digest {
        // The application's digest has a fixed size, so its end and the head's cannot be confused.
        Digest::of(&[&Format::of(self.level()).begin(), &self.app.digest().0, &wire::encode(&self.head())])
    }

    pub(crate) fn restore(
        cluster: ClusterId,
        app_ndx: AppNdx,
        snapshot: &[u8],
        mut app: Box<dyn Application>,
    ) -> Result<View, SnapshotError> {
        let (level, head, app_snapshot) = unpack(snapshot, app_ndx)?;
        let head: Head = wire::decode(head).map_err(SnapshotError::Head)?;
        expect_same("cluster", head.cluster.to_string(), cluster.to_string())?;
        expect_same("application", head.app_ndx.to_string(), app_ndx.to_string())?;
        expect_same("kind", head.kind, app.kind().to_owned())?;

        let state_ndx = head.state_ndx;
        let authority =
            Authority::from_record(head.authority, level, state_ndx).map_err(SnapshotError::Inconsistent)?;
        let sessions =
            Sessions::from_records(head.sessions, state_ndx).map_err(SnapshotError::Inconsistent)?;
        if sessions.commanders().any(|commander| authority.commander(*commander).is_none()) {
            return Err(SnapshotError::Inconsistent("a session has no commander"));
        }
        // Where a cluster goes on from another one, the chain goes on, too.
        let is_first = state_ndx == StateNdx(0) && head.configuration.is_none();
        if is_first && head.chain != chain::start(cluster, app_ndx) {
            return Err(SnapshotError::Inconsistent("the hash chain does not begin where it must"));
        }
        if !head.clock.is_possible(head.time) {
            return Err(SnapshotError::Inconsistent(
                "the lease clock goes on from a time that no decree had",
            ));
        }
        if head.configuration.as_ref().is_some_and(|configuration| !configuration.follows(Epoch(0))) {
            return Err(SnapshotError::Inconsistent("no decree brings these members"));
        }
        app.restore(app_snapshot)?;
        Ok(View {
            cluster,
            app_ndx,
            state_ndx,
            chain: head.chain,
            time: head.time,
            clock: head.clock,
            applied: head.applied,
            configuration: head.configuration,
            app,
            authority,
            sessions,
        })
    }
}

/// What a snapshot holds, whichever cluster it is of: SHA3-256 of it without its digest, with zeros in the place of the cluster's
/// id. Works on the bytes as they are, so that it is the same for every later version of this program. `None`: there are too few
/// of them.
pub fn digest_without_cluster(snapshot: &[u8]) -> Option<Digest> {
    let (content, _) = snapshot.split_last_chunk::<DIGEST_BYTES>()?;
    // The cluster stands first in the head.
    let (_, rest) = Format::read(content).ok()?;
    let (before, rest) = content.split_at_checked(content.len() - rest.len() + 8)?;
    let (_, behind) = rest.split_at_checked(ClusterId::default().as_bytes().len())?;
    Some(Digest::of(&[before, ClusterId::default().as_bytes(), behind]))
}

fn expect_same(what: &'static str, found: String, expected: String) -> Result<(), SnapshotError> {
    if found == expected { Ok(()) } else { Err(SnapshotError::Foreign { what, found, expected }) }
}

/// How a snapshot is written, which depends on the level alone.
enum Format {
    /// Without a level, which is the first.
    V2,
    /// With it.
    V3(Level),
}

impl Format {
    fn of(level: Level) -> Format {
        match level {
            Level::FIRST => Format::V2,
            _ => Format::V3(level),
        }
    }

    /// The first bytes.
    fn begin(&self) -> Vec<u8> {
        match self {
            Format::V2 => [NAME.as_bytes(), b"2\0"].concat(),
            Format::V3(level) => [NAME.as_bytes(), b"3\0", &level.0.to_be_bytes()].concat(),
        }
    }

    /// Reads the first bytes; gives the rest, too.
    fn read(snapshot: &[u8]) -> Result<(Format, &[u8]), SnapshotError> {
        match format::split(NAME, snapshot).ok_or(SnapshotError::NotASnapshot)? {
            ("2", rest) => Ok((Format::V2, rest)),
            ("3", rest) => {
                let (level, rest) = rest.split_first_chunk::<4>().ok_or(SnapshotError::NotASnapshot)?;
                Ok((Format::V3(Level(u32::from_be_bytes(*level))), rest))
            }
            (version, _) => Err(SnapshotError::UnknownVersion(version.to_owned())),
        }
    }
}

/// Checks that the bytes are those that were written, if they are a snapshot that this program reads.
pub(crate) fn check_digest(snapshot: &[u8]) -> Result<(), SnapshotError> {
    let (content, digest) = snapshot.split_last_chunk::<DIGEST_BYTES>().ok_or(SnapshotError::NotASnapshot)?;
    Format::read(content)?;
    if Digest::of(&[content]).0 == *digest { Ok(()) } else { Err(SnapshotError::Damaged) }
}

/// The level, the head, and the application's part.
fn unpack(snapshot: &[u8], app: AppNdx) -> Result<(Level, &[u8], &[u8]), SnapshotError> {
    let (content, _) = snapshot.split_last_chunk::<DIGEST_BYTES>().ok_or(SnapshotError::NotASnapshot)?;
    let (format, rest) = Format::read(content)?;
    let level = match format {
        Format::V2 => Level::FIRST,
        Format::V3(Level::FIRST) => {
            return Err(SnapshotError::Inconsistent("one of level 1 is written in version 2"));
        }
        Format::V3(level) => level,
    };
    // Whatever is behind it may be otherwise on another level.
    if !LEVELS.contains(level.0) {
        return Err(UnknownLevel { app, level, known: LEVELS }.into());
    }
    let (head_len, rest) = rest.split_first_chunk::<8>().ok_or(SnapshotError::NotASnapshot)?;
    let (head, app) = usize::try_from(u64::from_be_bytes(*head_len))
        .ok()
        .and_then(|head_len| rest.split_at_checked(head_len))
        .ok_or(SnapshotError::Inconsistent("the head is longer than the snapshot"))?;
    Ok((level, head, app))
}
