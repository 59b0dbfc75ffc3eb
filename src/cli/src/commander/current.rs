//! Who commands an application, read over HTTP.

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use synod_machine::authority::AuthorityOp;
use synod_types::command::Operation;

use crate::connection::Cluster;
use crate::exit::Failure;
use crate::reader::percent_encoded;

/// Digits of an id that are enough to name a commander, where only one begins with them.
const PREFIX_DIGITS_MIN: usize = 4;
/// Digits of an id that people get to see.
const SHORT_DIGITS: usize = 12;

/// What `/v1/apps/{app}/commanders` answers.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Commanders {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    pub(super) time_ms: u64,
    pub(super) signatures_needed: u32,
    pub(super) commanders: Vec<Listed>,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) terms: Terms,
    pub(super) since: u64,
    pub(super) revoked: Option<u64>,
    pub(super) predecessor: Option<String>,
    pub(super) successor: Option<String>,
}

/// What a commander may do, and when.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) scopes: Vec<String>,
    pub(super) valid_from_ms: Option<u64>,
    pub(super) valid_to_ms: Option<u64>,
}

/// What an operation does to whom.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(super) struct Deed {
    pub(super) what: String,
    #[serde(default)]
    pub(super) commander: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) members: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<u32>,
    #[serde(flatten)]
    pub(super) terms: Option<Terms>,
}

/// What `/v1/apps/{app}/commanders/log` answers.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Log {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) more: bool,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) state_ndx: u64,
    pub(super) time_ms: u64,
    pub(super) by: String,
    pub(super) step: String,
    pub(super) change: Option<u64>,
    #[serde(flatten)]
    pub(super) deed: Deed,
}

/// What `/v1/apps/{app}/commanders/pending` answers.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pending {
    pub(super) app_ndx: u32,
    pub(super) state_ndx: u64,
    pub(super) signatures_needed: u32,
    pub(super) pending: Vec<Waiting>,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Waiting {
    pub(super) change: u64,
    pub(super) time_ms: u64,
    pub(super) lapses_ms: u64,
    pub(super) by: String,
    #[serde(flatten)]
    pub(super) deed: Deed,
    pub(super) operation: String,
    pub(super) digest: String,
    pub(super) approvals: Vec<String>,
    pub(super) signatures: u32,
}

impl Commanders {
    /// A commander as people know it: by its name, and the beginning of its id.
    pub(super) fn shown(&self, id: &str) -> String {
        let known = self.commanders.iter().find(|known| known.id == id);
        known.map_or_else(|| short(id), |known| format!("{} ({})", known.terms.name, short(id)))
    }

    /// The id that begins with `prefix`, among those who were not revoked.
    pub(super) fn find(&self, prefix: &str) -> Result<&str, Failure> {
        let prefix = prefix.to_lowercase();
        let is_hex = prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex || prefix.len() < PREFIX_DIGITS_MIN {
            let text = format!(
                "{prefix:?} names no commander: give its id, or at least {PREFIX_DIGITS_MIN} of its first digits"
            );
            return Err(Failure::Usage(text));
        }
        let active = self.commanders.iter().filter(|commander| commander.revoked.is_none());
        let found: Vec<&Listed> = active.filter(|commander| commander.id.starts_with(&prefix)).collect();
        match &found[..] {
            [one] => Ok(&one.id),
            [] => Err(Failure::Usage(format!(
                "no commander's id begins with {prefix}; `synod commander list` shows them"
            ))),
            many => {
                let many: Vec<String> =
                    many.iter().map(|one| format!("{} ({})", one.id, one.terms.name)).collect();
                Err(Failure::Usage(format!("{prefix} begins more than one id: {}", many.join(", "))))
            }
        }
    }
}

impl Waiting {
    /// What was proposed, from its very bytes: a node could say of them what it likes.
    pub(super) fn operation(&self) -> anyhow::Result<AuthorityOp> {
        let bytes = BASE64.decode(&self.operation).context("the node gives no operation for the change")?;
        let Some(Operation::Authority(bytes)) = Operation::split(&bytes) else {
            anyhow::bail!("the node gives another operation for the change than one on commanders");
        };
        let op = AuthorityOp::decode(bytes)?;
        ensure!(
            op.digest().to_string() == self.digest,
            "the node gives another digest than that of the operation"
        );
        Ok(op)
    }
}

/// The beginning of an id.
pub(super) fn short(id: &str) -> String {
    id.chars().take(SHORT_DIGITS).collect()
}

/// Reads `/v1/apps/{app}/commanders`, or what is below it.
pub(super) async fn read<T: DeserializeOwned>(
    cluster: &Cluster,
    app: &str,
    below: &str,
    parameters: &[(&str, String)],
) -> anyhow::Result<T> {
    let path = format!("/v1/apps/{}/commanders{below}", percent_encoded(app.as_bytes()));
    cluster.reader()?.get(&path, parameters).await?.json()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn listed(id: &str, name: &str, since: u64, revoked: Option<u64>) -> Listed {
        let (name, role) = (name.to_owned(), "writer".to_owned());
        let terms = Terms { name, role, scopes: Vec::new(), valid_from_ms: None, valid_to_ms: None };
        Listed { id: id.to_owned(), terms, since, revoked, predecessor: None, successor: None }
    }

    pub(in super::super) fn commanders(commanders: Vec<Listed>) -> Commanders {
        Commanders { app_ndx: 1, state_ndx: 18, time_ms: 0, signatures_needed: 1, commanders }
    }

    #[test]
    fn a_prefix_stands_for_one_commander() {
        let all = commanders(vec![
            listed("abcd11", "a", 1, None),
            listed("abcd22", "b", 2, None),
            listed("ffff00", "c", 1, Some(3)),
        ]);
        assert_eq!(all.find("ABCD1"), Ok("abcd11"));
        for bad in ["abcd", "abc", "ffff", "9999", "a", "a name", ""] {
            assert!(all.find(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn what_is_shown_of_a_change_is_what_is_signed() {
        let op = AuthorityOp::Revoke { commander: synod_types::CommanderId::default() };
        let deed = Deed {
            what: "revoke".to_owned(),
            commander: "00".to_owned(),
            members: None,
            level: None,
            terms: None,
        };
        let waiting = Waiting {
            change: 9,
            time_ms: 1,
            lapses_ms: 2,
            by: "00".to_owned(),
            deed,
            operation: BASE64.encode(op.encode()),
            digest: op.digest().to_string(),
            approvals: Vec::new(),
            signatures: 1,
        };
        assert_eq!(waiting.operation().unwrap(), op);
        let forged = Waiting { digest: synod_types::Digest::of(&[b"x"]).to_string(), ..waiting.clone() };
        assert!(forged.operation().is_err());
        for operation in ["AAAA", "", "?"] {
            let forged = Waiting { operation: operation.to_owned(), ..waiting.clone() };
            assert!(forged.operation().is_err(), "{operation:?}");
        }
    }
}
