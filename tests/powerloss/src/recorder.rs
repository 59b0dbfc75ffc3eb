//! Records what a process asks of the disk: strace, with all bytes of all writes.
//!
//! strace stops a thread when a call begins and again when it has returned, and lets it go on only when both are noted. So
//! a call that another one made possible is noted behind it, whichever threads they are of.

use std::path::Path;
use std::process::{Command, Stdio};

/// What changes files, makes them durable, or could get around both; what gives descriptors their meaning; what sends.
const CALLS: &str = "trace=open,openat,openat2,creat,write,pwrite64,pwritev,pwritev2,writev,ftruncate,truncate,\
                     fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,\
                     rmdir,fsync,fdatasync,sync_file_range,msync,sync,syncfs,copy_file_range,sendfile,splice,lseek,\
                     io_uring_setup,mmap,sendto,sendmsg,sendmmsg";

/// Whether there is a recorder.
pub fn is_available() -> bool {
    let version =
        Command::new("strace").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// A command that runs `program` and records it into `trace`; the program's arguments are still to come.
pub fn command(program: &Path, trace: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "--seccomp-bpf", "-y", "-xx", "-s", "16777216"]);
    command.args(["--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"]);
    // What is sent is encrypted; when it is sent is all that counts.
    command.args(["-e", "signal=none", "-e", CALLS, "-e", "raw=sendto,sendmsg,sendmmsg", "-o"]);
    command.arg(trace).arg(program);
    command
}
