//! The document that founds a cluster: its nodes, its first administrators and its applications.
//!
//! It is JSON that a person can read and review. The cluster's id is the SHA3-256 of its bytes, so it never changes:
//! whatever changes later (members, commanders) is state of the cluster, in its logs.
//!
//! A cluster that goes on from the states of another one, of a backup or of what is left after a disaster, has an [`Origin`] in
//! its document. That vouches for these states, and is why its format is another one: a program that does not know of
//! origins must not found such a cluster as if there had been nothing before.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use synod_types::limits::{ADMINISTRATORS_MAX, APPS_MAX, GENESIS_BYTES_MAX, MEMBERS_MAX, NAME_BYTES_MAX};
use synod_types::name::is_name;
use synod_types::versions::LEVELS;
use synod_types::{
    AppNdx, ClusterId, CommanderId, Configuration, Digest, Epoch, Level, NodeId, Slot, StateNdx, TimeMs,
};

use crate::key::{Algorithm, PublicKey};
use crate::random;

/// What the field `format` says.
const FORMAT: &str = "synod/genesis/v1";
/// What it says in a document with an origin.
const FORMAT_WITH_ORIGIN: &str = "synod/genesis/v2";

/// What founds a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// The cluster's name, for people.
    pub name: String,
    /// When it was written.
    pub created: TimeMs,
    /// Random, so that two clusters that are otherwise founded alike are two.
    pub nonce: [u8; 16],
    /// The first members.
    pub nodes: Vec<GenesisNode>,
    /// Who may do everything in every application, until commands say otherwise.
    pub administrators: Vec<GenesisAdministrator>,
    /// How many administrators must sign each change of who commands; in the document only where it is not 1.
    pub signatures_needed: u32,
    /// By which rules every application begins; in the document only where it is not 1, so that those that were written before
    /// there were levels are what they were.
    pub level: Level,
    /// The applications.
    pub apps: Vec<GenesisApp>,
    /// With which states it begins, where that is not with nothing.
    pub origin: Option<Origin>,
}

/// With which states of another cluster one begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The other cluster.
    pub cluster: ClusterId,
    /// The first epoch, whose members are those of the document: later than any that the other cluster can have come to.
    pub epoch: Epoch,
    /// The state of each application, in the order of the document's.
    pub apps: Vec<OriginApp>,
}

/// The state with which an application begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OriginApp {
    /// The application.
    pub ndx: AppNdx,
    /// The slot behind which the log begins: one more than the last one of the other cluster that is in the state.
    pub slot: Slot,
    /// How many commands and expiries had been executed.
    pub state_ndx: StateNdx,
    /// The hash chain there.
    pub chain: Digest,
    /// What the snapshot of that state holds, without the cluster's id: `synod_machine::snapshot::digest_without_cluster`.
    pub state: Digest,
}

/// A first member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenesisNode {
    /// Its name, for people.
    pub name: String,
    /// Its Ed25519 key, which is the key of its certificate, too.
    pub key: PublicKey,
}

/// A first administrator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenesisAdministrator {
    /// The name, for people.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// An application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenesisApp {
    /// Its number in the cluster.
    pub ndx: AppNdx,
    /// Its name, for people.
    pub name: String,
    /// Which kind of application it is (`"kv"`).
    pub kind: String,
}

/// Why bytes are not a genesis document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Too many bytes.
    #[error("the genesis document has {0} bytes; at most {GENESIS_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// Not JSON, or not of this form.
    #[error("the genesis document cannot be read: {0}")]
    Syntax(String),
    /// It reads, and says what cannot be.
    #[error("the genesis document has {0}")]
    Mistakes(Mistakes),
}

/// Everything that is wrong with a document, each with its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mistakes(pub Vec<String>);

impl Mistakes {
    fn add(&mut self, place: impl fmt::Display, problem: impl fmt::Display) {
        self.0.push(format!("{place}: {problem}"));
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("a mistake: ")?,
            count => write!(f, "{count} mistakes: ")?,
        }
        f.write_str(&self.0.join("; "))
    }
}

impl GenesisNode {
    /// Its id.
    pub fn id(&self) -> NodeId {
        NodeId(self.key.id())
    }
}

impl GenesisAdministrator {
    /// The id.
    pub fn id(&self) -> CommanderId {
        CommanderId(self.key.id())
    }
}

impl Genesis {
    /// Founds a cluster that never was before, on the newest level, where each administrator changes alone who commands. [`Genesis::parse`] of
    /// its bytes says whether it can be.
    pub fn new(
        name: impl Into<String>,
        created: TimeMs,
        nodes: Vec<GenesisNode>,
        administrators: Vec<GenesisAdministrator>,
        apps: Vec<GenesisApp>,
    ) -> Genesis {
        let (name, nonce) = (name.into(), random::bytes());
        let level = Level::NEWEST;
        Genesis {
            name,
            created,
            nonce,
            nodes,
            administrators,
            signatures_needed: 1,
            level,
            apps,
            origin: None,
        }
    }

    /// The state with which an application begins, if it does not begin with nothing.
    pub fn origin_of(&self, app: AppNdx) -> Option<&OriginApp> {
        self.origin.as_ref()?.apps.iter().find(|origin| origin.ndx == app)
    }

    /// Who decides in slot 1. In a cluster with an origin nobody does: what was before is decided, and whoever does not have it
    /// gets it from the others first.
    pub fn first_voters(&self) -> Configuration {
        match &self.origin {
            None => Configuration::genesis(self.members()),
            Some(_) => Configuration::of_nobody(),
        }
    }

    /// The first members, and the first epoch in which anything is decided.
    pub fn founding_voters(&self) -> Configuration {
        let epoch = self.origin.as_ref().map_or(Epoch(0), |origin| origin.epoch);
        Configuration { epoch, members: self.members() }
    }

    /// Reads a document, and says which cluster it founds.
    ///
    /// # Errors
    /// [`GenesisError::Mistakes`] names all of them at once.
    pub fn parse(bytes: &[u8]) -> Result<(Genesis, ClusterId), GenesisError> {
        if bytes.len() > GENESIS_BYTES_MAX {
            return Err(GenesisError::TooLarge(bytes.len()));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|why| {
            // A document of another version may have other fields; that it is one says more than which field is new.
            match serde_json::from_slice::<FormatOnly>(bytes) {
                Ok(FormatOnly { format }) if format != FORMAT && format != FORMAT_WITH_ORIGIN => {
                    GenesisError::Mistakes(Mistakes(vec![format!("format: {}", unknown_format(&format))]))
                }
                _ => GenesisError::Syntax(why.to_string()),
            }
        })?;
        let mut mistakes = Mistakes::default();
        let genesis = document.check(&mut mistakes);
        match genesis {
            Some(genesis) if mistakes.0.is_empty() => Ok((genesis, ClusterId(Digest::of(&[bytes])))),
            _ => Err(GenesisError::Mistakes(mistakes)),
        }
    }

    /// The document, as a person reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let holder = |name: &str, key: &PublicKey| HolderText {
            name: name.to_owned(),
            id: key.id().to_string(),
            key: BASE64.encode(key.spki_der()),
        };
        let document = Document {
            format: if self.origin.is_none() { FORMAT } else { FORMAT_WITH_ORIGIN }.to_owned(),
            name: self.name.clone(),
            created_ms: self.created.0,
            nonce: hex::encode(self.nonce),
            nodes: self.nodes.iter().map(|node| holder(&node.name, &node.key)).collect(),
            administrators: self.administrators.iter().map(|admin| holder(&admin.name, &admin.key)).collect(),
            signatures_needed: self.signatures_needed,
            level: self.level.0,
            apps: self
                .apps
                .iter()
                .map(|app| AppText { ndx: app.ndx.0, name: app.name.clone(), kind: app.kind.clone() })
                .collect(),
            origin: self.origin.as_ref().map(OriginText::of),
        };
        let mut bytes =
            serde_json::to_vec_pretty(&document).expect("strings and numbers always have a JSON form");
        bytes.push(b'\n');
        bytes
    }

    /// The first members, in the order of the document.
    pub fn members(&self) -> Vec<NodeId> {
        self.nodes.iter().map(GenesisNode::id).collect()
    }
}

/// The document as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    name: String,
    created_ms: u64,
    /// 16 bytes, hex.
    nonce: String,
    nodes: Vec<HolderText>,
    administrators: Vec<HolderText>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    signatures_needed: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    level: u32,
    apps: Vec<AppText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<OriginText>,
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

#[derive(Deserialize)]
struct FormatOnly {
    format: String,
}

/// Who holds a key. The id says nothing that the key does not; it is what people compare.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HolderText {
    name: String,
    id: String,
    /// SubjectPublicKeyInfo, DER, base64.
    key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AppText {
    ndx: u32,
    name: String,
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginText {
    cluster: String,
    epoch: u64,
    apps: Vec<OriginAppText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginAppText {
    ndx: u32,
    slot: u64,
    state_ndx: u64,
    chain: String,
    state: String,
}

impl OriginText {
    fn of(origin: &Origin) -> OriginText {
        let app = |app: &OriginApp| OriginAppText {
            ndx: app.ndx.0,
            slot: app.slot.0,
            state_ndx: app.state_ndx.0,
            chain: app.chain.to_string(),
            state: app.state.to_string(),
        };
        OriginText {
            cluster: origin.cluster.to_string(),
            epoch: origin.epoch.0,
            apps: origin.apps.iter().map(app).collect(),
        }
    }

    /// Finds every mistake; `None` only if there is one.
    fn check(&self, apps: &[AppText], mistakes: &mut Mistakes) -> Option<Origin> {
        if !self.apps.iter().map(|app| app.ndx).eq(apps.iter().map(|app| app.ndx)) {
            mistakes.add("origin.apps", "the very applications of the document are needed, in their order");
        }
        if self.epoch == 0 {
            mistakes.add("origin.epoch", "is 0, and there were epochs before it");
        }
        let mut digest = |place: String, text: &str| {
            let digest = text.parse::<Digest>().ok();
            if digest.is_none() {
                mistakes.add(place, "64 hex digits are expected");
            }
            digest
        };
        let cluster = digest("origin.cluster".to_owned(), &self.cluster).map(ClusterId);
        let app = |(n, app): (usize, &OriginAppText)| {
            let chain = digest(format!("origin.apps[{n}].chain"), &app.chain);
            let state = digest(format!("origin.apps[{n}].state"), &app.state);
            Some(OriginApp {
                ndx: AppNdx(app.ndx),
                slot: Slot(app.slot),
                state_ndx: StateNdx(app.state_ndx),
                chain: chain?,
                state: state?,
            })
        };
        let apps: Vec<Option<OriginApp>> = self.apps.iter().enumerate().map(app).collect();
        for (n, app) in self.apps.iter().enumerate() {
            if app.slot == 0 {
                mistakes
                    .add(format_args!("origin.apps[{n}].slot"), "is 0, and the origin takes a slot itself");
            }
        }
        let apps = apps.into_iter().collect::<Option<_>>()?;
        Some(Origin { cluster: cluster?, epoch: Epoch(self.epoch), apps })
    }
}

fn unknown_format(format: &str) -> String {
    format!(
        "{format:?} is not known: {FORMAT:?} and, with an origin, {FORMAT_WITH_ORIGIN:?} are the only ones that this version reads"
    )
}

impl Document {
    /// Finds every mistake; `None` only if there is one.
    fn check(self, mistakes: &mut Mistakes) -> Option<Genesis> {
        match (&self.format[..], &self.origin) {
            (FORMAT, None) | (FORMAT_WITH_ORIGIN, Some(_)) => {}
            (FORMAT, Some(_)) | (FORMAT_WITH_ORIGIN, None) => {
                let text =
                    format!("a document has an origin if and only if its format is {FORMAT_WITH_ORIGIN:?}");
                mistakes.add("origin", text);
            }
            _ => mistakes.add("format", unknown_format(&self.format)),
        }
        check_name("name", &self.name, mistakes);
        let mut nonce = [0; 16];
        if hex::decode_to_slice(&self.nonce, &mut nonce).is_err() {
            mistakes.add("nonce", "16 bytes in hex (32 digits) are expected");
        }
        let nodes = check_holders("nodes", &self.nodes, MEMBERS_MAX, mistakes);
        for (n, key) in nodes.iter().enumerate() {
            if let Some(key) = key.as_ref().filter(|key| key.algorithm() != Algorithm::Ed25519) {
                mistakes.add(
                    format_args!("nodes[{n}].key"),
                    format_args!("is {}, and a node's key must be ed25519", key.algorithm()),
                );
            }
        }
        let administrators =
            check_holders("administrators", &self.administrators, ADMINISTRATORS_MAX, mistakes);
        let needed = usize::try_from(self.signatures_needed).unwrap_or(usize::MAX);
        if !(1..=administrators.len().max(1)).contains(&needed) {
            mistakes.add(
                "signatures_needed",
                format_args!(
                    "is {needed}; 1 to {}, the number of administrators, are possible",
                    administrators.len()
                ),
            );
        }
        if !LEVELS.contains(self.level) {
            let level = self.level;
            mistakes.add(
                "level",
                format_args!("is {level}, and this program knows level {LEVELS}: install a newer program"),
            );
        }
        check_apps(&self.apps, mistakes);
        let origin = match &self.origin {
            None => None,
            Some(origin) => Some(origin.check(&self.apps, mistakes)?),
        };
        let nodes = self.nodes.into_iter().zip(nodes);
        let administrators = self.administrators.into_iter().zip(administrators);
        let apps = self.apps.into_iter();
        Some(Genesis {
            name: self.name,
            created: TimeMs(self.created_ms),
            nonce,
            nodes: nodes
                .map(|(text, key)| Some(GenesisNode { name: text.name, key: key? }))
                .collect::<Option<_>>()?,
            administrators: administrators
                .map(|(text, key)| Some(GenesisAdministrator { name: text.name, key: key? }))
                .collect::<Option<_>>()?,
            signatures_needed: self.signatures_needed,
            level: Level(self.level),
            apps: apps
                .map(|text| GenesisApp { ndx: AppNdx(text.ndx), name: text.name, kind: text.kind })
                .collect(),
            origin,
        })
    }
}

fn check_count(place: &str, count: usize, max: usize, mistakes: &mut Mistakes) {
    if !(1..=max).contains(&count) {
        mistakes.add(place, format_args!("there are {count}; 1 to {max} are needed"));
    }
}

fn check_name(place: impl fmt::Display, name: &str, mistakes: &mut Mistakes) {
    if !is_name(name) {
        mistakes.add(
            place,
            format_args!(
                "{name:?} is not a name: 1 to {NAME_BYTES_MAX} of a-z, 0-9, '-', '_' and '.' are needed"
            ),
        );
    }
}

/// Remembers what was seen, and complains where it comes again.
fn check_unique<T: Ord + fmt::Display>(
    place: impl fmt::Display,
    value: T,
    seen: &mut BTreeSet<T>,
    mistakes: &mut Mistakes,
) {
    if seen.contains(&value) {
        mistakes.add(place, format_args!("{value} is used twice"));
    }
    seen.insert(value);
}

/// The key of each holder; `None` where there is a mistake in it.
fn check_holders<'a>(
    place: &str,
    holders: &'a [HolderText],
    max: usize,
    mistakes: &mut Mistakes,
) -> Vec<Option<PublicKey>> {
    check_count(place, holders.len(), max, mistakes);
    let [mut names, mut ids] = [BTreeSet::new(), BTreeSet::new()];
    let check = |(n, holder): (usize, &'a HolderText)| {
        let place = format!("{place}[{n}]");
        check_name(format_args!("{place}.name"), &holder.name, mistakes);
        check_unique(format_args!("{place}.name"), holder.name.as_str(), &mut names, mistakes);
        check_unique(format_args!("{place}.id"), holder.id.as_str(), &mut ids, mistakes);
        let key = BASE64
            .decode(&holder.key)
            .map_err(|why| format!("is not base64: {why}"))
            .and_then(|der| PublicKey::from_spki_der(&der).map_err(|why| why.to_string()))
            .map_err(|problem| mistakes.add(format_args!("{place}.key"), problem))
            .ok()?;
        if key.id().to_string() != holder.id {
            mistakes.add(
                format_args!("{place}.id"),
                format_args!("{:?} is not the SHA3-256 of the key, which is {}", holder.id, key.id()),
            );
        }
        Some(key)
    };
    holders.iter().enumerate().map(check).collect()
}

fn check_apps(apps: &[AppText], mistakes: &mut Mistakes) {
    check_count("apps", apps.len(), APPS_MAX, mistakes);
    let [mut names, mut ndxs] = [BTreeSet::new(), BTreeSet::new()];
    for (n, app) in apps.iter().enumerate() {
        check_name(format_args!("apps[{n}].name"), &app.name, mistakes);
        check_name(format_args!("apps[{n}].kind"), &app.kind, mistakes);
        check_unique(format_args!("apps[{n}].name"), app.name.clone(), &mut names, mistakes);
        check_unique(format_args!("apps[{n}].ndx"), app.ndx.to_string(), &mut ndxs, mistakes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing_key::SigningKey;

    fn key(algorithm: Algorithm) -> PublicKey {
        SigningKey::generate(algorithm).public().clone()
    }

    fn node(n: usize) -> GenesisNode {
        GenesisNode { name: format!("node-{n}"), key: key(Algorithm::Ed25519) }
    }

    fn app(ndx: u32) -> GenesisApp {
        GenesisApp { ndx: AppNdx(ndx), name: format!("app-{ndx}"), kind: "kv".into() }
    }

    fn genesis(nodes: usize, administrators: usize, apps: u32) -> Genesis {
        let admin = |n| GenesisAdministrator { name: format!("admin-{n}"), key: key(Algorithm::Ed25519) };
        Genesis::new(
            "test",
            TimeMs(1_700_000_000_000),
            (0..nodes).map(node).collect(),
            (0..administrators).map(admin).collect(),
            (0..apps).map(app).collect(),
        )
    }

    fn mistakes(genesis: &Genesis) -> Vec<String> {
        mistakes_in(&String::from_utf8(genesis.to_bytes()).unwrap())
    }

    fn mistakes_in(text: &str) -> Vec<String> {
        match Genesis::parse(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(GenesisError::Mistakes(Mistakes(mistakes))) => mistakes,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_document_reads_back_and_its_bytes_are_the_cluster() {
        let genesis = genesis(3, 2, 2);
        let mut bytes = genesis.to_bytes();
        let (again, cluster) = Genesis::parse(&bytes).unwrap();
        assert_eq!(again, genesis);
        assert_eq!(cluster, ClusterId(Digest::of(&[&bytes])));
        assert_eq!(again.members(), genesis.nodes.iter().map(GenesisNode::id).collect::<Vec<_>>());
        bytes.push(b'\n');
        assert_ne!(Genesis::parse(&bytes).unwrap().1, cluster, "one more byte is another cluster");
    }

    #[test]
    fn no_more_signatures_are_asked_for_than_there_are_administrators() {
        let mut genesis = genesis(1, 3, 1);
        assert!(!String::from_utf8(genesis.to_bytes()).unwrap().contains("signatures_needed"));
        for (needed, is_possible) in
            [(0, false), (1, true), (2, true), (3, true), (4, false), (u32::MAX, false)]
        {
            genesis.signatures_needed = needed;
            match Genesis::parse(&genesis.to_bytes()) {
                Ok((again, _)) => assert_eq!((again.signatures_needed, is_possible), (needed, true)),
                Err(error) => {
                    assert!(
                        error.to_string().contains(&format!("signatures_needed: is {needed}")),
                        "{error}"
                    );
                    assert!(!is_possible);
                }
            }
        }
    }

    #[test]
    fn a_level_that_this_program_does_not_know_is_named() {
        let mut genesis = genesis(1, 1, 1);
        assert_eq!(genesis.level, Level::NEWEST, "a new cluster has the newest rules");
        for (level, is_known) in [(0, false), (1, true), (2, true), (77, false)] {
            genesis.level = Level(level);
            let text = String::from_utf8(genesis.to_bytes()).unwrap();
            assert_eq!(text.contains("\"level\""), level != 1, "what is silent is on level 1: {text}");
            let mistakes = mistakes(&genesis);
            assert_eq!(mistakes.is_empty(), is_known, "{mistakes:?}");
            if !is_known {
                assert!(mistakes[0].starts_with(&format!("level: is {level}, and this program knows")));
            }
        }
    }

    #[test]
    fn counts_have_exact_limits() {
        assert_eq!(mistakes(&genesis(MEMBERS_MAX, ADMINISTRATORS_MAX, 64)), [""; 0]);
        assert_eq!(mistakes(&genesis(1, 1, 1)), [""; 0]);
        for (genesis, place) in [
            (genesis(0, 1, 1), "nodes: there are 0; 1 to 15"),
            (genesis(MEMBERS_MAX + 1, 1, 1), "nodes: there are 16"),
            (genesis(1, 0, 1), "administrators: there are 0"),
            (genesis(1, ADMINISTRATORS_MAX + 1, 1), "administrators: there are 65"),
            (genesis(1, 1, 0), "apps: there are 0"),
            (genesis(1, 1, 65), "apps: there are 65"),
        ] {
            let mistakes = mistakes(&genesis);
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(place), "{place}: {mistakes:?}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut genesis = genesis(5, 1, 3);
        genesis.name = "Not A Name".into();
        genesis.nodes[1].name = genesis.nodes[0].name.clone();
        genesis.nodes[2].key = genesis.nodes[0].key.clone();
        genesis.nodes[3].key = key(Algorithm::Rsa2048);
        genesis.apps[1].ndx = genesis.apps[0].ndx;
        genesis.apps[2].name = genesis.apps[0].name.clone();
        genesis.apps[2].kind = String::new();
        let admin_id = genesis.administrators[0].id().to_string();
        let text = String::from_utf8(genesis.to_bytes())
            .unwrap()
            .replace(FORMAT, "synod/genesis/v9")
            .replace(&hex::encode(genesis.nonce), "00ff")
            .replace(&BASE64.encode(genesis.nodes[4].key.spki_der()), "AAAA")
            .replace(&admin_id, &Digest([7; 32]).to_string());
        let mistakes = mistakes_in(&text);
        let expected = [
            "format: \"synod/genesis/v9\" is not known",
            "name: \"Not A Name\" is not a name",
            "nonce: 16 bytes in hex",
            "nodes[1].name: node-0 is used twice",
            "nodes[2].id: ",
            "nodes[4].key: the bytes are not a public key",
            "nodes[3].key: is rsa-2048, and a node's key must be ed25519",
            "administrators[0].id: \"0707",
            "apps[1].ndx: 0 is used twice",
            "apps[2].kind: \"\" is not a name",
            "apps[2].name: app-0 is used twice",
        ];
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.starts_with(expected), "{mistake:?} instead of {expected:?}");
        }
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        let shown = Genesis::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(shown.contains("11 mistakes"), "{shown}");
    }

    #[test]
    fn other_documents_are_refused() {
        for text in ["", "{}", "[]", "not JSON", "{\"format\":\"synod/genesis/v1\"}"] {
            assert!(matches!(Genesis::parse(text.as_bytes()), Err(GenesisError::Syntax(_))), "{text}");
        }
        let text = String::from_utf8(genesis(1, 1, 1).to_bytes()).unwrap();
        let unknown = text.replacen("\"name\"", "\"extra\": 1, \"name\"", 1);
        assert!(matches!(Genesis::parse(unknown.as_bytes()), Err(GenesisError::Syntax(_))));
        let newer = unknown.replace(FORMAT, "synod/genesis/v3");
        assert!(mistakes_in(&newer)[0].starts_with("format: \"synod/genesis/v3\" is not known"));
    }

    fn with_origin() -> Genesis {
        let mut genesis = genesis(3, 1, 2);
        let app = |ndx: u32| OriginApp {
            ndx: AppNdx(ndx),
            slot: Slot(900 + u64::from(ndx)),
            state_ndx: StateNdx(800),
            chain: Digest([3; 32]),
            state: Digest([4; 32]),
        };
        let apps = vec![app(0), app(1)];
        genesis.origin = Some(Origin { cluster: ClusterId(Digest([9; 32])), epoch: Epoch(7), apps });
        genesis
    }

    #[test]
    fn an_origin_reads_back_and_is_another_format() {
        let genesis = with_origin();
        let bytes = genesis.to_bytes();
        assert_eq!(Genesis::parse(&bytes).unwrap().0, genesis);
        assert_eq!(genesis.origin_of(AppNdx(1)).unwrap().slot, Slot(901));
        assert_eq!(genesis.first_voters(), Configuration::of_nobody());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(FORMAT_WITH_ORIGIN) && !text.contains(FORMAT));
        let without = Genesis { origin: None, ..genesis };
        let plain = String::from_utf8(without.to_bytes()).unwrap();
        assert!(plain.contains(FORMAT) && !plain.contains("origin"));
        assert_eq!(without.first_voters(), Configuration::genesis(without.members()));
        for (text, wrong) in [(&text, FORMAT_WITH_ORIGIN), (&plain, FORMAT)] {
            let other = if wrong == FORMAT { FORMAT_WITH_ORIGIN } else { FORMAT };
            assert!(
                mistakes_in(&text.replace(wrong, other))[0]
                    .starts_with("origin: a document has an origin if")
            );
        }
    }

    #[test]
    fn all_mistakes_of_an_origin_are_reported() {
        let mut genesis = with_origin();
        let origin = genesis.origin.as_mut().unwrap();
        (origin.epoch, origin.apps[1].slot, origin.apps[1].ndx) = (Epoch(0), Slot(0), AppNdx(5));
        let text = String::from_utf8(genesis.to_bytes()).unwrap().replace(&"03".repeat(32), "03");
        let mistakes = mistakes_in(&text);
        let expected = [
            "origin.apps: the very applications",
            "origin.epoch: is 0",
            "origin.apps[0].chain: 64 hex digits",
            "origin.apps[1].chain: 64 hex digits",
            "origin.apps[1].slot: is 0",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.starts_with(expected), "{mistake:?} instead of {expected:?}");
        }
    }

    #[test]
    fn the_size_limit_is_exact() {
        let bytes = genesis(1, 1, 1).to_bytes();
        for (len, fits) in
            [(GENESIS_BYTES_MAX - 1, true), (GENESIS_BYTES_MAX, true), (GENESIS_BYTES_MAX + 1, false)]
        {
            let mut bytes = bytes.clone();
            bytes.resize(len, b' ');
            match Genesis::parse(&bytes) {
                Ok(_) => assert!(fits),
                Err(error) => assert_eq!((error, fits), (GenesisError::TooLarge(len), false)),
            }
        }
    }
}
