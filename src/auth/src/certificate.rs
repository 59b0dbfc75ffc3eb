//! The cluster's own certificate authority, and the certificates of its nodes.
//!
//! A node's certificate carries the node's own Ed25519 key, so that who a peer is can be read from the TLS session:
//! `NodeId` = SHA3-256 of the SubjectPublicKeyInfo in the certificate. The authority says which server names a node may
//! have; it never gives a node another identity than its key's.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pkcs8::LineEnding;
use pkcs8::der::Document;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SerialNumber, SubjectPublicKeyInfo, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, ServerName};
use sha2::{Digest as _, Sha256};
use synod_types::name::is_name;
use synod_types::{Digest, NodeId, TimeMs};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

use crate::credentials::load_certificates;
use crate::file::{self, LoadError, SaveError};
use crate::key::{Algorithm, KeyError, PublicKey};
use crate::random;
use crate::signing_key::SigningKey;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its making a certificate is already valid: clocks differ.
const VALID_BEFORE: Duration = DAY;
/// How long the authority's own certificate is valid.
const AUTHORITY_VALID: Duration = Duration::from_secs(20 * 365 * DAY.as_secs());
/// How long a node's certificate is valid.
const NODE_VALID: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The authority or the node has a key of another type.
    #[error("a certificate needs an ed25519 key, and this one is {0}")]
    NotEd25519(Algorithm),
    /// There is no name under which the node can be reached.
    #[error("a node's certificate needs at least one server name: a DNS name or an IP address")]
    NoServerName,
    /// A name that can never match.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    BadServerName(String),
    /// Whatever else.
    #[error("cannot make the certificate: {0}")]
    Other(String),
}

/// Why a certificate names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not one X.509 certificate.
    #[error("this is not an X.509 certificate: {0}")]
    Malformed(String),
    /// Its key is not one that is taken.
    #[error("the certificate's key: {0}")]
    Key(#[from] KeyError),
}

/// Makes certificates for the nodes of one cluster.
pub struct CertificateAuthority {
    key: SigningKey,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Makes a new authority with a new key; `name` is for people.
    ///
    /// # Errors
    /// [`IssueError`] if `name` cannot be in a certificate.
    pub fn generate(name: &str) -> Result<CertificateAuthority, IssueError> {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let mut params = params(name, AUTHORITY_VALID);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pair = key_pair(&key)?;
        let certificate = params.self_signed(&pair).map_err(other)?;
        Ok(CertificateAuthority {
            key,
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(params, pair),
        })
    }

    /// Reads the authority whose key is in one file, and whose certificate is in the other, maybe among those of further
    /// authorities. Only who issues certificates needs the key; nodes need the certificate alone.
    ///
    /// # Errors
    /// [`LoadError`] names the file, the problem and what to do.
    pub fn load(
        certificate_path: impl AsRef<Path>,
        key_path: impl AsRef<Path>,
    ) -> Result<CertificateAuthority, LoadError> {
        let (certificate_path, key_path) = (certificate_path.as_ref(), key_path.as_ref());
        let wrong = |problem: &dyn ToString| LoadError::content(certificate_path, problem.to_string());
        let key = SigningKey::load(key_path)?;
        let certificates = load_certificates(certificate_path)?;
        let is_own = |one: &&CertificateDer<'_>| public_key_of(one).is_ok_and(|found| found == *key.public());
        let Some(certificate) = certificates.iter().find(is_own) else {
            let problem = format!("has no certificate of the key in {}", key_path.display());
            return Err(wrong(&problem));
        };
        let (_, parsed) = parse_x509_certificate(certificate).map_err(|why| wrong(&why))?;
        if !parsed.is_ca() {
            return Err(wrong(
                &"is not the certificate of an authority: nodes' certificates cannot issue others",
            ));
        }
        let certificate_pem = to_pem(certificate);
        let pair = key_pair(&key).map_err(|why| LoadError::content(key_path, why))?;
        let issuer = Issuer::from_ca_cert_der(certificate, pair).map_err(|why| wrong(&why))?;
        Ok(CertificateAuthority { key, certificate: certificate.clone(), certificate_pem, issuer })
    }

    /// Saves the certificate (mode 0644) and the key (mode 0600) in new files. Never overwrites.
    ///
    /// # Errors
    /// [`SaveError`] if a file exists or cannot be written.
    pub fn save_new(
        &self,
        certificate_path: impl AsRef<Path>,
        key_path: impl AsRef<Path>,
    ) -> Result<(), SaveError> {
        let key_path = key_path.as_ref();
        self.key.save_new(key_path)?;
        file::create_public(certificate_path.as_ref(), self.certificate_pem.as_bytes()).inspect_err(|_| {
            // One without the other is of no use and would be in the way of the next attempt.
            let _ = std::fs::remove_file(key_path);
        })
    }

    /// The authority's own certificate, DER: the root that nodes and commanders trust.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's own certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Makes a certificate, PEM, for the node that holds the private half of `key`, as server and as client, under
    /// `server_names` (DNS names or IP addresses).
    ///
    /// # Errors
    /// [`IssueError`] says what does not fit.
    pub fn issue_node(&self, key: &PublicKey, server_names: &[String]) -> Result<String, IssueError> {
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(IssueError::NotEd25519(key.algorithm()));
        }
        if server_names.is_empty() {
            return Err(IssueError::NoServerName);
        }
        if let Some(bad) = server_names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
            return Err(IssueError::BadServerName(bad.clone()));
        }
        let named = CertificateParams::new(server_names).map_err(other)?;
        // The whole id is 64 digits, which is just what a common name may have (RFC 5280, ub-common-name).
        let mut params = params(&key.id().to_string(), NODE_VALID);
        params.subject_alt_names = named.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = SubjectPublicKeyInfo::from_der(key.spki_der()).map_err(other)?;
        Ok(params.signed_by(&key, &self.issuer).map_err(other)?.pem())
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateAuthority({:?})", self.key)
    }
}

/// What every certificate has: a common name, a random serial number, and its time.
fn params(common_name: &str, valid: Duration) -> CertificateParams {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + now.saturating_sub(VALID_BEFORE);
    params.not_after = epoch + now.saturating_add(valid);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Positive and not zero, as RFC 5280 asks for, and random, so that a certificate that is made again differs.
    let mut serial: [u8; 16] = random::bytes();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn key_pair(key: &SigningKey) -> Result<KeyPair, IssueError> {
    if key.public().algorithm() != Algorithm::Ed25519 {
        return Err(IssueError::NotEd25519(key.public().algorithm()));
    }
    KeyPair::from_pkcs8_der_and_sign_algo(&key.pkcs8_der(), &PKCS_ED25519).map_err(other)
}

fn other(why: impl ToString) -> IssueError {
    IssueError::Other(why.to_string())
}

/// The key in a certificate. Says nothing of who signed the certificate: TLS checks that.
///
/// # Errors
/// [`CertificateError`] if this is not a certificate with a key that is taken.
pub fn public_key_of(certificate: &CertificateDer<'_>) -> Result<PublicKey, CertificateError> {
    let malformed = |why: String| CertificateError::Malformed(why);
    let (rest, parsed) = parse_x509_certificate(certificate).map_err(|why| malformed(why.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow it", rest.len())));
    }
    Ok(PublicKey::from_spki_der(parsed.public_key().raw)?)
}

/// Which node a certificate stands for.
///
/// # Errors
/// [`CertificateError`] if this is not a certificate with a key that is taken.
pub fn node_id_of(certificate: &CertificateDer<'_>) -> Result<NodeId, CertificateError> {
    public_key_of(certificate).map(|key| NodeId(key.id()))
}

/// What a certificate says, for people and for whoever watches its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFacts {
    /// Whose it is, as X.500 writes names: `CN=…`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The DNS names and IP addresses for which it is valid.
    pub server_names: Vec<String>,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// The first moment at which it is valid.
    pub not_before: TimeMs,
    /// The last second at which it is valid.
    pub not_after: TimeMs,
    /// SHA-256 of the certificate in lower-case hex: what `openssl x509 -fingerprint -sha256` shows with colons.
    pub fingerprint: String,
    /// SHA3-256 of its key, where that is one that nodes and commanders may have.
    pub key_id: Option<Digest>,
}

impl CertificateFacts {
    /// Reads one certificate. Verifies nothing.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`] if this is not one.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<CertificateFacts, CertificateError> {
        let (_, parsed) = parse_x509_certificate(certificate)
            .map_err(|why| CertificateError::Malformed(why.to_string()))?;
        Ok(CertificateFacts {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            server_names: server_names(&parsed),
            is_authority: parsed.is_ca(),
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
            fingerprint: hex::encode(Sha256::digest(certificate)),
            key_id: PublicKey::from_spki_der(parsed.public_key().raw).ok().map(|key| key.id()),
        })
    }

    /// What the node is called whose certificate this is: the first of its server names, which is where
    /// [`CertificateAuthority::issue_node`] is given it, if it is one that a genesis document could give a node.
    pub fn node_name(&self) -> Option<&str> {
        self.server_names.first().map(String::as_str).filter(|name| is_name(name))
    }

    /// Reads the certificates in a file (PEM), in their order; there is one at least.
    ///
    /// # Errors
    /// [`LoadError`] names the file and the problem.
    pub fn load_all(path: impl AsRef<Path>) -> Result<Vec<CertificateFacts>, LoadError> {
        let path = path.as_ref();
        let certificates = load_certificates(path)?;
        let facts = certificates.iter().map(CertificateFacts::of).collect::<Result<_, _>>();
        facts.map_err(|why| LoadError::content(path, why))
    }

    /// Whether it is valid at this time; if not, why, and what to do.
    pub(crate) fn check_time(&self, at: SystemTime) -> Result<(), &'static str> {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = TimeMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        if at < self.not_before {
            return Err("is not valid yet; look at the clocks of this host and of that which made it");
        }
        // Its last second is valid to its end.
        if at.0 >= self.not_after.0.saturating_add(1000) {
            return Err("is expired; have another made, and put it here with its chain");
        }
        Ok(())
    }
}

/// From 1970 on; what is before is as long over.
fn time(time: ASN1Time) -> TimeMs {
    TimeMs(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1000))
}

fn server_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| &names.value.general_names[..]).unwrap_or_default();
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    };
    names.iter().filter_map(text).collect()
}

/// A certificate in PEM form, its lines ended as Unix does.
fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let document = Document::try_from(&certificate[..]).expect("a certificate that was parsed is DER");
    document.to_pem("CERTIFICATE", LineEnding::LF).expect("a label of letters")
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    #[test]
    fn the_certificate_is_the_node() {
        let authority = CertificateAuthority::generate("test").unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519);
        let names = names(&["node-1.example", "127.0.0.1", "::1"]);
        let certificate = der(&authority.issue_node(key.public(), &names).unwrap());
        assert_eq!(node_id_of(&certificate), Ok(NodeId(key.id())));
        assert_eq!(public_key_of(&certificate).unwrap(), *key.public());
        let (_, parsed) = parse_x509_certificate(&certificate).unwrap();
        let usage = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth && !parsed.is_ca());
        let (not_before, not_after) = (parsed.validity().not_before, parsed.validity().not_after);
        let days = (not_after.timestamp() - not_before.timestamp()) / (24 * 60 * 60);
        assert_eq!(days, 10 * 365 + 1);
        assert!(parsed.validity().is_valid());

        let again = der(&authority.issue_node(key.public(), &names).unwrap());
        let (_, again) = parse_x509_certificate(&again).unwrap();
        assert_ne!(again.raw_serial(), parsed.raw_serial());
    }

    #[test]
    fn what_cannot_be_a_node_gets_no_certificate() {
        let authority = CertificateAuthority::generate("test").unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519);
        let issue = |key: &SigningKey, list: &[&str]| authority.issue_node(key.public(), &names(list));
        assert_eq!(issue(&key, &[]), Err(IssueError::NoServerName));
        for bad in ["", "a b", "host:7000", "*.example", "-"] {
            assert_eq!(issue(&key, &["ok.example", bad]), Err(IssueError::BadServerName(bad.into())));
        }
        let rsa = SigningKey::generate(Algorithm::Rsa2048);
        assert_eq!(issue(&rsa, &["ok.example"]), Err(IssueError::NotEd25519(Algorithm::Rsa2048)));
    }

    #[test]
    fn the_authority_reads_back_and_issues_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let [certificate, key, other] =
            ["ca.pem", "ca.key.pem", "other.pem"].map(|name| directory.path().join(name));
        let authority = CertificateAuthority::generate("test").unwrap();
        authority.save_new(&certificate, &key).unwrap();
        assert!(matches!(authority.save_new(&certificate, &key), Err(SaveError::Exists { .. })));
        let half = directory.path().join("half.key");
        assert!(matches!(authority.save_new(&certificate, &half), Err(SaveError::Exists { .. })));
        assert!(!half.exists());
        let again = CertificateAuthority::load(&certificate, &key).unwrap();
        assert_eq!(again.certificate(), authority.certificate());
        let node = SigningKey::generate(Algorithm::Ed25519);
        let issued = der(&again.issue_node(node.public(), &names(&["a.example"])).unwrap());
        let (_, issued) = parse_x509_certificate(&issued).unwrap();
        let (_, root) = parse_x509_certificate(authority.certificate()).unwrap();
        assert_eq!(issued.issuer().as_raw(), root.subject().as_raw());

        let stranger = CertificateAuthority::generate("test").unwrap();
        file::create_public(&other, stranger.certificate_pem().as_bytes()).unwrap();
        let refused = CertificateAuthority::load(&other, &key).unwrap_err().to_string();
        assert!(refused.contains("other.pem") && refused.contains("ca.key.pem"), "{refused}");

        // Among others, it is found by its key.
        let bundle = directory.path().join("bundle.pem");
        let both = format!("{}{}", stranger.certificate_pem(), authority.certificate_pem());
        file::create_public(&bundle, both.as_bytes()).unwrap();
        let found = CertificateAuthority::load(&bundle, &key).unwrap();
        assert_eq!(found.certificate(), authority.certificate());
        assert_eq!(der(found.certificate_pem()), *authority.certificate());
    }

    #[test]
    fn the_facts_are_what_was_asked_for() {
        let authority = CertificateAuthority::generate("test").unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519);
        let names = names(&["node-1.example", "127.0.0.1", "::1"]);
        let facts = CertificateFacts::of(&der(&authority.issue_node(key.public(), &names).unwrap())).unwrap();
        assert_eq!((facts.server_names.clone(), facts.key_id), (names, Some(key.id())));
        assert_eq!((&facts.issuer[..], facts.is_authority), ("CN=test", false));
        assert_eq!(facts.node_name(), Some("node-1.example"));
        assert_eq!(facts.subject, format!("CN={}", key.id()));
        assert_eq!(facts.not_after.0 - facts.not_before.0, (10 * 365 + 1) * 24 * 60 * 60 * 1000);
        let own = CertificateFacts::of(authority.certificate()).unwrap();
        assert_eq!(own.node_name(), None);
        assert!(own.is_authority && own.server_names.is_empty() && own.fingerprint != facts.fingerprint);

        let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
        assert!(facts.check_time(at(facts.not_before.0 - 1)).unwrap_err().contains("not valid yet"));
        assert_eq!(facts.check_time(at(facts.not_before.0)), Ok(()));
        assert_eq!(facts.check_time(at(facts.not_after.0 + 999)), Ok(()));
        assert!(facts.check_time(at(facts.not_after.0 + 1000)).unwrap_err().contains("expired"));
    }

    #[test]
    fn a_certificate_gives_its_node_no_name_that_a_genesis_document_could_not() {
        let authority = CertificateAuthority::generate("test").unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519);
        let [most, over] = [63, 64].map(|len| format!("{}.{}", "a".repeat(32), "b".repeat(len - 33)));
        for (first, is_name) in
            [("n1", true), (&most, true), (&over, false), ("Node1", false), ("::1", false)]
        {
            let pem = authority.issue_node(key.public(), &names(&[first, "node-2"])).unwrap();
            let facts = CertificateFacts::of(&der(&pem)).unwrap();
            assert_eq!(facts.node_name(), is_name.then_some(first), "{first}");
        }
    }

    #[test]
    fn garbage_names_no_node() {
        let authority = CertificateAuthority::generate("test").unwrap();
        let whole = authority.certificate().to_vec();
        for len in 0..whole.len() {
            assert!(node_id_of(&CertificateDer::from(&whole[..len])).is_err());
        }
        let mut longer = whole;
        longer.push(0);
        assert!(node_id_of(&CertificateDer::from(longer)).is_err());
    }
}
