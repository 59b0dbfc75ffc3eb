//! What several stopped nodes have together: the state of an application up to where it is certain, and what lies behind that
//! and may have been chosen.
//!
//! A decree is known to be chosen where one node knows it, or where a majority of those who voted have accepted it under one
//! ballot. Behind that, the decree of the highest ballot in each slot is offered: if the slot was decided before that ballot, or under
//! it, this is what was decided; and if only nodes that are lost decided it later, nobody here can know. Nothing is written.

use std::path::PathBuf;

use anyhow::ensure;
use bytes::Bytes;
use synod_auth::Genesis;
use synod_content::look_up;
use synod_journal::{Known, ReadError};
use synod_machine::Machine;
use synod_node::Beginning;
use synod_node::divergence::Evidence;
use synod_node::lanes::Maker;
use synod_types::configuration::is_majority;
use synod_types::limits::CATCH_UP_BYTES_MAX;
use synod_types::{AppNdx, Ballot, ClusterId, Configuration, ContentKey, Decree, NodeId, Slot};

use crate::audit::auditor::{Auditor, Break};
use crate::audit::beginning::Begins;
use crate::audit::report::{Named, Report};
use crate::audit::source::{DataDir, Source, Unread};
use crate::audit::walk::{Until, Verifying, walk};
use crate::exit::Failure;

/// Slots that cannot be read that are named.
const DAMAGED_SHOWN_MAX: usize = 16;

/// The data directories of stopped nodes.
pub(crate) struct Survivors {
    dirs: Vec<Survivor>,
}

struct Survivor {
    name: String,
    node: NodeId,
    data: DataDir,
}

/// What they have of an application.
pub(crate) struct Gathered {
    /// The state up to where it is certain.
    pub(crate) machine: Machine,
    /// From what it was made.
    pub(crate) begins: Begins,
    /// What comes behind and may have been chosen, slot by slot.
    pub(crate) offered: Vec<(Slot, Decree)>,
    /// How much that is of what there may have been.
    pub(crate) found: Found,
}

/// How much of an application's log was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Slots that are known to be chosen and can be read nowhere, from and to.
    pub(crate) unreadable: Option<(Slot, Slot)>,
    /// Slots in which something was accepted that cannot be used, since the one before is missing, from and to.
    pub(crate) cut_off: Option<(Slot, Slot)>,
    /// What is damaged, and where; other nodes had it, unless it is unreadable.
    pub(crate) damaged: Vec<String>,
    /// Who voted, and how many of them are here.
    pub(crate) voters: usize,
    pub(crate) present: usize,
}

impl Found {
    /// Whether more than half of those who voted are here: then they have everything that was acknowledged, as far as it can be
    /// read.
    pub(crate) fn is_majority(&self) -> bool {
        is_majority(self.present, self.voters)
    }
}

impl Survivors {
    /// Copies and opens the logs in these data directories.
    pub(crate) fn open(
        paths: &[PathBuf],
        genesis: &Genesis,
        cluster: ClusterId,
    ) -> anyhow::Result<Survivors> {
        let mut dirs: Vec<Survivor> = Vec::new();
        for path in paths {
            let data = DataDir::open(path, cluster)?;
            let node = data.node();
            let known = genesis.nodes.iter().find(|known| known.id() == node);
            let name = known.map_or_else(|| node.short(), |known| known.name.clone());
            if dirs.iter().any(|other| other.node == node) {
                let text =
                    format!("two of the data directories are those of {name}; name each node's only one");
                return Err(Failure::Usage(text).into());
            }
            dirs.push(Survivor { name, node, data });
        }
        ensure!(!dirs.is_empty(), "there is no data directory");
        Ok(Survivors { dirs })
    }

    /// The names of their nodes.
    pub(crate) fn names(&self) -> Vec<String> {
        self.dirs.iter().map(|dir| dir.name.clone()).collect()
    }

    /// A file to which a state refers, from whichever has it.
    pub(crate) fn file(&self, key: ContentKey) -> Option<Bytes> {
        self.dirs.iter().find_map(|dir| look_up(&dir.data.dir().join("content"), &key).ok())
    }

    /// Gathers what they have of an application. The inner error is what is wrong with it.
    pub(crate) fn gather(
        &mut self,
        genesis: &Genesis,
        cluster: ClusterId,
        maker: &Maker,
        verifying: &Verifying,
        report: &mut Report,
    ) -> anyhow::Result<Result<Gathered, Break>> {
        let app = maker.app();
        let mut damaged = Vec::new();
        for dir in &self.dirs {
            let evidence = Evidence::find(dir.data.dir(), app.ndx);
            damaged.extend(evidence.map(|evidence| {
                format!(
                    "{}: had come to another state than the others, from state {} on",
                    dir.name, evidence.state_ndx
                )
            }));
        }
        let (begins, machine) = self.beginning(genesis, cluster, maker, &mut damaged)?;
        machine.begin();
        let voters = machine.state().configuration.clone().unwrap_or_else(|| genesis.first_voters());
        let mut logs = Vec::new();
        for dir in &mut self.dirs {
            match dir.data.known(app.ndx) {
                Ok(known) => logs.push(Log { name: &dir.name, node: dir.node, data: &mut dir.data, known }),
                Err(Unread::Broken { text, .. }) => damaged.push(format!("{}: {text}", dir.name)),
                Err(Unread::Failed(why)) => return Err(why),
            }
        }
        let known = logs.iter().map(|log| log.known.chosen).max().unwrap_or_default();
        let last = logs.iter().map(|log| log.known.last).max().unwrap_or_default();
        let mut union =
            Union { app: app.ndx, logs, voters, last: machine.state().applied, end: last, damaged };
        let named = Named { ndx: app.ndx, name: app.name.clone(), kind: app.kind.clone() };
        let mut auditor = match Auditor::new(machine, Vec::new(), Vec::new()) {
            Ok(auditor) => auditor,
            Err(broken) => return Ok(Err(broken)),
        };
        let walked = walk(&mut union, verifying, &mut auditor, Until::TheEnd, |auditor, _| {
            let state = auditor.state();
            report.progress(&named, state.applied, last, state.state_ndx);
            Ok(())
        })?;
        if let Err(broken) = walked {
            return Ok(Err(broken));
        }
        let machine = auditor.into_machine();
        let certain = machine.state().applied;
        let unreadable = (certain < known).then_some((certain.next(), known));
        // Behind a hole nothing can be executed.
        let offered = if unreadable.is_none() { union.offer()? } else { Vec::new() };
        let usable = offered.last().map_or(certain.max(known), |(slot, _)| *slot);
        let cut_off = (usable < last).then_some((usable.next(), last));
        let members =
            &machine.state().configuration.clone().unwrap_or_else(|| genesis.first_voters()).members;
        let present = union.logs.iter().filter(|log| members.contains(&log.node)).count();
        let (voters, damaged) = (members.len(), union.damaged);
        let found = Found { unreadable, cut_off, damaged, voters, present };
        Ok(Ok(Gathered { machine, begins, offered, found }))
    }

    /// The newest state from which any of the logs may go on.
    fn beginning(
        &self,
        genesis: &Genesis,
        cluster: ClusterId,
        maker: &Maker,
        damaged: &mut Vec<String>,
    ) -> anyhow::Result<(Begins, Machine)> {
        let mut newest: Option<Beginning> = None;
        for dir in &self.dirs {
            let (found, unusable) = Beginning::newest(dir.data.dir(), genesis, &[], cluster, maker)?;
            damaged.extend(unusable.map(|why| format!("{}: {why}", dir.name)));
            newest = newest.into_iter().chain(found).max_by_key(|found| found.checkpoint.slot);
        }
        match newest {
            Some(found) => Ok(Begins::behind(found, genesis)),
            None if genesis.origin.is_none() => Ok(Begins::with_genesis(genesis, cluster, maker)),
            None => {
                let ndx = maker.app().ndx;
                let text =
                    format!("no directory has a state of application {ndx} with which its log could begin");
                Err(Failure::Broken(text).into())
            }
        }
    }
}

/// What a node has of an application's log.
struct Log<'a> {
    name: &'a str,
    node: NodeId,
    data: &'a mut DataDir,
    known: Known,
}

/// The logs of all of them as one, as far as it is certain.
struct Union<'a> {
    app: AppNdx,
    logs: Vec<Log<'a>>,
    /// Who decides in the next slot.
    voters: Configuration,
    /// The last slot that was given.
    last: Slot,
    end: Slot,
    damaged: Vec<String>,
}

impl Source for Union<'_> {
    fn next(&mut self) -> Result<Vec<(Slot, Decree)>, Unread> {
        let mut decrees = self.known_as_chosen()?;
        if decrees.is_empty() {
            decrees.extend(self.decided()?);
        }
        for (slot, decree) in &decrees {
            self.pass(*slot, decree);
        }
        Ok(decrees)
    }

    fn end(&self) -> Slot {
        self.end
    }
}

impl Union<'_> {
    /// The next slots that a node knows as chosen.
    fn known_as_chosen(&mut self) -> Result<Vec<(Slot, Decree)>, Unread> {
        let slot = self.last.next();
        for nth in 0..self.logs.len() {
            let Known { cut, chosen, .. } = self.logs[nth].known;
            if slot <= cut || chosen < slot {
                continue;
            }
            let decrees = self.read(nth, chosen)?;
            if !decrees.is_empty() {
                return Ok(decrees.into_iter().map(|(slot, _, decree)| (slot, decree)).collect());
            }
            self.is_damaged(nth, slot);
        }
        Ok(Vec::new())
    }

    /// The next slot, if a node knows what was chosen in it, or enough of them have accepted the same there.
    fn decided(&mut self) -> Result<Option<(Slot, Decree)>, Unread> {
        let slot = self.last.next();
        let held = self.held()?;
        let of = |ballot: Ballot| held.iter().filter(move |(_, other, _)| *other == ballot);
        let is_decided = |ballot: Ballot| {
            let votes = of(ballot).filter(|(node, ..)| self.voters.members.contains(node)).count();
            ballot == Ballot::CHOSEN
                || (ballot.epoch == self.voters.epoch && is_majority(votes, self.voters.members.len()))
        };
        let decided = held.iter().find(|(_, ballot, _)| is_decided(*ballot));
        Ok(decided.map(|(.., decree)| (slot, decree.clone())))
    }

    /// What may have been chosen in the slots that come next.
    fn offer(&mut self) -> anyhow::Result<Vec<(Slot, Decree)>> {
        let mut offered = Vec::new();
        loop {
            let held = match self.held() {
                Ok(held) => held,
                Err(Unread::Failed(why)) => return Err(why),
                Err(Unread::Broken { text, .. }) => return Err(Failure::Broken(text).into()),
            };
            let highest = held.into_iter().max_by_key(|(_, ballot, _)| *ballot);
            // What was proposed before an epoch ended was not chosen in a slot behind its end.
            let Some((.., decree)) = highest.filter(|(_, ballot, _)| ballot.epoch >= self.voters.epoch)
            else {
                return Ok(offered);
            };
            let slot = self.last.next();
            self.pass(slot, &decree);
            offered.push((slot, decree));
        }
    }

    fn pass(&mut self, slot: Slot, decree: &Decree) {
        if let Some(next) = decree.seals(self.voters.epoch) {
            self.voters = next.clone();
        }
        self.last = slot;
    }

    /// What each node has in the next slot.
    fn held(&mut self) -> Result<Vec<(NodeId, Ballot, Decree)>, Unread> {
        let slot = self.last.next();
        let mut held = Vec::new();
        for nth in 0..self.logs.len() {
            if slot > self.logs[nth].known.last || slot <= self.logs[nth].known.cut {
                continue;
            }
            let node = self.logs[nth].node;
            held.extend(self.read(nth, slot)?.into_iter().map(|(_, ballot, decree)| (node, ballot, decree)));
        }
        Ok(held)
    }

    /// What the nth node has from the next slot on, up to `up_to`; nothing where the next one cannot be read.
    fn read(&mut self, nth: usize, up_to: Slot) -> Result<Vec<(Slot, Ballot, Decree)>, Unread> {
        let slot = self.last.next();
        match self.logs[nth].data.read(self.app, slot, up_to, CATCH_UP_BYTES_MAX) {
            Ok(decrees) => Ok(decrees),
            Err(ReadError::Damaged { .. }) => {
                self.is_damaged(nth, slot);
                Ok(Vec::new())
            }
            Err(why) => Err(Unread::Failed(why.into())),
        }
    }

    fn is_damaged(&mut self, nth: usize, slot: Slot) {
        let text = format!("{}: the record of slot {slot} cannot be read", self.logs[nth].name);
        if self.damaged.len() < DAMAGED_SHOWN_MAX && !self.damaged.contains(&text) {
            self.damaged.push(text);
        }
    }
}

/// Decrees that are at hand.
pub(crate) struct AtHand(pub(crate) Vec<(Slot, Decree)>);

impl Source for AtHand {
    fn next(&mut self) -> Result<Vec<(Slot, Decree)>, Unread> {
        Ok(std::mem::take(&mut self.0))
    }

    fn end(&self) -> Slot {
        self.0.last().map_or(Slot(0), |(slot, _)| *slot)
    }
}

/// Executes what is offered, each signature verified. The inner error is what is wrong with it.
pub(crate) fn execute(
    machine: Machine,
    offered: Vec<(Slot, Decree)>,
    verifying: &Verifying,
) -> anyhow::Result<Result<Machine, Break>> {
    let mut auditor = match Auditor::new(machine, Vec::new(), Vec::new()) {
        Ok(auditor) => auditor,
        Err(broken) => return Ok(Err(broken)),
    };
    let walked = walk(AtHand(offered), verifying, &mut auditor, Until::TheEnd, |_, _| Ok(()))?;
    Ok(walked.map(|()| auditor.into_machine()))
}
