//! Commands over HTTPS.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use support::{Behaviour, FakeNode, REFUSED_OPERATION, Tls, body, body_of, command, seal, soon};
use synod_auth::{Algorithm, SigningKey};
use synod_backend::{Backend, BackendError};
use synod_types::limits::OPERATION_BYTES_MAX;
use synod_types::{Digest, Outcome, Receipt, RefusalCode, SignedCommand, StateNdx, wire};

struct House {
    tls: Tls,
    node: Arc<FakeNode>,
    backend: Backend,
    client: Client,
    key: SigningKey,
}

fn house(behaviour: Behaviour) -> House {
    let tls = Tls::new();
    let node = FakeNode::new(behaviour);
    let backend = tls.start(&node);
    let client = Client::builder().tls_backend_preconfigured((*tls.client).clone()).build().unwrap();
    House { tls, node, backend, client, key: SigningKey::generate(Algorithm::Ed25519) }
}

impl House {
    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.backend.local_addr().port())
    }

    async fn post(&self, content_type: &str, accept: &str, body: Vec<u8>) -> Response {
        let request = self.client.post(self.url("/v1/commands")).body(body);
        let request = request.header("content-type", content_type).header("accept", accept);
        soon(request.send()).await.unwrap()
    }

    async fn post_bytes(&self, command: &SignedCommand) -> Response {
        self.post("application/octet-stream", "application/json", wire::encode(command)).await
    }

    async fn post_json(&self, command: &SignedCommand) -> Response {
        self.post("application/json", "application/json", form(command).to_string().into()).await
    }
}

fn form(command: &SignedCommand) -> Value {
    let [body, signature, key] =
        [&command.body, &command.signature, &command.key].map(|part| BASE64.encode(part));
    json!({ "body": body, "signature": signature, "key": key })
}

async fn body_json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// Checks the form of a problem; gives its body.
async fn problem(response: Response, status: StatusCode, name: &str) -> Value {
    assert_eq!(response.status(), status, "{name}");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(response.headers().contains_key("retry-after"), unavailable, "{name}");
    let body = body_json(response).await;
    assert_eq!(body["type"], format!("/problems/{name}"));
    assert_eq!(body["status"], status.as_u16());
    assert!(body["title"].is_string() && body["detail"].is_string());
    body
}

#[tokio::test]
async fn both_encodings_give_the_same_receipt() {
    let house = house(Behaviour::Execute);
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
        let key = SigningKey::generate(algorithm);
        let command = command(&key, 1, "hello");
        let response = house.post_bytes(&command).await;
        assert_eq!(response.status(), StatusCode::OK);
        let state_ndx: u64 = response.headers()["state-ndx"].to_str().unwrap().parse().unwrap();
        let receipt = body_json(response).await;
        let expected = json!({
            "appNdx": 1, "seq": 1, "stateNdx": state_ndx, "chain": command.id().to_string(),
            "outcome": { "done": BASE64.encode("hello") },
        });
        assert_eq!(receipt, expected);
        assert_eq!(body_json(house.post_json(&command).await).await, receipt);

        let response =
            house.post("application/json", "application/octet-stream", form(&command).to_string().into());
        let response = response.await;
        assert_eq!(response.headers()["content-type"], "application/octet-stream");
        let receipt: Receipt = wire::decode(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(
            (receipt.state_ndx, receipt.outcome),
            (StateNdx(state_ndx), Outcome::Done("hello".into()))
        );
    }
    assert_eq!(house.node.ledger.executed(), 2);
}

#[tokio::test]
async fn an_executed_refusal_is_a_conflict_with_its_receipt() {
    let house = house(Behaviour::Execute);
    let command = command(&house.key, 1, REFUSED_OPERATION);
    let response = house.post_bytes(&command).await;
    assert_eq!(response.headers()["state-ndx"], "1");
    let problem = problem(response, StatusCode::CONFLICT, "conflict").await;
    assert_eq!(problem["receipt"]["stateNdx"], 1);
    assert_eq!(problem["receipt"]["outcome"]["refused"]["code"], "conflict");
}

#[tokio::test]
async fn refusals_are_problems_with_a_fitting_status() {
    let house = house(Behaviour::Execute);
    for (code, status) in [
        (RefusalCode::UnknownCommander, StatusCode::FORBIDDEN),
        (RefusalCode::Revoked, StatusCode::FORBIDDEN),
        (RefusalCode::NotPermitted, StatusCode::FORBIDDEN),
        (RefusalCode::NotValidNow, StatusCode::FORBIDDEN),
        (RefusalCode::NoSpace, StatusCode::INSUFFICIENT_STORAGE),
        (RefusalCode::UnknownApp, StatusCode::NOT_FOUND),
        (RefusalCode::Expired, StatusCode::GONE),
        (RefusalCode::StaleSeq, StatusCode::CONFLICT),
        (RefusalCode::SeqReused, StatusCode::CONFLICT),
        (RefusalCode::Busy, StatusCode::SERVICE_UNAVAILABLE),
        (RefusalCode::NoLeader, StatusCode::SERVICE_UNAVAILABLE),
        (RefusalCode::Stopping, StatusCode::SERVICE_UNAVAILABLE),
        (RefusalCode::Timeout, StatusCode::GATEWAY_TIMEOUT),
    ] {
        house.node.behave(Behaviour::Refuse(code));
        let response = house.post_bytes(&command(&house.key, 1, "x")).await;
        problem(response, status, code.name()).await;
    }
    assert_eq!(house.backend.counters().refused_with(RefusalCode::Busy), 1);
}

#[tokio::test]
async fn what_is_no_command_is_a_problem() {
    let house = house(Behaviour::Execute);
    let bytes = "application/octet-stream";
    let good = command(&house.key, 1, "x");
    let encoded = wire::encode(&good);
    for bad in [vec![], encoded[..encoded.len() - 1].to_vec(), [&encoded[..], &[0]].concat(), vec![255; 99]] {
        problem(house.post(bytes, "*/*", bad).await, StatusCode::BAD_REQUEST, "malformed").await;
    }
    let mut extra = form(&good);
    extra["more"] = json!(1);
    let mut not_base64 = form(&good);
    not_base64["key"] = json!("%%%");
    for bad in ["{".to_owned(), extra.to_string(), not_base64.to_string(), json!({}).to_string()] {
        let response = house.post("application/json; charset=utf-8", "*/*", bad.into()).await;
        problem(response, StatusCode::BAD_REQUEST, "malformed").await;
    }
    let mut forged = good.clone();
    forged.signature = vec![1; 64].into();
    problem(house.post_json(&forged).await, StatusCode::UNAUTHORIZED, "bad-signature").await;
    let mut elsewhere = body(&house.key, 1, "x");
    elsewhere.cluster = Default::default();
    let elsewhere = seal(&house.key, elsewhere.encode().unwrap().to_vec());
    problem(house.post_bytes(&elsewhere).await, StatusCode::BAD_REQUEST, "wrong-cluster").await;
    let response = house.post("text/plain", "*/*", encoded).await;
    problem(response, StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type").await;
    assert_eq!(house.node.ledger.executed(), 0);
    let counters = house.backend.counters();
    assert_eq!((counters.refused_with(RefusalCode::BadSignature), counters.bytes_held), (1, 0));
}

#[tokio::test]
async fn the_operation_limit_is_exact_in_both_encodings() {
    let house = house(Behaviour::Execute);
    for (bytes, fits) in
        [(OPERATION_BYTES_MAX - 1, true), (OPERATION_BYTES_MAX, true), (OPERATION_BYTES_MAX + 1, false)]
    {
        let command = seal(&house.key, body_of(&house.key, bytes.try_into().unwrap(), bytes));
        for response in [house.post_bytes(&command).await, house.post_json(&command).await] {
            if fits {
                assert_eq!(response.status(), StatusCode::OK, "{bytes} bytes");
            } else {
                problem(response, StatusCode::PAYLOAD_TOO_LARGE, "too-large").await;
            }
        }
    }
    let response = house.post("application/octet-stream", "*/*", vec![0; 2 * OPERATION_BYTES_MAX]).await;
    problem(response, StatusCode::PAYLOAD_TOO_LARGE, "too-large").await;
}

#[tokio::test]
async fn the_next_seq_and_the_wrong_way() {
    let house = house(Behaviour::Execute);
    house.post_bytes(&command(&house.key, 41, "x")).await;
    let get = async |path: &str| soon(house.client.get(house.url(path)).send()).await.unwrap();
    let response = get(&format!("/v1/seq/1/{}", house.key.id())).await;
    assert_eq!(body_json(response).await, json!({ "appNdx": 1, "seq": 42 }));
    let id = house.key.id();
    problem(get(&format!("/v1/seq/9/{id}")).await, StatusCode::NOT_FOUND, "unknown-app").await;
    problem(get(&format!("/v1/seq/x/{id}")).await, StatusCode::BAD_REQUEST, "malformed").await;
    problem(get("/v1/seq/1/abc").await, StatusCode::BAD_REQUEST, "malformed").await;
    problem(get("/elsewhere").await, StatusCode::NOT_FOUND, "no-such-route").await;
    problem(get("/v1/commands").await, StatusCode::METHOD_NOT_ALLOWED, "no-such-method").await;
}

/// A house whose node holds what it gets, and a command that was posted there with preferences.
async fn posted(prefer: &str) -> (House, SignedCommand, Response) {
    let house = house(Behaviour::Hold);
    let command = command(&house.key, 7, "x");
    let response = house.post_preferring(prefer, &command).await;
    (house, command, response)
}

impl House {
    async fn post_preferring(&self, prefer: &str, command: &SignedCommand) -> Response {
        let request = self.client.post(self.url("/v1/commands")).body(wire::encode(command));
        let request = request.header("content-type", "application/octet-stream").header("prefer", prefer);
        soon(request.send()).await.unwrap()
    }

    async fn get(&self, path: &str, prefer: &str) -> Response {
        soon(self.client.get(self.url(path)).header("prefer", prefer).send()).await.unwrap()
    }
}

#[tokio::test]
async fn a_command_that_takes_longer_than_wanted_is_accepted_and_can_be_asked_for() {
    for prefer in ["respond-async", "wait=0", "respond-async, wait=0", "Respond-Async;x=y , wait=\"0\""] {
        let (house, command, response) = posted(prefer).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{prefer}");
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(location, format!("/v1/commands/1/{}/7/{}", house.key.id(), command.id()));
        assert!(response.headers().contains_key("preference-applied"));
        let waiting = body_json(response).await;
        let expected = json!({
            "appNdx": 1, "commander": house.key.id().to_string(), "seq": 7,
            "commandId": command.id().to_string(), "status": "waiting",
        });
        assert_eq!(waiting, expected);

        let response = house.get(&location, "").await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(body_json(response).await, expected);

        house.node.release();
        let response = house.get(&location, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["state-ndx"], "1");
        let receipt = body_json(response).await;
        house.node.behave(Behaviour::Execute);
        assert_eq!(receipt, body_json(house.post_bytes(&command).await).await, "as a repeat gets it");
        assert_eq!(receipt["outcome"], json!({ "done": BASE64.encode("x") }));
        let request = house.client.get(house.url(&location)).header("accept", "application/octet-stream");
        let bytes = soon(request.send()).await.unwrap().bytes().await.unwrap();
        assert_eq!(wire::decode::<Receipt>(&bytes).unwrap().seq.0, 7);
        assert_eq!(house.backend.counters().bytes_held, 0, "nothing is held for who went away");
    }
}

#[tokio::test]
async fn what_is_known_in_time_is_the_answer_whatever_was_preferred() {
    let house = house(Behaviour::Execute);
    let done = command(&house.key, 1, "x");
    for prefer in ["respond-async", "wait=20", "wait=0"] {
        let response = house.post_preferring(prefer, &done).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["preference-applied"], prefer);
    }
    let response = house.post_preferring("foo, wait=x", &done).await;
    assert!(!response.headers().contains_key("preference-applied"), "nothing was followed");
    let refused = command(&house.key, 2, REFUSED_OPERATION);
    problem(house.post_preferring("respond-async", &refused).await, StatusCode::CONFLICT, "conflict").await;
    let mut forged = command(&house.key, 3, "x");
    forged.signature = vec![1; 64].into();
    let response = house.post_preferring("respond-async", &forged).await;
    problem(response, StatusCode::UNAUTHORIZED, "bad-signature").await;
    house.node.behave(Behaviour::Refuse(RefusalCode::Busy));
    let response = house.post_preferring("respond-async", &command(&house.key, 4, "x")).await;
    problem(response, StatusCode::SERVICE_UNAVAILABLE, "busy").await;
}

#[tokio::test]
async fn who_asks_for_a_command_can_wait_for_it() {
    let (house, _, response) = posted("respond-async, wait=0").await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    for (path, prefer, applied) in [
        (location.clone(), "wait=25", Some("wait=25")),
        (location.clone(), "wait=99, respond-async", Some("wait=30")),
        (format!("{location}?wait=25"), "", None),
    ] {
        let (house, path) = (&house, &path);
        let waiting = house.get(path, prefer);
        let releasing = async {
            // What is released before the question is there is found all the same.
            tokio::task::yield_now().await;
            house.node.release();
        };
        let (response, ()) = tokio::join!(waiting, releasing);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let found = response.headers().get("preference-applied").map(|value| value.to_str().unwrap());
        assert_eq!(found, applied);
    }
}

#[tokio::test]
async fn a_command_that_was_executed_and_refused_has_a_receipt_to_ask_for() {
    let house = house(Behaviour::Hold);
    let command = command(&house.key, 1, REFUSED_OPERATION);
    let response = house.post_preferring("respond-async", &command).await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    house.node.release();
    let response = house.get(&location, "").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["state-ndx"], "1");
    assert_eq!(body_json(response).await["outcome"]["refused"]["code"], "conflict");
}

#[tokio::test]
async fn what_is_asked_for_and_not_there_is_a_problem() {
    let house = house(Behaviour::Execute);
    house.post_bytes(&command(&house.key, 1, "x")).await;
    let (key, id) = (house.key.id(), command(&house.key, 2, "y").id());
    let at = |seq: u64| format!("/v1/commands/1/{key}/{seq}/{id}");
    problem(house.get(&at(2), "").await, StatusCode::NOT_FOUND, "unknown-command").await;
    problem(house.get(&at(1), "").await, StatusCode::CONFLICT, "seq-reused").await;
    let elsewhere = at(2).replace("/1/", "/9/");
    problem(house.get(&elsewhere, "").await, StatusCode::NOT_FOUND, "unknown-app").await;
    problem(house.get("/v1/changes/9/1", "").await, StatusCode::NOT_FOUND, "unknown-app").await;
    for path in [
        format!("/v1/commands/x/{key}/2/{id}"),
        format!("/v1/commands/1/abc/2/{id}"),
        format!("/v1/commands/1/{key}/-2/{id}"),
        format!("/v1/commands/1/{key}/2/abc"),
        format!("{}?wait=31", at(2)),
        format!("{}?wait=1.5", at(2)),
        format!("{}?wait=1&wait=1", at(2)),
        format!("{}?colour=red", at(2)),
        "/v1/changes/1/x".to_owned(),
        "/v1/changes/x/1".to_owned(),
        "/v1/changes/1/1?min=1".to_owned(),
    ] {
        problem(house.get(&path, "").await, StatusCode::BAD_REQUEST, "malformed").await;
    }
    let posted = soon(house.client.post(house.url(&at(2))).send()).await.unwrap();
    problem(posted, StatusCode::METHOD_NOT_ALLOWED, "no-such-method").await;
}

#[tokio::test]
async fn how_far_a_change_has_come() {
    let house = house(Behaviour::Execute);
    house.post_bytes(&command(&house.key, 1, "x")).await;
    for (state_ndx, here) in [(1, "applied"), (2, "pending")] {
        let response = house.get(&format!("/v1/changes/1/{state_ndx}"), "wait=0").await;
        assert_eq!(response.headers()["preference-applied"], "wait=0");
        let [one, other] = [b"here", &b"there"[..]].map(|name| Digest::of(&[name]).to_string());
        let expected = json!({
            "appNdx": 1, "stateNdx": state_ndx, "everywhere": false, "nodes": [
                { "id": one, "name": "here", "state": here, "stateNdx": 1, "up": true },
                { "id": other, "name": "there", "state": "unknown", "stateNdx": null, "up": false },
            ],
        });
        assert_eq!(body_json(response).await, expected);
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_room_back() {
    let house = house(Behaviour::Hold);
    let bytes = wire::encode(&command(&house.key, 1, "x"));
    let request = house.client.post(house.url("/v1/commands")).body(bytes);
    let request = tokio::spawn(request.header("content-type", "application/octet-stream").send());
    house.node.holds(1).await;
    request.abort();
    assert!(house.backend.counters().bytes_held > 0);
    house.node.release();
    assert_eq!(house.backend.counters().bytes_held, 0);
    assert_eq!(house.backend.counters().executed, 1);
}

#[tokio::test]
async fn closing_answers_what_is_in_flight() {
    let house = house(Behaviour::Hold);
    let bytes = wire::encode(&command(&house.key, 1, "x"));
    let request = house.client.post(house.url("/v1/commands")).body(bytes);
    let request = tokio::spawn(request.header("content-type", "application/octet-stream").send());
    house.node.holds(1).await;
    let closing = tokio::spawn(house.backend.close());
    house.node.release();
    assert_eq!(soon(request).await.unwrap().unwrap().status(), StatusCode::OK);
    soon(closing).await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let house = house(Behaviour::Execute);
    let taken = house.tls.try_start(house.backend.local_addr(), &house.node);
    let error = taken.err().unwrap();
    assert!(matches!(error, BackendError::PortInUse { transport: "TCP", .. }));
    assert!(error.to_string().contains("give `backend` another port"), "{error}");
}
