//! Small disks that can be full.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
        let used = rustix::fs::statvfs(&self.0).unwrap();
        let blocks = used.f_blocks - used.f_bfree;
        self.resize(&(blocks * used.f_frsize).to_string());
    }

    /// Gives it another size.
    pub fn resize(&self, size: &str) {
        let mut mount = Command::new("mount");
        let resized = mount.args(["-o", &format!("remount,size={size}")]).arg(&self.0).status();
        assert!(resized.is_ok_and(|status| status.success()), "{} keeps its size", self.0.display());
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
