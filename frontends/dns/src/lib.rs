//! Authoritative DNS from the state of the zones application.
//!
//! The heart is one pure function, [`answer()`]: a query's bytes and a [`Source`] go in, one message comes out.
//! Nothing in `message`, `answer`, `cookie` and `identity` opens a socket, reads a clock or allocates per query; transports
//! call them.
//!
//! The transports only carry. They get their state through [`Answers`], count what they do ([`Counts`]), and hold every
//! client to the limits of [`config`]; none of them looks into a zone, but `axfr`, which lists one.
//!
//! ```text
//! udp ── datagrams                     threads, a batch of datagrams at a time
//! tcp ─┐
//! tls ─┼── streams ── axfr             a message behind its length; whole zones in many messages
//! quic ┘                               one stream for each query
//! https                                one request for each query
//! ```
//!
//! Start with [`answer()`], then [`DnsServer::start`].

pub mod answer;
mod answers;
mod axfr;
pub mod config;
pub mod cookie;
mod cookie_jar;
mod counters;
mod datagrams;
mod encrypted;
mod https;
pub mod identity;
pub mod message;
mod places;
mod quic;
mod rate;
mod server;
mod streams;
mod tcp;
mod udp;

pub use answer::{Client, Freshness, Reply, Source, Transport, answer};
pub use answers::Answers;
pub use config::{DnsConfig, Encrypted, Given, RateLimitConfig, StreamLimits};
pub use cookie::{ClientAddress, CookieSecret, Cookies};
pub use counters::{Counts, Traffic};
pub use identity::Identity;
pub use ipnet::IpNet;
pub use server::{DnsError, DnsServer, LocalAddrs};
