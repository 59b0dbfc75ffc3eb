//! A node's identity with a program of its own behind it. It knows how to lead, and decrees whatever it is told.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use synod_auth::Unverified;
use synod_mesh::{Listen, Mesh, MeshConfig, PeerConfig, PeerStatus};
use synod_types::{AppNdx, Ballot, Decree, Digest, GroupMessage, Message, NodeId, Slot};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};

use crate::founding::{Founded, name};

/// How long an honest node's answer may take, before the rogue tries again under a higher ballot.
const ANSWER: Duration = Duration::from_millis(500);
/// Far more tries than it takes.
const TRIES: usize = 100;

/// The rogue member.
pub struct Rogue {
    mesh: Mesh,
    heard: mpsc::UnboundedReceiver<(NodeId, Message)>,
    id: NodeId,
    honest: Vec<NodeId>,
    number: u64,
}

impl Rogue {
    /// Sits where node `own` would, and speaks with the nodes in `honest`.
    pub async fn start(founded: &Founded, own: usize, honest: &[usize]) -> Rogue {
        let identity = Arc::new(founded.identity(own));
        let id = identity.node_id();
        let peer = |&i: &usize| PeerConfig {
            id: founded.identity(i).node_id(),
            name: name(i),
            address: founded.mesh_address(i),
            server_name: name(i),
        };
        let peers: Vec<_> = honest.iter().map(peer).collect();
        let honest = peers.iter().map(|peer| peer.id).collect();
        let address = founded.mesh_address(own);
        let listen: SocketAddr = address.parse().expect("an address on loopback");
        let config = MeshConfig {
            directory: [7; 16],
            directories: Arc::new(synod_mesh::NoDirectories),
            cluster: founded.cluster,
            identity,
            listen: Listen::Address(listen),
            address,
            program: synod_types::Program::of_node(),
            retry_delay: Duration::from_millis(50),
            catch_up_rate: u32::MAX,
            peers,
        };
        let (sender, heard) = mpsc::unbounded_channel();
        let mesh = Mesh::start(config, move |from, _, Unverified(message)| {
            // The test may have ended.
            let _ = sender.send((from, message));
            std::future::ready(())
        });
        let rogue = Rogue { mesh: mesh.expect("its port is free"), heard, id, honest, number: 0 };
        let mut looks = interval(Duration::from_millis(5));
        let up = async {
            while !rogue.mesh.peers().iter().all(PeerStatus::is_up) {
                looks.tick().await;
            }
        };
        timeout(Duration::from_secs(30), up).await.expect("its certificate is good");
        rogue
    }

    pub async fn stop(self) {
        self.mesh.close().await;
    }

    /// Waits for chain values that it has asked for.
    pub async fn hear_chain(&mut self) -> Vec<Digest> {
        loop {
            match self.heard.recv().await.expect("the mesh is there") {
                (_, Message::Chain { values, .. }) => return values,
                _ => continue,
            }
        }
    }

    /// The ballot under which it leads.
    pub fn ballot(&self) -> Ballot {
        Ballot { number: self.number, priority: u32::MAX, node: self.id, ..Ballot::ZERO }
    }

    pub fn send(&self, message: &Message) {
        self.mesh.send_to(&self.honest, message);
    }

    pub fn say(&self, app: AppNdx, message: GroupMessage) {
        self.send(&Message::Group { app, message });
    }

    /// Has every honest node accept a decree, and tells them that it is chosen.
    pub async fn decree(&mut self, app: AppNdx, decree: Decree) {
        for _ in 0..TRIES {
            if let Some(slot) = self.lead(app, &decree).await
                && self.is_accepted(app, slot).await
            {
                return self.say(app, GroupMessage::Learn { ballot: self.ballot(), chosen: slot });
            }
        }
        panic!("the honest nodes do not follow");
    }

    /// The same of a decree that nobody is to accept: there is no answer to wait for, and it is said to be chosen at once.
    pub async fn decree_unanswered(&mut self, app: AppNdx, decree: Decree) {
        for _ in 0..TRIES {
            if let Some(slot) = self.lead(app, &decree).await {
                return self.say(app, GroupMessage::Learn { ballot: self.ballot(), chosen: slot });
            }
        }
        panic!("the honest nodes do not follow");
    }

    /// Takes over, and proposes the decree behind what has to be proposed again; gives its slot. It keeps to what the
    /// honest nodes have accepted, since it is to be seen what is executed, and not that they can be set against each other.
    async fn lead(&mut self, app: AppNdx, decree: &Decree) -> Option<Slot> {
        while self.heard.try_recv().is_ok() {}
        self.number += 10;
        let ballot = self.ballot();
        self.say(app, GroupMessage::Prepare { ballot, from: Slot(1) });
        let mut promised = Vec::new();
        let mut last_chosen = Slot(0);
        let mut inherited: BTreeMap<Slot, (Ballot, Decree)> = BTreeMap::new();
        while promised.len() < self.honest.len() {
            match self.hear(app).await? {
                (from, GroupMessage::Promise { ballot: of, chosen, accepted, .. }) if of == ballot => {
                    promised.push(from);
                    last_chosen = last_chosen.max(chosen);
                    for held in accepted {
                        let best = inherited.entry(held.slot).or_insert((held.ballot, held.decree.clone()));
                        if held.ballot > best.0 {
                            *best = (held.ballot, held.decree);
                        }
                    }
                }
                (_, GroupMessage::Nack { promised, .. }) if promised > ballot => {
                    self.number = promised.number;
                    return None;
                }
                _ => {}
            }
        }
        let mut slot = last_chosen;
        let last = inherited.keys().next_back().copied().unwrap_or_default();
        while slot < last {
            slot = slot.next();
            let decree = inherited.remove(&slot).map_or(Decree::Noop, |(_, decree)| decree);
            self.say(app, GroupMessage::Accept { ballot, slot, decree, chosen: last_chosen });
        }
        slot = slot.next();
        self.say(app, GroupMessage::Accept { ballot, slot, decree: decree.clone(), chosen: last_chosen });
        Some(slot)
    }

    async fn is_accepted(&mut self, app: AppNdx, in_slot: Slot) -> bool {
        let ballot = self.ballot();
        let mut accepted = Vec::new();
        while accepted.len() < self.honest.len() {
            match self.hear(app).await {
                Some((from, GroupMessage::Accepted { ballot: of, slot }))
                    if of == ballot && slot == in_slot =>
                {
                    accepted.push(from);
                }
                Some(_) => {}
                None => return false,
            }
        }
        true
    }

    /// The next word of a group; `None` if none comes in time.
    async fn hear(&mut self, app: AppNdx) -> Option<(NodeId, GroupMessage)> {
        let next = async {
            loop {
                match self.heard.recv().await? {
                    (from, Message::Group { app: of, message }) if of == app => return Some((from, message)),
                    _ => {}
                }
            }
        };
        timeout(ANSWER, next).await.ok().flatten()
    }
}
