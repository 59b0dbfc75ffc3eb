//! A simulated cluster: a network that loses, repeats, delays and cuts; disks that are slow, fail and survive crashes;
//! nodes that lie; clients that upload, want and await. Everything follows from a seed.
//!
//! A run has two parts. In the first everything goes wrong. Then all nodes are up, all messages arrive, and what the crate
//! promises has to come true.

mod check;
mod disk;
mod driver;
mod files;
mod random;
mod weather;

use std::collections::{BTreeMap, BTreeSet};

use synod_delivery::broken::Broken;
use synod_delivery::{Core, Event, Removed, TICK_MS};
use synod_types::{ContentKey, ContentMessage, Digest, Manifest, NodeId};

use check::Checks;
use disk::{Disk, Job};
use files::{FIRST_LIE, File};
use random::Random;

/// Milliseconds in which everything goes wrong, at most.
const STORM_MS: u64 = 60_000;
/// Milliseconds in which everything comes right.
const CALM_MS: u64 = 160_000;
/// Milliseconds at the end in which nothing happens any more.
const QUIET_MS: u64 = 20_000;

/// What came of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub messages: u64,
    pub crashes: u64,
    pub uniform: u64,
    pub not_uniform: u64,
    pub fetched: u64,
    pub wrong_pieces: u64,
    pub wrong_wholes: u64,
    pub resumed_pieces: u64,
}

/// How a node lies, if it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    /// True manifests, wrong pieces.
    Pieces,
    /// A manifest of its own, and pieces that fit.
    Manifest,
    /// True manifests, and no pieces.
    Silence,
    /// Offers whatever it hears of, and then does not have it.
    Promises,
}

struct Node {
    id: NodeId,
    lie: Option<Lie>,
    /// `None` while it is down.
    core: Option<Core>,
    /// Counts its lives: what was meant for an earlier one is lost.
    life: u64,
    disk: Disk,
    /// When its disk is done with what it has been given.
    busy_until: u64,
    /// Needed here, in every life until it is there.
    wants: BTreeSet<ContentKey>,
    /// Asked for in this life and not answered.
    asked: BTreeSet<ContentKey>,
    awaits: BTreeSet<ContentKey>,
}

#[derive(Debug)]
enum Happening {
    Tick {
        node: usize,
        life: u64,
    },
    Arrives {
        from: usize,
        to: usize,
        message: ContentMessage,
    },
    /// `node` notices how its session with `peer` stands.
    Notices {
        node: usize,
        life: u64,
        peer: usize,
    },
    DiskDone {
        node: usize,
        life: u64,
        job: Job,
    },
    Upload {
        node: usize,
        file: usize,
    },
    Want {
        node: usize,
        file: usize,
    },
    Await {
        node: usize,
        file: usize,
    },
    Crash {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Cut {
        from: usize,
        to: usize,
    },
    Mend,
    Damage {
        node: usize,
        file: usize,
    },
    Collect {
        file: usize,
    },
    Garbage {
        node: usize,
    },
    Calm,
}

pub struct World {
    random: Random,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    last: u64,
    nodes: Vec<Node>,
    files: Vec<File>,
    collected: BTreeSet<ContentKey>,
    cuts: BTreeSet<(usize, usize)>,
    is_calm: bool,
    /// Stays down for ever from the calm on.
    dead: Option<usize>,
    loss: u64,
    doubles: u64,
    delay_max: u64,
    disk_fails: u64,
    broken: Broken,
    is_traced: bool,
    checks: Checks,
    counts: Counts,
}

/// Runs the world of this seed to its end.
pub fn run(seed: u64, broken: Broken) -> Result<Counts, String> {
    let mut world = World::new(seed, broken);
    while let Some(((now, _), happening)) = world.queue.pop_first() {
        world.now = now;
        if now > STORM_MS + CALM_MS {
            break;
        }
        world.happen(happening);
        if let Some(violation) = world.checks.violation.take() {
            return Err(format!("seed {seed}, at {now} ms: {violation}"));
        }
    }
    world.check_end().map_err(|violation| format!("seed {seed}, at the end: {violation}"))?;
    Ok(world.counts)
}

impl World {
    fn new(seed: u64, broken: Broken) -> World {
        let mut random = Random(seed);
        let count = random.pick(&[1, 2, 3, 3, 3, 4, 5, 5, 7]);
        let liars = match random.within(0..=2) {
            0 => 0,
            _ => random.index((count - 1) / 2 + 1),
        };
        let lies = [Lie::Pieces, Lie::Manifest, Lie::Silence, Lie::Promises];
        let nodes = (0..count).map(|i| Node {
            id: NodeId(Digest([u8::try_from(i).unwrap() + 1; 32])),
            // Liars are not always the nodes with the lowest ids.
            lie: ((i + usize::try_from(seed % 7).unwrap()) % count < liars).then(|| random.pick(&lies)),
            core: None,
            life: 0,
            disk: Disk::default(),
            busy_until: 0,
            wants: BTreeSet::new(),
            asked: BTreeSet::new(),
            awaits: BTreeSet::new(),
        });
        let nodes: Vec<Node> = nodes.collect();
        let files = (0..random.within(1..=12)).map(|i| File::new(u8::try_from(i).unwrap(), &mut random));
        let files: Vec<File> = files.collect();
        let mut world = World {
            now: 0,
            queue: BTreeMap::new(),
            last: 0,
            checks: Checks::new(count),
            collected: BTreeSet::new(),
            cuts: BTreeSet::new(),
            is_calm: false,
            dead: if count > 2 && random.chance(25) { Some(random.index(count)) } else { None },
            loss: random.pick(&[0, 0, 2, 10, 30]),
            doubles: random.pick(&[0, 0, 5, 20]),
            delay_max: random.pick(&[1, 20, 200, 1500]),
            disk_fails: random.pick(&[0, 0, 0, 5, 20]),
            nodes,
            files,
            random,
            broken,
            is_traced: std::env::var_os("TRACE").is_some(),
            counts: Counts::default(),
        };
        for node in 0..count {
            world.start(node);
        }
        world.plan();
        world
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.last += 1;
        self.queue.insert((at.max(self.now), self.last), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].core.is_some() {
                    self.step(node, Event::Tick);
                    self.at(self.now + TICK_MS, Happening::Tick { node, life });
                }
            }
            Happening::Arrives { from, to, message } => self.arrive(from, to, message),
            Happening::Notices { node, life, peer } => {
                if self.nodes[node].life == life {
                    let id = self.nodes[peer].id;
                    let event = if self.is_linked(node, peer) { Event::Up(id) } else { Event::Down(id) };
                    self.step(node, event);
                }
            }
            Happening::DiskDone { node, life, job } => {
                if self.nodes[node].life == life {
                    self.work(node, job);
                }
            }
            Happening::Upload { node, file } => self.upload(node, file),
            Happening::Want { node, file } => {
                let key = self.files[file].key;
                self.nodes[node].wants.insert(key);
                self.want(node, key);
            }
            Happening::Await { node, file } => {
                if self.nodes[node].core.is_some() {
                    let key = self.files[file].key;
                    self.nodes[node].awaits.insert(key);
                    self.step(node, Event::Await(key));
                }
            }
            Happening::Crash { node } => self.crash(node),
            Happening::Restart { node } => self.start(node),
            Happening::Cut { from, to } => {
                if from != to && !self.is_calm {
                    self.cuts.insert((from, to));
                    self.notice(from, to);
                }
            }
            Happening::Mend => self.mend(),
            Happening::Damage { node, file } => {
                let key = self.files[file].key;
                if !self.is_calm && self.nodes[node].disk.files.remove(&key) && self.random.chance(70) {
                    self.step(node, Event::Removed { key, why: Removed::Lost });
                }
            }
            Happening::Collect { file } => self.collect(self.files[file].key),
            Happening::Garbage { node } => {
                let mut key = self.random.pick(&[[7; 32], [77; 32], [99; 32]]);
                key[1] = u8::try_from(self.random.within(0..=255)).unwrap();
                let manifest = Manifest { bytes: 5, pieces: vec![Digest([FIRST_LIE; 32])] };
                for to in 0..self.nodes.len() {
                    let message = ContentMessage::Offer {
                        content: ContentKey(Digest(key)),
                        manifest: manifest.clone(),
                    };
                    self.send(node, to, message);
                }
            }
            Happening::Calm => self.calm(),
        }
    }

    // ---- Network ----

    fn send(&mut self, from: usize, to: usize, message: ContentMessage) {
        if from == to {
            return;
        }
        self.counts.messages += 1;
        let copies = if self.random.chance(self.doubles) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.random.chance(self.loss) && !self.cuts.contains(&(from, to)) {
                let at = self.now + self.random.within(0..=self.delay_max);
                self.at(at, Happening::Arrives { from, to, message: message.clone() });
            }
        }
    }

    fn arrive(&mut self, from: usize, to: usize, message: ContentMessage) {
        if self.cuts.contains(&(from, to)) {
            return;
        }
        if let ContentMessage::Seek { content, .. } = message
            && self.nodes[to].lie == Some(Lie::Promises)
            && !self.nodes[to].disk.files.contains(&content)
            && let Some(file) = self.files.iter().find(|file| file.key == content)
        {
            let manifest = if self.random.chance(50) { file.manifest() } else { file.false_manifest(to) };
            self.send(to, from, ContentMessage::Offer { content, manifest });
        }
        let from = self.nodes[from].id;
        self.step(to, Event::Message { from, message });
    }

    fn node_of(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).unwrap()
    }

    // ---- Clients ----

    fn upload(&mut self, node: usize, file: usize) {
        let key = self.files[file].key;
        if self.nodes[node].core.is_none() || self.collected.contains(&key) {
            return;
        }
        self.nodes[node].disk.files.insert(key);
        self.checks.on_stored(node, key);
        // It may die between the disk and the word.
        if !self.is_calm && self.random.chance(5) {
            self.crash(node);
            let at = self.now + 3000;
            self.at(at, Happening::Restart { node });
        }
        self.step(node, Event::Stored(key));
    }

    fn want(&mut self, node: usize, key: ContentKey) {
        if self.nodes[node].core.is_some() {
            self.nodes[node].asked.insert(key);
            self.step(node, Event::Want(key));
        }
    }

    // ---- The end ----

    fn check_end(&mut self) -> Result<(), String> {
        for file in &self.files {
            let key = file.key;
            if self.collected.contains(&key) || !self.is_honestly_held(&key) {
                continue;
            }
            for (at, node) in self.honest() {
                if !node.disk.files.contains(&key) {
                    return Err(format!("node {at} does not have {key:?} of {} pieces", file.kinds.len()));
                }
                if node.asked.contains(&key) {
                    return Err(format!("node {at} has {key:?}, and who wanted it was not told"));
                }
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if let Some(key) = node.awaits.first() {
                return Err(format!("node {at} never said whether {key:?} is uniform"));
            }
        }
        self.checks.check_quiet(STORM_MS + CALM_MS - QUIET_MS)
    }
}
