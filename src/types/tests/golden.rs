//! The bytes of everything that travels, and of what is signed. Each variant has its line in a golden file; one that is new
//! does not compile here before it has a sample.
#![allow(clippy::unwrap_used)] // In a test, a panic is the answer.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_types::log::LogPage;
use synod_types::message::{AcceptedSlot, GroupBeat};
use synod_types::request::{Reply, ReplyFrame, Request, RequestFrame};
use synod_types::session::{Control, ControlFrame, Hello, SessionErrorCode, Welcome};
use synod_types::versions::{COMMANDER_WIRE, MESH_WIRE};
use synod_types::{
    AppNdx, AppStanding, Ballot, Batch, Certificate, CertificateBundle, Checkpoint, CheckpointSignature,
    ClusterId, CommandBody, CommandId, CommanderId, Configuration, ContentKey, ContentMessage,
    ContentReceipt, CosignMessage, Decree, Digest, Epoch, GossipMessage, GroupMessage, Holding, LogPageError,
    Manifest, Message, NodeId, Outcome, Program, Receipt, Refusal, RefusalCode, RouteMessage, Seq,
    SignedCommand, SignedStanding, Slot, SnapshotIndex, Standing, StateCertificate, StateNdx, Statement,
    StatementSignature, TimeMs, Version, Versions, Word, wire,
};

/// Pairs each variant with a sample of it.
macro_rules! samples {
    ($name:ident: $type:ty { $($pattern:pat => $sample:expr,)* }) => {
        fn $name() -> Vec<(String, $type)> {
            // What has no line here does not compile.
            fn name_of(sample: &$type) -> &'static str {
                match sample { $($pattern => stringify!($pattern),)* }
            }
            let samples: Vec<(&str, $type)> = vec![$((stringify!($pattern), $sample),)*];
            let name = |(pattern, sample): (&str, $type)| {
                assert_eq!(name_of(&sample), pattern, "the sample is of another variant");
                let words: String = pattern.chars().filter(|letter| letter.is_alphanumeric()).collect();
                (words.replace("Message", ""), sample)
            };
            samples.into_iter().map(name).collect()
        }
    };
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect()
}

/// Holds each of these to its line, and reads that line.
#[track_caller]
fn hold<T>(name: &str, samples: Vec<(String, T)>)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let made = samples.iter().map(|(name, sample)| (name.clone(), wire::encode(sample)));
    let kept = synod_golden::holds(file(name), made);
    for (name, sample) in samples {
        assert_eq!(wire::decode::<T>(&kept[&name]).unwrap(), sample, "{name}");
    }
}

const APP: AppNdx = AppNdx(7);

fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

fn ballot() -> Ballot {
    Ballot { epoch: Epoch(1), number: 300, priority: 2, node: NodeId(digest(9)) }
}

fn body() -> CommandBody {
    CommandBody {
        cluster: ClusterId(digest(1)),
        app: APP,
        commander: CommanderId(digest(2)),
        seq: Seq(3),
        not_after: Some(TimeMs(1_700_000_000_000)),
        expected: Some(StateNdx(4)),
        operation: Bytes::from_static(b"\0operation"),
    }
}

fn command() -> SignedCommand {
    let body = body().encode().unwrap().into();
    SignedCommand { body, signature: Bytes::from_static(b"signature"), key: Bytes::from_static(b"key") }
}

fn batch() -> Decree {
    let (term, time, commands) = (ballot(), TimeMs(1_700_000_000_001), vec![command()]);
    Decree::Batch(Arc::new(Batch { term, time, commands }))
}

fn configuration() -> Configuration {
    Configuration { epoch: Epoch(2), members: vec![NodeId(digest(8)), NodeId(digest(9))] }
}

fn checkpoint() -> Checkpoint {
    let (chain, index) = (digest(3), ContentKey(digest(4)));
    Checkpoint { app: APP, slot: Slot(258), state_ndx: StateNdx(257), chain, index }
}

fn word() -> CheckpointSignature {
    CheckpointSignature { key: Bytes::from_static(b"key"), signature: Bytes::from_static(b"signature") }
}

fn certificate() -> Certificate {
    Certificate { checkpoint: checkpoint(), signatures: vec![word()] }
}

fn manifest() -> Manifest {
    Manifest { bytes: 300_000, pieces: vec![digest(5), digest(6)] }
}

fn held() -> ContentReceipt {
    let (key, signature) = (Bytes::from_static(b"key"), Bytes::from_static(b"signature"));
    ContentReceipt { content: ContentKey(digest(4)), node: NodeId(digest(9)), key, signature }
}

fn receipt(outcome: Outcome) -> Receipt {
    Receipt { app: APP, seq: Seq(3), state_ndx: StateNdx(257), outcome, chain: digest(3) }
}

fn refusal() -> Refusal {
    Refusal::new(RefusalCode::Conflict, "the state says otherwise")
}

samples!(decrees: Decree {
    Decree::Noop => Decree::Noop,
    Decree::Batch(_) => batch(),
    Decree::Seal(_) => Decree::Seal(Arc::new(configuration())),
});

samples!(content_messages: ContentMessage {
    ContentMessage::Offer { .. } =>
        ContentMessage::Offer { content: ContentKey(digest(4)), manifest: manifest() },
    ContentMessage::Held(_) => ContentMessage::Held(held()),
    ContentMessage::Seek { .. } => ContentMessage::Seek { content: ContentKey(digest(4)), held: true },
    ContentMessage::NotHeld { .. } => ContentMessage::NotHeld { content: ContentKey(digest(4)) },
    ContentMessage::PieceRequest { .. } =>
        ContentMessage::PieceRequest { content: ContentKey(digest(4)), number: 1 },
    ContentMessage::Piece { .. } => ContentMessage::Piece {
        content: ContentKey(digest(4)),
        number: 1,
        bytes: Bytes::from_static(b"piece"),
    },
});

samples!(group_messages: GroupMessage {
    GroupMessage::Prepare { .. } => GroupMessage::Prepare { ballot: ballot(), from: Slot(258) },
    GroupMessage::Promise { .. } => GroupMessage::Promise {
        ballot: ballot(),
        chosen: Slot(257),
        damaged_through: Slot(2),
        accepted: vec![AcceptedSlot { slot: Slot(258), ballot: ballot(), decree: batch() }],
    },
    GroupMessage::Accept { .. } =>
        GroupMessage::Accept { ballot: ballot(), slot: Slot(258), decree: batch(), chosen: Slot(257) },
    GroupMessage::Accepted { .. } => GroupMessage::Accepted { ballot: ballot(), slot: Slot(258) },
    GroupMessage::Nack { .. } => GroupMessage::Nack { ballot: Ballot::ZERO, promised: ballot() },
    GroupMessage::Learn { .. } => GroupMessage::Learn { ballot: ballot(), chosen: Slot(257) },
    GroupMessage::CatchUpRequest { .. } => GroupMessage::CatchUpRequest { from: Slot(258) },
    GroupMessage::CatchUp { .. } => GroupMessage::CatchUp { from: Slot(258), decrees: vec![batch()] },
    GroupMessage::ReadIndexRequest { .. } => GroupMessage::ReadIndexRequest { read: 300 },
    GroupMessage::ReadIndex { .. } => GroupMessage::ReadIndex { read: 300, index: Slot(257) },
    GroupMessage::Confirm { .. } => GroupMessage::Confirm { ballot: ballot(), round: 300 },
    GroupMessage::Confirmed { .. } => GroupMessage::Confirmed { ballot: ballot(), round: 300 },
    GroupMessage::Snapshot { .. } => GroupMessage::Snapshot { certificate: certificate() },
    GroupMessage::HandOver { .. } => GroupMessage::HandOver { ballot: ballot(), chosen: Slot(257) },
    GroupMessage::RecordRequest { .. } => GroupMessage::RecordRequest { slot: Slot(258) },
    GroupMessage::Unreadable { .. } => GroupMessage::Unreadable { slot: Slot(258) },
});

samples!(messages: Message {
    Message::Heartbeat { .. } => Message::Heartbeat { round: 300 },
    Message::HeartbeatReply { .. } => Message::HeartbeatReply {
        round: 300,
        groups: vec![GroupBeat {
            app: APP,
            ballot: ballot(),
            leader: Ballot::ZERO,
            happy: true,
            chosen: Slot(257),
        }],
    },
    Message::Group { .. } =>
        Message::Group { app: APP, message: GroupMessage::CatchUpRequest { from: Slot(258) } },
    Message::Forward { .. } => Message::Forward { app: APP, hops: 1, commands: vec![command()] },
    Message::ForwardRefused { .. } =>
        Message::ForwardRefused { app: APP, refused: vec![(CommandId(digest(5)), refusal())] },
    Message::Content(_) => Message::Content(ContentMessage::NotHeld { content: ContentKey(digest(4)) }),
    Message::States(_) => Message::States(vec![(APP, StateNdx(257), digest(3))]),
    Message::Checkpoint { .. } =>
        Message::Checkpoint { checkpoint: checkpoint(), signature: word(), asks: true },
    Message::ChainRequest { .. } => Message::ChainRequest { app: APP, from: StateNdx(257) },
    Message::Chain { .. } => Message::Chain { app: APP, from: StateNdx(257), values: vec![digest(3)] },
    Message::Disk { .. } => Message::Disk { is_low: true, is_slow: false, sync_us: 300 },
    Message::Chunk(_) => Message::Chunk(ContentMessage::NotHeld { content: ContentKey(digest(4)) }),
    Message::Cosign(_) => Message::Cosign(CosignMessage::Holds(vec![])),
    Message::Gossip(_) => Message::Gossip(GossipMessage::Heads(vec![])),
    Message::Route(_) => Message::Route(RouteMessage::Packet(Bytes::from_static(b"packet"))),
});

samples!(route_messages: RouteMessage {
    RouteMessage::Asked(_) => RouteMessage::Asked(Bytes::from_static(b"asked")),
    RouteMessage::Told(_) => RouteMessage::Told(Bytes::from_static(b"told")),
    RouteMessage::Packet(_) => RouteMessage::Packet(Bytes::from_static(b"packet")),
});

fn version() -> Version {
    Version { life: 300, number: 2, tag: 258 }
}

fn standing() -> Standing {
    let app = AppStanding { app: APP, state_ndx: StateNdx(257), chain: digest(3), certified: StateNdx(256) };
    Standing { apps: vec![app], files: 300 }
}

samples!(gossip_messages: GossipMessage<SignedStanding> {
    GossipMessage::Heads(_) => GossipMessage::Heads(vec![(NodeId(digest(9)), version())]),
    GossipMessage::News { .. } => {
        let (key, signature) = (Bytes::from_static(b"key"), Bytes::from_static(b"signature"));
        let says = SignedStanding { standing: standing(), key, signature };
        let words = vec![Word { node: NodeId(digest(9)), version: version(), says }];
        GossipMessage::News { words, lacks: vec![(NodeId(digest(8)), Version::default())] }
    },
});

fn statement() -> Statement {
    Statement {
        app: APP,
        epoch: Epoch(2),
        members: digest(6),
        slot: Slot(258),
        state_ndx: StateNdx(257),
        chain: digest(3),
        root: digest(5),
    }
}

fn state_word() -> StatementSignature {
    StatementSignature { key: Bytes::from_static(b"key"), signature: Bytes::from_static(b"signature") }
}

fn state_certificate() -> StateCertificate {
    let members = configuration().members;
    StateCertificate { statement: statement(), members, signatures: vec![state_word()] }
}

samples!(cosign_messages: CosignMessage {
    CosignMessage::Prepare { .. } =>
        CosignMessage::Prepare { statement: statement(), signature: state_word() },
    CosignMessage::Commit { .. } => CosignMessage::Commit { certificate: state_certificate() },
    CosignMessage::Holds(_) => CosignMessage::Holds(vec![Holding {
        app: APP,
        newest: Some(statement().key()),
        proved: Epoch(1),
    }]),
});

fn hello() -> Hello {
    Hello {
        program: Program {
            wire: Versions { min: 1, max: 300 },
            levels: Versions { min: 2, max: 3 },
            version: "1.2.3".to_owned(),
        },
        id: digest(9),
        signing_key: b"signing key".to_vec(),
        communication_key: b"communication key".to_vec(),
        address: "node1:7101".to_owned(),
        directory: [7; 16],
        salt: [8; 16],
        signature: b"signature".to_vec(),
    }
}

samples!(controls: Control {
    Control::Hello(_) => Control::Hello(Box::new(hello())),
    Control::Ack { .. } => Control::Ack { your_msg_n: 300 },
    Control::Error { .. } => Control::Error {
        your_msg_n: 1,
        code: SessionErrorCode::NoCommonVersion,
        description: "no wire version in common".to_owned(),
    },
    Control::KeepAlive => Control::KeepAlive,
    Control::Bye => Control::Bye,
    Control::Welcome(_) =>
        Control::Welcome(Box::new(Welcome { your_msg_n: 1, program: hello().program })),
});

samples!(requests: Request {
    Request::Control(_) => Request::Control(Control::KeepAlive),
    Request::Submit(_) => Request::Submit(command()),
    Request::NextSeq { .. } => Request::NextSeq { app: APP },
    Request::Offer { .. } => Request::Offer { ticket: command(), manifest: manifest() },
    Request::Piece { .. } => Request::Piece {
        content: ContentKey(digest(4)),
        number: 1,
        bytes: Bytes::from_static(b"piece"),
    },
    Request::AwaitHeld { .. } => Request::AwaitHeld { content: ContentKey(digest(4)) },
});

samples!(replies: Reply {
    Reply::Control(_) => Reply::Control(Control::Ack { your_msg_n: 300 }),
    Reply::Executed { .. } => Reply::Executed {
        your_msg_n: 300,
        receipt: receipt(Outcome::Done(Bytes::from_static(b"answer"))),
    },
    Reply::Refused { .. } => Reply::Refused { your_msg_n: 300, refusal: refusal() },
    Reply::NextSeq { .. } => Reply::NextSeq { your_msg_n: 300, seq: Seq(3) },
    Reply::Wanted { .. } => Reply::Wanted { your_msg_n: 300, pieces: vec![0, 1] },
    Reply::Taken { .. } => Reply::Taken { your_msg_n: 300 },
    Reply::Held { .. } => Reply::Held { your_msg_n: 300, receipts: vec![held()] },
});

#[test]
fn messages_between_nodes() {
    let group = group_messages().into_iter().map(|(name, message)| {
        let name = name.replace("Group", "Group.");
        (name, Message::Group { app: APP, message })
    });
    let content = content_messages().into_iter().map(|(name, message)| {
        let name = name.replace("Content", "Content.");
        (name, Message::Content(message))
    });
    let cosign = cosign_messages().into_iter().map(|(name, message)| {
        let name = name.replace("Cosign", "Cosign.");
        (name, Message::Cosign(message))
    });
    let gossip = gossip_messages().into_iter().map(|(name, message)| {
        let name = name.replace("Gossip", "Gossip.");
        (name, Message::Gossip(message))
    });
    let route = route_messages().into_iter().map(|(name, message)| {
        let name = name.replace("Route", "Route.");
        (name, Message::Route(message))
    });
    let all = messages().into_iter().chain(group).chain(content).chain(cosign).chain(gossip).chain(route);
    let all: Vec<_> = all.collect();
    for (name, message) in &all {
        assert!(MESH_WIRE.contains(message.since()), "{name} is newer than what this build speaks");
    }
    let newest = all.iter().map(|(_, message)| message.since()).max();
    assert_eq!(newest, Some(MESH_WIRE.max), "a wire version brings something");
    hold("messages.hex", all);
}

#[test]
fn what_opens_a_session_is_for_ever() {
    let frames = |(name, control)| (name, ControlFrame { msg_n: 1, control });
    hold("session.hex", controls().into_iter().map(frames).collect());
    let codes = SessionErrorCode::ALL.iter().zip(0..);
    let named = |(code, place): (&SessionErrorCode, u32)| {
        assert_eq!((u32::from(*code), SessionErrorCode::from(place)), (place, *code));
        (format!("{code:?}"), *code)
    };
    hold("session-errors.hex", codes.map(named).collect());
    let new = wire::encode(&SessionErrorCode::Other(77));
    assert_eq!(wire::decode::<SessionErrorCode>(&new).unwrap(), SessionErrorCode::Other(77));
    let signed = hello().signed_bytes(&digest(1), &[2; 32]);
    synod_golden::holds(file("hello-signed-v3.hex"), [("Hello", signed)]);
}

#[test]
fn what_commanders_and_nodes_say() {
    let frames = |(name, request): (String, Request)| {
        assert!(COMMANDER_WIRE.contains(request.since()), "{name} is newer than what this build speaks");
        (name, RequestFrame { msg_n: 300, request })
    };
    hold("requests.hex", requests().into_iter().map(frames).collect());
    let frames = |(name, reply)| (name, ReplyFrame { msg_n: 300, reply });
    hold("replies.hex", replies().into_iter().map(frames).collect());
}

#[test]
fn what_is_logged() {
    hold("decrees.hex", decrees());
    let decrees = decrees().into_iter().zip(256..).map(|((_, decree), slot)| (Slot(slot), decree));
    let page =
        LogPage { cluster: ClusterId(digest(1)), app: APP, applied: Slot(300), decrees: decrees.collect() };
    let kept = synod_golden::holds(file("log-page-v2.hex"), [("page", page.encode())]);
    assert_eq!(LogPage::decode(&kept["page"]), Ok(page));
    let newer = [b"synod/log/v9\0", &kept["page"][13..]].concat();
    let why = LogPage::decode(&newer).unwrap_err();
    assert_eq!(why, LogPageError::UnknownVersion("9".to_owned()));
    assert_eq!(LogPage::decode(b"synod/receipt"), Err(LogPageError::WrongDomain));
}

#[test]
fn what_is_signed_and_kept() {
    let refused = |code: RefusalCode| receipt(Outcome::Refused(Refusal::new(code, "text")));
    let mut receipts = vec![("Done".to_owned(), receipt(Outcome::Done(Bytes::from_static(b"answer"))))];
    // The last one is the last that can be read: a new one is noticed here.
    let codes = (0..).map_while(|place: u8| wire::decode::<RefusalCode>(&[place]).ok());
    receipts.extend(codes.map(|code| (code.name().to_owned(), refused(code))));
    hold("receipts.hex", receipts);
    hold("certificates.hex", vec![("certificate".to_owned(), certificate())]);
    let cluster = ClusterId(digest(1));
    let bundle =
        CertificateBundle { cluster, handovers: vec![state_certificate()], certificate: state_certificate() };
    let kept = synod_golden::holds(file("certificate-bundle-v1.hex"), [("bundle", bundle.encode())]);
    assert_eq!(CertificateBundle::decode(&kept["bundle"]), Ok(bundle));
    let index =
        SnapshotIndex { bytes: 5_000_000, chunks: vec![ContentKey(digest(5)), ContentKey(digest(6))] };
    hold("snapshot-index.hex", vec![("index".to_owned(), index)]);
    hold("manifests.hex", vec![("manifest".to_owned(), manifest())]);
    hold("commands.hex", vec![("command".to_owned(), command())]);
    let node = NodeId(digest(9));
    let kept = synod_golden::holds(
        file("signed-v1.hex"),
        [
            ("command", body().encode().unwrap().to_vec()),
            ("checkpoint", checkpoint().signed_bytes(cluster, node)),
            ("statement", statement().signed_bytes(cluster, node)),
            ("members", configuration().digest().0.to_vec()),
            ("content", ContentReceipt::signed_bytes(cluster, ContentKey(digest(4)), node)),
        ],
    );
    assert_eq!(CommandBody::decode(&kept["command"].clone().into()), Ok(body()));
}
