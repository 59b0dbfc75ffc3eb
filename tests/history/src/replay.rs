//! The replay: the answers claim an order themselves, since each says its stateNdx. That order is executed again, and it has
//! to be the order of real time as well.
//!
//! What is checked, in this order:
//!
//! 1. Nobody goes back: what began after a state was told to anybody is answered from that state or a later one, and a
//!    command makes a later one.
//! 2. Each state was made by one command, each command made one state, and no state was made by none: so nothing was
//!    executed twice.
//! 3. Every answer is the one of its state.
//!
//! Then the order by stateNdx, each state's command before its reads, is one by which the history is linearizable. But for
//! the sorting this takes one pass.
//!
//! A command that was never answered is known by what it wrote: a read that tells its value tells its state, if no other
//! command writes that value. Where states remain of which that is not known, the replay is undecided.

use std::collections::{BTreeMap, BTreeSet};

use synod_types::StateNdx;

use crate::history::History;
use crate::operation::{Operation, Outcome};
use crate::register::{Answer, Entry, Input, Output, Registers, Word};

/// What the replay found. Operations are named by their places in the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// The order of the states explains every answer.
    Linearizable,
    /// It does not.
    Violation(Fault),
    /// A state was made by a command that was never answered, and nothing tells by which one.
    Undecided {
        /// The first such state.
        at: StateNdx,
    },
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It began when a state was known already, and was answered from an earlier one, or made one that is not later.
    Backwards {
        /// The operation.
        operation: usize,
        /// The state that it says.
        at: StateNdx,
        /// The state that was known.
        known: StateNdx,
    },
    /// Two commands made the same state.
    MadeTwice {
        /// The state.
        at: StateNdx,
        /// The commands.
        by: [usize; 2],
    },
    /// One command made two states.
    ExecutedTwice {
        /// The command.
        operation: usize,
        /// The states.
        made: [StateNdx; 2],
    },
    /// A state that no command made.
    MadeByNobody {
        /// The state.
        at: StateNdx,
    },
    /// The answer is not that of its state.
    WrongAnswer {
        /// The operation.
        operation: usize,
        /// The answer of the state that it says.
        expected: Answer,
    },
}

/// Replays a history.
pub fn replay(history: &History) -> Replayed {
    match try_replay(history) {
        Ok(()) => Replayed::Linearizable,
        Err(Stop::Fault(fault)) => Replayed::Violation(fault),
        Err(Stop::Unknown(at)) => Replayed::Undecided { at },
    }
}

/// Why a replay does not get to the end.
enum Stop {
    Fault(Fault),
    Unknown(StateNdx),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

fn try_replay(history: &History) -> Result<(), Stop> {
    let said = said(history)?;
    check_real_time(history, &said)?;
    let made = made(history, &said)?;
    check_complete(history, &said, &made)?;
    check_answers(history, &said, &made)
}

/// The state that each operation says, or that somebody else says of it; `None`: nobody does, or it does not count.
fn said(history: &History) -> Result<Vec<Option<StateNdx>>, Stop> {
    let operations = &history.operations;
    let mut said: Vec<_> = operations.iter().map(|one| one.output().map(|output| output.at)).collect();
    // Who wrote a value, if it was one command only.
    let mut writer: BTreeMap<(&Word, &Word), Option<usize>> = BTreeMap::new();
    for (place, operation) in operations.iter().enumerate().filter(|(_, operation)| operation.may_count()) {
        for value in operation.input.values() {
            let first = writer.entry(value).or_insert(Some(place));
            *first = first.filter(|first| *first == place);
        }
    }
    for operation in operations {
        let (Input::Get { key }, Some(Output { answer: Answer::Found(Entry { value, changed }), .. })) =
            (&operation.input, operation.output())
        else {
            continue;
        };
        let Some(&Some(place)) = writer.get(&(key, value)) else { continue };
        if operations[place].outcome == Outcome::Unknown {
            let first = *said[place].get_or_insert(*changed);
            if first != *changed {
                let made = [first.min(*changed), first.max(*changed)];
                return Err(Fault::ExecutedTwice { operation: place, made }.into());
            }
        }
    }
    Ok(said)
}

/// The states that are known only grow, and every operation is at what was known when it began, or behind.
fn check_real_time(history: &History, said: &[Option<StateNdx>]) -> Result<(), Stop> {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (place, operation) in history.operations.iter().enumerate() {
        events.push((operation.invoked, false, place));
        events.extend(operation.answered().map(|returned| (returned, true, place)));
    }
    // What begins at the very moment of an answer may have begun before it.
    events.sort_unstable();
    let mut known = history.start;
    for (_, returns, place) in events {
        let Some(at) = said[place] else { continue };
        if returns {
            known = known.max(at);
            continue;
        }
        let is_read = history.operations[place].input.is_read();
        if at < known || (at == known && !is_read) {
            return Err(Fault::Backwards { operation: place, at, known }.into());
        }
    }
    Ok(())
}

/// Which command made which state.
fn made(history: &History, said: &[Option<StateNdx>]) -> Result<BTreeMap<StateNdx, usize>, Stop> {
    let mut made = BTreeMap::new();
    for (place, operation) in history.operations.iter().enumerate() {
        let (false, Some(at)) = (operation.input.is_read(), said[place]) else { continue };
        if let Some(other) = made.insert(at, place) {
            return Err(Fault::MadeTwice { at, by: [other, place] }.into());
        }
    }
    Ok(made)
}

/// Every state up to the last one was made.
fn check_complete(
    history: &History,
    said: &[Option<StateNdx>],
    made: &BTreeMap<StateNdx, usize>,
) -> Result<(), Stop> {
    let Some(last) = said.iter().flatten().max() else { return Ok(()) };
    let states = last.0 - history.start.0;
    let known = u64::try_from(made.len()).expect("usize has at most 64 bits");
    let Some(missing @ 1..) = states.checked_sub(known) else { return Ok(()) };
    let next = (history.start.0..).map(|before| StateNdx(before + 1));
    let at = next.into_iter().find(|at| !made.contains_key(at)).expect("one is missing");
    let commands = history.operations.iter().zip(said).filter(|(operation, _)| !operation.input.is_read());
    let unknown = commands.filter(|(one, said)| one.outcome == Outcome::Unknown && said.is_none()).count();
    let is_possible = u64::try_from(unknown).is_ok_and(|unknown| missing <= unknown);
    Err(if is_possible { Stop::Unknown(at) } else { Fault::MadeByNobody { at }.into() })
}

/// Executes the commands by the states that they made, and the reads between them.
fn check_answers(
    history: &History,
    said: &[Option<StateNdx>],
    made: &BTreeMap<StateNdx, usize>,
) -> Result<(), Stop> {
    let reads = history.operations.iter().enumerate().filter(|(_, operation)| operation.input.is_read());
    let reads: BTreeSet<(StateNdx, bool, usize)> =
        reads.filter_map(|(place, _)| Some((said[place]?, true, place))).collect();
    let commands = made.iter().map(|(at, place)| (*at, false, *place));
    let order: BTreeSet<_> = commands.chain(reads).collect();
    let mut state = Registers::default();
    for (at, _, place) in order {
        let Operation { input, .. } = &history.operations[place];
        let expected = state.execute(at, input);
        if history.operations[place].output().is_some_and(|output| output.answer != expected) {
            return Err(Fault::WrongAnswer { operation: place, expected }.into());
        }
    }
    Ok(())
}
