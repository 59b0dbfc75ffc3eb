//! What an exchange is called, in logs here and at the client.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::header::{HeaderName, HeaderValue};

/// Carried by every answer: the request's own, if it has one that can be written into a log, or one that is made up.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Bytes of a client's own.
const BYTES_MAX: usize = 128;

/// Makes up names: a part that is drawn at each start, and a number.
pub(crate) struct RequestIds {
    start: u32,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> RequestIds {
        // Names need not be secret, and a system without randomness could not sign anything, either.
        RequestIds { start: getrandom::u32().unwrap_or_default(), next: AtomicU64::new(1) }
    }

    /// What to call the exchange whose request carries `given`.
    pub(crate) fn of(&self, given: Option<&HeaderValue>) -> HeaderValue {
        if let Some(given) = given.filter(|given| is_sane(given.as_bytes())) {
            return given.clone();
        }
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:08x}-{n:x}", self.start)).expect("hex digits")
    }
}

/// Letters, digits, and signs that need no quotes anywhere.
fn is_sane(id: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_name_stays_and_any_other_is_replaced() {
        let ids = RequestIds::new();
        for sane in ["7", "0c9b4a55-aa7d", "a/b:c.d_e+f=", &"x".repeat(BYTES_MAX)] {
            let given = HeaderValue::try_from(sane).unwrap();
            assert_eq!(ids.of(Some(&given)), given);
        }
        for other in ["", "a b", "a\"b", "{}", "\u{fc}", &"x".repeat(BYTES_MAX + 1)] {
            let given = HeaderValue::try_from(other).unwrap();
            assert_ne!(ids.of(Some(&given)), given, "{other}");
        }
        assert_ne!(ids.of(None), ids.of(None));
    }
}
