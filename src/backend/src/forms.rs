//! Commands, receipts and what is said about files as JSON: bytes are base64 (RFC 4648, with padding), ids are hex, numbers are numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use synod_types::{
    ContentReceipt, ContentTicket, Digest, Manifest, Outcome, Receipt, Refusal, SignedCommand,
};

/// A signed command.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandForm<'a> {
    #[serde(borrow)]
    body: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    signature: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
}

impl CommandForm<'_> {
    /// The command, or what is wrong with it.
    pub(crate) fn decode(&self) -> Result<SignedCommand, String> {
        let part = |name: &str, text: &str| match BASE64.decode(text) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(format!("{name:?} is not base64: {error}")),
        };
        Ok(SignedCommand {
            body: part("body", &self.body)?,
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
