//! The core by itself: one node at a time, where every effect is looked at; and clusters whose messages arrive at once.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use synod_delivery::{Attempt, Blame, Config, Core, Effect, Event, NotUniform, Removed, TICK_MS};
use synod_types::limits::{
    COMMAND_WAIT_MS_MAX, CONTENT_ANSWERS_MAX, CONTENT_AWAITED_MAX, CONTENT_FETCHES_MAX,
    CONTENT_OFFERS_LATER_MAX, CONTENT_OFFERS_MAX, CONTENT_PIECE_BYTES, CONTENT_PIECES_ASKED_MAX,
    CONTENT_PIECES_SERVED_MAX, CONTENT_SOUGHT_MAX, CONTENT_UNREFERRED_MS_MAX,
};
use synod_types::{ContentKey, ContentMessage, ContentReceipt, Digest, Manifest, NodeId};

fn node(i: u8) -> NodeId {
    NodeId(Digest([i; 32]))
}

fn key(i: u32) -> ContentKey {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&i.to_be_bytes());
    ContentKey(Digest(bytes))
}

/// The core never hashes: any digests will do.
fn manifest(pieces: u8) -> Manifest {
    let bytes = u64::from(pieces) * u64::try_from(CONTENT_PIECE_BYTES).unwrap();
    Manifest { bytes, pieces: (0..pieces).map(|i| Digest([i; 32])).collect() }
}

fn receipt(of: u8, content: ContentKey) -> ContentReceipt {
    ContentReceipt { content, node: node(of), key: Bytes::new(), signature: Bytes::new() }
}

fn offer(content: ContentKey, manifest: Manifest) -> ContentMessage {
    ContentMessage::Offer { content, manifest }
}

fn piece(content: ContentKey, number: u32) -> ContentMessage {
    static PIECE: [u8; CONTENT_PIECE_BYTES] = [0; CONTENT_PIECE_BYTES];
    ContentMessage::Piece { content, number, bytes: Bytes::from_static(&PIECE) }
}

/// One node, 1, of a cluster of so many; all others are up.
struct One(Core);

impl One {
    fn of(count: u8, held: impl IntoIterator<Item = ContentKey>) -> One {
        let mut one = One(Core::new(Config::new(node(1), (2..=count).map(node).collect()), held));
        for peer in 2..=count {
            one.step(Event::Up(node(peer)));
        }
        one
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.0.step(event, &mut effects);
        effects
    }

    fn hear(&mut self, from: u8, message: ContentMessage) -> Vec<Effect> {
        self.step(Event::Message { from: node(from), message })
    }

    fn ticks(&mut self, count: u64) -> Vec<Effect> {
        (0..count).flat_map(|_| self.step(Event::Tick)).collect()
    }

    /// Takes an offer, and has the disk ready for all pieces; what is asked for then.
    fn begin(&mut self, from: u8, content: ContentKey, pieces: u8) -> (Attempt, Vec<Effect>) {
        let effects = self.hear(from, offer(content, manifest(pieces)));
        let [Effect::Begin { attempt, .. }] = effects[..] else { panic!("{effects:?}") };
        let missing = (0..u32::from(pieces)).collect();
        (attempt, self.step(Event::Begun { key: content, attempt, missing }))
    }
}

/// Which pieces of which file are asked of whom.
fn requests(effects: &[Effect]) -> Vec<(NodeId, ContentKey, u32)> {
    let requests = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, message: ContentMessage::PieceRequest { content, number } } => {
            Some((*to, *content, *number))
        }
        _ => None,
    });
    requests.collect()
}

fn seeks(effects: &[Effect]) -> usize {
    let is_seek =
        |effect: &&Effect| matches!(effect, Effect::Send { message: ContentMessage::Seek { .. }, .. });
    effects.iter().filter(is_seek).count()
}

#[test]
fn one_node_alone_is_a_majority_when_its_file_is_durable() {
    let mut one = One::of(1, []);
    assert!(one.step(Event::Await(key(1))).is_empty());
    let effects = one.step(Event::Stored(key(1)));
    assert_eq!(effects, [Effect::Uniform { key: key(1), receipts: vec![], here: true }]);
    assert_eq!(
        one.step(Event::Await(key(1))),
        [Effect::Uniform { key: key(1), receipts: vec![], here: true }]
    );
}

#[test]
fn a_majority_of_others_is_one() {
    let mut one = One::of(3, []);
    assert_eq!(seeks(&one.step(Event::Await(key(1)))), 2);
    assert!(one.hear(2, ContentMessage::Held(receipt(2, key(1)))).is_empty());
    // Twice the same word is one word, and nobody speaks for another.
    assert!(one.hear(2, ContentMessage::Held(receipt(2, key(1)))).is_empty());
    assert!(one.hear(2, ContentMessage::Held(receipt(3, key(1)))).is_empty());
    let effects = one.hear(3, ContentMessage::Held(receipt(3, key(1))));
    let receipts = vec![receipt(2, key(1)), receipt(3, key(1))];
    assert_eq!(effects, [Effect::Uniform { key: key(1), receipts, here: false }]);
}

#[test]
fn a_word_is_taken_back_and_grows_old() {
    let mut one = One::of(3, [key(1)]);
    one.step(Event::Await(key(1)));
    assert_eq!(one.hear(2, ContentMessage::Held(receipt(2, key(1)))).len(), 1);
    assert!(matches!(one.step(Event::Await(key(1)))[..], [Effect::Uniform { .. }]), "remembered");
    one.ticks(CONTENT_UNREFERRED_MS_MAX / 2 / TICK_MS);
    assert_eq!(seeks(&one.step(Event::Await(key(1)))), 2, "too old");
    assert!(matches!(one.hear(2, ContentMessage::Held(receipt(2, key(1))))[..], [Effect::Uniform { .. }]));
    one.hear(2, ContentMessage::NotHeld { content: key(1) });
    assert_eq!(seeks(&one.step(Event::Await(key(1)))), 2, "taken back");
    let effects = one.ticks(COMMAND_WAIT_MS_MAX / TICK_MS);
    assert!(effects.contains(&Effect::NotUniform { key: key(1), why: NotUniform::Timeout(vec![]) }));
}

#[test]
fn pieces_are_asked_for_within_a_window_that_the_disk_moves() {
    let mut one = One::of(2, []);
    let (attempt, effects) = one.begin(2, key(1), 12);
    let asked: Vec<_> = (0..8).map(|number| (node(2), key(1), number)).collect();
    assert_eq!(requests(&effects), asked);
    assert_eq!(one.0.asked_of(node(2)), CONTENT_PIECES_ASKED_MAX);
    // A piece that only arrived makes no room.
    for number in 0..8 {
        let effects = one.hear(2, piece(key(1), number));
        assert!(matches!(effects[..], [Effect::Write { number: n, .. }] if n == number), "{effects:?}");
    }
    assert!(one.hear(2, piece(key(1), 3)).is_empty(), "twice");
    assert!(one.hear(2, piece(key(1), 11)).is_empty(), "not asked for, and no room");
    let effects = one.step(Event::Written { key: key(1), attempt, number: 5 });
    assert_eq!(requests(&effects), [(node(2), key(1), 8)]);
    // A second file has to wait until the first leaves room, and then they take turns.
    let (_, effects) = one.begin(2, key(2), 12);
    assert!(requests(&effects).is_empty());
    let next = |one: &mut One, number| requests(&one.step(Event::Written { key: key(1), attempt, number }));
    assert_eq!(next(&mut one, 0), [(node(2), key(2), 0)]);
    assert_eq!(next(&mut one, 1), [(node(2), key(1), 9)]);
    assert_eq!(next(&mut one, 2), [(node(2), key(2), 1)]);
}

#[test]
fn what_is_needed_goes_before_what_is_only_offered() {
    let mut one = One::of(2, []);
    let (offered, _) = one.begin(2, key(1), 20);
    one.step(Event::Want(key(2)));
    one.begin(2, key(2), 20);
    for number in 0..4 {
        one.hear(2, piece(key(1), number));
        let effects = one.step(Event::Written { key: key(1), attempt: offered, number });
        assert_eq!(requests(&effects), [(node(2), key(2), number)]);
    }
}

#[test]
fn an_answer_to_an_earlier_attempt_is_none() {
    let mut one = One::of(4, []);
    let effects = one.hear(2, offer(key(1), manifest(2)));
    let [Effect::Begin { attempt: first, .. }] = effects[..] else { panic!("{effects:?}") };
    // Two are of another mind than the first: most count.
    assert!(one.hear(3, offer(key(1), manifest(3))).is_empty());
    let effects = one.hear(4, offer(key(1), manifest(3)));
    let [Effect::Begin { attempt: second, ref manifest, .. }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(manifest.pieces.len(), 3);
    assert!(one.step(Event::Begun { key: key(1), attempt: first, missing: vec![0] }).is_empty());
    let effects = one.step(Event::Begun { key: key(1), attempt: second, missing: vec![1, 2, 7] });
    let asked: BTreeSet<_> = requests(&effects).into_iter().collect();
    assert_eq!(
        asked,
        BTreeSet::from([(node(3), key(1), 1), (node(4), key(1), 2)]),
        "of both, and no piece 7"
    );
    for late in [
        Event::Written { key: key(1), attempt: first, number: 1 },
        Event::WrongPiece { key: key(1), attempt: first, number: 1 },
        Event::WrongWhole { key: key(1), attempt: first },
        Event::Failed { key: key(1), attempt: first },
    ] {
        assert!(one.step(late).is_empty());
    }
    assert!(one.hear(2, piece(key(1), 1)).is_empty(), "offered under another manifest");
}

#[test]
fn a_liar_is_named_and_not_asked_again() {
    let blames = |effects: &[Effect]| -> Vec<(NodeId, Blame)> {
        let blames = effects.iter().filter_map(|effect| match effect {
            Effect::Blame { node, why, .. } => Some((*node, *why)),
            _ => None,
        });
        blames.collect()
    };
    let mut one = One::of(4, []);
    let broken = Manifest { bytes: 7, pieces: vec![] };
    assert_eq!(blames(&one.hear(4, offer(key(1), broken))), [(node(4), Blame::Manifest)]);
    assert!(one.hear(4, offer(key(1), manifest(2))).is_empty());

    let (attempt, effects) = one.begin(2, key(1), 2);
    assert_eq!(requests(&effects).len(), 2);
    one.hear(3, offer(key(1), manifest(2)));
    one.hear(2, piece(key(1), 0));
    let effects = one.step(Event::WrongPiece { key: key(1), attempt, number: 0 });
    assert_eq!(blames(&effects), [(node(2), Blame::Piece)]);
    assert_eq!(requests(&effects), [(node(3), key(1), 0), (node(3), key(1), 1)], "both of the other");
    assert!(one.hear(2, offer(key(1), manifest(2))).is_empty());
    // The wrong length shows before the disk sees it.
    let short = ContentMessage::Piece { content: key(1), number: 0, bytes: Bytes::from_static(b"short") };
    assert_eq!(blames(&one.hear(3, short)), [(node(3), Blame::Piece)]);

    // Every piece right and the whole wrong: whoever offered that manifest.
    let (attempt, _) = one.begin(2, key(2), 1);
    one.hear(3, offer(key(2), manifest(1)));
    one.hear(4, offer(key(2), manifest(2)));
    one.hear(2, piece(key(2), 0));
    one.step(Event::Written { key: key(2), attempt, number: 0 });
    let effects = one.step(Event::WrongWhole { key: key(2), attempt });
    assert_eq!(blames(&effects), [(node(2), Blame::Whole), (node(3), Blame::Whole)]);
    let begun = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Begin { manifest, .. } if manifest.pieces.len() == 2));
    assert!(begun, "that of node 4: {effects:?}");
}

#[test]
fn a_collected_file_does_not_come_back_by_itself() {
    let mut one = One::of(2, [key(1)]);
    one.step(Event::Removed { key: key(1), why: Removed::Collected });
    assert!(!one.0.holds(&key(1)));
    assert!(one.hear(2, offer(key(1), manifest(1))).is_empty());
    // Unless it is needed.
    assert_eq!(seeks(&one.step(Event::Want(key(1)))), 1);
    assert!(matches!(one.hear(2, offer(key(1), manifest(1)))[..], [Effect::Begin { .. }]));
    assert_eq!(one.step(Event::Stored(key(1))).last(), Some(&Effect::Fetched(key(1))));
    // A lost one does, and nobody is told who did not ask.
    assert_eq!(seeks(&one.step(Event::Removed { key: key(1), why: Removed::Lost })), 1);
    assert!(matches!(one.hear(2, offer(key(1), manifest(1)))[..], [Effect::Begin { .. }]));
    assert!(!one.step(Event::Stored(key(1))).contains(&Effect::Fetched(key(1))));
}

/// Found by seed 1191, when each failure of the disk counted as if nobody had the file.
#[test]
fn a_lost_file_is_looked_for_however_often_the_disk_fails() {
    let mut one = One::of(2, [key(1)]);
    one.step(Event::Removed { key: key(1), why: Removed::Lost });
    for _ in 0..30 {
        let effects = one.hear(2, offer(key(1), manifest(1)));
        let [Effect::Begin { attempt, .. }] = effects[..] else { panic!("{effects:?}") };
        assert_eq!(one.step(Event::Failed { key: key(1), attempt }), []);
        assert!(seeks(&one.ticks(300)) > 0, "after half a minute at the latest");
    }
    // Where nobody has it, it is given up in the end: whoever finds it will offer it.
    for _ in 0..20 {
        one.ticks(300);
        one.hear(2, ContentMessage::NotHeld { content: key(1) });
    }
    assert_eq!(one.ticks(1000), []);
}

#[test]
fn who_wants_what_is_here_or_wants_no_more_is_answered() {
    let mut one = One::of(2, [key(1)]);
    assert_eq!(one.step(Event::Want(key(1))), [Effect::Fetched(key(1))]);
    one.step(Event::Want(key(2)));
    one.step(Event::Unwant(key(2)));
    assert_eq!(one.hear(2, ContentMessage::NotHeld { content: key(2) }), []);
    let effects = one.ticks(1000);
    assert!(!effects.iter().any(|effect| matches!(
        effect,
        Effect::Send { message: ContentMessage::Seek { content, .. }, .. } if *content == key(2)
    )));
}

#[test]
fn nobody_keeps_this_node_busy() {
    let mut one = One::of(3, [key(0)]);
    // Questions about everything.
    let seek = |i| ContentMessage::Seek { content: key(i), held: false };
    let answers: usize = (1..=2000).map(|i| one.hear(2, seek(i)).len()).sum();
    assert_eq!(answers, CONTENT_ANSWERS_MAX);
    assert_eq!(one.hear(3, seek(1)).len(), 1, "another one is answered");
    one.step(Event::Tick);
    assert_eq!(one.hear(2, seek(1)).len(), 1);
    // Pieces without end.
    let request = |number| ContentMessage::PieceRequest { content: key(0), number };
    let served: usize = (0..100).map(|number| one.hear(2, request(number)).len()).sum();
    assert_eq!(served, CONTENT_PIECES_SERVED_MAX);
    one.step(Event::Served(node(2)));
    assert_eq!(one.hear(2, request(7)), [Effect::SendPiece { to: node(2), key: key(0), number: 7 }]);
    // More files than it takes from one, and than it takes at all.
    let offered = |one: &mut One, from: u8, files: std::ops::Range<u32>| -> usize {
        files.map(|i| one.hear(from, offer(key(i), manifest(1))).len()).sum()
    };
    assert_eq!(offered(&mut one, 2, 1000..2000), CONTENT_OFFERS_MAX);
    assert_eq!(offered(&mut one, 3, 2000..3000), CONTENT_OFFERS_MAX);
    let mut many = One::of(15, []);
    let all: usize = (2..=15)
        .map(|from| offered(&mut many, from, u32::from(from) * 100..u32::from(from) * 100 + 50))
        .sum();
    assert_eq!(all, CONTENT_FETCHES_MAX);
}

#[test]
fn what_is_needed_and_awaited_has_limits_too() {
    let mut one = One::of(2, []);
    let sought: usize = (0..1000).map(|i| seeks(&one.step(Event::Want(key(i))))).sum();
    assert_eq!(sought, CONTENT_SOUGHT_MAX);
    // Each gets its turn when those before are not to be had.
    for i in 0..32 {
        let effects = one.hear(2, ContentMessage::NotHeld { content: key(i) });
        assert_eq!(effects, []);
    }
    assert_eq!(seeks(&one.step(Event::Tick)), CONTENT_SOUGHT_MAX);

    let mut one = One::of(2, []);
    let mut busy = 0;
    for i in 0..u32::try_from(CONTENT_AWAITED_MAX).unwrap() + 5 {
        let effects = one.step(Event::Await(key(i)));
        busy += usize::from(effects == [Effect::NotUniform { key: key(i), why: NotUniform::Busy }]);
    }
    assert_eq!(busy, 5);
}

#[test]
fn a_million_files_are_gone_through_a_few_at_a_time() {
    let mut one = One::of(3, (0..1_000_000).map(key));
    for _ in 0..3 {
        let effects = one.step(Event::Tick);
        assert!((1..=16).contains(&effects.len()), "{} messages", effects.len());
        for effect in effects {
            let Effect::Send { to, message: ContentMessage::Seek { content, held: true } } = effect else {
                panic!("{effect:?}");
            };
            let of = if to == node(2) { 2 } else { 3 };
            one.hear(of, ContentMessage::Held(receipt(of, content)));
        }
    }
    // Who does not answer is not asked about more and more.
    let asked = one.ticks(50);
    let files: BTreeSet<ContentKey> = asked
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { message: ContentMessage::Seek { content, .. }, .. } => Some(*content),
            _ => None,
        })
        .collect();
    assert_eq!(files.len(), CONTENT_OFFERS_MAX);
}

/// Nodes whose messages and disks are instant.
struct Cluster {
    cores: BTreeMap<NodeId, Core>,
    disks: BTreeMap<NodeId, BTreeSet<ContentKey>>,
    /// Never answers and never sends.
    mute: Option<NodeId>,
    events: VecDeque<(NodeId, Event)>,
    messages: usize,
    uniform: Vec<(NodeId, ContentKey)>,
}

impl Cluster {
    fn new(count: u8) -> Cluster {
        let core = |i| {
            let others = (1..=count).filter(|&other| other != i).map(node).collect();
            (node(i), Core::new(Config::new(node(i), others), []))
        };
        let mut cluster = Cluster {
            cores: (1..=count).map(core).collect(),
            disks: (1..=count).map(|i| (node(i), BTreeSet::new())).collect(),
            mute: None,
            events: VecDeque::new(),
            messages: 0,
            uniform: Vec::new(),
        };
        for (one, other) in (1..=count).flat_map(|one| (1..=count).map(move |other| (one, other))) {
            cluster.events.push_back((node(one), Event::Up(node(other))));
        }
        cluster.settle();
        cluster
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: ContentMessage) {
        self.messages += 1;
        if self.mute != Some(from) && self.mute != Some(to) {
            self.events.push_back((to, Event::Message { from, message }));
        }
    }

    fn settle(&mut self) {
        while let Some((at, event)) = self.events.pop_front() {
            let mut effects = Vec::new();
            self.cores.get_mut(&at).unwrap().step(event, &mut effects);
            for effect in effects {
                self.perform(at, effect);
            }
        }
    }

    fn perform(&mut self, at: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(at, to, message),
            Effect::SendHeld { to, key } => {
                let receipt =
                    ContentReceipt { content: key, node: at, key: Bytes::new(), signature: Bytes::new() };
                self.send(at, to, ContentMessage::Held(receipt));
            }
            Effect::SendOffer { to, key } => self.send(at, to, offer(key, manifest(3))),
            Effect::SendPiece { to, key, number } => {
                self.send(at, to, piece(key, number));
                self.events.push_back((at, Event::Served(to)));
            }
            Effect::Begin { key, attempt, .. } => {
                self.events.push_back((at, Event::Begun { key, attempt, missing: vec![0, 1, 2] }));
            }
            Effect::Write { key, attempt, number, .. } => {
                self.events.push_back((at, Event::Written { key, attempt, number }));
                if number == 2 {
                    self.disks.get_mut(&at).unwrap().insert(key);
                    self.events.push_back((at, Event::Stored(key)));
                }
            }
            Effect::Uniform { key, .. } => self.uniform.push((at, key)),
            Effect::Fetched(_) | Effect::NotUniform { .. } | Effect::Blame { .. } => panic!("{effect:?}"),
        }
    }

    fn upload(&mut self, at: NodeId, key: ContentKey) {
        self.disks.get_mut(&at).unwrap().insert(key);
        self.events.push_back((at, Event::Stored(key)));
        self.settle();
    }

    fn ticks(&mut self, count: u64) {
        for _ in 0..count {
            let nodes: Vec<NodeId> = self.cores.keys().copied().collect();
            self.events.extend(nodes.into_iter().map(|node| (node, Event::Tick)));
            self.settle();
        }
    }
}

#[test]
fn a_file_travels_to_all_and_costs_what_it_must() {
    let mut cluster = Cluster::new(5);
    cluster.events.push_back((node(1), Event::Await(key(1))));
    cluster.ticks(1);
    cluster.messages = 0;
    cluster.upload(node(1), key(1));
    assert!(cluster.disks.values().all(|disk| disk.contains(&key(1))));
    assert_eq!(cluster.uniform, [(node(1), key(1))]);
    // To each of four others: an offer, three requests and three pieces; and everybody's word to everybody.
    assert_eq!(cluster.messages, 4 * 7 + 5 * 4);
    cluster.ticks(1000);
    assert_eq!(cluster.messages, 4 * 7 + 5 * 4, "nobody missed a word, so nobody asks");
}

#[test]
fn many_files_reach_everybody_though_one_is_mute_and_then_it_too() {
    let mut cluster = Cluster::new(3);
    cluster.mute = Some(node(3));
    // More than wait to be offered: then all that is held is gone through.
    let count = u32::try_from(CONTENT_OFFERS_LATER_MAX).unwrap() + 500;
    for i in 0..count {
        cluster.upload(node(1), key(i));
    }
    cluster.ticks(100);
    assert_eq!(cluster.disks[&node(2)].len(), usize::try_from(count).unwrap());
    assert!(cluster.disks[&node(3)].is_empty());
    cluster.mute = None;
    cluster.ticks(6000);
    assert_eq!(cluster.disks[&node(3)].len(), usize::try_from(count).unwrap());
    cluster.messages = 0;
    cluster.ticks(1000);
    assert_eq!(cluster.messages, 0, "and then it is quiet");
}
