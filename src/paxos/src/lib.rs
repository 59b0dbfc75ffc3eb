//! Being written.
pub mod event;
pub use event::{Effect, Event, PersistNdx, ReadId};
