//! Wall clocks that are set while their nodes run. libfaketime answers when a process asks what time it is, by a file that
//! says how far off it is to be; the monotonic clock stays the machine's.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// How the library is called, in a folder `faketime` of one of [`LIBRARIES`] or of a folder in it.
const NAME: &str = "faketime/libfaketimeMT.so.1";
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/lib"];
/// What it leaves behind there of a process that is killed, which ends the next one with the same number.
const SHARED: [&str; 2] = ["/dev/shm/faketime_shm_", "/dev/shm/sem.faketime_sem_"];

/// The library, where it is installed (Debian's package is `libfaketime`).
pub fn library() -> Option<PathBuf> {
    let folders = LIBRARIES.into_iter().flat_map(|folder| {
        let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        below.chain([PathBuf::from(folder)]).collect::<Vec<_>>()
    });
    folders.map(|folder| folder.join(NAME)).find(|path| path.is_file())
}

/// The wall clock of one node.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, and whose node is told of it by this file.
    pub fn new(file: PathBuf) -> Clock {
        let clock = Clock { file };
        clock.set(0);
        clock
    }

    /// What a process that is to have this clock finds in its environment.
    pub fn environment(&self, library: &Path) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", library.into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            // So that it is set at once.
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }

    /// Sets it to so many seconds before or behind what time it is.
    pub fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}")).unwrap();
        fs::rename(new, &self.file).unwrap();
    }
}

/// Removes what the library has left behind of a process that has ended.
pub(crate) fn clean_up_after(process: u32) {
    for shared in SHARED {
        // Mostly there is nothing.
        let _ = fs::remove_file(format!("{shared}{process}"));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_process_has_the_time_that_its_clock_is_set_to() {
        let Some(library) = library() else {
            eprintln!("SKIPPED: libfaketime is not installed");
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::new(directory.path().join("clock"));
        for hours in [0, 2, -3] {
            clock.set(hours * 3600);
            let mut date = Command::new("date");
            date.arg("+%s").envs(clock.environment(&library));
            let shown = String::from_utf8(date.output().unwrap().stdout).unwrap();
            let shown: i64 = shown.trim().parse().unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let off = shown - i64::try_from(now).unwrap();
            assert!((off - hours * 3600).abs() < 60, "{off} s");
        }
    }
}
