//! An application apart, which is away now and then in the middle of a decree, comes to what it would come to in this process.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod stage;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use stage::{APP, CLUSTER, TERM, Tally, add, body, founders, grant, sign, sign_bytes};
use synod_machine::{
    Apart, Application, AtRest, Away, Context, Machine, NotApplied, QueryError, Restless, RestoreError, Role,
    Unanswered,
};
use synod_types::{Batch, Decree, Digest, Refusal, SignedCommand, StateNdx, TimeMs};

/// A tally in another process.
#[derive(Clone, Default)]
struct Elsewhere(Arc<Mutex<Process>>);

#[derive(Default)]
struct Process {
    tally: Tally,
    executed: BTreeMap<StateNdx, Result<Bytes, Refusal>>,
    /// Commands until it is away, once for each.
    lives: Vec<usize>,
    calls: usize,
    restored: Option<Vec<u8>>,
    /// Adds so much to what it restores.
    errs_by: u64,
}

impl Apart for Elsewhere {
    fn begin(&self) {
        let mut process = self.0.lock().unwrap();
        if let Some(snapshot) = process.restored.take() {
            process.tally.restore(&snapshot).unwrap();
            process.tally.sum += process.errs_by;
        }
    }

    fn apply_all(&self, commands: &[(Context, &[u8])]) -> Result<Vec<Result<Bytes, Refusal>>, Away> {
        let mut process = self.0.lock().unwrap();
        process.calls += 1;
        let mut left = process.lives.pop().unwrap_or(usize::MAX);
        let mut outcomes = Vec::new();
        for (context, operation) in commands {
            if let Some(outcome) = process.executed.get(&context.state_ndx) {
                outcomes.push(outcome.clone());
                continue;
            }
            left = left.checked_sub(1).ok_or(Away::Gone)?;
            let outcome = process.tally.apply(context, operation);
            process.executed.insert(context.state_ndx, outcome.clone());
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn settle(&self) {
        let mut process = self.0.lock().unwrap();
        process.executed.clear();
    }

    fn checks(&self) -> bool {
        false
    }

    fn check(&self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn query(&self, _: StateNdx, _: &[u8]) -> Result<Bytes, Unanswered> {
        Err(Away::Gone.into())
    }

    fn fork_to_keep(&self) -> Box<dyn Application> {
        self.fork()
    }

    fn snapshot(&self) -> Result<Vec<u8>, Away> {
        Ok(self.0.lock().unwrap().tally.snapshot())
    }
}

impl Application for Elsewhere {
    fn kind(&self) -> &'static str {
        "tally"
    }

    fn check(&self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn is_administrative(&self, operation: &[u8]) -> bool {
        Tally::default().is_administrative(operation)
    }

    fn apply(&mut self, _: &Context, _: &[u8]) -> Result<Bytes, Refusal> {
        panic!("it is asked by the other way")
    }

    fn query(&self, _: StateNdx, _: &[u8]) -> Result<Bytes, QueryError> {
        panic!("it is asked by the other way")
    }

    fn snapshot(&self) -> Vec<u8> {
        panic!("it is asked by the other way")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.0.lock().unwrap().restored = Some(snapshot.to_vec());
        Ok(())
    }

    fn digest(&self) -> Digest {
        self.0.lock().unwrap().tally.digest()
    }

    fn fork(&self) -> Box<dyn Application> {
        Box::new(self.clone())
    }

    fn apart(&self) -> Option<&dyn Apart> {
        Some(self)
    }
}

fn machine(application: Box<dyn Application>) -> Machine {
    Machine::new(CLUSTER, APP, &founders(2, 1), application)
}

/// Commands of three commanders, of whom the last is one only from some command on, with seqs that repeat, leave the window
/// and run ahead of it, and with conditions that hold now and then.
fn any_command() -> impl Strategy<Value = SignedCommand> {
    let seq = prop_oneof![8 => 1..40_u64, 1 => 4000..4200_u64, 1 => 8190..8300_u64];
    let operation = prop_oneof![
        12 => any::<u8>().prop_map(add),
        2 => Just(vec![synod_types::command::Operation::APP, b'?']),
        1 => Just(grant(2, Role::Writer)),
        1 => Just(vec![9]),
    ];
    let expected = prop_oneof![8 => Just(None), 1 => (0..60_u64).prop_map(Some)];
    let not_after = prop_oneof![8 => Just(None), 1 => (0..20_u64).prop_map(Some)];
    let command = (0..3_u64, seq, operation, expected, not_after).prop_map(
        |(n, seq, operation, expected, not_after)| {
            let (expected, not_after) = (expected.map(StateNdx), not_after.map(TimeMs));
            sign(&synod_types::CommandBody { expected, not_after, ..body(n, seq, operation) })
        },
    );
    prop_oneof![30 => command, 1 => Just(sign_bytes(Bytes::from_static(b"no command")))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_comes_to_the_same(
        decrees in prop::collection::vec(prop::collection::vec(any_command(), 0..12), 1..12),
        lives in prop::collection::vec(0..6_usize, 0..8),
    ) {
        let apart = Elsewhere::default();
        apart.0.lock().unwrap().lives = lives;
        let (mut here, mut there) =
            (machine(Box::new(Tally::default())), machine(Box::new(apart)));
        for (time, commands) in (1..).zip(decrees) {
            let slot = here.state().applied.next();
            let decree = Decree::Batch(Arc::new(Batch { term: TERM, time: TimeMs(time), commands }));
            let expected = here.apply(slot, &decree).unwrap();
            let applied = loop {
                let (applied, chain) = (there.state().applied, there.state().chain);
                match there.try_apply(slot, &decree) {
                    Ok(applied) => break applied,
                    Err(why) => {
                        prop_assert_eq!(why, NotApplied::Away(Away::Gone));
                        prop_assert_eq!((there.state().applied, there.state().chain), (applied, chain));
                    }
                }
            };
            prop_assert_eq!(applied, expected);
            prop_assert_eq!(there.state().state_ndx, here.state().state_ndx);
        }
        prop_assert_eq!(there.digest(), here.digest());
        prop_assert_eq!(there.view_to_keep().try_snapshot().unwrap(), here.snapshot());
    }
}

#[test]
fn commands_that_do_not_depend_on_each_other_are_asked_together() {
    let apart = Elsewhere::default();
    let mut machine = machine(Box::new(apart.clone()));
    let commands = (1..=100).flat_map(|seq| [sign(&body(0, seq, add(1))), sign(&body(1, seq, add(1)))]);
    stage::apply_at(&mut machine, 1, commands.collect());
    let process = apart.0.lock().unwrap();
    assert_eq!((process.tally.sum, process.calls), (200, 1));
}

#[test]
fn a_state_is_put_to_rest_if_its_process_stands_by_it() {
    let (apart, mut here) = (Elsewhere::default(), machine(Box::new(Tally::default())));
    let mut there = machine(Box::new(apart.clone()));
    let commands = |from: u64| (from..from + 3).map(|seq| sign(&body(0, seq, add(1)))).collect::<Vec<_>>();
    for machine in [&mut here, &mut there] {
        stage::apply_at(machine, 1, commands(1));
    }
    let at_rest = there.to_rest().unwrap();
    assert_eq!(at_rest.snapshot(), here.snapshot());
    assert_eq!(here.to_rest().unwrap().snapshot(), here.snapshot());
    // What goes on does not move it, and whoever restores it has it again.
    for machine in [&mut here, &mut there] {
        stage::apply_at(machine, 2, commands(4));
    }
    assert_ne!(at_rest.snapshot(), here.snapshot());
    assert_eq!(there.to_rest().unwrap().snapshot(), here.snapshot());
    let like = Box::new(AtRest::like(&*at_rest.app));
    let again = Machine::restore(CLUSTER, APP, &at_rest.snapshot(), like).unwrap();
    assert_eq!(again.snapshot(), at_rest.snapshot());
    assert!(again.state().app.query(StateNdx(3), b"").is_err());

    apart.0.lock().unwrap().errs_by = 1;
    assert_eq!(there.to_rest().unwrap_err(), Restless::OtherSnapshot);
}
