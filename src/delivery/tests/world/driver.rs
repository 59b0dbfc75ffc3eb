//! What a driver does for its core: performs effects, and says what came of them. That of a liar does otherwise.

use std::sync::Arc;

use bytes::Bytes;
use synod_delivery::{Attempt, Effect, Event, Removed};
use synod_types::{ContentKey, ContentMessage, ContentReceipt, Manifest};

use super::disk::Job;
use super::files::{self, FIRST_LIE, File};
use super::{CALM_MS, Happening, Lie, Node, STORM_MS, World, check};

impl World {
    pub(super) fn step(&mut self, node: usize, event: Event) {
        let mut effects = Vec::new();
        let Some(core) = &mut self.nodes[node].core else { return };
        if self.is_traced && event != Event::Tick {
            eprintln!("{:>7} {node} <- {}", self.now, check::name_of_event(&event));
        }
        core.step(event, &mut effects);
        if !effects.is_empty()
            && let Some(core) = &self.nodes[node].core
        {
            self.checks.on_loads(self.nodes.iter().map(|peer| core.asked_of(peer.id)));
        }
        for effect in effects {
            if self.is_traced {
                eprintln!("{:>7} {node} -> {}", self.now, check::name(&effect));
            }
            self.perform(node, effect);
        }
    }

    pub(super) fn perform(&mut self, node: usize, effect: Effect) {
        let concerns = self.concerns(&effect);
        self.checks.on_effect(self.now, node, &effect, concerns && self.nodes[node].lie.is_none());
        match effect {
            Effect::Send { to, message } => self.send(node, self.node_of(to), message),
            Effect::SendHeld { to, key } => self.give(node, Job::Held { to: self.node_of(to), key }),
            Effect::SendOffer { to, key } => self.give(node, Job::Offer { to: self.node_of(to), key }),
            Effect::SendPiece { to, key, number } => {
                self.give(node, Job::Read { to: self.node_of(to), key, number });
            }
            Effect::Begin { key, attempt, manifest } => {
                self.give(node, Job::Begin { key, attempt, manifest })
            }
            Effect::Write { key, attempt, manifest, number, bytes } => {
                self.give(node, Job::Write { key, attempt, manifest, number, bytes });
            }
            Effect::Fetched(key) => {
                self.counts.fetched += 1;
                // Who lost a file fetches it unasked.
                self.nodes[node].asked.remove(&key);
                self.nodes[node].wants.remove(&key);
                // A damage that nobody noticed yet is the only reason for it not to be there.
            }
            Effect::Uniform { key, receipts, here } => {
                self.counts.uniform += 1;
                if !self.nodes[node].awaits.remove(&key) {
                    self.checks.fail(format!("node {node} says that {key:?} is uniform, and nobody asked"));
                }
                let mut holders: Vec<usize> =
                    receipts.iter().map(|receipt| self.node_of(receipt.node)).collect();
                holders.extend(here.then_some(node));
                if receipts.iter().any(|receipt| receipt.content != key) {
                    self.checks.fail(format!("node {node} shows a receipt of another file for {key:?}"));
                }
                self.checks.on_uniform(node, key, &holders);
            }
            Effect::NotUniform { key, .. } => {
                self.counts.not_uniform += 1;
                if !self.nodes[node].awaits.remove(&key) {
                    self.checks.fail(format!("node {node} gives up {key:?}, and nobody asked"));
                }
                // Half of the calm is enough to find out what is where.
                let holds = |node: &&Node| node.core.is_some() && node.disk.files.contains(&key);
                let is_held = self.nodes.iter().filter(holds).count();
                if self.now > STORM_MS + CALM_MS / 2 + 40_000 && is_held > self.nodes.len() / 2 {
                    self.checks
                        .fail(format!("node {node} does not find out that {is_held} nodes hold {key:?}"));
                }
            }
            Effect::Blame { node: blamed, key, why } => {
                let blamed = self.node_of(blamed);
                if self.nodes[blamed].lie.is_none() {
                    self.checks.fail(format!("node {node} blames node {blamed} for {key:?}: {why:?}"));
                }
            }
        }
    }

    /// Whether an effect counts when all should be quiet: not where it is about a file that no honest node has, or that
    /// is collected here and not yet there.
    pub(super) fn concerns(&self, effect: &Effect) -> bool {
        let key = match effect {
            Effect::Send {
                message:
                    ContentMessage::Seek { content: key, .. }
                    | ContentMessage::NotHeld { content: key }
                    | ContentMessage::PieceRequest { content: key, .. },
                ..
            }
            | Effect::SendHeld { key, .. }
            | Effect::SendOffer { key, .. }
            | Effect::SendPiece { key, .. }
            | Effect::Begin { key, .. }
            | Effect::Write { key, .. } => key,
            _ => return true,
        };
        !self.collected.contains(key) && self.is_honestly_held(key)
    }

    pub(super) fn is_honestly_held(&self, key: &ContentKey) -> bool {
        self.honest().any(|(_, node)| node.disk.files.contains(key))
    }

    /// Who is up and does not lie.
    pub(super) fn honest(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.lie.is_none() && node.core.is_some())
    }

    /// Gives the disk something to do: one thing after the other.
    pub(super) fn give(&mut self, node: usize, job: Job) {
        let state = &mut self.nodes[node];
        state.busy_until = state.busy_until.max(self.now) + self.random.pick(&[0, 0, 1, 1, 5, 30]);
        let (at, life) = (state.busy_until, state.life);
        self.at(at, Happening::DiskDone { node, life, job });
    }

    /// The disk has done it.
    pub(super) fn work(&mut self, node: usize, job: Job) {
        if self.nodes[node].core.is_none() {
            return;
        }
        match job {
            Job::Held { to, key } => {
                if self.is_there(node, key) {
                    let receipt = ContentReceipt {
                        content: key,
                        node: self.nodes[node].id,
                        key: Bytes::new(),
                        signature: Bytes::new(),
                    };
                    self.send(node, to, ContentMessage::Held(receipt));
                }
            }
            Job::Offer { to, key } => {
                if self.is_there(node, key) {
                    let file = self.file(key);
                    let manifest = match self.nodes[node].lie {
                        Some(Lie::Manifest) => file.false_manifest(node),
                        _ => file.manifest(),
                    };
                    self.send(node, to, ContentMessage::Offer { content: key, manifest });
                }
            }
            Job::Read { to, key, number } => {
                self.read(node, to, key, number);
                let to = self.nodes[to].id;
                self.step(node, Event::Served(to));
            }
            Job::Begin { key, attempt, manifest } => self.begin(node, key, attempt, &manifest),
            Job::Write { key, attempt, manifest, number, bytes } => {
                self.write(node, key, attempt, &manifest, number, &bytes);
            }
        }
    }

    /// Whether the file is on the disk; the core is told if it is not.
    pub(super) fn is_there(&mut self, node: usize, key: ContentKey) -> bool {
        let is_there = self.nodes[node].disk.files.contains(&key);
        if !is_there {
            self.step(node, Event::Removed { key, why: Removed::Lost });
        }
        is_there
    }

    fn file(&self, key: ContentKey) -> File {
        self.files.iter().find(|file| file.key == key).unwrap().clone()
    }

    fn read(&mut self, node: usize, to: usize, key: ContentKey, number: u32) {
        if !self.is_there(node, key) {
            return self.send(node, to, ContentMessage::NotHeld { content: key });
        }
        let file = self.file(key);
        let Some((_, len)) = file.manifest().place(number) else { return };
        let at = usize::try_from(number).unwrap();
        let true_kind = file.kinds[at];
        let lie = FIRST_LIE + u8::try_from(node).unwrap();
        let kind = match self.nodes[node].lie {
            None => true_kind,
            Some(Lie::Silence) => return,
            Some(Lie::Promises) => return self.send(node, to, ContentMessage::NotHeld { content: key }),
            Some(Lie::Manifest) if at == node % file.kinds.len() => lie,
            Some(Lie::Manifest) => true_kind,
            Some(Lie::Pieces) => self.random.pick(&[lie, true_kind, true_kind]),
        };
        self.send(node, to, ContentMessage::Piece { content: key, number, bytes: files::piece(kind, len) });
    }

    fn begin(&mut self, node: usize, key: ContentKey, attempt: Attempt, manifest: &Arc<Manifest>) {
        if self.random.chance(self.disk_fails) {
            return self.step(node, Event::Failed { key, attempt });
        }
        let disk = &mut self.nodes[node].disk;
        if disk.files.contains(&key) {
            return self.step(node, Event::Stored(key));
        }
        let missing = disk.begin(key, manifest);
        self.counts.resumed_pieces += u64::try_from(manifest.pieces.len() - missing.len()).unwrap();
        self.step(node, Event::Begun { key, attempt, missing });
    }

    fn write(
        &mut self,
        node: usize,
        key: ContentKey,
        attempt: Attempt,
        manifest: &Arc<Manifest>,
        number: u32,
        bytes: &Bytes,
    ) {
        let disk = &mut self.nodes[node].disk;
        if disk.files.contains(&key) {
            return self.step(node, Event::Stored(key));
        }
        if !files::proves(manifest, number, bytes) {
            self.counts.wrong_pieces += 1;
            self.checks.on_wrong_piece((node, self.nodes[node].life, key, bytes[0]));
            return self.step(node, Event::WrongPiece { key, attempt, number });
        }
        if self.random.chance(self.disk_fails) || !disk.write(key, manifest, number) {
            return self.step(node, Event::Failed { key, attempt });
        }
        let is_whole = disk.is_whole(key, manifest);
        self.step(node, Event::Written { key, attempt, number });
        if !is_whole {
            return;
        }
        let is_right = self.files.iter().any(|file| file.key == key && file.is_made_by(manifest));
        let state = &mut self.nodes[node];
        state.disk.discard(key, manifest);
        if !is_right {
            self.counts.wrong_wholes += 1;
            return self.step(node, Event::WrongWhole { key, attempt });
        }
        // Until here nothing was durable.
        let life = state.life;
        if self.is_calm || !self.random.chance(5) {
            self.nodes[node].disk.files.insert(key);
            self.checks.on_stored(node, key);
        } else {
            self.crash(node);
            let at = self.now + 2000;
            self.at(at, Happening::Restart { node });
        }
        if self.nodes[node].life == life {
            self.step(node, Event::Stored(key));
        }
    }
}
