//! How much a power loss leaves of what was not durable.

use rand::RngExt;
use rand::rngs::StdRng;

/// How one disk behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Loss {
    /// Bytes that are written whole or not at all.
    pub sector: u64,
    /// What stays.
    pub keeping: Keeping,
}

/// What stays of what was not durable.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Keeping {
    /// Nothing.
    Nothing,
    /// All, as after a kill.
    Everything,
    /// All up to some point of time in each file and directory, and a part of what came next.
    Beginning,
    /// For each sector and for each directory: the newest with this probability, else something older.
    Each(f64),
}

impl Loss {
    /// A loss without any.
    pub const NONE: Loss = Loss { sector: 4096, keeping: Keeping::Everything };

    /// Some loss.
    pub fn random(random: &mut StdRng) -> Loss {
        let sector = if random.random_bool(0.5) { 512 } else { 4096 };
        let keeping = match random.random_range(0..20) {
            0..2 => Keeping::Nothing,
            2 => Keeping::Everything,
            3..7 => Keeping::Beginning,
            7..9 => Keeping::Each(0.98),
            9..11 => Keeping::Each(0.02),
            _ => Keeping::Each(random.random_range(0.05..0.95)),
        };
        Loss { sector, keeping }
    }
}
