//! What can be done to a cluster.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use synod_cluster::clock;
use synod_journal::failpoint::Point;

/// Kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SIGKILL for some, who start again later.
    Kill,
    /// SIGKILL for all at once.
    KillAll,
    /// SIGSTOP, and SIGCONT later.
    Pause,
    /// One node reaches no other.
    Isolate,
    /// Two nodes do not reach each other, and all others both.
    CutLink,
    /// What is sent in one direction is lost.
    OneWay,
    /// Links are cut and healed quickly.
    Flap,
    /// Everything between nodes takes longer.
    Delay,
    /// Some of it is lost.
    Loss,
    /// Some of it arrives twice.
    Duplication,
    /// Some of it is overtaken.
    Reordering,
    /// The wall clocks of some are set. Takes libfaketime.
    ClockStep,
    /// A call of a node's disk fails. Takes the feature `failpoints`.
    DiskError,
    /// The disks of some take their time. Takes the feature `failpoints`.
    SlowDisk,
    /// A node's disk has no room. Takes root.
    FullDisk,
}

impl Kind {
    /// Those that take nothing.
    pub const USUAL: [Kind; 11] = [
        Kind::Kill,
        Kind::KillAll,
        Kind::Pause,
        Kind::Isolate,
        Kind::CutLink,
        Kind::OneWay,
        Kind::Flap,
        Kind::Delay,
        Kind::Loss,
        Kind::Duplication,
        Kind::Reordering,
    ];

    /// Those that disks take part in at whichever call.
    pub const DISKS: [Kind; 2] = [Kind::DiskError, Kind::SlowDisk];

    /// Those that take no rights: the usual ones, clocks where there is libfaketime, and disks where this was built with the feature
    /// `failpoints` and it is this program that is tested. Says loudly what is left out.
    pub fn possible(is_own_program: bool) -> Vec<Kind> {
        let mut kinds = Kind::USUAL.to_vec();
        if clock::library().is_some() {
            kinds.push(Kind::ClockStep);
        } else {
            eprintln!("LEFT OUT: no clock is set, since libfaketime is not installed");
        }
        if cfg!(feature = "failpoints") && is_own_program {
            kinds.extend(Kind::DISKS);
        } else {
            eprintln!(
                "LEFT OUT: no disk fails or is slow, since this is not a program with --features failpoints"
            );
        }
        kinds
    }

    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::KillAll => "kill-all",
            Kind::Pause => "pause",
            Kind::Isolate => "isolate",
            Kind::CutLink => "cut-link",
            Kind::OneWay => "one-way",
            Kind::Flap => "flap",
            Kind::Delay => "delay",
            Kind::Loss => "loss",
            Kind::Duplication => "duplication",
            Kind::Reordering => "reordering",
            Kind::ClockStep => "clock-step",
            Kind::DiskError => "disk-error",
            Kind::SlowDisk => "slow-disk",
            Kind::FullDisk => "full-disk",
        }
    }
}

/// One of the directions that can be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the first victim to the second.
    Link,
    /// From all others to the victim: it is heard, and hears nobody.
    Deaf,
    /// From the victim to all others: it hears, and nobody hears it.
    Mute,
}

/// What is done. To whom is said by the [`Strike`](crate::schedule::Strike): faults of nodes befall the first ones of its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// So many are killed.
    Kill {
        /// How many.
        nodes: usize,
    },
    /// All are killed.
    KillAll,
    /// So many are paused.
    Pause {
        /// How many.
        nodes: usize,
    },
    /// The first one is cut off.
    Isolate,
    /// The first and the second one are.
    CutLink,
    /// One direction is cut.
    OneWay(Way),
    /// The first one's links, or the one to the second alone, are cut for this long, healed for as long, and so on.
    Flap {
        /// All links of the node.
        is_node: bool,
        /// How long each time.
        period: Duration,
    },
    /// Every link delays.
    Delay {
        /// Everything by this.
        delay: Duration,
        /// And by up to this.
        jitter: Duration,
    },
    /// Every link loses this many of a hundred datagrams.
    Loss(u8),
    /// Every link doubles this many.
    Duplication(u8),
    /// On every link this many are overtaken.
    Reordering(u8),
    /// The clocks of so many are set to so many seconds from what time it is, and stay so until they are set again.
    ClockStep {
        /// How many.
        nodes: usize,
        /// How far, positive into the future.
        seconds: i64,
    },
    /// A call of the first one's disk fails, and each time again.
    DiskError {
        /// Which one.
        point: Point,
        /// How often it succeeds before.
        passes: u32,
    },
    /// The disks of so many take their time for each write and sync.
    SlowDisk {
        /// How many.
        nodes: usize,
        /// How long a sync takes at least; a write takes a tenth of it.
        sync: Duration,
    },
    /// The first one's disk is full.
    FullDisk,
}

impl Fault {
    /// Of which kind it is.
    pub fn kind(self) -> Kind {
        match self {
            Fault::Kill { .. } => Kind::Kill,
            Fault::KillAll => Kind::KillAll,
            Fault::Pause { .. } => Kind::Pause,
            Fault::Isolate => Kind::Isolate,
            Fault::CutLink => Kind::CutLink,
            Fault::OneWay(_) => Kind::OneWay,
            Fault::Flap { .. } => Kind::Flap,
            Fault::Delay { .. } => Kind::Delay,
            Fault::Loss(_) => Kind::Loss,
            Fault::Duplication(_) => Kind::Duplication,
            Fault::Reordering(_) => Kind::Reordering,
            Fault::ClockStep { .. } => Kind::ClockStep,
            Fault::DiskError { .. } => Kind::DiskError,
            Fault::SlowDisk { .. } => Kind::SlowDisk,
            Fault::FullDisk => Kind::FullDisk,
        }
    }

    /// How many nodes it names.
    pub fn victims(self) -> usize {
        match self {
            Fault::Kill { nodes }
            | Fault::Pause { nodes }
            | Fault::ClockStep { nodes, .. }
            | Fault::SlowDisk { nodes, .. } => nodes,
            Fault::Isolate
            | Fault::DiskError { .. }
            | Fault::FullDisk
            | Fault::OneWay(Way::Deaf | Way::Mute)
            | Fault::Flap { is_node: true, .. } => 1,
            Fault::CutLink | Fault::OneWay(Way::Link) | Fault::Flap { is_node: false, .. } => 2,
            Fault::KillAll
            | Fault::Delay { .. }
            | Fault::Loss(_)
            | Fault::Duplication(_)
            | Fault::Reordering(_) => 0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill { .. } => write!(f, "kill"),
            Fault::KillAll => write!(f, "kill all"),
            Fault::Pause { .. } => write!(f, "pause"),
            Fault::Isolate => write!(f, "isolate"),
            Fault::CutLink => write!(f, "cut the link between"),
            Fault::OneWay(Way::Link) => write!(f, "cut one way between"),
            Fault::OneWay(Way::Deaf) => write!(f, "cut what goes to"),
            Fault::OneWay(Way::Mute) => write!(f, "cut what comes from"),
            Fault::Flap { is_node: true, period } => write!(f, "flap each {period:?} all links of"),
            Fault::Flap { is_node: false, period } => write!(f, "flap each {period:?} the link between"),
            Fault::Delay { delay, jitter } => write!(f, "delay everything by {delay:?} and up to {jitter:?}"),
            Fault::Loss(percent) => write!(f, "lose {percent} %"),
            Fault::Duplication(percent) => write!(f, "double {percent} %"),
            Fault::Reordering(percent) => write!(f, "reorder {percent} %"),
            Fault::ClockStep { seconds, .. } => write!(f, "set the clock to {seconds:+} s of"),
            Fault::DiskError { point, passes } => {
                write!(f, "fail {} after {passes} times at", point.name())
            }
            Fault::SlowDisk { sync, .. } => write!(f, "take {sync:?} for each sync of"),
            Fault::FullDisk => write!(f, "fill the disk of"),
        }
    }
}
