//! From a query to its answer: one pure function.
//!
//! [`answer()`] takes the message apart, turns away what is no question to this server, and leaves the rest to `resolve`,
//! which is RFC 1034 4.3.2 with what later RFCs made of it. What is answered to what:
//!
//! | asked | answered |
//! |---|---|
//! | a response, or less than a header | nothing |
//! | another opcode | NOTIMP (RFC 8906 8.2) |
//! | malformed, or not exactly one question (RFC 9619) | FORMERR |
//! | signed with TSIG | NOTAUTH, BADKEY: there are no keys (RFC 8945 5.2.1) |
//! | another version of EDNS | BADVERS (RFC 6891 6.1.3) |
//! | a cookie and no question | a cookie (RFC 7873 5.4) |
//! | class CHAOS | what `chaos` knows, else REFUSED |
//! | another class but IN and ANY, or a name in no zone | REFUSED |
//! | AXFR over datagrams | NOTIMP; over a stream [`Reply::Transfer`], NOTAUTH for what is no zone (RFC 5936 2.2.1) |
//! | IXFR | the whole zone over a stream; the SOA over datagrams, and to whom has it (RFC 1995 2, 4) |
//! | a zone that is not here, while this node does not know what it lacks; zone data that is too old to be told; a zone whose file is not here or does not load | SERVFAIL |
//! | anything else | what the zone says |

mod additional;
mod chaos;
mod resolve;
mod response;
mod state;

use synod_types::StateNdx;
use synod_zone::zone::Served;
use synod_zone::{Name, Rtype, Zones};

use crate::answer::response::{ExtendedError, Response};
use crate::cookie::Cookies;
use crate::identity::Identity;
use crate::message::{
    CLASS_ANY, CLASS_CHAOS, CLASS_IN, NameTable, Opcode, Query, Question, Rcode, STREAM_BYTES_MAX,
    UDP_BYTES_MAX, UDP_BYTES_MIN, option,
};

/// What a node answers from, all of one state.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The zones of this state.
    pub zones: &'a dyn Zones,
    /// The state's number.
    pub state_ndx: StateNdx,
    /// Whether this state is recent enough to answer from.
    pub freshness: Freshness,
}

/// How much is known of the age of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// It is recent enough.
    Fresh,
    /// It is too old: zone data is refused with SERVFAIL. Which zones there are is answered all the same.
    Stale,
    /// The node has not known since it started that it has everything: a zone that it does not find may be one of its own,
    /// and gets SERVFAIL, too.
    Unknown,
}

impl Source<'_> {
    fn is_fresh(&self) -> bool {
        self.freshness == Freshness::Fresh
    }
}

/// What carries the message, and with it how long it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Datagrams: 512 bytes, or what EDNS(0) allows, up to 1,232.
    Udp,
    /// TCP, DoT, DoQ and DoH: up to 65,535 bytes.
    Stream,
}

/// What to do with the message in `out`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Nothing is sent: what came was no query.
    Silence,
    /// `out` is the answer.
    Send,
    /// The whole zone with this origin was asked for, over a stream; `out` is empty. Whether this client gets it is for
    /// the transport to say, with [`refuse`] if not.
    Transfer(Name),
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// What carries the message.
    pub transport: Transport,
    /// What cookies are made with; `None`: there are none.
    pub cookies: Option<Cookies<'a>>,
}

impl From<Transport> for Client<'_> {
    fn from(transport: Transport) -> Self {
        Client { transport, cookies: None }
    }
}

/// Answers one message. Writes at most one message to `out`, which is cleared first.
pub fn answer<'a>(
    source: &Source<'_>,
    identity: &Identity,
    client: impl Into<Client<'a>>,
    message: &[u8],
    out: &mut Vec<u8>,
) -> Reply {
    out.clear();
    let Client { transport, cookies } = client.into();
    let Some((query, read)) = Query::parse(message) else { return Reply::Silence };
    let mut table = NameTable::new();
    let mut response = Response::new(&query, bytes_max(&query, transport), out, &mut table);
    if query.opcode != Opcode::QUERY {
        // Other opcodes may give every field but the first four bytes another meaning (RFC 8906 8.2.1).
        return match read {
            Ok(()) => response.finish(Rcode::NOTIMP),
            Err(_) => response.finish_bare(Rcode::NOTIMP),
        };
    }
    if read.is_err() {
        return response.finish_bare(Rcode::FORMERR);
    }
    let Some(question) = &query.question else {
        let asked = query.cookie().and_then(|value| cookies?.answer(value));
        return match asked {
            Some(cookie) => {
                response.tell_cookie(cookie);
                response.finish(Rcode::NOERROR)
            }
            None => response.finish_bare(Rcode::FORMERR),
        };
    };
    if let Some(tsig) = query.tsig {
        return response.finish_unknown_key(tsig);
    }
    if let Some(edns) = &query.edns {
        if edns.version != 0 {
            return response.finish(Rcode::BADVERS);
        }
        for (code, value) in edns.options {
            match code {
                option::NSID => response.tell_nsid(&identity.nsid),
                option::ZONEVERSION if value.is_empty() => response.tell_version(),
                // A query has nothing to say in this option (RFC 9660 2.1).
                option::ZONEVERSION => return response.finish(Rcode::FORMERR),
                option::COOKIE => match cookies.map(|cookies| cookies.answer(value)) {
                    Some(Some(cookie)) => response.tell_cookie(cookie),
                    Some(None) => return response.finish(Rcode::FORMERR),
                    None => {}
                },
                _ => {}
            }
        }
    }
    match (question.qclass, question.qtype) {
        (CLASS_IN, Rtype::AXFR | Rtype::IXFR) => transfer(source, transport, &query, question, response),
        (_, Rtype::AXFR | Rtype::IXFR) => response.finish(Rcode::REFUSED),
        (CLASS_IN | CLASS_ANY, _) => match resolve::find_zone(source.zones, &question.name, question.qtype) {
            None if source.freshness == Freshness::Unknown => {
                response.finish_error(Rcode::SERVFAIL, ExtendedError::NotReady)
            }
            None => response.finish_error(Rcode::REFUSED, ExtendedError::NotAuthoritative),
            Some(_) if !source.is_fresh() => response.finish_error(Rcode::SERVFAIL, ExtendedError::NotReady),
            Some(Served::Broken) => response.finish_error(Rcode::SERVFAIL, ExtendedError::NotReady),
            Some(Served::Whole(zone)) => {
                let rcode = resolve::resolve(source, zone, question, &mut response);
                response.finish(rcode)
            }
        },
        (CLASS_CHAOS, _) => match chaos::text(source, identity, question) {
            Some(text) => response.finish_chaos(&text),
            None => response.finish(Rcode::REFUSED),
        },
        _ => response.finish(Rcode::REFUSED),
    }
}

/// Answers with an rcode and nothing else what [`answer()`] would have answered otherwise: what the transport does not
/// want to, or cannot, answer. `out` is cleared first.
pub fn refuse(transport: Transport, message: &[u8], rcode: Rcode, out: &mut Vec<u8>) -> Reply {
    out.clear();
    let Some((query, read)) = Query::parse(message) else { return Reply::Silence };
    let mut table = NameTable::new();
    let response = Response::new(&query, bytes_max(&query, transport), out, &mut table);
    match read {
        Ok(()) => response.finish(rcode),
        Err(_) => response.finish_bare(rcode),
    }
}

/// The shortest answer to a datagram that is one too many: whoever is real comes back with the cookie that is in it, or over
/// TCP. `None`: there is a cookie that says that the client is real.
pub(crate) fn hold_back(cookies: &Cookies<'_>, message: &[u8], out: &mut Vec<u8>) -> Option<Reply> {
    out.clear();
    let Some((query, read)) = Query::parse(message) else { return Some(Reply::Silence) };
    let cookie = if read.is_ok() { query.cookie() } else { None };
    if cookie.is_some_and(|value| cookies.is_valid(value)) {
        return None;
    }
    let mut table = NameTable::new();
    let mut response = Response::new(&query, bytes_max(&query, Transport::Udp), out, &mut table);
    Some(match cookie.and_then(|value| cookies.answer(value)) {
        Some(cookie) => {
            response.tell_cookie(cookie);
            response.finish(Rcode::BADCOOKIE)
        }
        None => {
            response.is_truncated = true;
            response.finish_bare(Rcode::NOERROR)
        }
    })
}

fn bytes_max(query: &Query<'_>, transport: Transport) -> usize {
    match (transport, &query.edns) {
        (Transport::Stream, _) => STREAM_BYTES_MAX,
        (Transport::Udp, None) => UDP_BYTES_MIN,
        (Transport::Udp, Some(edns)) => usize::from(edns.udp_bytes).clamp(UDP_BYTES_MIN, UDP_BYTES_MAX),
    }
}

fn transfer(
    source: &Source<'_>,
    transport: Transport,
    query: &Query<'_>,
    question: &Question<'_>,
    mut response: Response<'_, '_, '_>,
) -> Reply {
    let is_incremental = question.qtype == Rtype::IXFR;
    if transport == Transport::Udp && !is_incremental {
        return response.finish(Rcode::NOTIMP);
    }
    let zone = match source.zones.served(question.name.as_wire()) {
        None if source.freshness != Freshness::Unknown => return response.finish(Rcode::NOTAUTH),
        Some(Served::Whole(zone)) if source.is_fresh() => zone,
        None | Some(Served::Whole(_) | Served::Broken) => {
            return response.finish_error(Rcode::SERVFAIL, ExtendedError::NotReady);
        }
    };
    let is_current = match (is_incremental, query.serial) {
        (false, _) => false,
        (true, None) => return response.finish(Rcode::FORMERR),
        // Serials go round (RFC 1982 3.2): ours is ahead if theirs is less than half a round behind.
        (true, Some(theirs)) => !matches!(zone.serial().wrapping_sub(theirs), 1..=0x8000_0000),
    };
    if is_current || transport == Transport::Udp {
        let rcode = resolve::soa(source, zone, &mut response);
        return response.finish(rcode);
    }
    response.abandon();
    Reply::Transfer(zone.origin().clone())
}
