//! The level of an application: who raises it, where the rules switch, and what a program does that does not know it.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

mod stage;

use stage::*;
use synod_machine::authority::{AuthorityReply, Member, MemberOp};
use synod_machine::{Applied, AuthorityOp, Founders, Grant, Machine, Role, SnapshotError};
use synod_types::{
    Decree, Digest, Level, NodeId, Outcome, RefusalCode, SignedCommand, TimeMs, UnknownLevel, Versions,
};

/// As if every level existed up to this one.
const OLD: Versions = Versions { min: 1, max: 1 };

/// An application on level 1 that keeps the members.
fn on_level_1(administrators: u64, signatures_needed: u32) -> Machine {
    let members = vec![member("n1", "h1:7101"), member("n2", "h2:7101")];
    let founders = Founders { members, level: Level::FIRST, ..founders(administrators, signatures_needed) };
    Machine::new(CLUSTER, APP, &founders, Box::new(Tally::default()))
}

fn member(name: &str, address: &str) -> Member {
    let (id, name) = (NodeId(Digest::of(&[name.as_bytes()])), name.to_owned());
    Member { id, name, address: address.to_owned() }
}

fn raise(to: u32) -> Vec<u8> {
    AuthorityOp::Raise { to: Level(to) }.encode()
}

/// A member at an address that level 1 takes, and no node can call.
fn add_loose(name: &str) -> Vec<u8> {
    AuthorityOp::Member(MemberOp::Add(member(name, "a b:7101"))).encode()
}

fn level(machine: &Machine) -> Level {
    machine.state().level()
}

fn answer(applied: Applied) -> AuthorityReply {
    match receipt(applied).outcome {
        Outcome::Done(answer) => AuthorityReply::decode(&answer).unwrap(),
        Outcome::Refused(refusal) => panic!("{refusal}"),
    }
}

fn outcomes(applied: Vec<Applied>) -> Vec<Option<RefusalCode>> {
    applied.into_iter().map(outcome_code).collect()
}

#[test]
fn the_rules_switch_between_two_commands_of_one_decree() {
    let mut machine = on_level_1(1, 1);
    let commands = vec![
        command(0, 1, add_loose("n3")),
        command(0, 2, raise(2)),
        command(0, 3, add_loose("n4")),
        command(0, 4, AuthorityOp::Member(MemberOp::Add(member("n4", "h4:7101"))).encode()),
    ];
    let applied = apply_at(&mut machine, 0, commands);
    assert_eq!(outcomes(applied), [None, None, Some(RefusalCode::Malformed), None]);
    assert_eq!(level(&machine), Level(2));
    let members = machine.state().authority().members().unwrap();
    let names: Vec<_> = members.iter().map(|member| (&member.name[..], &member.address[..])).collect();
    // What came by the rules of then stays.
    assert_eq!(names, [("n1", "h1:7101"), ("n2", "h2:7101"), ("n3", "a b:7101"), ("n4", "h4:7101")]);
}

#[test]
fn a_level_is_raised_by_one_and_never_twice_by_mistake() {
    let mut machine = on_level_1(1, 1);
    assert_eq!(outcome_code(apply(&mut machine, command(0, 1, raise(3)))), Some(RefusalCode::Conflict));
    assert_eq!(outcome_code(apply(&mut machine, command(0, 2, raise(1)))), Some(RefusalCode::Conflict));
    assert_eq!(outcome_code(apply(&mut machine, command(0, 3, raise(2)))), None);
    assert_eq!(outcome_code(apply(&mut machine, command(0, 4, raise(2)))), Some(RefusalCode::Conflict));
    assert_eq!(level(&machine), Level(2));
}

#[test]
fn only_administrators_raise_it_and_as_many_as_genesis_says() {
    let mut machine = on_level_1(3, 2);
    let granted = grant(7, Role::Writer);
    apply(&mut machine, command(0, 1, granted.clone()));
    apply(&mut machine, command(1, 1, approve(1, &granted)));
    assert_eq!(without_trace(&mut machine, |m| apply(m, command(7, 1, raise(2)))), RefusalCode::NotPermitted);
    let proposed = answer(apply(&mut machine, command(0, 2, raise(2))));
    assert!(matches!(proposed, AuthorityReply::Pending { approvals: 1, needed: 2, .. }), "{proposed:?}");
    assert_eq!(level(&machine), Level(1));
    let restored = Machine::restore(CLUSTER, APP, &machine.snapshot(), Box::new(Tally::default())).unwrap();
    assert_eq!(restored.digest(), machine.digest(), "what waits for signatures is in a snapshot");
    assert_eq!(machine.state().raises(&body(1, 2, approve(3, &raise(2)))), Some(Level(2)));
    assert_eq!(machine.state().raises(&body(1, 2, raise(2))), Some(Level(2)));
    assert_eq!(machine.state().raises(&body(1, 2, approve(9, &raise(2)))), None);
    assert_eq!(machine.state().raises(&body(1, 2, add(1))), None);
    assert_eq!(answer(apply(&mut machine, command(1, 2, approve(3, &raise(2))))), AuthorityReply::Done);
    assert_eq!(level(&machine), Level(2));
}

#[test]
fn what_was_proposed_by_earlier_rules_is_made_by_the_present_ones() {
    let mut machine = on_level_1(2, 2);
    apply(&mut machine, command(0, 1, add_loose("n3")));
    apply(&mut machine, command(0, 2, raise(2)));
    assert_eq!(outcome_code(apply(&mut machine, command(1, 1, approve(2, &raise(2))))), None);
    let late = outcome_code(apply(&mut machine, command(1, 2, approve(1, &add_loose("n3")))));
    assert_eq!(late, Some(RefusalCode::Malformed));
    assert_eq!(machine.state().authority().members().unwrap().iter().count(), 2);
}

#[test]
fn a_program_that_does_not_know_the_level_stops_before_it() {
    let mut old = on_level_1(1, 1).with_levels(OLD).unwrap();
    let mut new = on_level_1(1, 1);
    let before = vec![command(0, 1, add(5))];
    assert_eq!(apply_at(&mut old, 1, before.clone()), apply_at(&mut new, 1, before));
    let digest = old.digest();
    let switch: Vec<SignedCommand> =
        vec![command(0, 2, add(1)), command(0, 3, raise(2)), command(0, 4, add(1))];
    apply_at(&mut new, 2, switch.clone());
    let slot = old.state().applied.next();
    let decree = Decree::Batch(
        synod_types::Batch { term: TERM, time: synod_types::TimeMs(2), commands: switch }.into(),
    );
    let unknown = old.apply(slot, &decree).unwrap_err();
    assert_eq!(unknown, UnknownLevel { app: APP, level: Level(2), known: OLD });
    let words = unknown.to_string();
    assert!(
        words.contains("is on level 2, and this program knows level 1: install a newer program"),
        "{words}"
    );
    assert_eq!(old.digest(), digest, "nothing of the decree was executed");
    // A newer program takes it from there.
    let mut replaced = old.with_levels(Versions { min: 1, max: 2 }).unwrap();
    assert_eq!(replaced.apply(slot, &decree).unwrap().len(), 3);
    assert_eq!(replaced.digest(), new.digest());
    assert!(new.with_levels(OLD).is_err(), "nor does it go on from a state of that level");
}

#[test]
fn snapshots_of_each_level_are_golden() {
    let mut machine = on_level_1(2, 2);
    let commands = vec![command(0, 1, add(5)), command(0, 2, raise(2)), command(1, 1, add(9))];
    apply_at(&mut machine, 1_700_000_000_000, commands);
    let second = machine.snapshot();
    apply(&mut machine, command(1, 2, approve(2, &raise(2))));
    let third = machine.snapshot();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/");
    let kept = synod_golden::holds(
        format!("{folder}snapshots.hex"),
        [("v2.level1", second), ("v3.level2", third.clone())],
    );
    let restore = |bytes: &[u8]| Machine::restore(CLUSTER, APP, bytes, Box::new(Tally::default()));
    for (name, level) in [("v2.level1", Level(1)), ("v3.level2", Level(2))] {
        let restored = restore(&kept[name]).unwrap();
        assert_eq!((restored.state().level(), restored.snapshot()), (level, kept[name].clone()), "{name}");
    }

    let with = |at: usize, bytes: &[u8]| {
        let mut other = third[..third.len() - 32].to_vec();
        other[at..at + bytes.len()].copy_from_slice(bytes);
        let digest = Digest::of(&[&other]);
        restore(&[&other[..], &digest.0].concat()).unwrap_err()
    };
    // The version, and then the level.
    assert_eq!(with(15, b"9"), SnapshotError::UnknownVersion("9".to_owned()));
    let words = with(15, b"9").to_string();
    assert!(words.contains("of version 9, and this program reads versions 2 and 3"), "{words}");
    let known = synod_types::versions::LEVELS;
    let unknown = UnknownLevel { app: APP, level: Level(77), known };
    assert_eq!(with(17, &77_u32.to_be_bytes()), SnapshotError::UnknownLevel(unknown));
    assert!(matches!(with(17, &1_u32.to_be_bytes()), SnapshotError::Inconsistent(_)));
}

/// What commanders sign is in logs for ever.
#[test]
fn operations_on_authority_are_golden() {
    let member = member("n3", "h3:7101");
    let node = member.id;
    let grant = Grant {
        scopes: vec!["low".to_owned()],
        valid_from: Some(TimeMs(1)),
        valid_to: Some(TimeMs(300)),
        ..Grant::unlimited(key(1), "c1", Role::Writer)
    };
    let all = [
        ("grant", AuthorityOp::Grant(grant)),
        ("revoke", AuthorityOp::Revoke { commander: commander(1) }),
        ("rotate", AuthorityOp::Rotate { key: key(2) }),
        ("approve", AuthorityOp::Approve { change: ndx(300), digest: Digest([3; 32]) }),
        ("withdraw", AuthorityOp::Withdraw { change: ndx(300) }),
        ("member.add", AuthorityOp::Member(MemberOp::Add(member.clone()))),
        ("member.remove", AuthorityOp::Member(MemberOp::Remove { node })),
        ("member.replace", AuthorityOp::Member(MemberOp::Replace { node, by: member })),
        ("member.reject", AuthorityOp::Member(MemberOp::Reject { node })),
        ("lead", AuthorityOp::Lead { node: Some(node) }),
        ("raise", AuthorityOp::Raise { to: Level(2) }),
    ];
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/authority.hex");
    let kept = synod_golden::holds(file, all.iter().map(|(name, op)| (*name, op.encode())));
    for (name, op) in all {
        assert_eq!(AuthorityOp::decode(&kept[name][1..]), Ok(op), "{name}");
    }
}
