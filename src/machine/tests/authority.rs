//! Who may command, and from which command on.

mod stage;

use bytes::Bytes;
use stage::*;
use synod_machine::authority::Step;
use synod_machine::{Applied, AuthorityOp, AuthorityReply, Commander, Grant, Machine, Role};
use synod_types::limits::{
    AUTHORITY_LOG_MAX, CHANGE_PENDING_MS_MAX, CHANGES_PENDING_BY_ONE_MAX, CHANGES_PENDING_MAX,
    COMMANDER_NAME_BYTES_MAX, COMMANDERS_MAX, KEY_DER_BYTES_MAX, ROTATIONS_MAX, SCOPES_BYTES_MAX, SCOPES_MAX,
};
use synod_types::{ContentKey, ContentTicket, Digest, Outcome, RefusalCode, Seq, SignedCommand, TimeMs};

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
        grant: Grant::unlimited(key(1), "commander 1", Role::Writer),
        since: ndx(1),
        revoked: None,
        predecessor: None,
        successor: None,
        rotations: 0,
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
    assert_eq!((known.grant.role, known.since, known.revoked), (Role::Administrator, ndx(4), None));
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
        let op = AuthorityOp::Grant(Grant::unlimited(vec![9; key].into(), name, Role::Writer));
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

/// Applies one command as the next slot, at a time.
fn apply_once(machine: &mut Machine, time: u64, command: SignedCommand) -> Applied {
    let [applied] = apply_at(machine, time, vec![command]).try_into().expect("one answer per command");
    applied
}

fn reply(applied: Applied) -> AuthorityReply {
    match receipt(applied).outcome {
        Outcome::Done(answer) => AuthorityReply::decode(&answer).expect("the machine answers so"),
        Outcome::Refused(refusal) => panic!("{refusal}"),
    }
}

#[test]
fn a_writer_with_scopes_commands_nothing_outside_of_them() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant_within(1, &["low"]))));
    assert_eq!(outcome_code(apply(&mut machine, command(1, 1, add(99)))), None);
    for operation in [add(100), add(255)] {
        let admitted = machine.view().admit(&body(1, 2, operation.clone()), TimeMs(0));
        assert_eq!(admitted.unwrap_err().code, RefusalCode::NotPermitted);
        let refused = without_trace(&mut machine, |m| apply(m, command(1, 2, operation)));
        assert_eq!(refused, RefusalCode::NotPermitted);
    }
    receipt(apply(&mut machine, command(0, 2, grant_within(1, &["low", "high"]))));
    assert_eq!(outcome_code(apply(&mut machine, command(1, 2, add(100)))), None);
    // Whoever may command brings files, whatever its scopes.
    assert!(machine.view().admit_upload(&body(1, 3, ticket()), TimeMs(0)).is_ok());
}

#[test]
fn a_writer_does_not_do_what_is_for_administrators() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant(1, Role::Writer))));
    let refused = without_trace(&mut machine, |m| apply(m, command(1, 1, add(255))));
    assert_eq!(refused, RefusalCode::NotPermitted);
    assert_eq!(outcome_code(apply(&mut machine, command(0, 2, add(255)))), None);
}

#[test]
fn scopes_are_checked_where_they_are_granted() {
    let mut machine = founded();
    let mut seq = 0;
    let mut code = |operation: Vec<u8>| {
        seq += 1;
        let admitted = machine.view().admit(&body(0, seq, operation.clone()), TimeMs(0));
        let code = outcome_code(apply(&mut machine, command(0, seq, operation)));
        assert_eq!(admitted.err().map(|refusal| refusal.code), code, "the entry says what execution says");
        code
    };
    assert_eq!(code(grant_within(1, &["middle"])), Some(RefusalCode::Malformed), "the application's word");
    assert_eq!(code(grant_within(1, &["low", "low"])), Some(RefusalCode::Malformed));
    assert_eq!(code(grant_within(1, &["low", ""])), Some(RefusalCode::Malformed));
    let many: Vec<String> = (0..=SCOPES_MAX).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(code(grant_within(1, &many)), Some(RefusalCode::TooLarge));
    assert_eq!(code(grant_within(1, &[&"l".repeat(SCOPES_BYTES_MAX + 1)])), Some(RefusalCode::TooLarge));
    let confined = Grant {
        scopes: vec!["low".to_owned()],
        ..Grant::unlimited(key(1), "administrator", Role::Administrator)
    };
    assert_eq!(code(AuthorityOp::Grant(confined).encode()), Some(RefusalCode::Malformed));
    assert_eq!(code(grant_for(1, Role::Writer, Some(2), Some(1))), Some(RefusalCode::Malformed));
    assert_eq!(code(grant_within(1, &["low", "high"])), None);
}

#[test]
fn a_commander_is_valid_from_its_first_to_its_last_millisecond_of_decree_time() {
    let mut machine = founded();
    receipt(apply_once(&mut machine, 10, command(0, 1, grant_for(1, Role::Writer, Some(100), Some(200)))));
    let early = without_trace(&mut machine, |m| apply_once(m, 99, command(1, 1, add(1))));
    assert_eq!(early, RefusalCode::NotValidNow);
    assert_eq!(machine.view().admit(&body(1, 1, add(1)), TimeMs(99)).unwrap_err().code, early);
    assert!(
        machine.view().admit(&body(1, 1, add(1)), TimeMs(100)).is_ok(),
        "the leader's clock may be ahead"
    );
    receipt(apply_once(&mut machine, 100, command(1, 1, add(1))));
    receipt(apply_once(&mut machine, 200, command(1, 2, add(1))));
    // A clock that goes back changes nothing: decree time does not.
    let late = without_trace(&mut machine, |m| {
        apply_at(m, 201, vec![]);
        apply_once(m, 150, command(1, 3, add(1)))
    });
    assert_eq!(late, RefusalCode::NotValidNow);
    assert_eq!(machine.view().admit_upload(&body(1, 3, ticket()), TimeMs(0)).unwrap_err().code, late);
}

fn ticket() -> Vec<u8> {
    ContentTicket { content: ContentKey(Digest([3; 32])), bytes: 9 }.encode()
}

#[test]
fn a_rotation_hands_everything_to_the_new_key_and_ends_the_old_one_in_one_state() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant_within(1, &["low"]))));
    let done = command(1, 1, add(1));
    let original = receipt(apply(&mut machine, done.clone()));
    let batch = vec![
        command(2, 1, add(1)),
        command(1, 2, rotate(2)),
        command(1, 3, add(1)),
        command(2, 1, add(1)),
        command(2, 2, add(100)),
        done,
    ];
    let [early, rotated, old, new, outside, repeat] = apply_at(&mut machine, 0, batch).try_into().unwrap();
    assert_eq!(refused(&early), RefusalCode::UnknownCommander);
    assert_eq!(reply(rotated), AuthorityReply::Done);
    assert_eq!(refused(&old), RefusalCode::Revoked);
    assert_eq!(receipt(new).state_ndx, ndx(4), "a session of its own begins at 1");
    assert_eq!(refused(&outside), RefusalCode::NotPermitted, "the scopes came along");
    assert_eq!(receipt(repeat), original, "the old key's session stays");
    let view = machine.view();
    let (old, new) = (view.commander(commander(1)).unwrap(), view.commander(commander(2)).unwrap());
    assert_eq!((old.revoked, old.successor), (Some(ndx(3)), Some(commander(2))));
    assert_eq!((new.since, new.predecessor, new.rotations), (ndx(3), Some(commander(1)), 1));
    assert_eq!((&new.grant.name, &new.grant.scopes), (&old.grant.name, &old.grant.scopes));
}

#[test]
fn nobody_rotates_to_a_key_that_is_known() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant(1, Role::Writer))));
    receipt(apply(&mut machine, command(0, 2, grant(2, Role::Writer))));
    receipt(apply(&mut machine, command(0, 3, revoke(2))));
    for (seq, known) in [(1, 0), (2, 1), (3, 2)] {
        let code = outcome_code(apply(&mut machine, command(1, seq, rotate(known))));
        assert_eq!(code, Some(RefusalCode::Conflict));
    }
    let no_key = AuthorityOp::Rotate { key: Bytes::new() }.encode();
    assert_eq!(without_trace(&mut machine, |m| apply(m, command(1, 4, no_key))), RefusalCode::Malformed);
}

#[test]
fn rotations_in_a_row_have_a_limit_that_a_grant_lifts() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, grant(1, Role::Writer))));
    let last = 1 + u64::from(ROTATIONS_MAX);
    for n in 1..last {
        assert_eq!(outcome_code(apply(&mut machine, command(n, 1, rotate(n + 1)))), None);
    }
    let one_more = apply(&mut machine, command(last, 1, rotate(last + 1)));
    assert_eq!(outcome_code(one_more), Some(RefusalCode::QuotaExceeded));
    receipt(apply(&mut machine, command(0, 2, grant(last, Role::Writer))));
    assert_eq!(outcome_code(apply(&mut machine, command(last, 2, rotate(last + 1)))), None);
}

#[test]
fn a_change_is_made_when_enough_administrators_have_signed_what_they_saw() {
    let mut machine = founded_by(3, 2);
    let proposal = grant(9, Role::Writer);
    let digest = Digest::of(&[&proposal]);
    let pending = AuthorityReply::Pending { change: ndx(1), digest, approvals: 1, needed: 2 };
    assert_eq!(reply(apply(&mut machine, command(0, 1, proposal.clone()))), pending);
    let write = |machine: &mut Machine| apply(machine, command(9, 1, add(1)));
    assert_eq!(without_trace(&mut machine, write), RefusalCode::UnknownCommander);
    for (n, seq, operation) in [
        (0, 2, approve(1, &proposal)),
        (1, 1, approve(1, &grant(9, Role::Administrator))),
        (1, 2, approve(2, &proposal)),
        (1, 3, withdraw(1)),
    ] {
        let code = outcome_code(apply(&mut machine, command(n, seq, operation)));
        assert_eq!(code, Some(RefusalCode::Conflict));
    }
    assert_eq!(reply(apply(&mut machine, command(2, 1, approve(1, &proposal)))), AuthorityReply::Done);
    let granted = machine.state().state_ndx;
    assert_eq!(machine.view().commander(commander(9)).unwrap().since, granted);
    receipt(write(&mut machine));
    let again = apply(&mut machine, command(1, 50, approve(1, &proposal)));
    assert_eq!(outcome_code(again), Some(RefusalCode::Conflict), "it is pending no more");

    let log: Vec<_> = machine.state().authority().log().map(|entry| (entry.by, entry.step)).collect();
    let expected = [(commander(2), Step::Completed { change: ndx(1) }), (commander(0), Step::Proposed)];
    assert_eq!(log, expected);
}

#[test]
fn signatures_of_who_is_no_administrator_any_more_do_not_count() {
    let mut machine = founded_by(5, 3);
    let expelled = revoke(1);
    receipt(apply(&mut machine, command(0, 1, expelled.clone())));
    receipt(apply(&mut machine, command(2, 1, approve(1, &expelled))));
    let proposal = grant(9, Role::Writer);
    receipt(apply(&mut machine, command(0, 2, proposal.clone())));
    receipt(apply(&mut machine, command(1, 1, approve(3, &proposal))));
    let own = grant(8, Role::Writer);
    receipt(apply(&mut machine, command(1, 2, own)));
    assert_eq!(reply(apply(&mut machine, command(3, 1, approve(1, &expelled)))), AuthorityReply::Done);
    let left: Vec<_> =
        machine.state().authority().pending(TimeMs(0)).map(|(one, n)| (one.change, n)).collect();
    assert_eq!(left, [(ndx(3), 1)], "what it proposed is gone, what it signed is not signed");
    let waits = reply(apply(&mut machine, command(3, 2, approve(3, &proposal))));
    assert!(matches!(waits, AuthorityReply::Pending { approvals: 2, needed: 3, .. }), "{waits:?}");
    // Four are left: whoever rotates keeps its signature, and cannot sign twice.
    receipt(apply(&mut machine, command(3, 3, rotate(33))));
    let twice = apply(&mut machine, command(33, 1, approve(3, &proposal)));
    assert_eq!(outcome_code(twice), Some(RefusalCode::Conflict));
    assert_eq!(reply(apply(&mut machine, command(4, 1, approve(3, &proposal)))), AuthorityReply::Done);
}

#[test]
fn a_change_lapses_and_can_be_withdrawn_by_its_author_alone() {
    let mut machine = founded_by(2, 2);
    let proposal = grant(9, Role::Writer);
    receipt(apply_once(&mut machine, 1_000, command(0, 1, proposal.clone())));
    let code = outcome_code(apply_once(&mut machine, 1_000, command(1, 1, withdraw(1))));
    assert_eq!(code, Some(RefusalCode::Conflict));
    assert_eq!(outcome_code(apply_once(&mut machine, 1_000, command(0, 2, withdraw(1)))), None);
    assert_eq!(machine.state().authority().pending(TimeMs(1_000)).count(), 0);

    receipt(apply_once(&mut machine, 2_000, command(0, 3, proposal.clone())));
    let last = 2_000 + CHANGE_PENDING_MS_MAX;
    assert_eq!(machine.state().authority().pending(TimeMs(last)).count(), 1);
    assert_eq!(machine.state().authority().pending(TimeMs(last + 1)).count(), 0);
    let change = machine.state().state_ndx.0;
    let late = apply_once(&mut machine, last + 1, command(1, 2, approve(change, &proposal)));
    assert_eq!(outcome_code(late), Some(RefusalCode::Conflict));
}

#[test]
fn pending_changes_of_one_administrator_and_of_all_have_limits() {
    let administrators = u64::try_from(CHANGES_PENDING_MAX / CHANGES_PENDING_BY_ONE_MAX).unwrap() + 1;
    let each = u64::try_from(CHANGES_PENDING_BY_ONE_MAX).unwrap();
    let mut machine = founded_by(administrators, 2);
    for n in 0..administrators - 1 {
        for seq in 1..=each {
            let proposal = grant(1000 + seq, Role::Writer);
            assert_eq!(outcome_code(apply(&mut machine, command(n, seq, proposal))), None);
        }
        let one_more = command(n, each + 1, grant(999, Role::Writer));
        assert_eq!(outcome_code(apply(&mut machine, one_more)), Some(RefusalCode::QuotaExceeded));
    }
    let full = command(administrators - 1, 1, grant(999, Role::Writer));
    assert_eq!(outcome_code(apply(&mut machine, full)), Some(RefusalCode::QuotaExceeded));
    receipt(apply(&mut machine, command(0, each + 2, withdraw(1))));
    let place = command(administrators - 1, 2, grant(999, Role::Writer));
    assert_eq!(outcome_code(apply(&mut machine, place)), None);
}

#[test]
fn so_many_administrators_as_must_sign_stay_valid_for_ever() {
    let mut machine = founded_by(2, 2);
    for (seq, change) in [
        revoke(1),
        grant(1, Role::Writer),
        grant_for(0, Role::Administrator, None, Some(1_000_000)),
        grant_for(0, Role::Administrator, Some(1_000_000), None),
    ]
    .into_iter()
    .enumerate()
    {
        let seq = u64::try_from(seq).unwrap() + 1;
        assert_eq!(outcome_code(apply(&mut machine, command(0, seq, change))), Some(RefusalCode::Conflict));
    }
    // What could be made when it was proposed may be impossible when the last one signs.
    let third = grant(2, Role::Administrator);
    receipt(apply(&mut machine, command(0, 10, third.clone())));
    receipt(apply(&mut machine, command(1, 10, approve(5, &third))));
    let (one, other) = (revoke(1), revoke(2));
    receipt(apply(&mut machine, command(0, 11, one.clone())));
    receipt(apply(&mut machine, command(0, 12, other.clone())));
    receipt(apply(&mut machine, command(2, 13, approve(7, &one))));
    let code = outcome_code(apply(&mut machine, command(2, 14, approve(8, &other))));
    assert_eq!(code, Some(RefusalCode::Conflict));
    assert_eq!(machine.state().authority().pending(TimeMs(0)).count(), 1, "it is as it was before");
}

#[test]
fn the_log_keeps_the_latest_changes() {
    let mut machine = founded();
    let count = u64::try_from(AUTHORITY_LOG_MAX).unwrap() + 5;
    for seq in 1..=count {
        receipt(apply_once(&mut machine, seq, command(0, seq, grant(seq % 7 + 1, Role::Writer))));
    }
    let log: Vec<_> = machine.state().authority().log().collect();
    assert_eq!(log.len(), AUTHORITY_LOG_MAX);
    let (latest, oldest) = (log[0], log[AUTHORITY_LOG_MAX - 1]);
    assert_eq!((latest.state_ndx, latest.time, latest.by), (ndx(count), TimeMs(count), commander(0)));
    assert_eq!((oldest.state_ndx, oldest.step), (ndx(6), Step::Made));
}
