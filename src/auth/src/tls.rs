//! TLS for the mesh, for the back end and for readers: version 1.3 only, ring's cryptography (named here, never a process-wide
//! default), and no other root than the cluster's own authority.
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
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use synod_types::NodeId;

use crate::certificate::public_key_of;
use crate::file::{self, LoadError};
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

/// What a node shows in TLS, and whom it trusts.
pub struct TlsIdentity {
    certificates: Vec<CertificateDer<'static>>,
    key: SigningKey,
    roots: Arc<RootCertStore>,
}

impl TlsIdentity {
    /// Reads a node's certificate (PEM, with whatever chain follows it), its private key (PKCS#8 PEM that only its owner
    /// can use) and the authority's certificate (PEM).
    ///
    /// # Errors
    /// [`LoadError`] names the file and the problem, also where key and certificate are not of one node.
    pub fn load(
        certificate_path: impl AsRef<Path>,
        key_path: impl AsRef<Path>,
        authority_path: impl AsRef<Path>,
    ) -> Result<TlsIdentity, LoadError> {
        let (certificate_path, key_path) = (certificate_path.as_ref(), key_path.as_ref());
        let certificates = load_certificates(certificate_path)?;
        let key = SigningKey::load(key_path)?;
        let wrong = |problem: &dyn ToString| LoadError::content(certificate_path, problem.to_string());
        let [leaf, ..] = &certificates[..] else { return Err(wrong(&"holds no certificate")) };
        if public_key_of(leaf).map_err(|why| wrong(&why))? != *key.public() {
            let problem = format!("is not the certificate of the key in {}", key_path.display());
            return Err(wrong(&problem));
        }
        let roots = load_roots(authority_path)?;
        Ok(TlsIdentity { certificates, key, roots })
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

    /// The authority that is trusted.
    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// For the mesh, where it is called: only who shows a certificate of the authority gets a connection.
    ///
    /// # Errors
    /// [`TlsError::Config`] if TLS refuses the certificates.
    pub fn mesh_server(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
            .build()
            .map_err(refused)?;
        let config = server_builder()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.certificates.clone(), self.private_key())
            .map_err(refused)?;
        Ok(finish_server(config, alpn))
    }

    /// For the mesh, where it calls.
    ///
    /// # Errors
    /// [`TlsError::Config`] if TLS refuses the certificates.
    pub fn mesh_client(&self, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
        let config = client_builder()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.certificates.clone(), self.private_key())
            .map_err(refused)?;
        Ok(finish_client(config, alpn))
    }

    /// For the commanders' port: shows the node's certificate and asks for none.
    ///
    /// # Errors
    /// [`TlsError::Config`] if TLS refuses the certificate.
    pub fn backend_server(&self, alpn: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let config = server_builder()?
            .with_no_client_auth()
            .with_single_cert(self.certificates.clone(), self.private_key())
            .map_err(refused)?;
        Ok(finish_server(config, alpn))
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.pkcs8_der())
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity({})", self.node_id().short())
    }
}

/// For the readers' port: shows a certificate (PEM, with whatever chain follows it), which need not be one of the
/// cluster's, by its private key (PEM that only its owner can use), and asks for none.
///
/// # Errors
/// [`TlsError`] names the file and the problem, also where key and certificate do not belong together.
pub fn readers_server(
    certificate_path: impl AsRef<Path>,
    key_path: impl AsRef<Path>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let (certificate_path, key_path) = (certificate_path.as_ref(), key_path.as_ref());
    let certificates = load_certificates(certificate_path)?;
    let pem = file::read_private(key_path)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|why| LoadError::content(key_path, format!("holds no private key in PEM form: {why}")))?;
    let unfit = |why| {
        let problem = format!("cannot be used with the key in {}: {why}", key_path.display());
        LoadError::content(certificate_path, problem)
    };
    let config =
        server_builder()?.with_no_client_auth().with_single_cert(certificates, key).map_err(unfit)?;
    Ok(finish_server(config, alpn))
}

/// For a commander: trusts the authority in `roots` and shows no certificate.
///
/// # Errors
/// [`TlsError::Config`] if TLS refuses the configuration.
pub fn backend_client(roots: &Arc<RootCertStore>, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let config = client_builder()?.with_root_certificates(Arc::clone(roots)).with_no_client_auth();
    Ok(finish_client(config, alpn))
}

/// Reads the authority's certificate (PEM), the only root.
///
/// # Errors
/// [`LoadError`] names the file and the problem.
pub fn load_roots(path: impl AsRef<Path>) -> Result<Arc<RootCertStore>, LoadError> {
    let path = path.as_ref();
    let mut roots = RootCertStore::empty();
    for certificate in load_certificates(path)? {
        roots.add(certificate).map_err(|why| LoadError::content(path, why))?;
    }
    Ok(Arc::new(roots))
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let pem = file::read_public(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|why| LoadError::content(path, format!("is not PEM: {why}")))?;
    if certificates.is_empty() {
        return Err(LoadError::content(path, "holds no certificate in PEM form (\"BEGIN CERTIFICATE\")"));
    }
    Ok(certificates)
}

fn provider() -> Arc<CryptoProvider> {
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
