//! A whole zone in messages (RFC 5936), as many as it takes: the SOA, everything else, and the SOA again.
//!
//! An IXFR (RFC 1995) is answered the same way, which every client of IXFR has to understand (section 4 there). Nothing
//! here knows the connection; names keep their case.

use std::iter::Peekable;

use synod_types::limits::DNS_TRANSFER_MESSAGE_BYTES;
use synod_zone::Rtype;
use synod_zone::zone::Zone;

use crate::message::{
    Case, Edns, Full, NameTable, Owner, Query, STREAM_BYTES_MAX, Section, UDP_BYTES_MAX, Writer, flag,
};

/// Bytes of an OPT record without options.
const OPT_BYTES: usize = 11;

/// A record, its names in wire form.
pub(crate) struct Line<'z> {
    owner: &'z [u8],
    rtype: Rtype,
    ttl: u32,
    rdata: &'z [u8],
}

/// The messages of one transfer, one after the other.
pub(crate) struct Messages<'q, I: Iterator> {
    query: Query<'q>,
    records: Peekable<I>,
    is_first: bool,
}

/// The transfer of `zone` as an answer to `query`.
pub(crate) fn messages<'q, 'z>(
    zone: &'z Zone,
    query: Query<'q>,
) -> Messages<'q, impl Iterator<Item = Line<'z>> + use<'z>> {
    let all = zone.nodes().flat_map(|node| {
        node.rrsets().flat_map(move |rrset| {
            rrset.records().map(move |rdata| Line {
                owner: node.name(),
                rtype: rrset.rtype(),
                ttl: rrset.ttl(),
                rdata,
            })
        })
    });
    let soa = zone.soa();
    let end = soa.records().map(move |rdata| Line {
        owner: zone.apex().name(),
        rtype: Rtype::SOA,
        ttl: soa.ttl(),
        rdata,
    });
    Messages { query, records: all.chain(end).peekable(), is_first: true }
}

impl<'z, I: Iterator<Item = Line<'z>>> Messages<'_, I> {
    /// Writes the next message to `out`, in the place of what is there; `false`: there is none left.
    ///
    /// # Errors
    /// [`Full`] if a record is too long for any message.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, Full> {
        if self.records.peek().is_none() {
            return Ok(false);
        }
        let mut names = NameTable::<4096>::new();
        let is_first = std::mem::take(&mut self.is_first);
        let edns = if is_first { self.query.edns } else { None };
        let kept_free = if edns.is_some() { OPT_BYTES } else { 0 };
        let mut writer = Writer::new(out, &mut names, Case::Kept, STREAM_BYTES_MAX - kept_free);
        if is_first && let Some(question) = &self.query.question {
            writer.question(question.bytes);
        }
        let mut is_empty = true;
        while let Some(line) = self.records.peek() {
            let mark = writer.mark();
            let owner = Owner::Named(line.owner);
            let put = writer.record(Section::Answer, owner, line.rtype, line.ttl, line.rdata);
            if put.is_err() || writer.len() + kept_free > DNS_TRANSFER_MESSAGE_BYTES {
                if !is_empty {
                    writer.undo(mark);
                    break;
                }
                // A record that is longer goes alone.
                put?;
            }
            is_empty = false;
            self.records.next();
        }
        if let Some(edns) = edns {
            writer.raw(Section::Additional, |out| push_opt(out, &edns));
        }
        writer.header(self.query.id, flag::QR | flag::AA | self.query.flags & flag::RD);
        Ok(true)
    }
}

/// What answers an OPT record (RFC 6891 section 6.1.1); the first message has one if the query has.
fn push_opt(out: &mut Vec<u8>, edns: &Edns<'_>) {
    let udp_bytes = u16::try_from(UDP_BYTES_MAX).expect("a datagram has less than 64 KiB");
    out.push(0);
    out.extend_from_slice(&Rtype::OPT.0.to_be_bytes());
    out.extend_from_slice(&udp_bytes.to_be_bytes());
    out.extend_from_slice(&[0, 0, u8::from(edns.dnssec_ok) << 7, 0, 0, 0]);
}
