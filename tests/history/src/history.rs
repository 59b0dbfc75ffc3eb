//! A history of the key-value application, and both checks of it.

use std::fmt;

use synod_types::StateNdx;

use crate::operation::Operation;
use crate::register::{Input, Keys, Output, Registers, parts};
use crate::replay::{Fault, Replayed, replay};
use crate::text::{self, TextError};
use crate::wing_gong::{Blocked, Found, search};

/// What clients did, and what they were told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// The state before it; there is no key in it.
    pub start: StateNdx,
    /// In any order.
    pub operations: Vec<Operation<Input, Output>>,
}

/// What a check says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none; the text says where every order ends.
    Violation(String),
    /// It cannot say; the text says why.
    Undecided(String),
}

/// What the search says of a whole history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Search {
    /// Of all parts together.
    pub verdict: Verdict,
    /// Operations that were tried, in all parts.
    pub steps: u64,
    /// The parts: keys, or keys that transactions join.
    pub parts: usize,
}

impl History {
    /// Reads a history as [`text`] describes it.
    ///
    /// # Errors
    /// [`TextError`] names the line.
    pub fn parse(text: &str) -> Result<History, TextError> {
        text::parse(text)
    }

    /// Searches for an order, with at most `steps_max` tries in each part.
    pub fn search(&self, steps_max: u64) -> Search {
        let keys = Keys::new(&self.operations);
        let parts = parts(&self.operations);
        let mut search_of_all = Search { verdict: Verdict::Linearizable, steps: 0, parts: parts.len() };
        for part in parts {
            let searched = search(&keys, &part, steps_max);
            search_of_all.steps += searched.steps;
            match searched.found {
                Found::Linearizable => {}
                // A violation is one whatever the other parts say.
                Found::Violation(blocked) => {
                    search_of_all.verdict = Verdict::Violation(Shown(&part, &blocked).to_string());
                    break;
                }
                Found::Undecided => {
                    let why = format!("no order was found or excluded in {steps_max} steps");
                    search_of_all.verdict = Verdict::Undecided(why);
                }
            }
        }
        search_of_all
    }

    /// Replays the history by stateNdx.
    pub fn replay(&self) -> Verdict {
        match replay(self) {
            Replayed::Linearizable => Verdict::Linearizable,
            Replayed::Violation(fault) => Verdict::Violation(self.show(&fault)),
            Replayed::Undecided { at } => Verdict::Undecided(format!(
                "which of the commands without an answer made state {at} is unknown"
            )),
        }
    }

    fn show(&self, fault: &Fault) -> String {
        let line = |place: usize| format!("\n  {}", self.operations[place]);
        match fault {
            Fault::Backwards { operation, at, known } => {
                let line = line(*operation);
                format!("state {known} was known before this began, which says state {at}:{line}")
            }
            Fault::MadeTwice { at, by: [one, other] } => {
                format!("two commands made state {at}:{}{}", line(*one), line(*other))
            }
            Fault::ExecutedTwice { operation, made: [one, other] } => {
                format!("one command made the states {one} and {other}:{}", line(*operation))
            }
            Fault::MadeByNobody { at } => format!("no command made state {at}"),
            Fault::WrongAnswer { operation, expected } => {
                format!("by its state the answer is `{expected}`:{}", line(*operation))
            }
        }
    }
}

/// The states that any order leads to, and the answer that none of them gives.
struct Shown<'a>(&'a [&'a Operation<Input, Output>], &'a Blocked<Registers>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(part, Blocked { operation, open, states }) = self;
        write!(f, "no order of the operations explains this answer:\n  {}", part[*operation])?;
        write!(f, "\nbefore it, in any order, the keys may be:")?;
        for state in states {
            write!(f, "\n  {state}")?;
        }
        if !open.is_empty() {
            write!(f, "\nat the same time:")?;
        }
        for open in open {
            write!(f, "\n  {}", part[*open])?;
        }
        Ok(())
    }
}
