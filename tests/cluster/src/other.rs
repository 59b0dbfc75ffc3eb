//! What a node with the program `synod-other` finds in its environment: of which build it is to be.

use std::ffi::OsString;

/// The wire versions that it speaks, such as `1-2`.
pub const WIRE: &str = "SYNOD_OTHER_WIRE";
/// The levels that it knows, such as `1`.
pub const LEVELS: &str = "SYNOD_OTHER_LEVELS";
/// What it calls itself.
pub const VERSION: &str = "SYNOD_OTHER_VERSION";

/// All of these.
pub fn program(version: &str, wire: &str, levels: &str) -> Vec<(&'static str, OsString)> {
    [(VERSION, version), (WIRE, wire), (LEVELS, levels)]
        .into_iter()
        .map(|(name, value)| (name, OsString::from(value)))
        .collect()
}
