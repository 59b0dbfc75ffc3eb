//! Reads over HTTP, from whichever node answers.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use reqwest::header::CONTENT_TYPE;
use rustls::RootCertStore;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use synod_auth::tls;

use crate::exit::Failure;

/// To open a connection to one node.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// A readers' port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HttpNode {
    /// The node's name, or its address where that is all that is known.
    pub(crate) name: String,
    /// `http://host:port`, without a slash at the end.
    pub(crate) url: String,
}

impl HttpNode {
    /// The port at `address`: `host:port`, or an address with its scheme.
    pub(crate) fn named(name: String, address: &str) -> HttpNode {
        let address = address.trim_end_matches('/');
        let has_scheme = address.contains("://");
        let url = if has_scheme { address.to_owned() } else { format!("http://{address}") };
        HttpNode { name, url }
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
pub(crate) struct Reader {
    http: reqwest::Client,
    nodes: Vec<HttpNode>,
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
    status: u16,
}

impl Problem {
    fn is_no_such_key(&self) -> bool {
        self.r#type.ends_with("/no-such-key")
    }

    fn text(&self) -> String {
        if self.detail.is_empty() { format!("HTTP status {}", self.status) } else { self.detail.clone() }
    }
}

impl Reader {
    /// A reader of `nodes`, the preferred one first.
    pub(crate) fn new(nodes: Vec<HttpNode>, timeout: Duration) -> anyhow::Result<Reader> {
        // Only plain HTTP is spoken, and the client wants to be told of TLS all the same.
        let tls = tls::backend_client(&RootCertStore::empty().into(), &[])?;
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            .no_proxy()
            .connect_timeout(CONNECT_WAIT.min(timeout))
            .timeout(timeout)
            .build()?;
        Ok(Reader { http, nodes })
    }

    /// Where it reads.
    pub(crate) fn nodes(&self) -> &[HttpNode] {
        &self.nodes
    }

    /// Reads from the first node that has an answer. A node that cannot be reached, or cannot answer now, is passed by.
    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<Answer, Failure> {
        let mut failures = Vec::new();
        let mut is_reachable = false;
        for node in &self.nodes {
            match self.get_from(node, path, parameters).await {
                Ok(answer) => return Ok(answer),
                Err(ReadError::Problem(problem)) if problem.is_no_such_key() => {
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
        Err(if is_reachable { Failure::Refused(text) } else { Failure::Unreachable(text) })
    }

    /// Reads from one node.
    pub(crate) async fn get_from(
        &self,
        node: &HttpNode,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Answer, ReadError> {
        let mut address = format!("{}{path}", node.url);
        for (n, (name, value)) in parameters.iter().enumerate() {
            let separator = if n == 0 { '?' } else { '&' };
            address.push_str(&format!("{separator}{name}={}", percent_encoded(value.as_bytes())));
        }
        let response = self.http.get(&address).send().await.map_err(|why| unreachable(&address, &why))?;
        let number = |name: &str| response.headers().get(name)?.to_str().ok()?.parse().ok();
        let (state_ndx, last_change) = (number("state-ndx"), number("last-change"));
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_problem = content_type.is_some_and(|value| value.starts_with("application/problem+json"));
        let body = response.bytes().await.map_err(|why| unreachable(&address, &why))?;
        if status.is_success() {
            return Ok(Answer { state_ndx, last_change, body });
        }
        let problem = is_problem.then(|| serde_json::from_slice(&body).ok()).flatten();
        let plain = Problem { status: status.as_u16(), ..Problem::default() };
        Err(ReadError::Problem(problem.unwrap_or(plain)))
    }
}

/// What lies at the root of an error says more than the layers around it.
fn unreachable(address: &str, error: &reqwest::Error) -> ReadError {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let why = if error.is_timeout() { "no answer in time".to_owned() } else { root.to_string() };
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
        let reader = Reader::new(vec![node], Duration::from_secs(1)).unwrap();
        let error = reader.get("/v1/apps", &[]).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Failure::Unreachable(_)), "{text}");
        assert!(text.contains("node1: http://127.0.0.1:") && text.contains("is not reachable"), "{text}");
    }
}
