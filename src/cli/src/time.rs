//! Times as people read and write them: RFC 3339, and spans from now on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use synod_types::TimeMs;

const DAY_S: u64 = 86_400;
/// The last year that RFC 3339 knows.
const YEAR_MAX: u64 = 9999;

/// Milliseconds since 1970 as a date and a time of day, UTC.
pub(crate) fn shown(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / DAY_S, seconds % DAY_S);
    let Some((year, month, day)) = date(days) else { return ms.to_string() };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// This host's clock.
pub(crate) fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A time as an argument gives it: RFC 3339 (`2027-01-31T12:00:00Z`, `2027-01-31`), or a span from now on (`+30d`).
///
/// # Errors
/// What is expected.
pub(crate) fn parse(text: &str) -> Result<TimeMs, String> {
    parse_at(text, now())
}

fn parse_at(text: &str, now: TimeMs) -> Result<TimeMs, String> {
    let parsed = match text.strip_prefix('+') {
        Some(span) => parse_span(span).and_then(|span| {
            let span = u64::try_from(span.as_millis()).ok()?;
            now.0.checked_add(span).map(TimeMs)
        }),
        None => parse_rfc3339(text),
    };
    parsed.ok_or_else(|| {
        "a time is expected, as in 2027-01-31T12:00:00Z, 2027-01-31 (0:00 UTC) or +30d; units are s, m, h, d and w"
            .to_owned()
    })
}

fn parse_span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => DAY_S,
        'w' => 7 * DAY_S,
        _ => return None,
    };
    let count = &text[..text.len() - unit.len_utf8()];
    number(count).and_then(|count| count.checked_mul(seconds)).map(Duration::from_secs)
}

/// RFC 3339, section 5.6, with seconds up to 59 and from 1970 on; a date alone is its first millisecond, UTC.
fn parse_rfc3339(text: &str) -> Option<TimeMs> {
    let (date, rest) = text.split_at_checked(10)?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let days = days(year, month, day)?;
    if rest.is_empty() {
        return Some(TimeMs(days * DAY_S * 1000));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (milliseconds, rest) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let thousandths = format!("{:0<3}", fraction.get(..digits.min(3))?);
            (number(&thousandths).filter(|_| digits > 0)?, &fraction[digits..])
        }
    };
    let ms = ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + milliseconds;
    let offset_ms = |text: &str| {
        let [hour, minute] = fields(text, ':', [2, 2])?;
        (hour <= 23 && minute <= 59).then_some((hour * 60 + minute) * 60_000)
    };
    let ms = match rest.split_at_checked(1)? {
        ("Z" | "z", "") => Some(ms),
        // Local time is ahead of UTC by a positive offset.
        ("+", offset) => ms.checked_sub(offset_ms(offset)?),
        ("-", offset) => ms.checked_add(offset_ms(offset)?),
        _ => None,
    };
    ms.map(TimeMs)
}

/// Numbers of so many digits each.
fn fields<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = self::number(part)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The months of a year with their days.
fn months(year: u64) -> [u64; 12] {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if is_leap { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// The Gregorian date so many days after 1970-01-01; none behind the year 9999.
fn date(mut days: u64) -> Option<(u64, u64, u64)> {
    for year in 1970..=YEAR_MAX {
        for (month, length) in (1..).zip(months(year)) {
            if days < length {
                return Some((year, month, days + 1));
            }
            days -= length;
        }
    }
    None
}

/// The opposite of [`date`].
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let month = usize::try_from(month).ok()?.checked_sub(1)?;
    let length = *months(year).get(month)?;
    if !(1970..=YEAR_MAX).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| months(year).iter().sum::<u64>()).sum();
    Some(years + months(year)[..month].iter().sum::<u64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_795_253_849_617, "2026-11-21 09:37:29Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(shown(ms), expected);
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for days in (0..2_932_896).step_by(4001) {
            let ms = days * DAY_S * 1000 + 45_296_000;
            assert_eq!(parse(&shown(ms)), Ok(TimeMs(ms)), "{}", shown(ms));
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400_000),
            ("2000-02-28T23:59:59.999Z", 951_782_399_999),
            ("2000-02-28t23:59:59.9999z", 951_782_399_999),
            ("2000-02-29T01:30:00.5+01:30", 951_782_400_500),
            ("2000-02-28 19:00:00-05:00", 951_782_400_000),
            ("+0s", 1000),
            ("+90m", 5_401_000),
            ("+2w", 1_209_601_000),
        ] {
            assert_eq!(parse_at(text, TimeMs(1000)), Ok(TimeMs(expected)), "{text}");
        }
        for text in [
            "",
            "+",
            "+d",
            "+1",
            "+-1d",
            "+1y",
            "+1.5d",
            "+18446744073709551615w",
            "2026",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "1969-12-31",
            "2026-01-01T",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+25:00",
            "1970-01-01T00:00:00+00:01",
            "2026-1-1",
            "2026-01-01Z",
            "+2026-01-01",
            "tomorrow",
            "2026-01-01T00:00:00Zx",
            "é026-01-01",
        ] {
            assert!(parse_at(text, TimeMs(1000)).is_err(), "{text:?} was taken");
        }
    }
}
