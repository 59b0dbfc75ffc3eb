//! Keys in files of any kind: a private key, a public key, or a certificate, told apart by what the PEM says it is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use pkcs8::LineEnding;
use pkcs8::der::Document;
use synod_auth::{PublicKey, SigningKey, public_key_of};
use synod_types::limits::KEY_FILE_BYTES_MAX;

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holds {
    PrivateKey,
    PublicKey,
    Certificate,
}

impl Holds {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Holds::PrivateKey => "private key",
            Holds::PublicKey => "public key",
            Holds::Certificate => "certificate",
        }
    }
}

/// The public key in a file, and what the file holds.
pub(crate) fn load(path: &Path) -> anyhow::Result<(PublicKey, Holds)> {
    let text = read(path)?;
    if text.contains("PRIVATE KEY-----") {
        // It is read again, by what also sees that nobody else can use it.
        let key = SigningKey::load(path)?;
        return Ok((key.public().clone(), Holds::PrivateKey));
    }
    let name = path.display();
    let (label, document) = Document::from_pem(&text)
        .with_context(|| format!("{name} is neither a key nor a certificate in PEM form"))?;
    match label {
        "PUBLIC KEY" => {
            let key = PublicKey::from_spki_der(document.as_bytes());
            Ok((
                key.with_context(|| format!("{name} holds a public key that is not taken"))?,
                Holds::PublicKey,
            ))
        }
        "CERTIFICATE" => {
            let key = public_key_of(&document.as_bytes().into());
            Ok((
                key.with_context(|| format!("{name} holds a certificate that is not taken"))?,
                Holds::Certificate,
            ))
        }
        other => {
            bail!("{name} is PEM of a {other:?}; a private key, a public key or a certificate is expected")
        }
    }
}

/// The public key as SubjectPublicKeyInfo in PEM form, as OpenSSL and others read it.
pub(crate) fn to_pem(key: &PublicKey) -> anyhow::Result<String> {
    let document = Document::try_from(&key.spki_der()[..])?;
    Ok(document.to_pem("PUBLIC KEY", LineEnding::LF)?)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let cannot_read = || format!("cannot read {}", path.display());
    let limit = u64::try_from(KEY_FILE_BYTES_MAX)?;
    let mut text = String::new();
    let file = File::open(path).with_context(cannot_read)?;
    file.take(limit).read_to_string(&mut text).with_context(cannot_read)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use synod_auth::{Algorithm, CertificateAuthority};

    use super::*;

    #[test]
    fn private_keys_public_keys_and_certificates_are_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let key = SigningKey::generate(Algorithm::Ed25519);
        key.save_new(at("private")).unwrap();
        std::fs::write(at("public"), to_pem(key.public()).unwrap()).unwrap();
        let authority = CertificateAuthority::generate("test").unwrap();
        let certificate = authority.issue_node(key.public(), &["node1".to_owned()]).unwrap();
        std::fs::write(at("certificate"), certificate).unwrap();
        for (name, holds) in [
            ("private", Holds::PrivateKey),
            ("public", Holds::PublicKey),
            ("certificate", Holds::Certificate),
        ] {
            assert_eq!(load(&at(name)).unwrap(), (key.public().clone(), holds));
        }
        std::fs::write(at("other"), "no key").unwrap();
        assert!(load(&at("other")).is_err());
        assert!(load(&at("missing")).is_err());
    }
}
