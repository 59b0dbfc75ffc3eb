//! What strace writes, read back: one call a line, or two where other threads came between.
//!
//! Every string is in hex (`-xx`), so that no byte of a file can be taken for syntax.

use std::collections::BTreeMap;
use std::io::BufRead;

use anyhow::{Context, Result, bail};

/// A system call that returned, or that had not when the trace ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// When it began, in nanoseconds since 1970.
    pub begin: u64,
    /// When it had returned; [`u64::MAX`] if it never did.
    pub end: u64,
    /// Its name.
    pub name: String,
    /// Its arguments, as strace writes them.
    pub arguments: Vec<String>,
    /// What it returned, as strace writes it.
    pub result: String,
}

impl Call {
    /// Whether it failed and changed nothing.
    pub fn failed(&self) -> bool {
        self.result.starts_with("-1")
    }

    /// An argument.
    ///
    /// # Errors
    /// There are not so many.
    pub fn argument(&self, at: usize) -> Result<&str> {
        let argument = self.arguments.get(at).map(String::as_str);
        argument.with_context(|| format!("{} has no argument {at}", self.name))
    }
}

/// Reads a trace, in the order in which the calls returned.
///
/// # Errors
/// A line that makes no sense.
pub fn read(trace: impl BufRead) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    let mut unfinished: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for (ndx, line) in trace.lines().enumerate() {
        let line = line.context("cannot read the trace")?;
        let start: String = line.chars().take(120).collect();
        let at = || format!("line {} of the trace: {start}", ndx + 1);
        let (thread, rest) = line.trim_start().split_once(' ').with_context(at)?;
        let (time, rest) = rest.trim_start().split_once(' ').with_context(at)?;
        let time = nanoseconds(time).with_context(at)?;
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(text) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread.to_owned(), (time, text.trim_end().to_owned()));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (begin, mut text) = unfinished.remove(thread).with_context(at)?;
            text.push_str(resumed.split_once(" resumed>").with_context(at)?.1);
            calls.push(call(begin, &text).with_context(at)?);
        } else {
            calls.push(call(time, rest).with_context(at)?);
        }
    }
    for (begin, text) in unfinished.into_values() {
        calls.push(call(begin, &format!("{text}) = ?")).context("a call that never returned")?);
    }
    calls.sort_by_key(|call| call.end);
    Ok(calls)
}

fn call(begin: u64, text: &str) -> Result<Call> {
    let (name, rest) = text.split_once('(').context("there is no call")?;
    let (arguments, result) = rest.rsplit_once(" = ").context("there is no result")?;
    let arguments = arguments.trim_end().strip_suffix(')').context("the arguments have no end")?;
    let (result, end) = match result.rsplit_once(" <") {
        _ if result.starts_with('?') => ("?", u64::MAX),
        Some((result, took)) => {
            let took = nanoseconds(took.strip_suffix('>').context("there is no duration")?)?;
            (result, begin + took)
        }
        None => bail!("there is no duration"),
    };
    let arguments = split(arguments);
    Ok(Call { begin, end, name: name.to_owned(), arguments, result: result.trim().to_owned() })
}

/// At the commas that are in no bracket.
fn split(arguments: &str) -> Vec<String> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, byte) in arguments.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(arguments[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(arguments[start..].trim().to_owned());
    parts
}

fn nanoseconds(text: &str) -> Result<u64> {
    let (seconds, fraction) = text.split_once('.').context("a time has a fraction")?;
    let seconds: u64 = seconds.parse().context("seconds")?;
    let digits = fraction.len();
    let fraction: u64 = fraction.parse().context("a fraction of a second")?;
    let scale = 9_u32.checked_sub(u32::try_from(digits)?).context("more than nanoseconds")?;
    Ok(seconds * 1_000_000_000 + fraction * 10_u64.pow(scale))
}

/// Every string of an argument, one behind the other: one for a buffer, several for a vector of them.
///
/// # Errors
/// It is not whole, or not in hex.
pub fn strings(argument: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(argument.len() / 4);
    let mut pieces = argument.split('"');
    pieces.next();
    while let Some(string) = pieces.next() {
        hex(string, &mut bytes)?;
        let behind = pieces.next().context("a string has no end")?;
        if behind.starts_with("...") {
            bail!("the trace holds a part of what was written; record with a larger -s");
        }
    }
    Ok(bytes)
}

/// The number of a descriptor and the path that strace writes behind it: `9<\x2f…>`.
///
/// # Errors
/// There is none.
pub fn descriptor(argument: &str) -> Result<(&str, Vec<u8>)> {
    let (number, rest) = argument.split_once('<').context("a descriptor without a path")?;
    let path = rest.split_once('>').context("a path without an end")?.0;
    let mut bytes = Vec::new();
    hex(path, &mut bytes)?;
    Ok((number, bytes))
}

fn hex(text: &str, bytes: &mut Vec<u8>) -> Result<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for code in text.as_bytes().chunks(4) {
        match *code {
            [b'\\', b'x', high, low] => {
                let (high, low) = (digit(high).context("no hex digit")?, digit(low).context("no hex digit")?);
                bytes.push(high << 4 | low);
            }
            _ => bail!("a string that is not in hex"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn a_call_that_others_interrupt_begins_and_ends_in_two_lines() {
        let trace = "\
7 1.000000001 fdatasync(9<\\x2f\\x61> <unfinished ...>\n\
18 1.000000002 pwrite64(9<\\x2f\\x61>, \"\\x2c\\x22\", 2, 512) = 2 <0.000000003>\n\
7  1.000000009 <... fdatasync resumed>)      = 0 <0.000000010>\n\
18 1.000000020 unlink(\"\\x62\") = -1 ENOENT (No such file or directory) <0.000000001>\n\
7 1.000000030 fsync(9<\\x2f\\x61> <unfinished ...>\n\
7 1.000000040 +++ killed by SIGKILL +++\n";
        let calls = read(trace.as_bytes()).unwrap();
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["pwrite64", "fdatasync", "unlink", "fsync"]);
        let times: Vec<(u64, u64)> = calls.iter().map(|call| (call.begin, call.end)).collect();
        let at = |ns: u64| 1_000_000_000 + ns;
        assert_eq!(times, [(at(2), at(5)), (at(1), at(11)), (at(20), at(21)), (at(30), u64::MAX)]);
        assert_eq!(strings(calls[0].argument(1).unwrap()).unwrap(), b",\"");
        assert_eq!(calls[0].argument(3).unwrap(), "512");
        assert_eq!(descriptor(calls[1].argument(0).unwrap()).unwrap(), ("9", b"/a".to_vec()));
        assert!(calls[2].failed());
    }

    #[test]
    fn a_vector_is_one_argument_and_what_is_cut_short_is_refused() {
        let trace = "1 1.0 writev(3<\\x61>, [{iov_base=\"\\x31\", iov_len=1}, {iov_base=\"\\x32\", iov_len=1}], 2) = 2 <0.1>\n";
        let calls = read(trace.as_bytes()).unwrap();
        assert_eq!(calls[0].arguments.len(), 3);
        assert_eq!(strings(calls[0].argument(1).unwrap()).unwrap(), b"12");
        assert!(strings("\"\\x31\"...").is_err());
        assert!(strings("\"1\"").is_err());
    }
}
