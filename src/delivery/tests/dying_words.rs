//! A sender dies in the middle of a broadcast, when one other node has it, or nobody. Reliable: of those who live, all deliver it or none.
//! Uniform: so do those who died.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use synod_delivery::toolbox::{Effect, Event, Guarantee, Node, Packet, Patience, Topic};
use synod_types::{Digest, NodeId};

const NODES: u8 = 5;
const SENDER: NodeId = NodeId(Digest([1; 32]));
const OTHER: NodeId = NodeId(Digest([2; 32]));
/// Long enough for the detector to suspect the dead, and for all that is repeated.
const TICKS: usize = 300;

fn members() -> Vec<NodeId> {
    (1..=NODES).map(|n| NodeId(Digest([n; 32]))).collect()
}

/// The sender broadcasts to the others and dies when its packets have come to `reached`; gives who delivered.
fn who_delivers(guarantee: Guarantee, reached: &[NodeId]) -> BTreeSet<NodeId> {
    let built = members().into_iter().map(|me| {
        let builder = Node::builder(me, 1, members()).detector(Patience::default());
        let node = match guarantee {
            Guarantee::BestEffort => builder.best_effort().build(),
            Guarantee::Reliable => builder.reliable().build(),
            Guarantee::Uniform => builder.uniform().build(),
        };
        (me, node.expect("it makes sense"))
    });
    let mut nodes: BTreeMap<NodeId, Node> = built.collect();
    let mut delivered = BTreeSet::new();
    let mut under_way: Vec<(NodeId, NodeId, Packet)> = Vec::new();
    let mut effects = Vec::new();

    let sender = nodes.get_mut(&SENDER).expect("a member");
    sender.broadcast(Topic(1), Bytes::from_static(b"last words"), &mut effects).expect("it is alone");
    for effect in effects.drain(..) {
        match effect {
            Effect::Send { to, packet } if reached.contains(&to) => under_way.push((SENDER, to, packet)),
            Effect::Deliver { .. } => drop(delivered.insert(SENDER)),
            _ => {}
        }
    }
    nodes.remove(&SENDER);

    for _ in 0..TICKS {
        let mut events: Vec<(NodeId, Event)> = nodes.keys().map(|node| (*node, Event::Tick)).collect();
        events.extend(under_way.drain(..).map(|(from, to, packet)| (to, Event::Packet { from, packet })));
        for (at, event) in events {
            let Some(node) = nodes.get_mut(&at) else { continue };
            node.step(event, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Send { to, packet } => under_way.push((at, to, packet)),
                    Effect::Deliver { .. } => drop(delivered.insert(at)),
                    _ => {}
                }
            }
        }
    }
    delivered
}

fn the_living() -> BTreeSet<NodeId> {
    members().into_iter().filter(|node| *node != SENDER).collect()
}

#[test]
fn reliable_all_or_none_of_the_living() {
    let living = |delivered: BTreeSet<NodeId>| &delivered & &the_living();
    assert_eq!(living(who_delivers(Guarantee::Reliable, &[OTHER])), the_living());
    assert_eq!(living(who_delivers(Guarantee::Reliable, &[])), BTreeSet::new());
    // Best effort promises nothing of who dies, so that this test can tell.
    assert_eq!(living(who_delivers(Guarantee::BestEffort, &[OTHER])), BTreeSet::from([OTHER]));
}

#[test]
fn uniform_all_or_none_the_dead_included() {
    assert_eq!(who_delivers(Guarantee::Uniform, &[OTHER]), the_living());
    assert_eq!(who_delivers(Guarantee::Uniform, &[]), BTreeSet::new());
    // Reliable does not promise that: its sender delivers at once.
    assert_eq!(who_delivers(Guarantee::Reliable, &[]), BTreeSet::from([SENDER]));
}
