//! docs/OPERATING.md, as it stands there: every command is run, on hosts that are namespaces of this one, and what the page shows below
//! it is looked for in what it prints.
//!
//! The hosts have addresses and ports of their own in a network that nobody else sees, so that the page's are taken as they are; that
//! takes root, and whoever is not is told that nothing was tested. `ssh`, `scp` and `systemctl` are played by small scripts.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod walking;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use synod_cluster::program;
use walking::steps;

const PAGE: &str = "../../docs/OPERATING.md";
/// What bash says behind everything that a command prints.
const END: &str = "the command ended with ";

/// The network, and what of the operating system is to look different on it.
const WORLD: &str = r#"
export ROOT=$PWD PATH=$PWD/bin:$PATH
ip link set lo up
cp -a /etc etc && mount --bind etc /etc && mkdir -p /etc/synod
mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/synod
echo 127.0.0.1 localhost > /etc/hosts
n=10
for host in a b c d e; do
    n=$((n + 1))
    mkdir -p hosts/$host.example/etc hosts/$host.example/lib
    echo 127.0.0.$n $host.example >> /etc/hosts
done
mkdir operator && cd operator
exec 2>&1
"#;

/// Commands of the operator's, and of the hosts.
const PLAYED: [(&str, &str); 3] = [
    (
        "ssh",
        r#"#!/bin/bash
host=$1; shift
exec unshare --mount bash -c '
    mount --bind "$0/etc" /etc/synod && mount --bind "$0/lib" /var/lib/synod && cd / && eval "$1"' "$ROOT/hosts/$host" "$*"
"#,
    ),
    (
        "scp",
        r#"#!/bin/bash
set -e
[ "$1" = -r ] && shift
here() {
    case $1 in
        *:*) path=${1#*:} at=$ROOT/hosts/${1%%:*}
             path=${path/#\/etc\/synod/$at/etc}
             echo "${path/#\/var\/lib\/synod/$at/lib}" ;;
        *) echo "$1" ;;
    esac
}
names=()
for name; do names+=("$(here "$name")"); done
cp -r "${names[@]:0:$#}"
"#,
    ),
    (
        "systemctl",
        r#"#!/bin/bash
set -e
cd /var/lib/synod
stop() { kill -TERM "$(cat pid)"; tail --pid "$(cat pid)" -f /dev/null; }
start() {
    rm -f ready && mkfifo ready
    setsid synod node --config /etc/synod/node.toml --log-format json < /dev/null > ready 2>> log &
    echo $! > pid
    # As Type=notify has it: when the node is ready, or has ended.
    read -r line < ready || { tail -n 1 log; exit 1; }
}
case $1 in
    start) start ;;
    stop) stop ;;
    restart) stop; start ;;
    reload) kill -HUP "$(cat pid)" ;;
    kill) kill -KILL "$(cat pid)"; tail --pid "$(cat pid)" -f /dev/null ;;
esac
"#,
    ),
];

/// A shell in that world; it ends, with everything that was started from it, when this does.
struct Shell {
    bash: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn start(directory: &Path) -> Shell {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "bash", "-u"]);
        command.current_dir(directory).env_remove("SYNOD_CLIENT");
        let mut bash = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (bash.stdin.take(), BufReader::new(bash.stdout.take().unwrap()));
        Shell { bash, input, output }
    }

    /// What a command prints and says, and its exit code.
    fn run(&mut self, command: &str) -> (String, String) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{command}\necho; echo \"{END}$?\"").unwrap();
        let mut printed = String::new();
        loop {
            let begin = printed.len();
            assert!(self.output.read_line(&mut printed).unwrap() > 0, "the shell has ended\n{printed}");
            if let Some(code) = printed[begin..].trim_end().strip_prefix(END) {
                let code = code.to_owned();
                printed.truncate(begin);
                return (printed, code);
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.bash.kill();
        let _ = self.bash.wait();
    }
}

#[test]
fn every_command_of_the_page() {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: docs/OPERATING.md is not executed, since {missing}");
        return;
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let steps = steps(&page);
    assert!(steps.len() >= 20, "the page shows commands");
    let directory = tempfile::Builder::new().prefix("synod-operating-").tempdir().unwrap();
    let bin = directory.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(program(), bin.join("synod")).unwrap();
    for (name, script) in PLAYED {
        fs::write(bin.join(name), script).unwrap();
        fs::set_permissions(bin.join(name), Permissions::from_mode(0o755)).unwrap();
    }
    let mut shell = Shell::start(directory.path());
    let (printed, code) = shell.run(WORLD);
    assert_eq!(code, "0", "{printed}");
    for step in steps {
        eprintln!("$ {}", step.command);
        let (printed, code) = shell.run(&step.command);
        eprint!("{printed}");
        // What is meant to end with another code says so: `command; echo $?`.
        assert_eq!(code, "0", "{:?}\n{printed}", step.command);
        step.check(&printed);
    }
}

/// What is missing for the walk on this machine.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root makes networks".to_owned());
    }
    for (program, arguments) in [("unshare", "--net --mount --pid --fork true"), ("ip", "-V")] {
        let found = Command::new(program).args(arguments.split(' ')).stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Some(format!("`{program} {arguments}` does not work here"));
        }
    }
    None
}
