//! Disks that fail or are slow at a call: what each node is told of it, and what it has to do when it happens.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use synod_cluster::Cluster;
use synod_journal::failpoint::{self, Point, Stage};

/// A write takes so much less time than a sync.
const WRITE_SHARE: u32 = 10;

/// What nodes are told of how their disks are, each by a file that it follows.
#[derive(Debug)]
pub struct Failpoints(Vec<PathBuf>);

impl Failpoints {
    /// The disks of all nodes of a cluster, which learn of these files when they start.
    pub fn new(cluster: &mut Cluster) -> Failpoints {
        let mut files = Vec::new();
        for n in 0..cluster.len() {
            let file = cluster.directory.path().join(format!("{}.failpoints", cluster.name(n)));
            cluster.set_environment(n, vec![(failpoint::FILE, file.clone().into())]);
            files.push(file);
        }
        Failpoints(files)
    }

    /// Lets each sync of a node take so much time, and each write a part of it.
    pub fn slow(&self, node: usize, sync: Duration) {
        let sleeps = |point: Point, time: Duration| format!("{}=sleep({})", point.name(), time.as_millis());
        let write = sync / WRITE_SHARE;
        let all = [sleeps(Point::Sync, sync), sleeps(Point::Insert, write), sleeps(Point::Batch, write)];
        self.say(node, &all.join(";"));
    }

    /// Makes a node's disk a good one.
    pub fn heal(&self, node: usize) {
        self.say(node, "");
    }

    fn fail(&self, node: usize, point: Point, passes: u32) {
        self.say(node, &format!("{}={passes}*off->return", point.name()));
    }

    fn say(&self, node: usize, text: &str) {
        let new = self.0[node].with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.0[node]).unwrap();
    }
}

/// A node whose disk fails.
pub struct Failing {
    /// Which one.
    pub node: usize,
    point: Point,
    /// How much it had logged before.
    logged: usize,
}

impl Failing {
    /// Whether this is called only at a start, for which the node has to be killed.
    pub fn begins_with_kill(point: Point) -> bool {
        point.stage() == Stage::Opening
    }

    /// Lets a call of a node that runs fail when it was made so often; for what is called only at a start it is killed and started.
    pub async fn begin(
        cluster: &mut Cluster,
        failpoints: &Failpoints,
        node: usize,
        (point, passes): (Point, u32),
    ) -> Failing {
        let failing = Failing { node, point, logged: cluster.log(node).len() };
        if Failing::begins_with_kill(point) {
            cluster.kill(node);
            failpoints.fail(node, point, passes);
            cluster.spawn(node);
            // Whether it came up is seen later.
            let _ = cluster.try_ready(node).await;
        } else {
            failpoints.fail(node, point, passes);
        }
        failing
    }

    /// Sees to it that the node has ended, and tells whether it did so by itself, as it must if a call has failed: with its exit
    /// code, and saying which one.
    pub async fn end(self, cluster: &mut Cluster, failpoints: &Failpoints) -> bool {
        let Failing { node, point, logged } = self;
        let failure = failpoint::text(point);
        let has_failed = cluster.log(node)[logged..].contains(&failure);
        // What cannot be read for another node is not given to it; nothing more comes of that.
        let is_read = matches!(point, Point::Get | Point::BulkOpen | Point::BulkRead);
        let status =
            if has_failed && !is_read { cluster.ended(node).await } else { cluster.kill_anyway(node) };
        failpoints.heal(node);
        let Some(code) = status.code() else { return false };
        check_end(code, &cluster.log(node)[logged..], point).unwrap_or_else(|why| panic!("{why}"));
        true
    }
}

/// Whether a node ended as one does whose disk fails.
fn check_end(code: i32, said: &str, point: Point) -> Result<(), String> {
    let last = said.lines().last().unwrap_or_default();
    if code == 1 && last.contains(&failpoint::text(point)) {
        return Ok(());
    }
    Err(format!("{} failed, and the node ended with {code}: {said}", point.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_says_why_is_one() {
        let said = "first\n{\"error\":\"cannot make the journal durable: failpoint journal::sync\",\"exitCode\":1}\n";
        assert_eq!(check_end(1, said, Point::Sync), Ok(()));
        assert!(check_end(0, said, Point::Sync).is_err());
        assert!(check_end(1, said, Point::Flush).is_err());
        assert!(check_end(1, &format!("{said}another line"), Point::Sync).is_err());
        assert!(check_end(1, "", Point::Sync).is_err());
    }
}
