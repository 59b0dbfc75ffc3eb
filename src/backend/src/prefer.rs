//! What a client would rather have (RFC 7240): `Prefer: respond-async` and `Prefer: wait=SECONDS`. Every other preference,
//! and whatever cannot be read, is passed over, as section 2 wants it.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use synod_types::limits::COMMAND_WAIT_MS_MAX;

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Says which preferences were followed.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The longest wait; more counts as this.
const WAIT_SECONDS_MAX: u64 = COMMAND_WAIT_MS_MAX / 1000;

/// The preferences of one request that mean something here. Of one that is given twice, the first counts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Prefer {
    /// An answer at once that names where to ask later is welcome (section 4.1).
    pub(crate) respond_async: bool,
    /// Seconds that the client is willing to wait (section 4.3), within the limit.
    pub(crate) wait_seconds: Option<u64>,
}

impl Prefer {
    pub(crate) fn read(headers: &HeaderMap) -> Prefer {
        let mut prefer = Prefer::default();
        let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| split(value, ',')) {
            // What stands behind a semicolon are parameters, and none are defined for these two.
            let preference = split(preference, ';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim());
            let value = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && prefer.wait_seconds.is_none() {
                prefer.wait_seconds = seconds(value);
            }
        }
        prefer
    }

    /// How long the client is willing to wait, if it says so. Whoever wants an answer at once and says nothing of waiting
    /// is not made to wait.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.wait_seconds.or(self.respond_async.then_some(0)).map(Duration::from_secs)
    }

    /// The value of `Preference-Applied`, where both were followed.
    pub(crate) fn applied(&self) -> Option<HeaderValue> {
        let mut text = String::new();
        if self.respond_async {
            text.push_str("respond-async");
        }
        if let Some(seconds) = self.wait_seconds {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}wait={seconds}");
        }
        (!text.is_empty()).then(|| HeaderValue::from_str(&text).expect("letters and digits are a value"))
    }
}

/// Whole seconds; a number that is too large for any clock is a long wait as well.
fn seconds(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX).min(WAIT_SECONDS_MAX))
}

/// The parts between separators, but for those inside a quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => {}
        }
        c == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Prefer {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", value.parse().unwrap());
        }
        Prefer::read(&headers)
    }

    #[test]
    fn preferences_are_read_as_the_rfc_writes_them() {
        for (values, respond_async, wait_seconds) in [
            (&[][..], false, None),
            (&["respond-async"], true, None),
            (&["wait=10"], false, Some(10)),
            // The examples of section 4.3 and 2.
            (&["respond-async, wait=10"], true, Some(10)),
            (&["respond-async", "wait=100"], true, Some(30)),
            (&["Lenient", "WAIT = 7", "Respond-Async"], true, Some(7)),
            (&["foo; some-parameter=\"a, wait=3\", wait=\"4\"; bar"], false, Some(4)),
            (&["foo=\"\\\"; wait=3, \\\"\", wait=5"], false, Some(5)),
            // The first counts.
            (&["wait=1, wait=2", "wait=3"], false, Some(1)),
            (&["wait=0"], false, Some(0)),
            (&["wait=99999999999999999999999"], false, Some(30)),
            // Not understood, so passed over.
            (&["wait", "wait=-1", "wait=1.5", "wait=x", ",,;="], false, None),
            (&["return=minimal, handling=lenient"], false, None),
        ] {
            assert_eq!(read(values), Prefer { respond_async, wait_seconds }, "{values:?}");
        }
    }

    #[test]
    fn who_does_not_want_to_wait_is_not_made_to() {
        assert_eq!(read(&[]).wait(), None);
        assert_eq!(read(&["respond-async"]).wait(), Some(Duration::ZERO));
        assert_eq!(read(&["respond-async, wait=2"]).wait(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_was_followed_is_said() {
        for (value, applied) in [
            ("foo", None),
            ("respond-async", Some("respond-async")),
            ("wait=100", Some("wait=30")),
            ("wait=2, foo, respond-async", Some("respond-async, wait=2")),
        ] {
            assert_eq!(read(&[value]).applied(), applied.map(HeaderValue::from_static), "{value}");
        }
    }
}
