//! `synod zone get --verify`: that a zone holds what an answer says, and a file is the one that it holds.

use synod_app_zones::{Content, ZoneName, proof};
use synod_types::{ContentKey, StateNdx, TimeMs};

use super::current::Version;
use crate::exit::Failure;
use crate::proved::{self, Asked, Proved};

/// Checks an answer on `zone` from anybody.
///
/// # Errors
/// [`Failure::Broken`], with what does not hold.
pub(super) fn verify(
    answer: &[u8],
    asked: &Asked<'_>,
    zone: &ZoneName,
) -> Result<Proved<synod_app_zones::Version>, Failure> {
    proved::verify(answer, asked, version, |root, version, proof| proof::verify(root, zone, version, proof))
}

/// Checks a file from anybody: it is named by its hash.
///
/// # Errors
/// [`Failure::Broken`], if it is another one.
pub(super) fn verify_file(file: &[u8], key: ContentKey) -> Result<(), Failure> {
    let found = ContentKey::of(file);
    if found != key {
        return Err(proved::broken(format_args!(
            "the zone holds file {key}, and what was given has hash {found}"
        )));
    }
    Ok(())
}

/// The version that JSON says.
fn version(form: &Version) -> Result<synod_app_zones::Version, String> {
    let content = match (&form.key, form.bytes, form.serial) {
        (None, None, None) => None,
        (Some(key), Some(bytes), Some(serial)) => {
            let key = key.parse().map_err(|why| format!("the key {key:?}: {why}"))?;
            Some(Content { key, bytes, serial })
        }
        _ => return Err("a zone is to have a key, bytes and a serial, or none of these".to_owned()),
    };
    let commander = &form.commander;
    Ok(synod_app_zones::Version {
        content,
        changed: StateNdx(form.changed),
        time: TimeMs(form.time_ms),
        commander: commander.parse().map_err(|why| format!("the commander {commander:?}: {why}"))?,
        rolled_back_to: form.rolled_back_to.map(StateNdx),
    })
}
