//! What has to hold whatever bytes come. Fuzzing calls this, too.

use std::sync::LazyLock;

use synod_dns::message::Query;
use synod_dns::{Freshness, Identity, Reply, Source, Transport};
use synod_types::StateNdx;

use crate::dig::{self, Message, Served};

static ZONES: LazyLock<Served> = LazyLock::new(|| {
    let other = "f. 300 SOA n.f. h.f. 4294967295 2 3 4 5\nf. 300 NS n.f.\nn.f. 300 A 192.0.2.9\ny.f. 300 CNAME c1.e.\n";
    // A child of the first, which it does not delegate.
    let child =
        "k.e. 9 SOA n.f. h.f. 1 2 3 4 5\nk.e. 9 NS n.f.\nx.k.e. 9 DNAME d.e.\n_state.k.e. 9 A 192.0.2.8\n";
    let mut zones = Served::default();
    for file in [include_str!("zones.txt"), other, child] {
        zones.add(dig::zone(file).expect("these zones are good"));
    }
    zones
});

/// Asks a message that follows a byte which says how: 1 over a stream, 2 of a state that is too old, 4 of one of which nothing
/// is known.
pub fn check(input: &[u8]) {
    let Some((how, query)) = input.split_first() else { return };
    let transport = if how & 1 == 1 { Transport::Stream } else { Transport::Udp };
    let freshness = match how & 6 {
        0 => Freshness::Fresh,
        2 => Freshness::Stale,
        _ => Freshness::Unknown,
    };
    let is_fresh = freshness == Freshness::Fresh;
    let source = Source { zones: &*ZONES, state_ndx: StateNdx(u64::MAX), freshness };
    let identity =
        Identity { version: "v".repeat(300), hostname: "node-1".to_owned(), nsid: vec![b'n'; 300] };

    let read = Query::parse(query);
    let message = match dig::ask(&source, &identity, transport, query) {
        Ok(message) => message,
        Err(Reply::Transfer(_)) => {
            assert!(is_fresh && transport == Transport::Stream);
            return;
        }
        Err(_) => return assert!(read.is_none(), "a query is answered"),
    };
    let (read, is_whole) = read.expect("what is no query is not answered");
    assert!(message.len <= most(&read, transport), "{} bytes", message.len);
    assert!(transport == Transport::Udp || !message.is_truncated());
    is_answer_to(&message, query, &read);
    if is_whole.is_err() {
        assert!(matches!(message.rcode(), 1 | 4), "{message}");
    }
    if !is_fresh {
        assert!(message.authority.is_empty() && !message.is_authoritative(), "{message}");
    }
    let mut refused = vec![];
    let rcode = synod_dns::message::Rcode::REFUSED;
    assert_eq!(synod_dns::answer::refuse(transport, query, rcode, &mut refused), Reply::Send);
    let refused = Message::read(&refused).expect("a refusal is a message");
    assert_eq!(refused.rcode(), 5);
    is_answer_to(&refused, query, &read);
}

fn most(query: &Query<'_>, transport: Transport) -> usize {
    match (transport, &query.edns) {
        (Transport::Stream, _) => 65_535,
        (Transport::Udp, None) => 512,
        (Transport::Udp, Some(edns)) => usize::from(edns.udp_bytes).clamp(512, 1232),
    }
}

fn is_answer_to(message: &Message, query: &[u8], read: &Query<'_>) {
    assert_eq!(message.id.to_be_bytes(), query[..2]);
    // A response, of the same opcode; of the flags, none that are not this server's to set.
    assert_eq!(message.flags >> 11, 0x10 | u16::from(query[2] >> 3));
    assert_eq!(message.flags & 0x00f0, 0);
    assert!(message.question.is_none() || read.question.is_some());
    if let (Some((name, qtype, qclass)), Some(asked)) = (&message.question, &read.question) {
        assert_eq!(name.as_wire(), asked.cased_name());
        assert_eq!((*qtype, *qclass), (asked.qtype.0, asked.qclass));
    }
    assert!(message.opt.is_none() || read.edns.is_some());
}
