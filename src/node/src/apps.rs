//! The registry: which kinds of application this program has.

use synod_machine::Application;

/// The kinds, as genesis names them.
pub const KINDS: &[&str] = &["kv", ZONES];

/// The kind whose zones the DNS front end serves.
pub const ZONES: &str = synod_app_zones::ZonesApp::KIND;

/// A new application of this kind; `None` if there is no such kind.
pub fn new(kind: &str) -> Option<Box<dyn Application>> {
    match kind {
        "kv" => Some(Box::new(synod_app_kv::Kv::new())),
        ZONES => Some(Box::new(synod_app_zones::ZonesApp::new())),
        _ => None,
    }
}
