//! What a seed chooses: the cluster, its clients, and which faults come how often. After "swarm testing" (Groce and
//! others, 2012): each run leaves some faults out altogether, so that quiet and violent runs, and rare combinations,
//! all occur.

use std::ops::RangeInclusive;

use synod_types::Versions;
use synod_types::versions::LEVELS;

use crate::clock::Clock;
use crate::disk::CrashLoss;
use crate::network::Weather;
use crate::random::Random;

/// A kind of fault that a run may contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// A node stops at once and starts again later.
    Crash,
    /// The leader stops and is back in no time, while its messages are still under way.
    RestartLeader,
    /// All nodes stop at once.
    CrashAll,
    /// A node answers nothing for a while, and then goes on as if nothing had been.
    Pause,
    /// Two groups that do not hear each other.
    Split,
    /// One node is cut off.
    Isolate,
    /// One direction between two nodes is cut.
    OneWay,
    /// A node hears the others and is not heard, or the other way round.
    Deaf,
    /// Every node reaches only one, which is not the leader.
    QuorumLoss,
    /// The leader is cut off, and of the others only one reaches a majority.
    Constrained,
    /// The nodes stand in a row: each reaches its neighbours only.
    Chained,
    /// Cuts that come and go quickly.
    Flapping,
    /// Some directions become slow and lossy.
    RoughRoads,
    /// A disk becomes slow.
    SlowDisk,
    /// A sync fails: the node stops.
    SyncError,
    /// A wall clock is set forward or back.
    ClockJump,
    /// Whoever leads hands over to another node, which may be down.
    HandOver,
    /// A record or the promise of a node that runs is damaged on its disk, or the end of its log is gone when it starts again.
    Rot,
    /// Others are to vote from now on, and who was removed before may go for ever.
    Members,
    /// A node is restarted with another program, a newer one or an older one again.
    Install,
    /// A voter's disk is lost, if the others can go on without it: it does not come back, and others are to vote.
    LostDisk,
}

const ALL_FAULTS: [FaultKind; 21] = [
    FaultKind::Crash,
    FaultKind::RestartLeader,
    FaultKind::CrashAll,
    FaultKind::Pause,
    FaultKind::Split,
    FaultKind::Isolate,
    FaultKind::OneWay,
    FaultKind::Deaf,
    FaultKind::QuorumLoss,
    FaultKind::Constrained,
    FaultKind::Chained,
    FaultKind::Flapping,
    FaultKind::RoughRoads,
    FaultKind::SlowDisk,
    FaultKind::SyncError,
    FaultKind::ClockJump,
    FaultKind::HandOver,
    FaultKind::Rot,
    FaultKind::Members,
    FaultKind::Install,
    FaultKind::LostDisk,
];

/// What one run is like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: usize,
    /// How many of them, the first ones, vote at the beginning.
    pub members: usize,
    /// Groups, with appNdx 1, 2, ….
    pub groups: usize,
    /// Virtual time with faults.
    pub stormy_ms: u64,
    /// The network in between the faults.
    pub weather: Weather,
    /// Each node's clock.
    pub clocks: Vec<Clock>,
    /// How long a sync takes.
    pub sync_ms: RangeInclusive<u64>,
    /// What crashes do to disks.
    pub crash_loss: CrashLoss,
    /// Whether synced records of a minority may be damaged: at a crash once, and by [`FaultKind::Rot`].
    pub bit_rot: bool,
    /// Decrees between two snapshots of a machine; `None`: a machine starts from the first decree.
    pub snapshot_slots: Option<u64>,
    /// Slots that a log keeps before the last snapshot; `None`: all.
    pub kept_slots: Option<u64>,
    /// How long a snapshot is under way from one node to another.
    pub fetch_ms: RangeInclusive<u64>,
    /// Rounds for which a leader leads that is not the preferred one.
    pub spread_rounds: u32,
    /// Of 1,000 ticks of a node that does not know yet who is wanted as members, how many let it know.
    pub hears_per_mille: u64,
    /// Slots that a leader keeps open.
    pub pipeline_slots: usize,
    /// Ticks after which the core asks again.
    pub retry_ticks: u32,
    /// Clients of each application.
    pub clients: usize,
    /// How many of them genesis names as administrators.
    pub administrators: usize,
    /// Whether clients ask again by themselves.
    pub clients_persist: bool,
    /// How long a client waits between two requests.
    pub think_ms: RangeInclusive<u64>,
    /// How long a client waits for an answer before it asks another node.
    pub patience_ms: u64,
    /// How many of 1,000 requests are reads.
    pub reads_per_mille: u64,
    /// How many of 1,000 operations on keys are on leases instead.
    pub leases_per_mille: u64,
    /// How long a client's message is under way.
    pub client_delay_ms: RangeInclusive<u64>,
    /// How many of 1,000 messages of clients are lost.
    pub client_loss_per_mille: u64,
    /// Whether the cluster begins on the first level, with nodes of which some have an old program.
    pub upgrades: bool,
    /// What goes wrong.
    pub faults: Vec<FaultKind>,
    /// Time between two faults.
    pub gap_ms: RangeInclusive<u64>,
    /// How long a fault lasts.
    pub lasting_ms: RangeInclusive<u64>,
}

impl Plan {
    /// What `random` chooses.
    pub fn draw(random: &mut Random) -> Plan {
        let nodes = *random.pick(&[3, 3, 3, 3, 3, 3, 3, 5, 5, 5, 1, 2, 4, 7]);
        let groups = *random.pick(&[1, 1, 2, 3]);
        // The first tenth is quiet: faults are found where there are few of them as well.
        let violence = random.below(10);
        let mut faults = ALL_FAULTS.to_vec();
        random.shuffle(&mut faults);
        faults.truncate(if violence == 0 { 0 } else { random.index(ALL_FAULTS.len()) + 1 });
        let gap_ms = match violence {
            0..3 => 1500..=8000,
            3..7 => 300..=3000,
            _ => 50..=1000,
        };
        let lasting_ms = *random.pick(&[300, 1500, 4000]);
        // Which damage can be repaired is known only where the same nodes vote all the time.
        let moves = faults.iter().any(|kind| matches!(kind, FaultKind::Members | FaultKind::LostDisk));
        let members = if moves && random.chance(700) { random.index(nodes) + 1 } else { nodes };
        Plan {
            nodes,
            members,
            groups,
            stormy_ms: random.within(10_000..=35_000),
            weather: weather(random, violence),
            clocks: clocks(nodes, random),
            sync_ms: (*random.pick(&[0..=0, 0..=3, 1..=8, 5..=40])).clone(),
            crash_loss: crash_loss(random, moves),
            bit_rot: random.chance(600) && !moves,
            snapshot_slots: random.chance(500).then(|| random.within(1..=40)),
            kept_slots: random.chance(700).then(|| random.within(0..=60)),
            fetch_ms: (*random.pick(&[0..=5, 20..=400, 500..=4000])).clone(),
            spread_rounds: *random.pick(&[u32::MAX, 600, 100, 20]),
            hears_per_mille: 100,
            pipeline_slots: *random.pick(&[1, 2, 4, 16, 16]),
            retry_ticks: *random.pick(&[5, 10, 25]),
            clients: random.index(3) + 1,
            administrators: 1,
            clients_persist: true,
            think_ms: (*random.pick(&[0..=20, 5..=100, 50..=500])).clone(),
            patience_ms: *random.pick(&[300, 1000, 2500]),
            reads_per_mille: *random.pick(&[0, 200, 500]),
            leases_per_mille: *random.pick(&[0, 300, 900]),
            client_delay_ms: 1..=10,
            client_loss_per_mille: *random.pick(&[0, 0, 20, 150]),
            upgrades: faults.contains(&FaultKind::Install),
            faults,
            gap_ms,
            lasting_ms: 50..=lasting_ms,
        }
    }
}

impl Plan {
    /// A cluster in which nothing goes wrong by itself and chance decides nothing: for scenarios.
    pub fn calm(nodes: usize) -> Plan {
        let phase_ms = |node| 3 * u64::try_from(node).expect("few nodes");
        Plan {
            nodes,
            members: nodes,
            groups: 1,
            stormy_ms: 0,
            weather: Weather::calm(5),
            clocks: (0..nodes).map(|node| Clock::new(1000, phase_ms(node), 0)).collect(),
            sync_ms: 1..=1,
            crash_loss: CrashLoss::Everything,
            bit_rot: false,
            snapshot_slots: None,
            kept_slots: None,
            fetch_ms: 20..=20,
            spread_rounds: u32::MAX,
            hears_per_mille: 1000,
            pipeline_slots: 16,
            retry_ticks: 25,
            clients: 4,
            administrators: 4,
            clients_persist: false,
            think_ms: 0..=0,
            patience_ms: 0,
            reads_per_mille: 0,
            leases_per_mille: 0,
            client_delay_ms: 1..=1,
            client_loss_per_mille: 0,
            upgrades: false,
            faults: Vec::new(),
            gap_ms: 0..=0,
            lasting_ms: 0..=0,
        }
    }
}

fn weather(random: &mut Random, violence: u64) -> Weather {
    let mut weather = Weather {
        delay_ms: *random.pick(&[0, 1, 1, 5, 20, 60]),
        jitter_ms: *random.pick(&[0, 1, 5, 30, 200]),
        reorder: random.chance(700),
        ..Weather::calm(0)
    };
    if violence > 0 {
        weather.loss_per_mille = *random.pick(&[0, 0, 0, 10, 50, 150, 300]);
        weather.duplicate_per_mille = *random.pick(&[0, 0, 20, 200]);
        weather.straggler_per_mille = *random.pick(&[0, 0, 5, 50]);
        weather.straggler_ms = *random.pick(&[100, 1000, 5000]);
    }
    weather
}

/// The levels that a program knows which a node gets: the newer one, or the one before.
pub fn program(random: &mut Random) -> Versions {
    let max = if random.chance(600) { LEVELS.max } else { LEVELS.max - 1 };
    Versions { max, ..LEVELS }
}

/// A road as it is in [`FaultKind::RoughRoads`].
pub fn rough_road(random: &mut Random) -> Weather {
    Weather {
        delay_ms: random.within(0..=500),
        jitter_ms: random.within(0..=500),
        loss_per_mille: random.within(0..=300),
        duplicate_per_mille: random.within(0..=300),
        straggler_per_mille: random.within(0..=100),
        straggler_ms: 2000,
        reorder: true,
    }
}

/// In a third of the runs clocks are so wrong that a node sees a leader long after others have replaced it.
fn clocks(nodes: usize, random: &mut Random) -> Vec<Clock> {
    let rates = match random.below(3) {
        0 => 1000..=1000,
        1 => 970..=1030,
        _ => 400..=2000,
    };
    let clock = |_| {
        let skew_ms = i64::try_from(random.below(20_000)).expect("small") - 10_000;
        Clock::new(random.within(rates.clone()), random.below(20), skew_ms)
    };
    (0..nodes).map(clock).collect()
}

fn crash_loss(random: &mut Random, moves: bool) -> CrashLoss {
    match random.below(4) {
        0 => CrashLoss::Nothing,
        1 => CrashLoss::Everything,
        _ => CrashLoss::Some {
            lost_per_mille: random.within(100..=900),
            torn_per_mille: if moves { 0 } else { *random.pick(&[0, 200, 600]) },
        },
    }
}
