//! The client against real ports of fake nodes.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "../../backend/tests/support/mod.rs"]
mod support;
#[path = "../../auth/tests/wrong_certificates/mod.rs"]
mod wrong_certificates;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::{APP, Behaviour, CLUSTER, FakeNode, Ledger, REFUSED_OPERATION, Tls, soon};
use synod_auth::{Algorithm, SigningKey};
use synod_backend::Backend;
use synod_client::{
    Client, ClientConfig, CommandOptions, Commander, ConfigError, Endpoint, ExecuteError, SubmitError,
    Timeouts,
};
use synod_types::limits::{OPERATION_BYTES_MAX, SESSION_WINDOW};
use synod_types::{AppNdx, Outcome, RefusalCode, Seq, SignedCommand};
use tokio::task::JoinSet;

fn endpoint(backend: &Backend) -> Endpoint {
    Endpoint::named(backend.local_addr().to_string(), "localhost")
}

fn config(tls: &Tls, key: &Arc<SigningKey>, endpoints: Vec<Endpoint>) -> ClientConfig {
    let commander = Commander::new(key.clone(), CLUSTER);
    ClientConfig { endpoints, tls: tls.client.clone(), commander, timeouts: Timeouts::default() }
}

fn client(tls: &Tls, key: &Arc<SigningKey>, backends: &[&Backend]) -> Client {
    Client::new(config(tls, key, backends.iter().map(|backend| endpoint(backend)).collect())).unwrap()
}

fn ed25519() -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(Algorithm::Ed25519))
}

fn sign(client: &Client, seq: u64) -> SignedCommand {
    let operation = format!("operation {seq}").into();
    client.commander().sign(APP, Seq(seq), operation, CommandOptions::default()).unwrap()
}

fn submit(
    client: &Client,
    command: SignedCommand,
) -> impl Future<Output = Result<synod_types::Receipt, SubmitError>> + use<> {
    let client = client.clone();
    async move { client.submit(&command).await }
}

#[tokio::test]
async fn the_whole_way_with_both_kinds_of_keys() {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Execute);
    let backend = tls.start(&node);
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
        let client = client(&tls, &Arc::new(SigningKey::generate(algorithm)), &[&backend]);
        let command = sign(&client, 1);
        let receipt = soon(client.submit(&command)).await.unwrap();
        assert_eq!((receipt.app, receipt.seq), (APP, Seq(1)));
        assert_eq!(receipt.outcome, Outcome::Done("operation 1".into()));
        assert_eq!(soon(client.submit(&command)).await.unwrap(), receipt, "a repeat gets the same receipt");
        assert_eq!(soon(client.next_seq(APP)).await.unwrap(), Seq(2));
        let executed = soon(client.execute(APP, "more".into(), CommandOptions::default())).await.unwrap();
        assert_eq!(executed.seq, Seq(2));
        soon(client.close()).await;
    }
    assert_eq!(node.ledger.executed(), 4);
    assert_eq!(backend.counters().sessions, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_commands_are_in_flight_and_answered_in_any_order() {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Hold);
    let backend = tls.start(&node);
    let client = client(&tls, &ed25519(), &[&backend]);
    let mut calls = JoinSet::new();
    for seq in 1..=1000 {
        let call = submit(&client, sign(&client, seq));
        calls.spawn(async move { (seq, call.await) });
    }
    node.holds(1000).await;
    assert!(backend.counters().bytes_held > 0);
    node.release();
    while let Some(ended) = soon(calls.join_next()).await {
        let (seq, receipt) = ended.unwrap();
        let receipt = receipt.unwrap();
        assert_eq!(receipt.seq, Seq(seq));
        assert_eq!(receipt.outcome, Outcome::Done(format!("operation {seq}").into()));
    }
    assert_eq!((node.ledger.executed(), backend.counters().bytes_held), (1000, 0));
    assert_eq!(backend.counters().sessions, 1);
}

#[tokio::test]
async fn refusals_are_typed_and_final() {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Execute);
    let backend = tls.start(&node);
    let client = client(&tls, &ed25519(), &[&backend]);
    let mut forged = sign(&client, 1);
    forged.signature = vec![0; 64].into();
    let refused = |error: SubmitError| match error {
        SubmitError::Refused(refusal) => refusal.code,
        other => panic!("{other}"),
    };
    assert_eq!(refused(soon(client.submit(&forged)).await.unwrap_err()), RefusalCode::BadSignature);
    assert_eq!(backend.counters().refused_with(RefusalCode::BadSignature), 1);

    let mut huge = sign(&client, 1);
    huge.body = vec![0; 2 * OPERATION_BYTES_MAX].into();
    assert_eq!(refused(soon(client.submit(&huge)).await.unwrap_err()), RefusalCode::TooLarge);
    assert_eq!(backend.counters().commands, 1, "what is too large is not even sent");

    let operation = REFUSED_OPERATION.into();
    let receipt = soon(client.execute(APP, operation, CommandOptions::default())).await.unwrap();
    assert!(matches!(receipt.outcome, Outcome::Refused(_)), "executed and refused has a receipt");

    let unknown = soon(client.execute(AppNdx(9), "x".into(), CommandOptions::default())).await.unwrap_err();
    assert!(matches!(unknown, ExecuteError::NextSeq(_)), "{unknown}");
    let operation = vec![0; OPERATION_BYTES_MAX + 1].into();
    let too_large = soon(client.execute(APP, operation, CommandOptions::default())).await.unwrap_err();
    assert!(matches!(too_large, ExecuteError::Command(_)), "{too_large}");
}

#[tokio::test]
async fn the_largest_operation_goes_through() {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Execute);
    let backend = tls.start(&node);
    let mut config = config(&tls, &ed25519(), vec![endpoint(&backend)]);
    // Hashing 40 MiB takes a while without optimization.
    config.timeouts.total = Duration::from_secs(120);
    let client = Client::new(config).unwrap();
    let operation = vec![0; OPERATION_BYTES_MAX].into();
    let command = client.commander().sign(APP, Seq(1), operation, CommandOptions::default()).unwrap();
    let mut calls = JoinSet::new();
    // More at a time than one session may hold: the rest wait here, and none is refused.
    for _ in 0..40 {
        calls.spawn(submit(&client, command.clone()));
    }
    while let Some(ended) = soon(calls.join_next()).await {
        ended.unwrap().unwrap();
    }
    assert_eq!(backend.counters().refused, []);
}

#[tokio::test]
async fn a_node_that_is_busy_or_has_no_leader_is_passed_over() {
    let tls = Tls::new();
    let ledger = Arc::new(Ledger::default());
    let busy = FakeNode::with_ledger(Behaviour::Refuse(RefusalCode::Busy), ledger.clone());
    let lost = FakeNode::with_ledger(Behaviour::Refuse(RefusalCode::NoLeader), ledger.clone());
    let good = FakeNode::with_ledger(Behaviour::Execute, ledger.clone());
    let backends = [tls.start(&busy), tls.start(&lost), tls.start(&good)];
    let client = client(&tls, &ed25519(), &backends.each_ref());
    soon(client.submit(&sign(&client, 1))).await.unwrap();
    soon(client.submit(&sign(&client, 2))).await.unwrap();
    let asked: Vec<_> = backends.iter().map(|backend| backend.counters().commands).collect();
    assert_eq!(asked, [1, 1, 2], "the one that worked is asked first");
}

#[tokio::test]
async fn commands_in_flight_at_a_node_that_dies_are_executed_once_elsewhere() {
    let tls = Tls::new();
    let ledger = Arc::new(Ledger::default());
    let dying = FakeNode::with_ledger(Behaviour::Hold, ledger.clone());
    let living = FakeNode::with_ledger(Behaviour::Execute, ledger.clone());
    let first = tls.start(&dying);
    let second = tls.start(&living);
    let client = client(&tls, &ed25519(), &[&first, &second]);
    let mut calls = JoinSet::new();
    for seq in 1..=200 {
        calls.spawn(submit(&client, sign(&client, seq)));
    }
    dying.holds(200).await;
    // Half of them were executed before the node died; nobody was told.
    let held = dying.take_held();
    held.iter().step_by(2).for_each(|(command, _)| drop(ledger.execute(command).unwrap()));
    drop(first);
    let mut seqs = Vec::new();
    while let Some(ended) = soon(calls.join_next()).await {
        seqs.push(ended.unwrap().unwrap().seq.0);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
    assert_eq!(ledger.executed(), 200);
    drop(held);
}

#[tokio::test]
async fn a_node_that_stops_in_order_sends_its_commanders_on() {
    let tls = Tls::new();
    let ledger = Arc::new(Ledger::default());
    let nodes = [(); 2].map(|()| FakeNode::with_ledger(Behaviour::Execute, ledger.clone()));
    let [first, second] = nodes.each_ref().map(|node| tls.start(node));
    let client = client(&tls, &ed25519(), &[&first, &second]);
    soon(client.submit(&sign(&client, 1))).await.unwrap();
    soon(first.close()).await;
    soon(client.submit(&sign(&client, 2))).await.unwrap();
    assert_eq!(second.counters().executed, 1);
}

#[tokio::test]
async fn a_silent_address_is_passed_over() {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Execute);
    let backend = tls.start(&node);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = Endpoint::named(silent.local_addr().unwrap().to_string(), "localhost");
    let mut config = config(&tls, &ed25519(), vec![nowhere, endpoint(&backend)]);
    config.timeouts.connect = Duration::from_millis(200);
    let client = Client::new(config).unwrap();
    let mut calls = JoinSet::new();
    for seq in 1..=50 {
        calls.spawn(submit(&client, sign(&client, seq)));
    }
    while let Some(ended) = soon(calls.join_next()).await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_not_waited_for() {
    let tls = Tls::new();
    let ledger = Arc::new(Ledger::default());
    let stuck = FakeNode::with_ledger(Behaviour::Hold, ledger.clone());
    let good = FakeNode::with_ledger(Behaviour::Execute, ledger.clone());
    let backends = [tls.start(&stuck), tls.start(&good)];
    let mut config = config(&tls, &ed25519(), backends.iter().map(endpoint).collect());
    config.timeouts.attempt = Duration::from_millis(200);
    let client = Client::new(config).unwrap();
    let receipt = soon(client.submit(&sign(&client, 1))).await.unwrap();
    stuck.release();
    assert_eq!(soon(client.submit(&sign(&client, 1))).await.unwrap(), receipt);
    assert_eq!(ledger.executed(), 1);
}

#[tokio::test]
async fn refused_unreachable_and_unknown_are_told_apart() {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Execute);
    let backend = tls.start(&node);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nowhere = Endpoint::named(silent.local_addr().unwrap().to_string(), "localhost");
    let short = |endpoint| {
        let mut config = config(&tls, &ed25519(), vec![endpoint]);
        config.timeouts.connect = Duration::from_secs(1);
        config.timeouts.total = Duration::from_secs(1);
        Client::new(config).unwrap()
    };
    let client = short(endpoint(&backend));
    // However slow the machine is, the session is open from here on.
    soon(async { while client.next_seq(APP).await.is_err() {} }).await;
    node.behave(Behaviour::Refuse(RefusalCode::Busy));
    let command = sign(&client, 1);
    // An attempt that a slow machine cut off at the end leaves doubt, and to ask again is what helps.
    let busy = soon(async {
        loop {
            match client.submit(&command).await.unwrap_err() {
                SubmitError::Unknown { .. } => {}
                other => break other,
            }
        }
    });
    let busy = busy.await;
    assert!(matches!(&busy, SubmitError::Refused(refusal) if refusal.code == RefusalCode::Busy), "{busy}");
    node.behave(Behaviour::Hold);
    match soon(client.submit(&command)).await.unwrap_err() {
        SubmitError::Unknown { command: again, .. } => assert_eq!(*again, command),
        other => panic!("{other}"),
    }
    node.behave(Behaviour::Refuse(RefusalCode::Timeout));
    let timeout = soon(client.submit(&command)).await.unwrap_err();
    assert!(matches!(timeout, SubmitError::Unknown { .. }), "{timeout}");

    let client = short(nowhere);
    let unreachable = soon(client.submit(&command)).await.unwrap_err();
    assert!(matches!(unreachable, SubmitError::Unreachable { .. }), "{unreachable}");
    let unresolved = short(Endpoint::new("no-such-host.invalid:1"));
    let unreachable = soon(unresolved.submit(&command)).await.unwrap_err();
    assert!(unreachable.to_string().contains("no-such-host.invalid:1"), "{unreachable}");
}

#[tokio::test]
async fn a_refusal_after_a_lost_attempt_is_not_the_last_word() {
    let tls = Tls::new();
    let dying = FakeNode::new(Behaviour::Hold);
    let strict = FakeNode::new(Behaviour::Refuse(RefusalCode::StaleSeq));
    let first = tls.start(&dying);
    let second = tls.start(&strict);
    let client = client(&tls, &ed25519(), &[&first, &second]);
    let call = tokio::spawn(submit(&client, sign(&client, 1)));
    dying.holds(1).await;
    drop(first);
    let unknown = soon(call).await.unwrap().unwrap_err();
    assert!(matches!(unknown, SubmitError::Unknown { .. }), "{unknown}");
    let refused = soon(client.submit(&sign(&client, 1))).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Refused(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_of_one_commander_share_its_seqs() {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Execute);
    let backend = tls.start(&node);
    let key = ed25519();
    let clients = [client(&tls, &key, &[&backend]), client(&tls, &key, &[&backend])];
    for round in 0..20 {
        let client = &clients[round % 2];
        soon(client.execute(APP, format!("{round}").into(), CommandOptions::default())).await.unwrap();
    }
    assert_eq!(node.ledger.executed(), 20);
}

#[tokio::test]
async fn the_window_is_never_left() {
    let tls = Tls::new();
    let node = FakeNode::new(Behaviour::Execute);
    let backend = tls.start(&node);
    let client = client(&tls, &ed25519(), &[&backend]);
    soon(client.execute(APP, "first".into(), CommandOptions::default())).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..SESSION_WINDOW + 500 {
        let client = client.clone();
        calls.spawn(async move { client.execute(APP, "x".into(), CommandOptions::default()).await });
    }
    while let Some(ended) = soon(calls.join_next()).await {
        ended.unwrap().unwrap();
    }
    assert_eq!(node.ledger.executed(), SESSION_WINDOW + 501);
}

#[tokio::test]
async fn a_node_with_a_wrong_certificate_gets_no_command() {
    let mut tls = Tls::new();
    let signing_key = SigningKey::load(tls.path("node.key")).unwrap();
    let anothers = CertificateDer::from_pem_file(tls.path("another.pem")).unwrap();
    let [authority, authority_key] = ["ca.pem", "ca.key"].map(|name| tls.path(name));
    let all = wrong_certificates::all(&authority, &authority_key, &signing_key, "localhost", anothers);
    for shown in all {
        tls.server = Arc::new(shown.server(b""));
        let node = FakeNode::new(Behaviour::Execute);
        let backend = tls.start(&node);
        let mut config = config(&tls, &ed25519(), vec![endpoint(&backend)]);
        // A node that is refused is tried again until then.
        config.timeouts.total = Duration::from_millis(if shown.refused_as_server { 200 } else { 30_000 });
        let client = Client::new(config).unwrap();
        let answer = soon(client.submit(&sign(&client, 1))).await;
        if shown.refused_as_server {
            assert!(matches!(answer, Err(SubmitError::Unreachable { .. })), "{}: {answer:?}", shown.what);
        } else {
            assert!(answer.is_ok(), "{}: {answer:?}", shown.what);
        }
        let expected = u64::from(!shown.refused_as_server);
        assert_eq!((backend.counters().sessions, node.ledger.executed()), (expected, expected));
    }
}

#[test]
fn a_client_without_endpoints_is_refused() {
    let tls = Tls::new();
    assert!(matches!(Client::new(config(&tls, &ed25519(), vec![])), Err(ConfigError::NoEndpoint)));
    let many = vec![Endpoint::new("localhost:1"); 16];
    assert!(matches!(Client::new(config(&tls, &ed25519(), many)), Err(ConfigError::TooManyEndpoints(16))));
}
