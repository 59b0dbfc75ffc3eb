//! Times as people write them: a date and a time of day, UTC.

use synod_types::TimeMs;

const DAY_SECONDS: u64 = 86_400;

/// Milliseconds since 1970 as a date and a time of day.
pub(crate) fn text(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let Some((year, month, day)) = date(days) else { return ms.to_string() };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// The time of `2026-11-21`, `2026-11-21 09:37:29` or `2026-11-21T09:37:29Z`.
pub(crate) fn parse(text: &str) -> Option<TimeMs> {
    let text = text.trim_end_matches(['Z', 'z']);
    let (date, time) = text.split_once([' ', 'T', 't']).unwrap_or((text, "00:00:00"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    if hour > 23 || minute > 59 || second > 59 || day == 0 {
        return None;
    }
    let (_, length, before) = months().find(|(month_of, ..)| *month_of == (year, month))?;
    let seconds = (before + day - 1) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    (day <= length).then_some(TimeMs(seconds * 1000))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = text.split(separator).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// The Gregorian date so many days after 1970-01-01; none behind the year 9999.
fn date(days: u64) -> Option<(u64, u64, u64)> {
    let ((year, month), _, before) = months().find(|(_, length, before)| days < before + length)?;
    Some((year, month, days - before + 1))
}

/// Every month from 1970 to 9999: its year and number, its days, and the days before it.
fn months() -> impl Iterator<Item = ((u64, u64), u64, u64)> {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let of_year = move |year| {
        let february = if is_leap(year) { 29 } else { 28 };
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        (1..).zip(lengths).map(move |(month, length)| ((year, month), length))
    };
    (1970..=9999).flat_map(of_year).scan(0, |days, (month, length)| {
        let before = *days;
        *days += length;
        Some((month, length, before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_and_back() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_000, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_795_253_849_000, "2026-11-21 09:37:29Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(text(ms), expected);
            assert_eq!(text(ms + 999), expected);
            assert_eq!(parse(expected), Some(TimeMs(ms)));
            assert_eq!(parse(&expected.replace(' ', "T")), Some(TimeMs(ms)));
        }
        assert_eq!(text(u64::MAX), "18446744073709551615");
        assert_eq!(parse("2000-02-29"), Some(TimeMs(951_782_400_000)));
        for wrong in
            ["", "2026", "2026-13-01", "2026-02-29", "2026-01-00", "1969-12-31", "12", "2026-01-01 24:00:00"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
