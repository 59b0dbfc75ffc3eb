//! What readers see: one state with its number, immutable.

use synod_types::{AppNdx, Digest, Slot, StateNdx, TimeMs};

use crate::application::Application;

/// An application's state between two decrees. Made by O(1) copies; a reader loads one pointer and sees all of
/// these together.
pub struct View {
    /// Which application.
    pub app_ndx: AppNdx,
    /// How many commands it has executed.
    pub state_ndx: StateNdx,
    /// The hash chain's value there.
    pub chain: Digest,
    /// The time of the last decree.
    pub time: TimeMs,
    /// The last slot that was applied.
    pub applied: Slot,
    /// The state, for queries.
    pub app: Box<dyn Application>,
}
