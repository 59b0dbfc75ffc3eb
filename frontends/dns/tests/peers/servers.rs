//! NSD and Knot, as processes of this test, on loopback.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::zones::ZoneText;

/// A name server that is killed when it is dropped.
pub struct Server {
    /// `NSD`, `Knot`.
    pub name: &'static str,
    /// Where it answers.
    pub addr: SocketAddr,
    process: Child,
}

/// How a server comes by a zone.
pub enum Role<'a> {
    /// From a file.
    Primary(&'a [ZoneText]),
    /// By AXFR from the server at this address.
    Secondary {
        /// The zones' origins.
        origins: &'a [&'a str],
        /// Where to ask.
        primary: SocketAddr,
    },
}

/// Whether a program can be run.
pub fn is_installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program} || test -x /usr/sbin/{program}")])
        .output();
    found.is_ok_and(|output| output.status.success())
}

/// Starts NSD in `dir`.
pub fn nsd(dir: &Path, role: &Role<'_>) -> Server {
    let port = free_port();
    fs::create_dir_all(dir).unwrap();
    let shown = dir.display();
    let mut config = format!(
        "server:\n ip-address: 127.0.0.1@{port}\n server-count: 1\n username: \"\"\n zonesdir: \"{shown}\"\n \
         database: \"\"\n pidfile: \"{shown}/nsd.pid\"\n xfrdfile: \"{shown}/xfrd.state\"\n \
         zonelistfile: \"{shown}/zone.list\"\n xfrdir: \"{shown}\"\n rrl-ratelimit: 0\n minimal-responses: no\n \
         refuse-any: no\nremote-control:\n control-enable: no\n"
    );
    let mut add = |origin: &str, more: String| {
        config += &format!("zone:\n name: {origin}\n zonefile: \"{shown}/{origin}zone\"\n{more}");
    };
    match role {
        Role::Primary(zones) => zones.iter().for_each(|zone| add(&zone.origin, String::new())),
        Role::Secondary { origins, primary } => {
            let from = format!("{}@{}", primary.ip(), primary.port());
            for origin in *origins {
                add(
                    origin,
                    format!(
                        " request-xfr: AXFR {from} NOKEY\n allow-notify: 127.0.0.1 NOKEY\n provide-xfr: 127.0.0.1 NOKEY\n"
                    ),
                );
            }
        }
    }
    write_zones(dir, role);
    let conf = dir.join("nsd.conf");
    fs::write(&conf, config).unwrap();
    start("NSD", Command::new("/usr/sbin/nsd").arg("-d").arg("-c").arg(conf), dir, port)
}

/// Starts Knot in `dir`.
pub fn knot(dir: &Path, role: &Role<'_>) -> Server {
    let port = free_port();
    fs::create_dir_all(dir).unwrap();
    let shown = dir.display();
    let mut config = format!(
        "server:\n  rundir: \"{shown}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: warning\ndatabase:\n  storage: \"{shown}/db\"\n"
    );
    let (remote, zones): (String, Vec<&str>) = match role {
        Role::Primary(zones) => (String::new(), zones.iter().map(|zone| zone.origin.as_str()).collect()),
        Role::Secondary { origins, primary } => {
            config +=
                &format!("remote:\n  - id: primary\n    address: {}@{}\n", primary.ip(), primary.port());
            config += "acl:\n  - id: anyone\n    address: 127.0.0.1\n    action: transfer\n";
            ("    master: primary\n    acl: anyone\n".to_owned(), origins.to_vec())
        }
    };
    config += &format!(
        "template:\n  - id: default\n    storage: \"{shown}\"\n    file: \"%s.zone\"\n    semantic-checks: off\n    \
         journal-content: none\n    zonefile-load: whole\nzone:\n"
    );
    for origin in zones {
        config += &format!("  - domain: {origin}\n{remote}");
    }
    write_zones(dir, role);
    let conf = dir.join("knot.conf");
    fs::write(&conf, config).unwrap();
    start("Knot", Command::new("/usr/sbin/knotd").arg("-c").arg(conf), dir, port)
}

fn write_zones(dir: &Path, role: &Role<'_>) {
    if let Role::Primary(zones) = role {
        for zone in *zones {
            fs::write(dir.join(format!("{}zone", zone.origin)), &zone.text).unwrap();
        }
    }
}

fn start(name: &'static str, command: &mut Command, dir: &Path, port: u16) -> Server {
    let log = fs::File::create(dir.join("log")).unwrap();
    let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    Server { name, addr: SocketAddr::from(([127, 0, 0, 1], port)), process }
}

impl Server {
    /// Waits until the server answers for each of these origins.
    pub fn until_it_serves(&mut self, origins: impl Iterator<Item = String>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        for origin in origins {
            let query = crate::messages::query(1, &origin, 6, None, false);
            loop {
                assert!(Instant::now() < deadline, "{} does not serve {origin}", self.name);
                assert!(self.process.try_wait().unwrap().is_none(), "{} has ended by itself", self.name);
                let mut answer = [0; 1500];
                // A port without a listener answers with an error at once.
                match socket.send(&query).and_then(|_| socket.recv(&mut answer)) {
                    Ok(len) if len > 12 && answer[3] & 15 == 0 && answer[7] > 0 => break,
                    Ok(_) | Err(_) => thread::yield_now(),
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, since NSD has children that it takes along.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// A port that is free for UDP and TCP.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
