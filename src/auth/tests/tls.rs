//! Handshakes between the configurations, without a socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fleet;
mod wrong_certificates;

use std::path::Path;

use fleet::{Fleet, NAME, handshake};
use rustls::{HandshakeKind, ProtocolVersion};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use synod_auth::tls::{backend_client, load_roots};
use synod_auth::{TlsIdentity, node_id_of};

#[test]
fn two_nodes_know_each_other_by_their_keys() {
    let fleet = Fleet::new();
    let [a, b] = ["a", "b"].map(|node| fleet.identity(node, "ours"));
    let (client, server) =
        handshake(a.mesh_client(&[b"synod"]).unwrap(), b.mesh_server(&[b"synod"]).unwrap(), NAME).unwrap();
    assert_eq!(node_id_of(&server.peer_certificates().unwrap()[0]), Ok(a.node_id()));
    assert_eq!(node_id_of(&client.peer_certificates().unwrap()[0]), Ok(b.node_id()));
    assert_eq!(server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(client.alpn_protocol(), Some(&b"synod"[..]));
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    let export = |from: &dyn Fn([u8; 32]) -> Result<[u8; 32], rustls::Error>| from([0; 32]).unwrap();
    let label = synod_types::session::Hello::EXPORTER_LABEL;
    assert_eq!(
        export(&|out| client.export_keying_material(out, label, None)),
        export(&|out| server.export_keying_material(out, label, None))
    );
}

#[test]
fn strangers_get_no_connection() {
    let fleet = Fleet::new();
    let a = fleet.identity("a", "ours");
    let alpn: &[&[u8]] = &[b"synod"];
    // Another authority's certificate, with our authority as the root, so that only our side objects.
    let stranger = fleet.identity("stranger", "ours");
    assert!(handshake(stranger.mesh_client(alpn).unwrap(), a.mesh_server(alpn).unwrap(), NAME).is_err());
    assert!(handshake(a.mesh_client(alpn).unwrap(), stranger.mesh_server(alpn).unwrap(), NAME).is_err());
    // No certificate at all.
    let nobody = backend_client(&a.roots(), alpn).unwrap();
    assert!(handshake(nobody.clone(), a.mesh_server(alpn).unwrap(), NAME).is_err());
    assert!(handshake(nobody.clone(), a.backend_server(alpn).unwrap(), NAME).is_ok());
    // Another name, another protocol.
    assert!(handshake(nobody.clone(), a.backend_server(alpn).unwrap(), "other.example").is_err());
    assert!(handshake(nobody, a.backend_server(&[b"other"]).unwrap(), NAME).is_err());
}

#[test]
fn every_wrong_certificate_is_refused_in_both_directions() {
    let fleet = Fleet::new();
    let a = fleet.identity("a", "ours");
    let anothers = CertificateDer::from_pem_file(fleet.path("b", "pem")).unwrap();
    let [authority, authority_key] = ["pem", "key"].map(|kind| fleet.path("ours", kind));
    let all = wrong_certificates::all(&authority, &authority_key, a.signing_key(), NAME, anothers);
    assert_eq!(all.len(), 11);
    let alpn: &[&[u8]] = &[b"synod"];
    for shown in all {
        let called_by_a_node = handshake(a.mesh_client(alpn).unwrap(), shown.server(b"synod"), NAME);
        let called_by_anybody =
            handshake(backend_client(&a.roots(), alpn).unwrap(), shown.server(b"synod"), NAME);
        for called in [called_by_a_node, called_by_anybody] {
            assert_eq!(called.is_err(), shown.refused_as_server, "as a server: {}", shown.what);
        }
        let calls = handshake(shown.client(&a.roots(), b"synod"), a.mesh_server(alpn).unwrap(), NAME);
        assert_eq!(calls.is_err(), shown.refused_as_client, "as a client: {}", shown.what);
    }
}

#[test]
fn the_back_end_takes_commanders_without_a_certificate() {
    let fleet = Fleet::new();
    let a = fleet.identity("a", "ours");
    let roots = load_roots(fleet.path("ours", "pem")).unwrap();
    let config = backend_client(&roots, &[b"h2", b"http/1.1"]).unwrap();
    // A second connection with the same configuration is as full a handshake as the first.
    for _ in 0..2 {
        let (client, server) =
            handshake(config.clone(), a.backend_server(&[b"http/1.1"]).unwrap(), NAME).unwrap();
        assert!(server.peer_certificates().is_none());
        assert_eq!(node_id_of(&client.peer_certificates().unwrap()[0]), Ok(a.node_id()));
        assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    }
    let theirs = load_roots(fleet.path("theirs", "pem")).unwrap();
    let mistrusting = backend_client(&theirs, &[b"http/1.1"]).unwrap();
    assert!(handshake(mistrusting, a.backend_server(&[b"http/1.1"]).unwrap(), NAME).is_err());
}

#[test]
fn files_that_do_not_fit_are_named() {
    let fleet = Fleet::new();
    let load = |certificate: &Path, key: &Path, roots: &Path| {
        TlsIdentity::load(certificate, key, roots).unwrap_err().to_string()
    };
    let [certificate, key, roots] =
        [("a", "pem"), ("a", "key"), ("ours", "pem")].map(|(name, kind)| fleet.path(name, kind));
    let mixed = load(&certificate, &fleet.path("b", "key"), &roots);
    assert!(mixed.contains("a.pem") && mixed.contains("b.key"), "{mixed}");
    let missing = load(&fleet.path("c", "pem"), &key, &roots);
    assert!(missing.contains("cannot read") && missing.contains("c.pem"), "{missing}");
    let no_certificate = load(&key, &key, &roots);
    assert!(no_certificate.contains("a.key: holds no certificate"), "{no_certificate}");
    let no_key = load(&certificate, &certificate, &roots);
    assert!(no_key.contains("chmod 600"), "{no_key}");
    let empty = fleet.path("empty", "pem");
    std::fs::write(&empty, "").unwrap();
    assert!(load(&certificate, &key, &empty).contains("empty.pem: holds no certificate"));
}
