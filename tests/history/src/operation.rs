//! What a client asked, when, and what it was told.

/// An operation of a client. Times are nanoseconds since whatever moment the whole history counts from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation<I, O> {
    /// Which client. It may have several operations under way: one that was never answered stays so.
    pub client: u32,
    /// When it was sent at the earliest.
    pub invoked: u64,
    /// What was asked.
    pub input: I,
    /// What came of it.
    pub outcome: Outcome<O>,
}

/// What came of an operation, as far as its client knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<O> {
    /// It took effect at some moment from its invocation to its answer.
    Answered {
        /// When the answer was there at the latest.
        returned: u64,
        /// The answer.
        output: O,
    },
    /// There was no answer: it took effect at any moment since, or will, or never will.
    Unknown,
    /// It has not taken effect and never will.
    Failed {
        /// When that was known.
        returned: u64,
    },
}

impl<I, O> Operation<I, O> {
    /// The answer, if there was one.
    pub fn output(&self) -> Option<&O> {
        match &self.outcome {
            Outcome::Answered { output, .. } => Some(output),
            Outcome::Unknown | Outcome::Failed { .. } => None,
        }
    }

    /// When it was answered, if it was.
    pub fn answered(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Answered { returned, .. } => Some(returned),
            Outcome::Unknown | Outcome::Failed { .. } => None,
        }
    }

    /// Whether it may have taken effect.
    pub fn may_count(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed { .. })
    }
}
