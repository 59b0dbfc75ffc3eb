//! Brings zone files to the nodes, ahead of the command that names them.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_auth::Genesis;
use synod_client::{Client, UploadError};
use synod_types::{AppNdx, NodeId};

use crate::connection::Cluster;
use crate::exit::Failure;
use crate::member::Census;

/// An upload that takes longer is told of, as often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Uploads a file; when this returns, a majority of the nodes has stored it and signed that it has. Nodes that genesis does not name
/// are looked up at `cluster`; `None`: there are none.
pub(crate) async fn upload(
    client: &Client,
    genesis: &Genesis,
    cluster: Option<&Cluster>,
    app: AppNdx,
    file: Bytes,
) -> Result<(), Failure> {
    let told = Mutex::new(Instant::now());
    let progress = |has: u64, of: u64| {
        let mut told = told.lock().expect("nothing panics while it is held");
        if told.elapsed() >= TELL_EVERY {
            *told = Instant::now();
            let mib = |bytes: u64| bytes / (1 << 20);
            eprintln!("{} of {} MiB are at the first node", mib(has), mib(of));
        }
    };
    let uploaded = client.upload(app, file, progress).await?;
    let mut members = genesis.members();
    let holders: BTreeSet<NodeId> = uploaded.receipts.iter().map(|receipt| receipt.node).collect();
    if let Some(cluster) = cluster.filter(|_| !holders.iter().all(|node| members.contains(node))) {
        let census = Census::take(cluster).await.map_err(|why| Failure::Refused(format!("{why:#}")))?;
        members.extend(census.members().map(|member| member.id));
    }
    if let Some(stranger) = holders.iter().find(|node| !members.contains(node)) {
        return Err(Failure::Refused(format!(
            "the node says that {} has stored the file, which is no node of this cluster; nothing was published",
            stranger.short()
        )));
    }
    Ok(())
}

impl From<UploadError> for Failure {
    fn from(error: UploadError) -> Failure {
        let text = format!("the file was not uploaded, so nothing was published: {error}");
        match error {
            UploadError::File(_) => Failure::BadZone(text),
            UploadError::Refused(_) => Failure::Refused(text),
            UploadError::Unreachable { .. } => Failure::Unreachable(text),
        }
    }
}
