//! A deterministic world around the pure crates: the same seed gives the same run, to the last line.
//!
//! A [`world::World`] is a cluster with its clients in virtual time, on one thread. Its nodes are the real protocol core
//! and the real state machine, driven as `synod-node` drives them; its network, disks and clocks are made here, and
//! they fail as a [`swarm::Plan`] says. [`checks`] watch every event. A [`run`] is what one seed does; a [`scenario`] is
//! a story told step by step in a text file, with the trace that it must give.
//!
//! Nothing here runs in production, and nothing depends on this crate. Start reading with [`world`], then [`checks`].

pub mod broken;
pub mod checks;
pub mod client;
pub mod clock;
pub mod disk;
pub mod network;
pub mod node;
pub mod operations;
pub mod programs;
pub mod queue;
pub mod random;
pub mod run;
pub mod scenario;
pub mod storm;
pub mod swarm;
pub mod trace;
pub mod world;
