//! The disk, as the protocol between the nodes uses it: what is to be done with one file is done in order, one thing at a
//! time, and a slow file does not hold up all others.

use synod_content::Store;
use synod_delivery::Event;
use synod_types::ContentKey;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Content;

/// Threads that do it, at most. A file has its own, by its key.
const LANES: usize = 4;

type Job = Box<dyn FnOnce(&Store) -> Vec<Event> + Send>;

/// Work for the disk.
pub(crate) struct Lanes {
    lanes: Vec<mpsc::UnboundedSender<Job>>,
    done: mpsc::UnboundedReceiver<Vec<Event>>,
    waiting: usize,
    tasks: JoinSet<()>,
}

impl Lanes {
    pub(crate) fn new(content: &Content) -> Lanes {
        let (sender, done) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let lanes = (0..LANES).map(|_| {
            let (lane, jobs) = mpsc::unbounded_channel();
            tasks.spawn(work(content.clone(), jobs, sender.clone()));
            lane
        });
        let lanes = lanes.collect();
        Lanes { lanes, done, waiting: 0, tasks }
    }

    /// Does something with a file, behind everything that is to be done with it already.
    pub(crate) fn submit(
        &mut self,
        key: &ContentKey,
        job: impl FnOnce(&Store) -> Vec<Event> + Send + 'static,
    ) {
        let lane = usize::from(key.as_bytes()[0]) % LANES;
        self.waiting += 1;
        self.lanes[lane]
            .send(Box::new(job))
            .expect("a lane ends with this, or by a panic that ends this first");
    }

    /// How much is not done yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What came of the next job that is done. Nothing is lost if this is dropped while it waits.
    ///
    /// # Panics
    /// If a job did.
    pub(crate) async fn next(&mut self) -> Vec<Event> {
        tokio::select! {
            biased;
            Some(events) = self.done.recv() => {
                self.waiting -= 1;
                events
            }
            Some(ended) = self.tasks.join_next() => match ended.map_err(tokio::task::JoinError::try_into_panic) {
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                Ok(()) | Err(Err(_)) => std::future::pending().await,
            },
        }
    }
}

async fn work(
    content: Content,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    done: mpsc::UnboundedSender<Vec<Event>>,
) {
    while let Some(job) = jobs.recv().await {
        let content = content.clone();
        match tokio::task::spawn_blocking(move || job(&content.0.store)).await {
            // The receiver ends with the sender of the jobs.
            Ok(events) => drop(done.send(events)),
            Err(why) => match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends.
                Err(_) => return,
            },
        }
    }
}
