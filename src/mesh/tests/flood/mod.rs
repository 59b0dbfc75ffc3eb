//! Handshakes over QUIC that are begun and never finished, many at a time.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ClientConfig, Connecting, Endpoint};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far longer than a node takes to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// What of the node's answers gets back to who floods it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// Nothing: the address is somebody else's.
    Forged,
    /// What asks for a proof of the address. The proof is sent, and then no more.
    Slow,
}

/// A flood that goes on until it is dropped: whoever floods repeats itself as QUIC does.
pub struct Flood {
    _connecting: Vec<Connecting>,
    _endpoint: Endpoint,
    relay: JoinHandle<()>,
    asked: watch::Receiver<usize>,
}

impl Flood {
    /// Begins `count` handshakes with the node at `target`, from one port at `from`.
    pub async fn begin(
        target: SocketAddr,
        from: IpAddr,
        sender: Sender,
        count: usize,
        config: &ClientConfig,
    ) -> Flood {
        // All that is said passes through here.
        let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let outside = UdpSocket::bind((from, 0)).await.unwrap();
        outside.connect(target).await.unwrap();
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let (client, here) = (endpoint.local_addr().unwrap(), inside.local_addr().unwrap());
        let (tell, asked) = watch::channel(0);
        let relay = tokio::spawn(async move {
            let (mut out, mut back) = ([0; 2048], [0; 2048]);
            let mut seen = HashSet::new();
            loop {
                tokio::select! {
                    // Who is full answers less, which is no error of ours.
                    Ok(bytes) = inside.recv(&mut out) => drop(outside.send(&out[..bytes]).await),
                    Ok(bytes) = outside.recv(&mut back) => {
                        let packet = &back[..bytes];
                        if !is_retry(packet) {
                            continue;
                        }
                        seen.extend(destination(packet).map(<[u8]>::to_vec));
                        tell.send_replace(seen.len());
                        if sender == Sender::Slow {
                            let _ = inside.send_to(packet, client).await;
                        }
                    }
                }
            }
        });
        let connecting =
            (0..count).map(|_| endpoint.connect_with(config.clone(), here, "localhost").unwrap()).collect();
        Flood { _connecting: connecting, _endpoint: endpoint, relay, asked }
    }

    /// Waits until so many of the handshakes were answered by asking for a proof of the address: the node is full of those
    /// that have none. Not all are answered at once, since both sides lose packets in such a crowd.
    pub async fn is_asked_for_proof(&mut self, count: usize) {
        let asked = timeout(LIMIT, self.asked.wait_for(|asked| *asked >= count)).await.is_ok();
        let so_far = *self.asked.borrow();
        assert!(asked, "{so_far} of {count} were asked within {LIMIT:?}");
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

/// Whether a packet asks for a proof of the address (RFC 9000, 17.2.5).
fn is_retry(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0xf0 == 0xf0)
}

/// The connection that a packet with a long header is for (RFC 9000, 17.2).
fn destination(packet: &[u8]) -> Option<&[u8]> {
    let is_long = packet.first()? & 0x80 != 0;
    let length = usize::from(*packet.get(5)?);
    packet.get(6..6 + length).filter(|_| is_long)
}
