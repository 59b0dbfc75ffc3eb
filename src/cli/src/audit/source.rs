//! Where a log comes from: a data directory, or a node's readers' port.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use serde::Deserialize;
use synod_archive::{ArchivedLog, ReadError as NotArchived, SegmentError};
use synod_auth::Genesis;
use synod_journal::recovery::RecoveryError;
use synod_journal::{Known, ReadError as JournalReadError, StoppedError, StoppedLog};
use synod_node::lanes::Maker;
use synod_node::{Beginning, BeginningError};
use synod_types::limits::{CATCH_UP_BYTES_MAX, LOG_PAGE_DECREES_MAX};
use synod_types::{
    AppNdx, Ballot, ClusterId, ContentKey, Decree, LogPage, NodeId, Slot, StateNdx, TimeMs, wire,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::auditor::Kind;
use super::expectation::Claim;
use crate::exit::Failure;
use crate::reader::{Answer, HttpNode, Problem, ReadError, Reader};

/// The pause before a node is asked again that was busy.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// First bytes of a certificate as a node gives it.
const CERTIFICATE_DOMAIN: &[u8] = b"synod/certificate/v1\0";

/// One application's log, from where it begins.
pub(crate) trait Source: Send {
    /// The decrees that come next; none: the log ends here.
    fn next(&mut self) -> Result<Vec<(Slot, Decree)>, Unread>;

    /// The last slot that is to come.
    fn end(&self) -> Slot;
}

impl<S: Source + ?Sized> Source for &mut S {
    fn next(&mut self) -> Result<Vec<(Slot, Decree)>, Unread> {
        (**self).next()
    }

    fn end(&self) -> Slot {
        (**self).end()
    }
}

/// Why the next decrees cannot be had.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The log is not in order.
    Broken { slot: Slot, kind: Kind, text: String },
    /// It is not known whether it is.
    Failed(anyhow::Error),
}

/// The data directory of a node that does not run.
pub(crate) struct DataDir {
    dir: PathBuf,
    log: StoppedLog,
    /// Where the copy is.
    _scratch: TempDir,
}

impl DataDir {
    /// Copies and opens the log in `dir`, which must be of this cluster.
    pub(crate) fn open(dir: &Path, cluster: ClusterId) -> anyhow::Result<DataDir> {
        let scratch = tempfile::Builder::new().prefix("synod-audit-").tempdir();
        let scratch =
            scratch.context("cannot make a temporary directory for a copy of the log; see $TMPDIR")?;
        let log = StoppedLog::copy(dir, scratch.path()).map_err(|why| match why {
            StoppedError::InUse(_) | StoppedError::NotOne { .. } => Failure::Usage(why.to_string()).into(),
            StoppedError::Log { .. } | StoppedError::Stamp(_) => Failure::Broken(why.to_string()).into(),
            StoppedError::Io { .. } => anyhow::Error::from(why),
        })?;
        let found = log.stamp().cluster;
        if found != cluster {
            let text = format!(
                "the data directory {} is of cluster {found}, and the genesis document founds {cluster}; give the other \
                 one's with --genesis",
                dir.display()
            );
            return Err(Failure::Usage(text).into());
        }
        Ok(DataDir { dir: dir.to_owned(), log, _scratch: scratch })
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whose it is.
    pub(crate) fn node(&self) -> NodeId {
        self.log.stamp().node
    }

    /// Decrees from slot `from` up to `up_to`, as far as there is no hole.
    pub(crate) fn read(
        &mut self,
        app: AppNdx,
        from: Slot,
        up_to: Slot,
        bytes_max: usize,
    ) -> Result<Vec<(Slot, Ballot, Decree)>, JournalReadError> {
        self.log.read(app, from, up_to, bytes_max)
    }

    /// How much of an application's log is known to be chosen.
    pub(crate) fn known(&mut self, app: AppNdx) -> Result<Known, Unread> {
        let broken = |text| Unread::Broken { slot: Slot(0), kind: Kind::Damaged, text };
        self.log.known(app).map_err(|why| match why {
            RecoveryError::DamagedHint(_) => broken("the record of what is chosen is damaged".to_owned()),
            RecoveryError::DamagedPromise(_)
            | RecoveryError::DamagedCut(_)
            | RecoveryError::Incomplete(_)
            | RecoveryError::LostEnd { .. }
            | RecoveryError::Store(_) => broken(why.to_string()),
        })
    }

    /// The log of an application behind slot `last` up to `end`, which is chosen.
    pub(crate) fn chosen(&mut self, app: AppNdx, last: Slot, end: Slot) -> impl Source {
        InDataDir { log: &mut self.log, app, last, end, is_chosen: true }
    }

    /// What was accepted behind slot `last` and the last slot that is known to be chosen, as far as there is no hole: chosen or
    /// not.
    pub(crate) fn accepted(&mut self, app: AppNdx, last: Slot, known: Known) -> impl Source {
        let end = Slot(known.chosen.0.saturating_add(known.behind));
        InDataDir { log: &mut self.log, app, last: last.max(known.chosen), end, is_chosen: false }
    }
}

struct InDataDir<'a> {
    log: &'a mut StoppedLog,
    app: AppNdx,
    /// The last slot that was given.
    last: Slot,
    end: Slot,
    /// There must be a record in every slot up to the end.
    is_chosen: bool,
}

impl Source for InDataDir<'_> {
    fn next(&mut self) -> Result<Vec<(Slot, Decree)>, Unread> {
        if self.last >= self.end {
            return Ok(Vec::new());
        }
        let slot = self.last.next();
        let broken = |kind, text: String| Unread::Broken { slot, kind, text };
        let decrees = match self.log.read(self.app, slot, self.end, CATCH_UP_BYTES_MAX) {
            Ok(decrees) => decrees,
            Err(JournalReadError::Damaged { .. }) => {
                return Err(broken(Kind::Damaged, "the record's checksum is wrong".to_owned()));
            }
            Err(why) => return Err(broken(Kind::Damaged, why.to_string())),
        };
        match decrees.last() {
            None if !self.is_chosen => Ok(Vec::new()),
            None => Err(broken(Kind::Hole, format!("there is no record, and slot {} is chosen", self.end))),
            Some((last, ..)) => {
                self.last = *last;
                Ok(decrees.into_iter().map(|(slot, _, decree)| (slot, decree)).collect())
            }
        }
    }

    fn end(&self) -> Slot {
        self.end
    }
}

/// What a node has cut off from its logs.
pub(crate) struct Archive {
    dir: PathBuf,
}

impl Archive {
    /// The archive in `dir`.
    pub(crate) fn new(dir: &Path) -> Archive {
        Archive { dir: dir.to_owned() }
    }

    /// The log of an application, behind slot `last`.
    pub(crate) fn source(&self, app: AppNdx, cluster: ClusterId, last: Slot) -> anyhow::Result<impl Source> {
        let log = ArchivedLog::open(&self.dir, app, last).map_err(|why| match why {
            NotArchived::NotOne(_) => Failure::Usage(why.to_string()).into(),
            why => anyhow::Error::from(why),
        })?;
        Ok(InArchive { log, cluster })
    }
}

struct InArchive {
    log: ArchivedLog,
    cluster: ClusterId,
}

impl Source for InArchive {
    fn next(&mut self) -> Result<Vec<(Slot, Decree)>, Unread> {
        let page = match self.log.next_page() {
            Ok(None) => return Ok(Vec::new()),
            Ok(Some(page)) => page,
            Err(why) => {
                let (kind, slot) = match &why {
                    NotArchived::Hole { from, .. } => (Kind::Hole, *from),
                    NotArchived::Segment(SegmentError::Damaged { slot, .. }) => (Kind::Damaged, *slot),
                    NotArchived::Segment(SegmentError::Io { .. })
                    | NotArchived::NotOne(_)
                    | NotArchived::Io { .. } => return Err(Unread::Failed(why.into())),
                };
                return Err(Unread::Broken { slot, kind, text: why.to_string() });
            }
        };
        if page.cluster != self.cluster {
            let slot = page.decrees.first().map_or(Slot(0), |(slot, _)| *slot);
            let text = format!("the archive is of cluster {}, not of {}", page.cluster, self.cluster);
            return Err(Unread::Broken { slot, kind: Kind::OtherCluster, text });
        }
        Ok(page.decrees)
    }

    fn end(&self) -> Slot {
        self.log.end()
    }
}

/// Running nodes, over their readers' ports. The log comes from the first one.
pub(crate) struct Nodes {
    reader: Reader,
    runtime: Runtime,
    timeout: Duration,
}

impl Nodes {
    pub(crate) fn new(reader: Reader, timeout: Duration) -> anyhow::Result<Nodes> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.context("the operating system does not let this program wait for the network")?;
        Ok(Nodes { reader, runtime, timeout })
    }

    /// What each node says of an application.
    pub(crate) fn claims(&self, app: AppNdx) -> anyhow::Result<Vec<Claim>> {
        self.reader.nodes().iter().map(|node| self.claim(node, app)).collect()
    }

    /// What one node says of an application.
    pub(crate) fn claim(&self, node: &HttpNode, app: AppNdx) -> anyhow::Result<Claim> {
        let answer = self.get(node, &format!("/v1/apps/{app}"), &[])?;
        let said: Said = answer.json()?;
        Ok(Claim {
            app,
            applied: said.applied,
            state_ndx: said.state_ndx,
            chain: said.chain.parse().context("the answer's chain is none")?,
            time: said.time_ms,
            by: node.name.clone(),
        })
    }

    /// The newest snapshot that the first node has; `None`: it has none yet. The inner error is what is wrong with it.
    pub(crate) fn newest(
        &self,
        genesis: &Genesis,
        cluster: ClusterId,
        maker: &Maker,
    ) -> anyhow::Result<Option<Result<Beginning, BeginningError>>> {
        let node = &self.reader.nodes()[0];
        let path = format!("/v1/apps/{}/snapshot", maker.app().ndx);
        let place = PathBuf::from(format!("{}{path}", node.url));
        let began = Instant::now();
        let answer = loop {
            match self.try_get(node, &path, &[])? {
                Ok(answer) => break answer,
                // Where the cluster begins with one, the nodes are about to sign it.
                Err(problem)
                    if problem.is_no_snapshot()
                        && genesis.origin.is_some()
                        && began.elapsed() < self.timeout =>
                {
                    std::thread::sleep(ASK_AGAIN);
                }
                Err(problem) if problem.is_no_snapshot() => return Ok(None),
                Err(problem) => return Err(refused(node, &problem).into()),
            }
        };
        let certificate =
            answer.body.strip_prefix(CERTIFICATE_DOMAIN).and_then(|bytes| wire::decode(bytes).ok());
        let Some(certificate) = certificate else {
            let why = "it is no certificate".to_owned();
            return Ok(Some(Err(BeginningError::Damaged { path: place, why })));
        };
        let read = |key: ContentKey| self.file(node, &format!("{path}/{key}"), key);
        Ok(Some(Beginning::of(&place, &certificate, genesis, &[], cluster, maker, read)))
    }

    /// A file that a node has.
    pub(crate) fn file(&self, node: &HttpNode, path: &str, key: ContentKey) -> anyhow::Result<Bytes> {
        let file = self.get(node, path, &[])?.body;
        if ContentKey::of(&file) != key {
            let text = format!("{} gives another file in the place of {key}", node.name);
            return Err(Failure::Broken(text).into());
        }
        Ok(file)
    }

    /// Where it asks, the one first that gives the log.
    pub(crate) fn nodes(&self) -> &[HttpNode] {
        self.reader.nodes()
    }

    /// The same, with this node first.
    pub(crate) fn preferring(mut self, node: &HttpNode) -> Nodes {
        self.reader = self.reader.preferring(node);
        self
    }

    /// The log of an application behind slot `last` up to `end`, where it must come to `min`.
    pub(crate) fn source(
        &self,
        app: AppNdx,
        cluster: ClusterId,
        last: Slot,
        end: Slot,
        min: StateNdx,
    ) -> impl Source {
        AtNode { nodes: self, app, cluster, last, end, min }
    }

    /// Asks a node, and again while it is busy, until the time is over.
    fn get(&self, node: &HttpNode, path: &str, parameters: &[(&str, String)]) -> anyhow::Result<Answer> {
        Ok(self.try_get(node, path, parameters)?.map_err(|problem| refused(node, &problem))?)
    }

    /// The same; the inner error is the problem that it answers with.
    fn try_get(
        &self,
        node: &HttpNode,
        path: &str,
        parameters: &[(&str, String)],
    ) -> anyhow::Result<Result<Answer, Problem>> {
        let began = Instant::now();
        loop {
            match self.runtime.block_on(self.reader.get_from(node, path, parameters)) {
                Ok(answer) => return Ok(Ok(answer)),
                Err(ReadError::Problem(problem)) if problem.is_busy() && began.elapsed() < self.timeout => {
                    std::thread::sleep(ASK_AGAIN);
                }
                Err(ReadError::Problem(problem)) => return Ok(Err(problem)),
                Err(why @ ReadError::Unreachable(_)) => {
                    return Err(Failure::Unreachable(why.to_string()).into());
                }
            }
        }
    }
}

/// A node has answered with a problem.
fn refused(node: &HttpNode, problem: &Problem) -> Failure {
    let hint = if problem.is_log_cut() {
        ". A data directory can be audited from there on (stop the node, then --data-dir DIR); what was before, only where the node \
         has an archive (--archive DIR)"
    } else {
        ""
    };
    Failure::Refused(format!("{}: {}{hint}", node.name, problem.text()))
}

/// The parts of `/v1/apps/{app}` that an audit compares.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    state_ndx: StateNdx,
    chain: String,
    applied: Slot,
    time_ms: TimeMs,
}

struct AtNode<'a> {
    nodes: &'a Nodes,
    app: AppNdx,
    cluster: ClusterId,
    /// The last slot that was given.
    last: Slot,
    end: Slot,
    min: StateNdx,
}

impl Source for AtNode<'_> {
    fn next(&mut self) -> Result<Vec<(Slot, Decree)>, Unread> {
        if self.last >= self.end {
            return Ok(Vec::new());
        }
        let node = &self.nodes.reader.nodes()[0];
        let path = format!("/v1/apps/{}/log", self.app);
        let after = ("after", self.last.to_string());
        let limit = ("limit", LOG_PAGE_DECREES_MAX.to_string());
        let answer = self.nodes.get(node, &path, &[after.clone(), limit.clone()]);
        let mut page = self.page(&answer.map_err(Unread::Failed)?.body)?;
        if page.decrees.is_empty() {
            // Another node is further. What this one has when it has come so far is the last word.
            let min = [after, limit, ("min", self.min.to_string()), ("wait", "10".to_owned())];
            let answer = self.nodes.get(node, &path, &min).map_err(Unread::Failed)?;
            page = self.page(&answer.body)?;
        }
        // What came since is for another audit.
        page.decrees.retain(|(slot, _)| *slot <= self.end);
        self.last = page.decrees.last().map_or(self.last, |(slot, _)| *slot);
        Ok(page.decrees)
    }

    fn end(&self) -> Slot {
        self.end
    }
}

impl AtNode<'_> {
    fn page(&self, bytes: &[u8]) -> Result<LogPage, Unread> {
        let slot = self.last.next();
        let broken = |kind, text| Unread::Broken { slot, kind, text };
        let page = LogPage::decode(bytes).map_err(|why| broken(Kind::Damaged, why.to_string()))?;
        if page.cluster != self.cluster {
            let text = format!("the node gives the log of cluster {}, not of {}", page.cluster, self.cluster);
            return Err(broken(Kind::OtherCluster, text));
        }
        if page.app != self.app {
            let text = format!("the node gives the log of application {}", page.app);
            return Err(broken(Kind::OtherApplication, text));
        }
        Ok(page)
    }
}
