//! The search for an order: Wing and Gong's algorithm, as Lowe improved it.
//!
//! - J. M. Wing and C. Gong, *Testing and Verifying Concurrent Objects*, JPDC 17 (1993): try the operations that may
//!   come next, one after another, and go back where none fits.
//! - G. Lowe, *Testing for Linearizability*, Concurrency and Computation 29 (2017): no configuration (what was put in
//!   order, and the state) is tried twice, and an operation is put in order **just in time**, when an answer is due that
//!   needs it. Any order can be brought into that form: each operation moves back to just before the next answer.
//! - A. Horn and D. Kroening, *Faster Linearizability Checking via P-Compositionality*, FORTE (2015): what shares no
//!   state is checked by itself. [`crate::register::parts`] does that.
//!
//! Three things more keep the search short:
//!
//! - What claims to come first is tried first. An order that is found is one whatever the claims are worth.
//! - A read that fits is taken at once, without alternatives: nothing can need it later.
//! - What was never answered need not have taken effect. So of the orders that explain as much, those with the fewest such
//!   operations come first, and one that leads to the same with more of them is left out.
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

    /// Where an answer itself claims to stand. What claims to come first is tried first; nothing else follows from it.
    fn claim(&self, input: &Self::Input, output: &Self::Output) -> u64;
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
    /// What may be put in order now: by its claim what is answered, then what never is.
    open: Vec<usize>,
}

/// How far an order has come.
#[derive(Clone, PartialEq, Eq)]
struct Configuration<S> {
    reached: Reached<S>,
    /// What is in the order and is never answered.
    unanswered: BTreeSet<usize>,
}

/// What it has come to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reached<S> {
    /// The next answer.
    turn: usize,
    /// What is in the order already and is answered later.
    ahead: BTreeSet<usize>,
    state: S,
}

/// What was tried: by what was reached, with which unanswered operations.
struct Tried<S>(BTreeMap<Reached<S>, Vec<BTreeSet<usize>>>);

impl<S: Clone + Ord> Tried<S> {
    /// Whether as much was reached before, with no other unanswered operations than these; notes it otherwise.
    fn covers(&mut self, Configuration { reached, unanswered }: &Configuration<S>) -> bool {
        let with = self.0.entry(reached.clone()).or_default();
        let is_covered = with.iter().any(|fewer| fewer.is_subset(unanswered));
        if !is_covered {
            with.push(unanswered.clone());
        }
        is_covered
    }
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
        let place = (configuration.reached.turn, Reverse(configuration.unanswered.len()), self.count);
        self.all.insert(place, configuration);
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
    let turns = turns(model, operations);
    let mut tried = Tried(BTreeMap::new());
    let mut untried = Untried { all: BTreeMap::new(), count: 0 };
    let reached = Reached { turn: 0, ahead: BTreeSet::new(), state: model.first() };
    untried.push(Configuration { reached, unanswered: BTreeSet::new() });
    let (mut furthest, mut states) = (0, BTreeSet::new());
    let mut steps = 0;
    while let Some(mut here) = untried.pop() {
        let Some(turn) = advance(model, operations, &turns, &mut here.reached) else {
            return Searched { found: Found::Linearizable, steps };
        };
        if tried.covers(&here) {
            continue;
        }
        let Configuration { reached, unanswered } = here;
        if reached.turn > furthest {
            (furthest, states) = (reached.turn, BTreeSet::new());
        }
        if reached.turn == furthest {
            states.insert(reached.state.clone());
        }
        // What is pushed last is tried first.
        for &next in turn.open.iter().rev() {
            if reached.ahead.contains(&next) || unanswered.contains(&next) {
                continue;
            }
            if steps == steps_max {
                return Searched { found: Found::Undecided, steps };
            }
            steps += 1;
            let operation = operations[next];
            for state in model.step(&reached.state, &operation.input, operation.output()) {
                let (mut ahead, mut unanswered) = (reached.ahead.clone(), unanswered.clone());
                if operation.output().is_some() { &mut ahead } else { &mut unanswered }.insert(next);
                let reached = Reached { turn: reached.turn, ahead, state };
                untried.push(Configuration { reached, unanswered });
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
    here: &mut Reached<M::State>,
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
fn turns<M: Model>(model: &M, operations: &[&Operation<M::Input, M::Output>]) -> Vec<Turn> {
    let claim = |place: usize| {
        let Operation { input, .. } = operations[place];
        operations[place].output().map_or(u64::MAX, |output| model.claim(input, output))
    };
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
        now.sort_by_key(|&other| claim(other));
        open.retain(|&other| other != place);
        turns.push(Turn { returning: place, open: now });
    }
    turns
}
