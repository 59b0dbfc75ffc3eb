//! Who may command, and from which command on.

mod stage;

use stage::*;
use synod_machine::{AuthorityOp, Commander, Role};
use synod_types::limits::{COMMANDER_NAME_BYTES_MAX, COMMANDERS_MAX, KEY_DER_BYTES_MAX};
use synod_types::{RefusalCode, Seq};

#[test]
fn a_grant_holds_from_the_next_command_on() {
    let mut machine = founded();
    let batch = vec![command(1, 1, add(1)), command(0, 1, grant(1, Role::Writer)), command(1, 2, add(2))];
    let [early, granted, late] = apply_at(&mut machine, 0, batch).try_into().unwrap();
    assert_eq!(refused(&early), RefusalCode::UnknownCommander);
    assert_eq!(receipt(granted).state_ndx, ndx(1));
    assert_eq!(receipt(late).state_ndx, ndx(2));
    let view = machine.view();
    let writer = Commander {
        id: commander(1),
        key: key(1),
        name: "commander 1".to_owned(),
        role: Role::Writer,
        since: ndx(1),
        revoked: None,
    };
    assert_eq!(view.commander(commander(1)), Some(&writer));
    assert_eq!(view.commanders().count(), 2);
}

#[test]
fn a_refused_commander_may_use_the_seq_once_it_is_granted() {
    let mut machine = founded();
    let early = command(1, 1, add(1));
    assert_eq!(without_trace(&mut machine, |m| apply(m, early.clone())), RefusalCode::UnknownCommander);
    receipt(apply(&mut machine, command(0, 1, grant(1, Role::Writer))));
    assert_eq!(receipt(apply(&mut machine, early)).state_ndx, ndx(2));
}

#[test]
fn a_revocation_overtakes_what_is_still_in_flight() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant(1, Role::Writer))));
    let done = command(1, 1, add(1));
    let original = receipt(apply(&mut machine, done.clone()));
    let batch = vec![command(1, 2, add(1)), command(0, 2, revoke(1)), command(1, 3, add(1)), done.clone()];
    let [before, revoked, after, repeat] = apply_at(&mut machine, 0, batch).try_into().unwrap();
    assert_eq!(receipt(before).state_ndx, ndx(3));
    assert_eq!(receipt(revoked).state_ndx, ndx(4));
    assert_eq!(refused(&after), RefusalCode::Revoked);
    assert!(repeat.repeated, "what was executed keeps its receipt");
    assert_eq!(receipt(repeat), original);
    assert_eq!(machine.view().commander(commander(1)).unwrap().revoked, Some(ndx(4)));
}

#[test]
fn a_commander_that_is_granted_again_repeats_nothing() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant(1, Role::Writer))));
    let done = command(1, 1, add(1));
    let original = receipt(apply(&mut machine, done.clone()));
    receipt(apply(&mut machine, command(0, 2, revoke(1))));
    receipt(apply(&mut machine, command(0, 3, grant(1, Role::Administrator))));
    let repeat = apply(&mut machine, done);
    assert!(repeat.repeated);
    assert_eq!(receipt(repeat), original);
    let known = machine.view().commander(commander(1)).cloned().unwrap();
    assert_eq!((known.role, known.since, known.revoked), (Role::Administrator, ndx(4), None));
    receipt(apply(&mut machine, command(1, 2, revoke(0))));
}

#[test]
fn a_writer_may_not_change_who_commands() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant(1, Role::Writer))));
    for operation in [grant(1, Role::Administrator), grant(2, Role::Writer), revoke(0), revoke(1)] {
        let refused = without_trace(&mut machine, |m| apply(m, command(1, 1, operation)));
        assert_eq!(refused, RefusalCode::NotPermitted);
    }
}

#[test]
fn the_last_administrator_stays() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant(1, Role::Writer))));
    // A writer and a revoked administrator are no administrators.
    receipt(apply(&mut machine, command(0, 2, grant(2, Role::Administrator))));
    receipt(apply(&mut machine, command(0, 3, revoke(2))));
    let conflict = Some(RefusalCode::Conflict);
    assert_eq!(outcome_code(apply(&mut machine, command(0, 4, revoke(0)))), conflict);
    assert_eq!(outcome_code(apply(&mut machine, command(0, 5, grant(0, Role::Writer)))), conflict);
    assert_eq!(machine.view().state_ndx, ndx(5));
    assert_eq!(outcome_code(apply(&mut machine, command(0, 6, grant(0, Role::Administrator)))), None);
    assert_eq!(outcome_code(apply(&mut machine, command(0, 7, grant(2, Role::Administrator)))), None);
    assert_eq!(outcome_code(apply(&mut machine, command(0, 8, revoke(0)))), None);
}

#[test]
fn there_must_be_somebody_to_revoke() {
    let mut machine = founded();
    assert_eq!(outcome_code(apply(&mut machine, command(0, 1, revoke(9)))), Some(RefusalCode::Conflict));
    receipt(apply(&mut machine, command(0, 2, grant(1, Role::Writer))));
    assert_eq!(outcome_code(apply(&mut machine, command(0, 3, revoke(1)))), None);
    assert_eq!(outcome_code(apply(&mut machine, command(0, 4, revoke(1)))), Some(RefusalCode::Conflict));
}

#[test]
fn keys_and_names_have_limits() {
    let mut machine = founded();
    let mut seq = 0;
    let mut code = |key: usize, name: &str| {
        seq += 1;
        let op = AuthorityOp::Grant { key: vec![9; key].into(), name: name.to_owned(), role: Role::Writer };
        let admitted = machine.view().admit(&body(0, seq, op.encode()), synod_types::TimeMs(0));
        let code = outcome_code(apply(&mut machine, command(0, seq, op.encode())));
        assert_eq!(admitted.err().map(|refusal| refusal.code), code, "the entry says what execution says");
        code
    };
    assert_eq!(code(KEY_DER_BYTES_MAX - 1, "name"), None);
    assert_eq!(code(KEY_DER_BYTES_MAX, "name"), None);
    assert_eq!(code(KEY_DER_BYTES_MAX + 1, "name"), Some(RefusalCode::TooLarge));
    assert_eq!(code(0, "name"), Some(RefusalCode::Malformed));
    assert_eq!(code(1, &"n".repeat(COMMANDER_NAME_BYTES_MAX - 1)), None);
    assert_eq!(code(1, &"n".repeat(COMMANDER_NAME_BYTES_MAX)), None);
    assert_eq!(code(1, &"n".repeat(COMMANDER_NAME_BYTES_MAX + 1)), Some(RefusalCode::TooLarge));
    assert_eq!(code(1, ""), Some(RefusalCode::Malformed));
    assert_eq!(code(1, "red\u{1b}[31m"), Some(RefusalCode::Malformed));
}

#[test]
fn an_application_knows_only_so_many_commanders() {
    let mut machine = founded();
    let others = u64::try_from(COMMANDERS_MAX).unwrap() - 1;
    for n in 1..=others {
        assert_eq!(outcome_code(apply(&mut machine, command(0, n, grant(n, Role::Writer)))), None);
    }
    let one_more = command(0, others + 1, grant(others + 1, Role::Writer));
    assert_eq!(outcome_code(apply(&mut machine, one_more)), Some(RefusalCode::QuotaExceeded));
    let known = command(0, others + 2, grant(others, Role::Administrator));
    assert_eq!(outcome_code(apply(&mut machine, known)), None);
    assert_eq!(machine.view().next_seq(commander(0)), Seq(others + 3));
}
