//! Anybody can make and check our ids and signatures with `openssl` alone: it makes the committed vectors again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod vectors;

use std::path::Path;
use std::process::Command;

use synod_auth::{Algorithm, SigningKey};
use vectors::Vector;

/// What `openssl` writes; `None` if it is not installed.
fn openssl(arguments: &[&str]) -> Option<Vec<u8>> {
    let output = match Command::new("openssl").args(arguments).output() {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("\n*** SKIPPED: openssl is not installed, so nothing was compared with it. ***\n");
            return None;
        }
        output => output.unwrap(),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?} failed: {errors}");
    Some(output.stdout)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Signs the file as `vectors/README.md` tells the reader to.
fn openssl_sign(algorithm: Algorithm, key: &Path, body: &Path, directory: &Path) -> Option<Vec<u8>> {
    if algorithm != Algorithm::Ed25519 {
        return openssl(&["dgst", "-sha3-256", "-sign", text(key), text(body)]);
    }
    let digest = directory.join("digest.bin");
    std::fs::write(&digest, openssl(&["dgst", "-sha3-256", "-binary", text(body)])?).unwrap();
    openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", text(key), "-in", text(&digest)])
}

#[test]
fn openssl_makes_the_same_ids_and_signatures() {
    let directory = tempfile::tempdir().unwrap();
    for vector in Vector::all() {
        let (key, body) = (vector.path("key.pem"), vector.path("body.bin"));
        let algorithm = vector.key().public().algorithm();
        let Some(signature) = openssl_sign(algorithm, &key, &body, directory.path()) else { return };
        assert_eq!(signature, vector.read("signature.bin"));

        let Some(id) = openssl(&["dgst", "-sha3-256", "-binary", text(&body)]) else { return };
        assert_eq!(id, vector.command_id.as_bytes());

        let spki = directory.path().join("spki.der");
        let Some(der) = openssl(&["pkey", "-in", text(&key), "-pubout", "-outform", "DER"]) else { return };
        assert_eq!(der, vector.key().public().spki_der()[..]);
        std::fs::write(&spki, der).unwrap();
        let Some(id) = openssl(&["dgst", "-sha3-256", "-binary", text(&spki)]) else { return };
        assert_eq!(id, vector.commander_id.as_bytes());
    }
}

#[test]
fn openssl_signs_with_the_keys_that_we_make() {
    let directory = tempfile::tempdir().unwrap();
    let body = directory.path().join("body.bin");
    std::fs::write(&body, b"some bytes").unwrap();
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
        let key = SigningKey::generate(algorithm);
        let path = directory.path().join(algorithm.to_string());
        key.save_new(&path).unwrap();
        let Some(signature) = openssl_sign(algorithm, &path, &body, directory.path()) else { return };
        assert_eq!(signature, key.sign(b"some bytes"));
        key.public().verify(b"some bytes", &signature).unwrap();
    }
}
