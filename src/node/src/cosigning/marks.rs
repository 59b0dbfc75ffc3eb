//! Which states are signed: those at which every so many commands were executed, and those in which an epoch begins; and the last one of
//! an application that has been idle for a while. All follow from the log, so that nodes sign the same.
//!
//! A statement names the slot whose decree made the state, and the application's root there. Decrees that make no state may follow, and
//! most of them change nothing of the application. A batch of another term does: leases begin anew. So the state is kept as it was before
//! one.

use std::sync::Arc;

use synod_machine::View;
use synod_types::{Configuration, Decree, Epoch, Slot, StateNdx};

use super::Mark;

/// Follows one application's decrees.
pub(crate) struct Marks {
    /// Commands from one state that is signed to the next.
    every: u64,
    /// Who decides where a state does not say so.
    first: Configuration,
    state_ndx: StateNdx,
    configuration: Configuration,
    /// The slot whose decree made the last state; `None`: it is not known, since the state came whole.
    made: Option<Slot>,
    /// The last state as it was made, where something has changed since.
    saved: Option<Arc<View>>,
    /// The last state that was told as the latest.
    told: Option<StateNdx>,
}

impl Marks {
    /// Of an application in this state. In its first one `first` decide.
    pub(crate) fn new(every: u64, first: Configuration, state: &View) -> Marks {
        let configuration = state.configuration.clone().unwrap_or_else(|| first.clone());
        let (state_ndx, made) = (state.state_ndx, (state.state_ndx == StateNdx(0)).then_some(Slot(0)));
        Marks { every: every.max(1), first, state_ndx, configuration, made, saved: None, told: None }
    }

    /// Another state took the place of this one's, whole.
    pub(crate) fn restart(&mut self, state: &View) {
        *self = Marks::new(self.every, self.first.clone(), state);
    }

    /// Who decides now.
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// A decree is about to be applied to this state.
    pub(crate) fn before(&mut self, decree: &Decree, state: &View) {
        let changes = match decree {
            Decree::Noop => false,
            Decree::Seal(_) => true,
            Decree::Batch(batch) => state.clock.behind(batch.term, batch.time).is_none(),
        };
        if changes && self.made.is_some() && self.saved.is_none() {
            self.saved = Some(Arc::new(state.fork()));
        }
    }

    /// It was applied, and this is the state. Gives it if it is to be signed.
    pub(crate) fn after(&mut self, state: &View) -> Option<Mark> {
        let before = std::mem::replace(&mut self.state_ndx, state.state_ndx);
        if state.state_ndx > before {
            self.made = Some(state.applied);
            self.saved = None;
            let is_due = state.state_ndx.0 / self.every > before.0 / self.every;
            return is_due.then(|| self.mark(Arc::new(state.fork()), state.applied, None));
        }
        if self.epoch_of(state) == self.configuration.epoch {
            return None;
        }
        let now = state.configuration.clone().unwrap_or_else(|| self.first.clone());
        let before = std::mem::replace(&mut self.configuration, now);
        Some(self.mark(Arc::new(state.fork()), state.applied, Some(before)))
    }

    /// The last state, if it was not told before. `shown` is what readers see now.
    pub(crate) fn latest(&mut self, shown: impl FnOnce() -> Arc<View>) -> Option<Mark> {
        let made = self.made.filter(|_| self.told != Some(self.state_ndx))?;
        self.told = Some(self.state_ndx);
        let view = self.saved.clone().unwrap_or_else(shown);
        let members = view.configuration.clone().unwrap_or_else(|| self.first.clone());
        Some(Mark { view, slot: made, members, before: None })
    }

    fn epoch_of(&self, state: &View) -> Epoch {
        state.configuration.as_ref().map_or(self.first.epoch, |configuration| configuration.epoch)
    }

    fn mark(&self, view: Arc<View>, slot: Slot, before: Option<Configuration>) -> Mark {
        Mark { view, slot, members: self.configuration.clone(), before }
    }
}

#[cfg(test)]
mod tests {
    use synod_types::{Ballot, Batch, NodeId, TimeMs};

    use super::*;
    use crate::shelf::{Author, batch};

    fn members(n: u8) -> Configuration {
        let id = |n| NodeId(synod_types::Digest([n; 32]));
        Configuration { epoch: Epoch(n.into()), members: vec![id(n), id(n + 1)] }
    }

    /// Applies decrees as an applier does; says which states are signed: slot, state, epoch, epoch before.
    struct Stage {
        author: Author,
        machine: synod_machine::Machine,
        marks: Marks,
        seq: u64,
        due: Vec<(u64, u64, u64, Option<u64>)>,
    }

    impl Stage {
        fn new(every: u64) -> Stage {
            let author = Author::new();
            let machine = author.machine();
            let marks = Marks::new(every, members(0), machine.state());
            Stage { author, machine, marks, seq: 0, due: Vec::new() }
        }

        fn apply(&mut self, decree: &Decree) {
            self.marks.before(decree, self.machine.state());
            self.machine.apply(self.machine.state().applied.next(), decree).unwrap();
            if let Some(Mark { view, slot, members, before }) = self.marks.after(self.machine.state()) {
                let before = before.map(|before| before.epoch.0);
                self.due.push((slot.0, view.state_ndx.0, members.epoch.0, before));
            }
        }

        fn commands(&mut self, count: u64) {
            for _ in 0..count {
                self.seq += 1;
                let decree = batch(self.author.clear(self.seq));
                self.apply(&decree);
            }
        }

        fn latest(&mut self) -> Option<(u64, u64, u64)> {
            let view = self.machine.view();
            let mark = self.marks.latest(|| Arc::new(view))?;
            Some((mark.slot.0, mark.view.state_ndx.0, mark.members.epoch.0))
        }
    }

    #[test]
    fn every_so_many_commands_and_each_epoch() {
        let mut stage = Stage::new(3);
        stage.commands(4);
        stage.apply(&Decree::Noop);
        stage.apply(&Decree::Seal(Arc::new(members(2))));
        stage.commands(3);
        assert_eq!(stage.due, [(3, 3, 0, None), (6, 4, 2, Some(0)), (8, 6, 2, None)]);
    }

    #[test]
    fn the_last_state_is_told_once_as_it_was_made() {
        let mut stage = Stage::new(100);
        stage.commands(2);
        stage.apply(&Decree::Noop);
        assert_eq!((stage.latest(), stage.latest()), (Some((2, 2, 0)), None));
        stage.commands(1);
        // Before anybody looks, the epoch ends and another term begins.
        stage.apply(&Decree::Seal(Arc::new(members(2))));
        let term = Ballot { number: 9, ..Ballot::ZERO };
        stage.apply(&Decree::Batch(Arc::new(Batch { term, time: TimeMs(0), commands: vec![] })));
        assert_eq!(stage.latest(), Some((4, 3, 0)), "it was made in the epoch before");
        stage.commands(1);
        assert_eq!(stage.latest(), Some((7, 4, 2)));
    }

    #[test]
    fn nobody_signs_a_state_of_which_he_does_not_know_how_it_was_made() {
        let mut stage = Stage::new(100);
        stage.commands(2);
        stage.marks.restart(stage.machine.state());
        assert_eq!(stage.latest(), None);
        stage.commands(1);
        assert_eq!(stage.latest(), Some((3, 3, 0)));
    }
}
