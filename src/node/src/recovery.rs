//! From what is on the disk to applications that know everything that was chosen there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use synod_auth::{Genesis, GenesisApp, TlsIdentity};
use synod_gateway::{AppDoor, AppPublisher, ReadQuestions};
use synod_journal::ReadError;
use synod_machine::{Machine, View};
use synod_types::limits::{ACCEPTED_BYTES_MAX, ACCEPTED_SLOTS_MAX, CATCH_UP_BYTES_MAX};
use synod_types::{AppNdx, Ballot, ClusterId, Configuration, Epoch, Recovered, Slot, Statement};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::applier::Elsewhere;
use crate::config::Config;
use crate::content::Content;
use crate::cosigning::disk::Held;
use crate::cosigning::marks::Marks;
use crate::cosigning::{Ask as CosignAsk, Cosigning, Mark};
use crate::disk::Disk;
use crate::divergence::Evidence;
use crate::driver::Input;
use crate::lanes::{Lanes, Maker};
use crate::snapshots::disk::Kept;
use crate::snapshots::pace::Pace;
use crate::snapshots::restoring::restore;
use crate::snapshots::task::App as SnapshotApp;
use crate::snapshots::{Ask as SnapshotAsk, Snapshots, origin};
use crate::start_error::StartError;

/// One application on its way to being driven.
pub(crate) struct Room {
    pub app: AppNdx,
    pub machine: Machine,
    pub pace: Pace,
    pub marks: Marks,
    pub door: Arc<AppDoor>,
    pub publisher: Arc<AppPublisher>,
    pub questions: ReadQuestions,
    /// Whose votes decide behind what was chosen.
    pub configuration: Option<Configuration>,
    pub elsewhere: Option<Elsewhere>,
    /// For the task that takes care of snapshots.
    pub snapshots: SnapshotApp,
}

/// What all applications are recovered from, and who is told of it.
pub(crate) struct Recovery<'a> {
    pub config: &'a Config,
    pub genesis: &'a Genesis,
    pub cluster: ClusterId,
    pub identity: &'a TlsIdentity,
    pub disk: &'a Disk,
    pub lanes: &'a Lanes,
    pub snapshots: &'a Snapshots,
    pub cosigning: &'a Cosigning,
    pub inputs: &'a mpsc::UnboundedSender<Input>,
}

impl Recovery<'_> {
    /// Recovers one application, with the certificates of its states that are here. What cannot be read is fetched from
    /// the other nodes later: the core is told by `recovered` that it may have been accepted.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn room(
        &self,
        app: &GenesisApp,
        recovered: &mut Recovered,
        held: Held,
    ) -> Result<Room, StartError> {
        let &Recovery { config, genesis, disk, lanes, .. } = self;
        let mut kept: Vec<Kept> =
            disk.kept.iter().filter(|kept| kept.checkpoint().app == app.ndx).cloned().collect();
        let maker = lanes.maker(app);
        let certified = held.newest().map(|newest| newest.statement);
        let found = Found { from: self, maker: &maker, kept: &kept, certified };
        let Replayed { snapshot, mut machine, pace, due, marks, signed, certified, chosen } =
            found.replay(recovered)?;
        let origin = genesis.origin_of(app.ndx).copied();
        origin::vouch(origin.as_ref(), snapshot, &mut kept, &disk.folder, self.cluster, self.identity)
            .map_err(|source| StartError::Snapshots { path: config.data_dir.clone(), source })?;
        due.into_iter().for_each(|view| self.snapshots.tell(SnapshotAsk::Due(Arc::new(view))));
        self.cosigning.begin(app.ndx, held, certified);
        signed.into_iter().for_each(|mark| self.cosigning.tell(CosignAsk::Due(mark)));
        supply(&mut machine, &disk.content);
        let (door, publisher, questions) = AppDoor::open(app.name.clone(), machine.view());
        if let Some(evidence) = Evidence::find(&config.data_dir, app.ndx) {
            error!(app = %app.ndx, state_ndx = evidence.state_ndx, "this node differs from the others here, and answers nobody: synod repair");
            publisher.set_fence(evidence.fence());
        }
        let elsewhere = lanes.presence(app.ndx).map(|presence| Elsewhere {
            presence,
            journal: disk.journal.clone(),
            inputs: self.inputs.clone(),
            data_dir: config.data_dir.clone(),
            behind: chosen,
            is_over: false,
        });
        Ok(Room {
            app: app.ndx,
            machine,
            pace,
            marks,
            door,
            publisher: Arc::new(publisher),
            questions,
            configuration: recovered.configuration.clone(),
            elsewhere,
            snapshots: SnapshotApp::new(maker, origin, kept, recovered.cut),
        })
    }
}

/// What a node has of one application when it starts.
struct Found<'a> {
    from: &'a Recovery<'a>,
    maker: &'a Maker,
    /// Snapshots, oldest first.
    kept: &'a [Kept],
    /// The newest certificate of a state.
    certified: Option<Statement>,
}

/// What that comes to.
struct Replayed {
    /// The slot of the snapshot with which it began.
    snapshot: Option<Slot>,
    machine: Machine,
    pace: Pace,
    /// The last state on the way of which a snapshot was due.
    due: Option<View>,
    marks: Marks,
    /// Of the states on the way that were to be signed, the last one, and the last one in which an epoch began.
    signed: Vec<Mark>,
    /// The state of the newest certificate.
    certified: Option<Arc<View>>,
    /// The last slot that is known as chosen. An application in another process is not there yet, so its machine has not applied
    /// what comes behind the snapshot.
    chosen: Slot,
}

impl Found<'_> {
    /// The machine with everything applied that snapshots and journal hold as chosen. What cannot be read is fetched from
    /// the other nodes later: the core is told that it may have been accepted.
    fn replay(&self, recovered: &mut Recovered) -> Result<Replayed, StartError> {
        let begun = Instant::now();
        let &Recovery { config, genesis, cluster, disk, .. } = self.from;
        let app = self.maker.app();
        let newest = self.newest_snapshot(recovered)?;
        let snapshot_ms = begun.elapsed().as_millis();
        let snapshot = newest.as_ref().map(|machine| machine.state().applied);
        let mut machine = match newest {
            Some(machine) => machine,
            None => {
                let machine = self.maker.machine(genesis, cluster);
                let machine = machine
                    .ok_or_else(|| StartError::UnknownKind { app: app.ndx, kind: app.kind.clone() })?;
                machine.with_levels(config.program.levels)?
            }
        };
        let is_elsewhere = machine.state().app.apart().is_some();
        let mut configuration = machine.state().configuration.clone();
        let mut pace = Pace::new(config.snapshots, machine.state());
        let every = config.certificates.every_commands;
        let mut marks = Marks::new(every, genesis.first_voters(), machine.state());
        let (mut signed, mut epoch_began, mut certified) = (None, None, None);
        let (mut due, mut told) = (None, Instant::now());
        let first = machine.state().applied;
        recovered.begin_behind(first);
        let chosen = recovered.chosen;
        let mut slot = first;
        while slot < chosen {
            // What was cut off is not to be read, even if something is left of it.
            let decrees = if slot < recovered.cut {
                Vec::new()
            } else {
                match disk.journal.read_blocking(app.ndx, slot.next(), chosen, CATCH_UP_BYTES_MAX) {
                    Ok(decrees) => decrees,
                    Err(ReadError::Damaged { .. }) => Vec::new(),
                    Err(source) => return Err(StartError::Replay { app: app.ndx, source }),
                }
            };
            if decrees.is_empty() {
                error!(app = %app.ndx, slot = %slot.next(), "the journal cannot be read here; the other nodes are asked");
                recovered.end_chosen_before(slot.next());
                break;
            }
            for (at, _, decree) in decrees {
                let epoch = configuration.as_ref().map_or(Epoch(0), |configuration| configuration.epoch);
                if let Some(next) = decree.seals(epoch) {
                    configuration = Some(next.clone());
                }
                slot = at;
                if is_elsewhere {
                    continue;
                }
                marks.before(&decree, machine.state());
                machine.apply(at, &decree)?;
                match marks.after(machine.state()) {
                    Some(mark) if mark.before.is_some() => epoch_began = Some(mark),
                    Some(mark) => signed = Some(mark),
                    None => {}
                }
                if self.certified.is_some_and(|statement| statement.slot == at) {
                    certified = Some(Arc::new(machine.view()));
                }
                if pace.on_applied(&decree, machine.state()) {
                    due = Some(machine.view());
                }
            }
            if told.elapsed() > Duration::from_secs(2) {
                told = Instant::now();
                info!(app = %app.ndx, %slot, of = %chosen, "applying the journal");
            }
        }
        self.keep_behind(recovered);
        // Which epoch the group is in, and who votes in it: the core sees no decree again that was chosen before.
        recovered.configuration = configuration;
        let state_ndx = machine.state().state_ndx;
        let took_ms = begun.elapsed().as_millis();
        let applied = machine.state().applied;
        info!(app = app.name, %state_ndx, snapshot = %first, %applied, chosen = %slot, snapshot_ms, took_ms, "application is recovered");
        let certified =
            certified.or_else(|| Some(Arc::new(machine.view()))).filter(|view| self.is_certified(view));
        let signed = epoch_began.into_iter().chain(signed).collect();
        Ok(Replayed { snapshot, machine, pace, due, marks, signed, certified, chosen: slot })
    }

    /// Whether this is the state of the newest certificate. Equal chains are of equal states, so the root is not asked for, which takes
    /// long the first time.
    fn is_certified(&self, view: &View) -> bool {
        self.certified
            .is_some_and(|statement| statement.state_ndx == view.state_ndx && statement.chain == view.chain)
    }

    /// What stands behind a damaged record and is known as chosen is not asked for again, as far as there is room.
    fn keep_behind(&self, recovered: &mut Recovered) {
        let mut room = ACCEPTED_BYTES_MAX;
        room = room.saturating_sub(recovered.accepted.values().map(|(_, decree)| decree.len()).sum());
        let first = recovered.chosen.next().next();
        let last = Slot(recovered.known.0.min(first.0 + ACCEPTED_SLOTS_MAX));
        let (app, journal) = (self.maker.app().ndx, &self.from.disk.journal);
        for slot in (first.0..=last.0).map(Slot) {
            let Ok(read) = journal.read_blocking(app, slot, slot, CATCH_UP_BYTES_MAX) else {
                continue;
            };
            for (slot, _, decree) in read {
                let Some(left) = room.checked_sub(decree.len()) else { return };
                room = left;
                recovered.accepted.insert(slot, (Ballot::CHOSEN, decree));
            }
        }
    }

    /// The state of the newest snapshot that can be read, if the log goes on where it ends.
    fn newest_snapshot(&self, recovered: &Recovered) -> Result<Option<Machine>, StartError> {
        let &Recovery { config, genesis, cluster, disk, .. } = self.from;
        let (app, levels) = (self.maker.app().ndx, config.program.levels);
        let origin = genesis.origin_of(app);
        for kept in self.kept.iter().rev().filter(|kept| kept.checkpoint().slot >= recovered.cut) {
            let read = |key| disk.chunks.read_blocking(key).ok_or("it is not here");
            match restore(cluster, kept.checkpoint(), self.maker, levels, origin, read) {
                Ok(machine) => return Ok(Some(machine)),
                // It is whole: going on without it would be to forget what this node knows.
                Err(why) if why.is_too_new() => return Err(StartError::TooNew { app, why }),
                Err(why) => error!(%app, slot = %kept.checkpoint().slot, %why, "a snapshot cannot be used"),
            }
        }
        Ok(None)
    }
}

/// Supplies the files to which the state refers, as far as they are on this disk; the applier gets the others from the
/// other nodes.
fn supply(machine: &mut Machine, content: &Content) {
    let wanted = machine.wanted();
    let mut missing = 0;
    for key in &wanted {
        match content.read_blocking(*key) {
            Some(file) => machine.supply(key, &file),
            None => missing += 1,
        }
    }
    if missing > 0 {
        let app = machine.state().app_ndx;
        warn!(%app, missing, of = wanted.len(), "files are missing on this disk; the other nodes are asked for them");
    }
}
