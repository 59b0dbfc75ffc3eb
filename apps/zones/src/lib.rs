//! A zones application: DNS zones whose contents signed commands decide. Set a zone, set several at once, delete, roll
//! back to what a zone held in an earlier state; get, list, history.
//!
//! The state maps a zone's name to the hash of its zone file, with what the command said of the file, and remembers what
//! it mapped to before. The files travel beside the log ([`synod_machine::Application`] says how). The zones built from
//! them, of which DNS queries are answered ([`synod_zone::Zones`]), follow from state and files, and are neither in a
//! snapshot nor in a digest. A change builds the zones that change and shares the others.
//!
//! What a zone holds can be proved against one digest of the state, its root: see [`proof`].
//!
//! Nothing here knows commanders, sessions or signatures, which are the machine's, nor any message of DNS. Start with
//! [`op`] (what a command can do) and [`query`] (what a reader can ask).

mod apply;
pub mod name;
pub mod op;
pub mod proof;
pub mod query;
mod served;
pub mod state;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use synod_machine::{Application, Context, QueryError, RestoreError};
use synod_types::{ContentKey, Digest, Refusal, RefusalCode, StateNdx, wire};
use synod_zone::zone::Served;
use synod_zone::{Zone, Zones};

pub use name::ZoneName;
pub use op::{Content, Expected, ZoneChange, ZonesOp, ZonesReply};
pub use query::{ZoneEntry, ZoneHistory, ZonesAnswer, ZonesQuery};
use served::ServedZones;
pub use state::Version;
use state::ZonesState;

/// Characters of a scope that a refusal shows.
const SCOPE_CHARS_SHOWN: usize = 64;

/// The application.
#[derive(Clone, Default)]
pub struct ZonesApp {
    state: ZonesState,
    served: ServedZones,
}

impl ZonesApp {
    /// The name of this kind of application, as in a configuration.
    pub const KIND: &'static str = "zones";

    /// No zones.
    pub fn new() -> ZonesApp {
        ZonesApp::default()
    }

    /// The state, for who reads it in the same process.
    pub fn state(&self) -> &ZonesState {
        &self.state
    }

    /// A zone to keep, across states if need be.
    pub fn zone_arc(&self, zone: &ZoneName) -> Option<Arc<Zone>> {
        self.served.zone(zone.as_wire()).cloned()
    }

    /// Why a zone cannot be answered from, if so: its file is not what the command said of it.
    pub fn broken(&self, zone: &ZoneName) -> Option<&str> {
        self.served.broken(zone.as_wire())
    }
}

impl Zones for ZonesApp {
    fn zone(&self, origin: &[u8]) -> Option<&Zone> {
        self.served.zone(origin).map(Arc::as_ref)
    }

    fn served(&self, origin: &[u8]) -> Option<Served<'_>> {
        self.served.served(origin)
    }
}

impl Application for ZonesApp {
    fn kind(&self) -> &'static str {
        ZonesApp::KIND
    }

    fn check(&self, operation: &[u8]) -> Result<(), Refusal> {
        ZonesOp::decode(operation).map(drop)
    }

    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        let op = ZonesOp::decode(operation)?;
        let before: Vec<(&ZoneName, Option<Content>)> =
            op.zones().map(|zone| (zone, self.state.content(zone))).collect();
        let reply = apply::apply(&mut self.state, context, &op)?;
        for (zone, before) in before {
            let now = self.state.content(zone);
            if now != before {
                self.served.on_changed(zone, before, now);
            }
        }
        Ok(wire::encode(&reply).into())
    }

    /// A scope is a zone's name: that zone and those below it.
    fn check_scope(&self, scope: &str) -> Result<(), Refusal> {
        scope_zone(scope).map(drop)
    }

    fn check_within(&self, scopes: &[String], operation: &[u8]) -> Result<(), Refusal> {
        let op = ZonesOp::decode(operation)?;
        let scopes = scopes.iter().map(|scope| scope_zone(scope)).collect::<Result<Vec<_>, _>>()?;
        let outside = op.zones().find(|zone| !scopes.iter().any(|scope| zone.is_at_or_below(scope)));
        outside.map_or(Ok(()), |zone| {
            let text = format!("zone {} lies in none of the commander's scopes", zone.shown());
            Err(Refusal::new(RefusalCode::NotPermitted, text))
        })
    }

    fn query(&self, _: StateNdx, query: &[u8]) -> Result<Bytes, QueryError> {
        let query = ZonesQuery::decode(query)?;
        Ok(wire::encode(&query::answer(self, &query)).into())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.state.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.state = ZonesState::restore(snapshot)?;
        self.served = ServedZones::of(&self.state);
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest::of(&[&self.state.snapshot()])
    }

    fn root(&self) -> Digest {
        proof::root(&self.state.tree().root())
    }

    fn fork(&self) -> Box<dyn Application> {
        Box::new(self.clone())
    }

    fn content_of(&self, operation: &[u8]) -> Vec<ContentKey> {
        let Ok(op) = ZonesOp::decode(operation) else { return Vec::new() };
        // One file may serve several zones.
        op.changes().iter().map(|change| change.content).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Parses the file and holds it to the rules of [`Zone::load`], for each zone that is to have it.
    fn check_content(&self, operation: &[u8], key: &ContentKey, file: &[u8]) -> Result<(), Refusal> {
        let op = ZonesOp::decode(operation)?;
        op.changes()
            .iter()
            .filter(|change| change.content == *key)
            .try_for_each(|change| check_file(change, file))
    }

    fn refers_to(&self, key: &ContentKey) -> bool {
        self.state.refers_to(key)
    }

    fn contents(&self) -> Vec<(ContentKey, u64)> {
        self.state.contents()
    }

    fn wanted(&self) -> Vec<ContentKey> {
        self.served.wanted()
    }

    fn supply(&mut self, key: &ContentKey, file: &[u8]) {
        self.served.supply(&self.state, key, file);
    }
}

fn scope_zone(scope: &str) -> Result<ZoneName, Refusal> {
    // The parser's own words stay out of the text, which is replicated.
    ZoneName::parse(scope).map_err(|_| {
        let shown: String = scope.chars().take(SCOPE_CHARS_SHOWN).collect();
        Refusal::new(RefusalCode::Malformed, format_args!("the scope {shown:?} is no zone's name"))
    })
}

/// Whether a file is a zone, and the one that the operation says.
fn check_file(change: &ZoneChange, file: &[u8]) -> Result<(), Refusal> {
    let zone = change.zone.shown();
    let refuse = |text: String| Err(Refusal::new(RefusalCode::Malformed, text));
    let bytes = u64::try_from(file.len()).unwrap_or(u64::MAX);
    if bytes != change.bytes {
        return refuse(format!(
            "the file of zone {zone} has {bytes} bytes; the command says {}",
            change.bytes
        ));
    }
    match Zone::load(&change.zone.to_name(), file) {
        Err(faults) => refuse(format!("zone {zone} {}", faults.first())),
        Ok(loaded) if loaded.serial() != change.serial => {
            let (serial, claimed) = (loaded.serial(), change.serial);
            refuse(format!("the file of zone {zone} has serial {serial}; the command says {claimed}"))
        }
        Ok(_) => Ok(()),
    }
}
