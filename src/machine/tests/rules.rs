//! What the machine checks beside sessions and authority, and what it makes of bytes that mean nothing.

mod stage;

use bytes::Bytes;
use proptest::prelude::*;
use stage::*;
use synod_machine::{Application, Founders, Machine, Role, View, chain};
use synod_types::command::Operation;
use synod_types::{
    AppNdx, ClusterId, CommandBody, Decree, Digest, Outcome, RefusalCode, Seq, StateNdx, TimeMs,
};

#[test]
fn a_command_is_executed_where_it_was_signed_for() {
    let mut machine = founded();
    let elsewhere = CommandBody { cluster: ClusterId(Digest([2; 32])), ..body(0, 1, add(1)) };
    assert_eq!(without_trace(&mut machine, |m| apply(m, sign(&elsewhere))), RefusalCode::WrongCluster);
    let other_app = CommandBody { app: AppNdx(8), ..body(0, 1, add(1)) };
    assert_eq!(without_trace(&mut machine, |m| apply(m, sign(&other_app))), RefusalCode::UnknownApp);
}

#[test]
fn a_command_expires_behind_its_last_millisecond() {
    let mut machine = founded();
    let until =
        |seq, not_after| sign(&CommandBody { not_after: Some(TimeMs(not_after)), ..body(0, seq, add(1)) });
    let batch = vec![until(1, 999), until(2, 1_000), until(3, 1_001), until(4, 999)];
    let [expired, last, early, again] = apply_at(&mut machine, 1_000, batch).try_into().unwrap();
    assert_eq!(refused(&expired), RefusalCode::Expired);
    assert_eq!(receipt(last).state_ndx, ndx(1));
    assert_eq!(receipt(early).state_ndx, ndx(2));
    assert_eq!(refused(&again), RefusalCode::Expired);

    // A repeat is not a new execution, so it cannot come too late.
    let [repeat] = apply_at(&mut machine, 5_000, vec![until(2, 1_000)]).try_into().unwrap();
    assert!(repeat.repeated);
    assert_eq!(receipt(repeat).state_ndx, ndx(1));
}

#[test]
fn time_never_goes_back() {
    let mut machine = founded();
    apply_at(&mut machine, 5_000, vec![]);
    let late = sign(&CommandBody { not_after: Some(TimeMs(4_999)), ..body(0, 1, add(1)) });
    let batch = vec![late, command(0, 2, add(1))];
    let [expired, done] = apply_at(&mut machine, 3_000, batch).try_into().unwrap();
    assert_eq!(refused(&expired), RefusalCode::Expired);
    receipt(done);
    assert_eq!(machine.view().time, TimeMs(5_000));
    let time = TimeMs(5_000).0.to_be_bytes();
    assert_eq!(machine.view().app.snapshot()[8..], time, "the application saw the clamped time");
}

#[test]
fn an_unexpected_state_is_an_outcome() {
    let mut machine = founded();
    let expecting =
        |seq, expected| sign(&CommandBody { expected: Some(ndx(expected)), ..body(0, seq, add(1)) });
    assert_eq!(outcome_code(apply(&mut machine, expecting(1, 0))), None);
    assert_eq!(outcome_code(apply(&mut machine, expecting(2, 0))), Some(RefusalCode::StateMismatch));
    assert_eq!(machine.view().state_ndx, ndx(2), "a mismatch counts");
    assert_eq!(outcome_code(apply(&mut machine, expecting(3, 2))), None);
    let sum = machine.view().app.query(ndx(3), b"").unwrap();
    assert_eq!(sum[..], 2_u64.to_be_bytes(), "and changes nothing");
}

#[test]
fn noops_and_empty_batches_only_fill_their_slot() {
    let mut machine = founded();
    assert_eq!(machine.apply(slot(1), &Decree::Noop), Ok(vec![]));
    assert_eq!(apply_at(&mut machine, 0, vec![]), []);
    let view = machine.view();
    assert_eq!((view.applied, view.state_ndx), (slot(2), ndx(0)));
    assert_eq!(view.chain, chain::start(CLUSTER, APP));
}

#[test]
#[should_panic(expected = "slots are applied in order")]
fn a_slot_left_out_is_a_defect() {
    let _ = founded().apply(slot(2), &Decree::Noop);
}

#[test]
#[should_panic(expected = "slots are applied in order")]
fn a_slot_applied_twice_is_a_defect() {
    let mut machine = founded();
    machine.apply(slot(1), &Decree::Noop).unwrap();
    let _ = machine.apply(slot(1), &Decree::Noop);
}

#[test]
fn the_chain_links_every_executed_command() {
    let mut machine = founded();
    let commands =
        [command(0, 1, add(1)), command(0, 2, vec![0, b'?']), command(0, 3, grant(1, Role::Writer))];
    let mut expected = chain::start(CLUSTER, APP);
    for command in commands {
        let receipt = receipt(apply(&mut machine, command.clone()));
        expected = chain::link(expected, machine.state().time, command.id(), &receipt.outcome);
        assert_eq!(receipt.chain, expected);
    }
    assert_eq!(machine.view().chain, expected);
}

#[test]
fn the_application_gets_its_operation_without_the_first_byte() {
    let mut machine = founded();
    let receipt = receipt(apply(&mut machine, command(0, 1, vec![Operation::APP, b'+', 200])));
    assert_eq!(receipt.outcome, Outcome::Done(Bytes::copy_from_slice(&200_u64.to_be_bytes())));
}

#[test]
fn operations_of_nobody_leave_no_trace() {
    let mut machine = founded();
    for operation in [vec![], vec![2], vec![255, 1, 2]] {
        let refused = without_trace(&mut machine, |m| apply(m, command(0, 1, operation)));
        assert_eq!(refused, RefusalCode::Malformed);
    }
}

#[test]
fn the_entry_refuses_what_would_be_refused_later() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 9_000, grant(1, Role::Writer))));
    let view = machine.view();
    let code = |body: CommandBody| view.admit(&body, TimeMs(100)).err().map(|refusal| refusal.code);
    let good = body(1, 1, add(1));
    assert_eq!(code(good.clone()), None);
    let elsewhere = CommandBody { cluster: ClusterId(Digest([2; 32])), ..good.clone() };
    assert_eq!(code(elsewhere), Some(RefusalCode::WrongCluster));
    assert_eq!(code(CommandBody { app: AppNdx(8), ..good.clone() }), Some(RefusalCode::UnknownApp));
    assert_eq!(code(body(2, 1, add(1))), Some(RefusalCode::UnknownCommander));
    assert_eq!(code(body(1, 1, revoke(0))), Some(RefusalCode::NotPermitted));
    assert_eq!(code(body(1, 1, vec![0, b'?'])), Some(RefusalCode::Malformed));
    assert_eq!(code(body(0, 9_001, vec![1, 77])), Some(RefusalCode::Malformed));
    assert_eq!(code(body(1, 1, vec![9])), Some(RefusalCode::Malformed));
    assert_eq!(code(body(0, 4_904, add(1))), Some(RefusalCode::StaleSeq));
    assert_eq!(code(body(0, 4_905, add(1))), None);
    assert_eq!(code(CommandBody { not_after: Some(TimeMs(99)), ..good.clone() }), Some(RefusalCode::Expired));
    assert_eq!(code(CommandBody { not_after: Some(TimeMs(100)), ..good.clone() }), None);
    // What is in flight may close the gap, so this is for the machine to decide.
    assert_eq!(code(body(0, 20_000, add(1))), None);

    receipt(apply(&mut machine, command(0, 9_001, revoke(1))));
    assert_eq!(code(good.clone()), None, "a view does not change");
    let refused = machine.view().admit(&good, TimeMs(100)).map_err(|refusal| refusal.code);
    assert_eq!(refused, Err(RefusalCode::Revoked));
}

#[test]
fn a_view_stays_as_it_was_and_can_be_read_from_any_thread() {
    fn shared<T: Send + Sync>(_: &T) {}
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, add(1))));
    let view: View = machine.view();
    shared(&view);
    let digest = view.digest();
    receipt(apply(&mut machine, command(0, 2, add(1))));
    assert_eq!((view.state_ndx, view.next_seq(commander(0)), view.digest()), (ndx(1), Seq(2), digest));
    assert_ne!(machine.digest(), digest);
}

/// An application that breaks its promise about the size of answers.
struct Talkative(usize);

impl Application for Talkative {
    fn kind(&self) -> &'static str {
        "talkative"
    }
    fn check(&self, _: &[u8]) -> Result<(), synod_types::Refusal> {
        Ok(())
    }
    fn apply(&mut self, _: &synod_machine::Context, _: &[u8]) -> Result<Bytes, synod_types::Refusal> {
        Ok(vec![0; self.0].into())
    }
    fn query(&self, _: StateNdx, _: &[u8]) -> Result<Bytes, synod_machine::QueryError> {
        Ok(Bytes::new())
    }
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&mut self, _: &[u8]) -> Result<(), synod_machine::RestoreError> {
        Ok(())
    }
    fn digest(&self) -> Digest {
        Digest::default()
    }
    fn fork(&self) -> Box<dyn Application> {
        Box::new(Talkative(self.0))
    }
}

fn answer_of(bytes: usize) -> Outcome {
    let administrators = [(commander(0), key(0), "founder".to_owned())];
    let mut machine =
        Machine::new(CLUSTER, APP, &Founders::each_alone(&administrators), Box::new(Talkative(bytes)));
    receipt(apply(&mut machine, command(0, 1, add(1)))).outcome
}

#[test]
fn an_answer_at_its_limit_is_kept() {
    for bytes in [synod_types::limits::ANSWER_BYTES_MAX - 1, synod_types::limits::ANSWER_BYTES_MAX] {
        assert_eq!(answer_of(bytes), Outcome::Done(vec![0; bytes].into()));
    }
}

#[test]
#[should_panic(expected = "stay within their limits")]
fn an_answer_over_its_limit_is_a_defect() {
    answer_of(synod_types::limits::ANSWER_BYTES_MAX + 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_are_no_command_are_malformed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut machine = founded();
        let refused = without_trace(&mut machine, |m| apply(m, sign_bytes(bytes.into())));
        prop_assert_eq!(refused, RefusalCode::Malformed);
    }

    #[test]
    fn a_damaged_command_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut machine = founded();
        let mut bytes = command(0, 1, grant(1, Role::Writer)).body.to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        apply(&mut machine, sign_bytes(bytes.into()));
    }

    #[test]
    fn any_operation_is_executed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut machine = founded();
        for kind in [Operation::APP, Operation::AUTHORITY] {
            let operation = [&[kind], &bytes[..]].concat();
            let seq = u64::from(kind) + 1;
            let _ = machine.view().admit(&body(0, seq, operation.clone()), TimeMs(0));
            receipt(apply(&mut machine, command(0, seq, operation)));
        }
    }
}
