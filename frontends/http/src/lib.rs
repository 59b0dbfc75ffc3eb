//! External clients over HTTP: a read-only port of its own, in front of the gateway.
//!
//! | address | answer |
//! |---|---|
//! | `/v1/apps` | every application: number, name, kind, stateNdx, chain, leader |
//! | `/v1/apps/{app}` | one of them, by number or name |
//! | `/v1/apps/{app}/commanders` | who may command it |
//! | `/v1/apps/{app}/log?after=&limit=` | what was chosen, slot by slot: what `synod audit` executes again |
//! | `/v1/apps/{app}/kv/{key}` | the bytes under a key, and the state that last changed it in `Last-Change` |
//! | `/v1/apps/{app}/kv?prefix=&after=&limit=` | entries in the order of their keys, as JSON |
//! | `/v1/apps/{app}/history/{key}` | what a key held, and since which states |
//! | `/v1/apps/{app}/watch?prefix=&key=&after=` | what changes, as a stream of events or as JSON |
//! | `/v1/apps/{app}/leases`, `…/leases/{lease}` | leases, and the keys that end with one |
//! | `/v1/apps/{app}/locks/{name}` | who holds a lock, and who waits for it |
//! | `/v1/apps/{app}/usage` | how full the application is |
//! | `/v1/zones`, `/v1/apps/{app}/zones` | zones, as JSON: content key, serial, the state that changed it |
//! | `…/zones/{zone}` | one of them, as JSON, or its very file as `text/dns` (RFC 4027) |
//! | `…/zones/{zone}/history` | what it held, and in which states |
//! | `…/zones/{zone}/diff?from=&to=` | the records that differ between two states |
//! | `/v1/changes/{app}/{state}` | which nodes have applied it |
//! | `/v1/cluster` | nodes and applications as this node sees them |
//! | `/openapi.json`, `/docs` | all this, for programs and for people |
//! | `/problems`, `/problems/{name}` | what types of problems mean |
//! | `/metrics` | what the node measures of itself |
//! | `/livez`, `/readyz` | whether the process answers, whether to send it clients |
//!
//! What concerns one application takes `?min=N` (wait until it is in state N), `?consistency=local|linearizable` and
//! `?wait=SECONDS`; keys can be read as they were, `?at=N`. Every answer, errors too, carries `State-Ndx`; errors are problem+json (RFC 9457).
//!
//! This crate never changes state, never reads a request's body, and knows nothing of Paxos, journal or mesh. Start
//! with [`HttpServer::start`]; what is the same at every address is in `exchange`, the addresses are in `routes`, and
//! their description is with each handler.

mod accept;
mod ask;
mod cors;
mod etag;
mod exchange;
mod openapi;
mod page;
mod parameters;
mod percent;
mod problem;
mod reply;
mod request_id;
mod routes;
mod server;
mod stall;
mod watch;

pub use cors::{BadOrigin, CorsOrigins};
pub use server::{ALPN, HttpConfig, HttpError, HttpServer};
