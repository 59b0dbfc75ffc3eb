//! The only door for front ends: read an application's state at the level that a client asks for, wait for a state,
//! ask how the cluster is, how far each node has come, and how fresh a state is; read a file to which a state refers, or what was chosen.
//!
//! The node puts states in ([`AppPublisher`]) and answers read-index questions ([`ReadQuestions`]); front ends hold a
//! [`Gateway`] and take answers out. Nothing here changes state, and nothing here knows of Paxos, journal, mesh or any
//! wire format: a query and its answer are bytes of the application. A local read takes no lock, wakes nobody and
//! never waits.
//!
//! Start with [`Gateway::query`]; [`AppDoor::open`] is where the node begins.

mod certificates;
mod door;
mod error;
mod files;
mod freshness;
mod gateway;
mod log;
mod metrics;
mod nodes;
mod proofs;
mod reads;
mod snapshots;
pub mod status;
mod vector;
mod waiters;

pub use certificates::{
    BundleForm, CertificateForm, CertificateRead, Certificates, Certified, FormError, SignatureForm,
};
pub use door::{AppDoor, AppPublisher, Fence};
pub use error::{Awaited, GatewayError};
pub use files::{FileRead, Files};
pub use gateway::{Answer, Consistency, Gateway, Read, Readiness};
pub use log::{Log, LogRead, LogUnread};
pub use metrics::Metrics;
pub use nodes::{Change, NodeAt, NodeStates};
pub use proofs::{LeafForm, ProofForm};
pub use reads::{ReadQuestion, ReadQuestions, ReadRefused};
pub use snapshots::Snapshots;
pub use status::{
    AppStatus, ApplicantStatus, CertificateStatus, CertificateUse, ClusterStatus, GroupRole, HeardAppStatus,
    HeardStatus, Leader, NodeState, NodeStatus, ProgramStatus, Road, ScrubStatus, VersionRange,
};
pub use synod_machine::{Commander, View, authority};
/// What a [`ProofForm`] says.
pub use synod_merkle::Proof;
pub use vector::{BadVector, StateVector};
