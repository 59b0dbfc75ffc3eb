//! What the operations mean: each key is a register that holds a value and the state that last wrote it, and a
//! transaction reads and writes several at once.
//!
//! This is written apart from the key-value application, and from its description.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use synod_types::StateNdx;

use crate::operation::Operation;
use crate::wing_gong::Model;

/// A key or a value.
pub type Word = Arc<str>;

/// Stands for the state that a command made of which nobody was told: real ones are smaller.
pub(crate) const UNTOLD: StateNdx = StateNdx(u64::MAX);

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Reads a key; answered by [`Answer::Found`] or [`Answer::Absent`].
    Get {
        /// Which key.
        key: Word,
    },
    /// Sets a key; answered by [`Answer::Written`].
    Put {
        /// Which key.
        key: Word,
        /// Its new value.
        value: Word,
    },
    /// Removes a key; answered by [`Answer::Deleted`].
    Delete {
        /// Which key.
        key: Word,
    },
    /// Sets a key that is as expected; answered by [`Answer::Written`] or [`Answer::Conflict`].
    CompareAndSet {
        /// Which key, and what is expected of it.
        compare: Compare,
        /// Its new value.
        value: Word,
    },
    /// Adds to a number, 0 where there is none; answered by [`Answer::Counted`] or [`Answer::Conflict`].
    Add {
        /// Which key.
        key: Word,
        /// How much.
        delta: i64,
    },
    /// Makes one of two lists of changes; answered by [`Answer::Txn`] or [`Answer::Conflict`].
    Txn(Txn),
}

/// One of two lists of changes, by what holds before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Txn {
    /// What must hold.
    pub compare: Vec<Compare>,
    /// Made, in order, where it does.
    pub then: Vec<Change>,
    /// Made, in order, where it does not.
    pub otherwise: Vec<Change>,
}

/// What is expected of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// Which key.
    pub key: Word,
    /// The state that last wrote it; `None`: it does not exist.
    pub changed: Option<StateNdx>,
}

/// A change inside a [`Txn`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Sets a key.
    Put {
        /// Which key.
        key: Word,
        /// Its new value.
        value: Word,
    },
    /// Removes a key.
    Delete {
        /// Which key.
        key: Word,
    },
    /// Adds to a number.
    Add {
        /// Which key.
        key: Word,
        /// How much.
        delta: i64,
    },
}

/// What is answered: of a read, from which state; of a command, which state it made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// That state.
    pub at: StateNdx,
    /// What was said.
    pub answer: Answer,
}

/// What is said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The key holds this.
    Found(Entry),
    /// There is no such key.
    Absent,
    /// The key is written.
    Written {
        /// The state that had written it before; `None`: it is new.
        previous: Option<StateNdx>,
    },
    /// The key is gone.
    Deleted {
        /// Whether it was there.
        existed: bool,
    },
    /// The number is now this.
    Counted {
        /// The sum.
        sum: i64,
    },
    /// A list of changes was made.
    Txn {
        /// The first condition that did not hold; `None`: `then` was made.
        failed: Option<u32>,
        /// What came of each change.
        results: Vec<Changed>,
    },
    /// Nothing was done: the key was not as it had to be. A state was made all the same.
    Conflict,
}

/// What came of a change inside a [`Txn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed {
    /// The key is written.
    Put {
        /// Whether it was there before.
        existed: bool,
    },
    /// The key is gone.
    Deleted {
        /// Whether it was there.
        existed: bool,
    },
    /// The number is now this.
    Counted {
        /// The sum.
        sum: i64,
    },
}

/// What a key holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The value.
    pub value: Word,
    /// The state that wrote it.
    pub changed: StateNdx,
}

impl Input {
    /// Whether it is a read: not a command, and makes no state.
    pub fn is_read(&self) -> bool {
        matches!(self, Input::Get { .. })
    }

    /// The keys that it reads or writes.
    pub fn keys(&self) -> Vec<&Word> {
        match self {
            Input::Get { key } | Input::Put { key, .. } | Input::Delete { key } | Input::Add { key, .. } => {
                vec![key]
            }
            Input::CompareAndSet { compare, .. } => vec![&compare.key],
            Input::Txn(txn) => {
                let changes = txn.then.iter().chain(&txn.otherwise).map(Change::key);
                txn.compare.iter().map(|compare| &compare.key).chain(changes).collect()
            }
        }
    }

    /// The keys that it may set, and to what.
    pub fn values(&self) -> Vec<(&Word, &Word)> {
        match self {
            Input::Put { key, value } => vec![(key, value)],
            Input::CompareAndSet { compare, value } => vec![(&compare.key, value)],
            Input::Txn(txn) => {
                let changes = txn.then.iter().chain(&txn.otherwise);
                let values = changes.filter_map(|change| match change {
                    Change::Put { key, value } => Some((key, value)),
                    Change::Delete { .. } | Change::Add { .. } => None,
                });
                values.collect()
            }
            Input::Get { .. } | Input::Delete { .. } | Input::Add { .. } => Vec::new(),
        }
    }

    /// The states that are asked or told to have written a key.
    fn told<'a>(&'a self, answer: Option<&'a Answer>) -> Vec<(&'a Word, StateNdx)> {
        let compared: &[Compare] = match self {
            Input::CompareAndSet { compare, .. } => std::slice::from_ref(compare),
            Input::Txn(txn) => &txn.compare,
            Input::Get { .. } | Input::Put { .. } | Input::Delete { .. } | Input::Add { .. } => &[],
        };
        let asked = compared.iter().filter_map(|compare| Some((&compare.key, compare.changed?)));
        let answered = match (self, answer) {
            (Input::Get { key }, Some(Answer::Found(entry))) => Some((key, entry.changed)),
            (Input::Put { key, .. }, Some(Answer::Written { previous: Some(previous) })) => {
                Some((key, *previous))
            }
            _ => None,
        };
        asked.chain(answered).collect()
    }
}

impl Change {
    /// The key that it changes.
    pub fn key(&self) -> &Word {
        match self {
            Change::Put { key, .. } | Change::Delete { key } | Change::Add { key, .. } => key,
        }
    }
}

/// The keys, and what they hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Registers(pub BTreeMap<Word, Entry>);

/// A number cannot be added to what is none, or beyond 64 bits.
struct NotCounted;

impl Registers {
    /// Executes an operation; `at` is the state that it makes, and a read's is of no account.
    pub fn execute(&mut self, at: StateNdx, input: &Input) -> Answer {
        match input {
            Input::Get { key } => self.0.get(key).cloned().map_or(Answer::Absent, Answer::Found),
            Input::Put { key, value } => Answer::Written { previous: self.write(at, key, value) },
            Input::Delete { key } => Answer::Deleted { existed: self.0.remove(key).is_some() },
            Input::CompareAndSet { compare, .. } if !self.holds(compare) => Answer::Conflict,
            Input::CompareAndSet { compare, value } => {
                Answer::Written { previous: self.write(at, &compare.key, value) }
            }
            Input::Add { key, delta } => {
                self.add(at, key, *delta).map_or(Answer::Conflict, |sum| Answer::Counted { sum })
            }
            Input::Txn(txn) => {
                let before = self.clone();
                self.txn(at, txn).unwrap_or_else(|NotCounted| {
                    *self = before;
                    Answer::Conflict
                })
            }
        }
    }

    fn txn(&mut self, at: StateNdx, txn: &Txn) -> Result<Answer, NotCounted> {
        let failed = txn.compare.iter().position(|compare| !self.holds(compare));
        let changes = if failed.is_none() { &txn.then } else { &txn.otherwise };
        let results = changes.iter().map(|change| self.change(at, change)).collect::<Result<_, _>>()?;
        let failed = failed.map(|failed| u32::try_from(failed).expect("conditions are few"));
        Ok(Answer::Txn { failed, results })
    }

    fn change(&mut self, at: StateNdx, change: &Change) -> Result<Changed, NotCounted> {
        Ok(match change {
            Change::Put { key, value } => Changed::Put { existed: self.write(at, key, value).is_some() },
            Change::Delete { key } => Changed::Deleted { existed: self.0.remove(key).is_some() },
            Change::Add { key, delta } => Changed::Counted { sum: self.add(at, key, *delta)? },
        })
    }

    fn holds(&self, compare: &Compare) -> bool {
        self.0.get(&compare.key).map(|entry| entry.changed) == compare.changed
    }

    /// Gives the state that had written the key before.
    fn write(&mut self, at: StateNdx, key: &Word, value: &Word) -> Option<StateNdx> {
        let entry = Entry { value: value.clone(), changed: at };
        self.0.insert(key.clone(), entry).map(|replaced| replaced.changed)
    }

    fn add(&mut self, at: StateNdx, key: &Word, delta: i64) -> Result<i64, NotCounted> {
        let number = match self.0.get(key) {
            Some(entry) => entry.value.parse::<i64>().map_err(|_| NotCounted)?,
            None => 0,
        };
        let sum = number.checked_add(delta).ok_or(NotCounted)?;
        self.write(at, key, &sum.to_string().into());
        Ok(sum)
    }
}

/// Some keys, for the search. The order of states is a claim to it and no more: a stateNdx is but the name of a write, and
/// one that was never answered has no name until somebody tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    /// The states that answered commands made: none of the others made them.
    taken: BTreeSet<StateNdx>,
}

impl Keys {
    /// The keys in a history with these operations: all of them, on whatever keys.
    pub fn new(operations: &[Operation<Input, Output>]) -> Keys {
        let commands = operations.iter().filter(|operation| !operation.input.is_read());
        Keys { taken: commands.filter_map(|command| Some(command.output()?.at)).collect() }
    }
}

impl Model for Keys {
    type Input = Input;
    type Output = Output;
    type State = Registers;

    fn first(&self) -> Registers {
        Registers::default()
    }

    fn step(&self, state: &Registers, input: &Input, output: Option<&Output>) -> Vec<Registers> {
        let answer = output.map(|output| &output.answer);
        let mut before = vec![state.clone()];
        for (key, told) in input.told(answer) {
            // Either this is the name of what the key holds, or it is another one's.
            let named = before.iter().filter_map(|state| {
                let nameless = state.0.get(key).is_some_and(|entry| entry.changed == UNTOLD);
                (nameless && !self.taken.contains(&told)).then(|| {
                    let mut state = state.clone();
                    state.0.entry(key.clone()).and_modify(|entry| entry.changed = told);
                    state
                })
            });
            before.extend(named.collect::<Vec<_>>());
        }
        let at = output.map_or(UNTOLD, |output| output.at);
        let mut after: Vec<Registers> = before
            .into_iter()
            .filter_map(|mut state| {
                let said = state.execute(at, input);
                answer.is_none_or(|answer| *answer == said).then_some(state)
            })
            .collect();
        after.dedup();
        after
    }

    fn only_reads(&self, input: &Input, output: &Output) -> bool {
        input.is_read() || matches!(output.answer, Answer::Conflict | Answer::Deleted { existed: false })
    }

    fn claim(&self, input: &Input, output: &Output) -> u64 {
        // A state's command comes before its reads.
        output.at.0.saturating_mul(2).saturating_add(u64::from(input.is_read()))
    }
}

/// Divides operations into parts without a key in common: one for each key, but for keys that a transaction joins.
pub fn parts(operations: &[Operation<Input, Output>]) -> Vec<Vec<&Operation<Input, Output>>> {
    let mut part_of: BTreeMap<&Word, usize> = BTreeMap::new();
    for (fresh, operation) in operations.iter().enumerate() {
        let keys = operation.input.keys();
        let joined: BTreeSet<usize> = keys.iter().filter_map(|key| part_of.get(*key).copied()).collect();
        let part = joined.first().copied().unwrap_or(fresh);
        if joined.len() > 1 {
            part_of.values_mut().filter(|other| joined.contains(other)).for_each(|other| *other = part);
        }
        part_of.extend(keys.into_iter().map(|key| (key, part)));
    }
    let mut parts: BTreeMap<usize, Vec<&Operation<Input, Output>>> = BTreeMap::new();
    for operation in operations {
        // An operation without a key changes nothing and tells nothing.
        if let Some(part) = operation.input.keys().first().and_then(|key| part_of.get(*key)) {
            parts.entry(*part).or_default().push(operation);
        }
    }
    parts.into_values().collect()
}
