//! An application of which changes are followed, without a server: for tests.

use bytes::Bytes;
use synod_app_kv::{Kv, KvOp, KvSelection};
use synod_gateway::{AppDoor, AppPublisher, ClusterStatus, Gateway};
use synod_machine::{Application as _, Context, View};
use synod_types::{AppNdx, ClusterId, CommanderId, LeaseMs, NodeId, StateNdx, TimeMs};

use super::{Follower, Followers};

const APP: AppNdx = AppNdx(1);

/// The status of no cluster.
pub(crate) fn status() -> ClusterStatus {
    ClusterStatus {
        cluster_id: ClusterId::default(),
        cluster_name: "none".to_owned(),
        node_id: NodeId::default(),
        node_name: "none".to_owned(),
        version: "1".to_owned(),
        nodes: Vec::new(),
        epoch: synod_types::Epoch(0),
        applicants: Vec::new(),
        apps: Vec::new(),
        certificates: Vec::new(),
        scrub: synod_gateway::ScrubStatus::default(),
    }
}

pub(super) struct Stage {
    kv: Kv,
    pub(super) state_ndx: StateNdx,
    publisher: AppPublisher,
    gateway: Gateway,
    followers: Followers,
}

impl Stage {
    pub(super) fn open() -> Stage {
        let view = View::new(ClusterId::default(), APP, Box::new(Kv::new()));
        let (door, publisher, _questions) = AppDoor::open("kv", view);
        let gateway = Gateway::new(vec![door], status);
        Stage { kv: Kv::new(), state_ndx: StateNdx(0), publisher, gateway, followers: Followers::new() }
    }

    pub(super) fn follow(&self, prefix: &'static str, after: StateNdx) -> Follower {
        let place = self.followers.place().expect("there are enough");
        let of = KvSelection::Prefix(Bytes::from_static(prefix.as_bytes()));
        self.followers.follow(place, self.gateway.clone(), APP, of, after)
    }

    pub(super) fn put(&mut self, key: &'static str, bytes: usize) {
        self.execute(&KvOp::Put { key: key.into(), value: vec![b'x'; bytes].into() });
    }

    pub(super) fn execute(&mut self, op: &KvOp) {
        self.state_ndx = self.state_ndx.next();
        let context = Context {
            state_ndx: self.state_ndx,
            time: TimeMs(self.state_ndx.0),
            clock: LeaseMs(0),
            commander: CommanderId::default(),
        };
        self.kv.apply(&context, &op.encode()[1..]).expect("it is within its limits");
        let mut view = View::new(ClusterId::default(), APP, self.kv.fork());
        view.state_ndx = self.state_ndx;
        self.publisher.publish(view);
    }
}
