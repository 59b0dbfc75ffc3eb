//! Room on the disk. A write that fails stops a node, so it stops taking what makes it write before that: below a reserve it
//! refuses commands, hands over what it leads, and keeps nothing new of what others lead. It goes on answering readers, and
//! where there is room again it catches up and takes commands as before.
//!
//! Nodes tell each other. Where the disks of a majority are nearly full, nothing can become durable on one: commands are
//! refused at once, with the reason, and not after a time in which nothing happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use synod_types::{Refusal, RefusalCode};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::metrics::float;

/// How often the disk is asked.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The reserve of a node that is told nothing: this, or a part of a small disk.
const RESERVE_BYTES: u64 = 256 << 20;
const RESERVE_PART: u64 = 20;

/// What is known of this node's disk; of the others', [`crate::fitness`] knows.
#[derive(Debug, Default)]
pub(crate) struct Space {
    is_low: AtomicBool,
}

impl Space {
    /// Whether this node's disk is nearly full.
    pub(crate) fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }
}

/// Why a command does not enter here.
pub(crate) fn refusal() -> Refusal {
    Refusal::new(
        RefusalCode::NoSpace,
        "this node's disk is nearly full, and it takes no commands until there is room again; submit the same bytes at another",
    )
}

/// Why a command is not ordered.
pub(crate) fn refusal_of_majority() -> Refusal {
    Refusal::new(
        RefusalCode::NoSpace,
        "the disks of a majority of the nodes are nearly full; make room, or remove what is not needed, and submit the same bytes again",
    )
}

/// Looks at the disk of `directory` for as long as the node runs. `reserve` is in bytes; `None`: as much as suits the disk.
pub(crate) async fn watch(directory: PathBuf, reserve: Option<u64>, space: Arc<Space>) {
    let mut looking = tokio::time::interval(LOOK_EVERY);
    looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_unknown = false;
    loop {
        looking.tick().await;
        let at = directory.clone();
        // A disk that does not answer must not hold up the runtime.
        let Ok(room) = tokio::task::spawn_blocking(move || Room::of(&at)).await else { return };
        match room {
            Ok(room) => {
                is_unknown = false;
                space.look(room, reserve);
            }
            Err(why) if !is_unknown => {
                is_unknown = true;
                error!(directory = %directory.display(), %why, "cannot find out how much room the disk has");
            }
            Err(_) => {}
        }
    }
}

/// How much room there is.
#[derive(Clone, Copy, Debug)]
struct Room {
    free: u64,
    all: u64,
}

impl Room {
    fn of(directory: &Path) -> std::io::Result<Room> {
        let found = rustix::fs::statvfs(directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Room { free: bytes(found.f_bavail), all: bytes(found.f_blocks) })
    }

    fn reserve(&self, given: Option<u64>) -> u64 {
        given.unwrap_or_else(|| RESERVE_BYTES.min(self.all / RESERVE_PART))
    }
}

impl Space {
    fn look(&self, room: Room, reserve: Option<u64>) {
        metrics::gauge!("synod_disk_free_bytes").set(float(room.free));
        let reserve = room.reserve(reserve);
        let was_low = self.is_low();
        // Not to and fro at the edge.
        let is_low = if was_low { room.free < reserve + reserve / 4 } else { room.free < reserve };
        self.is_low.store(is_low, Ordering::Relaxed);
        metrics::gauge!("synod_disk_is_low").set(f64::from(u8::from(is_low)));
        match (was_low, is_low) {
            (false, true) => {
                warn!(
                    free = room.free,
                    reserve, "the disk is nearly full: this node takes no commands until there is room"
                );
            }
            (true, false) => info!(free = room.free, reserve, "the disk has room again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(free: u64) -> Room {
        Room { free, all: 1 << 40 }
    }

    #[test]
    fn the_edge_is_crossed_once() {
        let space = Space::default();
        let mut at = |free| {
            space.look(room(free), Some(1000));
            space.is_low()
        };
        assert_eq!([1000, 999, 1000, 1249, 1250, 1000].map(&mut at), [false, true, true, true, false, false]);
    }

    #[test]
    fn a_small_disk_has_a_small_reserve() {
        assert_eq!(room(0).reserve(None), 256 << 20);
        assert_eq!(Room { free: 0, all: 100 << 20 }.reserve(None), 5 << 20);
        assert_eq!(room(0).reserve(Some(0)), 0);
    }
}
