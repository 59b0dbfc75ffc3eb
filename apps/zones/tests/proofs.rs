//! What a zone holds is proved, whatever changed it, and an answer that says something else is not.

#![allow(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use synod_app_zones::proof::{ZoneProofError, verify};
use synod_app_zones::{
    Content, Expected, Version, ZoneChange, ZoneName, ZonesAnswer, ZonesApp, ZonesOp, ZonesQuery,
};
use synod_machine::{Application as _, Context};
use synod_merkle::Proof;
use synod_types::{CommanderId, ContentKey, Digest, LeaseMs, StateNdx, TimeMs};

fn zone(text: &str) -> ZoneName {
    ZoneName::parse(text).unwrap()
}

fn set(name: &str, n: u32) -> ZonesOp {
    ZonesOp::Set(ZoneChange {
        zone: zone(name),
        content: ContentKey::of(&n.to_be_bytes()),
        bytes: 100,
        serial: n,
        force: false,
        expected: Expected::Any,
    })
}

fn apply(app: &mut ZonesApp, state_ndx: u64, op: &ZonesOp) {
    let context = Context {
        state_ndx: StateNdx(state_ndx),
        time: TimeMs(state_ndx),
        clock: LeaseMs(0),
        commander: CommanderId(Digest([7; 32])),
    };
    app.apply(&context, &op.encode()[1..]).unwrap();
}

fn prove(app: &ZonesApp, name: &str) -> (Option<Version>, Proof) {
    let answer = app.query(StateNdx(0), &ZonesQuery::Prove { zone: zone(name) }.encode()).unwrap();
    match ZonesAnswer::decode(&answer).unwrap() {
        ZonesAnswer::Proved { version, proof } => (version, proof),
        other => panic!("a proof was answered with {other:?}"),
    }
}

#[track_caller]
fn assert_proved(app: &ZonesApp, name: &str, is_there: bool) {
    let root = app.root();
    let (version, proof) = prove(app, name);
    assert_eq!(version.is_some(), is_there, "{name}");
    assert_eq!(verify(&root, &zone(name), version.as_ref(), &proof), Ok(()), "{name}");
    let mut restored = ZonesApp::new();
    restored.restore(&app.snapshot()).unwrap();
    assert_eq!(restored.root(), root, "a restored state has another root");
}

#[test]
fn zones_are_proved_as_they_come_and_go() {
    let mut app = ZonesApp::new();
    assert_proved(&app, "example.org", false);
    apply(&mut app, 1, &set("example.org", 1));
    assert_proved(&app, "example.org", true);
    assert_proved(&app, "Example.ORG.", true);
    assert_proved(&app, "sub.example.org", false);
    let first = app.root();
    let fork = app.fork();
    apply(&mut app, 2, &set("example.org", 2));
    apply(&mut app, 3, &set("example.net", 3));
    assert_proved(&app, "example.org", true);
    apply(
        &mut app,
        4,
        &ZonesOp::Rollback { zone: zone("example.org"), to: StateNdx(1), expected: Expected::Any },
    );
    assert_proved(&app, "example.org", true);
    assert_eq!(prove(&app, "example.org").0.unwrap().rolled_back_to, Some(StateNdx(1)));
    apply(&mut app, 5, &ZonesOp::Delete { zone: zone("example.org"), expected: Expected::Any });
    assert_proved(&app, "example.org", false);
    assert_proved(&app, "example.net", true);
    assert_eq!(fork.root(), first);
    assert_ne!(app.root(), first);
}

#[test]
fn an_answer_that_was_changed_is_refused() {
    let mut app = ZonesApp::new();
    for n in 1..=50 {
        apply(&mut app, u64::from(n), &set(&format!("zone-{n}.example.org"), n));
    }
    let (root, name) = (app.root(), zone("zone-7.example.org"));
    let (version, proof) = prove(&app, "zone-7.example.org");
    let version = version.unwrap();
    let content = version.content.unwrap();
    let other = Err(ZoneProofError::OtherVersion);
    let check = |version: Version| verify(&root, &name, Some(&version), &proof);
    assert_eq!(check(version), Ok(()));
    let holds = |content: Content| check(Version { content: Some(content), ..version });
    assert_eq!(holds(Content { key: ContentKey::of(b"another file"), ..content }), other);
    assert_eq!(holds(Content { bytes: 101, ..content }), other);
    assert_eq!(holds(Content { serial: 8, ..content }), other);
    assert_eq!(check(Version { changed: StateNdx(8), ..version }), other);
    assert_eq!(check(Version { time: TimeMs(8), ..version }), other);
    assert_eq!(check(Version { commander: CommanderId::default(), ..version }), other);
    assert_eq!(check(Version { rolled_back_to: Some(StateNdx(1)), ..version }), other);
    assert_eq!(check(Version { content: None, ..version }), Err(ZoneProofError::Present));
    assert_eq!(verify(&root, &name, None, &proof), Err(ZoneProofError::Present));

    let (none, absent) = prove(&app, "zone-70.example.org");
    assert_eq!(none, None);
    let missing = zone("zone-70.example.org");
    assert_eq!(verify(&root, &missing, Some(&version), &absent), Err(ZoneProofError::Absent));
    // A root of the key-value application, or of the bare map, is none of this one's.
    let bare = Digest::default();
    assert!(matches!(verify(&bare, &name, Some(&version), &proof), Err(ZoneProofError::OtherRoot { .. })));
}
