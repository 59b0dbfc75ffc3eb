//! DNS data: names, record types, rdata, zone files, and zones built for look-up.
//!
//! A zone file is replicated, and what is wrong with one is part of an outcome and so of the hash chain. So the parser is
//! this crate's own: what it takes, and the words in which it refuses, change only with this crate's version.
//!
//! Nothing here does I/O, reads a clock or draws a random number; nothing here knows messages, transports or nodes.
//! Bytes from outside never panic, take time in proportion to their length, and memory within the limits that
//! [`zone_file`] states.
//!
//! Start with [`record`] (what a zone is made of), then [`zone_file`] (from text to records), [`mod@check`] (what makes a
//! zone unservable), and [`rdata`] (the one table that says how each type is written and laid out).

pub mod check;
pub mod diff;
mod fault;
mod load;
pub mod name;
mod number;
mod order;
pub mod rdata;
pub mod record;
pub mod rtype;
mod serial;
pub mod zone;
pub mod zone_file;

pub use check::check;
pub use diff::{Diff, diff};
pub use fault::{FAULT_TEXT_BYTES_MAX, FAULTS_MAX, Fault, Faults};
pub use name::{Name, NameError};
pub use record::Record;
pub use rtype::Rtype;
pub use serial::serial_is_newer;
pub use zone::{BuildError, Zone, Zones};
