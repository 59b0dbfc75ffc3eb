//! Certificates that are wrong in one thing each, with a key that is the right one, so that nothing but the certificate can
//! be what is refused. Beside them one that is good and made in the same way.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use synod_auth::SigningKey;

/// What somebody shows in TLS.
pub struct Shown {
    /// What is wrong with it.
    pub what: &'static str,
    /// Whether servers are known by what is wrong, clients, or both.
    pub refused_as_server: bool,
    pub refused_as_client: bool,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Every certificate for `key` that is wrong, and last the good one. `authority` and `authority_key` are the files of the
/// authority that is trusted; `name` is the name by which the server is called; `anothers` is a good certificate of another
/// node, whose key is not at hand.
pub fn all(
    authority: &Path,
    authority_key: &Path,
    key: &SigningKey,
    name: &str,
    anothers: CertificateDer<'static>,
) -> Vec<Shown> {
    let authority = std::fs::read_to_string(authority).unwrap();
    let authority_key = std::fs::read_to_string(authority_key).unwrap();
    let issuer = |key: KeyPair| Issuer::from_ca_cert_pem(&authority, key).unwrap();
    let ours = || issuer(KeyPair::from_pem(&authority_key).unwrap());
    // One that calls itself as ours does.
    let theirs = || issuer(KeyPair::generate().unwrap());
    let pair = || KeyPair::from_pem(&key.to_pem()).unwrap();
    let good = node(name);
    let signed = |params: &CertificateParams, issuer: &Issuer<'_, KeyPair>| {
        params.signed_by(&pair(), issuer).unwrap().der().clone()
    };
    let shown = |what, chain| Shown {
        what,
        refused_as_server: true,
        refused_as_client: true,
        chain,
        key: PrivateKeyDer::Pkcs8(key.pkcs8_der()),
    };

    let dated = |from, to| {
        let mut params = node(name);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        params
    };
    let used = |purpose| {
        let mut params = node(name);
        params.extended_key_usages = vec![purpose];
        params
    };
    let mut tampered = signed(&good, &ours()).to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    // A node that plays authority, with a good certificate of its own.
    let subordinate = KeyPair::generate().unwrap();
    let its_own = good.signed_by(&subordinate, &ours()).unwrap().der().clone();
    let by_a_node = signed(&good, &Issuer::new(good.clone(), subordinate));
    let server_only = Shown {
        refused_as_server: false,
        ..shown("not for clients", vec![signed(&used(ExtendedKeyUsagePurpose::ServerAuth), &ours())])
    };
    let client_only = Shown {
        refused_as_client: false,
        ..shown("not for servers", vec![signed(&used(ExtendedKeyUsagePurpose::ClientAuth), &ours())])
    };
    // Who calls has no name to be held against.
    let elsewhere = Shown {
        refused_as_client: false,
        ..shown("for another name", vec![signed(&node("elsewhere.example"), &ours())])
    };
    vec![
        shown("of another authority", vec![signed(&good, &theirs())]),
        shown("signed by itself", vec![good.self_signed(&pair()).unwrap().der().clone()]),
        shown("signed by a node", vec![by_a_node, its_own]),
        shown("expired", vec![signed(&dated(2000, 2001), &ours())]),
        shown("not yet valid", vec![signed(&dated(2090, 2091), &ours())]),
        shown("changed", vec![tampered.into()]),
        shown("of another node", vec![anothers]),
        elsewhere,
        client_only,
        server_only,
        Shown {
            refused_as_server: false,
            refused_as_client: false,
            ..shown("nothing", vec![signed(&good, &ours())])
        },
    ]
}

/// What the authority would put into a node's certificate.
fn node(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl Shown {
    /// Shows it to whoever calls, and asks for nothing.
    pub fn server(&self, alpn: &[u8]) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.resolver());
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    /// Shows it to whoever is called, if that is one of `roots`.
    pub fn client(&self, roots: &Arc<RootCertStore>, alpn: &[u8]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let builder = builder.with_root_certificates(roots.clone());
        let mut config = builder.with_client_cert_resolver(self.resolver());
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    /// Does not mind if the key is not the certificate's.
    fn resolver(&self) -> Arc<SingleCertAndKey> {
        let key = ring::sign::any_supported_type(&self.key).unwrap();
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(self.chain.clone(), key)))
    }
}
