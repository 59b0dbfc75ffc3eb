//! The links between all nodes of a cluster.

use std::io;
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::line::{Conditions, Tally};
use crate::link::Link;

/// A link for each two nodes.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<SocketAddr>,
    /// Of the nodes `a` and `b`, where `a` is less than `b`.
    links: Vec<([usize; 2], Link)>,
}

impl Network {
    /// Opens perfect links between nodes that listen at these addresses.
    ///
    /// # Errors
    /// The operating system gives no sockets.
    pub async fn open(nodes: Vec<SocketAddr>, random: &mut StdRng) -> io::Result<Network> {
        let mut links = Vec::new();
        for b in 0..nodes.len() {
            for a in 0..b {
                let random = StdRng::seed_from_u64(random.next_u64());
                links.push(([a, b], Link::open([nodes[a], nodes[b]], random).await?));
            }
        }
        Ok(Network { nodes, links })
    }

    /// Where one of two nodes finds the other.
    pub fn address(&self, one: usize, other: usize) -> SocketAddr {
        self.link(one, other).address()
    }

    /// Changes the conditions for what `from` sends to `to`.
    pub fn change(&self, from: usize, to: usize, change: impl FnOnce(&mut Conditions)) {
        self.link(from, to).change(self.nodes[from], change);
    }

    /// Changes the conditions in every direction.
    pub fn change_all(&self, change: impl Fn(&mut Conditions)) {
        for ([a, b], link) in &self.links {
            [a, b].into_iter().for_each(|from| link.change(self.nodes[*from], &change));
        }
    }

    /// Makes every link perfect.
    pub fn heal(&self) {
        self.change_all(|conditions| *conditions = Conditions::default());
    }

    /// What became of all datagrams so far.
    pub fn tally(&self) -> Tally {
        let tallies = self.links.iter().flat_map(|(_, link)| link.tallies());
        tallies.fold(Tally::default(), |sum, one| Tally {
            sent: sum.sent + one.sent,
            lost: sum.lost + one.lost,
            duplicated: sum.duplicated + one.duplicated,
            reordered: sum.reordered + one.reordered,
        })
    }

    fn link(&self, one: usize, other: usize) -> &Link {
        let between = [one.min(other), one.max(other)];
        let (_, link) = self.links.iter().find(|(nodes, _)| *nodes == between).expect("two different nodes");
        link
    }
}
