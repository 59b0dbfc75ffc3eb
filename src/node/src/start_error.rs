//! Why a node, or front ends in a process of their own, do not start.

use std::path::PathBuf;

use synod_auth::GenesisError;
use synod_auth::file::LoadError;
use synod_auth::tls::TlsError;
use synod_backend::BackendError;
use synod_dns::DnsError;
use synod_http::HttpError;
use synod_journal::{OpenError, ReadError};
use synod_mesh::MeshError;
use synod_types::{AppNdx, UnknownLevel};

use crate::apps;
use crate::lanes::LaneError;
use crate::snapshots::restoring::RestoreError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The genesis document cannot be read.
    #[error("cannot read {}: {source}; see `genesis` in the configuration", .path.display())]
    GenesisFile {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificates or the key cannot be used.
    #[error(transparent)]
    Identity(#[from] LoadError),
    /// An address of the configuration means nothing.
    #[error(transparent)]
    Address(std::io::Error),
    /// The genesis document is wrong.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Genesis has an application that this program does not.
    #[error(
        "genesis wants application {app} to be of kind {kind:?}; this program has: {}. One in a process of its own needs an entry in \
         lanes",
        apps::KINDS.join(", ")
    )]
    UnknownKind {
        /// Which application.
        app: AppNdx,
        /// The kind.
        kind: String,
    },
    /// The lanes of the configuration do not fit genesis, or have no sockets.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The configuration has a server that genesis does not.
    #[error(
        "the configuration names the server {name:?}, which is no node of the genesis document, and does not give its id"
    )]
    UnknownServer {
        /// Its name.
        name: String,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The journal cannot be read back.
    #[error("application {app}: {source}")]
    Replay {
        /// Which application.
        app: AppNdx,
        /// Why not.
        source: ReadError,
    },
    /// The files to which commands refer cannot be opened.
    #[error(transparent)]
    Content(#[from] synod_content::OpenError),
    /// The snapshots cannot be opened.
    #[error("cannot open the snapshots in {}: {source}", .path.display())]
    Snapshots {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificates of states cannot be opened.
    #[error("cannot open the certificates in {}: {source}", .path.display())]
    Certificates {
        /// The data directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The names of data directories cannot be read or written.
    #[error("cannot read or write the names of data directories in {}: {source}", .path.display())]
    Names {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The number of this life cannot be read or written.
    #[error("cannot read or write the number of this start in {}: {source}", .path.display())]
    Life {
        /// The data directory.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The archive cannot be opened.
    #[error(transparent)]
    Archive(#[from] synod_archive::OpenError),
    /// The mesh does not start.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The commanders' port does not open.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The HTTP port does not open.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The configuration wants DNS served from what genesis does not have.
    #[error("dns.app: {0}")]
    NothingToServe(String),
    /// The DNS port does not open.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// A level is beyond this program.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// What is on the disk is beyond this program.
    #[error("application {app}: its snapshot is of a newer program than this one: {why}")]
    TooNew {
        /// Which application.
        app: AppNdx,
        /// What is.
        why: RestoreError,
    },
    /// The operating system gives no threads.
    #[error("cannot start the verifying threads: {0}")]
    Threads(std::io::Error),
}
