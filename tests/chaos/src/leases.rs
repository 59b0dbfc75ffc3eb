//! Leases that are kept alive: none runs out before its time, whatever befalls leaders and their clocks, and one that nobody
//! keeps alive does.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use synod_app_kv::{KvOp, KvReply};
use synod_client::{Client, CommandOptions};
use synod_cluster::{Cluster, Page, eventually};
use synod_types::{Outcome, StateNdx};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::apps::LEASES;
use crate::registers::Ground;

/// How often in its time a lease is kept alive.
const KEEPS: u64 = 6;
/// After how many times a keeper lets go of it at most, and takes another one.
const KEEPS_MAX: u32 = 40;
/// The part of its time that a lease lasts at least (docs/PROTOCOL.md, Time): the leader's clock may be drawn by as much.
const LASTS: (u64, u64) = (20, 21);

/// What a keeper saw.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// How many leases it was granted.
    pub granted: usize,
    /// How often one was kept alive.
    pub times: usize,
    /// How many ran out although it tried, since nobody heard it for long enough.
    pub ran_out: usize,
    /// One that ran out before its time.
    pub violation: Option<String>,
}

/// Keeps one lease after the other alive for a while, with a key, until it is told to stop.
pub async fn keeper(
    number: u32,
    connection: Client,
    mut random: StdRng,
    ground: Arc<Ground>,
    stopped: watch::Receiver<bool>,
) -> Kept {
    let mut kept = Kept::default();
    while !*stopped.borrow() {
        let ttl_ms = random.random_range(1_000..=5_000);
        let mut heard = ground.now();
        let Some((lease, _)) = execute(&connection, &KvOp::GrantLease { ttl_ms }).await else {
            sleep(Duration::from_millis(ttl_ms / KEEPS)).await;
            continue;
        };
        kept.granted += 1;
        // A key of its own, which ends with the lease that is let go of.
        let (key, value) = (format!("{number}/{lease}").into(), lease.to_string().into());
        execute(&connection, &KvOp::PutBound { key, value, lease }).await;
        for _ in 0..random.random_range(1..=KEEPS_MAX) {
            if *stopped.borrow() {
                break;
            }
            sleep(Duration::from_millis(ttl_ms / KEEPS)).await;
            let invoked = ground.now();
            let Some((_, reply)) = execute(&connection, &KvOp::KeepAlive { leases: vec![lease] }).await
            else {
                continue;
            };
            match reply {
                KvReply::KeptAlive { gone } if gone.is_empty() => {
                    kept.times += 1;
                    heard = invoked;
                }
                KvReply::KeptAlive { .. } => {
                    kept.ran_out += 1;
                    let least = least_ns(ttl_ms);
                    let unheard = ground.now() - heard;
                    if unheard < least {
                        kept.violation = Some(format!(
                            "lease {lease} of {ttl_ms} ms was over {} ms after it was kept alive",
                            unheard / 1_000_000
                        ));
                    }
                    break;
                }
                other => panic!("a keep-alive was answered {other:?}"),
            }
        }
    }
    connection.close().await;
    kept
}

/// Nanoseconds that a lease lasts at least, to the millisecond in which clocks are read.
fn least_ns(ttl_ms: u64) -> u64 {
    let (part, whole) = LASTS;
    (ttl_ms * part / whole).saturating_sub(1) * 1_000_000
}

/// The state in which it was executed, and the answer; nothing if that is not known, or it was refused.
async fn execute(connection: &Client, op: &KvOp) -> Option<(StateNdx, KvReply)> {
    let receipt = connection.execute(LEASES, op.encode().into(), CommandOptions::default()).await.ok()?;
    match &receipt.outcome {
        Outcome::Done(answer) => Some((receipt.state_ndx, KvReply::decode(answer).unwrap())),
        Outcome::Refused(_) => None,
    }
}

/// Waits until every lease has run out, at every node, and with it its key.
pub async fn run_out(cluster: &Cluster) {
    for node in 0..cluster.len() {
        let path = format!("/v1/apps/{LEASES}/kv?limit=1000");
        eventually("leases that nobody keeps alive run out", async || {
            let page: Result<Page, _> = cluster.readers.get_json(node, &path).await;
            page.is_ok_and(|page| page.entries.is_empty())
        })
        .await;
    }
}

/// Whether each lease lasted.
///
/// # Errors
/// One that did not.
pub fn check(all: &[Kept]) -> Result<(), String> {
    all.iter().find_map(|kept| kept.violation.clone()).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_may_be_too_short_by_what_a_clock_is_drawn() {
        assert_eq!(least_ns(2_100), 1_999_000_000);
    }

    #[test]
    fn one_that_ran_out_early_is_told() {
        let early = Kept { violation: Some("early".to_owned()), ..Kept::default() };
        assert_eq!(check(&[Kept::default(), early]), Err("early".to_owned()));
        assert_eq!(check(&[Kept::default()]), Ok(()));
    }
}
