//! Who commands: keys that are made for one run.

use synod_auth::{Algorithm, SigningKey};
use synod_client::{CommandOptions, Timeouts};
use synod_cluster::Cluster;
use synod_machine::authority::{AuthorityOp, Grant, Role};
use synod_types::{AppNdx, StateNdx};

/// So many keys, each of which may write in an application; and the state in which they may.
pub async fn granted(cluster: &Cluster, app: AppNdx, count: u32) -> (Vec<SigningKey>, StateNdx) {
    let administrator = cluster.client(cluster.administrator(), 0, Timeouts::default());
    let (mut keys, mut start) = (Vec::new(), StateNdx(0));
    for n in 1..=count {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let grant = Grant::unlimited(key.public().spki_der().clone(), format!("client {n}"), Role::Writer);
        let operation = AuthorityOp::Grant(grant).encode().into();
        let granted = administrator.execute(app, operation, CommandOptions::default()).await;
        start = granted.unwrap().state_ndx;
        keys.push(key);
    }
    administrator.close().await;
    (keys, start)
}

/// The same key once more.
pub fn again(key: &SigningKey) -> SigningKey {
    SigningKey::from_pem(&key.to_pem()).unwrap()
}
