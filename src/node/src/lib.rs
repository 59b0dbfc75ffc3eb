//! One node, put together: configuration, journal, mesh, protocol core, applications, ports.
//!
//! This is the only crate that knows all the others, and it decides nothing that they could decide. A command's way:
//! the back end gives it to the [`intake`], the driver hands it to the protocol core or to the leader, the core's
//! effects go to journal and mesh, and what is chosen goes to the applier, which publishes the new state and answers.
//! A command that refers to files waits at the gate first, until a majority holds them; the content task gets and gives
//! files. Start with [`node`], which opens and closes everything in order.

mod applier;
pub mod apps;
mod certificates;
mod chains;
pub mod config;
mod content;
mod cosigning;
mod directories;
mod disk;
pub mod divergence;
mod dns;
mod driver;
mod durable;
mod fitness;
mod freshness;
pub mod front;
mod fronts;
mod gate;
mod hearsay;
mod http;
mod inbox;
pub mod intake;
pub mod lanes;
mod life;
mod log;
mod metrics;
pub mod node;
mod progress;
mod recovery;
mod remote;
mod roster;
mod scrub;
pub mod seed;
#[cfg(test)]
mod shelf;
mod snapshots;
mod space;
mod start_error;
mod states;
mod status;
mod tasks;
mod upgrade;
mod yards;

pub use config::Config;
pub use front::Front;
pub use node::{Addresses, Node};
pub use snapshots::beginning::{Beginning, BeginningError, Voucher};
pub use start_error::StartError;
