//! The registry: which kinds of application this program has.

use synod_machine::Application;

/// The kinds, as genesis names them.
pub const KINDS: &[&str] = &["kv"];

/// A new application of this kind; `None` if there is no such kind.
pub fn new(kind: &str) -> Option<Box<dyn Application>> {
    match kind {
        "kv" => Some(Box::new(synod_app_kv::Kv::new())),
        _ => None,
    }
}
