//! The operations of one node in order, and its disk at any moment.

use anyhow::{Context, Result};

use crate::disk::Disk;
use crate::operation::{Change, Operation};

/// What one node did, in the order in which the calls returned.
#[derive(Clone, Debug)]
pub struct Timeline {
    base: Disk,
    operations: Vec<Operation>,
}

impl Timeline {
    /// Of these operations, on a disk as it was when the node started.
    pub fn new(base: Disk, mut operations: Vec<Operation>) -> Timeline {
        operations.sort_by_key(|operation| operation.end);
        Timeline { base, operations }
    }

    /// All of them.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The moments at which something can have changed: at each beginning and end of a call that has to do with the disk.
    pub fn moments(&self) -> Vec<u64> {
        let changes = self.operations.iter().filter(|operation| operation.change != Change::Send);
        let mut moments: Vec<u64> = changes.flat_map(|change| [change.begin, change.end]).collect();
        moments.retain(|moment| *moment != u64::MAX);
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// The same without one sync: as if the disk had lied once.
    pub fn without(&self, sync: usize) -> Timeline {
        let mut operations = self.operations.clone();
        operations.remove(sync);
        Timeline { base: self.base.clone(), operations }
    }

    /// When the last call before a moment began that sends something.
    pub fn last_send_before(&self, moment: u64) -> Option<u64> {
        let sends = self.operations.iter().filter(|operation| operation.change == Change::Send);
        sends.map(|send| send.begin).filter(|begin| *begin < moment).max()
    }
}

/// A disk that goes along with its timeline, for moments that only rise.
pub struct Playback<'a> {
    timeline: &'a Timeline,
    returned: usize,
    disk: Disk,
}

impl<'a> Playback<'a> {
    /// At the beginning.
    pub fn new(timeline: &'a Timeline) -> Playback<'a> {
        Playback { timeline, returned: 0, disk: timeline.base.clone() }
    }

    /// The disk at a moment: calls that had returned have happened, those that had begun may have in part, and no sync
    /// counts that had not returned.
    ///
    /// # Errors
    /// The trace makes no sense.
    pub fn disk_at(&mut self, moment: u64) -> Result<Disk> {
        let mut disk = self.returned_by(moment)?.clone();
        let begun =
            self.timeline.operations[self.returned..].iter().filter(|operation| operation.begin < moment);
        for operation in begun.filter(|operation| !matches!(operation.change, Change::Sync(_))) {
            disk.apply(operation).with_context(|| describe(operation))?;
        }
        Ok(disk)
    }

    /// The disk with all that had returned at a moment, and nothing else.
    ///
    /// # Errors
    /// The trace makes no sense.
    pub fn returned_by(&mut self, moment: u64) -> Result<&Disk> {
        while let Some(operation) =
            self.timeline.operations.get(self.returned).filter(|next| next.end <= moment)
        {
            self.disk.apply(operation).with_context(|| describe(operation))?;
            self.returned += 1;
        }
        Ok(&self.disk)
    }
}

/// Without the bytes.
fn describe(operation: &Operation) -> String {
    match &operation.change {
        Change::Write(path, at, bytes) => format!("{} bytes at {at} of {}", bytes.len(), path.display()),
        other => format!("{other:?}"),
    }
}
