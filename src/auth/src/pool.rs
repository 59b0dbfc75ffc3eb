//! Threads that do nothing but verify, so that signatures never delay the ordering of what is verified already.
//!
//! The queue is bounded: a full one is an answer, [`Busy`]. Dropping the pool does what is queued and then joins the
//! threads.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use synod_types::limits::VERIFY_JOBS_MAX;

use crate::verified::Verifier;

/// The queue is full; try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{VERIFY_JOBS_MAX} jobs wait to be verified: try again later")]
pub struct Busy;

type Job = Box<dyn FnOnce(&Verifier) + Send>;

/// A fixed number of verifying threads.
pub struct VerifyPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    verifier: Arc<Verifier>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    /// No further job will come.
    closed: bool,
    /// A job panicked: a broken invariant, not an input. Its thread is gone, and the pool with it.
    broken: bool,
}

impl VerifyPool {
    /// Starts `threads` threads (at least one), named `verify-0`, `verify-1`, …
    ///
    /// # Errors
    /// What the operating system says if it gives no thread.
    pub fn new(verifier: Arc<Verifier>, threads: usize) -> io::Result<VerifyPool> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), closed: false, broken: false });
        let shared = Arc::new(Shared { verifier, queue, changed: Condvar::new() });
        // Built before the first thread starts, so that an error half-way stops and joins those that did.
        let mut pool = VerifyPool { shared, threads: Vec::new() };
        for n in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new().name(format!("verify-{n}")).spawn(move || shared.work())?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Queues a job for the next idle thread. It tells of its result by its own means (a channel, usually).
    ///
    /// # Errors
    /// [`Busy`] if [`VERIFY_JOBS_MAX`] jobs are waiting; the job is dropped.
    ///
    /// # Panics
    /// If an earlier job panicked.
    pub fn submit(&self, job: impl FnOnce(&Verifier) + Send + 'static) -> Result<(), Busy> {
        let mut queue = self.shared.lock();
        assert!(!queue.broken, "a job of the verifying threads panicked; what it said is above");
        if queue.jobs.len() >= VERIFY_JOBS_MAX {
            return Err(Busy);
        }
        queue.jobs.push_back(Box::new(job));
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// The verifier that all threads share.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.shared.verifier
    }
}

impl Drop for VerifyPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        let this_thread = thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner may be a job; its thread ends by itself and cannot wait for itself. A thread that panicked
            // has said so, and the pool refuses jobs since: there is nothing to add.
            if thread.thread().id() != this_thread {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for VerifyPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyPool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Jobs run outside the lock, so a panic cannot leave the queue half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let _guard = BreaksOnPanic(self);
        while let Some(job) = self.next_job() {
            job(&self.verifier);
        }
    }

    /// Waits for a job; `None` when the queue is closed and empty.
    fn next_job(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Marks the pool as broken when its thread panics.
struct BreaksOnPanic<'a>(&'a Shared);

impl Drop for BreaksOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().broken = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use synod_types::{ClusterId, Digest};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pool(threads: usize) -> VerifyPool {
        VerifyPool::new(Arc::new(Verifier::new(ClusterId(Digest([1; 32])))), threads).unwrap()
    }

    #[test]
    fn dropping_the_pool_does_what_is_queued() {
        let pool = pool(2);
        let (done, results) = mpsc::channel();
        for n in 0..100 {
            let done = done.clone();
            let job = move |verifier: &Verifier| {
                let name = thread::current().name().map(str::to_owned);
                done.send((n, name, verifier.cluster())).unwrap();
            };
            pool.submit(job).unwrap();
        }
        drop((pool, done));
        let mut seen: Vec<_> = results.iter().collect();
        seen.sort_by_key(|(n, ..)| *n);
        assert!(seen.iter().map(|(n, ..)| *n).eq(0..100));
        assert!(
            seen.iter().all(|(_, name, _)| name.as_deref().is_some_and(|name| name.starts_with("verify-")))
        );
    }

    #[test]
    fn the_queue_is_bounded() {
        let pool = pool(1);
        let (started, starts) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        pool.submit(move |_| {
            started.send(()).unwrap();
            // Ends when the other side is dropped.
            let _ = released.recv();
        })
        .unwrap();
        starts.recv_timeout(PATIENCE).unwrap();
        for _ in 0..VERIFY_JOBS_MAX {
            pool.submit(|_| {}).unwrap();
        }
        assert_eq!(pool.submit(|_| {}), Err(Busy));
        drop(release);
    }

    #[test]
    fn a_pool_may_be_dropped_by_its_own_job() {
        let pool = Arc::new(pool(2));
        let (done, result) = mpsc::channel();
        let mine = Arc::clone(&pool);
        let (release, released) = mpsc::channel::<()>();
        pool.submit(move |_| {
            let _ = released.recv();
            drop(mine);
            done.send(()).unwrap();
        })
        .unwrap();
        drop(pool);
        drop(release);
        result.recv_timeout(PATIENCE).unwrap();
    }
}
