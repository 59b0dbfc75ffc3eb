//! Which steps are shown.

use clap::Args;
use synod_app_zones::ZoneName;
use synod_types::{StateNdx, TimeMs};

use super::auditor::{Cause, Change};
use super::words::{Part, Told};
use crate::time;

/// Digits of an id that are enough to name a commander.
const PREFIX_DIGITS_MIN: usize = 4;

/// What to show; everything is audited all the same.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Showing")]
pub(crate) struct Filter {
    /// Only what concerns this key, or with a * at its end the keys that begin so
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only what concerns this zone
    #[arg(long, value_name = "FQDN", value_parser = zone)]
    zone: Option<ZoneName>,
    /// Only what this commander did: its name, or its id or as many of the first digits as you like, 4 at least
    #[arg(long, value_name = "COMMANDER")]
    commander: Option<String>,
    /// Only from this stateNdx or this time on (2026-11-21, or 2026-11-21T09:37:29Z)
    #[arg(long, value_name = "STATENDX|TIME", value_parser = since)]
    since: Option<Since>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Since {
    State(StateNdx),
    Time(TimeMs),
}

fn zone(text: &str) -> Result<ZoneName, String> {
    ZoneName::parse(text).map_err(|why| why.to_string())
}

fn since(text: &str) -> Result<Since, String> {
    let time = || time::parse(text).ok().map(Since::Time);
    let since = text.parse().ok().map(Since::State).or_else(time);
    since.ok_or_else(|| "a stateNdx or a time like 2026-11-21T09:37:29Z is expected".to_owned())
}

impl Filter {
    /// Whether a step is shown, as far as its words do not matter.
    pub(crate) fn admits(&self, change: &Change) -> bool {
        let since = match self.since {
            None => true,
            Some(Since::State(state)) => change.state_ndx >= state,
            Some(Since::Time(time)) => change.time >= time,
        };
        let commander = self.commander.as_deref().is_none_or(|wanted| match &change.cause {
            Cause::Expiry { .. } => false,
            Cause::Command { body, name, .. } => {
                let id = body.commander.to_string();
                **name == *wanted
                    || wanted.len() >= PREFIX_DIGITS_MIN && id.starts_with(&wanted.to_lowercase())
            }
        });
        since && commander
    }

    /// Whether it is shown, being about this.
    pub(crate) fn admits_parts(&self, told: &Told) -> bool {
        let key = self.key.as_deref().is_none_or(|key| told.parts.iter().any(|part| is_about(part, key)));
        let zone = self.zone.as_ref().is_none_or(|zone| told.parts.contains(&Part::Zone(zone.clone())));
        key && zone
    }
}

/// Whether a part has keys in common with the ones that are wanted.
fn is_about(part: &Part, wanted: &str) -> bool {
    match (part, wanted.strip_suffix('*')) {
        (Part::Zone(_), _) => false,
        (Part::Key(key), None) => key == wanted.as_bytes(),
        (Part::Key(key), Some(prefix)) => key.starts_with(prefix.as_bytes()),
        (Part::Prefix(changed), None) => wanted.as_bytes().starts_with(changed),
        (Part::Prefix(changed), Some(prefix)) => {
            changed.starts_with(prefix.as_bytes()) || prefix.as_bytes().starts_with(changed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_prefixes_meet_where_they_have_keys_in_common() {
        let key = |key: &str| Part::Key(key.as_bytes().to_vec());
        let prefix = |prefix: &str| Part::Prefix(prefix.as_bytes().to_vec());
        for (part, wanted, expected) in [
            (key("a/b"), "a/b", true),
            (key("a/b"), "a/", false),
            (key("a/b"), "a/*", true),
            (key("a/b"), "*", true),
            (key("a"), "a/*", false),
            (prefix("a/"), "a/b", true),
            (prefix("a/"), "b", false),
            (prefix("a/"), "a/b*", true),
            (prefix("a/b"), "a/*", true),
            (prefix("a/"), "b*", false),
            (Part::Zone(ZoneName::root()), "*", false),
        ] {
            assert_eq!(is_about(&part, wanted), expected, "{part:?} {wanted}");
        }
    }

    #[test]
    fn since_is_a_state_or_a_time() {
        assert_eq!(since("12"), Ok(Since::State(StateNdx(12))));
        assert_eq!(since("1970-01-02"), Ok(Since::Time(TimeMs(86_400_000))));
        assert!(since("yesterday").is_err());
    }
}
