//! What the times of decrees have to be, however clocks are set: within a term they never go back, and the clock of leases
//! does not run faster than time does.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use synod_cluster::Cluster;
use synod_types::{AppNdx, Ballot, Decree, LogPage, Slot};

use crate::apps;

/// The leader's clock is drawn towards the wall clock by no more than 1 ms in 20 ms (docs/PROTOCOL.md, Time).
const DRAWN: u64 = 20;

/// Reads the log of each application at the first node, and checks its times; the cluster is no older than `age`. Gives by how many
/// milliseconds a time differed at most from what time it was, which is what became of clocks that were set.
///
/// # Errors
/// What does not hold, or that a log cannot be read.
pub async fn check(cluster: &Cluster, age: impl Fn() -> Duration) -> Result<u64, String> {
    let mut off_ms = 0;
    for app in apps::ALL {
        let log = log(cluster, app).await?;
        let age_ms = u64::try_from(age().as_millis()).expect("a run has an end");
        check_log(&log, age_ms).map_err(|why| format!("application {app}: {why}"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
        let now_ms = u64::try_from(now).expect("it is before the end of all time");
        off_ms = off_ms.max(most_off_ms(&log, now_ms - age_ms..=now_ms));
    }
    Ok(off_ms)
}

async fn log(cluster: &Cluster, app: AppNdx) -> Result<Vec<(Slot, Decree)>, String> {
    let mut log: Vec<(Slot, Decree)> = Vec::new();
    loop {
        let after = log.last().map_or(Slot(0), |(slot, _)| *slot);
        let path = format!("/v1/apps/{app}/log?after={after}&limit=1000");
        let page = cluster.readers.get(0, &path).await.map_err(|why| why.to_string())?;
        let page = LogPage::decode(&page).map_err(|why| why.to_string())?;
        let is_end =
            page.decrees.is_empty() || page.decrees.last().is_some_and(|(at, _)| *at >= page.applied);
        log.extend(page.decrees);
        if is_end {
            return Ok(log);
        }
    }
}

/// By how much a time is outside of those at which the cluster ran.
fn most_off_ms(log: &[(Slot, Decree)], ran: RangeInclusive<u64>) -> u64 {
    let times = log.iter().filter_map(|(_, decree)| match decree {
        Decree::Batch(batch) => Some(batch.time.0),
        Decree::Noop | Decree::Seal(_) => None,
    });
    let off = |time: u64| time.saturating_sub(*ran.end()).max(ran.start().saturating_sub(time));
    times.map(off).max().unwrap_or_default()
}

fn check_log(log: &[(Slot, Decree)], age_ms: u64) -> Result<(), String> {
    let mut latest: BTreeMap<Ballot, u64> = BTreeMap::new();
    // The clock of leases, and the term and time of the slot before.
    let (mut clock_ms, mut before) = (0, None);
    for (slot, decree) in log {
        let Decree::Batch(batch) = decree else {
            before = None;
            continue;
        };
        let time = batch.time.0;
        if let Some(latest) = latest.insert(batch.term, time)
            && time < latest
        {
            return Err(format!("time goes back from {latest} to {time} ms in slot {slot}, within a term"));
        }
        if let Some((term, earlier)) = before
            && term == batch.term
        {
            clock_ms += time.saturating_sub(earlier);
        }
        before = Some((batch.term, time));
    }
    let most_ms = age_ms + age_ms / DRAWN + 1;
    if clock_ms > most_ms {
        return Err(format!("leases grew older by {clock_ms} ms in a cluster that is {age_ms} ms old"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use synod_types::{Batch, TimeMs};

    use super::*;

    /// Slots of these terms and times; term 0 is a Noop.
    fn log(decrees: &[(u64, u64)]) -> Vec<(Slot, Decree)> {
        let decree = |&(term, time): &(u64, u64)| {
            let term = Ballot { number: term, ..Ballot::ZERO };
            if term == Ballot::ZERO {
                return Decree::Noop;
            }
            Decree::Batch(Batch { term, time: TimeMs(time), commands: Vec::new() }.into())
        };
        (1..).map(Slot).zip(decrees.iter().map(decree)).collect()
    }

    #[test]
    fn a_new_term_may_have_any_time_and_no_lease_ages_by_it() {
        assert_eq!(check_log(&log(&[(1, 5_000), (1, 5_100), (2, 900_000), (3, 10), (3, 30)]), 200), Ok(()));
        assert_eq!(check_log(&log(&[(1, 5_000), (0, 0), (1, 900_000)]), 200), Ok(()));
    }

    #[test]
    fn how_far_off_clocks_were_is_told() {
        let log = log(&[(1, 5_000), (0, 0), (2, 900), (3, 7_500)]);
        assert_eq!(most_off_ms(&log, 1_000..=8_000), 100);
        assert_eq!(most_off_ms(&log, 800..=7_000), 500);
        assert_eq!(most_off_ms(&log, 0..=9_000), 0);
    }

    #[test]
    fn time_that_goes_back_in_a_term_is_found() {
        assert!(check_log(&log(&[(1, 5_000), (1, 4_999)]), 10_000).is_err());
        assert!(check_log(&log(&[(1, 5_000), (2, 10), (1, 4_999)]), 10_000).is_err());
    }

    #[test]
    fn leases_that_age_faster_than_the_cluster_are_found() {
        assert!(check_log(&log(&[(1, 0), (1, 1_052)]), 1_000).is_err());
        assert_eq!(check_log(&log(&[(1, 0), (1, 1_050)]), 1_000), Ok(()));
    }
}
