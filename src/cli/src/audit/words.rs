//! What a command does, in words, and which keys and zones it is about.

use std::fmt;

use bytes::Bytes;
use serde_json::{Value, json};
use synod_app_kv::{Kv, KvAnswer, KvChange, KvOp, KvQuery, KvReply, KvSelection, KvTxn};
use synod_app_zones::{Expected, ZoneChange, ZoneName, ZonesApp, ZonesOp};
use synod_machine::{AuthorityOp, AuthorityReply, Grant, View};
use synod_types::command::Operation;
use synod_types::{CommandBody, CommanderId, Digest, Outcome, StateNdx};

use super::auditor::{Cause, Change};
use crate::table::printable;
use crate::time;
use crate::write::{self, Explained};

/// Characters of a key and of a value that are shown.
const KEY_SHOWN_MAX: usize = 80;
const VALUE_SHOWN_MAX: usize = 40;
/// Keys that an expiry shows.
const ENDED_SHOWN_MAX: usize = 8;

/// A part of an application's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// A key.
    Key(Vec<u8>),
    /// All keys that begin so.
    Prefix(Vec<u8>),
    /// A zone.
    Zone(ZoneName),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Key(key) => f.write_str(&shown(key)),
            Part::Prefix(prefix) => write!(f, "{}*", shown(prefix)),
            Part::Zone(zone) => zone.fmt(f),
        }
    }
}

/// A step, told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Told {
    pub(crate) text: String,
    /// What it is about.
    pub(crate) parts: Vec<Part>,
    /// It ends keys that it does not name.
    ends_keys: bool,
}

impl Told {
    fn new(text: String, parts: Vec<Part>) -> Told {
        Told { text, parts, ends_keys: false }
    }
}

/// Tells a step of an application of this kind. `view` is its state behind the step, or a later one.
pub(crate) fn told(kind: &str, change: &Change, view: &View) -> Told {
    match &change.cause {
        Cause::Command { body, .. } => {
            let mut told = told_operation(kind, &body.operation, &change.outcome);
            if told.ends_keys {
                told.parts = ended(change, view);
            }
            told
        }
        Cause::Expiry { .. } => {
            let parts = ended(change, view);
            let keys: Vec<String> = parts.iter().take(ENDED_SHOWN_MAX).map(Part::to_string).collect();
            let more = if parts.len() > keys.len() { " …" } else { "" };
            Told::new(format!("leases ran out: {}{more}", keys.join(" ")), parts)
        }
    }
}

/// The keys that ended with leases, as the application remembers them; every key, where it does not.
fn ended(change: &Change, view: &View) -> Vec<Part> {
    let (every, before) = (KvSelection::Prefix(Bytes::new()), StateNdx(change.state_ndx.0.saturating_sub(1)));
    let query = KvQuery::Changes { after: before, of: every, limit: 1 };
    let answer = view.app.query(view.state_ndx, &query.encode()).ok();
    match answer.map(|answer| KvAnswer::decode(&answer)) {
        Some(Ok(KvAnswer::Changes { states, .. })) => {
            let changed = states.into_iter().filter(|state| state.state_ndx == change.state_ndx);
            changed.flat_map(|state| state.changes).map(|change| Part::Key(change.key.to_vec())).collect()
        }
        _ => vec![Part::Prefix(Vec::new())],
    }
}

/// Tells an operation of an application of this kind; what it came to decides what a transaction is about.
fn told_operation(kind: &str, operation: &[u8], outcome: &Outcome) -> Told {
    let told = match Operation::split(operation) {
        Some(Operation::Authority(bytes)) => AuthorityOp::decode(bytes).ok().map(|op| authority(&op)),
        Some(Operation::App(bytes)) if kind == Kv::KIND => {
            KvOp::decode(bytes).ok().map(|op| kv(&op, outcome))
        }
        Some(Operation::App(bytes)) if kind == ZonesApp::KIND => {
            ZonesOp::decode(bytes).ok().map(|op| zones(&op))
        }
        // The words of an application in a process of its own are not known here.
        Some(Operation::App(bytes)) if kind != Kv::KIND && kind != ZonesApp::KIND => {
            Some(Told::new(value_shown(bytes), Vec::new()))
        }
        Some(Operation::App(_)) | None => None,
    };
    // What cannot be read was refused; it is shown all the same.
    let unread = || Told::new(format!("{} bytes that are no operation", operation.len()), Vec::new());
    told.unwrap_or_else(unread)
}

/// What the answer of a step means, in the words of an application of this kind.
pub(crate) fn explained(kind: &str, cause: &Cause, answer: &[u8]) -> Explained {
    if let Cause::Command { body, .. } = cause
        && let Some(Operation::Authority(_)) = Operation::split(&body.operation)
    {
        let (json, _) = crate::commander::explained(answer, None, String::new(), "");
        let words = match AuthorityReply::decode(answer) {
            Ok(AuthorityReply::Pending { change, digest, approvals, needed }) => {
                format!("change {change} ({}) is signed by {approvals} of {needed}", digest.short())
            }
            Ok(AuthorityReply::Done) | Err(_) => String::new(),
        };
        return (json, words);
    }
    match kind {
        Kv::KIND => crate::kv::explain(answer),
        ZonesApp::KIND => crate::zone::explain(answer),
        _ => write::hex(answer),
    }
}

/// Everything that `--output json` may have printed of an answer.
pub(crate) fn explanations(body: &CommandBody, answer: &[u8]) -> Vec<Value> {
    let mut all = vec![crate::kv::explain(answer).0, crate::zone::explain(answer).0, write::hex(answer).0];
    if let Some(Operation::Authority(bytes)) = Operation::split(&body.operation)
        && let Ok(op) = AuthorityOp::decode(bytes)
    {
        let about = match op {
            AuthorityOp::Grant(grant) => Some(grant.commander()),
            AuthorityOp::Revoke { commander } => Some(commander),
            AuthorityOp::Rotate { key } => Some(CommanderId(Digest::of(&[&key]))),
            AuthorityOp::Approve { .. } | AuthorityOp::Withdraw { .. } => None,
            AuthorityOp::Member(_) | AuthorityOp::Lead { .. } | AuthorityOp::Raise { .. } => None,
        };
        for about in [about, None] {
            all.push(crate::commander::explained(answer, about, String::new(), "").0);
        }
    }
    all
}

fn authority(op: &AuthorityOp) -> Told {
    let text = match op {
        AuthorityOp::Grant(grant) => granted(grant),
        AuthorityOp::Revoke { commander } => format!("revoke {}", commander.short()),
        AuthorityOp::Rotate { key } => format!("rotate to {}", Digest::of(&[key]).short()),
        AuthorityOp::Approve { change, digest } => format!("approve change {change} ({})", digest.short()),
        AuthorityOp::Withdraw { change } => format!("withdraw change {change}"),
        AuthorityOp::Member(op) => op.to_string(),
        AuthorityOp::Lead { node: Some(node) } => format!("have {} lead", node.short()),
        AuthorityOp::Lead { node: None } => "have any node lead".to_owned(),
        AuthorityOp::Raise { to } => format!("raise to level {to}"),
    };
    Told::new(text, Vec::new())
}

fn granted(grant: &Grant) -> String {
    let Grant { key: _, name, role, scopes, valid_from, valid_to } = grant;
    let mut text = format!("grant {} {} as {}", grant.commander().short(), printable(name), role.name());
    if !scopes.is_empty() {
        text.push_str(&format!(" of {}", printable(&scopes.join(", "))));
    }
    for (word, bound) in [("from", valid_from), ("to", valid_to)] {
        text.extend(bound.map(|bound| format!(" {word} {}", time::shown(bound.0))));
    }
    text
}

fn kv(op: &KvOp, outcome: &Outcome) -> Told {
    let of_key = |text: String, key: &[u8]| Told::new(text, vec![Part::Key(key.to_vec())]);
    match op {
        KvOp::Put { key, value } => of_key(format!("put {} = {}", shown(key), value_shown(value)), key),
        KvOp::Delete { key } => of_key(format!("delete {}", shown(key)), key),
        KvOp::CompareAndSet { key, expected, value } => {
            let expected = expected.map_or_else(|| "absent".to_owned(), |state| format!("of {state}"));
            let text = format!("cas {} ({expected}) = {}", shown(key), value_shown(value));
            of_key(text, key)
        }
        KvOp::Txn(txn) => kv_txn(txn, outcome),
        KvOp::DeletePrefix { prefix } => {
            Told::new(format!("delete-prefix {}", shown(prefix)), vec![Part::Prefix(prefix.to_vec())])
        }
        KvOp::Add { key, delta } => of_key(format!("add {} {delta:+}", shown(key)), key),
        KvOp::PutBound { key, value, lease } => {
            of_key(format!("put {} = {} (lease {lease})", shown(key), value_shown(value)), key)
        }
        KvOp::GrantLease { ttl_ms } => Told::new(format!("lease for {ttl_ms} ms"), Vec::new()),
        KvOp::KeepAlive { leases } => {
            let leases: Vec<String> = leases.iter().map(ToString::to_string).collect();
            Told::new(format!("keep-alive {}", leases.join(" ")), Vec::new())
        }
        KvOp::RevokeLease { lease } => {
            Told { ends_keys: true, ..Told::new(format!("revoke-lease {lease}"), Vec::new()) }
        }
        KvOp::Compact { through } => Told::new(format!("compact through {through}"), Vec::new()),
        KvOp::Configure(settings) => {
            let fields = [
                ("quota-bytes", settings.quota_bytes),
                ("history-states", settings.history_states),
                ("history-bytes", settings.history_bytes),
                ("history-age-ms", settings.history_age_ms),
            ];
            let fields = fields.into_iter().filter_map(|(name, value)| Some(format!(" {name} {}", value?)));
            Told::new(format!("configure{}", fields.collect::<String>()), Vec::new())
        }
    }
}

/// The list of changes that was made, or both where none was.
fn kv_txn(txn: &KvTxn, outcome: &Outcome) -> Told {
    let reply = match outcome {
        Outcome::Done(answer) => KvReply::decode(answer).ok(),
        Outcome::Refused(_) => None,
    };
    let (branch, changes): (_, Vec<&KvChange>) = match reply {
        Some(KvReply::Txn { failed: None, .. }) => ("then", txn.then.iter().collect()),
        Some(KvReply::Txn { failed: Some(_), .. }) => ("else", txn.otherwise.iter().collect()),
        Some(_) | None => ("either", txn.then.iter().chain(&txn.otherwise).collect()),
    };
    let told: Vec<Told> = changes.into_iter().map(kv_change).collect();
    let texts: Vec<&str> = told.iter().map(|told| told.text.as_str()).collect();
    let text = format!("txn ({} compared; {branch}) {}", txn.compare.len(), texts.join("; "));
    Told::new(text, told.into_iter().flat_map(|told| told.parts).collect())
}

fn kv_change(change: &KvChange) -> Told {
    let (text, part) = match change {
        KvChange::Put { key, value, lease } => {
            let lease = lease.map(|lease| format!(" (lease {lease})")).unwrap_or_default();
            (format!("put {} = {}{lease}", shown(key), value_shown(value)), Part::Key(key.to_vec()))
        }
        KvChange::Delete { key } => (format!("delete {}", shown(key)), Part::Key(key.to_vec())),
        KvChange::DeletePrefix { prefix } => {
            (format!("delete-prefix {}", shown(prefix)), Part::Prefix(prefix.to_vec()))
        }
        KvChange::Add { key, delta } => (format!("add {} {delta:+}", shown(key)), Part::Key(key.to_vec())),
    };
    Told::new(text, vec![part])
}

fn zones(op: &ZonesOp) -> Told {
    let part = |zone: &ZoneName| Part::Zone(zone.clone());
    match op {
        ZonesOp::Set(change) => Told::new(zone_set(change), vec![part(&change.zone)]),
        ZonesOp::SetMany(changes) => {
            let texts: Vec<String> = changes.iter().map(zone_set).collect();
            Told::new(texts.join("; "), changes.iter().map(|change| part(&change.zone)).collect())
        }
        ZonesOp::Delete { zone, expected } => {
            Told::new(format!("delete zone {zone}{}", expectation(expected)), vec![part(zone)])
        }
        ZonesOp::Rollback { zone, to, expected } => Told::new(
            format!("roll back zone {zone} to stateNdx {to}{}", expectation(expected)),
            vec![part(zone)],
        ),
    }
}

fn zone_set(change: &ZoneChange) -> String {
    let ZoneChange { zone, content, bytes, serial, force, expected } = change;
    let force = if *force { ", forced" } else { "" };
    let content = content.short();
    format!("set zone {zone} serial {serial} ({content}, {bytes} bytes{force}){}", expectation(expected))
}

fn expectation(expected: &Expected) -> String {
    match expected {
        Expected::Any => String::new(),
        Expected::Absent => " if absent".to_owned(),
        Expected::Content(key) => format!(" if {}", key.short()),
    }
}

fn shown(key: &[u8]) -> String {
    cut(&text_or_hex(key), KEY_SHOWN_MAX)
}

fn value_shown(value: &[u8]) -> String {
    let text = cut(&text_or_hex(value), VALUE_SHOWN_MAX);
    if text.ends_with('…') { format!("{text} ({} bytes)", value.len()) } else { text }
}

fn text_or_hex(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => printable(text),
        Err(_) => format!("hex:{}", hex::encode(bytes)),
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Parts as JSON: keys that are not text as base64.
pub(crate) fn parts_json(parts: &[Part]) -> Vec<Value> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    let bytes = |name: &str, bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => json!({ name: text }),
        Err(_) => json!({ format!("{name}Base64"): BASE64.encode(bytes) }),
    };
    let part = |part: &Part| match part {
        Part::Key(key) => bytes("key", key),
        Part::Prefix(prefix) => bytes("prefix", prefix),
        Part::Zone(zone) => json!({ "zone": zone.to_string() }),
    };
    parts.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use synod_app_kv::{KvCompare, KvCondition};
    use synod_types::{Refusal, RefusalCode, wire};

    use super::*;

    fn words(op: KvOp) -> String {
        told_operation(Kv::KIND, &op.encode(), &Outcome::Done(Bytes::new())).text
    }

    #[test]
    fn operations_read_well() {
        let key = || Bytes::from_static(b"service/a");
        assert_eq!(words(KvOp::Put { key: key(), value: "on".into() }), "put service/a = on");
        assert_eq!(words(KvOp::Delete { key: b"\xff\x00".to_vec().into() }), "delete hex:ff00");
        let cas = |expected| KvOp::CompareAndSet { key: key(), expected, value: "x".repeat(50).into() };
        let x = "x".repeat(40);
        assert_eq!(words(cas(None)), format!("cas service/a (absent) = {x}… (50 bytes)"));
        assert_eq!(words(cas(Some(StateNdx(7)))), format!("cas service/a (of 7) = {x}… (50 bytes)"));
        let revoke = AuthorityOp::Revoke { commander: CommanderId(Digest([0xab; 32])) };
        let told = told_operation(Kv::KIND, &revoke.encode(), &Outcome::Done(Bytes::new()));
        assert_eq!(told.text, "revoke abababababab");
        let elsewhere = |operation: &[u8]| {
            let operation = [&[Operation::APP], operation].concat();
            told_operation("visits", &operation, &Outcome::Done(Bytes::new())).text
        };
        assert_eq!((elsewhere(b"visit\n"), elsewhere(b"\xff")), ("visit\\n".to_owned(), "hex:ff".to_owned()));
        assert_eq!(
            words(KvOp::Put { key: "a\nb".into(), value: "\u{1b}[31m".into() }),
            "put a\\nb = \\u{1b}[31m"
        );
    }

    #[test]
    fn a_transaction_is_about_what_it_did() {
        let put = |key: &'static str| KvChange::Put { key: key.into(), value: "1".into(), lease: None };
        let txn = KvTxn {
            compare: vec![KvCompare { key: "c".into(), condition: KvCondition::Exists }],
            then: vec![put("a")],
            otherwise: vec![put("b"), KvChange::DeletePrefix { prefix: "p/".into() }],
        };
        let of = |outcome: Outcome| kv_txn(&txn, &outcome);
        let done = |failed| Outcome::Done(wire::encode(&KvReply::Txn { failed, results: Vec::new() }).into());
        assert_eq!(of(done(None)).parts, [Part::Key(b"a".to_vec())]);
        assert_eq!(of(done(None)).text, "txn (1 compared; then) put a = 1");
        let otherwise = of(done(Some(0)));
        assert_eq!(otherwise.parts, [Part::Key(b"b".to_vec()), Part::Prefix(b"p/".to_vec())]);
        assert_eq!(otherwise.text, "txn (1 compared; else) put b = 1; delete-prefix p/");
        let refused = Outcome::Refused(Refusal::new(RefusalCode::QuotaExceeded, "full"));
        assert_eq!(of(refused).parts.len(), 3);
    }
}
