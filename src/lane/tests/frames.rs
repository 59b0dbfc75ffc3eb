//! The bytes of everything that is said on a lane, in both encodings, as docs/PROTOCOL.md has them.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is surprised")]

use std::fmt::Debug;
use std::io::Read;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_golden::Golden;
use synod_lane::Link;
use synod_lane::front::{
    AppPicture, AppTold, Asked, FrontAnswer, FrontHello, FrontQuestion, FrontReception, NodePicture,
    PictureTold, Told,
};
use synod_lane::message::{
    Answer, Batch, Blob, Command, Encoding, Hello, Outcome, Question, Reception, Refused, Welcome,
};
use synod_lane::yard::{Arrived, ServerTold, YardAnswer, YardQuestion, YardTold};

fn yard() -> String {
    "printer".to_owned()
}

fn to() -> String {
    "node3/printer/a4".to_owned()
}

const ENCODINGS: [(&str, Encoding); 2] = [("json", Encoding::Json), ("msgpack", Encoding::MessagePack)];

fn blob(bytes: &'static [u8]) -> Blob {
    Blob(bytes.into())
}

/// The body of the frame.
fn written(encoding: Encoding, message: &impl Serialize) -> Vec<u8> {
    let (here, mut there) = UnixStream::pair().unwrap();
    Link::new(here, encoding, None).unwrap().send(message).unwrap();
    let mut frame = Vec::new();
    there.read_to_end(&mut frame).unwrap();
    let (length, body) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(usize::try_from(u32::from_be_bytes(*length)).unwrap(), body.len());
    body.to_vec()
}

fn read<T: DeserializeOwned>(encoding: Encoding, body: &[u8]) -> T {
    match encoding {
        Encoding::Json => serde_json::from_slice(body).unwrap(),
        Encoding::MessagePack => rmp_serde::from_slice(body).unwrap(),
    }
}

fn hold<T: Serialize + DeserializeOwned + PartialEq + Debug>(golden: &mut Golden, all: Vec<(&str, T)>) {
    for (name, message) in all {
        for (suffix, encoding) in ENCODINGS {
            let body = written(encoding, &message);
            assert_eq!(read::<T>(encoding, &body), message, "{name}");
            golden.insert(format!("{name}-{suffix}"), body);
        }
    }
}

#[test]
fn frames_are_golden() {
    let refused = || Refused { code: "conflict".to_owned(), text: "no".to_owned() };
    let mut golden = Golden::new();
    hold(
        &mut golden,
        vec![(
            "hello",
            Hello {
                versions: (1, 1),
                kind: "counter".to_owned(),
                program: "counter 1.0".to_owned(),
                checks: true,
            },
        )],
    );
    let welcome = Welcome { version: 1, app: 3, name: "visits".to_owned() };
    hold(
        &mut golden,
        vec![
            ("welcome", Reception::Welcome(welcome)),
            ("turned-away", Reception::Refused("the node is stopping".to_owned())),
        ],
    );
    let command = Command { state_ndx: 258, commander: "07".repeat(32), operation: blob(b"a +5") };
    hold(
        &mut golden,
        vec![
            ("reset", Question::Reset),
            ("restore", Question::Restore { bytes: blob(b"a 6\n"), last: true }),
            ("apply", Question::Apply(Batch { time: 70_000, clock: 300, commands: vec![command] })),
            ("check", Question::Check { operation: blob(b"a 5") }),
            ("query", Question::Query { state_ndx: 258, query: blob(b"a") }),
            ("keep", Question::Keep),
            ("piece", Question::Piece { number: 1 }),
            ("digest", Question::Digest),
        ],
    );
    hold(
        &mut golden,
        vec![
            ("done", Answer::Done),
            ("applied", Answer::Applied(vec![Outcome::Done(blob(b"\xff6")), Outcome::Refused(refused())])),
            ("refused", Answer::Refused(refused())),
            ("answered", Answer::Answered(blob(b"6"))),
            ("not-a-query", Answer::NotAQuery("a name is text".to_owned())),
            ("a-piece", Answer::Piece { bytes: blob(b"a 6\n"), last: false }),
            ("later", Answer::Later),
            ("a-digest", Answer::Digest(blob(&[9; 32]))),
            ("failed", Answer::Failed("no memory".to_owned())),
        ],
    );
    synod_golden::holds(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/frames-v1.hex"), golden);
}

#[test]
fn frames_of_front_ends_are_golden() {
    let app = || "visits".to_owned();
    let chain = "0a".repeat(32);
    let mut golden = Golden::new();
    hold(&mut golden, vec![("hello", FrontHello { versions: (1, 1), program: "pages 1.0".to_owned() })]);
    let (cluster, node) = ("0b".repeat(32), "node1".to_owned());
    hold(
        &mut golden,
        vec![
            ("welcome", FrontReception::Welcome { version: 1, cluster, node }),
            ("turned-away", FrontReception::Refused("no".to_owned())),
        ],
    );
    let asked = [
        ("apps", FrontQuestion::Apps),
        (
            "query",
            FrontQuestion::Query {
                app: app(),
                query: blob(b"a"),
                linearizable: true,
                min: Some(31),
                wait_ms: None,
            },
        ),
        ("wait", FrontQuestion::Wait { app: app(), state_ndx: 31, wait_ms: Some(500) }),
        ("follow", FrontQuestion::Follow { app: app(), after: 31 }),
        ("stop", FrontQuestion::Stop),
        ("at", FrontQuestion::At { server: "node3".to_owned(), ask: Box::new(FrontQuestion::Apps) }),
        ("yard-servers", FrontQuestion::Yard(YardQuestion::Servers)),
        ("yard-list", FrontQuestion::Yard(YardQuestion::List)),
        (
            "yard-open",
            FrontQuestion::Yard(YardQuestion::Open {
                yard: yard(),
                queues: Some(vec![String::new(), "a4".to_owned()]),
            }),
        ),
        (
            "yard-receive",
            FrontQuestion::Yard(YardQuestion::Receive {
                queue: Some("a4".to_owned()),
                max: Some(64),
                wait_ms: Some(30_000),
            }),
        ),
        (
            "yard-send",
            FrontQuestion::Yard(YardQuestion::Send { to: to(), body: blob(b"page"), wait_ms: Some(500) }),
        ),
        (
            "yard-request",
            FrontQuestion::Yard(YardQuestion::Request { to: to(), body: blob(b"page"), wait_ms: None }),
        ),
        ("yard-reply", FrontQuestion::Yard(YardQuestion::Reply { number: 5, body: blob(b"done") })),
    ];
    hold(&mut golden, asked.map(|(name, ask)| (name, Asked { id: 7, ask })).into());
    let told = AppTold {
        app: 3,
        name: app(),
        kind: "counter".to_owned(),
        state_ndx: 31,
        leader: Some("node2".to_owned()),
    };
    let told = [
        ("all-apps", FrontAnswer::Apps(vec![told])),
        ("answered", FrontAnswer::Answered { state_ndx: 31, chain: chain.clone(), answer: blob(b"6") }),
        ("state", FrontAnswer::State { state_ndx: 31, chain }),
        (
            "problem",
            FrontAnswer::Problem {
                code: "timeout".to_owned(),
                text: "not there".to_owned(),
                state_ndx: Some(30),
            },
        ),
        ("stopped", FrontAnswer::Stopped),
        (
            "yard-all-servers",
            FrontAnswer::Yard(YardAnswer::Servers(vec![ServerTold {
                server: "node3".to_owned(),
                is_there: true,
            }])),
        ),
        (
            "yard-yards",
            FrontAnswer::Yard(YardAnswer::Yards(vec![YardTold { yard: yard(), queues: None, waiting: 2 }])),
        ),
        ("yard-opened", FrontAnswer::Yard(YardAnswer::Opened)),
        (
            "yard-arrived",
            FrontAnswer::Yard(YardAnswer::Arrived(vec![Arrived {
                number: 5,
                from: "node1/desk".to_owned(),
                queue: "a4".to_owned(),
                body: blob(b"page"),
                wants_reply: true,
            }])),
        ),
        ("yard-taken", FrontAnswer::Yard(YardAnswer::Taken)),
        ("yard-replied", FrontAnswer::Yard(YardAnswer::Replied(blob(b"done")))),
        ("yard-sent", FrontAnswer::Yard(YardAnswer::Sent)),
    ];
    hold(&mut golden, told.map(|(name, tell)| (name, Told { id: 7, tell })).into());
    synod_golden::holds(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/front-v1.hex"), golden);
    let least: Asked = read(Encoding::Json, br#"{"id":1,"ask":{"query":{"app":"1","query":""}}}"#);
    assert!(matches!(least.ask, FrontQuestion::Query { linearizable: false, min: None, wait_ms: None, .. }));
}

#[test]
fn frames_of_front_ends_with_states_are_golden() {
    let (app, key, chain) = (|| "visits".to_owned(), "0c".repeat(32), "0a".repeat(32));
    let mut golden = Golden::new();
    hold(&mut golden, vec![("hello", FrontHello { versions: (1, 2), program: "pages 2.0".to_owned() })]);
    let asked = [
        ("picture", FrontQuestion::Picture),
        ("index", FrontQuestion::Index { app: app() }),
        ("whole", FrontQuestion::Whole { app: app(), certified: true }),
        ("decrees", FrontQuestion::Decrees { app: app(), after: 17 }),
        ("log", FrontQuestion::Log { app: app(), after: 17, limit: 100 }),
        ("file", FrontQuestion::File { key, snapshot: true }),
        ("certificates", FrontQuestion::Certificates { app: app(), before: Some(31), limit: 10 }),
        ("certificate", FrontQuestion::Certificate { app: app(), state_ndx: None }),
    ];
    hold(&mut golden, asked.map(|(name, ask)| (name, Asked { id: 7, ask })).into());
    let of_app = AppPicture {
        app: 3,
        name: app(),
        kind: "counter".to_owned(),
        is_elsewhere: true,
        is_ready: false,
        applied: 18,
        age_ms: Some(250),
        certificate: Some(blob(b"certificate")),
        snapshot: None,
    };
    let picture = PictureTold {
        status: blob(b"{}"),
        sign_every: 1024,
        apps: vec![of_app],
        nodes: vec![NodePicture { node: "0d".repeat(32), states: vec![(3, 31)] }],
    };
    let told = [
        ("a-picture", FrontAnswer::Picture(picture)),
        ("an-index", FrontAnswer::Index { slot: 18 }),
        ("a-piece", FrontAnswer::Piece { bytes: blob(b"state"), last: false }),
        ("some-decrees", FrontAnswer::Decrees { page: blob(b"page"), state_ndx: 31, chain }),
        ("cut", FrontAnswer::Cut { behind: 40 }),
        ("some-certificates", FrontAnswer::Certificates(vec![blob(b"certificate")])),
    ];
    hold(&mut golden, told.map(|(name, tell)| (name, Told { id: 7, tell })).into());
    synod_golden::holds(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/front-v2.hex"), golden);
    let least: Asked = read(Encoding::Json, br#"{"id":1,"ask":{"certificate":{"app":"1"}}}"#);
    assert!(matches!(least.ask, FrontQuestion::Certificate { state_ndx: None, .. }));
}

#[test]
fn what_others_write_is_read_as_well() {
    // Without what has a default, with more than is known, and in another order.
    let text = br#" {"kind": "counter", "colour": 7, "program": "", "versions": [1, 3]}"#;
    let hello: Hello = read(Encoding::Json, text);
    assert_eq!((hello.versions, hello.checks), ((1, 3), false));
    // As msgpack for Python writes it.
    let body = [0x81, 0xa8, b'a', b'n', b's', b'w', b'e', b'r', b'e', b'd', 0xc4, 1, 7];
    assert_eq!(read::<Answer>(Encoding::MessagePack, &body), Answer::Answered(blob(&[7])));
    assert!(serde_json::from_slice::<Answer>(br#"{"answered": "no base64!"}"#).is_err());
    assert!(serde_json::from_slice::<Answer>(br#""else""#).is_err());
}
