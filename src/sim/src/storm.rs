//! Does to a world what its plan allows: draws a fault, performs it, and takes it back after a while.

use std::collections::BTreeMap;

use synod_types::Versions;
use synod_types::versions::LEVELS;

use crate::disk::CrashLoss;
use crate::network::Weather;
use crate::swarm::{FaultKind, Plan, program, rough_road};
use crate::world::World;

/// How far a wall clock jumps.
const JUMP_MS_MAX: u64 = 60_000;
/// How often roads come and go while they flap.
const FLAPS: u64 = 12;

/// The faults of one run.
#[derive(Debug)]
pub struct Storm {
    plan: Plan,
    alarms: BTreeMap<u64, Alarm>,
    last: u64,
    may_rot: bool,
}

/// What is to be done later.
#[derive(Clone, Debug)]
enum Alarm {
    NextFault,
    Mend,
    Smooth,
    Start(usize),
    FastDisk(usize),
    Flap { from: usize, left: u64 },
}

impl Storm {
    /// The storm of `plan`; its first fault comes in time.
    pub fn begin(plan: Plan, world: &mut World) -> Storm {
        let mut storm = Storm { may_rot: plan.bit_rot, plan, alarms: BTreeMap::new(), last: 0 };
        if storm.plan.upgrades {
            for node in 0..storm.plan.nodes {
                let levels = program(&mut world.random);
                storm.install(node, levels, world);
            }
        }
        if !storm.plan.faults.is_empty() {
            storm.next(world);
        }
        storm
    }

    /// An alarm went off.
    pub fn on_alarm(&mut self, alarm: u64, world: &mut World) {
        match self.alarms.remove(&alarm) {
            None => {}
            Some(Alarm::NextFault) => {
                let kind = *world.random.pick(&self.plan.faults);
                self.perform(kind, world);
                self.next(world);
            }
            Some(Alarm::Mend) => {
                world.note(format_args!("all roads are mended"));
                world.network.heal();
            }
            Some(Alarm::Smooth) => {
                world.note(format_args!("all roads are as the weather is"));
                world.network.set_weather(self.plan.weather.clone());
            }
            Some(Alarm::Start(node)) => world.start(node),
            Some(Alarm::FastDisk(node)) => world.nodes[node].sync_ms = self.plan.sync_ms.clone(),
            Some(Alarm::Flap { from, left }) => self.flap(from, left, world),
        }
    }

    /// Restarts a node with a program that knows these levels.
    fn install(&mut self, node: usize, levels: Versions, world: &mut World) {
        world.crash(node, self.plan.crash_loss);
        world.install(node, levels);
        let in_ms = world.random.within(1..=300);
        self.set_alarm(in_ms, Alarm::Start(node), world);
    }

    /// No further faults; everything is mended but nodes that are down, and roads and disks are good. Nobody has an old program
    /// any more.
    pub fn end(&mut self, world: &mut World) {
        self.alarms.clear();
        world.calm_clients();
        world.network.heal();
        world.network.set_weather(Weather { jitter_ms: 3, reorder: true, ..Weather::calm(1) });
        for node in &mut world.nodes {
            node.sync_ms = 0..=3;
            node.sync_fails = false;
            node.paused_until_ms = 0;
        }
        for node in 0..self.plan.nodes {
            if world.nodes[node].levels != LEVELS {
                world.crash(node, CrashLoss::Nothing);
                world.install(node, LEVELS);
            }
        }
    }

    fn next(&mut self, world: &mut World) {
        let in_ms = world.random.within(self.plan.gap_ms.clone());
        self.set_alarm(in_ms, Alarm::NextFault, world);
    }

    fn later(&mut self, alarm: Alarm, world: &mut World) {
        let in_ms = world.random.within(self.plan.lasting_ms.clone());
        self.set_alarm(in_ms, alarm, world);
    }

    fn set_alarm(&mut self, in_ms: u64, alarm: Alarm, world: &mut World) {
        self.last += 1;
        self.alarms.insert(self.last, alarm);
        world.set_alarm(in_ms, self.last);
    }

    fn perform(&mut self, kind: FaultKind, world: &mut World) {
        let nodes = self.plan.nodes;
        let any = world.random.index(nodes);
        let other = (any + 1 + world.random.index(nodes.max(2) - 1)) % nodes;
        world.note(format_args!("fault: {kind:?}"));
        match kind {
            FaultKind::Crash => {
                let node = self.any_or_leader(world);
                self.crash(node, world);
            }
            FaultKind::RestartLeader => {
                let node = self.any_leader(world);
                world.crash(node, self.plan.crash_loss);
                let in_ms = world.random.within(1..=30);
                self.set_alarm(in_ms, Alarm::Start(node), world);
            }
            FaultKind::CrashAll => {
                for node in 0..nodes {
                    self.crash(node, world);
                }
            }
            FaultKind::Pause => {
                let node = self.any_or_leader(world);
                let lasting_ms = world.random.within(self.plan.lasting_ms.clone());
                world.nodes[node].paused_until_ms = world.now_ms + lasting_ms;
            }
            FaultKind::Split => {
                let sides: Vec<bool> = (0..nodes).map(|_| world.random.chance(500)).collect();
                world.network.split(|node| usize::from(sides[node]));
                self.later(Alarm::Mend, world);
            }
            FaultKind::Isolate => {
                let node = self.any_or_leader(world);
                world.network.isolate(node);
                self.later(Alarm::Mend, world);
            }
            FaultKind::OneWay => {
                world.network.cut(any, other);
                self.later(Alarm::Mend, world);
            }
            FaultKind::Deaf => {
                let hears = world.random.chance(500);
                for other in (0..nodes).filter(|&other| other != any) {
                    let (from, to) = if hears { (any, other) } else { (other, any) };
                    world.network.cut(from, to);
                }
                self.later(Alarm::Mend, world);
            }
            FaultKind::QuorumLoss => {
                let leader = self.any_leader(world);
                let hub = (leader + 1 + world.random.index(nodes.max(2) - 1)) % nodes;
                star(hub, nodes, world);
                self.later(Alarm::Mend, world);
            }
            FaultKind::Constrained => {
                let leader = self.any_leader(world);
                let hub = (leader + 1 + world.random.index(nodes.max(2) - 1)) % nodes;
                star(hub, nodes, world);
                world.network.isolate(leader);
                self.later(Alarm::Mend, world);
            }
            FaultKind::Chained => {
                let mut row: Vec<usize> = (0..nodes).collect();
                world.random.shuffle(&mut row);
                for (place, &one) in row.iter().enumerate() {
                    for &far in row.iter().skip(place + 2) {
                        world.network.cut_both(one, far);
                    }
                }
                self.later(Alarm::Mend, world);
            }
            FaultKind::Flapping => self.flap(any, FLAPS, world),
            FaultKind::RoughRoads => {
                for from in 0..nodes {
                    for to in 0..nodes {
                        if world.random.chance(400) {
                            let road = rough_road(&mut world.random);
                            world.network.set_road(from, to, Some(road));
                        }
                    }
                }
                self.later(Alarm::Smooth, world);
            }
            FaultKind::SlowDisk => {
                world.nodes[any].sync_ms = 50..=400;
                self.later(Alarm::FastDisk(any), world);
            }
            FaultKind::SyncError => {
                world.nodes[any].sync_fails = true;
                self.later(Alarm::Start(any), world);
            }
            FaultKind::ClockJump => {
                let by_ms = i64::try_from(world.random.below(JUMP_MS_MAX)).expect("small");
                let back = world.random.chance(500);
                world.nodes[any].clock.jump(if back { -by_ms } else { by_ms });
            }
            FaultKind::Rot => self.rot(any, world),
            FaultKind::Members => {
                world.retire();
                world.change_members();
            }
            FaultKind::Install => {
                let levels = program(&mut world.random);
                self.install(any, levels, world);
            }
            FaultKind::LostDisk => {
                world.lose_disk(any);
                self.later(Alarm::Start(any), world);
            }
            FaultKind::HandOver => {
                let leader = self.any_leader(world);
                world.hand_over(leader, other);
            }
        }
    }

    fn crash(&mut self, node: usize, world: &mut World) {
        world.crash(node, self.plan.crash_loss);
        if self.may_rot && world.random.chance(500) {
            let app = *world.random.pick(&world.apps());
            let rots_snapshot = world.random.chance(300) && world.damage_snapshot(node, app);
            self.may_rot = !rots_snapshot && world.damage_any(node).is_none();
        }
        self.later(Alarm::Start(node), world);
    }

    /// A disk goes bad under a node that runs; one in eight times it is the end of its log.
    fn rot(&mut self, node: usize, world: &mut World) {
        if !self.plan.bit_rot || !world.nodes[node].is_up() {
            return;
        }
        match world.random.below(8) {
            0 => {
                world.crash(node, self.plan.crash_loss);
                world.lose_any_end(node);
                self.later(Alarm::Start(node), world);
            }
            1 => world.damage_promise(node),
            _ => drop(world.damage_any(node)),
        }
    }

    fn flap(&mut self, from: usize, left: u64, world: &mut World) {
        if left.is_multiple_of(2) {
            world.network.isolate(from);
        } else {
            world.network.heal();
        }
        if left > 1 {
            let in_ms = world.random.within(20..=400);
            self.set_alarm(in_ms, Alarm::Flap { from, left: left - 1 }, world);
        }
    }

    fn any_leader(&self, world: &mut World) -> usize {
        let apps = world.apps();
        let app = *world.random.pick(&apps);
        world.leader(app).unwrap_or_else(|| world.random.index(self.plan.nodes))
    }

    fn any_or_leader(&self, world: &mut World) -> usize {
        if world.random.chance(500) { self.any_leader(world) } else { world.random.index(self.plan.nodes) }
    }
}

/// Cuts every road that does not begin or end at `hub`.
fn star(hub: usize, nodes: usize, world: &mut World) {
    for one in (0..nodes).filter(|&one| one != hub) {
        for other in (0..one).filter(|&other| other != hub) {
            world.network.cut_both(one, other);
        }
    }
}
