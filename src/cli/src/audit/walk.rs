//! From a source through every core to the auditor: one thread reads ahead, as many as there are cores verify, and this
//! one executes, in order.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use anyhow::Context;
use synod_auth::{Verifier, VerifyPool};
use synod_types::{AppNdx, ClusterId, Decree, Slot};

use super::auditor::{Auditor, Break, Change, Examined, examine};
use super::source::{Source, Unread};

/// Pages that are read ahead.
const PAGES_AHEAD: usize = 4;
/// Commands that are verified together.
const GROUP_COMMANDS: usize = 256;
/// Groups for each verifying thread that are verified ahead.
const GROUPS_AHEAD: usize = 4;

/// Threads that verify for one cluster.
pub(crate) struct Verifying {
    pool: VerifyPool,
    groups_max: usize,
}

impl Verifying {
    /// One thread for each core.
    pub(crate) fn new(cluster: ClusterId) -> anyhow::Result<Verifying> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let pool = VerifyPool::new(Arc::new(Verifier::new(cluster)), threads);
        let pool = pool.context("the operating system does not let this program start threads")?;
        Ok(Verifying { pool, groups_max: threads * GROUPS_AHEAD })
    }

    fn begin(&self, app: AppNdx, group: Vec<(Slot, Decree)>) -> anyhow::Result<Receiver<Vec<Examined>>> {
        let (sender, examined) = mpsc::sync_channel(1);
        self.pool.submit(move |verifier| {
            // Who asked may have found a break meanwhile.
            let _ = sender.send(examine(verifier, app, group));
        })?;
        Ok(examined)
    }
}

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// To the end of the log.
    TheEnd,
    /// Until everything that was expected has come.
    NothingIsExpected,
}

/// Walks a log as far as its source goes. `on_changes` is told what each slot changed, behind the state that the slot made.
/// The inner error is what is wrong with the log.
pub(crate) fn walk(
    source: impl Source,
    verifying: &Verifying,
    auditor: &mut Auditor,
    until: Until,
    mut on_changes: impl FnMut(&Auditor, Vec<Change>) -> anyhow::Result<()>,
) -> anyhow::Result<Result<(), Break>> {
    let app = auditor.state().app_ndx;
    thread::scope(|scope| {
        let (sender, pages) = mpsc::sync_channel(PAGES_AHEAD);
        let reading = thread::Builder::new().name("audit-read".to_owned());
        reading.spawn_scoped(scope, move || read(source, &sender))?;
        let mut groups = groups(pages);
        let mut ahead: VecDeque<Receiver<Vec<Examined>>> = VecDeque::new();
        let mut stop = None;
        loop {
            while ahead.len() < verifying.groups_max && stop.is_none() {
                match groups.next() {
                    None => break,
                    Some(Ok(group)) => ahead.push_back(verifying.begin(app, group)?),
                    // What was read before it is looked at first.
                    Some(Err(unread)) => stop = Some(unread),
                }
            }
            let Some(examined) = ahead.pop_front() else { break };
            for examined in examined.recv().context("a verifying thread ended before its time")? {
                match auditor.take(examined) {
                    Ok(changes) => on_changes(auditor, changes)?,
                    Err(broken) => return Ok(Err(broken)),
                }
                if until == Until::NothingIsExpected && !auditor.expects_more() {
                    return Ok(Ok(()));
                }
            }
        }
        Ok(match stop {
            Some(Unread::Failed(why)) => return Err(why),
            Some(Unread::Broken { slot, kind, text }) => Err(auditor.broken(slot, kind, text)),
            None => Ok(()),
        })
    })
}

type Page = Result<Vec<(Slot, Decree)>, Unread>;

/// Reads pages until the log ends, or until nobody wants any.
fn read(mut source: impl Source, pages: &SyncSender<Page>) {
    loop {
        let page = source.next();
        let is_last = page.as_ref().map_or(true, Vec::is_empty);
        if pages.send(page).is_err() || is_last {
            return;
        }
    }
}

/// The decrees of all pages, in groups of about [`GROUP_COMMANDS`] commands.
fn groups(pages: Receiver<Page>) -> impl Iterator<Item = Page> {
    let mut left: VecDeque<(Slot, Decree)> = VecDeque::new();
    std::iter::from_fn(move || {
        if left.is_empty() {
            match pages.recv() {
                Ok(Ok(page)) => left.extend(page),
                Ok(Err(unread)) => return Some(Err(unread)),
                Err(_) => return None,
            }
        }
        let mut group = Vec::new();
        let mut commands = 0;
        while commands < GROUP_COMMANDS
            && let Some((slot, decree)) = left.pop_front()
        {
            // A slot without commands costs something, too.
            commands += decree.commands().len().max(1);
            group.push((slot, decree));
        }
        (!group.is_empty()).then_some(Ok(group))
    })
}
