//! `synod kv txn`: several changes in one state, by what holds before.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use synod_app_kv::{KvChange, KvCompare, KvCondition, KvOp, KvRelation, KvTxn};
use synod_types::StateNdx;

use super::options::Writing;
use crate::exit::Failure;
use crate::output::Output;
use crate::submit::read_limited;

/// Make several changes as a whole, in one stateNdx, if conditions hold
///
/// One condition or change a line. Where all conditions hold, or there are none, the `then` lines are done in their order;
/// otherwise the `else` lines. Words are separated by blanks; what has blanks in it is a JSON string, "like this", and what
/// is not text is base64:… . A # begins a comment.
#[derive(Args, Debug)]
#[command(after_help = "\
Lines:
  if exists KEY                       then put KEY VALUE
  if absent KEY                       then put KEY VALUE lease LEASE
  if value KEY = VALUE                then delete KEY
  if created KEY > STATENDX           then delete-prefix PREFIX
  if changed KEY = STATENDX           then add KEY NUMBER
with =, !=, < or >; each `then` may be `else`. At most 128 of each.

Examples:
  synod kv txn move.txt
  synod kv txn <<'END'
  if changed config/a = 12            # nobody has changed it since it was read
  if absent config/b
  then put config/b \"two words\"
  then delete config/a
  else add conflicts 1
  END")]
pub(crate) struct Txn {
    /// The file with the lines; - or nothing for standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    writing: Writing,
}

impl Txn {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<ExitCode> {
        let bytes = read_limited(self.file.as_deref())?;
        let text = String::from_utf8(bytes).context("a transaction is written as text")?;
        let txn = parse(&text).map_err(Failure::Usage)?;
        self.writing.execute(KvOp::Txn(txn), output).await
    }
}

/// Reads a transaction; the error says in which line what is wrong.
fn parse(text: &str) -> Result<KvTxn, String> {
    let mut txn = KvTxn::default();
    for (n, line) in text.lines().enumerate() {
        read_line(line, &mut txn).map_err(|why| format!("line {}: {why}", n + 1))?;
    }
    if txn.then.is_empty() && txn.otherwise.is_empty() {
        return Err("there is nothing to do: no line begins with then or else".to_owned());
    }
    Ok(txn)
}

fn read_line(line: &str, txn: &mut KvTxn) -> Result<(), String> {
    let words = words(line)?;
    let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
    match words.as_slice() {
        [] => {}
        [b"if", condition @ ..] => txn.compare.push(compare(condition)?),
        [b"then", change @ ..] => txn.then.push(self::change(change)?),
        [b"else", change @ ..] => txn.otherwise.push(self::change(change)?),
        _ => return Err("a line begins with if, then or else".to_owned()),
    }
    Ok(())
}

fn compare(words: &[&[u8]]) -> Result<KvCompare, String> {
    let (key, condition) = match *words {
        [b"exists", key] => (key, KvCondition::Exists),
        [b"absent", key] => (key, KvCondition::Absent),
        [b"value", key, relation, value] => {
            (key, KvCondition::Value(self::relation(relation)?, Bytes::copy_from_slice(value)))
        }
        [b"created", key, relation, state_ndx] => {
            (key, KvCondition::Created(self::relation(relation)?, StateNdx(number(state_ndx)?)))
        }
        [b"changed", key, relation, state_ndx] => {
            (key, KvCondition::Changed(self::relation(relation)?, StateNdx(number(state_ndx)?)))
        }
        _ => {
            return Err(
                "a condition is: exists KEY, absent KEY, value KEY = VALUE, created KEY = STATENDX, or \
                        changed KEY = STATENDX"
                    .to_owned(),
            );
        }
    };
    Ok(KvCompare { key: Bytes::copy_from_slice(key), condition })
}

fn change(words: &[&[u8]]) -> Result<KvChange, String> {
    let put = |key, value, lease| KvChange::Put {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        lease,
    };
    match *words {
        [b"put", key, value] => Ok(put(key, value, None)),
        [b"put", key, value, b"lease", lease] => Ok(put(key, value, Some(StateNdx(number(lease)?)))),
        [b"delete", key] => Ok(KvChange::Delete { key: Bytes::copy_from_slice(key) }),
        [b"delete-prefix", prefix] => Ok(KvChange::DeletePrefix { prefix: Bytes::copy_from_slice(prefix) }),
        [b"add", key, delta] => Ok(KvChange::Add { key: Bytes::copy_from_slice(key), delta: number(delta)? }),
        _ => Err(
            "a change is: put KEY VALUE, put KEY VALUE lease LEASE, delete KEY, delete-prefix PREFIX, or \
                  add KEY NUMBER"
                .to_owned(),
        ),
    }
}

fn relation(word: &[u8]) -> Result<KvRelation, String> {
    match word {
        b"=" => Ok(KvRelation::Equal),
        b"!=" => Ok(KvRelation::NotEqual),
        b"<" => Ok(KvRelation::Less),
        b">" => Ok(KvRelation::Greater),
        _ => Err(format!("{:?} is none of =, !=, < and >", String::from_utf8_lossy(word))),
    }
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Result<T, String> {
    let text = String::from_utf8_lossy(word);
    text.parse().map_err(|_| format!("{text:?} is no whole number that fits here"))
}

/// The words of a line up to a comment.
fn words(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let word;
        if rest.starts_with('"') {
            let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let string = strings.next().and_then(Result::ok);
            word = string.ok_or_else(|| format!("{rest} does not begin with a JSON string"))?.into_bytes();
            rest = &rest[strings.byte_offset()..];
            if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
                return Err(format!("there has to be a blank behind a string, before {rest}"));
            }
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let text;
            (text, rest) = rest.split_at(end);
            word = match text.strip_prefix("base64:") {
                None => text.as_bytes().to_vec(),
                Some(base64) => BASE64.decode(base64).map_err(|_| format!("{text} is not base64"))?,
            };
        }
        words.push(word);
        rest = rest.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn every_line_is_read() {
        let text = "\
# moves a to b
if exists a
  if absent b   # it is free
if value a != \"x \\u00e4 # y\"
if created a < 7
if changed a = 12

then put b base64:/w==
then put \"c d\" \"\" lease 9
then delete a
else delete-prefix tmp/
else add n -3
";
        let expected = KvTxn {
            compare: vec![
                KvCompare { key: key("a"), condition: KvCondition::Exists },
                KvCompare { key: key("b"), condition: KvCondition::Absent },
                KvCompare {
                    key: key("a"),
                    condition: KvCondition::Value(KvRelation::NotEqual, key("x ä # y")),
                },
                KvCompare { key: key("a"), condition: KvCondition::Created(KvRelation::Less, StateNdx(7)) },
                KvCompare { key: key("a"), condition: KvCondition::Changed(KvRelation::Equal, StateNdx(12)) },
            ],
            then: vec![
                KvChange::Put { key: key("b"), value: Bytes::from_static(&[0xff]), lease: None },
                KvChange::Put { key: key("c d"), value: key(""), lease: Some(StateNdx(9)) },
                KvChange::Delete { key: key("a") },
            ],
            otherwise: vec![
                KvChange::DeletePrefix { prefix: key("tmp/") },
                KvChange::Add { key: key("n"), delta: -3 },
            ],
        };
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, why) in [
            ("", "nothing to do"),
            ("if exists a", "nothing to do"),
            ("then put a b\nput c d", "line 2: a line begins with"),
            ("if changed a == 1\nthen delete a", "line 1: \"==\" is none of"),
            ("if changed a = x\nthen delete a", "line 1: \"x\" is no whole number"),
            ("if exists a b\nthen delete a", "line 1: a condition is"),
            ("then put a", "line 1: a change is"),
            ("then put a \"b", "line 1: \"b does not begin with a JSON string"),
            ("then put a \"b\"c", "line 1: there has to be a blank"),
            ("then put a base64:!", "line 1: base64:! is not base64"),
            ("then add a 9223372036854775808", "line 1: \"9223372036854775808\" is no whole number"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
