//! Where the transports get their answers from.

use std::sync::Arc;

use synod_zone::{Name, Zone};

use crate::answer::Source;

/// What a node knows, one state at a time. A look takes no lock that an update could hold, and never waits.
pub trait Answers: Send + Sync + 'static {
    /// Shows the newest state to `look`, exactly once. All that `look` sees is of that one state.
    fn look(&self, look: &mut dyn FnMut(&Source<'_>));

    /// The zone with this origin, of the newest state, to keep while it is transferred.
    fn zone(&self, origin: &Name) -> Option<Arc<Zone>>;
}
