//! The bytes of operations, of what they answer, and of a state's snapshot, as an older program wrote them: they are in logs, in hash
//! chains and on disks.

use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesApp, ZonesOp, ZonesReply};
use synod_machine::{Application as _, Context};
use synod_types::{CommanderId, ContentKey, Digest, LeaseMs, StateNdx, TimeMs, wire};

fn file(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn zone(text: &str) -> ZoneName {
    ZoneName::parse(text).expect("a name")
}

fn key(n: u8) -> ContentKey {
    ContentKey(Digest([n; 32]))
}

fn change(name: &str, n: u8, expected: Expected) -> ZoneChange {
    ZoneChange {
        zone: zone(name),
        content: key(n),
        bytes: 300,
        serial: u32::from(n),
        force: n == 3,
        expected,
    }
}

/// Each operation, in an order in which all of them do something.
fn operations() -> Vec<(&'static str, ZonesOp)> {
    let many = vec![change("example.org", 4, Expected::Any), change("example.net", 3, Expected::Absent)];
    vec![
        ("set", ZonesOp::Set(change("example.com", 5, Expected::Absent))),
        ("set-again", ZonesOp::Set(change("example.com", 6, Expected::Content(key(5))))),
        ("set-many", ZonesOp::SetMany(many)),
        (
            "rollback",
            ZonesOp::Rollback {
                zone: zone("example.com"),
                to: StateNdx(1),
                expected: Expected::Content(key(6)),
            },
        ),
        ("delete", ZonesOp::Delete { zone: zone("example.org"), expected: Expected::Any }),
        ("delete-nothing", ZonesOp::Delete { zone: zone("."), expected: Expected::Any }),
    ]
}

#[test]
fn operations_answers_and_the_state_that_they_make_stay_what_they_are() {
    let mut zones = ZonesApp::new();
    let (mut commands, mut answers) = (Vec::new(), Vec::new());
    for (n, (name, operation)) in (1..).zip(operations()) {
        let encoded = operation.encode();
        assert_eq!(ZonesOp::decode(&encoded[1..]), Ok(operation));
        let commander = CommanderId(Digest([9; 32]));
        let context =
            Context { state_ndx: StateNdx(n), time: TimeMs(1000 + n), clock: LeaseMs(0), commander };
        let answer = zones.apply(&context, &encoded[1..]).expect(name);
        let reply = ZonesReply::decode(&answer).expect(name);
        assert_eq!(wire::encode(&reply), answer);
        commands.push((name, encoded));
        answers.push((name, answer.to_vec()));
    }
    for (name, kept) in synod_golden::holds(file("operations.hex"), commands) {
        assert!(ZonesOp::decode(&kept[1..]).is_ok(), "{name}");
    }
    synod_golden::holds(file("answers.hex"), answers);
    let kept = synod_golden::holds(file("snapshot.hex"), [("state", zones.snapshot())]);
    let mut restored = ZonesApp::new();
    restored.restore(&kept["state"]).expect("it was a snapshot once");
    assert_eq!(restored.snapshot(), zones.snapshot());
}
