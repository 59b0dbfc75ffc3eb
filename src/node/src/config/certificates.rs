//! The `certificates` section: which states are signed, how many signatures are enough, and what is kept.

use synod_types::Threshold;
use synod_types::limits::{CERTIFICATE_COMMANDS, CERTIFICATES_KEPT, CERTIFICATES_KEPT_MAX};

use super::Draft;
use super::document::Value;
use super::fields::Fields;
use super::mistakes::Mistakes;

const COMMANDS_MAX: u64 = 1_000_000_000;

/// How certificates of states are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Certificates {
    /// Commands from one state that is signed to the next.
    pub every_commands: u64,
    /// How many members have to sign.
    pub threshold: Threshold,
    /// Certificates of each application that are kept beside those that prove its members.
    pub keep: usize,
}

impl Default for Certificates {
    fn default() -> Certificates {
        let keep = usize::try_from(CERTIFICATES_KEPT).expect("a small number");
        Certificates { every_commands: CERTIFICATE_COMMANDS, threshold: Threshold::Majority, keep }
    }
}

impl Draft {
    pub(super) fn read_certificates(fields: &mut Fields, mistakes: &mut Mistakes) -> Certificates {
        let default = Certificates::default();
        let mut certificates = fields.table("certificates", mistakes);
        let every_commands = certificates.number("every_commands", 1..=COMMANDS_MAX, mistakes);
        let path = certificates.path("threshold");
        let text = certificates.value("threshold").map(|value| match value {
            Value::Text(text) => text,
            Value::Integer(number) => number.to_string(),
            other => other.kind().to_owned(),
        });
        let threshold = text.and_then(|text| match text.parse() {
            Ok(threshold) => Some(threshold),
            Err(why) => {
                mistakes.add(&path, format!("{why}"));
                None
            }
        });
        let keep = certificates.number("keep", 1..=CERTIFICATES_KEPT_MAX, mistakes);
        certificates.finish(mistakes);
        Certificates {
            every_commands: every_commands.unwrap_or(default.every_commands),
            threshold: threshold.unwrap_or(default.threshold),
            keep: keep.and_then(|keep| usize::try_from(keep).ok()).unwrap_or(default.keep),
        }
    }
}
