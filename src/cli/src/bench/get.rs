//! Local reads over HTTP, each client on a connection of its own.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Bench, Tally, key, measure};

pub(super) async fn run(bench: &Bench) -> anyhow::Result<Tally> {
    let cluster = bench.connection.cluster()?;
    let target = bench.target().await?;
    let nodes = cluster.reader()?.nodes().to_vec();
    let hosts: Vec<String> = nodes
        .iter()
        .filter(|node| target.as_ref().is_none_or(|name| *name == node.name))
        .map(|node| node.url.trim_start_matches("http://").to_owned())
        .collect();
    anyhow::ensure!(
        !hosts.is_empty(),
        "the leader's HTTP port is not known: name it with --http, or use --to all"
    );
    let (app, keys) = (bench.app.clone(), bench.keys);
    measure(bench.clients.get(), bench.duration(), |n, stop| {
        let (host, app) = (hosts[n % hosts.len()].clone(), app.clone());
        async move {
            let stream =
                TcpStream::connect(&host).await.with_context(|| format!("cannot connect to {host}"))?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its end shows in the requests.
            let connection = tokio::spawn(connection);
            let mut tally = Tally::empty()?;
            while !stop.load(Ordering::Relaxed) {
                let path = format!("/v1/apps/{app}/kv/{}", key(keys));
                let request = Request::get(path).header("host", &host).body(Empty::<Bytes>::new())?;
                let begun = Instant::now();
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                // A key that was never written is an answer like any other.
                let is_ok = answer.status().is_success() || answer.status().as_u16() == 404;
                answer.into_body().collect().await?;
                tally.count(begun, is_ok)?;
            }
            connection.abort();
            Ok(tally)
        }
    })
    .await
}
