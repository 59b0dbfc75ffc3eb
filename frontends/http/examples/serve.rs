//! A front end without a cluster, for load generators: one key-value application with 100,000 keys of 256 bytes.
//!
//! `cargo run --release -p synod-http --example serve -- 127.0.0.1:8080`, then
//! `wrk -t1 -c64 -d10s http://127.0.0.1:8080/v1/apps/1/kv/key-00042`.

use std::error::Error;

use synod_app_kv::{Kv, KvOp};
use synod_gateway::{AppDoor, ClusterStatus, Gateway};
use synod_http::{HttpConfig, HttpServer};
use synod_machine::{Application as _, Context, View};
use synod_types::{AppNdx, ClusterId, CommanderId, LeaseMs, NodeId, StateNdx, TimeMs};

const KEYS: u64 = 100_000;
const APP: AppNdx = AppNdx(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).ok_or("usage: serve ADDRESS:PORT")?.parse()?;
    let mut kv = Kv::new();
    for n in 1..=KEYS {
        let context = Context {
            state_ndx: StateNdx(n),
            time: TimeMs(n),
            clock: LeaseMs(0),
            commander: CommanderId::default(),
        };
        let key = format!("key-{:05}", n - 1).into();
        let put = KvOp::Put { key, value: vec![b'x'; 256].into() }.encode();
        kv.apply(&context, &put[1..])?;
    }
    let mut view = View::new(ClusterId::default(), APP, Box::new(kv));
    view.state_ndx = StateNdx(KEYS);

    // Kept, as a node would: a gateway without questioners tells its readers that the node is stopping.
    let (door, _publisher, _questions) = AppDoor::open("kv", view);
    let status = || ClusterStatus {
        cluster_id: ClusterId::default(),
        cluster_name: "none".to_owned(),
        node_id: NodeId::default(),
        node_name: "none".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nodes: Vec::new(),
        epoch: synod_types::Epoch(0),
        applicants: Vec::new(),
        apps: Vec::new(),
        certificates: Vec::new(),
        scrub: synod_gateway::ScrubStatus::default(),
    };
    let server = HttpServer::start(HttpConfig::at(addr), Gateway::new(vec![door], status)).await?;
    println!("http://{}/v1/apps/1/kv/key-00042", server.local_addr());
    tokio::signal::ctrl_c().await?;
    server.close().await;
    Ok(())
}
