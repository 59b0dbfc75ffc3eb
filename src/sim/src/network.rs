//! The roads between nodes: every direction of every pair can be cut, slow, lossy, repeating and out of order.
//!
//! A message is judged when it is sent; what is under way arrives, also after a cut. The network never invents or
//! changes a message: the mesh authenticates its peers.

use synod_types::{GroupMessage, Message};

use crate::random::Random;

/// How well messages travel.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The least delay.
    pub delay_ms: u64,
    /// Up to so much is added at random.
    pub jitter_ms: u64,
    /// How many of 1,000 messages are lost.
    pub loss_per_mille: u64,
    /// How many of 1,000 messages arrive twice.
    pub duplicate_per_mille: u64,
    /// How many of 1,000 messages are far behind the others.
    pub straggler_per_mille: u64,
    /// How far behind.
    pub straggler_ms: u64,
    /// Whether messages of one direction overtake each other.
    pub reorder: bool,
}

impl Weather {
    /// One delay for all, nothing lost.
    pub fn calm(delay_ms: u64) -> Weather {
        Weather {
            delay_ms,
            jitter_ms: 0,
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            straggler_per_mille: 0,
            straggler_ms: 0,
            reorder: false,
        }
    }
}

/// One direction of one pair of nodes.
#[derive(Clone, Debug, Default)]
struct Road {
    cut: bool,
    /// A road of its own quality; `None`: as the weather is everywhere.
    weather: Option<Weather>,
    /// When the last message arrives, where messages do not overtake each other.
    last_ms: u64,
}

/// Messages of one kind that are lost between two nodes: for scenarios.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// The message's [`kind`].
    pub kind: String,
    /// The sender.
    pub from: usize,
    /// The receiver.
    pub to: usize,
}

/// All the roads.
#[derive(Clone, Debug)]
pub struct Network {
    nodes: usize,
    roads: Vec<Road>,
    weather: Weather,
    filters: Vec<Filter>,
}

/// When a message arrives: never, once or twice.
pub type Arrivals = [Option<u64>; 2];

impl Network {
    /// Every pair of `nodes` is connected.
    pub fn new(nodes: usize, weather: Weather) -> Network {
        Network { nodes, roads: vec![Road::default(); nodes * nodes], weather, filters: Vec::new() }
    }

    /// Sets the weather everywhere, roads with a quality of their own included.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
        for road in &mut self.roads {
            road.weather = None;
        }
    }

    /// Gives the road between two nodes, in one direction, a quality of its own.
    pub fn set_road(&mut self, from: usize, to: usize, weather: Option<Weather>) {
        self.road(from, to).weather = weather;
    }

    /// Loses everything from `from` to `to`.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.road(from, to).cut = true;
    }

    /// Loses everything between two nodes.
    pub fn cut_both(&mut self, one: usize, other: usize) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Loses everything between nodes of different groups; `group_of` is asked for each node.
    pub fn split(&mut self, group_of: impl Fn(usize) -> usize) {
        for one in 0..self.nodes {
            for other in 0..one {
                if group_of(one) != group_of(other) {
                    self.cut_both(one, other);
                }
            }
        }
    }

    /// Cuts one node off from all others.
    pub fn isolate(&mut self, node: usize) {
        self.split(|other| usize::from(other == node));
    }

    /// Mends every cut and takes every filter away.
    pub fn heal(&mut self) {
        self.filters.clear();
        for road in &mut self.roads {
            road.cut = false;
        }
    }

    /// Loses the messages that `filter` names.
    pub fn lose(&mut self, filter: Filter) {
        self.filters.push(filter);
    }

    /// Whether two nodes reach each other.
    pub fn is_open(&self, one: usize, other: usize) -> bool {
        let is_cut = |from: usize, to: usize| self.roads[from * self.nodes + to].cut;
        !is_cut(one, other) && !is_cut(other, one)
    }

    /// When a message that is sent at `now_ms` arrives.
    pub fn route(
        &mut self,
        now_ms: u64,
        from: usize,
        to: usize,
        message: &Message,
        random: &mut Random,
    ) -> Arrivals {
        let lost = self.filters.iter().any(|f| f.from == from && f.to == to && f.kind == kind(message));
        let nodes = self.nodes;
        let road = &mut self.roads[from * nodes + to];
        let weather = road.weather.as_ref().unwrap_or(&self.weather);
        if lost || road.cut || random.chance(weather.loss_per_mille) {
            return [None, None];
        }
        let mut arrival = || {
            let jitter = if weather.jitter_ms > 0 { random.within(0..=weather.jitter_ms) } else { 0 };
            let late = if random.chance(weather.straggler_per_mille) { weather.straggler_ms } else { 0 };
            let at_ms = now_ms + weather.delay_ms + jitter + late;
            if weather.reorder {
                return at_ms;
            }
            road.last_ms = road.last_ms.max(at_ms);
            road.last_ms
        };
        let first = arrival();
        let second = random.chance(weather.duplicate_per_mille).then(|| first + random.within(0..=50));
        [Some(first), second]
    }

    fn road(&mut self, from: usize, to: usize) -> &mut Road {
        &mut self.roads[from * self.nodes + to]
    }
}

/// The name of a message, as in traces and filters.
pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::Heartbeat { .. } => "Heartbeat",
        Message::HeartbeatReply { .. } => "HeartbeatReply",
        Message::Forward { .. } => "Forward",
        Message::ForwardRefused { .. } => "ForwardRefused",
        Message::Content(_) => "Content",
        Message::Chunk(_) => "Chunk",
        Message::Cosign(_) => "Cosign",
        Message::Gossip(_) => "Gossip",
        Message::Route(_) => "Route",
        Message::Checkpoint { .. } => "Checkpoint",
        Message::Disk { .. } => "Disk",
        Message::ChainRequest { .. } => "ChainRequest",
        Message::Chain { .. } => "Chain",
        Message::States(_) => "States",
        Message::Group { message, .. } => match message {
            GroupMessage::Prepare { .. } => "Prepare",
            GroupMessage::Promise { .. } => "Promise",
            GroupMessage::Accept { .. } => "Accept",
            GroupMessage::Accepted { .. } => "Accepted",
            GroupMessage::Nack { .. } => "Nack",
            GroupMessage::Learn { .. } => "Learn",
            GroupMessage::CatchUpRequest { .. } => "CatchUpRequest",
            GroupMessage::CatchUp { .. } => "CatchUp",
            GroupMessage::ReadIndexRequest { .. } => "ReadIndexRequest",
            GroupMessage::ReadIndex { .. } => "ReadIndex",
            GroupMessage::Confirm { .. } => "Confirm",
            GroupMessage::Confirmed { .. } => "Confirmed",
            GroupMessage::Snapshot { .. } => "Snapshot",
            GroupMessage::HandOver { .. } => "HandOver",
            GroupMessage::RecordRequest { .. } => "RecordRequest",
            GroupMessage::Unreadable { .. } => "Unreadable",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: Message = Message::Heartbeat { round: 1 };

    #[test]
    fn a_split_cuts_between_groups_only() {
        let mut network = Network::new(3, Weather::calm(5));
        let mut random = Random::new(1);
        network.isolate(2);
        assert_eq!(network.route(10, 0, 1, &MESSAGE, &mut random), [Some(15), None]);
        assert_eq!(network.route(10, 0, 2, &MESSAGE, &mut random), [None, None]);
        assert_eq!(network.route(10, 2, 1, &MESSAGE, &mut random), [None, None]);
        network.heal();
        assert_eq!(network.route(10, 2, 1, &MESSAGE, &mut random), [Some(15), None]);
    }

    #[test]
    fn without_reordering_nothing_overtakes() {
        let weather = Weather { jitter_ms: 100, ..Weather::calm(1) };
        let mut network = Network::new(2, weather);
        let mut random = Random::new(3);
        let arrivals: Vec<_> =
            (0..50).filter_map(|now| network.route(now, 0, 1, &MESSAGE, &mut random)[0]).collect();
        assert!(arrivals.is_sorted());
    }
}
