//! Who may command, seen from outside: real nodes, `synod commander`, and clients at every node.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, in its helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use synod_app_kv::KvOp;
use synod_app_zones::{Expected, ZoneName, ZonesOp};
use synod_auth::{Algorithm, SigningKey};
use synod_client::{Client, CommandOptions, SubmitError, Timeouts};
use synod_cluster::{Cluster, KV, PATIENCE, State, ZONES, eventually, put};
use synod_machine::authority::AuthorityOp;
use synod_types::limits::SESSION_WINDOW;
use synod_types::{AppNdx, Outcome, Receipt, RefusalCode, Seq, SignedCommand, StateNdx};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

const NODES: usize = 3;

/// A new key, in a file beside the cluster's directory.
fn new_key(cluster: &Cluster, name: &str) -> Arc<SigningKey> {
    let key = SigningKey::generate(Algorithm::Ed25519);
    key.save_new(cluster.directory.path().join(format!("{name}.pem"))).unwrap();
    Arc::new(key)
}

fn copy(key: &SigningKey) -> SigningKey {
    SigningKey::from_pem(&key.to_pem()).unwrap()
}

fn sign(client: &Client, app: AppNdx, seq: u64, operation: Bytes) -> SignedCommand {
    client.commander().sign(app, Seq(seq), operation, CommandOptions::default()).unwrap()
}

fn delete(zone: &str) -> Bytes {
    ZonesOp::Delete { zone: ZoneName::parse(zone).unwrap(), expected: Expected::Any }.encode().into()
}

/// What becomes of an operation that is signed anew and submitted at one node: the code of its refusal, if it is refused
/// without a trace.
async fn submit(client: &Client, app: AppNdx, seq: u64, operation: Bytes) -> Result<Receipt, RefusalCode> {
    match client.submit(&sign(client, app, seq, operation)).await {
        Ok(receipt) => Ok(receipt),
        Err(SubmitError::Refused(refusal)) => Err(refusal.code),
        Err(other) => panic!("{other}"),
    }
}

async fn listed(cluster: &Cluster, node: usize, app: AppNdx, id: &str, min: u64) -> Value {
    let path = format!("/v1/apps/{app}/commanders?min={min}&wait=30");
    let list: Value = cluster.readers.get_json(node, &path).await.unwrap();
    let commanders = list["commanders"].as_array().unwrap().clone();
    commanders.into_iter().find(|commander| commander["id"] == id).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_validity_and_rotation_hold_at_every_node_alike() {
    let mut cluster = Cluster::start(NODES).await;
    let ci = new_key(&cluster, "ci");
    let add = "commander add ci --app zones --key ci.pem --role writer --scope a.example --valid-to +30d";
    let added = cluster.expect_json(0, add);
    assert_eq!(added["outcome"]["done"]["commander"], ci.id().to_string());
    cluster.expect(3, "commander add bad --app zones --key ci.pem --role writer --scope a..b");
    cluster.expect(2, "commander add bad --app zones --key ci.pem --role writer --valid-to yesterday");

    let site = new_key(&cluster, "site");
    cluster.expect(0, "commander add site --app kv --key site.pem --role writer --scope site/a/");

    let (zone, key) = (|name: &str| delete(name), |name: &str| put(name.to_owned(), "v"));
    let outside = Some(RefusalCode::NotPermitted);
    let mut seq = 0;
    for node in 0..NODES {
        let names = cluster.client_at(copy(&ci), node);
        let values = cluster.client_at(copy(&site), node);
        for (client, app, operation, expected) in [
            (&names, ZONES, zone("a.example"), None),
            (&names, ZONES, zone("deep.below.A.example"), None),
            (&names, ZONES, zone("b.example"), outside),
            (&names, ZONES, zone("aa.example"), outside),
            (&names, ZONES, zone("example"), outside),
            (&values, KV, key("site/a/colour"), None),
            (&values, KV, key("site/b/colour"), outside),
            (&values, KV, key("site/a"), outside),
            (&values, KV, KvOp::DeletePrefix { prefix: "site/".into() }.encode().into(), outside),
            (&values, KV, KvOp::DeletePrefix { prefix: "site/a/".into() }.encode().into(), None),
            // Granted for one application, and for no other.
            (&names, KV, key("site/a/colour"), Some(RefusalCode::UnknownCommander)),
        ] {
            seq += 1;
            let code = submit(client, app, seq, operation.clone()).await.err();
            assert_eq!(code, expected, "{operation:?} at node {}", cluster.name(node));
        }
        names.close().await;
        values.close().await;
    }
    let zone = "$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 192.0.2.1\n";
    std::fs::write(cluster.directory.path().join("zone"), zone).unwrap();
    cluster.expect(0, "zone set www.a.example zone --sign-with ci.pem --wait all");
    let (_, said) = cluster.expect(3, "zone set b.example zone --sign-with ci.pem");
    assert!(said.contains("not-permitted") && said.contains("b.example."), "{said}");

    let new = new_key(&cluster, "new");
    cluster.expect(1, "commander rotate --app zones --key missing.pem --sign-with ci.pem");
    let rotated = cluster.expect_json(0, "commander rotate --app zones --key new.pem --sign-with ci.pem");
    let state_ndx = rotated["stateNdx"].as_u64().unwrap();
    for node in 0..NODES {
        let [old_id, new_id] = [ci.id().to_string(), new.id().to_string()];
        let old = listed(&cluster, node, ZONES, &old_id, state_ndx).await;
        assert_eq!((&old["revoked"], &old["successor"]), (&json!(state_ndx), &json!(new_id)));
        let current = listed(&cluster, node, ZONES, &new_id, state_ndx).await;
        assert_eq!((&current["scopes"], &current["validToMs"]), (&old["scopes"], &old["validToMs"]));
        assert_eq!((&current["name"], &current["predecessor"]), (&json!("ci"), &json!(old_id)));

        let seq = u64::try_from(node).unwrap() + 100;
        let client = cluster.client_at(copy(&ci), node);
        assert_eq!(submit(&client, ZONES, seq, delete("a.example")).await.unwrap_err(), RefusalCode::Revoked);
        client.close().await;
        let client = cluster.client_at(copy(&new), node);
        assert!(submit(&client, ZONES, seq, delete("a.example")).await.is_ok());
        let outside = submit(&client, ZONES, seq + 50, delete("b.example")).await;
        assert_eq!(outside.unwrap_err(), RefusalCode::NotPermitted);
        client.close().await;
    }

    let past = new_key(&cluster, "past");
    let future = new_key(&cluster, "future");
    cluster.expect(0, "commander add past --app kv --key past.pem --role writer --valid-to 2020-01-01");
    cluster.expect(0, "commander add future --app kv --key future.pem --role writer --valid-from +1d");
    for node in 0..NODES {
        for key in [&past, &future] {
            let client = cluster.client_at(copy(key), node);
            assert_eq!(submit(&client, KV, 1, put("k", "v")).await.unwrap_err(), RefusalCode::NotValidNow);
            client.close().await;
        }
    }
    cluster.stop_all().await;
}

/// Clients of one key at every node, each with commands on their way until they are told that the key is revoked.
struct Flight {
    clients: Vec<Client>,
    seq: Arc<AtomicU64>,
}

/// A command, and its receipt if it was executed.
type Submitted = (SignedCommand, Option<Receipt>);

impl Flight {
    /// Commands that each client has on their way at a time.
    const AT_A_TIME: usize = 8;
    /// Commands that are executed before the key's end is commanded.
    const BEFORE: usize = 100;

    fn of(cluster: &Cluster, key: &SigningKey) -> Flight {
        let clients = (0..NODES).map(|node| cluster.client_at(copy(key), node)).collect();
        Flight { clients, seq: Arc::new(AtomicU64::new(1)) }
    }

    fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes at every node, has the key ended meanwhile, and goes on until nothing is executed any more. Gives everything
    /// that was submitted, and the state of the end.
    async fn end(&self, last: impl AsyncFnOnce() -> StateNdx) -> (Vec<Submitted>, StateNdx) {
        let executed = watch::Sender::new(0_usize);
        let mut writers = JoinSet::new();
        for client in self.clients.iter().flat_map(|client| std::iter::repeat_n(client, Flight::AT_A_TIME)) {
            writers.spawn(write(client.clone(), Arc::clone(&self.seq), executed.clone()));
        }
        let enough = |count: &usize| *count >= Flight::BEFORE;
        timeout(PATIENCE, executed.subscribe().wait_for(enough)).await.unwrap().unwrap();
        let ended = last().await;
        let submitted = timeout(PATIENCE, writers.join_all()).await.unwrap();
        (submitted.into_iter().flatten().collect(), ended)
    }

    /// Nothing was executed behind the end, then or now that it is submitted again elsewhere, and what was executed keeps
    /// its receipt. Gives how many were executed.
    async fn check(&self, submitted: &[Submitted], ended: StateNdx) -> usize {
        let executed: Vec<&Receipt> = submitted.iter().filter_map(|(_, receipt)| receipt.as_ref()).collect();
        for receipt in &executed {
            assert!(receipt.state_ndx < ended, "executed in {} behind the end in {ended}", receipt.state_ndx);
        }
        for ((command, receipt), client) in submitted.iter().zip(self.clients.iter().cycle()) {
            match (client.submit(command).await, receipt) {
                (Ok(again), Some(receipt)) => assert_eq!(&again, receipt),
                (Err(SubmitError::Refused(refusal)), None) => assert_eq!(refusal.code, RefusalCode::Revoked),
                (again, receipt) => panic!("{again:?} now, {receipt:?} then"),
            }
        }
        for client in &self.clients {
            client.close().await;
        }
        executed.len()
    }
}

/// Submits one command after another until the key is revoked.
async fn write(client: Client, seq: Arc<AtomicU64>, executed: watch::Sender<usize>) -> Vec<Submitted> {
    let mut submitted = Vec::new();
    loop {
        let seq = seq.fetch_add(1, Ordering::Relaxed);
        assert!(seq < SESSION_WINDOW, "the key was never ended");
        let command = sign(&client, KV, seq, put(format!("{}/{seq}", client.commander().id().short()), "v"));
        match client.submit(&command).await {
            Ok(receipt) => {
                submitted.push((command, Some(receipt)));
                executed.send_modify(|count| *count += 1);
            }
            Err(SubmitError::Refused(refusal)) => {
                assert_eq!(refusal.code, RefusalCode::Revoked);
                submitted.push((command, None));
                return submitted;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_on_its_way_is_executed_behind_a_revocation_or_a_rotation() {
    let mut cluster = Cluster::start(NODES).await;
    let admin = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let [revoked, rotated, next] = ["revoked", "rotated", "next"].map(|name| new_key(&cluster, name));
    for name in ["revoked", "rotated"] {
        cluster.expect(0, &format!("commander add {name} --app kv --key {name}.pem --role writer"));
    }
    let state_of = |receipt: Receipt| {
        assert!(matches!(receipt.outcome, Outcome::Done(_)), "{receipt:?}");
        receipt.state_ndx
    };

    let flight = Flight::of(&cluster, &revoked);
    let revoke = AuthorityOp::Revoke { commander: flight.clients[0].commander().id() };
    let revoke = submit(&admin, KV, 1_000, revoke.encode().into());
    let (submitted, ended) = flight.end(async || state_of(revoke.await.unwrap())).await;
    let before_revocation = flight.check(&submitted, ended).await;

    let flight = Flight::of(&cluster, &rotated);
    let rotate = AuthorityOp::Rotate { key: next.public().spki_der().clone() };
    let rotate = async || {
        let rotate = submit(&flight.clients[1], KV, flight.next_seq(), rotate.encode().into());
        state_of(rotate.await.unwrap())
    };
    let (submitted, ended) = flight.end(rotate).await;
    let before_rotation = flight.check(&submitted, ended).await;
    let successor = cluster.client_at(copy(&next), 2);
    let last = state_of(submit(&successor, KV, 1, put("last", "v")).await.unwrap());
    successor.close().await;
    admin.close().await;

    // Two grants, a revocation, a rotation, and what was executed of the rest: no state is anybody else's.
    let count = u64::try_from(before_revocation + before_rotation).unwrap() + 5;
    assert_eq!(last, StateNdx(count));
    let mut states: Vec<State> = Vec::new();
    for node in 0..NODES {
        states.push(cluster.readers.state(node, &format!("?min={last}&wait=30")).await.unwrap());
    }
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
    eprintln!(
        "{before_revocation} commands were executed before the revocation, {before_rotation} before the rotation"
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_administrators_change_who_commands() {
    let mut cluster = Cluster::start_by(NODES, 3, 2).await;
    let writer = new_key(&cluster, "writer");
    let path = |name: &str| cluster.path(name).display().to_string();
    let [second, third] = [path("admin2.pem"), path("admin3.pem")];
    let app = format!("/v1/apps/{KV}/commanders");

    let proposed = cluster.expect_json(0, "commander add writer --app kv --key writer.pem --role writer");
    let pending = &proposed["outcome"]["done"]["pending"];
    let (change, digest) = (pending["change"].as_u64().unwrap(), pending["digest"].as_str().unwrap());
    assert_eq!((&pending["approvals"], &pending["needed"]), (&json!(1), &json!(2)));
    assert_eq!(proposed["stateNdx"], change);
    let client = cluster.client_at(copy(&writer), 1);
    let early = submit(&client, KV, 1, put("k", "v")).await;
    assert_eq!(early.unwrap_err(), RefusalCode::UnknownCommander);

    let (text, _) = cluster.expect(0, &format!("commander pending --app kv --min {change}"));
    for part in ["grant writer writer", "signed by 1 of 2: admin (", digest] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    let other = synod_types::Digest::of(&[b"another operation"]);
    let approve = format!("commander approve {change} --app kv --digest");
    cluster.expect(2, &format!("{approve} {other} --sign-with {second}"));
    cluster.expect(3, &format!("{approve} {digest}"));
    // One administrator alone neither makes nor hinders what the others want.
    let (refused, _) =
        cluster.expect(3, &format!("commander withdraw {change} --app kv --sign-with {third}"));
    assert!(refused.contains("conflict"), "{refused}");
    let made = cluster.expect_json(0, &format!("{approve} {digest} --sign-with {second}"));
    let granted = made["stateNdx"].as_u64().unwrap();
    assert!(made["outcome"]["done"]["pending"].is_null(), "{made}");
    assert!(submit(&client, KV, 1, put("k", "v")).await.is_ok());
    client.close().await;

    // The third key is stolen: the other two get rid of it.
    let thief = cluster.founded.administrators[2].id;
    cluster.expect(
        0,
        &format!("commander add mine --app kv --key writer.pem --role administrator --sign-with {third}"),
    );
    let revoke = cluster.expect_json(0, &format!("commander revoke {thief} --app kv"));
    let pending = &revoke["outcome"]["done"]["pending"];
    let (change, digest) = (&pending["change"], pending["digest"].as_str().unwrap());
    let approve = format!("commander approve {change} --app kv --digest {digest} --sign-with {second}");
    let revoked = cluster.expect_json(0, &approve)["stateNdx"].as_u64().unwrap();
    cluster.expect(
        3,
        &format!("commander add mine --app kv --key writer.pem --role writer --sign-with {third}"),
    );
    // Two administrators are left, and both are needed.
    cluster.expect(3, &format!("commander revoke {} --app kv", cluster.founded.administrators[1].id));

    let mut logs: Vec<Value> = Vec::new();
    for node in 0..NODES {
        let read = format!("?min={revoked}&wait=30");
        let pending: Value = cluster.readers.get_json(node, &format!("{app}/pending{read}")).await.unwrap();
        assert_eq!(pending["pending"], json!([]), "what the thief proposed is gone");
        let log: Value = cluster.readers.get_json(node, &format!("{app}/log{read}")).await.unwrap();
        logs.push(log["entries"].clone());
        let known = listed(&cluster, node, KV, &thief.to_string(), revoked).await;
        assert_eq!(known["revoked"], revoked);
    }
    assert!(logs.iter().all(|log| *log == logs[0]), "{logs:?}");
    let steps: Vec<&str> =
        logs[0].as_array().unwrap().iter().map(|entry| entry["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["completed", "proposed", "proposed", "completed", "proposed"]);
    let (text, _) = cluster.expect(0, "commander log --app kv");
    assert!(text.contains(&format!("{granted} ")) && text.contains("grant writer writer"), "{text}");
    let (text, _) = cluster.expect(0, "commander list --app kv");
    assert!(text.contains("each change needs the signatures of 2 administrators"), "{text}");

    // Everything is there again after a restart: authority is executed from the log, like all else.
    cluster.kill(0);
    cluster.spawn(0);
    cluster.ready(0).await;
    eventually("the node knows again who was revoked", async || {
        let path = format!("{app}/log?limit=1");
        let log: Result<Value, _> = cluster.readers.get_json(0, &path).await;
        log.is_ok_and(|log| log["entries"][0]["stateNdx"] == revoked)
    })
    .await;
    cluster.stop_all().await;
}
