//! Durations as people write them.

use std::time::Duration;

/// `500ms`, `30s`, `5m`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a duration is expected, as 500ms, 30s or 5m".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a duration is expected, as 500ms, 30s or 5m".to_owned())?;
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms <= 24 * 3_600_000);
    ms.map(Duration::from_millis).ok_or_else(|| "at most 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, ms) in
            [("0", 0), ("7", 7000), ("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "1.5s", "-1s", "3 s", "1d", "ms", "25h", "99999999999999999999s", "1ü"] {
            assert!(duration(text).is_err(), "{text} was taken");
        }
    }
}
