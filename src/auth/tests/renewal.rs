//! Certificates that change under configurations that were made before, and sets of files that change nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fleet;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use fleet::{Fleet, NAME, handshake};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use synod_auth::tls::{backend_client, load_roots};
use synod_auth::{CertificateAuthority, ServerCertificate, SigningKey};

const ALPN: &[&[u8]] = &[b"synod"];

/// What a server shows to who trusts `roots`.
fn shown(server: &ServerConfig, client: &ClientConfig) -> Result<CertificateDer<'static>, rustls::Error> {
    let (client, _) = handshake(client.clone(), server.clone(), NAME)?;
    Ok(client.peer_certificates().unwrap()[0].clone())
}

fn read(fleet: &Fleet, name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(fleet.path(name, "pem")).unwrap()
}

/// The certificate that an authority of the fleet would make for a node, but for what is changed.
fn issue(fleet: &Fleet, authority: &str, node: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
    let authority_key =
        KeyPair::from_pem(&fs::read_to_string(fleet.path(authority, "key")).unwrap()).unwrap();
    let authority = fs::read_to_string(fleet.path(authority, "pem")).unwrap();
    let key = KeyPair::from_pem(&SigningKey::load(fleet.path(node, "key")).unwrap().to_pem()).unwrap();
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params.signed_by(&key, &Issuer::from_ca_cert_pem(&authority, authority_key).unwrap()).unwrap().pem()
}

fn dated(from: i32, to: i32) -> impl FnOnce(&mut CertificateParams) {
    move |params| (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1))
}

#[test]
fn what_was_configured_before_shows_and_trusts_what_is_new() {
    let fleet = Fleet::new();
    let [a, b] = ["a", "b"].map(|node| fleet.identity(node, "ours"));
    let (as_server, as_client) = (a.mesh_server(ALPN).unwrap(), a.mesh_client(ALPN).unwrap());
    let backend = a.backend_server(ALPN).unwrap();
    let commander = backend_client(&load_roots(fleet.path("ours", "pem")).unwrap(), ALPN).unwrap();
    let old = read(&fleet, "a");
    assert_eq!(shown(&backend, &commander).unwrap(), old);
    assert!(!a.reload(NAME).unwrap(), "nothing is new");

    // The same key, the same authority.
    fs::write(fleet.path("a", "pem"), issue(&fleet, "ours", "a", |_| {})).unwrap();
    let new = read(&fleet, "a");
    assert_ne!(old, new);
    assert_eq!(shown(&backend, &commander).unwrap(), old, "nobody has read it");
    assert!(a.reload(NAME).unwrap());
    assert_eq!(shown(&backend, &commander).unwrap(), new);
    assert_eq!(shown(&as_server, &b.mesh_client(ALPN).unwrap()).unwrap(), new);
    let (_, server) = handshake(as_client.clone(), b.mesh_server(ALPN).unwrap(), NAME).unwrap();
    assert_eq!(server.peer_certificates().unwrap()[0], new);
    assert_eq!(a.facts().unwrap().key_id, Some(a.node_id().0));

    // Another authority: first both, then it alone.
    let both =
        [("ours", "pem"), ("theirs", "pem")].map(|(name, kind)| fs::read(fleet.path(name, kind)).unwrap());
    let theirs = both[1].clone();
    let now = SystemTime::now();
    let of_theirs = fleet.identity("stranger", "theirs");
    let stranger = [read(&fleet, "stranger")];
    let calls = |of: &ClientConfig| handshake(of.clone(), as_server.clone(), NAME).is_ok();
    let (stranger_calls, b_calls) = (of_theirs.mesh_client(ALPN).unwrap(), b.mesh_client(ALPN).unwrap());
    // The stranger trusts one authority and is of it, so for now it does not take the node either.
    assert!(!calls(&stranger_calls) && calls(&b_calls) && !a.vouches_for_caller(&stranger, now));
    fs::write(fleet.path("ours", "pem"), both.concat()).unwrap();
    assert!(a.reload(NAME).unwrap());
    assert_eq!(a.authorities().len(), 2);
    assert!(
        calls(&b_calls) && a.vouches_for_caller(&stranger, now) && a.vouches_for_called(&stranger, NAME, now)
    );
    assert!(!a.vouches_for_called(&stranger, "other.example", now));
    fs::write(fleet.path("a", "pem"), issue(&fleet, "theirs", "a", |_| {})).unwrap();
    assert!(a.reload(NAME).unwrap());
    assert!(calls(&stranger_calls), "they have an authority in common now");
    fs::write(fleet.path("ours", "pem"), theirs).unwrap();
    assert!(a.reload(NAME).unwrap());
    let b_chain = [read(&fleet, "b")];
    assert!(calls(&stranger_calls) && !calls(&b_calls));
    assert!(!a.vouches_for_caller(&b_chain, now) && !a.vouches_for_called(&b_chain, NAME, now));
    // What counts is the time at which it was shown.
    let later = now + Duration::from_secs(11 * 365 * 24 * 60 * 60);
    assert!(a.vouches_for_caller(&stranger, now) && !a.vouches_for_caller(&stranger, later));
}

#[test]
fn a_set_that_is_not_in_order_changes_nothing() {
    let fleet = Fleet::new();
    let a = fleet.identity("a", "ours");
    let backend = a.backend_server(ALPN).unwrap();
    let commander = backend_client(&a.roots(), ALPN).unwrap();
    let old = read(&fleet, "a");
    let kept = ["a.pem", "a.key", "ours.pem"]
        .map(|name| (name, fs::read(fleet.directory.path().join(name)).unwrap()));
    let file = |name: &str, kind: &str| fs::read_to_string(fleet.path(name, kind)).unwrap();
    let [good, key, authority] = [file("a", "pem"), file("a", "key"), file("ours", "pem")];
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let in_one_line = key.replace('\n', "");
    for (what, certificate, key, authority, named, said) in [
        (
            "of another key",
            file("b", "pem"),
            key.clone(),
            authority.clone(),
            "a.pem",
            "is not the certificate of the key",
        ),
        (
            "another's key",
            good.clone(),
            file("b", "key"),
            authority.clone(),
            "a.pem",
            "is not the certificate of the key",
        ),
        (
            "another node",
            file("b", "pem"),
            file("b", "key"),
            authority.clone(),
            "a.key",
            "the key of another node",
        ),
        (
            "expired",
            issue(&fleet, "ours", "a", dated(2000, 2001)),
            key.clone(),
            authority.clone(),
            "a.pem",
            "synod cert renew",
        ),
        (
            "not yet",
            issue(&fleet, "ours", "a", dated(2090, 2091)),
            key.clone(),
            authority.clone(),
            "a.pem",
            "clocks",
        ),
        (
            "another authority",
            issue(&fleet, "theirs", "a", |_| {}),
            key.clone(),
            authority.clone(),
            "a.pem",
            "is of no authority in",
        ),
        (
            "dropped too early",
            good.clone(),
            key.clone(),
            file("theirs", "pem"),
            "a.pem",
            "bundle with the old and the new",
        ),
        (
            "another name",
            issue(&fleet, "ours", "a", |params| {
                params.subject_alt_names =
                    CertificateParams::new(vec!["b.example".to_owned()]).unwrap().subject_alt_names;
            }),
            key.clone(),
            authority.clone(),
            "a.pem",
            "name",
        ),
        (
            "for servers only",
            issue(&fleet, "ours", "a", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
            }),
            key.clone(),
            authority.clone(),
            "a.pem",
            "cannot be used between nodes",
        ),
        ("half a certificate", half(&good), key.clone(), authority.clone(), "a.pem", "has no end"),
        ("no certificate", String::new(), key.clone(), authority.clone(), "a.pem", "holds no certificate"),
        ("half a key", good.clone(), half(&key), authority.clone(), "a.key", "not a private key in PEM form"),
        (
            "a key in one line",
            good.clone(),
            in_one_line.clone(),
            authority.clone(),
            "a.key",
            "not a private key in PEM form",
        ),
        ("half an authority", good.clone(), key.clone(), half(&authority), "ours.pem", "has no end"),
        (
            "half a bundle",
            good.clone(),
            key.clone(),
            format!("{authority}{}", half(&file("theirs", "pem"))),
            "ours.pem",
            "has no end",
        ),
    ] {
        fs::write(fleet.path("a", "pem"), certificate).unwrap();
        fs::write(fleet.path("a", "key"), key).unwrap();
        fs::write(fleet.path("ours", "pem"), authority).unwrap();
        let why = a.reload(NAME).unwrap_err().to_string();
        assert!(why.contains(named) && why.contains(said), "{what}: {why}");
        assert!(!leaks(&why, &kept[1].1), "{what}: {why}");
        assert_eq!(shown(&backend, &commander).unwrap(), old, "{what}");
        assert_eq!(a.authorities().len(), 1, "{what}");
        kept.iter().for_each(|(name, bytes)| fs::write(fleet.directory.path().join(name), bytes).unwrap());
    }
    for kind in ["a.pem", "a.key", "ours.pem"] {
        let (path, away) = (fleet.directory.path().join(kind), fleet.directory.path().join("away"));
        fs::rename(&path, &away).unwrap();
        let why = a.reload(NAME).unwrap_err().to_string();
        assert!(why.contains("cannot read") && why.contains(kind), "{why}");
        fs::rename(&away, &path).unwrap();
    }
    fs::set_permissions(fleet.path("a", "key"), Permissions::from_mode(0o644)).unwrap();
    let why = a.reload(NAME).unwrap_err().to_string();
    assert!(why.contains("chmod 600") && why.contains("a.key"), "{why}");
    fs::set_permissions(fleet.path("a", "key"), Permissions::from_mode(0o600)).unwrap();
    assert!(!a.reload(NAME).unwrap(), "all is as it was");
}

#[test]
fn what_servers_show_changes_with_its_key_or_not_at_all() {
    let fleet = Fleet::new();
    let [certificate, key] = ["pem", "key"].map(|kind| fleet.path("a", kind));
    let served = ServerCertificate::load(&certificate, &key).unwrap();
    let config = served.server_config(ALPN).unwrap();
    let reader = backend_client(&load_roots(fleet.path("ours", "pem")).unwrap(), ALPN).unwrap();
    let shows = || shown(&config, &reader).unwrap();
    let old = shows();
    let secret = fs::read(&key).unwrap();
    let [good, other] = ["a", "b"].map(|name| fs::read_to_string(fleet.path(name, "pem")).unwrap());
    let in_one_line = fs::read_to_string(&key).unwrap().replace('\n', "");
    let in_one_line = in_one_line.split("-----END").next().unwrap().to_owned();
    for (shown, key_text, said) in [
        (issue(&fleet, "ours", "a", dated(2000, 2001)), None, "is expired"),
        (issue(&fleet, "ours", "a", dated(2090, 2091)), None, "not valid yet"),
        (other.clone(), None, "cannot be used with the key in"),
        ("nothing".to_owned(), None, "holds no certificate"),
        (good[..100].to_owned(), None, "has no end"),
        (good.clone(), Some(in_one_line), "a line begins like a section"),
        (good.clone(), Some("nothing".to_owned()), "holds no private key"),
    ] {
        fs::write(&certificate, shown).unwrap();
        fs::write(&key, key_text.map_or_else(|| secret.clone(), String::into_bytes)).unwrap();
        let why = served.reload().unwrap_err().to_string();
        assert!(why.contains(said) && !leaks(&why, &secret), "{why}");
        assert_eq!(shows(), old, "{said}");
    }
    // Another certificate of another key.
    fs::write(&certificate, other).unwrap();
    fs::copy(fleet.path("b", "key"), &key).unwrap();
    assert!(served.reload().unwrap() && !served.reload().unwrap());
    assert_eq!(shows(), read(&fleet, "b"));
    assert_eq!(served.facts().unwrap().server_names, [NAME]);
}

/// Whether a text has something of a key in it: a part of its base64, or its bytes as a list.
fn leaks(text: &str, pem: &[u8]) -> bool {
    let base64: String =
        std::str::from_utf8(pem).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    let list = format!("{:?}", base64.as_bytes());
    text.contains(&base64[20..36]) || text.contains(list[80..140].trim_matches(','))
}

#[test]
fn a_new_authority_signs_for_keys_that_are_there() {
    let fleet = Fleet::new();
    let authority =
        CertificateAuthority::load(fleet.path("theirs", "pem"), fleet.path("theirs", "key")).unwrap();
    let key = SigningKey::load(fleet.path("a", "key")).unwrap();
    fs::write(fleet.path("a", "pem"), authority.issue_node(key.public(), &[NAME.to_owned()]).unwrap())
        .unwrap();
    let moved = fleet.identity("a", "theirs");
    assert_eq!(moved.node_id().0, key.id());
    assert!(!moved.reload(NAME).unwrap());
}
