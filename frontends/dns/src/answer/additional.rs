//! What an answer carries beside what was asked: the zone's name servers, a delegation's, and addresses.

use synod_zone::zone::{Cover, Node, Rrset};
use synod_zone::{Rtype, Zone};

use crate::answer::response::Response;
use crate::message::{Full, Owner, QueryName, Section};

/// RRsets of addresses that one answer carries unasked.
const ADDRESSES_MAX: usize = 32;

/// Behind data comes the zone's NS, then the addresses of the hosts that either names, as far as they fit: a resolver
/// can do without (RFC 2181 9). `origin` is where the zone's origin stands in the message, if it does.
pub(super) fn add<'z>(
    zone: &'z Zone,
    origin: Option<usize>,
    rrset: Rrset<'z>,
    response: &mut Response<'_, '_, '_>,
) {
    let mut servers = zone.apex().rrset(Rtype::NS).filter(|servers| *servers != rrset);
    if let Some(servers_told) = servers {
        let owner = origin.map_or(Owner::Named(zone.origin().as_wire()), Owner::At);
        if response.writer.rrset(Section::Authority, owner, servers_told).is_err() {
            servers = None;
        }
    }
    let mut addresses = Addresses { told: [None; ADDRESSES_MAX], count: 0 };
    addresses.is_told(rrset);
    for named in std::iter::once(rrset).chain(servers) {
        for target in named.records().filter_map(|rdata| host(named.rtype(), rdata)) {
            let Some((target, node)) = look_up(zone, target, named.rtype() == Rtype::NS) else { continue };
            for address in address_rrsets(node) {
                if addresses.is_told(address) {
                    continue;
                }
                let owner = Owner::Named(target);
                if response.writer.rrset(Section::Additional, owner, address).is_err() {
                    return;
                }
            }
        }
    }
}

/// A delegation: its NS, and the addresses of its hosts. Those below the delegation, which nobody else can tell, must
/// be there, or the answer says that it is cut short; others go along as far as they fit (RFC 9471 2).
///
/// # Errors
/// [`Full`] if the NS, or addresses that must be there, do not fit.
pub(super) fn refer(zone: &Zone, cut: Node<'_>, response: &mut Response<'_, '_, '_>) -> Result<(), Full> {
    let Some(servers) = cut.rrset(Rtype::NS) else { unreachable!("a delegation has an NS") };
    response.writer.rrset(Section::Authority, Owner::Named(cut.name()), servers)?;
    for is_below in [true, false] {
        for target in servers.records() {
            let Some((target, node)) = look_up(zone, target, true) else { continue };
            if ends_with(target, cut.name()) != is_below {
                continue;
            }
            for address in address_rrsets(node) {
                let written = response.writer.rrset(Section::Additional, Owner::Named(target), address);
                match (written, is_below) {
                    (Ok(_), _) => {}
                    (Err(Full), true) => return Err(Full),
                    (Err(Full), false) => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

/// Which addresses the message has already.
struct Addresses<'z> {
    told: [Option<Rrset<'z>>; ADDRESSES_MAX],
    count: usize,
}

impl<'z> Addresses<'z> {
    /// Whether this RRset is in the message already, or may not be for their number; from now on it is.
    fn is_told(&mut self, rrset: Rrset<'z>) -> bool {
        if self.told[..self.count].contains(&Some(rrset)) {
            return true;
        }
        let Some(free) = self.told.get_mut(self.count) else { return true };
        *free = Some(rrset);
        self.count += 1;
        false
    }
}

/// The host that a record of this type names, whose addresses its reader will want next.
fn host(rtype: Rtype, rdata: &[u8]) -> Option<&[u8]> {
    let before = match rtype {
        Rtype::NS | Rtype::MB => 0,
        // A preference, or a priority, is in front.
        Rtype::MX | Rtype::KX | Rtype::RT | Rtype::AFSDB | Rtype::SVCB | Rtype::HTTPS => 2,
        // Priority, weight and port are.
        Rtype::SRV => 6,
        _ => return None,
    };
    rdata.get(before..)
}

/// The host with which `target` begins, in wire form, and the node with its addresses, if the zone has one: its own, or
/// a wildcard. What is below a delegation is none of the zone's data; as `glue` for name servers it will do.
fn look_up<'z>(zone: &'z Zone, target: &'z [u8], glue: bool) -> Option<(&'z [u8], Node<'z>)> {
    let name = QueryName::read_lowercase(target)?;
    let found = zone.find(name.as_wire())?;
    let node = match (found.exact, found.node.cover()) {
        (true, Cover::None) => found.node,
        (true, Cover::Cut(_)) if glue => found.node,
        (false, Cover::None) if matches!(found.node.cover_below(), Cover::None) => found.node.wildcard()?,
        _ => return None,
    };
    Some((&target[..name.as_wire().len()], node))
}

fn address_rrsets(node: Node<'_>) -> impl Iterator<Item = Rrset<'_>> {
    [Rtype::A, Rtype::AAAA].into_iter().filter_map(move |rtype| node.rrset(rtype))
}

/// Whether a name in wire form is `end` or below it.
fn ends_with(name: &[u8], end: &[u8]) -> bool {
    let Some(place) = name.len().checked_sub(end.len()) else { return false };
    let mut at = 0;
    while at < place {
        at += 1 + usize::from(name[at]);
    }
    at == place && name[place..].eq_ignore_ascii_case(end)
}
