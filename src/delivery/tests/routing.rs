//! Routing by server, yard and queue: the scenes for which it is there, its limits, and many seeds.
//! `SEEDS=20000 cargo test --release -p synod-delivery --test routing -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

mod many;
mod routed;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use many::run_seeds;
use routed::{CALM_TICKS, Counts, World, id, name, storm};
use synod_delivery::broken::Broken;
use synod_delivery::routing::{
    Effect, Happening, Letter, NotOpened, NotReplied, Order, Outcome, Reason, Router, TICK_MS, YardId,
};
use synod_delivery::toolbox::{Body, Life, Message, MessageId, Packet, Report, Seat, Seen, Topic, Window};
use synod_types::limits::{
    ERRANDS_MAX, LETTERS_WAITING_MAX, ROUTE_BODY_BYTES_MAX, TOOLBOX_WINDOW_MAX, YARD_BYTES_MAX,
    YARD_IDLE_MS_MAX, YARD_QUEUES_MAX, YARD_REQUESTS_MAX, YARD_WAITING_MAX, YARDS_MAX,
};
use synod_types::{Address, wire};

/// Seeds of a run that is told nothing.
const SEEDS: u64 = 200;

#[test]
fn every_message_has_one_outcome_that_is_so_and_order_is_kept() {
    let run = |seed| storm(seed, Broken::NOT);
    if let Some((seeds, counts)) = run_seeds("routing", SEEDS, run, Counts::add) {
        let Counts { taken, lost, reaped, full, duplicates, repeated } = counts;
        let all = [taken, lost, reaped, full, duplicates, repeated];
        assert!(all.iter().all(|times| *times > seeds / 10), "not everything happened: {counts:?}");
    }
}

/// A node alone, and what it says.
struct Alone(Router);

impl Alone {
    fn new() -> Alone {
        Alone(Router::new(id(0), name(0), 1))
    }

    fn open(&mut self, queues: Option<&[&str]>) -> YardId {
        let queues = queues.map(|queues| queues.iter().map(|&queue| queue.to_owned()).collect());
        self.0.open("yard", queues).unwrap()
    }

    /// What became of a message at once; `None`: it waits.
    fn send(&mut self, to: &str, body: impl Into<Bytes>, wants_reply: bool) -> Option<Outcome> {
        let mut effects = Vec::new();
        let (to, from) = (Address::of_yard(to).unwrap(), Some("desk".to_owned()));
        let order = Order { from, to, body: body.into(), wants_reply, patience_ms: 1_000 };
        let errand = self.0.send(order, &mut effects);
        outcomes(effects).remove(&errand)
    }
}

fn outcomes(effects: Vec<Effect>) -> BTreeMap<u64, Outcome> {
    let told = effects.into_iter().filter_map(|effect| match effect {
        Effect::Tell { errand, outcome } => Some((errand, outcome)),
        _ => None,
    });
    told.collect()
}

fn refused(reason: Reason) -> Option<Outcome> {
    Some(Outcome::Refused(reason))
}

#[test]
fn who_is_not_there_is_told_apart() {
    let mut node = Alone::new();
    let mut effects = Vec::new();
    node.0.set_servers(BTreeMap::from([(id(1), name(1))]), &mut effects);
    node.open(Some(&["", "news"]));
    for (to, reason) in [
        ("node9/yard", Reason::UnknownServer),
        ("node1/yard", Reason::ServerAway),
        ("node0/other", Reason::UnknownYard),
        ("other", Reason::UnknownYard),
        ("/yard/letters", Reason::UnknownQueue),
    ] {
        assert_eq!(node.send(to, "", false), refused(reason), "{to}");
    }
    for to in ["yard", "node0/yard/news", "/yard/news"] {
        assert_eq!(node.send(to, "", false), None, "{to} is there");
    }
    let arrivals = node.0.look(YardId(1), Some("news"), 9).unwrap();
    let told: Vec<_> = arrivals.iter().map(|arrival| (arrival.number, arrival.from.to_string())).collect();
    assert_eq!(told, [(2, "node0/desk".to_owned()), (3, "node0/desk".to_owned())], "of one queue");
}

#[test]
fn a_name_is_given_once_and_names_are_names() {
    let mut node = Alone::new();
    let yard = node.open(None);
    assert_eq!(node.0.open("yard", None), Err(NotOpened::Taken));
    for (name, queues) in [("", None), ("a/b", None), ("Yard", None), ("b", Some(vec!["a/b".to_owned()]))] {
        assert_eq!(node.0.open(name, queues), Err(NotOpened::BadName), "{name:?}");
    }
    let many = (0..=YARD_QUEUES_MAX).map(|n| n.to_string()).collect();
    assert_eq!(node.0.open("b", Some(many)), Err(NotOpened::BadName));
    node.0.on_gone(yard, &mut Vec::new());
    let again = node.open(None);
    assert_ne!(again, yard, "it is another one");
    assert_eq!(node.0.look(yard, None, 1), None);
    for n in 1..YARDS_MAX {
        node.0.open(&n.to_string(), None).unwrap();
    }
    assert_eq!(node.0.open("one-more", None), Err(NotOpened::TooMany));
}

#[test]
fn what_waits_is_bounded_and_the_sender_is_told() {
    let mut node = Alone::new();
    let yard = node.open(None);
    for _ in 0..YARD_WAITING_MAX {
        assert_eq!(node.send("/yard/a", "", false), None);
    }
    assert_eq!(node.send("/yard/a", "", false), refused(Reason::QueueFull));
    assert_eq!(node.send("/yard/b", "", false), None, "another queue has room");
    assert_eq!(node.0.look(yard, None, 3).unwrap().len(), 3);
    let mut effects = Vec::new();
    node.0.on_taken(yard, 2, &mut effects);
    assert_eq!(outcomes(effects).into_values().collect::<Vec<_>>(), [Outcome::Taken]);
    assert_eq!(node.send("/yard/a", "", false), None, "now this one has, too");

    let large = Bytes::from(vec![0; ROUTE_BODY_BYTES_MAX]);
    let fit = YARD_BYTES_MAX / ROUTE_BODY_BYTES_MAX;
    let told: Vec<_> = (0..=fit).map(|_| node.send("/yard/c", large.clone(), false)).collect();
    assert_eq!(told.iter().filter(|told| told.is_none()).count(), fit);
    assert_eq!(told[fit], refused(Reason::QueueFull));
    assert_eq!(node.send("/yard/c", vec![0; ROUTE_BODY_BYTES_MAX + 1], false), refused(Reason::TooLarge));

    let mut node = Alone::new();
    let yard = node.open(None);
    let mut told = Vec::new();
    for n in 0..=YARD_REQUESTS_MAX {
        let number = u64::try_from(n).unwrap() + 1;
        told.push(node.send("yard", "", true));
        node.0.on_taken(yard, number, &mut Vec::new());
    }
    assert_eq!(told.iter().filter(|told| told.is_some()).count(), 1, "so many questions are open");
    assert_eq!(told[YARD_REQUESTS_MAX], refused(Reason::QueueFull));
}

#[test]
fn so_many_messages_have_no_outcome_yet_and_no_more() {
    let mut node = Alone::new();
    for yard in 0..ERRANDS_MAX / YARD_WAITING_MAX {
        node.0.open(&yard.to_string(), None).unwrap();
        for _ in 0..YARD_WAITING_MAX {
            assert_eq!(node.send(&yard.to_string(), "", false), None);
        }
    }
    node.0.open("more", None).unwrap();
    assert_eq!(node.send("more", "", false), refused(Reason::Busy));
}

#[test]
fn an_answer_goes_to_who_asked_once_and_in_time() {
    let mut node = Alone::new();
    let yard = node.open(None);
    let reply = |node: &mut Alone, number, body: Bytes| {
        let mut effects = Vec::new();
        node.0.reply(yard, number, body, &mut effects).map(|()| outcomes(effects))
    };
    assert_eq!(node.send("yard", "?", true), None);
    let answer = Bytes::from_static(b"!");
    assert_eq!(reply(&mut node, 1, answer.clone()), Err(NotReplied::NotAsked), "it was not taken");
    node.0.on_taken(yard, 1, &mut Vec::new());
    assert_eq!(reply(&mut node, 2, answer.clone()), Err(NotReplied::NotAsked));
    let long = Bytes::from(vec![0; ROUTE_BODY_BYTES_MAX + 1]);
    assert_eq!(reply(&mut node, 1, long), Err(NotReplied::TooLarge));
    let told = reply(&mut node, 1, answer.clone()).unwrap();
    assert_eq!(told.into_values().collect::<Vec<_>>(), [Outcome::Replied(answer.clone())]);
    assert_eq!(reply(&mut node, 1, answer.clone()), Err(NotReplied::NotAsked), "it was answered");
    node.send("yard", "?", true);
    node.0.on_taken(yard, 2, &mut Vec::new());
    (0..=1_000 / TICK_MS).for_each(|_| node.0.on_tick(&mut Vec::new()));
    assert_eq!(reply(&mut node, 2, answer), Err(NotReplied::NotAsked), "nobody waits any more");
}

#[test]
fn a_process_that_takes_nothing_loses_its_yard() {
    let mut node = Alone::new();
    let yard = node.open(None);
    let mut reaped = 0;
    let mut idle = |node: &mut Alone| {
        for _ in 0..=YARD_IDLE_MS_MAX / TICK_MS {
            let mut effects = Vec::new();
            node.0.on_tick(&mut effects);
            reaped += effects.iter().filter(|effect| **effect == Effect::Reaped(yard)).count();
        }
        reaped
    };
    assert_eq!(idle(&mut node), 0, "nothing waits");
    node.send("yard", "", false);
    node.0.look(yard, None, 1);
    assert_eq!(idle(&mut node), 1);
    assert_eq!(node.send("yard", "", false), refused(Reason::UnknownYard));
    assert_eq!((node.0.look(yard, None, 1), node.0.is_open(yard)), (None, false));
    assert!(node.0.open("yard", None).is_ok(), "it may come again");
}

#[test]
fn beyond_the_links_window_a_bounded_number_waits() {
    let mut world = World::new(1, Broken::NOT);
    world.ticks(60);
    world.open(1);
    assert_eq!(world.routers[0].is_there("node1"), Some(true));
    let fit = usize::try_from(TOOLBOX_WINDOW_MAX).unwrap() + LETTERS_WAITING_MAX;
    let bodies: Vec<_> = (0..fit + 1).map(|_| world.send(0, "node1/yard", false)).collect();
    // Four queues' worth: the yard takes a quarter of it, and says so of the rest.
    world.ticks(CALM_TICKS);
    let told = |reason| {
        let wanted = refused(reason);
        bodies.iter().filter(|body| world.outcome(body).cloned() == wanted).count()
    };
    assert_eq!(told(Reason::Busy), 1, "the last one");
    assert_eq!(told(Reason::QueueFull), fit - YARD_WAITING_MAX);
    assert_eq!(world.counted[&Happening::Refused(Reason::QueueFull)] % 2, 0, "both ends count it");
    assert_eq!(world.violation(), None);
}

#[test]
fn what_makes_no_sense_is_dropped_and_counted() {
    let mut node = Alone::new();
    let mut effects = Vec::new();
    node.0.set_servers(BTreeMap::from([(id(1), name(1))]), &mut effects);
    let packet = |incarnation| Packet { incarnation, body: Body::Report(Report::default()) };
    node.0.on_packet(id(2), packet(1), &mut effects);
    node.0.on_packet(id(1), packet(0), &mut effects);
    node.0.on_packet(id(1), packet(5), &mut effects);
    node.0.on_packet(id(1), packet(4), &mut effects);
    let counted = |what| effects.iter().filter(|effect| **effect == Effect::Count { what, times: 1 }).count();
    assert_eq!((counted(Happening::Malformed), counted(Happening::Stale)), (2, 1));
    assert_eq!(node.0.is_there("node1"), Some(true));
    // One that is no member any more is not there, and what was for it is lost.
    node.open(None);
    assert_eq!(node.send("node1/yard", "", false), None);
    effects.clear();
    node.0.set_servers(BTreeMap::new(), &mut effects);
    assert_eq!(outcomes(effects).into_values().collect::<Vec<_>>(), [Outcome::Refused(Reason::Lost)]);
    assert_eq!(
        (node.0.is_there("node1"), node.send("node1/yard", "", false)),
        (None, refused(Reason::UnknownServer))
    );
}

/// As docs/PROTOCOL.md has them.
#[test]
fn letters_are_golden() {
    let message = Letter::Message {
        errand: 300,
        from: "desk".to_owned(),
        yard: "printer".to_owned(),
        queue: "a4".to_owned(),
        reply_ms: 5_000,
        body: Bytes::from_static(b"page"),
    };
    let outcome = |outcome| Letter::Outcome { errand: 300, outcome };
    let mut all = vec![
        ("message".to_owned(), message),
        ("taken".to_owned(), outcome(Outcome::Taken)),
        ("replied".to_owned(), outcome(Outcome::Replied(Bytes::from_static(b"done")))),
    ];
    let reasons = [
        Reason::UnknownServer,
        Reason::ServerAway,
        Reason::UnknownYard,
        Reason::UnknownQueue,
        Reason::QueueFull,
        Reason::Busy,
        Reason::TooLarge,
        Reason::YardReaped,
        Reason::Lost,
        Reason::Late,
    ];
    all.extend(
        reasons.map(|reason| (format!("refused-{}", reason.name()), outcome(Outcome::Refused(reason)))),
    );
    let packets: Vec<_> =
        packets().into_iter().map(|(name, body)| (name, Packet { incarnation: 300, body })).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/letters-v3.hex");
    let letters = all.iter().map(|(name, letter)| (name.clone(), wire::encode(letter)));
    let made = letters.chain(packets.iter().map(|(name, packet)| ((*name).to_owned(), wire::encode(packet))));
    let kept = synod_golden::holds(path, made.collect::<Vec<_>>());
    for (name, letter) in all {
        assert_eq!(wire::decode::<Letter>(&kept[&name]).unwrap(), letter);
    }
    for (name, packet) in packets {
        assert_eq!(wire::decode::<Packet>(&kept[name]).unwrap(), packet);
    }
}

/// What packets say, of which those of a link are: one receiver, and no causes.
fn packets() -> [(&'static str, Body); 4] {
    let (source, life) = (Life { node: id(0), incarnation: 300 }, Life { node: id(1), incarnation: 2 });
    let mut window = Window::through(300);
    assert!(window.insert(302));
    let message = Message {
        id: MessageId { source, number: 301 },
        lamport: 302,
        settled: 299,
        audience: vec![Seat { life, since: 7 }],
        given_up: Vec::new(),
        causes: Vec::new(),
        topic: Topic(0),
        payload: Bytes::from_static(b"letter"),
    };
    let seen = vec![Seen { source, window, settled: Window::through(3) }];
    let report = Report { seen, given_up: vec![Life { node: id(2), incarnation: 4 }] };
    [
        ("packet-data", Body::Data(Arc::new(message))),
        ("packet-report", Body::Report(report)),
        ("packet-expelled", Body::Expelled { incarnation: 2 }),
        ("packet-bye", Body::Bye),
    ]
}
