//! Four nodes chat over loopback UDP, which loses every fifth packet here. What each of them delivers is printed as it
//! happens: an answer never comes before its question, and when Dan dies in the middle of a word that reached only Ben, it
//! still gets to all.
//!
//! ```sh
//! cargo run -p synod-delivery --example chat
//! ```

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_delivery::toolbox::{Delivery, Effect, Event, Node, Packet, Patience, Topic};
use synod_types::wire::{decode, encode};
use synod_types::{Digest, NodeId};

const NAMES: [&str; 4] = ["Ann", "Ben", "Cid", "Dan"];
/// The one who dies, and the only one whom his last word reaches.
const DAN: usize = 3;
const BEN: usize = 1;
/// Who says what when he hears what; Ann begins.
const ANSWERS: [(&str, usize, &str); 3] = [
    ("Shall we meet at noon?", BEN, "Noon is fine."),
    ("Noon is fine.", 2, "With me, too."),
    ("With me, too.", DAN, "I cannot st"),
];
const CHAT: Topic = Topic(1);
const TICK: Duration = Duration::from_millis(10);
/// After this the chat has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// One who chats.
struct Chatter {
    me: usize,
    node: Node,
    socket: UdpSocket,
    addresses: Vec<SocketAddr>,
    /// What was delivered here, in order.
    heard: Vec<String>,
    sent: u64,
    is_dead: bool,
    has_left: bool,
}

fn id(of: usize) -> NodeId {
    NodeId(Digest::of(&[NAMES[of].as_bytes()]))
}

fn name(node: NodeId) -> &'static str {
    NAMES.iter().enumerate().find(|(of, _)| id(*of) == node).map_or("somebody", |(_, name)| name)
}

impl Chatter {
    fn say(&mut self, text: &'static str) -> io::Result<()> {
        let mut effects = Vec::new();
        let said = self.node.broadcast(CHAT, Bytes::from_static(text.as_bytes()), &mut effects);
        said.map_err(io::Error::other)?;
        if self.me == DAN {
            println!("   {} dies", NAMES[self.me]);
            self.is_dead = true;
            effects.retain(|effect| matches!(effect, Effect::Send { to, .. } if *to == id(BEN)));
        }
        self.perform(effects)
    }

    fn step(&mut self, event: Event) -> io::Result<()> {
        let mut effects = Vec::new();
        self.node.step(event, &mut effects);
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> io::Result<()> {
        for effect in effects {
            match effect {
                Effect::Send { to, packet } => self.send(to, &packet)?,
                Effect::Deliver { delivery, .. } => self.hear(&delivery)?,
                Effect::Suspect(node) => println!("   {} suspects {}", NAMES[self.me], name(node)),
                Effect::Restore(node) => println!("   {} hears {} again", NAMES[self.me], name(node)),
                Effect::GaveUp(life) => println!("   {} gives {} up", NAMES[self.me], name(life.node)),
                Effect::Expelled(by) => println!("   {} was given up by {}", NAMES[self.me], name(by)),
                Effect::Gone => self.has_left = true,
                Effect::Up(_) | Effect::Left(_) => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, to: NodeId, packet: &Packet) -> io::Result<()> {
        self.sent += 1;
        let is_lost = self.sent.is_multiple_of(5) && !self.is_dead;
        if let Some(to) = (0..NAMES.len()).find(|of| id(*of) == to)
            && !is_lost
        {
            self.socket.send_to(&encode(packet), self.addresses[to])?;
        }
        Ok(())
    }

    fn hear(&mut self, delivery: &Delivery) -> io::Result<()> {
        let text = String::from_utf8_lossy(&delivery.payload).into_owned();
        println!("{} hears {}: {text}", NAMES[self.me], name(delivery.id.source.node));
        self.heard.push(text.clone());
        match ANSWERS.iter().find(|(question, who, _)| *question == text && *who == self.me) {
            Some((.., answer)) => self.say(answer),
            None => Ok(()),
        }
    }

    /// Takes what comes until the next tick, and the tick.
    fn turn(&mut self, tick: Instant) -> io::Result<()> {
        let mut buffer = [0; 65_536];
        loop {
            let rest = tick.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            self.socket.set_read_timeout(Some(rest))?;
            match self.socket.recv_from(&mut buffer) {
                Ok((count, from)) => {
                    // Who sent it, the address says; what is no packet is dropped.
                    let from = self.addresses.iter().position(|address| *address == from);
                    if let (Some(from), Ok(packet)) = (from, decode::<Packet>(&buffer[..count])) {
                        self.step(Event::Packet { from: id(from), packet })?;
                    }
                }
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(why) => return Err(why),
            }
            if self.is_dead {
                return Ok(());
            }
        }
        self.step(Event::Tick)
    }

    /// Chats until all who live have heard everything, and leaves.
    fn chat(mut self, satisfied: &AtomicUsize) -> io::Result<Vec<String>> {
        let all = ANSWERS.len() + 1;
        let (begin, mut tick, mut is_satisfied) = (Instant::now(), Instant::now(), false);
        if self.me == 0 {
            self.say(ANSWERS[0].0)?;
        }
        while !self.is_dead && !self.has_left {
            tick += TICK;
            self.turn(tick)?;
            if !is_satisfied && self.heard.len() == all {
                is_satisfied = true;
                satisfied.fetch_add(1, Ordering::SeqCst);
            }
            if satisfied.load(Ordering::SeqCst) == NAMES.len() - 1 {
                self.step(Event::Leave)?;
            }
            if begin.elapsed() > LIMIT {
                let what = format!("{} has heard {} of {all} messages", NAMES[self.me], self.heard.len());
                return Err(io::Error::other(what));
            }
        }
        Ok(self.heard)
    }
}

/// What each of the four delivered.
fn chat() -> io::Result<Vec<Vec<String>>> {
    let sockets: Vec<UdpSocket> =
        NAMES.iter().map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let addresses: Vec<SocketAddr> = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>()?;
    let satisfied = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::new();
    for (me, socket) in sockets.into_iter().enumerate() {
        let node = Node::builder(id(me), 1, (0..NAMES.len()).map(id))
            .detector(Patience::default())
            .reliable()
            .causal()
            .build()
            .map_err(io::Error::other)?;
        let (addresses, heard) = (addresses.clone(), Vec::new());
        let chatter =
            Chatter { me, node, socket, addresses, heard, sent: 0, is_dead: false, has_left: false };
        let satisfied = Arc::clone(&satisfied);
        threads.push(thread::Builder::new().name(NAMES[me].into()).spawn(move || chatter.chat(&satisfied))?);
    }
    let heard = threads.into_iter().map(|thread| thread.join().map_err(|_| io::Error::other("a panic"))?);
    heard.collect()
}

fn main() -> io::Result<()> {
    chat().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_live_hear_everything_in_causal_order() {
        let heard = chat().unwrap();
        let texts: Vec<&str> = [ANSWERS[0].0].into_iter().chain(ANSWERS.map(|(.., answer)| answer)).collect();
        assert_eq!(
            heard[..3],
            [(); 3].map(|()| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        );
        assert_eq!(heard[DAN], texts[..3]);
    }
}
