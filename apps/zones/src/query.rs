//! What a reader can ask, and what it is answered. Both travel in the encoding of [`synod_types::wire`]. Answers come
//! from one state, and are bounded whatever was asked.

use serde::{Deserialize, Serialize};
use synod_machine::QueryError;
use synod_merkle::{Path, Proof};
use synod_types::limits::ZONES_LIST_ENTRIES_MAX;
use synod_types::wire::{self, WireError};

use crate::ZonesApp;
use crate::name::ZoneName;
use crate::state::{Version, ZoneRecord};

/// A question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ZonesQuery {
    /// What does this zone hold? Answered by [`ZonesAnswer::Get`].
    Get {
        /// Which zone.
        zone: ZoneName,
    },
    /// Which zones are there? Answered by [`ZonesAnswer::List`].
    List {
        /// The zone of this name and those below it; `None`: all zones.
        below: Option<ZoneName>,
        /// Only zones behind this one, which is the last of the page before.
        after: Option<ZoneName>,
        /// At most so many; 0, as everything above it, stands for [`ZONES_LIST_ENTRIES_MAX`].
        limit: u32,
    },
    /// What did this zone hold? Answered by [`ZonesAnswer::History`].
    History {
        /// Which zone.
        zone: ZoneName,
    },
    /// What does this zone hold, and what shows it? Answered by [`ZonesAnswer::Proved`].
    Prove {
        /// Which zone.
        zone: ZoneName,
    },
}

impl ZonesQuery {
    /// The bytes of the question.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads a question.
    ///
    /// # Errors
    /// [`QueryError`] if it is none of this application's.
    pub fn decode(bytes: &[u8]) -> Result<ZonesQuery, QueryError> {
        wire::decode(bytes).map_err(|why| QueryError(why.to_string()))
    }
}

/// A zone with all that is known of it, but for its history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneEntry {
    /// Its name.
    pub zone: ZoneName,
    /// What it holds, or that it was deleted.
    pub version: Version,
    /// How many earlier versions are known.
    pub earlier: u32,
    /// Why it cannot be answered from, if so: its file is not what the command said of it.
    pub broken: Option<String>,
}

/// Every version of a zone that is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneHistory {
    /// The latest first; the first one is what the zone holds, or that it was deleted. At most
    /// [`synod_types::limits::ZONE_HISTORY_MAX`] and one.
    pub versions: Vec<Version>,
    /// There were versions before these.
    pub is_cut: bool,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ZonesAnswer {
    /// The zone; `None`: neither it nor any history of it is known. A deleted zone of which some history is known has a
    /// version without content.
    Get(Option<ZoneEntry>),
    /// A page of zones.
    List {
        /// In canonical order (RFC 4034 6.1); none of them is deleted.
        entries: Vec<ZoneEntry>,
        /// Whether there are more: ask again with `after` set to the last one's name.
        more: bool,
    },
    /// The zone's versions; `None`: neither it nor any history of it is known.
    History(Option<ZoneHistory>),
    /// A zone with its proof; see [`crate::proof::verify`].
    Proved {
        /// What it holds; `None`: there is no such zone.
        version: Option<Version>,
        /// What shows that to who has the state's root.
        proof: Proof,
    },
}

impl ZonesAnswer {
    /// Reads an answer.
    ///
    /// # Errors
    /// [`WireError`] if it is none of this application's.
    pub fn decode(bytes: &[u8]) -> Result<ZonesAnswer, WireError> {
        wire::decode(bytes)
    }
}

/// Answers from `app`'s state.
pub fn answer(app: &ZonesApp, query: &ZonesQuery) -> ZonesAnswer {
    let state = app.state();
    match query {
        ZonesQuery::Get { zone } => {
            ZonesAnswer::Get(state.record(zone).map(|record| entry(app, zone, record)))
        }
        ZonesQuery::List { below, after, limit } => {
            list(app, below.as_ref().unwrap_or(&ZoneName::root()), after.as_ref(), *limit)
        }
        ZonesQuery::History { zone } => ZonesAnswer::History(state.record(zone).map(|record| ZoneHistory {
            versions: record.versions().copied().collect(),
            is_cut: record.is_cut(),
        })),
        ZonesQuery::Prove { zone } => ZonesAnswer::Proved {
            version: state.live().get(zone).map(|record| *record.current()),
            proof: state.tree().prove(&Path::of(zone.as_wire())),
        },
    }
}

fn list(app: &ZonesApp, below: &ZoneName, after: Option<&ZoneName>, limit: u32) -> ZonesAnswer {
    let limit = match usize::try_from(limit) {
        Ok(limit @ 1..ZONES_LIST_ENTRIES_MAX) => limit,
        _ => ZONES_LIST_ENTRIES_MAX,
    };
    let mut zones = app.state().zones(below, after);
    let entries = zones.by_ref().take(limit).map(|(zone, record)| entry(app, zone, record)).collect();
    ZonesAnswer::List { entries, more: zones.next().is_some() }
}

fn entry(app: &ZonesApp, zone: &ZoneName, record: &ZoneRecord) -> ZoneEntry {
    ZoneEntry {
        zone: zone.clone(),
        version: *record.current(),
        earlier: u32::try_from(record.versions().len() - 1).expect("a zone has few versions"),
        broken: app.broken(zone).map(str::to_owned),
    }
}
