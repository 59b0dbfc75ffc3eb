//! What is said of a run, and of all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use synod_history::{Input, Operation, Outcome, Output};

use crate::fault::Kind;
use crate::line::Tally;
use crate::storm::Storm;

/// What is said of a history of which a search did not find out whether it holds.
pub const UNDECIDED: &str = ", undecided: ";

/// What was done and seen in a run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The faults.
    #[serde(flatten)]
    pub storm: Storm,
    /// What became of datagrams between nodes.
    pub network: Tally,
    /// Operations of clients on registers and accounts.
    pub operations: usize,
    /// Of these, those without an answer when faults ended.
    pub unknown: usize,
    /// Those that are known not to have been executed.
    pub failed: usize,
    /// The median time to an answer, microseconds.
    pub median_us: u64,
    /// The longest.
    pub longest_us: u64,
    /// Commands that moved money.
    pub transfers: usize,
    /// How often all accounts were read.
    pub balances: usize,
    /// Commands that were sent again and again.
    pub counted: usize,
    /// How often they were sent.
    pub submissions: usize,
    /// States that watchers were told.
    pub watched: usize,
    /// How often watchers went to another node.
    pub reconnects: usize,
    /// Leases that were granted.
    pub leases: usize,
    /// How often one was kept alive.
    pub kept_alive: usize,
    /// How many ran out although somebody tried to keep them alive.
    pub ran_out: usize,
    /// By how much the time of a decree differed at most from what time it was, milliseconds.
    pub clocks_off_ms: u64,
    /// Changes of zones.
    pub zone_changes: usize,
    /// How often one was waited for until it was live everywhere.
    pub live: usize,
    /// Answers of name servers.
    pub dns_answers: usize,
    /// Silence and SERVFAIL.
    pub dns_unanswered: usize,
    /// REFUSED.
    pub dns_refused: usize,
    /// From the last fault's end to the first linearizable read of every application at every node, milliseconds.
    pub recovered_ms: u64,
    /// Steps of the search for an order.
    pub steps: u64,
}

impl Figures {
    /// Counts operations as their clients knew them.
    pub fn count(&mut self, operations: &[Operation<Input, Output>]) {
        let is =
            |what: fn(&Operation<Input, Output>) -> bool| operations.iter().filter(|one| what(one)).count();
        self.operations = operations.len();
        self.unknown = is(|one| one.outcome == Outcome::Unknown);
        self.failed = is(|one| !one.may_count());
        let took = operations.iter().filter_map(|one| Some((one.answered()? - one.invoked) / 1_000));
        let mut took: Vec<u64> = took.collect();
        took.sort_unstable();
        self.longest_us = took.last().copied().unwrap_or_default();
        self.median_us = took.get(took.len() / 2).copied().unwrap_or_default();
    }

    /// Everything that was asked of the cluster.
    pub fn asked(&self) -> usize {
        self.operations
            + self.balances
            + self.submissions
            + self.kept_alive
            + self.zone_changes
            + self.dns_answers
    }
}

/// A run, and what came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How long it took, with founding and checking.
    pub seconds: f64,
    /// What does not hold; `None`: everything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<String>,
    /// Where the cluster and its histories are kept, if something does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<PathBuf>,
    /// What was done and seen.
    #[serde(flatten)]
    pub figures: Figures,
}

impl Report {
    /// Whether all that is wrong is that a search took too many steps.
    fn is_undecided(&self) -> bool {
        self.violation.as_ref().is_some_and(|why| why.lines().all(|line| line.contains(UNDECIDED)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { storm, unknown, recovered_ms, .. } = &self.figures;
        let faults: usize = storm.faults.values().sum();
        let kinds: Vec<String> =
            storm.faults.iter().map(|(kind, count)| format!("{} {count}", kind.name())).collect();
        write!(
            f,
            "{faults} faults ({}), {} kills, {} pauses; {} operations, {unknown} unknown at first; healed in {:.1} s: {}",
            kinds.join(", "),
            storm.kills,
            storm.pauses,
            self.figures.asked(),
            f64::from(u32::try_from(*recovered_ms).unwrap_or(u32::MAX)) / 1000.0,
            if self.violation.is_some() { "VIOLATION" } else { "no violation" }
        )
    }
}

/// All runs together.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// In order.
    pub reports: Vec<Report>,
}

impl Total {
    /// How many runs had a violation.
    pub fn violations(&self) -> usize {
        self.reports.iter().filter(|report| report.violation.is_some() && !report.is_undecided()).count()
    }

    /// How many runs were not decided.
    pub fn undecided(&self) -> usize {
        self.reports.iter().filter(|report| report.is_undecided()).count()
    }

    /// All of it in one line.
    pub fn line(&self) -> String {
        let storms = || self.reports.iter().map(|report| &report.figures.storm);
        let of = |count: usize| grouped(u64::try_from(count).unwrap_or(u64::MAX));
        format!(
            "{} runs, {} faults, {} kills, {} violations, {} undecided",
            of(self.reports.len()),
            of(storms().flat_map(|storm| storm.faults.values()).sum()),
            of(storms().map(|storm| storm.kills).sum()),
            of(self.violations()),
            of(self.undecided())
        )
    }

    /// How many faults there were of each kind.
    fn faults(&self) -> BTreeMap<Kind, usize> {
        let mut all = BTreeMap::new();
        for (kind, count) in self.reports.iter().flat_map(|report| &report.figures.storm.faults) {
            *all.entry(*kind).or_default() += count;
        }
        all
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, value: impl Fn(&Figures) -> u64) -> fmt::Result {
        let sum = self.reports.iter().map(|report| value(&report.figures)).sum();
        self.bounds(f, name, &grouped(sum), value)
    }

    /// A row of what makes no sum.
    fn bounds(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        sum: &str,
        value: impl Fn(&Figures) -> u64,
    ) -> fmt::Result {
        let values = || self.reports.iter().map(|report| value(&report.figures));
        let (least, most) = (values().min().unwrap_or_default(), values().max().unwrap_or_default());
        writeln!(f, "{name:<52}{sum:>14}{:>12}{:>12}", grouped(least), grouped(most))
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let runs = format!("of {} runs", self.reports.len());
        writeln!(f, "{runs:<52}{:>14}{:>12}{:>12}", "all together", "least", "most")?;
        for kind in self.faults().into_keys() {
            let name = format!("faults: {}", kind.name());
            self.row(f, &name, |one| of(one.storm.faults.get(&kind).copied().unwrap_or_default()))?;
        }
        self.row(f, "processes killed", |one| of(one.storm.kills))?;
        self.row(f, "processes paused", |one| of(one.storm.pauses))?;
        if self.reports.iter().any(|report| report.figures.storm.full > 0) {
            self.row(f, "  ended by themselves on a full disk", |one| of(one.storm.full))?;
        }
        if self.faults().contains_key(&Kind::DiskError) {
            self.row(f, "processes that a failing disk ended", |one| of(one.storm.broken))?;
        }
        self.row(f, "datagrams between nodes", |one| one.network.sent)?;
        self.row(f, "  lost", |one| one.network.lost)?;
        self.row(f, "  doubled", |one| one.network.duplicated)?;
        self.row(f, "  overtaken", |one| one.network.reordered)?;
        self.row(f, "operations on registers and accounts", |one| of(one.operations))?;
        self.row(f, "  of unknown outcome at first", |one| of(one.unknown))?;
        self.row(f, "  known to have failed", |one| of(one.failed))?;
        self.bounds(f, "  median latency, ms", "", |one| one.median_us / 1_000)?;
        self.bounds(f, "  longest latency, ms", "", |one| one.longest_us / 1_000)?;
        self.row(f, "steps of the search for an order", |one| one.steps)?;
        self.row(f, "transfers between accounts", |one| of(one.transfers))?;
        self.row(f, "readings of all accounts", |one| of(one.balances))?;
        self.row(f, "commands that were sent again and again", |one| of(one.counted))?;
        self.row(f, "  how often", |one| of(one.submissions))?;
        self.row(f, "leases", |one| of(one.leases))?;
        self.row(f, "  kept alive, how often", |one| of(one.kept_alive))?;
        self.row(f, "  ran out, unheard for their time", |one| of(one.ran_out))?;
        self.bounds(f, "times of decrees, off by at most, s", "", |one| one.clocks_off_ms / 1_000)?;
        self.row(f, "states that watchers were told", |one| of(one.watched))?;
        self.row(f, "  their reconnects", |one| of(one.reconnects))?;
        self.row(f, "changes of zones", |one| of(one.zone_changes))?;
        self.row(f, "  promised to be live everywhere", |one| of(one.live))?;
        self.row(f, "DNS answers", |one| of(one.dns_answers))?;
        self.row(f, "  silence and SERVFAIL", |one| of(one.dns_unanswered))?;
        self.row(f, "  REFUSED", |one| of(one.dns_refused))?;
        self.bounds(f, "from the last fault to reads everywhere, ms", "", |one| one.recovered_ms)?;
        write!(f, "{}", self.line())
    }
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_decided_is_no_violation_and_not_in_order() {
        let report = |violation: Option<&str>| {
            let violation = violation.map(str::to_owned);
            Report { seed: 1, seconds: 1.0, violation, kept: None, figures: Figures::default() }
        };
        let undecided = report(Some("registers: settled, undecided: 9 steps"));
        let violation = report(Some("registers: settled, undecided: 9 steps\nzones: no"));
        let total = Total { reports: vec![report(None), undecided, violation] };
        assert_eq!(total.line(), "3 runs, 0 faults, 0 kills, 1 violations, 1 undecided");
    }

    #[test]
    fn thousands_are_told_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
