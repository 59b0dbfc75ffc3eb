//! What is wrong with a configuration file: every mistake, each with its place and what to do.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The line, where the parser tells it.
    pub line: Option<usize>,
    /// The field, as in `servers[1].addr`; empty if it is the file as a whole.
    pub field: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.problem)
    }
}

/// All that is wrong with a configuration file, in the order of its lines where they are known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mistakes[..] {
            [one] => write!(f, "{}: {one}", self.path.display()),
            many => {
                write!(f, "{} has {} mistakes:", self.path.display(), many.len())?;
                many.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

/// Collects mistakes while a file is checked.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    found: Vec<Mistake>,
    lines: BTreeMap<String, usize>,
}

impl Mistakes {
    /// Says on which line each field is.
    pub(super) fn set_lines(&mut self, lines: BTreeMap<String, usize>) {
        self.lines = lines;
    }

    /// There is a mistake in `field`; of one that is not there, the line is that of the table where it should be.
    pub(super) fn add(&mut self, field: &str, problem: impl Into<String>) {
        let mut table = Some(field);
        let mut line = None;
        while let (None, Some(path)) = (line, table) {
            line = self.lines.get(path).copied();
            table = path.rfind(['.', '[']).map(|end| &path[..end]);
        }
        self.add_at(line, field, problem);
    }

    /// There is a mistake on a line.
    pub(super) fn add_at(&mut self, line: Option<usize>, field: &str, problem: impl Into<String>) {
        self.found.push(Mistake { line, field: field.to_owned(), problem: problem.into() });
    }

    /// Nothing is wrong.
    pub(super) fn finish(mut self, path: &Path) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
        Err(ConfigErrors { path: path.to_owned(), mistakes: self.found })
    }
}
