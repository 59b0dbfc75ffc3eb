//! The toolbox, led by the hand: the scenes for which it is there, and its limits.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod hand;

use std::sync::Arc;

use bytes::Bytes;
use hand::{Group, SUSPECTED_TICKS, TOPIC, always, id, is_data, two_deliverers_die};
use synod_delivery::toolbox::broken::Broken;
use synod_delivery::toolbox::{
    Body, BroadcastError, BuildError, Cause, Effect, Event, Guarantee, Life, Message, MessageId, Node, Order,
    Pace, Packet, Patience, Report, Seat, Seen, Topic, Window,
};
use synod_types::limits::{TOOLBOX_LIVES_MAX, TOOLBOX_PAYLOAD_BYTES_MAX};

fn life(i: u8, incarnation: u64) -> Life {
    Life { node: id(i), incarnation }
}

// ---- Guarantees ----

#[test]
fn a_sender_dies_after_reaching_one_node_and_all_get_it() {
    let mut group = Group::new(4, Guarantee::Reliable, Order::Any);
    group.ticks(3, always);
    group.broadcast(1, "one").unwrap();
    group.carry(|from, to, _| from == 1 && to == 2);
    group.crash(1);
    group.ticks(5, always);
    assert_eq!(group.texts(), [(2, vec!["one"]), (3, vec![]), (4, vec![])], "it is not relayed without need");
    group.ticks(SUSPECTED_TICKS, always);
    assert_eq!(group.texts(), [(2, vec!["one"]), (3, vec!["one"]), (4, vec!["one"])]);
}

#[test]
fn a_sender_dies_before_reaching_anybody_and_none_gets_it() {
    let mut group = Group::new(4, Guarantee::Reliable, Order::Any);
    group.ticks(3, always);
    group.broadcast(1, "none").unwrap();
    group.carry(|_, _, packet| !is_data(packet));
    group.crash(1);
    group.ticks(5 * SUSPECTED_TICKS, always);
    assert_eq!(group.texts(), [(2, vec![]), (3, vec![]), (4, vec![])]);
}

#[test]
fn best_effort_is_no_more_than_that() {
    let mut group = Group::new(4, Guarantee::BestEffort, Order::Any);
    group.broadcast(1, "some").unwrap();
    group.carry(|from, to, _| from == 1 && to == 2);
    group.crash(1);
    group.ticks(5 * SUSPECTED_TICKS, always);
    assert_eq!(group.texts(), [(2, vec!["some"]), (3, vec![]), (4, vec![])]);
}

#[test]
fn what_is_uniform_was_not_delivered_by_the_dead_alone() {
    let mut group = Group::new(4, Guarantee::Uniform, Order::Any);
    group.ticks(3, always);
    group.broadcast(1, "m").unwrap();
    group.carry(|from, to, _| from + to == 3);
    assert_eq!(group.texts()[..2], [(1, vec![]), (2, vec![])], "two of four are no majority");
    group.crash(1);
    group.ticks(2 * SUSPECTED_TICKS, always);
    assert_eq!(group.texts(), [(2, vec!["m"]), (3, vec!["m"]), (4, vec!["m"])]);
}

#[test]
fn what_the_dead_delivered_all_deliver() {
    let all = |text: &str| (3..=5).map(|i| (i, vec![text.to_owned()])).collect::<Vec<_>>();
    assert_eq!(two_deliverers_die(Broken::NOT), all("last words"));
}

#[test]
fn an_answer_waits_for_its_question() {
    for (order, expected) in [(Order::Fifo, ["no!", "so?"]), (Order::Causal, ["so?", "no!"])] {
        let mut group = Group::new(3, Guarantee::Reliable, order);
        group.broadcast(1, "so?").unwrap();
        group.carry(|_, to, packet| to != 3 || !is_data(packet));
        group.broadcast(2, "no!").unwrap();
        group.carry(always);
        group.ticks(10, always);
        assert_eq!(group.delivered[&3], expected, "{order:?}");
        assert_eq!(group.delivered[&1], ["so?", "no!"]);
    }
}

#[test]
fn messages_of_one_source_come_in_its_order() {
    for (order, expected) in [(Order::Any, ["2", "1"]), (Order::Fifo, ["1", "2"])] {
        let mut group = Group::new(2, Guarantee::BestEffort, order);
        group.broadcast(1, "1").unwrap();
        group.carry(|_, _, packet| !is_data(packet));
        group.broadcast(1, "2").unwrap();
        group.ticks(10, always);
        assert_eq!(group.delivered[&2], expected, "{order:?}");
    }
}

/// Who begins between a message and the next keeps the first for who is owed both, though it is not to deliver it.
#[test]
fn a_late_comer_does_not_deliver_what_others_cannot() {
    let mut group = Group::new(3, Guarantee::Reliable, Order::Fifo);
    group.ticks(3, always);
    group.crash(3);
    group.ticks(1, always);
    group.broadcast(1, "first").unwrap();
    group.carry(|_, _, packet| !is_data(packet));
    group.start(3);
    group.ticks(3, |_, _, packet| !is_data(packet));
    // The second one is owed to 2 and to the new 3, and gets there; the first one is with 1 alone.
    group.broadcast(1, "second").unwrap();
    group.carry(|from, _, _| from == 1);
    assert_eq!(group.texts(), [(1, vec!["first", "second"]), (2, vec![]), (3, vec![])]);
    group.ticks(10, always);
    assert_eq!(group.texts()[1..], [(2, vec!["first", "second"]), (3, vec!["second"])]);
}

// ---- Lives ----

#[test]
fn ids_survive_a_restart() {
    let mut group = Group::new(3, Guarantee::Reliable, Order::Fifo);
    group.ticks(3, always);
    let ids: Vec<MessageId> = ["a", "b"].map(|text| group.broadcast(1, text).unwrap()).into();
    assert_eq!(ids, [1, 2].map(|number| MessageId { source: life(1, 1), number }));
    group.ticks(10, always);
    group.crash(1);
    group.start(1);
    group.ticks(10, always);
    assert!(group.said(2, &Effect::Up(life(1, 2))));
    let again = group.broadcast(1, "c").unwrap();
    assert_eq!(again, MessageId { source: life(1, 2), number: 1 });
    group.ticks(10, always);
    assert_eq!(group.texts(), [(1, vec!["c"]), (2, vec!["a", "b", "c"]), (3, vec!["a", "b", "c"])]);
}

#[test]
fn who_starts_again_gets_what_is_broadcast_from_then_on() {
    let mut group = Group::new(3, Guarantee::Uniform, Order::Causal);
    group.broadcast(1, "before").unwrap();
    group.ticks(10, always);
    group.crash(3);
    group.start(3);
    group.ticks(10, always);
    group.broadcast(2, "after").unwrap();
    group.ticks(10, always);
    let all = vec!["before", "after"];
    assert_eq!(group.texts(), [(1, all.clone()), (2, all), (3, vec!["after"])]);
}

#[test]
fn two_to_seven_nodes_keep_alive_and_say_goodbye() {
    for count in 2..=7 {
        let mut group = Group::new(count, Guarantee::Reliable, Order::Fifo);
        let rounds = 15 * usize::try_from(Pace::default().report_ticks).unwrap();
        group.ticks(rounds, always);
        for i in 1..=count {
            group.broadcast(i, &i.to_string()).unwrap();
        }
        group.ticks(rounds, always);
        let texts: Vec<String> = (1..=count).map(|i| i.to_string()).collect();
        assert!(group.delivered.values().all(|delivered| {
            let mut delivered = delivered.clone();
            delivered.sort_unstable();
            delivered == texts
        }));
        let is_up = |(_, said): &(u8, Effect)| matches!(said, Effect::Up(_));
        assert!(group.said.iter().all(is_up), "nobody is suspected: {:?}", group.said);
        assert_eq!(group.said.len(), usize::from(count) * usize::from(count - 1));
        for i in 1..=count {
            group.broadcast(i, "bye").unwrap();
            group.step(i, Event::Leave);
            assert_eq!(group.broadcast(i, "and"), Err(BroadcastError::Leaving));
            group.ticks(10, always);
            assert!(group.said(i, &Effect::Gone));
            let others = i + 1..=count;
            assert!(others.clone().all(|other| group.said(other, &Effect::Left(life(i, 1)))));
            assert!(others.clone().all(|other| group.delivered[&other].last().unwrap() == "bye"));
            assert!(others.clone().all(|other| group.nodes[&other].suspects(id(i))));
        }
        group.ticks(50, always);
        assert!(!group.said.iter().any(|(_, said)| matches!(said, Effect::Suspect(_) | Effect::GaveUp(_))));
    }
}

#[test]
fn a_goodbye_that_got_lost_is_said_again() {
    let mut group = Group::new(2, Guarantee::Reliable, Order::Any);
    group.ticks(3, always);
    group.step(1, Event::Leave);
    group.ticks(1, |_, _, packet| packet.body != Body::Bye);
    assert!(group.said(1, &Effect::Gone) && !group.said(2, &Effect::Left(life(1, 1))));
    group.ticks(5, always);
    assert!(group.said(2, &Effect::Left(life(1, 1))));
}

#[test]
fn goodbyes_are_not_answered_by_goodbyes() {
    let mut group = Group::new(2, Guarantee::Reliable, Order::Any);
    group.ticks(3, always);
    group.step(1, Event::Leave);
    group.step(2, Event::Leave);
    // Neither hears of the other's before it has gone itself; carrying what is sent comes to an end.
    group.step(1, Event::Tick);
    group.step(2, Event::Tick);
    group.carry(always);
    assert!((1..=2).all(|i| group.said(i, &Effect::Gone)));
}

// ---- Limits ----

#[test]
fn a_full_window_is_an_answer_and_who_is_dead_does_not_keep_it_full() {
    let mut group = Group::with(3, Guarantee::Reliable, Order::Fifo, 4, Broken::NOT);
    group.ticks(3, always);
    group.crash(3);
    for i in 0..4 {
        group.broadcast(1, &i.to_string()).unwrap();
    }
    assert_eq!(group.broadcast(1, "4"), Err(BroadcastError::Busy(4)));
    group.ticks(5, always);
    assert_eq!(group.broadcast(1, "4"), Err(BroadcastError::Busy(4)), "it is not suspected yet");
    group.ticks(SUSPECTED_TICKS, always);
    for i in 4..100 {
        group.broadcast(1, &i.to_string()).unwrap();
        group.ticks(5, always);
    }
    assert!(group.said(1, &Effect::GaveUp(life(3, 1))));
    assert!(group.said(2, &Effect::GaveUp(life(3, 1))), "who is given up by one is given up by all");
    assert_eq!(group.delivered[&2].len(), 100);
}

#[test]
fn who_was_given_up_is_told_and_comes_back_in_another_life() {
    let mut group = Group::with(3, Guarantee::Uniform, Order::Causal, 2, Broken::NOT);
    group.ticks(3, always);
    let apart = |from: u8, to: u8, _: &Packet| from != 3 && to != 3;
    group.ticks(SUSPECTED_TICKS, apart);
    for i in 0..5 {
        group.broadcast(1, &i.to_string()).unwrap();
        group.ticks(5, apart);
    }
    assert!(group.said(1, &Effect::GaveUp(life(3, 1))));
    assert_eq!(group.broadcast(3, "alone").map(|id| id.number), Ok(1));
    group.ticks(5, always);
    assert!(group.said(3, &Effect::Expelled(id(1))) || group.said(3, &Effect::Expelled(id(2))));
    assert_eq!(group.broadcast(3, "more"), Err(BroadcastError::Expelled));
    assert!(group.delivered[&3].is_empty());
    group.crash(3);
    group.start(3);
    group.ticks(10, always);
    group.broadcast(3, "here again").unwrap();
    group.ticks(10, always);
    assert!((1..=3).all(|i| group.delivered[&i].last().unwrap() == "here again"));
}

#[test]
fn who_sees_no_majority_gives_nobody_up() {
    let mut group = Group::with(5, Guarantee::Reliable, Order::Any, 2, Broken::NOT);
    group.ticks(3, always);
    let apart = |from: u8, to: u8, _: &Packet| (from <= 2) == (to <= 2);
    group.ticks(SUSPECTED_TICKS, apart);
    for i in 1..=2 {
        group.broadcast(1, &i.to_string()).unwrap();
        group.broadcast(3, &i.to_string()).unwrap();
    }
    group.ticks(SUSPECTED_TICKS, apart);
    assert_eq!(group.broadcast(1, "3"), Err(BroadcastError::Busy(2)));
    group.broadcast(3, "3").unwrap();
    assert!(group.said(3, &Effect::GaveUp(life(1, 1))));
    assert!(!group.said.iter().any(|(by, said)| *by < 3 && matches!(said, Effect::GaveUp(_))));
}

#[test]
fn without_a_detector_nobody_is_given_up() {
    let builder = Node::builder(id(1), 1, [1, 2, 3].map(id)).window(2);
    let mut node = builder.best_effort().build().unwrap();
    let mut effects = Vec::new();
    for _ in 0..2 {
        node.broadcast(TOPIC, Bytes::new(), &mut effects).unwrap();
    }
    (0..1000).for_each(|_| node.step(Event::Tick, &mut effects));
    assert_eq!(node.broadcast(TOPIC, Bytes::new(), &mut effects), Err(BroadcastError::Busy(2)));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Suspect(_) | Effect::GaveUp(_))));
}

#[test]
fn a_message_has_a_size() {
    let mut group = Group::new(2, Guarantee::Reliable, Order::Any);
    let text = "x".repeat(TOOLBOX_PAYLOAD_BYTES_MAX + 1);
    let error = group.broadcast(1, &text).unwrap_err();
    assert_eq!(error, BroadcastError::TooLarge(TOOLBOX_PAYLOAD_BYTES_MAX + 1));
    assert_eq!(error.to_string(), "a message says at most 32768 bytes, and not 32769");
    group.broadcast(1, &text[1..]).unwrap();
    group.ticks(2, always);
    assert_eq!(group.delivered[&2].len(), 1);
}

#[test]
fn of_many_lives_the_last_are_remembered() {
    let mut group = Group::new(3, Guarantee::Reliable, Order::Causal);
    for life in 1..=3 * TOOLBOX_LIVES_MAX {
        group.ticks(5, always);
        group.broadcast(1, &life.to_string()).unwrap();
        group.ticks(5, always);
        assert!(group.nodes[&2].held() <= TOOLBOX_LIVES_MAX);
        group.crash(1);
        group.start(1);
    }
    let all: Vec<String> = (1..=3 * TOOLBOX_LIVES_MAX).map(|life| life.to_string()).collect();
    assert_eq!((&group.delivered[&2], &group.delivered[&3]), (&all, &all));
}

#[test]
fn subscribers_are_told_what_is_delivered_and_when() {
    let builder = |i: u8| Node::builder(id(i), 1, (1..=3).map(id)).detector(Patience::default()).uniform();
    let (mut one, mut two) = (builder(1).build().unwrap(), builder(2).build().unwrap());
    let wanted = one.subscribe(Topic(1)).unwrap();
    let other = one.subscribe(Topic(2)).unwrap();
    let mut effects = Vec::new();
    one.broadcast(Topic(1), Bytes::from_static(b"hi"), &mut effects).unwrap();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Deliver { .. })), "it is here, no more");
    let packets = |effects: Vec<Effect>, to: u8| {
        let sent = effects.into_iter().filter_map(move |effect| match effect {
            Effect::Send { to: node, packet } if node == id(to) => Some(packet),
            _ => None,
        });
        sent.collect::<Vec<_>>()
    };
    let mut answers = Vec::new();
    for packet in packets(effects, 2) {
        two.step(Event::Packet { from: id(1), packet }, &mut answers);
    }
    let mut effects = Vec::new();
    for packet in packets(answers, 1) {
        one.step(Event::Packet { from: id(2), packet }, &mut effects);
    }
    let told: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Deliver { delivery, subscribers } => Some((&delivery.payload[..], &subscribers[..])),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(&b"hi"[..], &[wanted][..])]);
    assert!(one.unsubscribe(other) && !one.unsubscribe(other));
}

#[test]
fn numbers_that_make_no_sense_make_no_node() {
    let builder = |incarnation| Node::builder(id(1), incarnation, (1..=3).map(id));
    let error = builder(0).best_effort().build().unwrap_err();
    assert_eq!(error, BuildError::Incarnation);
    for window in [0, 65] {
        let error = builder(1).window(window).best_effort().build().unwrap_err();
        assert_eq!(error, BuildError::Window(window));
    }
    let pace = Pace { report_ticks: 0, ..Pace::default() };
    assert_eq!(builder(1).pace(pace).best_effort().build().unwrap_err(), BuildError::Pace);
    let patience = Patience { timeout_ticks: 3, ..Patience::default() };
    let error = builder(1).detector(patience).reliable().build().unwrap_err();
    assert_eq!(error.to_string(), "after 3 ticks nodes are suspected that report every 3: wait longer");
    let many = Node::builder(id(1), 1, (1..=16).map(id)).best_effort().build();
    assert_eq!(many.unwrap_err(), BuildError::Members(16));
}

// ---- What no working member sends ----

/// A source of chance for packets that mean nothing.
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => u64::MAX,
            1 => u64::MAX - self.below(70),
            2 => 0,
            3 => self.below(1 << 20),
            _ => self.below(6),
        }
    }

    fn life(&mut self) -> Life {
        life(u8::try_from(self.below(5)).unwrap(), self.number())
    }

    fn some<T>(&mut self, mut one: impl FnMut(&mut Chance) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| one(self)).collect()
    }

    fn window(&mut self) -> Window {
        let mut window = Window::through(self.number());
        for _ in 0..self.below(5) {
            window.insert(window.watermark().saturating_add(1 + self.below(80)));
        }
        window
    }

    fn packet(&mut self) -> Packet {
        let body = match self.below(10) {
            0..5 => {
                let id = MessageId { source: self.life(), number: self.number() };
                let settled = match self.below(3) {
                    0 => self.number(),
                    _ => id.number.saturating_sub(self.below(70)),
                };
                let seat = |chance: &mut Chance| Seat { life: chance.life(), since: chance.number() };
                let cause = |chance: &mut Chance| Cause {
                    last: MessageId { source: chance.life(), number: chance.number() },
                    except: chance.some(|chance| chance.life().node),
                    kept_from: chance.number(),
                };
                let (audience, causes, given_up) =
                    (self.some(seat), self.some(cause), self.some(Chance::life));
                let (lamport, topic) = (self.number(), TOPIC);
                let payload = Bytes::new();
                Body::Data(Arc::new(Message {
                    id,
                    lamport,
                    settled,
                    audience,
                    given_up,
                    causes,
                    topic,
                    payload,
                }))
            }
            5..8 => {
                let seen = |chance: &mut Chance| Seen {
                    source: chance.life(),
                    window: chance.window(),
                    settled: chance.window(),
                };
                Body::Report(Report { seen: self.some(seen), given_up: self.some(Chance::life) })
            }
            8 => Body::Expelled { incarnation: 2 + self.number() % 3 },
            _ => Body::Bye,
        };
        Packet { incarnation: self.number(), body }
    }
}

/// Lies are not found out, as ARCHITECTURE.md says. But nobody falls over one, and nothing grows.
#[test]
fn nonsense_makes_nobody_stop_or_grow() {
    let mut chance = Chance(1);
    for round in 0..2000 {
        let builder = Node::builder(id(1), 1, (1..=3).map(id)).detector(Patience::default());
        let node = match round % 3 {
            0 => builder.reliable().causal().build(),
            1 => builder.uniform().causal().build(),
            _ => builder.best_effort().fifo().build(),
        };
        let (mut node, mut effects) = (node.unwrap(), Vec::new());
        for _ in 0..100 {
            let from = id(u8::try_from(chance.below(5)).unwrap());
            let packet = chance.packet();
            node.step(Event::Packet { from, packet }, &mut effects);
            if chance.below(5) == 0 {
                node.step(Event::Tick, &mut effects);
            }
            if chance.below(10) == 0 {
                let _ = node.broadcast(TOPIC, Bytes::new(), &mut effects);
            }
        }
        assert!(node.held() <= 3 * TOOLBOX_LIVES_MAX * 64);
        assert!(node.under_way() <= 64);
    }
}
