//! Positions on earth (RFC 1876).
//!
//! On the wire: a version of 0, the size and the two precisions as digit and power of ten in centimetres, latitude and
//! longitude in thousandths of a second of arc from 2^31, and the altitude in centimetres from 100 km below the ellipsoid.

use std::fmt::{self, Write};

use crate::fault::Fault;
use crate::number::decimal;
use crate::rdata::RdataError;
use crate::zone_file::Lexer;

/// Bytes of a position.
const BYTES: usize = 16;
/// What the equator and the meridian of Greenwich are.
const MIDDLE: u32 = 1 << 31;
/// Thousandths of a second in a degree.
const DEGREE: u32 = 3_600_000;
/// Centimetres of the reference altitude below the ellipsoid.
const BELOW: u32 = 10_000_000;
/// A sphere of 1 m, known to 10 km across and 10 m up and down, unless said otherwise.
const PRECISIONS: [u8; 3] = [0x12, 0x16, 0x13];

/// Reads `51 30 12.748 N 0 7 39.611 W 0.00m 1m 10000m 10m`; only degrees, directions and altitude are needed.
pub(crate) fn put(lexer: &mut Lexer<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let latitude = angle(lexer, [b'N', b'S'], 90)?;
    let longitude = angle(lexer, [b'E', b'W'], 180)?;
    let expected = "an altitude in metres from -100000 to 42849672.95, as in 24.5m";
    let token = lexer.word(expected)?;
    let altitude = altitude(token.raw).ok_or_else(|| lexer.unexpected(&token, expected))?;
    let mut precisions = PRECISIONS;
    for precision in &mut precisions {
        let Some(token) = lexer.next()? else { break };
        let expected = "a size or precision in metres up to 90000000, as in 10m";
        *precision = metres(token.raw)
            .and_then(precision_of)
            .filter(|_| !token.quoted)
            .ok_or_else(|| lexer.unexpected(&token, expected))?;
    }
    out.push(0);
    out.extend(precisions);
    for number in [latitude, longitude, altitude] {
        out.extend(number.to_be_bytes());
    }
    Ok(())
}

/// Degrees, perhaps minutes, perhaps seconds, and the direction.
fn angle(lexer: &mut Lexer<'_>, [up, down]: [u8; 2], degrees_max: u32) -> Result<u32, Fault> {
    let expected = match up {
        b'N' => "a latitude, as in 51 30 12.7 N",
        _ => "a longitude, as in 0 7 39.6 W",
    };
    let mut thousandths = 0;
    let mut units = [(DEGREE, degrees_max), (60_000, 59), (1_000, 59)].into_iter();
    let mut numbers = 0;
    loop {
        let token = lexer.word(expected)?;
        if let [letter] = token.raw
            && numbers > 0
        {
            let letter = letter.to_ascii_uppercase();
            if letter == up {
                return Ok(MIDDLE + thousandths);
            }
            if letter == down {
                return Ok(MIDDLE - thousandths);
            }
        }
        let value = units.next().and_then(|(unit, max)| match unit {
            1_000 => fixed(token.raw, 3)
                .and_then(|value| u32::try_from(value).ok())
                .filter(|value| *value < 60_000),
            _ => decimal(token.raw).filter(|value| *value <= max).map(|value: u32| value * unit),
        });
        let sum = value.map(|value| thousandths + value).filter(|sum| *sum <= degrees_max * DEGREE);
        thousandths = sum.ok_or_else(|| lexer.unexpected(&token, expected))?;
        numbers += 1;
    }
}

/// A number with at most `places` digits behind its point, in units of the last of them.
fn fixed(text: &[u8], places: usize) -> Option<u64> {
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, behind) = match point {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    if behind.len() > places || (point.is_some() && behind.is_empty()) {
        return None;
    }
    let mut value: u64 = decimal(whole)?;
    for at in 0..places {
        let digit = behind.get(at).copied().unwrap_or(b'0');
        value =
            value.checked_mul(10)?.checked_add(u64::from(digit.is_ascii_digit().then(|| digit - b'0')?))?;
    }
    Some(value)
}

/// Metres, as centimetres.
fn metres(text: &[u8]) -> Option<u64> {
    fixed(text.strip_suffix(b"m").or(text.strip_suffix(b"M")).unwrap_or(text), 2)
}

fn altitude(text: &[u8]) -> Option<u32> {
    match text.strip_prefix(b"-") {
        Some(below) => BELOW.checked_sub(u32::try_from(metres(below)?).ok()?),
        None => {
            let text = text.strip_prefix(b"+").unwrap_or(text);
            BELOW.checked_add(u32::try_from(metres(text)?).ok()?)
        }
    }
}

/// The digit and the power of ten of so many centimetres; further digits are dropped.
fn precision_of(centimetres: u64) -> Option<u8> {
    let (mut digit, mut power) = (centimetres, 0);
    while digit > 9 {
        digit /= 10;
        power += 1;
    }
    let digit = u8::try_from(digit).ok()?;
    (power <= 9).then_some(digit << 4 | power)
}

/// The length of a position, if it is one.
pub(crate) fn validate(bytes: &[u8]) -> Result<usize, RdataError> {
    let Some(&[version, size, across, up, ref numbers @ ..]) = bytes.get(..BYTES) else {
        return Err(RdataError::Truncated);
    };
    if version != 0 {
        return Err(RdataError::Field("a position has version 0"));
    }
    if [size, across, up].iter().any(|precision| precision >> 4 > 9 || precision & 15 > 9) {
        return Err(RdataError::Field("a precision is a digit and a power of ten, each up to 9"));
    }
    if number(numbers, 0).abs_diff(MIDDLE) > 90 * DEGREE || number(numbers, 4).abs_diff(MIDDLE) > 180 * DEGREE
    {
        return Err(RdataError::Field("a latitude is at most 90 degrees and a longitude at most 180"));
    }
    Ok(BYTES)
}

/// Whether text says all of a valid position: not which power of ten a precision of nothing has.
pub(crate) fn has_form(bytes: &[u8]) -> bool {
    bytes[1..4].iter().all(|precision| *precision == 0 || precision >> 4 != 0)
}

/// The number at `at`.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

/// Writes a valid position.
pub(crate) fn write(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    for (at, [up, down]) in [(4, ['N', 'S']), (8, ['E', 'W'])] {
        let from_middle = number(bytes, at);
        let thousandths = from_middle.abs_diff(MIDDLE);
        let (degrees, minutes) = (thousandths / DEGREE, thousandths / 60_000 % 60);
        let (seconds, rest) = (thousandths / 1_000 % 60, thousandths % 1_000);
        let direction = if from_middle >= MIDDLE { up } else { down };
        write!(f, "{degrees} {minutes} {seconds}.{rest:03} {direction} ")?;
    }
    let altitude = number(bytes, 12);
    let sign = if altitude < BELOW { "-" } else { "" };
    write_metres(u64::from(altitude.abs_diff(BELOW)), sign, f)?;
    for precision in &bytes[1..4] {
        f.write_char(' ')?;
        write_metres(u64::from(precision >> 4) * 10_u64.pow(u32::from(precision & 15)), "", f)?;
    }
    Ok(())
}

fn write_metres(centimetres: u64, sign: &str, f: &mut dyn Write) -> fmt::Result {
    match (centimetres / 100, centimetres % 100) {
        (metres, 0) => write!(f, "{sign}{metres}m"),
        (metres, rest) => write!(f, "{sign}{metres}.{rest:02}m"),
    }
}
