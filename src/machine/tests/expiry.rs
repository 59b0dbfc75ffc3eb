//! What runs out: on which clock, at which decree, and what the state and the chain say of it.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod stage;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stage::*;
use synod_machine::{
    Application, Applied, Context, Founders, Machine, Moment, QueryError, RestoreError, chain,
};
use synod_types::command::Operation;
use synod_types::{
    Ballot, Batch, Decree, Digest, LeaseMs, Outcome, Receipt, Refusal, RefusalCode, Seq, SignedCommand,
    StateNdx, TimeMs, wire,
};

/// Candles that burn for a time: `l` and eight bytes light one, named by its state, for so many milliseconds, `t` and
/// eight bytes trim it, so that it burns its whole time again.
#[derive(Clone, Default)]
struct Candles {
    /// For how long each burns, and until when.
    lit: BTreeMap<StateNdx, (u64, LeaseMs)>,
}

impl Application for Candles {
    fn kind(&self) -> &'static str {
        "candles"
    }

    fn check(&self, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn apply(&mut self, context: &Context, operation: &[u8]) -> Result<Bytes, Refusal> {
        let number = u64::from_be_bytes(operation[1..].try_into().unwrap());
        let (name, burns_ms) = match operation[0] {
            b'l' => (context.state_ndx, Some(number)),
            _ => (StateNdx(number), self.lit.get(&StateNdx(number)).map(|(burns_ms, _)| *burns_ms)),
        };
        let burns_ms = burns_ms.ok_or_else(|| Refusal::new(RefusalCode::Conflict, "it is out"))?;
        self.lit.insert(name, (burns_ms, LeaseMs(context.clock.0 + burns_ms)));
        Ok(Bytes::new())
    }

    fn due(&self) -> Option<LeaseMs> {
        self.lit.values().map(|(_, until)| *until).min()
    }

    fn expire(&mut self, moment: &Moment) -> Bytes {
        self.lit.retain(|_, (_, until)| *until > moment.clock);
        Bytes::copy_from_slice(&moment.state_ndx.0.to_be_bytes())
    }

    fn on_new_term(&mut self, clock: LeaseMs) {
        let lit =
            self.lit.iter().map(|(name, (burns_ms, _))| (*name, (*burns_ms, LeaseMs(clock.0 + burns_ms))));
        self.lit = lit.collect();
    }

    fn query(&self, _: StateNdx, _: &[u8]) -> Result<Bytes, QueryError> {
        Ok(Bytes::new())
    }

    fn snapshot(&self) -> Vec<u8> {
        let lit: Vec<_> = self.lit.iter().collect();
        wire::encode(&lit)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let lit: Vec<(StateNdx, (u64, LeaseMs))> =
            wire::decode(snapshot).map_err(|why| RestoreError(why.to_string()))?;
        self.lit = lit.into_iter().collect();
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest::of(&[&self.snapshot()])
    }

    fn fork(&self) -> Box<dyn Application> {
        Box::new(self.clone())
    }
}

/// A machine with its next decree's slot and the commander's next seq.
struct House {
    machine: Machine,
    seq: u64,
}

fn term(number: u64) -> Ballot {
    Ballot { number, ..Ballot::ZERO }
}

impl House {
    fn new() -> House {
        let founders = Founders::each_alone(&[(commander(0), key(0), "founder".to_owned())]);
        House { machine: Machine::new(CLUSTER, APP, &founders, Box::new(Candles::default())), seq: 0 }
    }

    fn decree(&mut self, decree: &Decree) -> Vec<Applied> {
        self.machine.apply(self.machine.state().applied.next(), decree).expect("its level is known")
    }

    fn batch(&mut self, number: u64, time: u64, commands: Vec<SignedCommand>) -> Vec<Applied> {
        self.decree(&Decree::Batch(Arc::new(Batch { term: term(number), time: TimeMs(time), commands })))
    }

    fn command(&mut self, name: u8, number: u64) -> SignedCommand {
        self.seq += 1;
        let operation = [&[Operation::APP, name][..], &number.to_be_bytes()].concat();
        command(0, self.seq, operation)
    }

    fn light(&mut self, number: u64, time: u64, burns_ms: u64) -> StateNdx {
        let command = self.command(b'l', burns_ms);
        self.batch(number, time, vec![command]).pop().unwrap().result.unwrap().state_ndx
    }

    fn trim(&mut self, number: u64, time: u64, candle: StateNdx) -> Outcome {
        let command = self.command(b't', candle.0);
        self.batch(number, time, vec![command]).pop().unwrap().result.unwrap().outcome
    }

    /// The receipt of the expiry, if something has run out.
    fn tick(&mut self, number: u64, time: u64) -> Option<Receipt> {
        let before = self.machine.state().state_ndx;
        let mut applied = self.batch(number, time, Vec::new());
        assert!(applied.len() <= 1);
        let expiry = applied.pop();
        let made = u64::from(expiry.is_some());
        assert_eq!(self.machine.state().state_ndx.0, before.0 + made);
        expiry.map(|applied| applied.result.unwrap())
    }

    fn clock(&self) -> u64 {
        self.machine.state().clock.now().0
    }
}

#[test]
fn a_tick_ends_what_has_run_out_in_a_state_of_its_own() {
    let mut house = House::new();
    assert_eq!(house.light(1, 5000, 300), ndx(1));
    assert_eq!(house.tick(1, 5299), None);
    let before = house.machine.state().chain;
    let receipt = house.tick(1, 5300).unwrap();
    assert_eq!((receipt.app, receipt.seq, receipt.state_ndx), (APP, Seq(0), ndx(2)));
    assert_eq!(receipt.outcome, Outcome::Done(Bytes::copy_from_slice(&2_u64.to_be_bytes())));
    // Provable from the log: slot 3, where the clock showed 300 at 5300.
    let expiry = chain::expiry(CLUSTER, APP, slot(3), LeaseMs(300));
    assert_eq!(receipt.chain, chain::link(before, TimeMs(5300), expiry, &receipt.outcome));
    assert_eq!(house.tick(1, 9000), None, "nothing is left");
}

#[test]
fn an_expiry_is_told_as_one() {
    let mut house = House::new();
    house.light(1, 100, 10);
    let [applied] = house.batch(1, 110, Vec::new()).try_into().unwrap();
    let expiry = chain::expiry(CLUSTER, APP, slot(2), LeaseMs(10));
    assert_eq!((applied.command, applied.commander, applied.seq), (expiry, None, Seq(0)));
    assert!(!applied.repeated);
}

#[test]
fn a_batch_with_commands_ends_nothing() {
    let mut house = House::new();
    let candle = house.light(1, 5000, 300);
    // It came late, and before the tick.
    assert!(matches!(house.trim(1, 5400, candle), Outcome::Done(_)));
    assert_eq!(house.tick(1, 5699), None);
    assert!(house.tick(1, 5700).is_some());
    assert!(matches!(house.trim(1, 5700, candle), Outcome::Refused(_)));
}

#[test]
fn a_batch_whose_commands_leave_no_trace_still_passes_time() {
    let mut house = House::new();
    house.light(1, 5000, 300);
    house.batch(1, 5300, vec![command(9, 1, vec![Operation::APP])]);
    assert_eq!(house.clock(), 300);
    assert!(house.tick(1, 5300).is_some());
}

#[test]
fn a_new_term_gives_the_whole_time_again() {
    let mut house = House::new();
    house.light(1, 5000, 300);
    assert_eq!(house.tick(1, 5200), None);
    house.decree(&Decree::Noop);
    // A minute without a leader, and a leader whose clock is another one.
    for (time, expires) in [(65_000, false), (65_299, false), (65_300, true)] {
        assert_eq!(house.tick(2, time).is_some(), expires, "{time}");
    }
    assert_eq!(house.clock(), 500);
}

#[test]
fn another_leaders_clock_may_be_behind() {
    let mut house = House::new();
    house.light(1, 5000, 300);
    house.decree(&Decree::Noop);
    house.tick(2, 1000);
    assert!(house.tick(2, 1299).is_none());
    assert!(house.tick(2, 1300).is_some());
    assert_eq!(house.machine.state().time, TimeMs(5000), "what commands expire by never goes back");
}

/// A tick of a former leader may be chosen behind a hole where a keep-alive was lost with it.
#[test]
fn a_tick_behind_a_hole_ends_nothing() {
    let mut house = House::new();
    house.light(1, 5000, 300);
    house.decree(&Decree::Noop);
    assert_eq!(house.tick(1, 5300), None);
    assert_eq!(house.tick(1, 5599), None);
    assert!(house.tick(1, 5600).is_some());
}

/// What a former leader proposed may be chosen right behind what its successor did, and again the other way round.
#[test]
fn terms_may_alternate_without_a_no_op_between_them() {
    let mut house = House::new();
    house.light(2, 5000, 300);
    for (number, time) in [(1, 90_000), (2, 5250), (1, 90_300), (2, 5300)] {
        assert_eq!(house.tick(number, time), None, "term {number} at {time}");
    }
    assert_eq!(house.clock(), 0);
}

#[test]
fn a_leader_proposes_a_tick_when_something_is_due_and_not_before() {
    let mut house = House::new();
    let wants = |house: &House, number, time| house.machine.state().wants_tick(term(number), TimeMs(time));
    house.tick(1, 4000);
    assert!(!wants(&house, 1, u64::MAX), "nothing ever runs out");
    house.light(1, 5000, 300);
    assert!(!wants(&house, 1, 5299));
    assert!(wants(&house, 1, 5300));
    assert!(wants(&house, 2, 5000), "the clock of the new term does not run yet");
    house.decree(&Decree::Noop);
    assert!(wants(&house, 1, 5000), "nor behind a no-op");
    house.tick(2, 9000);
    assert!(!wants(&house, 2, 9299));
    assert!(wants(&house, 2, 9300));
}

#[test]
fn a_restored_machine_goes_on_with_the_same_clock() {
    let mut house = House::new();
    house.light(1, 5000, 300);
    house.tick(1, 5200);
    let snapshot = house.machine.snapshot();
    let restored = Machine::restore(CLUSTER, APP, &snapshot, Box::new(Candles::default())).unwrap();
    assert_eq!(restored.digest(), house.machine.digest());
    let mut again = House { machine: restored, seq: house.seq };
    for house in [&mut house, &mut again] {
        assert_eq!(house.tick(1, 5299), None);
        assert!(house.tick(1, 5300).is_some());
    }
    assert_eq!(again.machine.digest(), house.machine.digest());
}
