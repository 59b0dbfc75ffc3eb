//! Moments as text: `YYYYMMDDHHmmSS` (RFC 4034 3.2), from 1970 to 2106, which is what 32 bits of seconds hold.

use std::fmt::{self, Write};

use crate::number::decimal;

const DAY_SECONDS: u32 = 86_400;

/// Days before each month of a year without a leap day.
const DAYS_BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// The moment that fourteen digits, or up to ten for seconds since 1970, say.
pub(crate) fn parse(text: &[u8]) -> Option<u32> {
    if text.len() != 14 {
        return decimal(text);
    }
    let field = |begin: usize, end: usize| decimal::<u32>(&text[begin..end]);
    let (year, month, day) = (field(0, 4)?, field(4, 6)?, field(6, 8)?);
    let (hour, minute, second) = (field(8, 10)?, field(10, 12)?, field(12, 14)?);
    let month_at = usize::try_from(month.checked_sub(1)?).ok()?;
    let before = DAYS_BEFORE.get(month_at)?;
    let end = match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1970..=2106).contains(&year) || !(1..=end).contains(&day) || hour > 23 || minute > 59 || second > 59
    {
        return None;
    }
    let leap_day = u32::from(month > 2 && is_leap(year));
    let days = days_before_year(year) + before + leap_day + day - 1;
    let of_day = hour * 3_600 + minute * 60 + second;
    days.checked_mul(DAY_SECONDS)?.checked_add(of_day)
}

pub(crate) fn write(moment: u32, f: &mut dyn Write) -> fmt::Result {
    let (days, of_day) = (moment / DAY_SECONDS, moment % DAY_SECONDS);
    let mut year = 1970 + days / 365;
    while days_before_year(year) > days {
        year -= 1;
    }
    let of_year = days - days_before_year(year);
    let before = |month: u32| {
        let at = usize::try_from(month - 1).unwrap_or(0);
        DAYS_BEFORE[at] + u32::from(month > 2 && is_leap(year))
    };
    let mut month = 12;
    while before(month) > of_year {
        month -= 1;
    }
    let day = of_year - before(month) + 1;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    write!(f, "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// Days from 1970 to the beginning of `year`.
fn days_before_year(year: u32) -> u32 {
    let leap_days = |year: u32| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(moment: u32) -> String {
        let mut text = String::new();
        write(moment, &mut text).unwrap();
        text
    }

    #[test]
    fn known_moments() {
        for (moment, expected) in [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (1_078_012_799, "20040228235959"),
            (1_709_164_800, "20240229000000"),
            (u32::MAX, "21060207062815"),
        ] {
            assert_eq!(text(moment), expected);
            assert_eq!(parse(expected.as_bytes()), Some(moment));
            assert_eq!(parse(moment.to_string().as_bytes()), Some(moment));
        }
    }

    #[test]
    fn every_day_reads_back() {
        for day in 0..=u32::MAX / DAY_SECONDS {
            let begin = day * DAY_SECONDS;
            let moment = begin + (day * 7919 % DAY_SECONDS).min(u32::MAX - begin);
            assert_eq!(parse(text(moment).as_bytes()), Some(moment));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "1970010100000",
            "20230229000000",
            "20230001000000",
            "20231301000000",
            "20230100000000",
            "20230132000000",
            "20230131240000",
            "20230131006000",
            "20230131000060",
            "19691231235959",
            "21060207062816",
            "4294967296",
            "2023013100000x",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
