//! Which form of an answer a client prefers (RFC 9110 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HeaderValue};

/// The offered media type that the client likes best; of equals the first, and the first also where the client does not
/// say. `None`: it accepts none of them.
pub(crate) fn preferred(headers: &HeaderMap, offers: &[&'static str]) -> Option<&'static str> {
    let mut ranges = Vec::new();
    for header in headers.get_all(ACCEPT) {
        // What is not text names no media type of ours.
        let Ok(header) = header.to_str() else { continue };
        ranges.extend(header.split(',').filter_map(Range::of));
    }
    if ranges.is_empty() {
        return offers.first().copied();
    }
    let liked =
        offers.iter().map(|offer| (*offer, quality(&ranges, offer))).filter(|(_, quality)| *quality > 0);
    // The first one of equals: `max_by_key` alone would give the last.
    liked.rev().max_by_key(|(_, quality)| *quality).map(|(offer, _)| offer)
}

/// Whether the client takes gzip (RFC 9110 12.5.3), by every `Accept-Encoding`. One that does not say takes what is plain.
pub(crate) fn accepts_gzip<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    let (mut by_name, mut by_any) = (None, None);
    for header in headers {
        for coding in header.to_str().unwrap_or_default().split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = quality_of(&mut parts).unwrap_or(0);
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                by_name = Some(quality);
            } else if name == "*" {
                by_any = Some(quality);
            }
        }
    }
    by_name.or(by_any).is_some_and(|quality| quality > 0)
}

/// One of the things that a client accepts, like `text/*;q=0.5`.
struct Range<'a> {
    of: &'a str,
    sub: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn of(text: &'a str) -> Option<Range<'a>> {
        let mut parts = text.split(';').map(str::trim);
        let (of, sub) = parts.next()?.split_once('/')?;
        Some(Range { of, sub, quality: quality_of(&mut parts)? })
    }

    /// How exactly it means `offer`; 0: not at all.
    fn exactness(&self, offer: &str) -> u8 {
        let (of, sub) = offer.split_once('/').unwrap_or((offer, ""));
        match (self.of, self.sub) {
            ("*", "*") => 1,
            (range, "*") if range.eq_ignore_ascii_case(of) => 2,
            (range, exact) if range.eq_ignore_ascii_case(of) && exact.eq_ignore_ascii_case(sub) => 3,
            _ => 0,
        }
    }
}

/// The most exact range decides.
fn quality(ranges: &[Range<'_>], offer: &str) -> u16 {
    let fitting =
        ranges.iter().map(|range| (range.exactness(offer), range.quality)).filter(|(it, _)| *it > 0);
    fitting.max().map_or(0, |(_, quality)| quality)
}

/// What `q` says among these parameters, in thousandths; `None` if that is no quality.
fn quality_of<'a>(parameters: &mut impl Iterator<Item = &'a str>) -> Option<u16> {
    let quality = parameters.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    quality.map_or(Some(1000), thousandths)
}

/// `0.25` is 250. At most three digits (RFC 9110 12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match (whole, format!("{part:0<3}").parse()) {
        ("1", Ok(0)) => Some(1000),
        ("0", Ok(part)) => Some(part),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: [&str; 2] = ["application/json", "text/dns"];

    fn of(accept: &[&'static str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        preferred(&headers, &OFFERS)
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (accepts, lists) in [
            (false, &[][..]),
            (false, &[""]),
            (true, &["gzip"]),
            (true, &["deflate, GZIP;q=0.5"]),
            (true, &["br", "x-gzip"]),
            (true, &["*"]),
            (false, &["gzip;q=0, *"]),
            (false, &["br, identity"]),
            (false, &["gzip;q=0.000"]),
            (false, &["gzip;q=2"]),
            (false, &["*;q=0"]),
            (true, &["identity;q=0, gzip"]),
        ] {
            let headers: Vec<HeaderValue> = lists.iter().map(|list| HeaderValue::from_static(list)).collect();
            assert_eq!(accepts_gzip(&headers), accepts, "{lists:?}");
        }
    }

    #[test]
    fn the_client_has_its_way() {
        let (json, dns) = (Some(OFFERS[0]), Some(OFFERS[1]));
        for (accept, expected) in [
            (&[][..], json),
            (&["*/*"], json),
            (&["text/dns"], dns),
            (&["Text/DNS;charset=utf-8"], dns),
            (&["text/*"], dns),
            (&["application/json, text/dns"], json),
            (&["application/json;q=0.5, text/dns;q=0.501"], dns),
            (&["application/json;q=0.5", "text/dns;q=0.501"], dns),
            (&["text/html, */*;q=0.1"], json),
            (&["application/json;q=0, */*;q=0.1"], dns),
            (&["text/*;q=0, text/dns"], dns),
            (&["image/png"], None),
            (&["text/dns;q=0"], None),
            (&["text/dns;q=0.000"], None),
            // What says nothing is as if it were not there.
            (&["", "nonsense"], json),
            (&["text/dns;q=2, text/dns;q=0.1234"], json),
        ] {
            assert_eq!(of(accept), expected, "{accept:?}");
        }
    }
}
