//! The zones application as the machine, the nodes and the front ends see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use synod_app_zones::state::Held;
use synod_app_zones::{
    Content, Expected, ZoneChange, ZoneEntry, ZoneName, ZonesAnswer, ZonesApp, ZonesOp, ZonesQuery,
    ZonesReply,
};
use synod_machine::{Application, Context};
use synod_types::limits::{REFUSAL_TEXT_BYTES_MAX, ZONE_HISTORY_MAX};
use synod_types::{CommanderId, ContentKey, Digest, LeaseMs, Refusal, RefusalCode, StateNdx, TimeMs};
use synod_zone::Zones as _;
use synod_zone::zone::Served;

fn zone(text: &str) -> ZoneName {
    ZoneName::parse(text).expect("a name")
}

/// A zone file for any origin. `host` makes it one of several.
fn file(serial: u32, host: u8) -> Vec<u8> {
    format!(
        "$TTL 3600\n@ SOA ns hostmaster {serial} 7200 900 1209600 300\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.{host}\n"
    )
    .into_bytes()
}

fn content(serial: u32, host: u8) -> Content {
    let file = file(serial, host);
    Content { key: ContentKey::of(&file), bytes: u64::try_from(file.len()).expect("small"), serial }
}

fn change(name: &str, serial: u32, host: u8) -> ZoneChange {
    let Content { key, bytes, serial } = content(serial, host);
    ZoneChange { zone: zone(name), content: key, bytes, serial, force: false, expected: Expected::Any }
}

fn set(name: &str, serial: u32) -> ZonesOp {
    ZonesOp::Set(change(name, serial, 1))
}

fn delete(name: &str) -> ZonesOp {
    ZonesOp::Delete { zone: zone(name), expected: Expected::Any }
}

fn rollback(name: &str, to: u64) -> ZonesOp {
    ZonesOp::Rollback { zone: zone(name), to: StateNdx(to), expected: Expected::Any }
}

fn commander() -> CommanderId {
    CommanderId(Digest([7; 32]))
}

fn context(state_ndx: u64) -> Context {
    Context {
        state_ndx: StateNdx(state_ndx),
        time: TimeMs(state_ndx.saturating_add(1000)),
        clock: LeaseMs(0),
        commander: commander(),
    }
}

fn apply(app: &mut ZonesApp, state_ndx: u64, op: &ZonesOp) -> Result<ZonesReply, Refusal> {
    let answer = app.apply(&context(state_ndx), &op.encode()[1..]);
    answer.map(|answer| ZonesReply::decode(&answer).expect("a reply"))
}

fn ask(app: &dyn Application, query: &ZonesQuery) -> ZonesAnswer {
    ZonesAnswer::decode(&app.query(StateNdx(0), &query.encode()).expect("a query")).expect("an answer")
}

fn get(app: &dyn Application, name: &str) -> Option<ZoneEntry> {
    match ask(app, &ZonesQuery::Get { zone: zone(name) }) {
        ZonesAnswer::Get(entry) => entry,
        other => panic!("a get was answered with {other:?}"),
    }
}

fn list(app: &dyn Application, below: Option<&str>, after: Option<&str>, limit: u32) -> (Vec<String>, bool) {
    let query = ZonesQuery::List { below: below.map(zone), after: after.map(zone), limit };
    match ask(app, &query) {
        ZonesAnswer::List { entries, more } => {
            (entries.iter().map(|entry| entry.zone.to_string()).collect(), more)
        }
        other => panic!("a list was answered with {other:?}"),
    }
}

/// The state that made it, its serial, and the state that it was rolled back to.
type Known = (u64, Option<u32>, Option<u64>);

fn history(app: &dyn Application, name: &str) -> Option<Vec<Known>> {
    let ZonesAnswer::History(history) = ask(app, &ZonesQuery::History { zone: zone(name) }) else {
        panic!("a history was answered with something else")
    };
    let versions = history?.versions;
    Some(
        versions
            .iter()
            .map(|version| {
                assert_eq!((version.time.0, version.commander), (1000 + version.changed.0, commander()));
                let serial = version.content.map(|content| content.serial);
                (version.changed.0, serial, version.rolled_back_to.map(|to| to.0))
            })
            .collect(),
    )
}

/// Gives the application every file that it wants, of serials and hosts up to 9.
fn supply_all(app: &mut ZonesApp) {
    let files: BTreeMap<ContentKey, Vec<u8>> = (0..10)
        .flat_map(|serial| (0..10).map(move |host| file(serial, host)))
        .map(|it| (ContentKey::of(&it), it))
        .collect();
    for key in app.wanted() {
        app.supply(&key, &files[&key]);
    }
    assert_eq!(app.wanted(), []);
}

fn serial(app: &ZonesApp, name: &str) -> Option<u32> {
    app.zone_arc(&zone(name)).map(|zone| zone.serial())
}

#[track_caller]
fn assert_refused(result: Result<ZonesReply, Refusal>, code: RefusalCode, says: &str) {
    let refusal = result.expect_err("a refusal");
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.text.contains(says), "{:?} does not say {says:?}", refusal.text);
    assert!(refusal.text.len() < REFUSAL_TEXT_BYTES_MAX, "{:?} may be cut", refusal.text);
}

#[test]
fn a_zone_knows_what_it_held_and_goes_back_to_it() {
    let mut app = ZonesApp::new();
    assert_eq!((get(&app, "a.org"), history(&app, "a.org")), (None, None));
    assert_eq!(apply(&mut app, 3, &set("a.org", 1)), Ok(ZonesReply::Set { previous: None }));
    assert_eq!(apply(&mut app, 5, &set("a.org", 2)), Ok(ZonesReply::Set { previous: Some(content(1, 1)) }));
    let entry = get(&app, "A.Org.").unwrap();
    assert_eq!((entry.version.content, entry.version.changed), (Some(content(2, 1)), StateNdx(5)));
    assert_eq!((entry.earlier, entry.broken), (1, None));

    let back = ZonesReply::RolledBack { content: content(1, 1), previous: Some(content(2, 1)) };
    assert_eq!(apply(&mut app, 7, &rollback("a.org", 4)), Ok(back));
    assert_eq!(
        apply(&mut app, 8, &delete("a.org")),
        Ok(ZonesReply::Deleted { previous: Some(content(1, 1)) })
    );
    assert_eq!(apply(&mut app, 9, &delete("a.org")), Ok(ZonesReply::Deleted { previous: None }));
    assert_eq!(get(&app, "a.org").unwrap().version.content, None);
    assert_eq!(app.state().len(), 0);
    let back = ZonesReply::RolledBack { content: content(2, 1), previous: None };
    assert_eq!(apply(&mut app, 10, &rollback("a.org", 5)), Ok(back));
    assert_eq!(
        history(&app, "a.org").unwrap(),
        [
            (10, Some(2), Some(5)),
            (8, None, None),
            (7, Some(1), Some(4)),
            (5, Some(2), None),
            (3, Some(1), None)
        ]
    );
}

#[test]
fn a_rollback_goes_to_what_there_was_and_nowhere_else() {
    let mut app = ZonesApp::new();
    let conflict = |result, says| assert_refused(result, RefusalCode::Conflict, says);
    conflict(apply(&mut app, 2, &rollback("a", 1)), "there is no zone a., and no history");
    apply(&mut app, 3, &set("a", 1)).unwrap();
    conflict(apply(&mut app, 4, &rollback("a", 2)), "no zone a. is known of stateNdx 2");
    conflict(apply(&mut app, 5, &rollback("a", 5)), "in stateNdx 4 so far");
    conflict(apply(&mut app, 6, &rollback("a", u64::MAX)), "cannot go back");
    apply(&mut app, 7, &delete("a")).unwrap();
    conflict(
        apply(&mut app, 8, &rollback("a", 7)),
        "no zone a. is known of stateNdx 7; to have none again, delete it",
    );
    apply(&mut app, 9, &rollback("a", 6)).unwrap();
    let digest = app.digest();
    let same = ZonesReply::RolledBack { content: content(1, 1), previous: Some(content(1, 1)) };
    assert_eq!(apply(&mut app, 10, &rollback("a", 9)), Ok(same));
    assert_eq!(app.digest(), digest, "it holds that content already");
    for n in 0..=u32::try_from(ZONE_HISTORY_MAX).unwrap() {
        apply(&mut app, 11 + u64::from(n), &set("a", 2 + n)).unwrap();
    }
    conflict(apply(&mut app, 90, &rollback("a", 10)), "goes back to stateNdx 11 only, not to 10");
}

#[test]
fn what_is_expected_must_be_there() {
    let mut app = ZonesApp::new();
    let with = |expected, serial| ZonesOp::Set(ZoneChange { expected, ..change("a", serial, 1) });
    let holds = |serial| Expected::Content(content(serial, 1).key);
    let conflict = |result, says: &str| assert_refused(result, RefusalCode::Conflict, says);
    conflict(apply(&mut app, 1, &with(holds(1), 2)), "there is no zone a.; ");
    apply(&mut app, 2, &with(Expected::Absent, 1)).unwrap();
    let digest = app.digest();
    let found = format!("zone a. has content {} (serial 1) since stateNdx 2; ", content(1, 1).key);
    conflict(apply(&mut app, 3, &with(Expected::Absent, 2)), &found);
    conflict(
        apply(&mut app, 4, &with(holds(9), 2)),
        &format!("{found}{} was expected", content(9, 1).key.short()),
    );
    conflict(apply(&mut app, 5, &with(holds(9), 1)), &found);
    conflict(apply(&mut app, 6, &ZonesOp::Delete { zone: zone("a"), expected: holds(9) }), &found);
    let back = |expected| ZonesOp::Rollback { zone: zone("a"), to: StateNdx(2), expected };
    conflict(apply(&mut app, 7, &back(Expected::Absent)), &found);
    assert_eq!(app.digest(), digest, "a refused command changed something");
    apply(&mut app, 8, &with(holds(1), 2)).unwrap();
    apply(&mut app, 9, &ZonesOp::Delete { zone: zone("a"), expected: holds(2) }).unwrap();
    conflict(apply(&mut app, 10, &back(holds(2))), "zone a. was deleted in stateNdx 9; ");
    apply(&mut app, 11, &back(Expected::Absent)).unwrap();
    assert_eq!(app.state().content(&zone("a")), Some(content(1, 1)));
}

#[test]
fn a_serial_rises_unless_it_is_forced() {
    let mut app = ZonesApp::new();
    apply(&mut app, 1, &set("a", 5)).unwrap();
    for (n, serial) in [(2, 4), (3, 5)] {
        let other = ZonesOp::Set(change("a", serial, 2));
        assert_refused(apply(&mut app, n, &other), RefusalCode::Conflict, "raise the serial");
    }
    let digest = app.digest();
    let same = apply(&mut app, 4, &set("a", 5));
    assert_eq!(same, Ok(ZonesReply::Set { previous: Some(content(5, 1)) }));
    assert_eq!(app.digest(), digest, "the same content again is no version");
    let forced = |serial| ZonesOp::Set(ZoneChange { force: true, ..change("a", serial, 2) });
    apply(&mut app, 5, &forced(5)).unwrap();
    apply(&mut app, 6, &forced(4)).unwrap();
    apply(&mut app, 7, &delete("a")).unwrap();
    apply(&mut app, 8, &set("a", 1)).unwrap();
    assert_eq!(history(&app, "a").unwrap().len(), 5);
}

#[test]
fn several_zones_change_together_or_not_at_all() {
    let mut app = ZonesApp::new();
    let many = ZonesOp::SetMany(vec![change("a", 5, 1), change("b", 5, 1), change("c", 5, 1)]);
    assert_eq!(apply(&mut app, 1, &many), Ok(ZonesReply::SetMany { changed: 3, unchanged: 0 }));
    supply_all(&mut app);
    let (digest, before) = (app.digest(), app.zone_arc(&zone("a")).unwrap());
    let third = |third| ZonesOp::SetMany(vec![change("a", 6, 1), change("d", 1, 1), third]);
    assert_refused(
        apply(&mut app, 2, &third(change("b", 4, 1))),
        RefusalCode::Conflict,
        "zone b. has serial 5",
    );
    let absent = ZoneChange { expected: Expected::Absent, ..change("c", 6, 1) };
    assert_refused(apply(&mut app, 3, &third(absent)), RefusalCode::Conflict, "zone c. has content");
    let large = ZoneChange { bytes: 0, ..change("c", 6, 1) };
    assert_refused(apply(&mut app, 4, &third(large)), RefusalCode::Malformed, "zone c. is empty");
    assert_refused(apply(&mut app, 5, &third(change("a", 7, 1))), RefusalCode::Malformed, "zone a. twice");
    assert_eq!((app.digest(), app.wanted()), (digest, vec![]), "a refused command changed something");
    assert!(Arc::ptr_eq(&before, &app.zone_arc(&zone("a")).unwrap()));
    let some = ZonesOp::SetMany(vec![change("a", 6, 1), change("b", 5, 1), change("d", 1, 1)]);
    assert_eq!(apply(&mut app, 6, &some), Ok(ZonesReply::SetMany { changed: 2, unchanged: 1 }));
}

#[test]
fn a_scope_is_a_zone_with_all_below_it() {
    let app = ZonesApp::new();
    for scope in ["example", "A.Example.", ".", "0\\/25.2.0.192.in-addr.arpa"] {
        assert_eq!(app.check_scope(scope), Ok(()), "{scope}");
    }
    for scope in ["", "a..b", "a b\\", &"x".repeat(64), &"é".repeat(2000)] {
        let refusal = app.check_scope(scope).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Malformed, "{scope}");
    }
    let within = |scopes: &[&str], op: &ZonesOp| {
        let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        app.check_within(&scopes, &op.encode()[1..]).err().map(|refusal| refusal.code)
    };
    let outside = Some(RefusalCode::NotPermitted);
    for (scopes, name, expected) in [
        (&["a.example"][..], "a.example", None),
        (&["a.example"], "x.y.A.example", None),
        (&["a.example"], "example", outside),
        (&["a.example"], "aa.example", outside),
        (&["a.example"], "a.example.org", outside),
        (&["a.example", "org"], "a.example.org", None),
        (&["."], "anything", None),
        (&[], "a.example", outside),
    ] {
        for op in [set(name, 1), delete(name), rollback(name, 1)] {
            assert_eq!(within(scopes, &op), expected, "{op:?} within {scopes:?}");
        }
    }
    let both = ZonesOp::SetMany(vec![change("a.example", 1, 1), change("b.example", 1, 1)]);
    assert_eq!(within(&["a.example"], &both), outside, "every zone counts");
    assert_eq!(within(&["b.example", "a.example"], &both), None);
    assert_eq!(app.check_within(&["example".to_owned()], b"?").unwrap_err().code, RefusalCode::Malformed);
}

#[test]
fn refusals_fit_however_long_the_names() {
    let label = "\\255".repeat(60);
    let long = format!("{label}.{label}.{label}.{label}");
    let mut app = ZonesApp::new();
    let end = u64::MAX - 9;
    let force = ZonesOp::Set(ZoneChange { force: true, ..change(&long, u32::MAX, 1) });
    apply(&mut app, end, &force).unwrap();
    let op = |expected| ZonesOp::Set(ZoneChange { expected, ..change(&long, u32::MAX, 2) });
    let conflict = |result, says: &str| assert_refused(result, RefusalCode::Conflict, says);
    conflict(apply(&mut app, end + 1, &op(Expected::Any)), "or force the change");
    conflict(apply(&mut app, end + 2, &op(Expected::Absent)), "; it was expected not to exist");
    conflict(apply(&mut app, end + 3, &op(Expected::Content(ContentKey::default()))), " was expected");
    conflict(apply(&mut app, end + 4, &rollback(&long, end - 1)), "delete it");
    conflict(apply(&mut app, end + 5, &rollback(&long, end + 5)), "cannot go back");
    let large = ZonesOp::Set(ZoneChange { bytes: u64::MAX, ..change(&long, 1, 1) });
    assert_refused(apply(&mut app, end + 6, &large), RefusalCode::TooLarge, "are allowed");
}

#[test]
fn a_file_is_checked_against_what_the_operation_says() {
    let app = ZonesApp::new();
    let check = |op: &ZonesOp, file: &[u8]| {
        let operation = &op.encode()[1..];
        assert_eq!(app.content_of(operation), [ContentKey::of(file)]);
        app.check_content(operation, &ContentKey::of(file), file)
    };
    let of = |file: &[u8], serial| {
        let (content, bytes) = (ContentKey::of(file), u64::try_from(file.len()).unwrap());
        ZoneChange { content, bytes, ..change("a.org", serial, 1) }
    };
    let refused = |change: ZoneChange, file: &[u8], says: &str| {
        let refusal = check(&ZonesOp::Set(change), file).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Malformed);
        assert!(refusal.text.contains(says), "{:?} does not say {says:?}", refusal.text);
    };
    let good = file(7, 1);
    assert_eq!(check(&ZonesOp::Set(of(&good, 7)), &good), Ok(()));
    let both = ZonesOp::SetMany(vec![of(&good, 7), ZoneChange { zone: zone("b.org"), ..of(&good, 7) }]);
    assert_eq!(check(&both, &good), Ok(()), "one file may serve several zones");
    refused(of(&good, 8), &good, "has serial 7; the command says 8");
    let bytes = u64::try_from(good.len()).unwrap() + 1;
    refused(ZoneChange { bytes, ..of(&good, 7) }, &good, &format!("the command says {bytes}"));

    let syntax = [&good[..], b"www A 192.0.2.256\n"].concat();
    refused(of(&syntax, 7), &syntax, "zone a.org. line 6, column 7");
    let outside = [&good[..], b"www.b.org. A 192.0.2.1\n"].concat();
    refused(of(&outside, 7), &outside, "line 6");
    let origin_b = [&good[..], b"www.b.org. A 192.0.2.1\n"].concat();
    let half = ZonesOp::SetMany(vec![ZoneChange { zone: zone("org"), ..of(&origin_b, 7) }, of(&origin_b, 7)]);
    let refusal = check(&half, &origin_b).unwrap_err();
    assert!(refusal.text.starts_with("zone a.org. line 6"), "{refusal}");
    refused(of(b"\0\xff\x13\x37", 7), b"\0\xff\x13\x37", "zone a.org. ");

    assert_eq!(
        app.check_content(&[9, 9], &ContentKey::of(&good), &good).unwrap_err().code,
        RefusalCode::Malformed
    );
    for op in [delete("a"), rollback("a", 1)] {
        assert_eq!(app.content_of(&op.encode()[1..]), [], "its file is known already");
    }
    assert_eq!(app.content_of(&[9, 9]), []);
}

#[test]
fn zones_are_served_when_their_files_have_come() {
    let mut app = ZonesApp::new();
    apply(&mut app, 1, &ZonesOp::SetMany(vec![change("a", 1, 1), change("b", 1, 1), change("c", 1, 2)]))
        .unwrap();
    let mut wanted = [content(1, 1).key, content(1, 2).key];
    wanted.sort();
    assert_eq!(app.wanted(), wanted);
    assert!(
        app.zone(b"\x01a\0").is_none() && is_broken(&app, b"\x01a\0"),
        "not served as if it were not there"
    );
    assert!(app.zone(b"\x01d\0").is_none() && !is_broken(&app, b"\x01d\0"));
    supply_all(&mut app);
    assert_eq!(["a", "b", "c", "d"].map(|name| serial(&app, name)), [Some(1), Some(1), Some(1), None]);
    assert_eq!(app.zone(b"\x01a\0").unwrap().origin().to_string(), "a.");
    assert!(!is_broken(&app, b"\x01a\0"));

    let view = app.fork();
    let b = app.zone_arc(&zone("b")).unwrap();
    apply(&mut app, 2, &set("a", 2)).unwrap();
    apply(&mut app, 3, &delete("c")).unwrap();
    apply(&mut app, 4, &set("b", 1)).unwrap();
    assert_eq!(app.wanted(), [content(2, 1).key]);
    assert_eq!(serial(&app, "a"), None, "the old zone is not shown in the new state");
    supply_all(&mut app);
    assert_eq!(["a", "b", "c"].map(|name| serial(&app, name)), [Some(2), Some(1), None]);
    assert!(Arc::ptr_eq(&b, &app.zone_arc(&zone("b")).unwrap()), "what does not change is not built again");
    let view: &dyn std::any::Any = &*view;
    let view: &ZonesApp = view.downcast_ref().unwrap();
    assert_eq!(["a", "b", "c"].map(|name| serial(view, name)), [Some(1); 3], "a view stays as it is");
}

#[test]
fn what_is_no_longer_wanted_is_not_waited_for() {
    let mut app = ZonesApp::new();
    apply(&mut app, 1, &ZonesOp::SetMany(vec![change("a", 1, 1), change("b", 1, 1)])).unwrap();
    apply(&mut app, 2, &set("a", 2)).unwrap();
    let mut both = vec![content(1, 1).key, content(2, 1).key];
    both.sort();
    assert_eq!(app.wanted(), both, "b still waits for the first");
    apply(&mut app, 3, &delete("b")).unwrap();
    assert_eq!(app.wanted(), [content(2, 1).key]);
    app.supply(&content(1, 1).key, &file(1, 1));
    assert_eq!((serial(&app, "a"), serial(&app, "b")), (None, None));
    apply(&mut app, 4, &rollback("a", 1)).unwrap();
    assert_eq!(app.wanted(), [content(1, 1).key]);
    supply_all(&mut app);
    assert_eq!(serial(&app, "a"), Some(1));
}

#[test]
fn a_file_that_is_not_what_was_said_breaks_its_zone_alone() {
    let mut app = ZonesApp::new();
    let garbage = b"; not a zone\n@ MX\n";
    let faulty = ZoneChange { content: ContentKey::of(garbage), ..change("bad", 1, 1) };
    // The file of zone "lying" has serial 3, whatever the command said.
    let lying = ZoneChange { serial: 9, ..change("lying", 3, 1) };
    apply(&mut app, 1, &ZonesOp::SetMany(vec![faulty, lying, change("good", 3, 1)])).unwrap();
    let digest = app.digest();
    app.supply(&ContentKey::of(garbage), garbage);
    supply_all(&mut app);
    assert_eq!(app.digest(), digest, "files are no part of the state");
    assert_eq!(["bad", "lying", "good"].map(|name| serial(&app, name)), [None, None, Some(3)]);
    assert!(
        is_broken(&app, b"\x03bad\0") && is_broken(&app, b"\x05lying\0") && !is_broken(&app, b"\x04good\0")
    );
    assert!(get(&app, "bad").unwrap().broken.unwrap().starts_with("line 2"), "it says where");
    assert!(get(&app, "lying").unwrap().broken.unwrap().contains("serial 3"));
    assert_eq!(get(&app, "good").unwrap().broken, None);
    apply(&mut app, 2, &ZonesOp::Set(change("bad", 2, 1))).unwrap();
    supply_all(&mut app);
    assert_eq!((serial(&app, "bad"), get(&app, "bad").unwrap().broken), (Some(2), None));
}

#[test]
fn files_are_kept_as_long_as_a_version_refers_to_them() {
    let mut app = ZonesApp::new();
    let refers = |app: &ZonesApp, serial| app.refers_to(&content(serial, 1).key);
    assert!(!refers(&app, 1));
    apply(&mut app, 1, &set("a", 1)).unwrap();
    apply(&mut app, 2, &set("b", 1)).unwrap();
    for n in 0..u32::try_from(ZONE_HISTORY_MAX).unwrap() {
        apply(&mut app, u64::from(3 + n), &set("a", 2 + n)).unwrap();
    }
    apply(&mut app, 80, &delete("b")).unwrap();
    assert!(refers(&app, 1) && refers(&app, 2));
    apply(&mut app, 81, &set("a", 100)).unwrap();
    assert!(refers(&app, 1), "deleted zone b still has it in its history");
    apply(&mut app, 82, &set("a", 101)).unwrap();
    assert!(!refers(&app, 2) && refers(&app, 3));
}

#[test]
fn pages_follow_one_another() {
    let mut app = ZonesApp::new();
    let names = ["org", "a.org", "b.a.org", "b.org", "com"];
    let changes = names.iter().map(|name| change(name, 1, 1)).collect();
    apply(&mut app, 1, &ZonesOp::SetMany(changes)).unwrap();
    apply(&mut app, 2, &delete("b.org")).unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(list(&app, None, None, 0), (names(&["com.", "org.", "a.org.", "b.a.org."]), false));
    assert!(!list(&app, None, None, 4).1, "four are all");
    assert_eq!(list(&app, None, None, 3), (names(&["com.", "org.", "a.org."]), true));
    assert_eq!(list(&app, None, Some("a.org"), 3), (names(&["b.a.org."]), false));
    assert_eq!(list(&app, Some("a.org"), None, 1), (names(&["a.org."]), true));
    assert_eq!(list(&app, Some("b.org"), None, 1), (names(&[]), false));
}

#[test]
fn a_page_has_a_limit() {
    let mut app = ZonesApp::new();
    let max = synod_types::limits::ZONES_LIST_ENTRIES_MAX;
    let all: Vec<ZoneChange> = (0..max).map(|n| change(&format!("z{n:04}"), 1, 1)).collect();
    apply(&mut app, 1, &ZonesOp::SetMany(all[..max - 1].to_vec())).unwrap();
    let page = |app: &ZonesApp, limit| {
        let (zones, more) = list(app, None, None, limit);
        (zones.len(), more)
    };
    let limits = [0, 1000, 1001, u32::MAX];
    assert_eq!(limits.map(|limit| page(&app, limit)), [(max - 1, false); 4]);
    apply(&mut app, 2, &ZonesOp::SetMany(all)).unwrap();
    assert_eq!(limits.map(|limit| page(&app, limit)), [(max, false); 4]);
    apply(&mut app, 3, &set("one-more", 1)).unwrap();
    assert_eq!(limits.map(|limit| page(&app, limit)), [(max, true); 4]);
    assert_eq!(page(&app, 999), (999, true));
}

#[test]
fn a_restored_application_is_the_same_and_wants_its_files_again() {
    let mut app = ZonesApp::new();
    for n in 1..80_u64 {
        let name = format!("z{}", n % 20);
        let op = match n % 7 {
            0 => delete(&name),
            3 => rollback(&name, n / 2),
            n => set(&name, u32::try_from(n).unwrap()),
        };
        // Some are refused, which is as good.
        let _ = apply(&mut app, n, &op);
    }
    supply_all(&mut app);
    let snapshot = app.snapshot();
    let mut restored = ZonesApp::new();
    apply(&mut restored, 1, &set("other", 1)).unwrap();
    restored.restore(&snapshot).unwrap();
    assert_eq!((restored.snapshot(), restored.digest()), (snapshot.clone(), app.digest()));
    assert_eq!(restored.state(), app.state());
    assert!(!restored.wanted().is_empty() && serial(&restored, "other").is_none());
    supply_all(&mut restored);
    for n in 0..20 {
        let name = format!("z{n}");
        assert_eq!(serial(&restored, &name), serial(&app, &name));
        assert_eq!(get(&restored, &name), get(&app, &name));
    }
    let op = rollback("z5", 40);
    assert_eq!(apply(&mut restored, 90, &op), apply(&mut app, 90, &op));
    assert_eq!(restored.digest(), app.digest());

    let before = restored.digest();
    for len in 0..snapshot.len() {
        assert!(restored.restore(&snapshot[..len]).is_err(), "{len} bytes were taken for a snapshot");
    }
    assert_eq!(restored.digest(), before, "a failed restore changed something");
}

/// What an operation does, in the simplest words: every zone's content in every state.
#[derive(Default)]
struct Model(BTreeMap<ZoneName, Vec<(u64, Option<Content>)>>);

impl Model {
    fn held_in(&self, zone: &ZoneName, state_ndx: u64) -> Option<Content> {
        self.0.get(zone)?.iter().rev().find(|(changed, _)| *changed <= state_ndx)?.1
    }

    fn now(&self, zone: &ZoneName) -> Option<Content> {
        self.held_in(zone, u64::MAX)
    }

    /// Whether the operation is done.
    fn apply(&mut self, state_ndx: u64, op: &ZonesOp) -> bool {
        let expects = |zone: &ZoneName, expected: &Expected| match expected {
            Expected::Any => true,
            Expected::Absent => self.now(zone).is_none(),
            Expected::Content(key) => self.now(zone).is_some_and(|now| now.key == *key),
        };
        let fits = |change: &ZoneChange| {
            let next = Content { key: change.content, bytes: change.bytes, serial: change.serial };
            let rises = |now: Content| now == next || change.force || now.serial < next.serial;
            expects(&change.zone, &change.expected) && self.now(&change.zone).is_none_or(rises)
        };
        let new: Vec<(ZoneName, Option<Content>)> = match op {
            ZonesOp::Set(_) | ZonesOp::SetMany(_) if !op.changes().iter().all(fits) => return false,
            ZonesOp::Set(_) | ZonesOp::SetMany(_) => op
                .changes()
                .iter()
                .map(|it| {
                    (it.zone.clone(), Some(Content { key: it.content, bytes: it.bytes, serial: it.serial }))
                })
                .collect(),
            ZonesOp::Delete { zone, expected } if !expects(zone, expected) => return false,
            ZonesOp::Delete { zone, .. } => vec![(zone.clone(), None)],
            ZonesOp::Rollback { zone, to, expected } => {
                let held = self.held_in(zone, to.0);
                if !expects(zone, expected) || to.0 >= state_ndx || held.is_none() {
                    return false;
                }
                vec![(zone.clone(), held)]
            }
        };
        for (zone, content) in new {
            if self.now(&zone) != content {
                self.0.entry(zone).or_default().push((state_ndx, content));
            }
        }
        true
    }
}

const NAMES: [&str; 4] = ["a", "b.a", "c", "."];

fn ops() -> impl Strategy<Value = ZonesOp> {
    let name = || prop::sample::select(&NAMES[..]);
    let key = || (0..4_u32, 1..3_u8).prop_map(|(serial, host)| content(serial, host).key);
    let expected = || {
        prop_oneof![
            6 => Just(Expected::Any),
            1 => Just(Expected::Absent),
            3 => key().prop_map(Expected::Content),
        ]
    };
    let change = move || {
        (name(), 0..4_u32, 1..3_u8, prop::bool::weighted(0.3), expected()).prop_map(
            |(name, serial, host, force, expected)| ZoneChange {
                force,
                expected,
                ..change(name, serial, host)
            },
        )
    };
    let some = |expected: &Expected| *expected != Expected::Absent;
    prop_oneof![
        5 => change().prop_map(ZonesOp::Set),
        2 => prop::collection::vec(change(), 1..4)
            .prop_filter("no zone twice", |changes| {
                let mut zones: Vec<_> = changes.iter().map(|change| &change.zone).collect();
                zones.sort();
                zones.windows(2).all(|pair| pair[0] != pair[1])
            })
            .prop_map(ZonesOp::SetMany),
        2 => (name(), expected().prop_filter("makes sense", some))
            .prop_map(|(name, expected)| ZonesOp::Delete { zone: zone(name), expected }),
        3 => (name(), 0..35_u64, expected())
            .prop_map(|(name, to, expected)| ZonesOp::Rollback { zone: zone(name), to: StateNdx(to), expected }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two replicas execute the same operations. One gets its files, one never does. Both do what the model does.
    #[test]
    fn operations_do_what_they_say(ops in prop::collection::vec(ops(), 1..32)) {
        let (mut app, mut without_files, mut model) = (ZonesApp::new(), ZonesApp::new(), Model::default());
        for (state_ndx, op) in (1..).zip(&ops) {
            let result = apply(&mut app, state_ndx, op);
            prop_assert_eq!(&apply(&mut without_files, state_ndx, op), &result);
            prop_assert_eq!(result.is_ok(), model.apply(state_ndx, op), "{:?}: {:?}", op, result);
            if state_ndx % 3 == 0 {
                supply_all(&mut app);
            }
        }
        supply_all(&mut app);
        prop_assert_eq!(app.digest(), without_files.digest());
        prop_assert_eq!(app.snapshot(), without_files.snapshot());
        let wanted = without_files.wanted();
        for name in NAMES.map(zone) {
            prop_assert_eq!(app.state().content(&name), model.now(&name));
            prop_assert_eq!(app.zone_arc(&name).map(|built| built.serial()), model.now(&name).map(|now| now.serial));
            for state_ndx in 0..40 {
                let expected = model.held_in(&name, state_ndx).map_or(Held::Nothing, Held::Content);
                let held = app.state().record(&name).map_or(Held::Nothing, |it| it.held_in(StateNdx(state_ndx)));
                prop_assert_eq!(held, expected, "zone {} in state {}", name, state_ndx);
            }
            for (_, content) in model.0.get(&name).into_iter().flatten() {
                prop_assert!(content.is_none_or(|content| app.refers_to(&content.key)));
            }
            prop_assert!(model.now(&name).is_none_or(|now| wanted.contains(&now.key)));
        }
        let mut restored = ZonesApp::new();
        restored.restore(&app.snapshot()).unwrap();
        prop_assert_eq!(restored.state(), app.state());
        prop_assert_eq!(restored.wanted(), wanted);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut app = ZonesApp::new();
        apply(&mut app, 1, &set("a", 1)).unwrap();
        let checked = app.check(&bytes);
        let applied = app.apply(&context(2), &bytes).map(drop);
        // What the entry refuses, execution refuses in the same words.
        if checked.is_err() {
            prop_assert_eq!(applied, checked);
        }
        let _ = app.query(StateNdx(0), &bytes);
        let _ = app.content_of(&bytes);
        let _ = app.check_content(&bytes, &ContentKey::of(&bytes), &bytes);
        app.supply(&content(1, 1).key, &bytes);
        let _ = app.restore(&bytes);
        let mut snapshot = b"synod/zones/v1\0".to_vec();
        snapshot.extend_from_slice(&bytes);
        let _ = app.restore(&snapshot);
    }
}

/// Whether there is a zone with this origin, and none to answer from.
fn is_broken(app: &ZonesApp, origin: &[u8]) -> bool {
    matches!(app.served(origin), Some(Served::Broken))
}
