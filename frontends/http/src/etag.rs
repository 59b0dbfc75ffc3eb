//! Which version of something an answer shows (RFC 9110 8.8.3), and whether the client has it already (13.1.2).

use std::fmt::Display;

use axum::http::HeaderMap;
use axum::http::header::{HeaderValue, IF_NONE_MATCH};
use utoipa::IntoParams;

/// Asks for nothing that the client has.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes what `EntityTag::is_known` reads")]
pub(crate) struct IfNoneMatch {
    /// The ETag of an earlier answer; if it still holds, the answer is 304.
    #[param(rename = "If-None-Match", nullable = false)]
    if_none_match: Option<String>,
}

/// What tells one version from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EntityTag(HeaderValue);

impl EntityTag {
    /// Two answers with this tag are the same, byte for byte.
    pub(crate) fn strong(version: impl Display) -> EntityTag {
        EntityTag::of(format!("\"{version}\""))
    }

    /// Two answers with this tag say the same.
    pub(crate) fn weak(version: impl Display) -> EntityTag {
        EntityTag::of(format!("W/\"{version}\""))
    }

    fn of(text: String) -> EntityTag {
        EntityTag(HeaderValue::try_from(text).expect("versions are digits, letters and signs between them"))
    }

    /// The value of `ETag`.
    pub(crate) fn value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Whether the client has this version, by `If-None-Match`: the weak comparison, and `*` for any version.
    pub(crate) fn is_known(&self, headers: &HeaderMap) -> bool {
        let known = headers.get_all(IF_NONE_MATCH).into_iter().map(HeaderValue::as_bytes);
        known.into_iter().any(|list| list.trim_ascii() == b"*" || tags(list).any(|tag| tag == self.opaque()))
    }

    /// What is between the quotes.
    fn opaque(&self) -> &[u8] {
        let tag = self.0.as_bytes();
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
        &tag[1..tag.len() - 1]
    }
}

/// The same tag for other bytes that say the same.
pub(crate) fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    let is_strong = tag.as_bytes().starts_with(b"\"");
    is_strong.then(|| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()).flatten()
}

/// What is between the quotes of each tag in a list, weak or strong; commas may be among it. What is no tag ends the list.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !b" \t,".contains(byte))?;
        let tag = &rest[start..];
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag).strip_prefix(b"\"")?;
        let end = tag.iter().position(|byte| *byte == b'"')?;
        rest = &tag[end + 1..];
        Some(&tag[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_known(tag: &EntityTag, lists: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(IF_NONE_MATCH, HeaderValue::from_static(list));
        }
        tag.is_known(&headers)
    }

    #[test]
    fn a_version_is_known_by_its_tag_strong_or_weak() {
        for tag in [EntityTag::strong("3-7"), EntityTag::weak("3-7")] {
            for known in [
                &["\"3-7\""][..],
                &["W/\"3-7\""],
                &["*"],
                &[" * "],
                &["\"1\", \"3-7\""],
                &["\"1\"", "\"2\" ,W/\"3-7\",\"4\""],
                &[",,\"3-7\""],
                &["\"a,b\",\"3-7\""],
            ] {
                assert!(is_known(&tag, known), "{known:?}");
            }
            for unknown in [
                &[][..],
                &[""],
                &["3-7"],
                &["\"3-8\""],
                &["\"3-7"],
                &["w/\"3-7\""],
                &["\"x\"y, \"3-7\""],
                &["\"*\""],
            ] {
                assert!(!is_known(&tag, unknown), "{unknown:?}");
            }
        }
    }

    #[test]
    fn other_bytes_that_say_the_same_have_a_weak_tag() {
        assert_eq!(weakened(&EntityTag::strong("a").value()), Some(EntityTag::weak("a").value()));
        assert_eq!(weakened(&EntityTag::weak("a").value()), None);
    }
}
