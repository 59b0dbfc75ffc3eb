//! Files over QUIC.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use support::door::FakeDoor;
use support::raw::Raw;
use support::{APP, CLUSTER, Tls, body, command, file_of, seal, soon, ticket};
use synod_auth::{Algorithm, SigningKey, verify_content_receipt};
use synod_backend::Backend;
use synod_types::limits::{CONTENT_BYTES_MAX, CONTENT_PIECE_BYTES};
use synod_types::request::{Reply, Request};
use synod_types::{
    ClusterId, ContentKey, ContentReceipt, Digest, Manifest, NodeId, RefusalCode, Seq, SignedCommand, wire,
};

/// Files of a session, and its requests in progress.
const SESSION_OFFERS_MAX: usize = 16;
const SESSION_PIECES_MAX: usize = 8;

struct House {
    tls: Tls,
    door: Arc<FakeDoor>,
    backend: Backend,
    key: SigningKey,
}

fn house(door: Arc<FakeDoor>) -> House {
    let tls = Tls::new();
    let backend = tls.start_with(&door);
    House { tls, door, backend, key: SigningKey::generate(Algorithm::Ed25519) }
}

impl House {
    async fn open(&self) -> Raw {
        Raw::open(&self.tls, &self.backend, &self.key).await
    }

    fn ticket(&self, file: &[u8]) -> SignedCommand {
        ticket(&self.key, ContentKey::of(file), file.len().try_into().unwrap())
    }

    fn offer(&self, file: &[u8]) -> Request {
        Request::Offer { ticket: self.ticket(file), manifest: Manifest::of(file).unwrap() }
    }

    /// Nothing is in progress, and nothing was forgotten.
    fn is_at_rest(&self) {
        assert_eq!(self.backend.counters().bytes_held, 0);
        assert_eq!(self.door.pieces_waiting(), 0);
    }
}

fn piece(file: &Bytes, number: u32) -> Request {
    let (start, bytes) = Manifest::of(file).unwrap().place(number).unwrap();
    let start = usize::try_from(start).unwrap();
    Request::Piece { content: ContentKey::of(file), number, bytes: file.slice(start..start + bytes) }
}

fn await_held(file: &[u8]) -> Request {
    Request::AwaitHeld { content: ContentKey::of(file) }
}

/// Offers a file; gives the pieces that are wanted.
async fn wanted(raw: &mut Raw, offer: Request) -> Vec<u32> {
    let asked = raw.ask(offer).await;
    match raw.reply().await {
        Some(Reply::Wanted { your_msg_n, pieces }) if your_msg_n == asked => pieces,
        other => panic!("Wanted was expected, not {other:?}"),
    }
}

/// Asks for what is refused.
async fn refused(raw: &mut Raw, request: Request) -> RefusalCode {
    let asked = raw.ask(request).await;
    let (number, code) = raw.refusal().await;
    assert_eq!(number, asked);
    code
}

async fn taken(raw: &mut Raw, request: Request) {
    let your_msg_n = raw.ask(request).await;
    assert_eq!(raw.reply().await, Some(Reply::Taken { your_msg_n }));
}

/// Other languages write and read these bytes: docs/PROTOCOL.md has them.
#[test]
fn the_encoding_stays_as_it_is() {
    let content = ContentKey(Digest([7; 32]));
    let seven = [7; 32];
    let manifest = Manifest { bytes: 300, pieces: vec![Digest([7; 32])] };
    let ticket = SignedCommand { body: "b".into(), signature: "s".into(), key: "k".into() };
    let piece = Request::Piece { content, number: 300, bytes: "p".into() };
    for (request, bytes) in [
        (Request::Offer { ticket, manifest }, [&b"\x03\x01b\x01s\x01k\xac\x02\x01"[..], &seven].concat()),
        (piece, [&[4][..], &seven, &[0xac, 2, 1, b'p']].concat()),
        (Request::AwaitHeld { content }, [&[5][..], &seven].concat()),
    ] {
        assert_eq!(wire::encode(&request), bytes);
    }
    let (node, key) = (NodeId(Digest([7; 32])), "k".into());
    let receipt = ContentReceipt { content, node, key, signature: "s".into() };
    for (reply, bytes) in [
        (Reply::Wanted { your_msg_n: 9, pieces: vec![0, 300] }, vec![4, 9, 2, 0, 0xac, 2]),
        (Reply::Taken { your_msg_n: 9 }, vec![5, 9]),
        (
            Reply::Held { your_msg_n: 9, receipts: vec![receipt] },
            [&[6, 9, 1][..], &seven, &seven, b"\x01k\x01s"].concat(),
        ),
    ] {
        assert_eq!(wire::encode(&reply), bytes);
    }
}

#[tokio::test]
async fn a_file_goes_up_in_pieces_and_comes_back_as_receipts() {
    let house = house(FakeDoor::new());
    let mut raw = house.open().await;
    let file = file_of(2 * CONTENT_PIECE_BYTES + 3, 1);
    assert_eq!(wanted(&mut raw, house.offer(&file)).await, [0, 1, 2]);
    for number in [2, 0, 1] {
        taken(&mut raw, piece(&file, number)).await;
    }
    assert_eq!(house.door.whole(ContentKey::of(&file)), Some(file.clone()));
    let asked = raw.ask(await_held(&file)).await;
    let Some(Reply::Held { your_msg_n, receipts }) = raw.reply().await else { panic!("Held was expected") };
    assert_eq!(your_msg_n, asked);
    let holders: Vec<_> = receipts.iter().map(|receipt| receipt.node).collect();
    assert_eq!(holders, house.door.holders());
    receipts.iter().for_each(|receipt| verify_content_receipt(receipt, CLUSTER).unwrap());
    assert_eq!(wanted(&mut raw, house.offer(&file)).await, [0; 0], "it is here");
    let counters = house.backend.counters();
    assert_eq!((counters.files_offered, counters.pieces_taken), (2, 3));
    house.is_at_rest();
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_cut() {
    let house = house(FakeDoor::new());
    let file = file_of(4 * CONTENT_PIECE_BYTES, 1);
    let mut raw = house.open().await;
    assert_eq!(wanted(&mut raw, house.offer(&file)).await, [0, 1, 2, 3]);
    taken(&mut raw, piece(&file, 1)).await;
    taken(&mut raw, piece(&file, 3)).await;
    raw.connection.close(0u8.into(), b"");
    let mut raw = house.open().await;
    assert_eq!(refused(&mut raw, piece(&file, 0)).await, RefusalCode::NotPermitted, "offer it first");
    assert_eq!(wanted(&mut raw, house.offer(&file)).await, [0, 2]);
    taken(&mut raw, piece(&file, 0)).await;
    taken(&mut raw, piece(&file, 2)).await;
    assert_eq!(house.door.whole(ContentKey::of(&file)), Some(file));
    house.is_at_rest();
}

#[tokio::test]
async fn two_sessions_upload_one_file_together() {
    let house = house(FakeDoor::new());
    let file = file_of(2 * CONTENT_PIECE_BYTES, 1);
    let (mut one, mut other) = (house.open().await, house.open().await);
    assert_eq!(wanted(&mut one, house.offer(&file)).await, [0, 1]);
    assert_eq!(wanted(&mut other, house.offer(&file)).await, [0, 1]);
    taken(&mut one, piece(&file, 0)).await;
    taken(&mut other, piece(&file, 1)).await;
    for raw in [&mut one, &mut other] {
        raw.ask(await_held(&file)).await;
        assert!(matches!(raw.reply().await, Some(Reply::Held { .. })));
    }
    house.is_at_rest();
}

#[tokio::test]
async fn what_is_not_the_file_is_refused() {
    let house = house(FakeDoor::new());
    let mut raw = house.open().await;
    let file = file_of(CONTENT_PIECE_BYTES + 5, 1);
    let content = ContentKey::of(&file);
    assert_eq!(refused(&mut raw, piece(&file, 0)).await, RefusalCode::NotPermitted, "never offered");
    assert_eq!(refused(&mut raw, await_held(&file)).await, RefusalCode::NotPermitted);
    wanted(&mut raw, house.offer(&file)).await;
    let before = house.door.taken();
    // These do not reach the node.
    for (number, bytes) in [(0, 5), (1, CONTENT_PIECE_BYTES), (1, 4), (1, 0), (2, 5), (u32::MAX, 5)] {
        let bytes = file_of(bytes, 1);
        assert_eq!(
            refused(&mut raw, Request::Piece { content, number, bytes }).await,
            RefusalCode::Malformed
        );
    }
    assert_eq!(house.door.taken(), before);
    // This does, and its hash is wrong.
    let wrong = Request::Piece { content, number: 1, bytes: vec![0; 5].into() };
    assert_eq!(refused(&mut raw, wrong).await, RefusalCode::Malformed);
    assert_eq!(refused(&mut raw, await_held(&file)).await, RefusalCode::ContentMissing);
    // Right pieces of a wrong whole: the ticket says another key.
    let ticket = ticket(&house.key, ContentKey::of(b"another"), 5);
    let whole = Bytes::from_static(b"wrong");
    let manifest = Manifest::of(&whole).unwrap();
    assert_eq!(wanted(&mut raw, Request::Offer { ticket, manifest }).await, [0]);
    let piece = Request::Piece { content: ContentKey::of(b"another"), number: 0, bytes: whole };
    assert_eq!(refused(&mut raw, piece).await, RefusalCode::Malformed);
    assert_eq!(house.backend.counters().refused_with(RefusalCode::Malformed), 8);
    house.is_at_rest();
}

#[tokio::test]
async fn the_size_of_a_file_has_its_limit() {
    let house = house(FakeDoor::new());
    let mut raw = house.open().await;
    let content = ContentKey::of(b"whatever");
    let offer = |bytes: u64| {
        let pieces = usize::try_from(bytes.div_ceil(CONTENT_PIECE_BYTES.try_into().unwrap())).unwrap();
        let manifest = Manifest { bytes, pieces: vec![Digest([1; 32]); pieces] };
        Request::Offer { ticket: ticket(&house.key, content, bytes), manifest }
    };
    assert_eq!(refused(&mut raw, offer(0)).await, RefusalCode::Malformed);
    assert_eq!(wanted(&mut raw, offer(CONTENT_BYTES_MAX - 1)).await.len(), 256);
    assert_eq!(wanted(&mut raw, offer(CONTENT_BYTES_MAX)).await.len(), 256);
    assert_eq!(refused(&mut raw, offer(CONTENT_BYTES_MAX + 1)).await, RefusalCode::TooLarge);
    assert_eq!(refused(&mut raw, offer(1 << 32)).await, RefusalCode::TooLarge);
    // A manifest that lists other pieces than its size makes.
    let manifest = Manifest { bytes: 7, pieces: vec![Digest([1; 32]); 2] };
    let offer = Request::Offer { ticket: ticket(&house.key, content, 7), manifest };
    assert_eq!(refused(&mut raw, offer).await, RefusalCode::Malformed);
    house.is_at_rest();
}

#[tokio::test]
async fn a_ticket_is_for_one_file_of_one_commander_in_one_cluster() {
    let house = house(FakeDoor::new());
    let mut raw = house.open().await;
    let file = file_of(9, 1);
    let manifest = Manifest::of(&file).unwrap();
    let offer = |ticket: SignedCommand| Request::Offer { ticket, manifest: manifest.clone() };
    let good = house.ticket(&file);

    let mut forged = good.clone();
    forged.signature = vec![1; 64].into();
    assert_eq!(refused(&mut raw, offer(forged)).await, RefusalCode::BadSignature);
    let mut foreign = good.clone();
    foreign.key = SigningKey::generate(Algorithm::Ed25519).public().spki_der().clone();
    assert_eq!(refused(&mut raw, offer(foreign)).await, RefusalCode::BadSignature);
    let mut elsewhere = body(&house.key, 0, []);
    elsewhere.cluster = ClusterId(Digest([9; 32]));
    let elsewhere = seal(&house.key, elsewhere.encode().unwrap().to_vec());
    assert_eq!(refused(&mut raw, offer(elsewhere)).await, RefusalCode::WrongCluster);
    let other_size = ticket(&house.key, ContentKey::of(&file), 10);
    assert_eq!(refused(&mut raw, offer(other_size)).await, RefusalCode::Malformed);
    let no_ticket = command(&house.key, 1, b"\0put".to_vec());
    assert_eq!(refused(&mut raw, offer(no_ticket)).await, RefusalCode::Malformed);
    assert_eq!(house.backend.counters().files_offered, 1, "only the other size came so far");

    // What the node knows of the commander comes back as it is, and opens nothing.
    for code in [RefusalCode::Expired, RefusalCode::UnknownCommander, RefusalCode::Revoked] {
        house.door.refuse(Some(code));
        assert_eq!(refused(&mut raw, offer(good.clone())).await, code);
        assert_eq!(refused(&mut raw, piece(&file, 0)).await, RefusalCode::NotPermitted);
    }
    house.door.refuse(None);
    // Nor is a ticket for one file good for another one.
    assert_eq!(wanted(&mut raw, offer(good)).await, [0]);
    assert_eq!(refused(&mut raw, piece(&file_of(9, 2), 0)).await, RefusalCode::NotPermitted);
    taken(&mut raw, piece(&file, 0)).await;
    house.is_at_rest();
}

#[tokio::test]
async fn pieces_are_read_as_fast_as_they_are_taken_and_commands_pass_until_then() {
    let house = house(FakeDoor::with_pieces(0));
    let mut raw = house.open().await;
    let count = u32::try_from(SESSION_PIECES_MAX).unwrap() + 2;
    let file = file_of(usize::try_from(count).unwrap() * CONTENT_PIECE_BYTES, 1);
    wanted(&mut raw, house.offer(&file)).await;
    for number in 0..count - 2 {
        raw.ask(piece(&file, number)).await;
    }
    house.door.waits_for_pieces(SESSION_PIECES_MAX).await;
    assert_eq!(house.backend.counters().bytes_held, SESSION_PIECES_MAX * CONTENT_PIECE_BYTES);
    let your_msg_n = raw.submit(command(&house.key, 1, "passes")).await;
    assert!(matches!(raw.reply().await, Some(Reply::Executed { your_msg_n: n, .. }) if n == your_msg_n));
    // One more piece than may be in progress holds up what comes behind it, and nothing is refused.
    raw.ask(piece(&file, count - 2)).await;
    raw.ask(piece(&file, count - 1)).await;
    let your_msg_n = raw.ask(Request::NextSeq { app: APP }).await;
    assert_eq!(house.door.pieces_waiting(), SESSION_PIECES_MAX);
    house.door.take_pieces(1);
    assert!(matches!(raw.reply().await, Some(Reply::Taken { .. })));
    house.door.waits_for_pieces(SESSION_PIECES_MAX).await;
    house.door.take_pieces(1);
    let mut later = vec![raw.reply().await.unwrap(), raw.reply().await.unwrap()];
    let next_seq = Reply::NextSeq { your_msg_n, seq: Seq(2) };
    later.retain(|reply| *reply != next_seq);
    assert!(matches!(later[..], [Reply::Taken { .. }]), "{later:?}");
    house.door.take_pieces(SESSION_PIECES_MAX);
    for _ in 0..SESSION_PIECES_MAX {
        assert!(matches!(raw.reply().await, Some(Reply::Taken { .. })));
    }
    assert_eq!(house.door.whole(ContentKey::of(&file)), Some(file));
    house.is_at_rest();
}

#[tokio::test]
async fn waiting_for_a_majority_holds_up_nothing() {
    let house = house(FakeDoor::without_majority());
    let mut raw = house.open().await;
    let mut waiting = Vec::new();
    for seed in 0..SESSION_OFFERS_MAX {
        let file = file_of(9, seed.try_into().unwrap());
        wanted(&mut raw, house.offer(&file)).await;
        taken(&mut raw, piece(&file, 0)).await;
        waiting.push(raw.ask(await_held(&file)).await);
    }
    house.door.waits_for_held(SESSION_OFFERS_MAX).await;
    assert_eq!(refused(&mut raw, await_held(&file_of(9, 0))).await, RefusalCode::Busy, "once for each file");
    let one_more = file_of(9, 99);
    assert_eq!(refused(&mut raw, house.offer(&one_more)).await, RefusalCode::Busy, "as many as there may be");
    let your_msg_n = raw.ask(Request::NextSeq { app: APP }).await;
    assert_eq!(raw.reply().await, Some(Reply::NextSeq { your_msg_n, seq: Seq(1) }));
    house.door.reach_majority(SESSION_OFFERS_MAX);
    for _ in 0..SESSION_OFFERS_MAX {
        let Some(Reply::Held { your_msg_n, .. }) = raw.reply().await else { panic!("Held was expected") };
        waiting.retain(|&number| number != your_msg_n);
    }
    assert_eq!(waiting, [0; 0]);
    assert_eq!(wanted(&mut raw, house.offer(&one_more)).await, [0], "there is room again");
    house.is_at_rest();
}

#[tokio::test]
async fn a_session_that_is_cut_leaves_nothing_behind() {
    let house = house(FakeDoor::with_pieces(0));
    let mut raw = house.open().await;
    let file = file_of(3 * CONTENT_PIECE_BYTES, 1);
    wanted(&mut raw, house.offer(&file)).await;
    for number in 0..3 {
        raw.ask(piece(&file, number)).await;
    }
    house.door.waits_for_pieces(3).await;
    assert_eq!(house.backend.counters().bytes_held, 3 * CONTENT_PIECE_BYTES);
    raw.connection.close(0u8.into(), b"");
    house.door.waits_for_pieces(0).await;
    // The room is given back in the same drop, or right behind it.
    soon(async {
        while house.backend.counters().bytes_held > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_stops_finishes_the_pieces_in_progress_and_takes_no_more() {
    let House { tls, door, backend, key } = house(FakeDoor::with_pieces(0));
    let mut raw = Raw::open(&tls, &backend, &key).await;
    let file = file_of(2 * CONTENT_PIECE_BYTES, 1);
    let ticket = ticket(&key, ContentKey::of(&file), file.len().try_into().unwrap());
    wanted(&mut raw, Request::Offer { ticket: ticket.clone(), manifest: Manifest::of(&file).unwrap() }).await;
    let your_msg_n = raw.ask(piece(&file, 0)).await;
    door.waits_for_pieces(1).await;
    let closing = tokio::spawn(backend.close());
    // Whether the stop is seen already, one cannot know from here: until it is, offers are taken.
    loop {
        let manifest = Manifest::of(&file).unwrap();
        raw.ask(Request::Offer { ticket: ticket.clone(), manifest }).await;
        match raw.reply().await.unwrap() {
            Reply::Wanted { .. } => {}
            Reply::Refused { refusal, .. } => {
                assert_eq!(refusal.code, RefusalCode::Stopping);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused(&mut raw, piece(&file, 1)).await, RefusalCode::Stopping);
    assert_eq!(refused(&mut raw, await_held(&file)).await, RefusalCode::Stopping);
    door.take_pieces(1);
    assert_eq!(raw.reply().await, Some(Reply::Taken { your_msg_n }));
    soon(closing).await.unwrap();
}
