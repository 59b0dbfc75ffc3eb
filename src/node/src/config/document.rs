//! A configuration file as it was written: tables, lists and values, each with its line where the parser gives one.
//!
//! TOML and JSON become the same tree, so that every rule is written once. Nothing here knows which fields there are.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::de::{DeTable, DeValue};

use super::Format;
use super::mistakes::Mistakes;

/// A value of a configuration file.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i128),
    List(Vec<Value>),
    /// In the order of the file; a name that is there twice is a mistake that is already known.
    Table(Vec<(String, Value)>),
    /// What no field takes, in words ("a date").
    Other(&'static str),
}

impl Value {
    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }
}

/// Reads a file as far as it can be read; `None` if nothing is left of it.
pub(super) fn read(text: &str, format: Format, mistakes: &mut Mistakes) -> Option<Value> {
    let root = match format {
        Format::Toml => read_toml(text, mistakes),
        Format::Json => read_json(text, mistakes)?,
    };
    match root {
        Value::Table(_) => Some(root),
        other => {
            mistakes.add("", format!("the file holds {} where a JSON object is expected", other.kind()));
            None
        }
    }
}

fn read_toml(text: &str, mistakes: &mut Mistakes) -> Value {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map(|span| line_of(text, span.start));
        mistakes.add_at(line, "", format!("is not TOML here: {}", error.message()));
    }
    let mut lines = BTreeMap::new();
    let root = toml_table(text, root.get_ref(), "", &mut lines);
    mistakes.set_lines(lines);
    root
}

fn toml_table(text: &str, table: &DeTable<'_>, path: &str, lines: &mut BTreeMap<String, usize>) -> Value {
    let fields = table.iter().map(|(name, value)| {
        let path = join(path, name.get_ref());
        lines.insert(path.clone(), line_of(text, name.span().start));
        (name.get_ref().to_string(), toml_value(text, value.get_ref(), &path, lines))
    });
    Value::Table(fields.collect())
}

fn toml_value(text: &str, value: &DeValue<'_>, path: &str, lines: &mut BTreeMap<String, usize>) -> Value {
    match value {
        DeValue::String(value) => Value::Text(value.to_string()),
        DeValue::Integer(value) => match i128::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) => Value::Integer(value),
            Err(_) => Value::Other("a number with too many digits"),
        },
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(_) => Value::Other("true or false"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(values) => {
            let values = values.iter().enumerate().map(|(n, value)| {
                let path = format!("{path}[{n}]");
                lines.insert(path.clone(), line_of(text, value.span().start));
                toml_value(text, value.get_ref(), &path, lines)
            });
            Value::List(values.collect())
        }
        DeValue::Table(table) => toml_table(text, table, path, lines),
    }
}

fn read_json(text: &str, mistakes: &mut Mistakes) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(root) => {
            find_repeats(&root, "", mistakes);
            Some(root)
        }
        Err(why) => {
            // Its own text ends in the line, which has a place of its own here.
            let words = why.to_string();
            let words = words.split(" at line ").next().unwrap_or_default();
            let problem = format!("is not JSON at column {}: {words}", why.column());
            mistakes.add_at(Some(why.line()), "", problem);
            None
        }
    }
}

/// JSON parsers let the last of two equal names win, without a word; TOML's refuses them.
fn find_repeats(value: &Value, path: &str, mistakes: &mut Mistakes) {
    match value {
        Value::Table(fields) => {
            for (n, (name, value)) in fields.iter().enumerate() {
                let path = join(path, name);
                if fields[..n].iter().any(|(other, _)| other == name) {
                    mistakes.add(&path, "is there twice: keep one of them");
                }
                find_repeats(value, &path, mistakes);
            }
        }
        Value::List(values) => {
            for (n, value) in values.iter().enumerate() {
                find_repeats(value, &format!("{path}[{n}]"), mistakes);
            }
        }
        Value::Text(_) | Value::Integer(_) | Value::Other(_) => {}
    }
}

/// The path of a field in the table at `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other("true or false"))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other("a fraction"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut table = Vec::new();
        while let Some(field) = fields.next_entry()? {
            table.push(field);
        }
        Ok(Value::Table(table))
    }
}
