//! Commands, receipts and what is said about files as JSON: bytes are base64 (RFC 4648, with padding), ids are hex, numbers are numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use synod_types::{
    AppNdx, ContentReceipt, ContentTicket, Digest, Manifest, Outcome, Receipt, Refusal, SignedCommand,
    StateNdx,
};

use crate::progress::{ChangeProgress, CommandName, NodeProgress};

/// A signed command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandForm<'a> {
    #[serde(borrow)]
    body: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    signature: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
}

/// Reads a signed command as JSON.
///
/// # Errors
/// What is wrong with it.
pub fn command_from_json(json: &[u8]) -> Result<SignedCommand, String> {
    let form: CommandForm<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    form.decode()
}

impl CommandForm<'_> {
    fn decode(&self) -> Result<SignedCommand, String> {
        let part = |name: &str, text: &str| match BASE64.decode(text) {
            Ok(bytes) => Ok(Bytes::from(bytes)),
            Err(error) => Err(format!("{name:?} is not base64: {error}")),
        };
        Ok(SignedCommand {
            body: part("body", &self.body)?.into(),
            signature: part("signature", &self.signature)?,
            key: part("key", &self.key)?,
        })
    }
}

/// A receipt.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceiptForm {
    app_ndx: u32,
    seq: u64,
    state_ndx: u64,
    chain: String,
    outcome: OutcomeForm,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum OutcomeForm {
    Done(String),
    Refused(RefusalForm),
}

#[derive(Serialize)]
struct RefusalForm {
    code: &'static str,
    text: String,
}

impl From<&Receipt> for ReceiptForm {
    fn from(receipt: &Receipt) -> ReceiptForm {
        ReceiptForm {
            app_ndx: receipt.app.0,
            seq: receipt.seq.0,
            state_ndx: receipt.state_ndx.0,
            chain: receipt.chain.to_string(),
            outcome: match &receipt.outcome {
                Outcome::Done(answer) => OutcomeForm::Done(BASE64.encode(answer)),
                Outcome::Refused(Refusal { code, text }) => {
                    OutcomeForm::Refused(RefusalForm { code: code.name(), text: text.clone() })
                }
            },
        }
    }
}

/// The next seq of a commander.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NextSeqForm {
    pub(crate) app_ndx: u32,
    pub(crate) seq: u64,
}

/// A command that is not executed yet.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WaitingForm {
    app_ndx: u32,
    commander: String,
    seq: u64,
    command_id: String,
    status: &'static str,
}

impl From<CommandName> for WaitingForm {
    fn from(command: CommandName) -> WaitingForm {
        WaitingForm {
            app_ndx: command.app.0,
            commander: command.commander.to_string(),
            seq: command.seq.0,
            command_id: command.id.to_string(),
            status: "waiting",
        }
    }
}

/// How far every node has come, in the form of the readers' port.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeForm<'a> {
    app_ndx: u32,
    state_ndx: u64,
    everywhere: bool,
    nodes: Vec<NodeForm<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeForm<'a> {
    id: String,
    name: &'a str,
    state: &'static str,
    state_ndx: Option<u64>,
    up: bool,
}

impl<'a> ChangeForm<'a> {
    pub(crate) fn new(app: AppNdx, state_ndx: StateNdx, progress: &'a ChangeProgress) -> ChangeForm<'a> {
        let form = |node: &'a NodeProgress| NodeForm {
            id: node.id.to_string(),
            name: &node.name,
            state: match node.state_ndx {
                None => "unknown",
                Some(_) if node.has_applied(state_ndx) => "applied",
                Some(_) => "pending",
            },
            state_ndx: node.state_ndx.map(|at| at.0),
            up: node.is_up,
        };
        ChangeForm {
            app_ndx: app.0,
            state_ndx: state_ndx.0,
            everywhere: progress.nodes.iter().all(|node| node.has_applied(state_ndx)),
            nodes: progress.nodes.iter().map(form).collect(),
        }
    }
}

/// How a file falls into pieces.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManifestForm {
    bytes: u64,
    pieces: Vec<String>,
}

impl ManifestForm {
    /// The manifest, or what is wrong with it.
    pub(crate) fn decode(self) -> Result<Manifest, String> {
        let digest = |(number, text): (usize, &String)| {
            text.parse::<Digest>().map_err(|error| format!("piece {number}: {error}"))
        };
        let pieces = self.pieces.iter().enumerate().map(digest).collect::<Result<_, _>>()?;
        Ok(Manifest { bytes: self.bytes, pieces })
    }
}

/// The pieces of a file that the node does not have.
#[derive(Serialize)]
pub(crate) struct WantedForm {
    pub(crate) wanted: Vec<u32>,
}

/// Who has stored a file.
#[derive(Serialize)]
pub(crate) struct HeldForm {
    content: String,
    bytes: u64,
    receipts: Vec<ContentReceiptForm>,
}

#[derive(Serialize)]
struct ContentReceiptForm {
    node: String,
    key: String,
    signature: String,
}

impl HeldForm {
    pub(crate) fn new(file: ContentTicket, receipts: &[ContentReceipt]) -> HeldForm {
        let form = |receipt: &ContentReceipt| ContentReceiptForm {
            node: receipt.node.to_string(),
            key: BASE64.encode(&receipt.key),
            signature: BASE64.encode(&receipt.signature),
        };
        HeldForm {
            content: file.content.to_string(),
            bytes: file.bytes,
            receipts: receipts.iter().map(form).collect(),
        }
    }
}
