//! Front ends in processes of their own, beside the nodes of a cluster.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::{Cluster, PATIENCE, Process, eventually, free_ports};

/// Front ends of one node, which run or not.
pub struct Fronts {
    running: Option<Process>,
    config: PathBuf,
    http: reqwest::Client,
    url: String,
    dns: SocketAddr,
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
