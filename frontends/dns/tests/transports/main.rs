//! The transports on real sockets: what clients get, what they cannot do, and how it all ends.

#![expect(clippy::unwrap_used, reason = "a test says where it failed")]

mod closing;
mod encrypted;
mod flood;
mod house;
mod tcp;
mod transfer;
mod udp;
