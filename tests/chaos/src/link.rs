//! A link between two nodes: one UDP socket, which each of them takes for the other one. What comes from one node goes on
//! to the other, so both find all of QUIC's packets under the one address that they know, in either direction.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::line::{Conditions, Line, Tally};

/// The largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;
/// Datagrams that are taken from the socket before what is due goes on.
const BURST: usize = 64;
/// Room in the kernel for bursts. A system that gives less loses more of them, as a network may.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// A link that carries as long as this lives.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    ends: [SocketAddr; 2],
    /// From the first end to the second, and back.
    lines: Arc<Mutex<[Line<Bytes>; 2]>>,
    carrying: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

impl Link {
    /// Opens a perfect link between two addresses, on a port that is free.
    ///
    /// # Errors
    /// The operating system gives no socket.
    pub async fn open(ends: [SocketAddr; 2], mut random: StdRng) -> io::Result<Link> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let _ = SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER_BYTES);
        let address = socket.local_addr()?;
        let lines = [(); 2].map(|()| Line::new(StdRng::seed_from_u64(random.next_u64())));
        let lines = Arc::new(Mutex::new(lines));
        let carrying = tokio::spawn(carry(socket, ends, lines.clone()));
        Ok(Link { address, ends, lines, carrying })
    }

    /// Where both ends send what is for the other.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the conditions for what `from` sends.
    ///
    /// # Panics
    /// If that is no end of this link.
    pub fn change(&self, from: SocketAddr, change: impl FnOnce(&mut Conditions)) {
        let place = self.ends.iter().position(|end| *end == from).expect("an end of this link");
        change(&mut locked(&self.lines)[place].conditions);
    }

    /// What became of the datagrams from the first end, and from the second.
    pub fn tallies(&self) -> [Tally; 2] {
        locked(&self.lines).each_ref().map(Line::tally)
    }
}

fn locked(lines: &Mutex<[Line<Bytes>; 2]>) -> MutexGuard<'_, [Line<Bytes>; 2]> {
    lines.lock().expect("nothing panics while it is held")
}

/// Carries until it is aborted. An error of the socket concerns one datagram, which is lost then.
async fn carry(socket: UdpSocket, ends: [SocketAddr; 2], lines: Arc<Mutex<[Line<Bytes>; 2]>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let due = locked(&lines).iter().filter_map(Line::next_due).min();
        tokio::select! {
            _ = socket.readable() => {
                for _ in 0..BURST {
                    let Ok((length, from)) = socket.try_recv_from(&mut buffer) else { break };
                    // Nobody else has any business here.
                    let Some(place) = ends.iter().position(|end| *end == from) else { continue };
                    locked(&lines)[place].send(Instant::now(), Bytes::copy_from_slice(&buffer[..length]));
                }
            }
            () = until(due) => {}
        }
        for place in 0..ends.len() {
            loop {
                let arrived = locked(&lines)[place].receive(Instant::now());
                let Some(datagram) = arrived else { break };
                let _ = socket.send_to(&datagram, ends[1 - place]).await;
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn ends() -> ([UdpSocket; 2], Link) {
        let bound = || async { UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap() };
        let sockets = [bound().await, bound().await];
        let ends = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
        (sockets, Link::open(ends, StdRng::seed_from_u64(7)).await.unwrap())
    }

    async fn received(socket: &UdpSocket, link: &Link) -> Vec<u8> {
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from, link.address(), "each end takes the link for the other end");
        buffer[..length].to_vec()
    }

    #[tokio::test]
    async fn both_ends_reach_each_other_through_one_address() {
        let ([one, other], link) = ends().await;
        one.send_to(b"there", link.address()).await.unwrap();
        assert_eq!(received(&other, &link).await, b"there");
        other.send_to(b"and back", link.address()).await.unwrap();
        assert_eq!(received(&one, &link).await, b"and back");
        assert_eq!(link.tallies().map(|tally| tally.sent), [1, 1]);
    }

    #[tokio::test]
    async fn one_direction_is_cut_and_the_other_is_not() {
        let ([one, other], link) = ends().await;
        link.change(one.local_addr().unwrap(), |conditions| conditions.is_cut = true);
        one.send_to(b"lost", link.address()).await.unwrap();
        other.send_to(b"back", link.address()).await.unwrap();
        // The socket gives datagrams in order: what was lost came before this one.
        assert_eq!(received(&one, &link).await, b"back");
        link.change(one.local_addr().unwrap(), |conditions| conditions.is_cut = false);
        one.send_to(b"healed", link.address()).await.unwrap();
        assert_eq!(received(&other, &link).await, b"healed");
        assert_eq!(link.tallies().map(|tally| tally.lost), [1, 0]);
    }

    #[tokio::test]
    async fn strangers_are_not_carried() {
        let ([one, other], link) = ends().await;
        let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        stranger.send_to(b"stranger", link.address()).await.unwrap();
        one.send_to(b"known", link.address()).await.unwrap();
        assert_eq!(received(&other, &link).await, b"known");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_delayed_arrives_when_its_time_has_come() {
        let ([one, other], link) = ends().await;
        let delay = Duration::from_secs(3600);
        link.change(one.local_addr().unwrap(), |conditions| conditions.delay = delay);
        let begun = Instant::now();
        one.send_to(b"late", link.address()).await.unwrap();
        assert_eq!(received(&other, &link).await, b"late");
        assert!(begun.elapsed() >= delay);
    }
}
