//! From a zone file to a zone that can be served, or to all that is wrong with it.

use crate::check::check;
use crate::fault::{Fault, Faults};
use crate::name::Name;
use crate::zone::Zone;
use crate::zone_file;

impl Zone {
    /// The zone that `file` describes: read, checked and built.
    ///
    /// # Errors
    /// What is wrong with the file ([`zone_file::parse`]), or, if nothing is, with the zone ([`check()`]): the first
    /// [`FAULTS_MAX`](crate::FAULTS_MAX) faults.
    pub fn load(origin: &Name, file: &[u8]) -> Result<Zone, Faults> {
        let file = zone_file::parse(file, origin)?;
        let faults = check(origin, &file.records, &file.lines);
        if !faults.is_empty() {
            return Err(Faults::new(faults));
        }
        // The check asks for more than this does, so this is for what only it knows: its limits.
        Zone::build(origin, file.records).map_err(|why| Faults::new(vec![Fault::new(0, 0, why.to_string())]))
    }
}
