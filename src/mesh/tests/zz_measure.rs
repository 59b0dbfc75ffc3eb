#![allow(clippy::unwrap_used, missing_docs)]
mod world;
use std::sync::Arc;
use std::time::{Duration, Instant};
use synod_auth::Unverified;
use synod_mesh::*;
use synod_types::*;
use world::*;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure() {
    let w = World::new();
    let (mut a, mut b) = (Seat::new(w.identity()), Seat::new(w.identity()));
    let (pa, pb) = (a.peer(), b.peer());
    let (ida, idb) = (a.id(), b.id());
    let slot: Arc<std::sync::OnceLock<Arc<Mesh>>> = Default::default();
    let s2 = slot.clone();
    let mb = Arc::new(Mesh::start(b.config(vec![pa]), move |from, p, Unverified(m)| {
        if p == Priority::Control { s2.get().unwrap().send(from, &m); }
        std::future::ready(())
    }).unwrap());
    slot.set(mb.clone()).ok();
    let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
    let ma = Mesh::start(a.config(vec![pb]), move |_, _, Unverified(m)| { let _ = tx.send(m); std::future::ready(()) }).unwrap();
    let up = || ma.peers()[0].is_up() && mb.peers()[0].is_up();
    eventually("up", up).await;
    let _ = ida;
    for gap in [0, 20] {
        let mut times = vec![];
        for i in 0..(if gap == 0 { 2000 } else { 100 }) {
            if gap > 0 { tokio::time::sleep(Duration::from_millis(gap)).await; }
            let t = Instant::now();
            ma.send(idb, &Message::Heartbeat { round: i });
            rx.recv().await.unwrap();
            times.push(t.elapsed());
        }
        times.sort();
        eprintln!("round trip gap {gap}ms: p50 {:?} p99 {:?} max {:?} rtt {:?}", times[times.len()/2], times[times.len()*99/100], times.last(), ma.peers()[0].rtt);
    }
    for size in [700usize, 64 << 10, 512 << 10] {
        let body = bytes::Bytes::from(vec![7u8; size]);
        let d = Decree::Batch(Arc::new(Batch { time: TimeMs(1), commands: vec![SignedCommand { body, signature: bytes::Bytes::new(), key: bytes::Bytes::new() }] }));
        let m = Message::Group { app: AppNdx(1), message: GroupMessage::Accept { ballot: Ballot::ZERO, slot: Slot(1), decree: d, chosen: Slot(0) } };
        let total = 200usize << 20;
        let n = (total / size).min(200_000);
        let before = mb.peers()[0].received_frames;
        let t = Instant::now();
        let f = Frame::of(&m).unwrap();
        let mut sent = 0u64;
        while sent < n as u64 {
            let d0 = ma.peers()[0].dropped;
            ma.send_frame(idb, f.clone());
            if ma.peers()[0].dropped == d0 { sent += 1; } else { tokio::time::sleep(Duration::from_micros(200)).await; }
        }
        eventually("arrived", || mb.peers()[0].received_frames - before == sent).await;
        let e = t.elapsed();
        eprintln!("{size} B: {:.0} msg/s {:.0} MB/s", sent as f64 / e.as_secs_f64(), (sent as usize * size) as f64 / e.as_secs_f64() / 1e6);
    }
}
