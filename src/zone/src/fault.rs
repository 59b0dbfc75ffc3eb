//! What is wrong with a zone file, and where.

use std::fmt;

/// Faults of one file that are reported; it may have more.
pub const FAULTS_MAX: usize = 16;
/// Bytes of a fault's text. With its place it fits into the text of a refusal.
pub const FAULT_TEXT_BYTES_MAX: usize = 200;
/// Bytes of a token or a name that a fault's text quotes.
const EXCERPT_BYTES_MAX: usize = 48;

/// One thing that is wrong, and what would be right. As text: `line 3, column 14: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1; 0 if no line is to blame.
    pub line: u32,
    /// The character in the line, counted from 1; 0 if the whole line or more is to blame.
    pub column: u32,
    /// What is wrong and what to do: printable ASCII, at most [`FAULT_TEXT_BYTES_MAX`].
    pub text: String,
}

impl Fault {
    /// A fault with printable ASCII for a text; what is too long of it is cut off.
    pub(crate) fn new(line: u32, column: u32, mut text: String) -> Fault {
        debug_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
        if text.len() > FAULT_TEXT_BYTES_MAX {
            text.truncate(FAULT_TEXT_BYTES_MAX - 3);
            text.push_str("...");
        }
        Fault { line, column, text }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.text),
            (line, 0) => write!(f, "line {line}: {}", self.text),
            (line, column) => write!(f, "line {line}, column {column}: {}", self.text),
        }
    }
}

/// Everything that is wrong with a file, or the first [`FAULTS_MAX`] of it, in the order of its lines. As text: one line
/// for each fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// These faults, of which there is at least one.
    pub(crate) fn new(faults: Vec<Fault>) -> Faults {
        assert!(!faults.is_empty(), "without a fault nothing is wrong");
        Faults(faults)
    }

    /// The first one: what a refusal says, for which all would be too long.
    pub fn first(&self) -> &Fault {
        &self.0[0]
    }

    /// All of them.
    pub fn all(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// `bytes` as a fault's text quotes them: between backticks, what is not printable escaped, what is too long cut off.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let mut text = String::from("`");
    for &byte in bytes {
        if text.len() > EXCERPT_BYTES_MAX {
            text.push_str("...");
            break;
        }
        match byte {
            b' '..=b'~' => text.push(char::from(byte)),
            byte => text.push_str(&format!("\\{byte:03}")),
        }
    }
    text.push('`');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        assert_eq!(excerpt(b"a\xff\n"), "`a\\255\\010`");
        assert!(excerpt(&[0; 1000]).len() < EXCERPT_BYTES_MAX + 10);
        let fault = Fault::new(u32::MAX, u32::MAX, "x".repeat(1000));
        assert_eq!(fault.text.len(), FAULT_TEXT_BYTES_MAX);
        assert!(fault.to_string().len() <= 256);
    }
}
