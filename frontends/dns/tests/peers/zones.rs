//! Zones with everything that answers differ over, and questions about them. Drawn from a seed, so that a difference
//! found once is found again.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// A zone as every server gets it.
pub struct ZoneText {
    /// Its origin, with the final dot.
    pub origin: String,
    /// The zone file.
    pub text: String,
}

/// A question, and how it is asked.
#[derive(Clone)]
pub struct Question {
    /// The name, with the final dot.
    pub name: String,
    /// The type's number.
    pub rtype: u16,
    /// The payload size that EDNS(0) announces; `None`: no EDNS.
    pub payload: Option<u16>,
    /// Recursion desired, which an authoritative server copies.
    pub recursion: bool,
}

/// Zones and the names in them.
pub struct World {
    /// Every zone; each server has them all.
    pub zones: Vec<ZoneText>,
    names: Vec<String>,
    rng: StdRng,
}

const LABELS: [&str; 9] = ["a", "b", "c", "www", "mail", "ns", "*", "x-1", "Deep"];
const TYPES: [u16; 16] = [1, 1, 1, 28, 28, 2, 6, 15, 16, 5, 39, 43, 33, 257, 65280, 99];

/// What a line of a zone is about to be.
struct Draft {
    origin: String,
    text: String,
    /// Owners that already have a CNAME or other data, so that neither joins the other.
    owners: Vec<(String, bool)>,
    /// Below these nothing else may stand: cuts and DNAMEs.
    closed: Vec<String>,
}

impl Draft {
    fn line(&mut self, owner: &str, data: &str) {
        writeln!(self.text, "{owner} {data}").expect("writing to a string");
    }

    /// Whether an owner may take data, and whether a CNAME at that.
    fn claim(&mut self, owner: &str, alone: bool) -> bool {
        let is_closed = self.closed.iter().any(|top| is_at_or_below(owner, top));
        let taken = self.owners.iter().find(|(name, _)| name.eq_ignore_ascii_case(owner));
        match taken {
            _ if is_closed => false,
            Some((_, was_alone)) => !was_alone && !alone,
            None => {
                self.owners.push((owner.to_owned(), alone));
                true
            }
        }
    }

    /// Whether nothing stands at or below a name yet.
    fn is_free(&self, name: &str) -> bool {
        let all = self.owners.iter().map(|(owner, _)| owner).chain(&self.closed);
        all.into_iter().all(|owner| {
            !is_at_or_below(owner, name) && !is_at_or_below(name, owner) || owner == &self.origin
        }) && !self.closed.iter().any(|top| is_at_or_below(name, top))
    }
}

fn is_at_or_below(name: &str, top: &str) -> bool {
    let (name, top) = (name.to_ascii_lowercase(), top.to_ascii_lowercase());
    name == top || name.ends_with(&format!(".{top}"))
}

impl World {
    /// Twenty zones, of which some are children of others.
    pub fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut origins: Vec<String> = (0..16).map(|n| format!("zone{n}.test.")).collect();
        origins.extend((0..4).map(|n| format!("child.zone{n}.test.")));
        let zones: Vec<ZoneText> = origins.iter().map(|origin| zone(&mut rng, origin, &origins)).collect();
        let mut names: Vec<String> = zones
            .iter()
            .flat_map(|zone| zone.text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)))
            .filter(|name| name.ends_with('.'))
            .collect();
        names.sort();
        names.dedup();
        World { zones, names, rng }
    }

    /// The next question: about a name that exists, one above, below or beside it, or none of ours.
    pub fn question(&mut self) -> Question {
        let rng = &mut self.rng;
        let name = self.names.choose(rng).expect("there are names").clone();
        let label = *LABELS.choose(rng).expect("there are labels");
        let name = match rng.random_range(0..10) {
            0..=3 => name,
            4 => format!("{label}.{name}"),
            5 => format!("{label}.q.{name}"),
            6 => name.split_once('.').map_or(name.clone(), |(_, parent)| format!("{label}.{parent}")),
            7 => name.split_once('.').map_or(name.clone(), |(_, parent)| parent.to_owned()),
            8 => flip_case(rng, &name),
            _ => format!("{}.{name}", "l".repeat(rng.random_range(1..=63))),
        };
        let name =
            if name.is_empty() || name == "." || name.len() > 250 { "zone0.test.".to_owned() } else { name };
        Question {
            name,
            rtype: *TYPES.choose(rng).expect("there are types"),
            payload: *[None, None, Some(512), Some(1232), Some(1232), Some(4096), Some(0)]
                .choose(rng)
                .expect("sizes"),
            recursion: rng.random_bool(0.3),
        }
    }
}

fn flip_case(rng: &mut StdRng, name: &str) -> String {
    let mut flip = |c: char| if rng.random_bool(0.5) { c.to_ascii_uppercase() } else { c };
    name.chars().map(&mut flip).collect()
}

fn zone(rng: &mut StdRng, origin: &str, origins: &[String]) -> ZoneText {
    let mut draft = Draft {
        origin: origin.to_owned(),
        text: "$TTL 3600\n".to_owned(),
        owners: vec![(origin.to_owned(), false)],
        closed: Vec::new(),
    };
    // The parent of a hosted child delegates it; nothing else may stand there.
    if let Some(child) = origins.iter().find(|other| **other == format!("child.{origin}")) {
        draft.line(child, "300 NS ns.outside.example.");
        draft.line(child, &format!("300 NS ns1.{child}"));
        draft.line(&format!("ns1.{child}"), "300 A 192.0.2.77");
        draft.line(child, &format!("300 DS 4711 8 2 {}", "ab".repeat(32)));
        draft.closed.push(child.clone());
    }
    let (serial, minimum) = (rng.random_range(1..9999), rng.random_range(60..7200));
    draft.line(origin, &format!("1800 SOA ns1.{origin} Host.{origin} {serial} 3600 600 86400 {minimum}"));
    draft.line(origin, &format!("NS ns1.{origin}"));
    draft.line(origin, "NS ns2.outside.example.");
    draft.line(&format!("ns1.{origin}"), "A 192.0.2.1");
    draft.owners.push((format!("ns1.{origin}"), false));
    if origin.starts_with("child.") {
        draft.line(&format!("ns1.{origin}"), "AAAA 2001:db8::1");
    }
    for n in 0..60 {
        piece(rng, &mut draft, origins, n);
    }
    ZoneText { origin: origin.to_owned(), text: draft.text }
}

fn owner(rng: &mut StdRng, origin: &str) -> String {
    let depth = rng.random_range(1..=3);
    let labels: Vec<&str> = (0..depth).map(|_| *LABELS.choose(rng).expect("there are labels")).collect();
    format!("{}.{origin}", labels.join("."))
}

/// A name to point to: of this zone, of another one, of nobody.
fn target(rng: &mut StdRng, origin: &str, origins: &[String]) -> String {
    match rng.random_range(0..6) {
        0..=2 => owner(rng, origin).replace("*.", "w."),
        3 | 4 => {
            let other = origins.choose(rng).expect("there are zones");
            owner(rng, other).replace("*.", "w.")
        }
        _ => "elsewhere.example.".to_owned(),
    }
}

fn piece(rng: &mut StdRng, draft: &mut Draft, origins: &[String], n: u32) {
    let origin = draft.origin.clone();
    let name = owner(rng, &origin);
    let ttl = [60, 300, 3600][rng.random_range(0..3)];
    match rng.random_range(0..24) {
        0..=6 => {
            if draft.claim(&name, false) {
                draft.line(&name, &format!("3600 A 192.0.2.{n}"));
                if rng.random_bool(0.5) {
                    draft.line(&name, &format!("3600 AAAA 2001:db8::{n:x}"));
                }
            }
        }
        7..=9 => {
            let target = target(rng, &origin, origins);
            if draft.claim(&name, true) {
                draft.line(&name, &format!("{ttl} CNAME {target}"));
            }
        }
        10 | 11 => {
            let target = target(rng, &origin, origins);
            if !name.contains('*') && draft.is_free(&name) && draft.claim(&name, false) {
                draft.line(&name, &format!("{ttl} DNAME {target}"));
                if rng.random_bool(0.5) {
                    draft.line(&name, "3600 TXT \"beside a DNAME\"");
                }
                draft.closed.push(name);
            }
        }
        12..=14 => {
            if !name.contains('*') && draft.is_free(&name) {
                draft.line(&name, &format!("{ttl} NS ns.{name}"));
                draft.line(&format!("ns.{name}"), &format!("{ttl} A 198.51.100.{n}"));
                if rng.random_bool(0.5) {
                    draft.line(&format!("ns.{name}"), &format!("{ttl} AAAA 2001:db8:1::{n:x}"));
                }
                if rng.random_bool(0.5) {
                    draft.line(&name, &format!("{ttl} NS ns1.{origin}"));
                }
                if rng.random_bool(0.3) {
                    draft.line(&name, &format!("3600 DS 1 8 2 {}", "cd".repeat(32)));
                }
                draft.closed.push(name);
            }
        }
        15 => {
            if draft.claim(&name, false) {
                draft.line(&name, &format!("3600 TXT \"{}\" \"\" \"{n}\"", "t".repeat(255)));
            }
        }
        16 => {
            if draft.claim(&name, false) {
                // From below the smallest limit to above the largest.
                let strings = [2, 5, 18, 60][rng.random_range(0..4)];
                for k in 0..strings {
                    draft.line(&name, &format!("3600 TXT \"{k:03}{}\"", "v".repeat(97)));
                }
            }
        }
        17 | 18 => {
            let target = target(rng, &origin, origins);
            if draft.claim(&name, false) {
                draft.line(&name, &format!("3600 MX {n} {target}"));
            }
        }
        19 => {
            let target = target(rng, &origin, origins);
            if draft.claim(&name, false) {
                draft.line(&name, &format!("3600 SRV 1 2 {n} {target}"));
            }
        }
        20 => {
            if draft.claim(&name, false) {
                draft.line(&name, "3600 CAA 0 issue \"ca.example\"");
                draft.line(&name, "3600 TYPE65280 \\# 4 01020304");
            }
        }
        _ => {
            let wild = format!("*.{}", name.trim_start_matches("*."));
            if draft.claim(&wild, false) {
                draft.line(&wild, &format!("3600 A 203.0.113.{n}"));
                draft.line(&wild, "3600 TXT \"wild\"");
            }
        }
    }
}
