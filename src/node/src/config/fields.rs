//! Takes fields out of a table, each by its name and as its type. What does not fit and what is left are mistakes;
//! reading goes on behind each, so that all are found.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::address::Address;
use super::document::{Value, join};
use super::mistakes::Mistakes;

/// A table of which fields are taken.
pub(super) struct Fields {
    path: String,
    left: Vec<(String, Value)>,
    /// The names that were asked for.
    known: Vec<&'static str>,
}

impl Fields {
    /// The fields of the table at `path`; none, and a mistake, if it is not a table.
    pub(super) fn of(path: &str, value: Value, mistakes: &mut Mistakes) -> Fields {
        let left = match value {
            Value::Table(fields) => fields,
            other => {
                mistakes.add(path, format!("is {}, and a table is expected", other.kind()));
                Vec::new()
            }
        };
        Fields { path: path.to_owned(), left, known: Vec::new() }
    }

    /// The path of one of the fields.
    pub(super) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Whether a field is there and was not taken yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.left.iter().any(|(left, _)| left == name)
    }

    /// A field as it is.
    pub(super) fn value(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        let place = self.left.iter().position(|(left, _)| left == name)?;
        Some(self.left.remove(place).1)
    }

    /// A table inside this one; empty if it is not there.
    pub(super) fn table(&mut self, name: &'static str, mistakes: &mut Mistakes) -> Fields {
        let value = self.value(name).unwrap_or(Value::Table(Vec::new()));
        Fields::of(&self.path(name), value, mistakes)
    }

    /// A list; empty if it is not there.
    pub(super) fn list(&mut self, name: &'static str, mistakes: &mut Mistakes) -> Vec<Value> {
        match self.value(name) {
            None => Vec::new(),
            Some(Value::List(values)) => values,
            Some(other) => {
                self.wrong_kind(name, &other, "a list", mistakes);
                Vec::new()
            }
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &'static str, mistakes: &mut Mistakes) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) if text.is_empty() => {
                mistakes.add(&self.path(name), "is empty");
                None
            }
            Value::Text(text) => Some(text),
            other => {
                self.wrong_kind(name, &other, "a text in quotes", mistakes);
                None
            }
        }
    }

    /// A text that may be empty.
    pub(super) fn text_or_empty(&mut self, name: &'static str, mistakes: &mut Mistakes) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            other => {
                self.wrong_kind(name, &other, "a text in quotes", mistakes);
                None
            }
        }
    }

    /// Something that is called by its name or its number.
    pub(super) fn name_or_number(&mut self, name: &'static str, mistakes: &mut Mistakes) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            Value::Integer(number) => Some(number.to_string()),
            other => {
                self.wrong_kind(name, &other, "a name in quotes or a number", mistakes);
                None
            }
        }
    }

    /// The texts in the list at `path`, each with its place in it.
    pub(super) fn texts(path: &str, list: Vec<Value>, mistakes: &mut Mistakes) -> Vec<(usize, String)> {
        let mut texts = Vec::new();
        for (n, value) in list.into_iter().enumerate() {
            match value {
                Value::Text(text) => texts.push((n, text)),
                other => {
                    let problem = format!("is {}, and a text in quotes is expected", other.kind());
                    mistakes.add(&format!("{path}[{n}]"), problem);
                }
            }
        }
        texts
    }

    /// A text that must be there.
    pub(super) fn required_text(
        &mut self,
        name: &'static str,
        example: &str,
        mistakes: &mut Mistakes,
    ) -> Option<String> {
        self.require(name, example, mistakes);
        self.text(name, mistakes)
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        bounds: RangeInclusive<u64>,
        mistakes: &mut Mistakes,
    ) -> Option<u64> {
        let number = match self.value(name)? {
            Value::Integer(number) => number,
            other => {
                self.wrong_kind(name, &other, "a whole number", mistakes);
                return None;
            }
        };
        let number_in_bounds = u64::try_from(number).ok().filter(|number| bounds.contains(number));
        if number_in_bounds.is_none() {
            let (min, max) = bounds.into_inner();
            mistakes.add(&self.path(name), format!("is {number}, and must be from {min} to {max}"));
        }
        number_in_bounds
    }

    /// A time: milliseconds, or a text with its unit. `bounds` are in milliseconds.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        bounds: RangeInclusive<u64>,
        mistakes: &mut Mistakes,
    ) -> Option<Duration> {
        let expected = "milliseconds, or a time as \"500ms\", \"30s\", \"15m\" or \"1h\"";
        let (written, ms) = match self.value(name)? {
            Value::Integer(number) => (number.to_string(), u64::try_from(number).ok()),
            Value::Text(text) => match parse_ms(&text) {
                Some(ms) => (format!("{text:?}"), Some(ms)),
                None => {
                    mistakes.add(&self.path(name), format!("is {text:?}, and {expected} is expected"));
                    return None;
                }
            },
            other => {
                self.wrong_kind(name, &other, expected, mistakes);
                return None;
            }
        };
        let ms_in_bounds = ms.filter(|ms| bounds.contains(ms));
        if ms_in_bounds.is_none() {
            let (min, max) = bounds.into_inner();
            mistakes
                .add(&self.path(name), format!("is {written}, and must be from {min} to {max} milliseconds"));
        }
        ms_in_bounds.map(Duration::from_millis)
    }

    /// One of the words in `choices`.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
        mistakes: &mut Mistakes,
    ) -> Option<T> {
        let word = self.text(name, mistakes)?;
        let chosen = choices.iter().find(|(choice, _)| *choice == word);
        if chosen.is_none() {
            let words: Vec<String> = choices.iter().map(|(choice, _)| format!("{choice:?}")).collect();
            mistakes.add(&self.path(name), format!("is {word:?}, and must be one of {}", words.join(", ")));
        }
        chosen.map(|(_, value)| *value)
    }

    /// A text that means something.
    pub(super) fn parsed<T>(&mut self, name: &'static str, mistakes: &mut Mistakes) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text = self.text(name, mistakes)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(why) => {
                mistakes.add(&self.path(name), format!("is {text:?}: {why}"));
                None
            }
        }
    }

    /// An address, whose port must be within bounds.
    pub(super) fn address(
        &mut self,
        name: &'static str,
        ports: RangeInclusive<u16>,
        mistakes: &mut Mistakes,
    ) -> Option<Address> {
        let text = self.text(name, mistakes)?;
        match Address::parse(&text, ports) {
            Ok(address) => Some(address),
            Err(why) => {
                mistakes.add(&self.path(name), why.to_string());
                None
            }
        }
    }

    /// An address that must be there.
    pub(super) fn required_address(
        &mut self,
        name: &'static str,
        example: &str,
        mistakes: &mut Mistakes,
    ) -> Option<Address> {
        self.require(name, example, mistakes);
        self.address(name, 1..=u16::MAX, mistakes)
    }

    /// A path; a relative one is relative to `directory`.
    pub(super) fn file(
        &mut self,
        name: &'static str,
        directory: &Path,
        mistakes: &mut Mistakes,
    ) -> Option<PathBuf> {
        self.text(name, mistakes).map(|path| directory.join(path))
    }

    /// A path that must be there.
    pub(super) fn required_file(
        &mut self,
        name: &'static str,
        example: &str,
        directory: &Path,
        mistakes: &mut Mistakes,
    ) -> Option<PathBuf> {
        self.require(name, example, mistakes);
        self.file(name, directory, mistakes)
    }

    /// Every field was taken.
    pub(super) fn finish(self, mistakes: &mut Mistakes) {
        for (name, _) in &self.left {
            let problem = match nearest(name, &self.known) {
                Some(nearest) => format!("there is no such field; did you mean {nearest:?}?"),
                None => format!("there is no such field; there are {}", self.known.join(", ")),
            };
            mistakes.add(&join(&self.path, name), problem);
        }
    }

    fn require(&self, name: &'static str, example: &str, mistakes: &mut Mistakes) {
        if !self.has(name) {
            mistakes.add(&self.path(name), format!("is missing; it is needed, for example {example:?}"));
        }
    }

    fn wrong_kind(&self, name: &str, value: &Value, expected: &str, mistakes: &mut Mistakes) {
        mistakes.add(&self.path(name), format!("is {}, and {expected} is expected", value.kind()));
    }
}

/// The milliseconds in a text like `15m`.
fn parse_ms(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|sign: char| !sign.is_ascii_digit())?);
    let factor = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The known name that someone who wrote `name` probably meant.
fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let likeness = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(nearest) > 0.8).then_some(nearest)
}
