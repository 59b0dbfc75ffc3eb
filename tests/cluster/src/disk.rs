//! Small disks that can be full.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How often a disk is filled that is written to meanwhile.
const TRIES: usize = 100;

/// A small file system in memory, as long as this lives.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one at a directory that is made for it; `size` as `mount` takes it. `None` where this process may not mount,
    /// which takes root.
    pub fn mount(at: &Path, size: &str) -> Option<Disk> {
        std::fs::create_dir(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).stderr(Stdio::null());
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        is_mounted.then(|| Disk(at.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no room for more than is there already.
    pub fn fill(&self) {
        self.leave(0);
    }

    /// Leaves room for so many bytes more than are there already.
    pub fn leave(&self, bytes: u64) {
        // What comes while this looks does not fit any more, and the size is refused.
        let is_full = (0..TRIES).any(|_| {
            let used = rustix::fs::statvfs(&self.0).unwrap();
            let blocks = used.f_blocks - used.f_bfree;
            self.has_size(&(blocks * used.f_frsize + bytes).to_string())
        });
        assert!(is_full, "{} cannot be filled", self.0.display());
    }

    /// Gives it another size, which is not less than what is there.
    pub fn resize(&self, size: &str) {
        assert!(self.has_size(size), "{} keeps its size", self.0.display());
    }

    fn has_size(&self, size: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={size}")]).arg(&self.0).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        let is_unmounted = unmounted.is_ok_and(|status| status.success());
        // A second panic would hide the first.
        assert!(is_unmounted || std::thread::panicking(), "{} is still mounted", self.0.display());
    }
}
