//! TLS for the mesh, for the back end and for readers: version 1.3 only, ring's cryptography (named here, never a process-wide
//! default), and no other roots than the cluster's own authorities.
//!
//! | connection | server shows | client shows |
//! |---|---|---|
//! | mesh | its node certificate | its node certificate |
//! | back end | its node certificate | nothing: a commander proves itself by its signatures |
//! | readers | what the configuration says | nothing |
//!
//! No connection is resumed and none sends early data: each mesh session proves both keys anew, and no byte can be
//! replayed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use synod_types::NodeId;

use crate::certificate::{CertificateFacts, public_key_of};
use crate::credentials::{Authorities, Shown, Trusted, certified, load_certificates, own_problem};
use crate::file::LoadError;
use crate::key::PublicKey;
use crate::signing_key::SigningKey;

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// TLS refuses what the files hold.
    #[error("cannot configure TLS with these certificates: {0}")]
    Config(String),
}

/// What a node shows in TLS, and whom it trusts. The key is who the node is and stays; its certificate and the authorities
/// may change while it runs, see [`TlsIdentity::reload`], also in configurations that were made before.
pub struct TlsIdentity {
    key: SigningKey,
    files: Files,
    shown: Arc<Shown>,
    trusted: Arc<Trusted>,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
}

impl Files {
    fn read(&self) -> Result<(SigningKey, CertifiedKey, Authorities), LoadError> {
        let certificates = load_certificates(&self.certificate)?;
        let key = SigningKey::load(&self.key)?;
        let wrong = |problem: &dyn ToString| LoadError::content(&self.certificate, problem.to_string());
        let [leaf, ..] = &certificates[..] else { return Err(wrong(&"holds no certificate")) };
        if public_key_of(leaf).map_err(|why| wrong(&why))? != *key.public() {
            let problem = format!("is not the certificate of the key in {}", self.key.display());
            return Err(wrong(&problem));
        }
        let certified = certified(certificates, PrivateKeyDer::Pkcs8(key.pkcs8_der()));
        let certified = certified.map_err(|why| wrong(&why))?;
        Ok((key, certified, Authorities::load(&self.authorities)?))
    }
}

impl TlsIdentity {
    /// Reads a node's certificate (PEM, with whatever chain follows it), its private key (PKCS#8 PEM that only its owner
    /// can use) and the certificates of the authorities that are trusted (PEM).
    ///
    /// # Errors
    /// [`LoadError`] names the file and the problem, also where key and certificate are not of one node.
    pub fn load(
        certificate_path: impl AsRef<Path>,
        key_path: impl AsRef<Path>,
        authorities_path: impl AsRef<Path>,
    ) -> Result<TlsIdentity, LoadError> {
        let files = Files {
            certificate: certificate_path.as_ref().to_owned(),
            key: key_path.as_ref().to_owned(),
            authorities: authorities_path.as_ref().to_owned(),
        };
        let (key, certified, authorities) = files.read()?;
        Ok(TlsIdentity { key, files, shown: Shown::new(certified), trusted: Trusted::new(authorities) })
    }

    /// Reads all files again, and takes what they hold for every handshake from now on. Says whether anything is new. The
    /// node has to be called `server_name` in its certificate, as the others call it.
    ///
    /// # Errors
    /// [`LoadError`] names the file, the problem and what to do. Beyond what [`TlsIdentity::load`] refuses: the key of another
    /// node, and a certificate that other nodes with the same authorities would refuse (expired, of another authority, for
    /// another name or use). Everything stays as it was then.
    pub fn reload(&self, server_name: &str) -> Result<bool, LoadError> {
        let (key, certified, authorities) = self.files.read()?;
        if key.id() != self.key.id() {
            let (theirs, ours) = (NodeId(key.id()).short(), self.node_id().short());
            let problem = format!(
                "is the key of another node, {theirs}; a node is who its key says, and this one is {ours}: put its key back"
            );
            return Err(LoadError::content(&self.files.key, problem));
        }
        let now = SystemTime::now();
        let checked = authorities
            .check_server(&certified.cert, server_name, now)
            .and_then(|()| authorities.check_client(&certified.cert, now));
        checked.map_err(|why| {
            LoadError::content(&self.files.certificate, own_problem(&why, &self.files.authorities))
        })?;
        // Trust comes first: a new certificate may be of a new authority.
        let trusts_others = self.trusted.renew(authorities);
        let shows_another = self.shown.renew(certified);
        Ok(trusts_others || shows_another)
    }

    /// The files: whenever one of them changes, there is a reason to reload.
    pub fn files(&self) -> Vec<&Path> {
        vec![&self.files.certificate, &self.files.key, &self.files.authorities]
    }

    /// What is in the node's certificate.
    pub fn facts(&self) -> Option<CertificateFacts> {
        CertificateFacts::of(&self.shown.leaf()).ok()
    }

    /// What is in the certificates of the authorities, in the order of the file.
    pub fn authorities(&self) -> Vec<CertificateFacts> {
        let authorities = self.trusted.now();
        authorities.certificates.iter().filter_map(|one| CertificateFacts::of(one).ok()).collect()
    }

    /// Whether an authority that is trusted now vouches for whoever was called `name` and showed `chain` at that time.
    pub fn vouches_for_called(&self, chain: &[CertificateDer<'_>], name: &str, at: SystemTime) -> bool {
        self.trusted.now().check_server(chain, name, at).is_ok()
    }

    /// Whether an authority that is trusted now vouches for whoever called and showed `chain` at that time.
    pub fn vouches_for_caller(&self, chain: &[CertificateDer<'_>], at: SystemTime) -> bool {
        self.trusted.now().check_client(chain, at).is_ok()
    }

    /// The node that this is.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.key.id())
    }

    /// The key in the certificate.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public()
    }

    /// The private key.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The authorities that are trusted now.
    pub fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.trusted.now().roots)
    }

    /// For the mesh, where it is called: only who shows a certificate of an authority gets a connection.
    ///
    /// # Errors
    /// [`TlsError::Config`] if TLS refuses the configuration.
    pub fn mesh_server(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let config = server_builder()?
            .with_client_cert_verifier(Arc::<Trusted>::clone(&self.trusted))
            .with_cert_resolver(Arc::<Shown>::clone(&self.shown));
        Ok(finish_server(config, alpn))
    }

    /// For the mesh, where it calls.
    ///
    /// # Errors
    /// [`TlsError::Config`] if TLS refuses the configuration.
    pub fn mesh_client(&self, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
        let config = client_builder()?
            // "Dangerous" is any verifier but that of rustls: this one hands everything on to it.
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Trusted>::clone(&self.trusted))
            .with_client_cert_resolver(Arc::<Shown>::clone(&self.shown));
        Ok(finish_client(config, alpn))
    }

    /// For the commanders' port: shows the node's certificate and asks for none.
    ///
    /// # Errors
    /// [`TlsError::Config`] if TLS refuses the configuration.
    pub fn backend_server(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        readers_server(Arc::<Shown>::clone(&self.shown), alpn)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity({})", self.node_id().short())
    }
}

/// Shows what `shown` gives at each handshake, and asks for none.
pub(crate) fn readers_server(
    shown: Arc<dyn ResolvesServerCert>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    Ok(finish_server(server_builder()?.with_no_client_auth().with_cert_resolver(shown), alpn))
}

/// For a commander: trusts the authorities in `roots` and shows no certificate.
///
/// # Errors
/// [`TlsError::Config`] if TLS refuses the configuration.
pub fn backend_client(roots: &Arc<RootCertStore>, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let config = client_builder()?.with_root_certificates(Arc::clone(roots)).with_no_client_auth();
    Ok(finish_client(config, alpn))
}

/// Reads the certificates of the authorities that are trusted (PEM).
///
/// # Errors
/// [`LoadError`] names the file and the problem.
pub fn load_roots(path: impl AsRef<Path>) -> Result<Arc<RootCertStore>, LoadError> {
    Ok(Authorities::load(path.as_ref())?.roots)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server_builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, TlsError> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(refused)
}

fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(refused)
}

fn finish_server(mut config: ServerConfig, alpn: &[&[u8]]) -> ServerConfig {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

fn finish_client(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

fn refused(why: impl ToString) -> TlsError {
    TlsError::Config(why.to_string())
}
