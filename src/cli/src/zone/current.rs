//! What the cluster holds, read over HTTP.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_types::{AppNdx, ContentKey, StateNdx};
use synod_zone::{Name, Record, zone_file};

use crate::connection::Cluster;
use crate::exit::Failure;
use crate::reader::{Answer, Reader, percent_encoded};

/// Zones that one question asks for.
const PAGE_ZONES: u32 = 1000;
/// The form of a zone file (RFC 4027).
const ZONE_FILE: &str = "text/dns";

/// What a zone holds from some state on. Without content it was deleted there.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    /// SHA3-256 of the file, as hex digits.
    pub(super) key: Option<String>,
    pub(super) serial: Option<u32>,
    pub(super) bytes: Option<u64>,
    pub(super) changed: u64,
    pub(super) time_ms: u64,
    pub(super) commander: String,
    pub(super) rolled_back_to: Option<u64>,
}

/// What is known of a zone.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) zone: String,
    #[serde(flatten)]
    pub(super) version: Version,
    /// How many earlier versions are known.
    pub(super) earlier: u32,
    /// Why queries for it are answered with SERVFAIL, if they are.
    pub(super) broken: Option<String>,
}

/// A page of zones.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    pub(super) zones: Vec<Entry>,
    pub(super) more: bool,
}

/// A zone's versions, the latest first.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct History {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    pub(super) zone: String,
    pub(super) versions: Vec<Version>,
    /// There were versions before these.
    pub(super) cut: bool,
}

/// What a zone holds, for who compares or changes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Facts {
    pub(super) origin: Name,
    pub(super) content: ContentKey,
    pub(super) serial: u32,
    /// The state that made it so.
    pub(super) changed: StateNdx,
}

/// The zones of one application.
pub(super) struct Current {
    reader: Reader,
    base: String,
}

impl Current {
    pub(super) fn of(cluster: &Cluster, app: AppNdx) -> anyhow::Result<Current> {
        Ok(Current { reader: cluster.reader()?, base: format!("/v1/apps/{app}/zones") })
    }

    /// What a zone holds, after everything that was acknowledged before this call; `None`: there is no such zone.
    pub(super) async fn zone(&self, origin: &Name) -> anyhow::Result<Option<Facts>> {
        match self.reader.get(&self.path(origin), &linearizable()).await {
            Ok(answer) => Ok(Some(Facts::of(&answer.json()?)?)),
            Err(Failure::NoSuchKey(_)) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Every zone.
    pub(super) async fn all(&self) -> anyhow::Result<Vec<Facts>> {
        let mut all: Vec<Facts> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut parameters = linearizable();
            parameters.push(("limit", PAGE_ZONES.to_string()));
            parameters.extend(after.map(|after| ("after", after)));
            let page: Page = self.reader.get(&self.base, &parameters).await?.json()?;
            for entry in &page.zones {
                all.push(Facts::of(entry)?);
            }
            match page.zones.last() {
                Some(last) if page.more => after = Some(last.zone.clone()),
                _ => return Ok(all),
            }
        }
    }

    /// The file of a zone.
    pub(super) async fn file(&self, origin: &Name, parameters: &[(&str, String)]) -> Result<Answer, Failure> {
        self.reader.get_as(ZONE_FILE, &self.path(origin), parameters).await
    }

    /// What a zone holds, as JSON.
    pub(super) async fn entry(
        &self,
        origin: &Name,
        parameters: &[(&str, String)],
    ) -> Result<Answer, Failure> {
        self.reader.get(&self.path(origin), parameters).await
    }

    pub(super) async fn page(&self, parameters: &[(&str, String)]) -> anyhow::Result<Page> {
        self.reader.get(&self.base, parameters).await?.json()
    }

    pub(super) async fn history(
        &self,
        origin: &Name,
        parameters: &[(&str, String)],
    ) -> anyhow::Result<History> {
        self.reader.get(&format!("{}/history", self.path(origin)), parameters).await?.json()
    }

    /// The records of a zone, from the very file that `facts` name.
    pub(super) async fn records(&self, facts: &Facts) -> anyhow::Result<Vec<Record>> {
        let parameters = [("min", facts.changed.to_string())];
        let file = self.file(&facts.origin, &parameters).await?.body;
        let Facts { origin, content, .. } = facts;
        if ContentKey::of(&file) != *content {
            let text = format!("{origin} changed while it was read; try again");
            return Err(Failure::Refused(text).into());
        }
        records(origin, &file)
    }

    fn path(&self, origin: &Name) -> String {
        format!("{}/{}", self.base, percent_encoded(origin.to_string().as_bytes()))
    }
}

/// The records in a file that the cluster holds.
pub(super) fn records(origin: &Name, file: &Bytes) -> anyhow::Result<Vec<Record>> {
    let parsed = zone_file::parse(file, origin);
    let parsed =
        parsed.map_err(|faults| anyhow::anyhow!("the file that {origin} holds: {}", faults.first()))?;
    Ok(parsed.records)
}

fn linearizable() -> Vec<(&'static str, String)> {
    vec![("consistency", "linearizable".to_owned())]
}

impl Facts {
    fn of(entry: &Entry) -> anyhow::Result<Facts> {
        let unexpected =
            || anyhow::anyhow!("the node's answer on zone {} is not what is expected", entry.zone);
        let Version { key, serial, changed, .. } = &entry.version;
        Ok(Facts {
            origin: Name::parse(&entry.zone)?,
            content: key.as_ref().and_then(|key| key.parse().ok()).ok_or_else(unexpected)?,
            serial: serial.ok_or_else(unexpected)?,
            changed: StateNdx(*changed),
        })
    }
}
