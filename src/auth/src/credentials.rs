//! What TLS shows and whom it trusts, held where it can change: a certificate lives for years, and a node longer.
//!
//! TLS configurations are made once. What is in them is not a certificate but the place where the current one is, so that
//! every handshake takes what is there when it begins. A connection keeps what it was made with.
//!
//! [`Shown`] is a certificate with its key, for servers and clients; [`Trusted`] is a bundle of authorities, all of them
//! trusted alike; [`ServerCertificate`] is what a server shows that is no node to others.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::certificate::CertificateFacts;
use crate::file::{self, LoadError};
use crate::tls::{TlsError, provider, readers_server};

/// A certificate, its chain and its key, as they are now.
pub(crate) struct Shown(ArcSwap<CertifiedKey>);

impl Shown {
    pub(crate) fn new(certified: CertifiedKey) -> Arc<Shown> {
        Arc::new(Shown(ArcSwap::from_pointee(certified)))
    }

    /// From now on this one. Says whether it is another.
    pub(crate) fn renew(&self, certified: CertifiedKey) -> bool {
        let before = self.0.swap(Arc::new(certified));
        before.cert != self.0.load().cert
    }

    /// The certificate, without what follows it.
    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        self.0.load().cert.first().expect("nothing is shown without a certificate").clone()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

/// The authorities that are trusted, as they are now.
pub(crate) struct Trusted(ArcSwap<Authorities>);

/// A bundle of authorities, and what verifies by them.
pub(crate) struct Authorities {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    pub(crate) roots: Arc<RootCertStore>,
    of_servers: Arc<dyn ServerCertVerifier>,
    of_clients: Arc<dyn ClientCertVerifier>,
}

impl Authorities {
    /// Reads a bundle: one file with one certificate or several (PEM).
    pub(crate) fn load(path: &Path) -> Result<Authorities, LoadError> {
        let certificates = load_certificates(path)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|why| LoadError::content(path, why))?;
        }
        let roots = Arc::new(roots);
        let of_servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider());
        let of_clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
        Ok(Authorities {
            certificates,
            roots,
            of_servers: of_servers.build().map_err(|why| LoadError::content(path, why))?,
            of_clients: of_clients.build().map_err(|why| LoadError::content(path, why))?,
        })
    }

    /// Whether one of them vouches for this chain as that of the server `name`, at this time.
    pub(crate) fn check_server(
        &self,
        chain: &[CertificateDer<'_>],
        name: &str,
        at: SystemTime,
    ) -> Result<(), Error> {
        let (leaf, rest) = split(chain)?;
        let name = ServerName::try_from(name).map_err(|_| CertificateError::NotValidForName)?;
        self.of_servers.verify_server_cert(leaf, rest, &name, &[], unix(at)).map(drop)
    }

    /// Whether one of them vouches for this chain as that of a client, at this time.
    pub(crate) fn check_client(&self, chain: &[CertificateDer<'_>], at: SystemTime) -> Result<(), Error> {
        let (leaf, rest) = split(chain)?;
        self.of_clients.verify_client_cert(leaf, rest, unix(at)).map(drop)
    }
}

fn split<'a, 'c>(
    chain: &'c [CertificateDer<'a>],
) -> Result<(&'c CertificateDer<'a>, &'c [CertificateDer<'a>]), Error> {
    chain.split_first().ok_or(Error::NoCertificatesPresented)
}

fn unix(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

impl Trusted {
    pub(crate) fn new(authorities: Authorities) -> Arc<Trusted> {
        Arc::new(Trusted(ArcSwap::from_pointee(authorities)))
    }

    /// From now on these. Says whether they are others.
    pub(crate) fn renew(&self, authorities: Authorities) -> bool {
        let before = self.0.swap(Arc::new(authorities));
        before.certificates != self.0.load().certificates
    }

    pub(crate) fn now(&self) -> Arc<Authorities> {
        self.0.load_full()
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.load().of_servers.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().of_servers.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().of_servers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().of_servers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Trusted {
    /// None: a client has one certificate, and needs no help to choose it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.load().of_clients.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().of_clients.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().of_clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().of_clients.supported_verify_schemes()
    }
}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trusted")
    }
}

/// The certificate of a server to which no node belongs: the readers' port, and encrypted DNS. It need not be one of the
/// cluster's.
pub struct ServerCertificate {
    certificate_path: PathBuf,
    key_path: PathBuf,
    shown: Arc<Shown>,
}

impl ServerCertificate {
    /// Reads a certificate (PEM, with whatever chain follows it) and its private key (PEM that only its owner can use).
    ///
    /// # Errors
    /// [`LoadError`] names the file and the problem, also where key and certificate do not belong together.
    pub fn load(
        certificate_path: impl Into<PathBuf>,
        key_path: impl Into<PathBuf>,
    ) -> Result<ServerCertificate, LoadError> {
        let (certificate_path, key_path) = (certificate_path.into(), key_path.into());
        let shown = Shown::new(read(&certificate_path, &key_path)?);
        Ok(ServerCertificate { certificate_path, key_path, shown })
    }

    /// Reads both files again, and shows what they hold to whoever connects from now on. Says whether that is another
    /// certificate.
    ///
    /// # Errors
    /// [`LoadError`] names the file and the problem, also where the certificate is expired or not valid yet. What was shown
    /// before is shown on then.
    pub fn reload(&self) -> Result<bool, LoadError> {
        let certified = read(&self.certificate_path, &self.key_path)?;
        let [leaf, ..] = &certified.cert[..] else { unreachable!("what was read has a certificate") };
        let facts =
            CertificateFacts::of(leaf).map_err(|why| LoadError::content(&self.certificate_path, why))?;
        facts.check_time(SystemTime::now()).map_err(|why| LoadError::content(&self.certificate_path, why))?;
        Ok(self.shown.renew(certified))
    }

    /// The files: whenever one of them changes, there is a reason to reload.
    pub fn files(&self) -> Vec<&Path> {
        vec![&self.certificate_path, &self.key_path]
    }

    /// What is in the certificate, if it can be read.
    pub fn facts(&self) -> Option<CertificateFacts> {
        CertificateFacts::of(&self.shown.leaf()).ok()
    }

    /// For TLS configurations that others make: the certificate as it is at each handshake.
    pub fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::<Shown>::clone(&self.shown)
    }

    /// A TLS configuration that shows it, and asks for none.
    ///
    /// # Errors
    /// [`TlsError::Config`] if TLS refuses the configuration.
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<rustls::ServerConfig, TlsError> {
        readers_server(self.resolver(), alpn)
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerCertificate({})", self.certificate_path.display())
    }
}

fn read(certificate_path: &Path, key_path: &Path) -> Result<CertifiedKey, LoadError> {
    let certificates = load_certificates(certificate_path)?;
    let pem = file::read_private(key_path)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|why| {
        let problem = format!("holds no private key in PEM form: {}", pem_problem(&why));
        LoadError::content(key_path, problem)
    })?;
    certified(certificates, key).map_err(|why| {
        let problem = format!("cannot be used with the key in {}: {why}", key_path.display());
        LoadError::content(certificate_path, problem)
    })
}

/// A certificate and its key, if they belong together.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(chain, key, &provider())
}

/// Reads the certificates in a file (PEM); there is one at least.
pub(crate) fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let pem = file::read_public(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|why| LoadError::content(path, format!("is not PEM: {}", pem_problem(&why))))?;
    if certificates.is_empty() {
        return Err(LoadError::content(path, "holds no certificate in PEM form (\"BEGIN CERTIFICATE\")"));
    }
    Ok(certificates)
}

/// What is wrong, without a word of the file: a key whose line ends were lost would be in the message otherwise.
fn pem_problem(why: &pem::Error) -> &'static str {
    match why {
        pem::Error::MissingSectionEnd { .. } => "a section has no end; was the file written to its end?",
        pem::Error::IllegalSectionStart { .. } => "a line begins like a section and is none",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::NoItemsFound => "there is no such section in it",
        _ => "it cannot be read",
    }
}

/// Why TLS does not take a node's own certificate, and what to do.
pub(crate) fn own_problem(why: &Error, authorities: &Path) -> String {
    let Error::InvalidCertificate(why) = why else { return why.to_string() };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "is expired; make another with `synod cert renew`".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; look at the clocks of this host and of that which made it".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "is of no authority in {}; a bundle with the old and the new authority comes first, then the node's certificate",
            authorities.display()
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "does not have this node's name, by which the others check it; `synod cert renew` keeps the names"
                .to_owned()
        }
        _ => format!("cannot be used between nodes: {why}"),
    }
}
