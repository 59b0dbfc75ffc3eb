//! `$GENERATE 1-254 host-$ A 192.0.2.$`: many records from one line, as BIND reads it.
//!
//! In owner and data `$` becomes the number of the step, `${offset,width,base}` the number with an offset, filled with
//! zeros, in base `d`, `o`, `x`, `X`, or as nibbles from the right with dots between them (`n`, `N`). A backslash keeps
//! what follows it as it is, and `$$` becomes one `$`. Data of several words stands in quotes.

use crate::fault::Fault;
use crate::number::decimal;
use crate::rtype::Rtype;
use crate::zone_file::{EXPECTED_TYPE, GENERATE_STEPS_MAX, Lexer, Reader, Token, ZONE_FILE_BYTES_MAX};

/// Characters of the widest number.
const WIDTH_MAX: usize = 127;

/// Reads what is behind `directive`, and the records that it makes.
pub(super) fn generate(
    reader: &mut Reader,
    lexer: &mut Lexer<'_>,
    directive: &Token<'_>,
) -> Result<(), Fault> {
    let expected = "a range, as in 1-254 or 0-10/2";
    let token = lexer.word(expected)?;
    let (first, last, by) = range(token.raw).ok_or_else(|| lexer.unexpected(&token, expected))?;
    if (last - first) / by >= GENERATE_STEPS_MAX {
        return Err(lexer.fault(token.place, format!("one $GENERATE has at most {GENERATE_STEPS_MAX} steps")));
    }
    let owner = lexer.word("an owner with a $ in it")?;
    // What stands between owner and data is the same in all steps.
    let mut words = Vec::new();
    let is_type = |token: &Token<'_>| Rtype::from_text(token.raw).is_some();
    while !words.last().is_some_and(is_type) {
        // TTL, class and type; if they are anything else, the first step says so.
        if words.len() == 3 {
            break;
        }
        words.push(lexer.word(EXPECTED_TYPE)?);
    }
    let data = lexer.next()?.ok_or_else(|| lexer.missing("data with a $ in it"))?;
    if let Some(token) = lexer.next()? {
        return Err(lexer.unexpected(&token, "the end of the record; data of several words stands in quotes"));
    }
    let (line, column) = lexer.line_and_column(directive.place);
    let kept = std::mem::take(&mut reader.owner);
    let mut text = Vec::new();
    let mut made = Ok(());
    for step in (first..=last).step_by(usize::try_from(by).unwrap_or(usize::MAX)) {
        text.clear();
        let expand = |token: &Token<'_>, text: &mut Vec<u8>| {
            expand(token, step, text).map_err(|expected| lexer.unexpected(token, expected))
        };
        made = expand(&owner, &mut text);
        for word in &words {
            text.push(b' ');
            text.extend_from_slice(word.raw);
        }
        text.push(b' ');
        made = made.and_then(|()| expand(&data, &mut text));
        reader.generated_bytes += text.len();
        if reader.generated_bytes > ZONE_FILE_BYTES_MAX {
            reader.is_full = true;
            let what = format!("what $GENERATE makes is longer than {ZONE_FILE_BYTES_MAX} bytes in all");
            made = Err(lexer.fault(directive.place, what));
        }
        made = made.and_then(|()| {
            let mut step = Lexer::made(&text, line, column);
            step.begin_entry();
            let first = step.word("an owner")?;
            reader.owned_record(&mut step, line, &first)
        });
        if made.is_err() {
            break;
        }
    }
    // A record behind it that repeats an owner repeats the one before it.
    reader.owner = kept;
    made
}

/// The first and last number, and the step between numbers: `first-last` or `first-last/step`.
fn range(text: &[u8]) -> Option<(u32, u32, u32)> {
    let hyphen = text.iter().position(|byte| *byte == b'-')?;
    let (last, by) = match text.iter().position(|byte| *byte == b'/') {
        Some(slash) => (text.get(hyphen + 1..slash)?, decimal(&text[slash + 1..])?),
        None => (&text[hyphen + 1..], 1),
    };
    let (first, last): (u32, u32) = (decimal(&text[..hyphen])?, decimal(last)?);
    let is_range = first <= last && i32::try_from(last).is_ok() && by > 0;
    is_range.then_some((first, last, by))
}

/// Appends `text` with the numbers of `step` in it, or says what was expected of it.
fn expand(token: &Token<'_>, step: u32, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let mut rest = token.raw;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, rest) {
            // What is in these quotes is read again, with the quotes that are in it.
            (b'\\', [b'"', behind @ ..]) if token.quoted => {
                out.push(b'"');
                rest = behind;
            }
            (b'\\', [escaped, behind @ ..]) => {
                out.extend([b'\\', *escaped]);
                rest = behind;
            }
            (b'$', [b'$', behind @ ..]) => {
                // A name's parser would not mind a bare one; neither does this.
                out.push(b'$');
                rest = behind;
            }
            (b'$', [b'{', behind @ ..]) => {
                let end = behind.iter().position(|byte| *byte == b'}');
                let expected =
                    "as in ${offset,width,base}, with a width up to 127 and a base of d, o, x, X, n or N";
                let end = end.ok_or(expected)?;
                put_number(&behind[..end], step, out).ok_or(expected)?;
                rest = &behind[end + 1..];
            }
            (b'$', _) => out.extend_from_slice(step.to_string().as_bytes()),
            (byte, _) => out.push(*byte),
        }
    }
    Ok(())
}

/// Appends the number as `modifier` says.
fn put_number(modifier: &[u8], step: u32, out: &mut Vec<u8>) -> Option<()> {
    let mut parts = modifier.split(|byte| *byte == b',');
    let value = match parts.next()? {
        [b'-', offset @ ..] => step.checked_sub(decimal(offset)?)?,
        offset => step.checked_add(decimal(offset)?)?,
    };
    let width: usize = parts.next().map_or(Some(0), decimal).filter(|width| *width <= WIDTH_MAX)?;
    let base = parts.next().unwrap_or(b"d");
    let number = match base {
        b"d" => format!("{value:0width$}"),
        b"o" => format!("{value:0width$o}"),
        b"x" => format!("{value:0width$x}"),
        b"X" => format!("{value:0width$X}"),
        b"n" => nibbles(value, width),
        b"N" => nibbles(value, width).to_uppercase(),
        _ => return None,
    };
    out.extend_from_slice(number.as_bytes());
    parts.next().is_none().then_some(())
}

/// The hexadecimal digits from the right with dots between them; the width counts the dots, too, so that an even one
/// ends with a dot.
fn nibbles(value: u32, width: usize) -> String {
    let mut text = String::new();
    let mut value = value;
    loop {
        text.push_str(&format!("{:x}", value & 15));
        value >>= 4;
        if value == 0 && text.len() >= width {
            return text;
        }
        text.push('.');
        if value == 0 && text.len() >= width {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, step: u32) -> Option<String> {
        let token = Lexer::new(text.as_bytes()).next().unwrap().unwrap();
        let mut out = Vec::new();
        expand(&token, step, &mut out).ok()?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn numbers_take_their_place() {
        for (text, expected) in [
            ("host-$.sub", "host-26.sub"),
            ("$.$", "26.26"),
            (r"\$$", r"\$26"),
            ("a$$b", "a$b"),
            ("\"\\\"a $ b\\\"\"", "\"a 26 b\""),
            ("${0,3,d}", "026"),
            ("${-6}", "20"),
            ("${100,0,x}-${0,4,X}-${0,0,o}", "7e-001A-32"),
            ("${0,8,n}", "a.1.0.0."),
            ("${0,7,N}", "A.1.0.0"),
            ("${0,6,n}", "a.1.0."),
            ("${0,1,n}", "a.1"),
            ("${0,0,n}", "a.1"),
        ] {
            assert_eq!(expanded(text, 26).as_deref(), Some(expected), "{text}");
        }
        for text in ["${", "${x}", "${0,128}", "${0,1,q}", "${0,1,d,1}", "${-27}", "${}", "${4294967295}"] {
            assert_eq!(expanded(text, 26), None, "{text}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(range(b"1-3"), Some((1, 3, 1)));
        assert_eq!(range(b"0-10/4"), Some((0, 10, 4)));
        assert_eq!(range(b"7-7"), Some((7, 7, 1)));
        for text in ["", "-", "3-1", "1-", "-1", "1-3/0", "1/2-3", "1-2147483648", "1-3-5", "a-b"] {
            assert_eq!(range(text.as_bytes()), None, "{text}");
        }
    }
}
