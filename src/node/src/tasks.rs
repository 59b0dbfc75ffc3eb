//! The tasks that a node cannot do without. If one ends before the node is told to stop, the node has to stop: its
//! invariants are broken, and stopping is safe.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::error;

/// Why the node cannot go on; the first reason stays.
#[derive(Clone)]
pub(crate) struct Fatal(Arc<watch::Sender<Option<String>>>);

impl Fatal {
    pub(crate) fn new() -> Fatal {
        Fatal(Arc::new(watch::Sender::new(None)))
    }

    pub(crate) fn raise(&self, why: String) {
        self.0.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                error!(why, "this node cannot go on");
                *reason = Some(why);
            }
            first
        });
    }

    /// Returns the reason, once there is one.
    pub(crate) async fn raised(&self) -> String {
        let mut reason = self.0.subscribe();
        match reason.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => unreachable!("the sender lives in self"),
        }
    }
}

/// The node's own tasks.
pub(crate) struct Tasks {
    set: JoinSet<()>,
    fatal: Fatal,
    stop: watch::Sender<bool>,
}

impl Tasks {
    pub(crate) fn new(fatal: Fatal) -> Tasks {
        Tasks { set: JoinSet::new(), fatal, stop: watch::Sender::new(false) }
    }

    /// Becomes true when the node stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Runs a task that ends when the node stops, and not before.
    pub(crate) fn spawn(&mut self, name: String, task: impl Future<Output = ()> + Send + 'static) {
        let guard = Guard { name, fatal: self.fatal.clone(), stopping: self.stopping() };
        self.set.spawn(async move {
            let _guard = guard;
            task.await;
        });
    }

    /// Ends all of them, each where it waits: what they gave to one another is not worth waiting for.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        self.set.shutdown().await;
    }
}

/// Notices the end of a task, also by a panic.
struct Guard {
    name: String,
    fatal: Fatal,
    stopping: watch::Receiver<bool>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !*self.stopping.borrow() {
            self.fatal.raise(format!("the {} ended, which is a fault of this program", self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_fatal_and_one_that_is_stopped_is_not() {
        let fatal = Fatal::new();
        let mut tasks = Tasks::new(fatal.clone());
        let mut stopping = tasks.stopping();
        tasks.spawn("good task".to_owned(), async move {
            let _ = stopping.wait_for(|&stop| stop).await;
        });
        tasks.stop().await;
        assert_eq!(*fatal.0.borrow(), None);

        let mut tasks = Tasks::new(fatal.clone());
        tasks.spawn("bad task".to_owned(), async { panic!("on purpose") });
        assert!(fatal.raised().await.contains("bad task"));
    }
}
