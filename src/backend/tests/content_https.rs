//! Files over HTTPS.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::{Client, Method, Response, StatusCode};
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use support::door::FakeDoor;
use support::{APP, CLUSTER, Tls, body, command, file_of, seal, soon, ticket};
use synod_auth::{Algorithm, SigningKey, verify_content_receipt};
use synod_backend::Backend;
use synod_types::limits::{CONTENT_BYTES_MAX, CONTENT_PIECE_BYTES};
use synod_types::{ContentKey, ContentReceipt, Manifest, RefusalCode, SignedCommand, wire};

struct House {
    tls: Tls,
    door: Arc<FakeDoor>,
    backend: Backend,
    client: Client,
    key: SigningKey,
}

fn house(door: Arc<FakeDoor>) -> House {
    let tls = Tls::new();
    let backend = tls.start_with(&door);
    let client = Client::builder().tls_backend_preconfigured((*tls.client).clone()).build().unwrap();
    House { tls, door, backend, client, key: SigningKey::generate(Algorithm::Ed25519) }
}

fn base64(ticket: &SignedCommand) -> String {
    BASE64.encode(wire::encode(ticket))
}

fn path(content: ContentKey) -> String {
    format!("/v1/content/{APP}/{content}")
}

impl House {
    fn ticket(&self, file: &[u8]) -> SignedCommand {
        ticket(&self.key, ContentKey::of(file), file.len().try_into().unwrap())
    }

    async fn send(&self, method: Method, path: &str, ticket: Option<&str>, body: Bytes) -> Response {
        let url = format!("https://localhost:{}{path}", self.backend.local_addr().port());
        let request = self.client.request(method, url).body(body);
        let request =
            ticket.into_iter().fold(request, |request, ticket| request.header("synod-ticket", ticket));
        soon(request.send()).await.unwrap()
    }

    async fn put(&self, ticket: &SignedCommand, content: ContentKey, file: &Bytes) -> Response {
        self.send(Method::PUT, &path(content), Some(&base64(ticket)), file.clone()).await
    }

    /// What a client sends that says more than it does: a head over HTTP/1.1, and no body.
    fn head(&self, ticket: &SignedCommand, content: ContentKey, framing: &str) -> Raw {
        let mut tls = (*self.tls.client).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let session = ClientConnection::new(Arc::new(tls), "localhost".try_into().unwrap()).unwrap();
        let stream = TcpStream::connect(self.backend.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut raw = Raw(StreamOwned::new(session, stream));
        let (path, ticket) = (path(content), base64(ticket));
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost\r\nsynod-ticket: {ticket}\r\n{framing}\r\nexpect: 100-continue\r\n\r\n"
        );
        raw.write(head.as_bytes());
        raw
    }

    /// Waits until nothing is held any more.
    async fn comes_to_rest(&self) {
        soon(async {
            while self.backend.counters().bytes_held > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A connection of its own. Its calls block.
struct Raw(StreamOwned<ClientConnection, TcpStream>);

impl Raw {
    fn write(&mut self, bytes: &[u8]) {
        tokio::task::block_in_place(|| {
            self.0.write_all(bytes).unwrap();
            self.0.flush().unwrap();
        });
    }

    /// The status of the next answer, 100 too, and its head in lower case.
    fn answer(&mut self) -> (u16, String) {
        let mut head = Vec::new();
        tokio::task::block_in_place(|| {
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                match self.0.read(&mut byte) {
                    Ok(0) => break,
                    Ok(_) => head.push(byte[0]),
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let status =
            head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_else(|| panic!("{head}"));
        (status.parse().unwrap(), head)
    }
}

async fn body_json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

async fn problem(response: Response, status: StatusCode, name: &str) -> String {
    let answered = response.status();
    let body = body_json(response).await;
    assert_eq!((answered, &body["type"]), (status, &json!(format!("/problems/{name}"))), "{body}");
    body["detail"].as_str().unwrap().to_owned()
}

/// Checks the answer that says who has a file.
fn check_held(answer: &Value, house: &House, file: &Bytes) {
    assert_eq!(answer["content"], ContentKey::of(file).to_string());
    assert_eq!(answer["bytes"], file.len());
    let receipts = answer["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 3);
    for (receipt, node) in receipts.iter().zip(house.door.holders()) {
        assert_eq!(receipt["node"], node.to_string());
        let part = |name: &str| BASE64.decode(receipt[name].as_str().unwrap()).unwrap().into();
        let (key, signature) = (part("key"), part("signature"));
        let receipt = ContentReceipt { content: ContentKey::of(file), node, key, signature };
        verify_content_receipt(&receipt, CLUSTER).unwrap();
    }
}

#[tokio::test]
async fn a_whole_file_goes_up_and_comes_back_as_receipts() {
    let house = house(FakeDoor::new());
    let file = file_of(2 * CONTENT_PIECE_BYTES + 3, 1);
    let content = ContentKey::of(&file);
    for round in 0..2 {
        let response = house.put(&house.ticket(&file), content, &file).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/json");
        check_held(&body_json(response).await, &house, &file);
        assert_eq!(house.door.taken(), 3, "in round {round}: what is there is not written again");
    }
    assert_eq!(house.door.whole(content), Some(file));
    assert_eq!(house.backend.counters().bytes_held, 0);
}

#[tokio::test]
async fn a_file_goes_up_in_pieces_and_goes_on_where_it_stopped() {
    let house = house(FakeDoor::new());
    let file = file_of(2 * CONTENT_PIECE_BYTES + 3, 1);
    let (content, manifest) = (ContentKey::of(&file), Manifest::of(&file).unwrap());
    let ticket = base64(&house.ticket(&file));
    let path = path(content);
    let pieces: Vec<_> = manifest.pieces.iter().map(ToString::to_string).collect();
    let form = Bytes::from(json!({ "bytes": file.len(), "pieces": pieces }).to_string());
    let put = async |number: usize, bytes: Bytes| {
        house.send(Method::PUT, &format!("{path}/pieces/{number}"), Some(&ticket), bytes).await
    };
    let piece = |number: usize| {
        file.slice(number * CONTENT_PIECE_BYTES..file.len().min((number + 1) * CONTENT_PIECE_BYTES))
    };
    let wanted = async || body_json(house.send(Method::POST, &path, Some(&ticket), form.clone()).await).await;

    problem(put(0, piece(0)).await, StatusCode::CONFLICT, "content-missing").await;
    assert_eq!(wanted().await, json!({ "wanted": [0, 1, 2] }));
    assert_eq!(put(1, piece(1)).await.status(), StatusCode::NO_CONTENT);
    for (number, wrong) in [(0, piece(1)), (2, piece(0)), (3, piece(2)), (0, Bytes::new())] {
        problem(put(number, wrong).await, StatusCode::BAD_REQUEST, "malformed").await;
    }
    let long = file.slice(..CONTENT_PIECE_BYTES + 1);
    problem(put(0, long).await, StatusCode::PAYLOAD_TOO_LARGE, "too-large").await;
    assert_eq!(wanted().await, json!({ "wanted": [0, 2] }));
    let held = async || house.send(Method::GET, &path, Some(&ticket), Bytes::new()).await;
    problem(held().await, StatusCode::CONFLICT, "content-missing").await;
    for number in [2, 0] {
        assert_eq!(put(number, piece(number)).await.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(wanted().await, json!({ "wanted": [] }));
    check_held(&body_json(held().await).await, &house, &file);
    for (form, name) in [("{", "malformed"), (r#"{"bytes":7,"pieces":["ab"]}"#, "malformed")] {
        let response = house.send(Method::POST, &path, Some(&ticket), form.into()).await;
        problem(response, StatusCode::BAD_REQUEST, name).await;
    }
    let form = vec![b' '; (64 << 10) + 1].into();
    let response = house.send(Method::POST, &path, Some(&ticket), form).await;
    problem(response, StatusCode::PAYLOAD_TOO_LARGE, "too-large").await;
    assert_eq!(house.backend.counters().bytes_held, 0);
}

#[tokio::test]
async fn a_body_that_is_not_the_file_is_named() {
    let house = house(FakeDoor::new());
    let (file, other) = (file_of(9, 1), file_of(9, 2));
    let (content, found) = (ContentKey::of(&file), ContentKey::of(&other));
    let response = house.put(&house.ticket(&file), content, &other).await;
    let detail = problem(response, StatusCode::BAD_REQUEST, "malformed").await;
    assert!(detail.contains(&content.to_string()) && detail.contains(&found.to_string()), "{detail}");
    for bytes in [8, 10, 0] {
        let response = house.put(&house.ticket(&file), content, &file_of(bytes, 1)).await;
        let detail = problem(response, StatusCode::BAD_REQUEST, "malformed").await;
        assert!(detail.contains("9 bytes") && detail.contains(&format!("{bytes} bytes")), "{detail}");
    }
    let empty = ticket(&house.key, ContentKey::of(b""), 0);
    let response = house.put(&empty, ContentKey::of(b""), &Bytes::new()).await;
    problem(response, StatusCode::BAD_REQUEST, "malformed").await;
    let counters = house.backend.counters();
    assert_eq!((house.door.taken(), counters.bytes_held), (0, 0));
    assert_eq!(counters.refused_with(RefusalCode::Malformed), 5);
}

#[tokio::test]
async fn a_ticket_is_for_one_file_of_one_commander_in_one_cluster() {
    let house = house(FakeDoor::new());
    let file = file_of(9, 1);
    let content = ContentKey::of(&file);
    let good = house.ticket(&file);
    let malformed = StatusCode::BAD_REQUEST;
    let send =
        async |path: &str, ticket: Option<&str>| house.send(Method::PUT, path, ticket, file.clone()).await;
    problem(send(&path(content), None).await, malformed, "malformed").await;
    problem(send(&path(content), Some("%%%")).await, malformed, "malformed").await;
    problem(send(&path(content), Some("AAAA")).await, malformed, "malformed").await;
    let no_ticket = command(&house.key, 1, "x");
    problem(house.put(&no_ticket, content, &file).await, malformed, "malformed").await;
    let mut elsewhere = body(&house.key, 0, []);
    elsewhere.cluster = Default::default();
    let elsewhere = seal(&house.key, elsewhere.encode().unwrap().to_vec());
    problem(house.put(&elsewhere, content, &file).await, malformed, "wrong-cluster").await;
    // Good, and not for what the address says.
    let ticket = base64(&good);
    for path in
        [format!("/v1/content/2/{content}"), path(ContentKey::of(b"another")), "/v1/content/1/x".to_owned()]
    {
        problem(send(&path, Some(&ticket)).await, malformed, "malformed").await;
    }
    let mut forged = good.clone();
    forged.signature = vec![1; 64].into();
    problem(house.put(&forged, content, &file).await, StatusCode::UNAUTHORIZED, "bad-signature").await;
    for (code, status) in [
        (RefusalCode::Expired, StatusCode::GONE),
        (RefusalCode::UnknownCommander, StatusCode::FORBIDDEN),
        (RefusalCode::QuotaExceeded, StatusCode::CONFLICT),
    ] {
        house.door.refuse(Some(code));
        problem(house.put(&good, content, &file).await, status, code.name()).await;
        let held = house.send(Method::GET, &path(content), Some(&ticket), Bytes::new()).await;
        problem(held, status, code.name()).await;
        assert_eq!(house.backend.counters().refused_with(code), 2);
    }
    house.door.refuse(None);
    assert_eq!(house.put(&good, content, &file).await.status(), StatusCode::OK);
    let response = house.send(Method::DELETE, &path(content), Some(&ticket), Bytes::new()).await;
    problem(response, StatusCode::METHOD_NOT_ALLOWED, "no-such-method").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_limit_is_looked_at_before_the_body() {
    let house = house(FakeDoor::new());
    let content = ContentKey::of(b"whatever");
    let max = CONTENT_BYTES_MAX;
    for (bytes, status) in [(max - 1, 100), (max, 100), (max + 1, 413), (1 << 32, 413)] {
        let mut raw =
            house.head(&ticket(&house.key, content, bytes), content, &format!("content-length: {bytes}"));
        assert_eq!(raw.answer().0, status, "{bytes} bytes");
        let held = house.backend.counters().bytes_held;
        assert_eq!(u64::try_from(held).unwrap(), if status == 100 { bytes } else { 0 });
        drop(raw);
        house.comes_to_rest().await;
    }
    // The ticket's size counts where the body declares none.
    let mut raw = house.head(&ticket(&house.key, content, max + 1), content, "transfer-encoding: chunked");
    assert_eq!(raw.answer().0, 413);
    // Neither may the body be longer than its ticket says.
    let mut raw = house.head(&ticket(&house.key, content, 4), content, "transfer-encoding: chunked");
    assert_eq!(raw.answer().0, 100);
    raw.write(b"5\r\nwhole\r\n");
    assert_eq!(raw.answer().0, 400);
    // A stranger's body is not read.
    house.door.refuse(Some(RefusalCode::UnknownCommander));
    let mut raw = house.head(&ticket(&house.key, content, 4), content, "content-length: 4");
    assert_eq!(raw.answer().0, 403);
    house.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_files_are_taken_at_a_time() {
    let house = house(FakeDoor::new());
    let file = file_of(9, 1);
    let content = ContentKey::of(&file);
    let head = || house.head(&house.ticket(&file), content, "content-length: 9");
    let (mut one, mut other) = (head(), head());
    assert_eq!((one.answer().0, other.answer().0), (100, 100));
    let (status, head_of_busy) = head().answer();
    assert_eq!(status, 503);
    assert!(head_of_busy.contains("\r\nretry-after: 1\r\n"), "{head_of_busy}");
    // One breaks off, one goes on.
    drop(one);
    other.write(&file);
    assert_eq!(other.answer().0, 200);
    house.comes_to_rest().await;
    assert_eq!(house.put(&house.ticket(&file), content, &file).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn waiting_for_a_majority_takes_no_room() {
    let house = house(FakeDoor::without_majority());
    let file = file_of(9, 1);
    let content = ContentKey::of(&file);
    let ticket = house.ticket(&file);
    let waiting =
        async { tokio::join!(house.put(&ticket, content, &file), house.put(&ticket, content, &file)) };
    let meanwhile = async {
        house.door.waits_for_held(2).await;
        assert_eq!(house.backend.counters().bytes_held, 0);
        house.door.reach_majority(3);
        assert_eq!(
            house.put(&ticket, content, &file).await.status(),
            StatusCode::OK,
            "there is room for a third"
        );
    };
    let ((one, other), ()) = tokio::join!(waiting, meanwhile);
    assert_eq!((one.status(), other.status()), (StatusCode::OK, StatusCode::OK));
}
