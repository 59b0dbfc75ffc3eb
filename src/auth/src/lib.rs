//! Who signed what: keys, the verification of commands and messages, the founding document, certificates and TLS.
//!
//! Nothing here decides what a key may do (that is state of each application), and nothing here opens a socket. The
//! way in is narrow on purpose: only a [`Verifier`] makes a [`Verified`] value, and it makes one only of bytes whose
//! signature it checked.
//!
//! Start with [`key`] (what a key is, and what a valid signature), then [`verified`] (commands and messages).
//! [`genesis`] founds a cluster, [`certificate`] and [`tls`] carry a node's key into TLS,
//! [`credentials`] lets what is shown and trusted there change, [`hello`] ties a session to a key, [`receipt`] is a node's
//! word for a file, [`checkpoint`] that of a majority for a snapshot, [`statement`] that of the members for a state, and [`backup`] a commander's for a backup.

pub mod backup;
mod batch;
pub mod certificate;
pub mod checkpoint;
pub mod credentials;
pub mod file;
pub mod genesis;
pub mod hello;
pub mod key;
pub mod pool;
mod random;
pub mod receipt;
mod recent;
pub mod signing_key;
pub mod standing;
pub mod statement;
pub mod tls;
pub mod verified;

pub use backup::{BackupSignatureError, sign_backup, verify_backup};
pub use certificate::{CertificateAuthority, CertificateFacts, node_id_of, public_key_of};
pub use checkpoint::{CertificateError, sign_checkpoint, verify_certificate, verify_checkpoint};
pub use credentials::ServerCertificate;
pub use genesis::{Genesis, GenesisAdministrator, GenesisApp, GenesisError, GenesisNode, Origin, OriginApp};
pub use hello::{sign_hello, verify_hello};
pub use key::{Algorithm, KeyError, PublicKey, SignatureError};
pub use pool::{Busy, VerifyPool};
pub use receipt::{ReceiptError, sign_content_receipt, verify_content_receipt};
pub use signing_key::SigningKey;
pub use standing::{StandingError, sign_standing, verify_standing};
pub use statement::{
    ProofError, StatementError, sign_statement, verify_bundle, verify_signatures, verify_state_certificate,
    verify_statement,
};
pub use tls::TlsIdentity;
pub use verified::{Unverified, Verified, Verifier, VerifierCounters};
