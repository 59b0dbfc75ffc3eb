//! What queries are answered from: zones built from their files. All of it follows from the state and the files, and
//! none of it is part of the state.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use synod_machine::Key;
use synod_types::ContentKey;
use synod_zone::zone::Served;
use synod_zone::{Zone, zone_file};

use crate::name::ZoneName;
use crate::op::Content;
use crate::state::ZonesState;

/// The built zones, in persistent maps: a copy is O(1), and a change touches the zone that changes.
#[derive(Clone, Default)]
pub(crate) struct ServedZones {
    /// By origin, in uncompressed wire form and lower case.
    zones: OrdMap<Key, Slot>,
    /// The files that are missing, and the zones that wait for each.
    missing: OrdMap<ContentKey, OrdSet<ZoneName>>,
}

/// One zone.
#[derive(Clone)]
enum Slot {
    /// Its file has not come yet.
    Missing,
    Ready(Arc<Zone>),
    /// Its file is not what the command said of it. Why.
    Broken(Arc<String>),
}

impl ServedZones {
    /// Nothing but the zones of `state`, all of whose files are missing.
    pub(crate) fn of(state: &ZonesState) -> ServedZones {
        let mut served = ServedZones::default();
        for (zone, record) in state.zones(&ZoneName::root(), None) {
            served.on_changed(zone, None, record.current().content);
        }
        served
    }

    /// A zone holds something else now.
    pub(crate) fn on_changed(&mut self, zone: &ZoneName, before: Option<Content>, now: Option<Content>) {
        if let Some(Content { key, .. }) = before
            && let Some(mut waiting) = self.missing.get(&key).cloned()
        {
            waiting.remove(zone);
            if waiting.is_empty() {
                self.missing.remove(&key);
            } else {
                self.missing.insert(key, waiting);
            }
        }
        match now {
            None => {
                self.zones.remove(zone.as_wire());
            }
            Some(Content { key, .. }) => {
                self.zones.insert(Key::new(zone.as_wire()), Slot::Missing);
                self.missing.entry(key).or_default().insert(zone.clone());
            }
        }
    }

    /// The files that are missing.
    pub(crate) fn wanted(&self) -> Vec<ContentKey> {
        self.missing.keys().copied().collect()
    }

    /// Builds the zones that wait for a file.
    pub(crate) fn supply(&mut self, state: &ZonesState, key: &ContentKey, file: &[u8]) {
        let Some(waiting) = self.missing.remove(key) else { return };
        for zone in waiting {
            let claimed = state.content(&zone).expect("only a zone with content waits for a file");
            let slot = match build(&zone, claimed, file) {
                Ok(built) => Slot::Ready(Arc::new(built)),
                Err(why) => Slot::Broken(Arc::new(why)),
            };
            self.zones.insert(Key::new(zone.as_wire()), slot);
        }
    }

    /// The built zone with this origin, in uncompressed wire form and lower case.
    pub(crate) fn zone(&self, origin: &[u8]) -> Option<&Arc<Zone>> {
        match self.zones.get(origin)? {
            Slot::Ready(zone) => Some(zone),
            Slot::Missing | Slot::Broken(_) => None,
        }
    }

    /// Why the zone with this origin is broken, if it is.
    pub(crate) fn broken(&self, origin: &[u8]) -> Option<&str> {
        match self.zones.get(origin)? {
            Slot::Broken(why) => Some(why),
            Slot::Missing | Slot::Ready(_) => None,
        }
    }

    /// The zone with this origin, also where there is none to answer from.
    pub(crate) fn served(&self, origin: &[u8]) -> Option<Served<'_>> {
        Some(match self.zones.get(origin)? {
            Slot::Ready(zone) => Served::Whole(zone),
            Slot::Missing | Slot::Broken(_) => Served::Broken,
        })
    }
}

/// Not as strict as where the file entered: a rule that came later does not end a zone that is published already.
fn build(zone: &ZoneName, claimed: Content, file: &[u8]) -> Result<Zone, String> {
    let origin = zone.to_name();
    let parsed = zone_file::parse(file, &origin).map_err(|faults| faults.first().to_string())?;
    let built = Zone::build(&origin, parsed.records).map_err(|why| why.to_string())?;
    if built.serial() != claimed.serial {
        let (serial, claimed) = (built.serial(), claimed.serial);
        return Err(format!("the file has serial {serial}, and the command says {claimed}"));
    }
    Ok(built)
}
