//! Reads over HTTP, from whichever node answers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use rustls::RootCertStore;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use synod_auth::tls;
use tokio::time::{Instant, sleep};

use crate::exit::Failure;

/// The pause before nodes are asked again that could not answer.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What is accepted where the form of the answer is the node's to choose.
const ANY_FORM: &str = "*/*";
/// To open a connection to one node.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// Where a node answers readers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpNode {
    /// The node's name, or its address where that is all that is known.
    pub name: String,
    /// `http://host:port` or `https://host:port`, without a slash at the end.
    pub url: String,
    /// Where it answers DNS queries, as `host:port`, if that is known.
    pub dns: Option<String>,
}

impl HttpNode {
    /// Whether it answers in TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// The port at `address`: `host:port`, or an address with its scheme.
    pub fn named(name: String, address: &str) -> HttpNode {
        let address = address.trim_end_matches('/');
        let has_scheme = address.contains("://");
        let url = if has_scheme { address.to_owned() } else { format!("http://{address}") };
        HttpNode { name, url, dns: None }
    }

    /// The same node, which answers DNS queries at `dns`.
    pub fn with_dns(self, dns: Option<String>) -> HttpNode {
        HttpNode { dns, ..self }
    }
}

/// How to read.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Reading")]
pub(crate) struct ReadOptions {
    /// Wait until the node has executed so many commands: the stateNdx of a receipt
    #[arg(long, value_name = "STATENDX")]
    min: Option<u64>,
    /// local: what the node has; linearizable: everything that was acknowledged before the read began
    #[arg(long, value_enum, value_name = "LEVEL")]
    consistency: Option<Consistency>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Consistency {
    Local,
    Linearizable,
}

impl ReadOptions {
    /// Everything that was acknowledged before the read began.
    pub(crate) fn linearizable() -> ReadOptions {
        ReadOptions { consistency: Some(Consistency::Linearizable), ..ReadOptions::default() }
    }

    /// As parameters of a query.
    pub(crate) fn parameters(self) -> Vec<(&'static str, String)> {
        let consistency = self.consistency.map(|level| match level {
            Consistency::Local => "local",
            Consistency::Linearizable => "linearizable",
        });
        let min = self.min.map(|min| ("min", min.to_string()));
        min.into_iter().chain(consistency.map(|level| ("consistency", level.to_owned()))).collect()
    }
}

/// Reads over HTTP.
#[derive(Clone, Debug)]
pub struct Reader {
    http: reqwest::Client,
    nodes: Vec<HttpNode>,
    timeout: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// What `State-Ndx` says.
    pub(crate) state_ndx: Option<u64>,
    /// What `Last-Change` says.
    pub(crate) last_change: Option<u64>,
    /// The body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body, which is JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body)
            .context("the answer is not what this program expects; is it of the same version?")
    }
}

/// How one node did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// It was not reached, or broke off.
    #[error("{0}")]
    Unreachable(String),
    /// It answered with a problem.
    #[error("{}", .0.text())]
    Problem(Problem),
}

/// A problem (RFC 9457), as far as it is needed here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    r#type: String,
    detail: String,
    pub(crate) status: u16,
    /// Of what is forgotten: the oldest state that is not.
    pub(crate) oldest: Option<u64>,
    /// What `State-Ndx` says, where the problem concerns one application.
    #[serde(skip)]
    pub(crate) state_ndx: Option<u64>,
}

impl Problem {
    /// There is nothing of that name in the application, which answered.
    fn is_no_such_thing(&self) -> bool {
        let nothing =
            ["/no-such-key", "/no-such-lease", "/no-such-zone", "/no-such-version", "/no-such-certificate"];
        nothing.iter().any(|end| self.r#type.ends_with(end))
    }

    /// The node was not as far in time as it was asked to be.
    pub(crate) fn is_timeout(&self) -> bool {
        self.r#type.ends_with("/timeout")
    }

    /// The node has too much to do just now.
    pub(crate) fn is_busy(&self) -> bool {
        self.r#type.ends_with("/busy")
    }

    /// The node's log begins further on.
    pub(crate) fn is_log_cut(&self) -> bool {
        self.r#type.ends_with("/log-cut")
    }

    /// The node has no snapshot, or knows of none.
    pub(crate) fn is_no_snapshot(&self) -> bool {
        ["/no-such-snapshot", "/not-found"].iter().any(|end| self.r#type.ends_with(end))
    }

    /// It is about something that the application has forgotten.
    pub(crate) fn is_compacted(&self) -> bool {
        self.r#type.ends_with("/compacted")
    }

    /// In words.
    pub(crate) fn text(&self) -> String {
        if self.detail.is_empty() { format!("HTTP status {}", self.status) } else { self.detail.clone() }
    }
}

impl Reader {
    /// A reader of `nodes`, the preferred one first. Of those at an `https` address, it trusts whom the authorities in
    /// `roots` know.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn new(
        nodes: Vec<HttpNode>,
        roots: &Arc<RootCertStore>,
        timeout: Duration,
    ) -> anyhow::Result<Reader> {
        let tls = tls::backend_client(roots, &[])?;
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            .no_proxy()
            .connect_timeout(CONNECT_WAIT.min(timeout))
            .build()?;
        Ok(Reader { http, nodes, timeout })
    }

    /// Where it reads.
    pub fn nodes(&self) -> &[HttpNode] {
        &self.nodes
    }

    /// The same, with this node before the others.
    pub(crate) fn preferring(mut self, node: &HttpNode) -> Reader {
        self.nodes.sort_by_key(|other| other != node);
        self
    }

    /// The connections that it reads over, and how long it is patient.
    pub(crate) fn http(&self) -> (&reqwest::Client, Duration) {
        (&self.http, self.timeout)
    }

    /// Reads from the first node that has an answer. A node that cannot be reached, or cannot answer now, is passed by.
    /// While there is one of the latter, all are asked again until the time is over: there may be an election.
    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<Answer, Failure> {
        self.get_as(ANY_FORM, path, parameters).await
    }

    /// The same, in this form (a media type).
    pub(crate) async fn get_as(
        &self,
        form: &str,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Answer, Failure> {
        let end = Instant::now() + self.timeout;
        loop {
            match self.ask_each(form, path, parameters).await? {
                Ok(answer) => return Ok(answer),
                Err(failure @ Failure::Unreachable(_)) => return Err(failure),
                Err(failure) if Instant::now() + ASK_AGAIN >= end => return Err(failure),
                Err(_) => sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Asks each node once, until one has an answer. The inner error is worth another try.
    async fn ask_each(
        &self,
        form: &str,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Result<Answer, Failure>, Failure> {
        let mut failures = Vec::new();
        let mut is_reachable = false;
        for node in &self.nodes {
            match self.ask(self.timeout, form, node, path, parameters).await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(ReadError::Problem(problem)) if problem.is_no_such_thing() => {
                    return Err(Failure::NoSuchKey(problem.text()));
                }
                Err(ReadError::Problem(problem)) if problem.status < 500 => {
                    return Err(Failure::Refused(problem.text()));
                }
                Err(error) => {
                    failures.push(format!("{}: {error}", node.name));
                    is_reachable |= matches!(error, ReadError::Problem(_));
                }
            }
        }
        let text = format!("no node answered: {}", failures.join("; "));
        Ok(Err(if is_reachable { Failure::Refused(text) } else { Failure::Unreachable(text) }))
    }

    /// Reads from one node.
    pub(crate) async fn get_from(
        &self,
        node: &HttpNode,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Answer, ReadError> {
        self.get_within(self.timeout, node, path, parameters).await
    }

    /// Reads from one node, which has so much time to answer.
    pub(crate) async fn get_within(
        &self,
        timeout: Duration,
        node: &HttpNode,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Answer, ReadError> {
        self.ask(timeout, ANY_FORM, node, path, parameters).await
    }

    async fn ask(
        &self,
        timeout: Duration,
        form: &str,
        node: &HttpNode,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Answer, ReadError> {
        let address = address(node, path, parameters);
        let asked = self.http.get(&address).header(ACCEPT, form).timeout(timeout).send().await;
        let response = asked.map_err(|why| unreachable(&address, &why))?;
        let number = |name: &str| response.headers().get(name)?.to_str().ok()?.parse().ok();
        let (state_ndx, last_change) = (number("state-ndx"), number("last-change"));
        let status = response.status();
        if !status.is_success() {
            return Err(problem(&address, response).await);
        }
        let body = response.bytes().await.map_err(|why| unreachable(&address, &why))?;
        Ok(Answer { state_ndx, last_change, body })
    }
}

/// Where `path` is at a node, with these parameters.
pub(crate) fn address(node: &HttpNode, path: &str, parameters: &[(&str, String)]) -> String {
    let mut address = format!("{}{path}", node.url);
    for (n, (name, value)) in parameters.iter().enumerate() {
        let separator = if n == 0 { '?' } else { '&' };
        address.push_str(&format!("{separator}{name}={}", percent_encoded(value.as_bytes())));
    }
    address
}

/// What an answer says that is no success.
pub(crate) async fn problem(address: &str, response: reqwest::Response) -> ReadError {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let state_ndx = header("state-ndx").and_then(|text| text.parse().ok());
    let is_problem =
        header(CONTENT_TYPE.as_str()).is_some_and(|value| value.starts_with("application/problem+json"));
    let plain = Problem { status: response.status().as_u16(), ..Problem::default() };
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(why) => return unreachable(address, &why),
    };
    let problem: Option<Problem> = is_problem.then(|| serde_json::from_slice(&body).ok()).flatten();
    ReadError::Problem(Problem { state_ndx, ..problem.unwrap_or(plain) })
}

/// What lies at the root of an error says more than the layers around it.
pub(crate) fn unreachable(address: &str, error: &reqwest::Error) -> ReadError {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let mut why = if error.is_timeout() { "no answer in time".to_owned() } else { root.to_string() };
    if why.starts_with("invalid peer certificate") {
        why.push_str("; name the authority that issued it with --http-ca, or http_ca in the client file");
    }
    let server: Vec<&str> = address.splitn(4, '/').take(3).collect();
    ReadError::Unreachable(format!("{} is not reachable: {why}", server.join("/")))
}

/// Bytes as they go into a path or a query: everything but unreserved characters escaped (RFC 3986).
pub(crate) fn percent_encoded(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_their_scheme() {
        for (address, url) in
            [("a:1", "http://a:1"), ("http://a:1/", "http://a:1"), ("https://a", "https://a")]
        {
            assert_eq!(HttpNode::named("n".to_owned(), address).url, url);
        }
        assert_eq!(percent_encoded("a/ü ".as_bytes()), "a%2F%C3%BC%20");
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let port = crate::ports::free(std::net::Ipv4Addr::LOCALHOST.into(), 1).unwrap()[0];
        let node = HttpNode::named("node1".to_owned(), &format!("127.0.0.1:{port}"));
        let reader = Reader::new(vec![node], &RootCertStore::empty().into(), Duration::from_secs(1)).unwrap();
        let error = reader.get("/v1/apps", &[]).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Failure::Unreachable(_)), "{text}");
        assert!(text.contains("node1: http://127.0.0.1:") && text.contains("is not reachable"), "{text}");
    }
}
