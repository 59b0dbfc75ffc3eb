//! Uploads against real ports of nodes with a store in memory.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "../../backend/tests/support/mod.rs"]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use support::door::FakeDoor;
use support::{APP, CLUSTER, Tls, file_of, soon};
use synod_auth::{Algorithm, SigningKey};
use synod_backend::Backend;
use synod_client::{
    Client, ClientConfig, CommandOptions, Commander, Endpoint, Timeouts, UploadError, Uploaded,
};
use synod_types::content::ManifestError;
use synod_types::limits::{CONTENT_BYTES_MAX, CONTENT_PIECE_BYTES};
use synod_types::{ContentKey, RefusalCode};
use tokio::task::{JoinHandle, JoinSet};

fn client_with(tls: &Tls, algorithm: Algorithm, backends: &[&Backend], timeouts: Timeouts) -> Client {
    let key = Arc::new(SigningKey::generate(algorithm));
    let endpoint = |backend: &&Backend| Endpoint::named(backend.local_addr().to_string(), "localhost");
    let endpoints = backends.iter().map(endpoint).collect();
    let commander = Commander::new(key, CLUSTER);
    Client::new(ClientConfig { endpoints, tls: tls.client.clone(), commander, timeouts }).unwrap()
}

fn client(tls: &Tls, backends: &[&Backend]) -> Client {
    client_with(tls, Algorithm::Ed25519, backends, Timeouts::default())
}

/// What an upload has told of its progress.
type Told = Arc<Mutex<Vec<u64>>>;

async fn upload(client: Client, file: Bytes, told: Told) -> Result<Uploaded, UploadError> {
    let total_bytes: u64 = file.len().try_into().unwrap();
    let progress = |done, total| {
        assert_eq!(total, total_bytes);
        told.lock().unwrap().push(done);
    };
    client.upload(APP, file, progress).await
}

/// An upload on its way.
fn uploading(client: &Client, file: &Bytes) -> JoinHandle<Result<Uploaded, UploadError>> {
    tokio::spawn(upload(client.clone(), file.clone(), Told::default()))
}

async fn uploaded(client: &Client, file: &Bytes) -> Result<Uploaded, UploadError> {
    soon(client.upload(APP, file.clone(), |_, _| {})).await
}

fn code(error: UploadError) -> RefusalCode {
    match error {
        UploadError::Refused(refusal) => refusal.code,
        other => panic!("{other}"),
    }
}

fn at_rest(backend: &Backend) {
    assert_eq!(backend.counters().bytes_held, 0);
}

#[tokio::test]
async fn the_whole_way_with_both_kinds_of_keys() {
    let tls = Tls::new();
    for algorithm in [Algorithm::Ed25519, Algorithm::Rsa2048] {
        let door = FakeDoor::new();
        let backend = tls.start_with(&door);
        let client = client_with(&tls, algorithm, &[&backend], Timeouts::default());
        let file = file_of(2 * CONTENT_PIECE_BYTES + 3, 1);
        let told = Told::default();
        let uploaded = soon(upload(client.clone(), file.clone(), told.clone())).await.unwrap();
        assert_eq!((uploaded.content, uploaded.bytes), (ContentKey::of(&file), 524_291));
        let nodes: Vec<_> = uploaded.receipts.iter().map(|receipt| receipt.node).collect();
        assert_eq!(nodes, door.holders());
        assert_eq!(*told.lock().unwrap(), [0, 262_144, 524_288, 524_291]);
        assert_eq!(door.whole(uploaded.content), Some(file.clone()));

        let told = Told::default();
        assert_eq!(soon(upload(client.clone(), file, told.clone())).await.unwrap().content, uploaded.content);
        assert_eq!(*told.lock().unwrap(), [524_291], "what is there is not sent again");
        assert_eq!(backend.counters().pieces_taken, 3);
        at_rest(&backend);
        soon(client.close()).await;
    }
}

#[tokio::test]
async fn files_that_are_none_are_not_even_offered() {
    let tls = Tls::new();
    let backend = tls.start_with(&FakeDoor::new());
    let client = client(&tls, &[&backend]);
    let empty = uploaded(&client, &Bytes::new()).await.unwrap_err();
    assert_eq!(empty, UploadError::File(ManifestError::Empty));
    let bytes = CONTENT_BYTES_MAX + 1;
    let file = vec![0; bytes.try_into().unwrap()].into();
    let too_large = uploaded(&client, &file).await.unwrap_err();
    assert_eq!(too_large, UploadError::File(ManifestError::TooLarge { bytes }));
    assert_eq!(backend.counters().sessions, 0);
}

#[tokio::test]
async fn a_cut_upload_goes_on_where_it_was() {
    let tls = Tls::new();
    let door = FakeDoor::with_pieces(5);
    let (first, second) = (tls.start_with(&door), tls.start_with(&door));
    let client = client(&tls, &[&first, &second]);
    let file = file_of(12 * CONTENT_PIECE_BYTES, 1);
    let told = Told::default();
    let upload = tokio::spawn(upload(client, file.clone(), told.clone()));
    door.has_taken(5).await;
    drop(first);
    door.take_pieces(100);
    let uploaded = soon(upload).await.unwrap().unwrap();
    assert_eq!(door.whole(uploaded.content), Some(file));
    assert_eq!(second.counters().files_offered, 1);
    assert!(second.counters().pieces_taken <= 7, "only what was missing is sent");
    assert!(told.lock().unwrap().is_sorted(), "it never falls back");
    at_rest(&second);
}

#[tokio::test]
async fn where_a_node_is_gone_with_its_pieces_another_gets_all_of_them() {
    let tls = Tls::new();
    let (gone, living) = (FakeDoor::with_pieces(2), FakeDoor::new());
    let (first, second) = (tls.start_with(&gone), tls.start_with(&living));
    let client = client(&tls, &[&first, &second]);
    let file = file_of(3 * CONTENT_PIECE_BYTES, 1);
    let upload = uploading(&client, &file);
    gone.has_taken(2).await;
    drop(first);
    let uploaded = soon(upload).await.unwrap().unwrap();
    assert_eq!(living.whole(uploaded.content), Some(file));
    assert_eq!(living.taken(), 3);
}

#[tokio::test]
async fn a_node_that_waits_for_a_majority_is_asked_again_and_gets_nothing_twice() {
    let tls = Tls::new();
    let (door, other) = (FakeDoor::new(), FakeDoor::new());
    let (first, second) = (tls.start_with(&door), tls.start_with(&other));
    let client = client(&tls, &[&first, &second]);
    let file = file_of(CONTENT_PIECE_BYTES + 1, 1);
    door.refuse_held(Some(RefusalCode::Timeout));
    let upload = uploading(&client, &file);
    door.is_asked_who_holds(3).await;
    door.refuse_held(None);
    soon(upload).await.unwrap().unwrap();
    assert_eq!((door.taken(), other.taken()), (2, 0));
}

#[tokio::test]
async fn a_node_that_has_lost_the_file_gets_it_again() {
    let tls = Tls::new();
    let door = FakeDoor::without_majority();
    let backend = tls.start_with(&door);
    let client = client(&tls, &[&backend]);
    let file = file_of(CONTENT_PIECE_BYTES + 1, 1);
    let upload = uploading(&client, &file);
    door.waits_for_held(1).await;
    door.forget();
    door.reach_majority(2);
    soon(upload).await.unwrap().unwrap();
    assert_eq!(door.taken(), 4);
}

#[tokio::test]
async fn a_node_that_does_not_take_the_file_is_passed_over() {
    let tls = Tls::new();
    // Busy now; behind the others; its disk is full.
    for code in [RefusalCode::Busy, RefusalCode::UnknownCommander, RefusalCode::QuotaExceeded] {
        let (refusing, good) = (FakeDoor::new(), FakeDoor::new());
        let (first, second) = (tls.start_with(&refusing), tls.start_with(&good));
        let client = client(&tls, &[&first, &second]);
        let file = file_of(9, 1);
        refusing.refuse(Some(code));
        uploaded(&client, &file).await.unwrap();
        assert_eq!((refusing.taken(), good.taken()), (0, 1));
        assert_eq!(first.counters().refused_with(code), 1);
        good.refuse(Some(code));
        if code == RefusalCode::Busy {
            continue;
        }
        // Where all of them say it, that is the answer.
        assert_eq!(code, self::code(uploaded(&client, &file).await.unwrap_err()));
        assert_eq!((first.counters().refused_with(code), second.counters().refused_with(code)), (2, 1));
    }
}

#[tokio::test]
async fn what_follows_from_the_bytes_is_the_last_word() {
    let tls = Tls::new();
    let doors = [FakeDoor::new(), FakeDoor::new()];
    let [first, second] = doors.each_ref().map(|door| tls.start_with(door));
    let client = client(&tls, &[&first, &second]);
    doors[0].refuse(Some(RefusalCode::TooLarge));
    assert_eq!(code(uploaded(&client, &file_of(9, 1)).await.unwrap_err()), RefusalCode::TooLarge);
    assert_eq!(second.counters().files_offered, 0);
}

#[tokio::test]
async fn receipts_that_prove_nothing_are_no_receipts() {
    let tls = Tls::new();
    let (liar, good) = (FakeDoor::new(), FakeDoor::new());
    let (first, second) = (tls.start_with(&liar), tls.start_with(&good));
    liar.lie();
    let file = file_of(9, 1);
    let uploaded = uploaded(&client(&tls, &[&first, &second]), &file).await.unwrap();
    assert_eq!(uploaded.receipts[0].node, good.holders()[0]);
}

#[tokio::test]
async fn an_upload_that_comes_no_further_is_given_up() {
    let tls = Tls::new();
    let door = FakeDoor::with_pieces(0);
    let backend = tls.start_with(&door);
    let timeouts = Timeouts { upload: Duration::from_secs(1), ..Timeouts::default() };
    let client = client_with(&tls, Algorithm::Ed25519, &[&backend], timeouts);
    let file = file_of(9, 1);
    let stuck = uploaded(&client, &file).await.unwrap_err();
    assert!(matches!(stuck, UploadError::Unreachable { .. }), "{stuck}");
    door.take_pieces(1);
    door.refuse_held(Some(RefusalCode::Timeout));
    // On a slow machine it may come no further than to the piece.
    let no_majority = soon(async {
        loop {
            match uploaded(&client, &file).await.unwrap_err() {
                UploadError::Unreachable { .. } => {}
                refused => return code(refused),
            }
        }
    });
    assert_eq!(no_majority.await, RefusalCode::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_files_and_commands_share_a_session() {
    let tls = Tls::new();
    let door = FakeDoor::new();
    let backend = tls.start_with(&door);
    let clients = [client(&tls, &[&backend]), client(&tls, &[&backend])];
    let mut uploads = JoinSet::new();
    // Each file is uploaded by both at the same time.
    for seed in 0..40 {
        let file = file_of(CONTENT_PIECE_BYTES + usize::try_from(seed).unwrap(), seed / 2);
        uploads.spawn(upload(clients[usize::try_from(seed % 2).unwrap()].clone(), file, Told::default()));
    }
    for n in 0..20 {
        soon(clients[0].execute(APP, format!("{n}").into(), CommandOptions::default())).await.unwrap();
    }
    while let Some(ended) = soon(uploads.join_next()).await {
        let uploaded = ended.unwrap().unwrap();
        assert!(door.whole(uploaded.content).is_some());
    }
    let counters = backend.counters();
    assert_eq!((counters.sessions, counters.refused), (2, vec![]));
    at_rest(&backend);
}
