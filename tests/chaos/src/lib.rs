//! Real clusters under faults: three or five processes on loopback, whose links are ours to cut, delay and lose on, whose clocks
//! are set and whose disks fail, and which are killed and paused, while clients do everything that clients do. Then it is
//! checked what they were told.
//!
//! Nothing here is simulated but bad days: what is killed is a process, what is lost is a UDP datagram of QUIC.
//! So the faults of a run follow from its seed, and what is in flight when one strikes does not.
//!
//! Start with [`run`]. The faults are in [`fault`] and [`schedule`], and [`storm`] does them; the network is a [`network`] of
//! [`link`]s, each with a [`line`] in either direction. Each workload is a module that ends in its own checks.
#![allow(clippy::unwrap_used, reason = "a run that cannot go on fails")]

pub mod accounts;
pub mod alike;
pub mod apps;
pub mod commanders;
pub mod counters;
pub mod failing;
pub mod fault;
pub mod healed;
pub mod leases;
pub mod line;
pub mod link;
pub mod network;
pub mod record;
pub mod registers;
pub mod report;
pub mod run;
pub mod schedule;
pub mod storm;
pub mod times;
pub mod watchers;
pub mod workloads;
pub mod zones;
