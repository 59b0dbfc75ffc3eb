//! A command is executed once, however often and in whatever order it arrives.

mod stage;

use std::collections::BTreeMap;

use proptest::prelude::*;
use stage::*;
use synod_machine::Machine;
use synod_types::limits::SESSION_WINDOW;
use synod_types::{CommandId, Receipt, RefusalCode, Seq};

#[test]
fn a_repeat_gets_the_original_receipt() {
    let mut machine = founded();
    let first = command(0, 1, add(5));
    let [original, same_batch] =
        apply_at(&mut machine, 0, vec![first.clone(), first.clone()]).try_into().unwrap();
    assert!(!original.repeated && same_batch.repeated);
    let original = receipt(original);
    assert_eq!(original.state_ndx, ndx(1));
    assert_eq!(receipt(same_batch), original);

    receipt(apply(&mut machine, command(0, 2, add(6))));
    let later = apply(&mut machine, first.clone());
    assert!(later.repeated);
    assert_eq!(receipt(later), original);
    let view = machine.view();
    assert_eq!(view.receipt(commander(0), Seq(1), first.id()), Some(original));
    assert_eq!(view.state_ndx, ndx(2));
    assert_eq!(view.app.query(view.state_ndx, b"").unwrap()[..], 11_u64.to_be_bytes());
}

#[test]
fn a_refused_outcome_is_repeated_too() {
    let mut machine = founded();
    let wrong = command(0, 1, vec![0, b'?']);
    let original = receipt(apply(&mut machine, wrong.clone()));
    assert_eq!(original.state_ndx, ndx(1), "the refusal of the application is an execution");
    let repeat = apply(&mut machine, wrong);
    assert!(repeat.repeated);
    assert_eq!(receipt(repeat), original);
}

#[test]
fn another_command_cannot_take_a_used_seq() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 1, add(5))));
    let other = command(0, 1, add(6));
    assert_eq!(machine.view().receipt(commander(0), Seq(1), other.id()), None);
    assert_eq!(without_trace(&mut machine, |m| apply(m, other)), RefusalCode::SeqReused);
}

#[test]
fn the_first_command_to_arrive_does_not_shut_out_earlier_ones() {
    let mut machine = founded();
    for (seq, state) in [(2, 1), (1, 2), (3, 3)] {
        assert_eq!(receipt(apply(&mut machine, command(0, seq, add(1)))).state_ndx, ndx(state));
    }
    assert_eq!(machine.view().next_seq(commander(0)), Seq(4));
    assert_eq!(machine.view().next_seq(commander(1)), Seq(1), "of whom nothing was executed");
}

#[test]
fn seq_zero_is_never_executed() {
    let mut machine = founded();
    assert_eq!(without_trace(&mut machine, |m| apply(m, command(0, 0, add(1)))), RefusalCode::StaleSeq);
}

#[test]
fn the_window_ends_where_it_says() {
    const HIGH: u64 = 10_000;
    const LOWEST: u64 = HIGH - SESSION_WINDOW + 1;
    let opened = || {
        let mut machine = founded();
        receipt(apply(&mut machine, command(0, HIGH, add(1))));
        machine
    };

    let mut machine = opened();
    assert_eq!(
        without_trace(&mut machine, |m| apply(m, command(0, LOWEST - 1, add(1)))),
        RefusalCode::StaleSeq
    );
    receipt(apply(&mut machine, command(0, LOWEST, add(1))));
    receipt(apply(&mut machine, command(0, LOWEST + 1, add(1))));

    for ahead in [SESSION_WINDOW - 1, SESSION_WINDOW] {
        receipt(apply(&mut opened(), command(0, HIGH + ahead, add(1))));
    }
    let too_far = command(0, HIGH + SESSION_WINDOW + 1, add(1));
    assert_eq!(without_trace(&mut machine, |m| apply(m, too_far)), RefusalCode::SeqTooFar);
}

#[test]
fn a_receipt_is_kept_to_the_window_s_end_and_no_longer() {
    let mut machine = founded();
    let first = command(0, 1, add(1));
    let original = receipt(apply(&mut machine, first.clone()));
    receipt(apply(&mut machine, command(0, SESSION_WINDOW, add(1))));
    assert_eq!(receipt(apply(&mut machine, first.clone())), original);
    receipt(apply(&mut machine, command(0, SESSION_WINDOW + 1, add(1))));
    assert_eq!(machine.view().receipt(commander(0), Seq(1), first.id()), None);
    assert_eq!(without_trace(&mut machine, |m| apply(m, first)), RefusalCode::StaleSeq);
}

#[test]
fn the_last_seq_of_all_can_be_used_once() {
    let mut machine = founded();
    let last = command(0, u64::MAX, add(1));
    let original = receipt(apply(&mut machine, last.clone()));
    assert_eq!(receipt(apply(&mut machine, last)), original);
    assert_eq!(machine.view().next_seq(commander(0)), Seq(u64::MAX));
}

#[test]
fn commanders_do_not_share_windows() {
    let mut machine = founded();
    receipt(apply(&mut machine, command(0, 9_000, grant(1, synod_machine::Role::Writer))));
    receipt(apply(&mut machine, command(1, 1, add(1))));
    assert_eq!(machine.view().next_seq(commander(1)), Seq(2));
}

/// What the window must do, said as simply as it can be: everything is remembered for ever.
#[derive(Default)]
struct Memory {
    executed: BTreeMap<u64, (CommandId, Receipt)>,
}

impl Memory {
    fn apply(&mut self, machine: &mut Machine, seq: u64, n: u8) {
        let command = command(0, seq, add(n));
        let id = command.id();
        let before = machine.state().state_ndx;
        let applied = apply(machine, command);
        let highest = self.executed.last_key_value().map(|(seq, _)| *seq);
        let lowest = highest.map_or(1, |highest| highest.saturating_sub(SESSION_WINDOW - 1).max(1));
        if seq < lowest {
            assert_eq!(refused(&applied), RefusalCode::StaleSeq);
        } else if highest.is_some_and(|highest| seq > highest + SESSION_WINDOW) {
            assert_eq!(refused(&applied), RefusalCode::SeqTooFar);
        } else if let Some((taken_by, original)) = self.executed.get(&seq) {
            if *taken_by == id {
                assert!(applied.repeated);
                assert_eq!(&receipt(applied), original);
            } else {
                assert_eq!(refused(&applied), RefusalCode::SeqReused);
            }
        } else {
            assert!(!applied.repeated);
            let receipt = receipt(applied);
            assert_eq!(receipt.state_ndx, before.next());
            self.executed.insert(seq, (id, receipt));
            return;
        }
        assert_eq!(machine.state().state_ndx, before);
    }
}

/// Steps from the highest executed seq: near it, and around both ends of what is allowed.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -6..=6_i64, 1 => -4_099..=-4_093_i64, 1 => 4_093..=4_099_i64]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_window_behaves_as_if_everything_were_remembered(
        first in prop_oneof![0..6_u64, 4_094..4_099_u64, 9_000..9_001_u64],
        steps in prop::collection::vec((step(), 0..2_u8), 1..80),
    ) {
        let mut machine = founded();
        let mut memory = Memory::default();
        memory.apply(&mut machine, first, 0);
        for (step, n) in steps {
            let highest = memory.executed.last_key_value().map_or(first, |(seq, _)| *seq);
            memory.apply(&mut machine, highest.saturating_add_signed(step), n);
        }
        // Whatever happened, a machine that is restored now remembers the same.
        let restored =
            Machine::restore(CLUSTER, APP, &machine.snapshot(), Box::new(Tally::default())).unwrap();
        prop_assert_eq!(restored.digest(), machine.digest());
    }
}
