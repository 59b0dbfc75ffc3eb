//! Front ends in processes of their own, beside the nodes of a cluster.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::timeout;

use crate::{Cluster, PATIENCE, Process, eventually, free_ports, program};

/// Front ends of one node, which run or not.
pub struct Fronts {
    running: Option<Process>,
    config: PathBuf,
    http: reqwest::Client,
    url: String,
    dns: SocketAddr,
}

/// Sockets of front ends, held by somebody else.
pub struct GivenSockets {
    http: TcpListener,
    dns_tcp: TcpListener,
    dns_udp: UdpSocket,
}

/// An answer over HTTP.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The body.
    ///
    /// # Panics
    /// If it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// The name of the type of problem that it tells of.
    pub fn problem(&self) -> String {
        let kind = &self.json()["type"];
        kind.as_str()
            .and_then(|kind| kind.strip_prefix("/problems/"))
            .expect("a problem has a type")
            .to_owned()
    }

    /// The same; empty, if it tells of none.
    pub fn problem_if_any(&self) -> String {
        if self.status.is_success() { String::new() } else { self.problem() }
    }

    /// What is in a field of the header; empty, if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Fronts {
    /// Front ends of a node that has a section `front_ends`, with HTTP and DNS on ports of their own. They do not run yet.
    pub fn of(cluster: &Cluster, n: usize) -> Fronts {
        let socket = cluster.data_dir(n).join("lanes").join("front-ends.sock");
        let ports = free_ports(2);
        let (http, dns) = (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
        let config = cluster.path(&format!("front-{}.toml", ports[0]));
        let text = format!(
            "socket = {socket:?}\n[http]\naddr = \"{http}\"\n[dns]\naddr = \"{dns}\"\nmax_lag = \"2s\"\n"
        );
        fs::write(&config, text).unwrap();
        Fronts {
            running: None,
            config,
            http: cluster.readers.http.clone(),
            url: format!("http://{http}"),
            dns: dns.parse().unwrap(),
        }
    }

    /// Starts them, and does not wait for them.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "they run already");
        self.running = Some(Process::start_as("front", &self.config, &[]));
    }

    /// Waits until their ports are open.
    pub async fn ready(&mut self) {
        let process = self.running.as_mut().expect("they were started");
        let Some(ready) = process.ready.take() else { return };
        match timeout(PATIENCE, ready).await {
            Ok(Ok(line)) if line.contains("\"ready\":true") => {}
            other => panic!("the front ends did not start: {other:?}\n{}", self.log()),
        }
    }

    /// Starts them and waits until their ports are open.
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Starts them on sockets that are open already, as systemd does, and waits until they are ready.
    pub async fn start_on(&mut self, given: &GivenSockets) {
        assert!(self.running.is_none(), "they run already");
        self.running = Some(self.process_on(given));
        let out = self.config.with_extension("out");
        eventually("the front ends are ready", async || {
            fs::read_to_string(&out).is_ok_and(|said| said.contains("\"ready\":true"))
        })
        .await;
        fs::remove_file(out).unwrap();
    }

    fn process_on(&self, given: &GivenSockets) -> Process {
        // The three places of a child that need no unsafe code are those of its standard streams.
        let script = format!(
            "exec 3<&0 4<&1 5<&2 0</dev/null 1>{out:?} 2>>{log:?}; LISTEN_FDS=3 LISTEN_PID=$$ exec {program:?} front --output json --config {config:?}",
            out = self.config.with_extension("out"),
            log = self.config.with_extension("log"),
            program = program(),
            config = self.config,
        );
        let fd = |socket: OwnedFd| Stdio::from(socket);
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdin(fd(given.http.try_clone().unwrap().into()))
            .stdout(fd(given.dns_tcp.try_clone().unwrap().into()))
            .stderr(fd(given.dns_udp.try_clone().unwrap().into()))
            .spawn()
            .unwrap();
        Process { child, leash: None, ready: None }
    }

    /// Runs them where they are not to start; gives what they said.
    pub fn refused_on(&mut self, given: &GivenSockets) -> String {
        let before = self.log().len();
        let mut process = self.process_on(given);
        assert_eq!(process.child.wait().unwrap().code(), Some(1), "{}", self.log());
        self.log().split_off(before)
    }

    /// Opens their sockets.
    pub fn open(&self) -> GivenSockets {
        let http = self.url.strip_prefix("http://").unwrap();
        GivenSockets {
            http: TcpListener::bind(http).unwrap(),
            dns_tcp: TcpListener::bind(self.dns).unwrap(),
            dns_udp: UdpSocket::bind(self.dns).unwrap(),
        }
    }

    /// Holds their process as if its machine stood still.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.running.as_ref().expect("only who runs takes a signal");
        kill_process(Pid::from_child(&process.child), signal).unwrap();
    }

    /// Kills them with SIGKILL.
    pub fn kill(&mut self) {
        drop(self.running.take().expect("only who runs can be killed"));
    }

    /// Lets them stop in order.
    pub async fn stop(&mut self) {
        drop(self.running.as_mut().expect("only who runs can be stopped").leash.take());
        let status = self.ended().await;
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Waits until they end by themselves.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let process = self.running.as_mut().expect("only who runs can end");
        let mut status = None;
        eventually("the front ends end", async || {
            status = process.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        self.running = None;
        status.expect("they have ended")
    }

    /// Everything that they have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.config.with_extension("log")).unwrap_or_default()
    }

    /// Where their configuration is.
    pub fn config(&self) -> &PathBuf {
        &self.config
    }

    /// Where they answer over DNS.
    pub fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// A request of theirs.
    pub fn request(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    /// Asks them.
    pub async fn get(&self, path: &str) -> Reply {
        self.try_get(path).await.unwrap()
    }

    /// The same, where they may not be there.
    ///
    /// # Errors
    /// What the client met.
    pub async fn try_get(&self, path: &str) -> Result<Reply, reqwest::Error> {
        reply(self.request(path)).await
    }
}

/// Asks a node.
pub async fn of_node(cluster: &Cluster, n: usize, path: &str) -> Reply {
    reply(cluster.readers.http.get(format!("{}{path}", cluster.readers.urls[n]))).await.unwrap()
}

async fn reply(request: RequestBuilder) -> Result<Reply, reqwest::Error> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    Ok(Reply { status, headers, body: answer.bytes().await? })
}
