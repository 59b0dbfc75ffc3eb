//! Standings: how far a node is, as it says to everybody. They travel by gossip, over nodes that may be wrong, so each is signed by
//! its node.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{AppNdx, ClusterId, NodeId, StateNdx};

/// How far a node is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Its applications, in the order of their appNdx; at most [`APPS_MAX`](crate::limits::APPS_MAX).
    pub apps: Vec<AppStanding>,
    /// Files that it holds for the applications.
    pub files: u64,
}

/// How far a node is with one application.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AppStanding {
    /// Which.
    pub app: AppNdx,
    /// How many commands and expiries it has executed.
    pub state_ndx: StateNdx,
    /// The hash chain there.
    pub chain: Digest,
    /// The newest state of which it holds a certificate; 0: none.
    pub certified: StateNdx,
}

/// Which word of a node it is: a later one is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Version {
    /// When this life of the node began, by its own clock.
    pub life: u64,
    /// How many words it had said in it, and this one.
    pub number: u64,
    /// Drawn at random in each life: a clock that was set back can show the same time twice.
    pub tag: u64,
}

/// What a node says, and which of its words that is.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Word<W> {
    /// Who says it.
    pub node: NodeId,
    /// Which one it is.
    pub version: Version,
    /// What it says.
    pub says: W,
}

/// A standing with the signature of its node.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SignedStanding {
    /// How far the node is.
    pub standing: Standing,
    /// The node's public key (SubjectPublicKeyInfo, DER), whose hash is its id.
    pub key: Bytes,
    /// Over [`Standing::signed_bytes`], made as for a command.
    pub signature: Bytes,
}

/// What nodes send each other to learn each other's words.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum GossipMessage<W> {
    /// Opens an exchange: whose words the sender has, up to which version.
    Heads(Vec<(NodeId, Version)>),
    /// Words that the receiver lacks.
    News {
        /// At most [`GOSSIP_WORDS_MAX`](crate::limits::GOSSIP_WORDS_MAX).
        words: Vec<Word<W>>,
        /// Whose words the sender lacks, and up to which version it has them.
        lacks: Vec<(NodeId, Version)>,
    },
}

impl Standing {
    /// What its signed bytes begin with.
    pub const DOMAIN: &[u8] = b"synod/standing/v1\0";

    /// The bytes that a node signs: what they are for, the cluster, which word it is, the standing, the node.
    pub fn signed_bytes(&self, cluster: ClusterId, node: NodeId, version: Version) -> Vec<u8> {
        let mut bytes = Standing::DOMAIN.to_vec();
        bytes.extend_from_slice(cluster.as_bytes());
        for number in [version.life, version.number, version.tag, self.files] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for app in &self.apps {
            bytes.extend_from_slice(&app.app.0.to_be_bytes());
            bytes.extend_from_slice(&app.state_ndx.0.to_be_bytes());
            bytes.extend_from_slice(&app.chain.0);
            bytes.extend_from_slice(&app.certified.0.to_be_bytes());
        }
        bytes.extend_from_slice(node.as_bytes());
        bytes
    }

    /// How far the node is with one application.
    pub fn of(&self, app: AppNdx) -> Option<&AppStanding> {
        self.apps.iter().find(|standing| standing.app == app)
    }
}
