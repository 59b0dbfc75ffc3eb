//! The search for an order: Wing and Gong's algorithm, as Lowe improved it.
//!
//! - J. M. Wing and C. Gong, *Testing and Verifying Concurrent Objects*, JPDC 17 (1993): try the operations that may come
//!   next, one after another, and go back where none fits.
//! - G. Lowe, *Testing for Linearizability*, Concurrency and Computation 29 (2017): no configuration (what was put in order,
//!   and the state) is tried twice, and an operation is put in order **just in time**, when an answer is due that needs it.
//!   Any order can be brought into that form: each operation moves back to just before the next answer.
//! - A. Horn and D. Kroening, *Faster Linearizability Checking via P-Compositionality*, FORTE (2015): what shares no state is
//!   checked by itself. [`crate::register::parts`] does that.
//!
//! Two things keep the search short. Of the orders that explain as many answers, those are tried first that take in the
//! fewest operations without an answer, since most of these need not have taken effect. And a read that fits is taken at
//! once, without alternatives: nothing can need it later.
//!
//! The search is bounded by a number of steps and not by time, so that the same history always gets the same answer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::operation::Operation;

/// States that a violation shows at most.
pub const STATES_SHOWN_MAX: usize = 8;

/// What operations do, one after another.
pub trait Model {
    /// What is asked.
    type Input;
    /// What is answered.
    type Output;
    /// What is remembered in between.
    type State: Clone + Ord;

    /// The state before the first operation.
    fn first(&self) -> Self::State;

    /// The states that the operation may leave, if that is its answer; none: it is not the answer. Without an answer,
    /// every state that it may leave. More than one where the answers so far do not tell.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Vec<Self::State>;

    /// Whether an operation with that answer leaves every state as it is.
    fn only_reads(&self, input: &Self::Input, output: &Self::Output) -> bool;
}

/// What the search found, and how long it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Searched<S> {
    /// What it found.
    pub found: Found<S>,
    /// Operations that were tried.
    pub steps: u64,
}

/// What the search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found<S> {
    /// An order.
    Linearizable,
    /// There is none.
    Violation(Blocked<S>),
    /// Neither, in the steps that were allowed.
    Undecided,
}

/// Where every order ends: the shortest beginning of the history that has none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked<S> {
    /// The operation whose answer cannot be explained: its place in the history.
    pub operation: usize,
    /// The operations that were under way when it was answered, itself left out.
    pub open: Vec<usize>,
    /// The states before it, in whatever order the operations before are put; the first [`STATES_SHOWN_MAX`].
    pub states: Vec<S>,
}

/// An answer, at which some order has to be found.
struct Turn {
    returning: usize,
    /// What may be put in order now, the most likely first: what returns, then what is answered later, then what never is.
    open: Vec<usize>,
}

/// How far an order has come.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<S> {
    /// The next answer.
    turn: usize,
    /// What is in the order already and is answered later.
    ahead: BTreeSet<usize>,
    /// What is in the order and is never answered.
    unanswered: BTreeSet<usize>,
    state: S,
}

/// What is still to be tried.
struct Untried<S> {
    /// By how good it looks.
    all: BTreeMap<(usize, Reverse<usize>, u64), Configuration<S>>,
    /// How many there have been.
    count: u64,
}

impl<S> Untried<S> {
    fn push(&mut self, configuration: Configuration<S>) {
        let Configuration { turn, unanswered, .. } = &configuration;
        self.all.insert((*turn, Reverse(unanswered.len()), self.count), configuration);
        self.count += 1;
    }

    /// The one that has come furthest, with the fewest operations without an answer; of these the last.
    fn pop(&mut self) -> Option<Configuration<S>> {
        self.all.pop_last().map(|(_, configuration)| configuration)
    }
}

/// Searches for an order of the operations, with at most `steps_max` tries.
pub fn search<M: Model>(
    model: &M,
    operations: &[&Operation<M::Input, M::Output>],
    steps_max: u64,
) -> Searched<M::State> {
    let turns = turns(operations);
    let mut seen = BTreeSet::new();
    let mut untried = Untried { all: BTreeMap::new(), count: 0 };
    let (ahead, unanswered) = (BTreeSet::new(), BTreeSet::new());
    untried.push(Configuration { turn: 0, ahead, unanswered, state: model.first() });
    let (mut furthest, mut states) = (0, BTreeSet::new());
    let mut steps = 0;
    while let Some(mut here) = untried.pop() {
        let Some(turn) = advance(model, operations, &turns, &mut here) else {
            return Searched { found: Found::Linearizable, steps };
        };
        if !seen.insert(here.clone()) {
            continue;
        }
        if here.turn > furthest {
            (furthest, states) = (here.turn, BTreeSet::new());
        }
        if here.turn == furthest {
            states.insert(here.state.clone());
        }
        // What is pushed last is tried first.
        for &next in turn.open.iter().rev() {
            if here.ahead.contains(&next) || here.unanswered.contains(&next) {
                continue;
            }
            if steps == steps_max {
                return Searched { found: Found::Undecided, steps };
            }
            steps += 1;
            let operation = operations[next];
            for state in model.step(&here.state, &operation.input, operation.output()) {
                let mut after = Configuration { state, ..here.clone() };
                let is_answered = operation.output().is_some();
                if is_answered { &mut after.ahead } else { &mut after.unanswered }.insert(next);
                untried.push(after);
            }
        }
    }
    let Turn { returning, open } = &turns[furthest];
    let open = open.iter().copied().filter(|open| open != returning).collect();
    let states = states.into_iter().take(STATES_SHOWN_MAX).collect();
    Searched { found: Found::Violation(Blocked { operation: *returning, open, states }), steps }
}

/// Goes on to the next answer that is not explained yet, and takes the reads that fit on the way; `None`: all are.
fn advance<'a, M: Model>(
    model: &M,
    operations: &[&Operation<M::Input, M::Output>],
    turns: &'a [Turn],
    here: &mut Configuration<M::State>,
) -> Option<&'a Turn> {
    loop {
        let turn = turns.get(here.turn)?;
        for &open in &turn.open {
            let Operation { input, .. } = operations[open];
            let Some(output) = operations[open].output() else { continue };
            if model.only_reads(input, output)
                && !here.ahead.contains(&open)
                && model.step(&here.state, input, Some(output)) == [here.state.clone()]
            {
                here.ahead.insert(open);
            }
        }
        if !here.ahead.remove(&turn.returning) {
            return Some(turn);
        }
        here.turn += 1;
    }
}

/// The answers in the order of time. What is invoked at the moment of an answer is under way with it.
fn turns<I, O>(operations: &[&Operation<I, O>]) -> Vec<Turn> {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (place, operation) in operations.iter().enumerate().filter(|(_, operation)| operation.may_count()) {
        events.push((operation.invoked, false, place));
        events.extend(operation.answered().map(|returned| (returned, true, place)));
    }
    events.sort_unstable();
    let (mut open, mut turns): (Vec<usize>, Vec<Turn>) = (Vec::new(), Vec::new());
    for (_, returns, place) in events {
        if !returns {
            open.push(place);
            continue;
        }
        let mut now = open.clone();
        now.sort_by_key(|&other| (other != place, operations[other].answered().is_none()));
        open.retain(|&other| other != place);
        turns.push(Turn { returning: place, open: now });
    }
    turns
}
