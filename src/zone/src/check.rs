//! Whether records make a zone that can be served.
//!
//! What `named-checkzone` rejects is rejected, and beyond that what would never be answered: records outside the zone
//! and below a delegation or a DNAME, and a delegation whose server can be found only with an address that is missing.
//! Records of an RRset may differ in their TTL; the zone gives all of them the first one's.

use crate::fault::{FAULTS_MAX, Fault, excerpt};
use crate::name::{self, Name};
use crate::order::{Order, Owner};
use crate::rdata;
use crate::record::{Record, TTL_MAX};
use crate::rtype::Rtype;

/// The label below the origin where the zone's stateNdx is found as TXT; no zone holds a record there.
pub const STATE_LABEL: &str = "_state";

/// Bytes of the longest rdata that can be answered: a message has 65,535, of which the header takes 12, the question and
/// the owner up to 255 each, and what stands beside these and in an OPT the rest.
pub const ANSWERED_BYTES_MAX: usize = 65_535 - 12 - 2 * 255 - 4 - 10 - 255;

/// What is wrong with a zone of these records, in the order of lines: the first [`FAULTS_MAX`] faults. `lines` has the
/// line of each record, if the records are from a file.
pub fn check(origin: &Name, records: &[Record], lines: &[u32]) -> Vec<Fault> {
    let mut check = Check { origin, records, lines, faults: Vec::new() };
    let mut in_zone = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        if record.owner.is_at_or_below(origin) {
            in_zone.push((index, record));
        } else {
            check.report(index, |owner| {
                format!("{owner} is not in the zone; take it out, or set $ORIGIN right")
            });
        }
        if record.ttl > TTL_MAX {
            check.report(index, |owner| {
                format!("the TTL of {owner} is over {TTL_MAX} s, the longest there is")
            });
        }
        if record.rdata.len() > ANSWERED_BYTES_MAX {
            check.report(index, |owner| {
                format!(
                    "{owner} has a record of more than {ANSWERED_BYTES_MAX} bytes, which fits into no answer"
                )
            });
        }
    }
    let order = Order::new(in_zone.into_iter(), origin.as_wire().len());
    let nodes = check.walk(&order);
    check.check_apex(&nodes);
    check.check_servers(&nodes);
    check.faults
}

struct Check<'a> {
    origin: &'a Name,
    records: &'a [Record],
    lines: &'a [u32],
    faults: Vec<Fault>,
}

/// A name with records, for what depends on others.
struct Node<'a> {
    owner: Owner<'a>,
    has_address: bool,
    has_alias: bool,
    /// What hides the names below it, if anything does.
    covers: Option<Cover>,
    /// The topmost node above it that hides it, if one does.
    hidden_by: Option<usize>,
}

/// What hides the names below it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    Delegation,
    Dname,
}

impl<'a> Check<'a> {
    /// Looks at each name by itself and at what is above it.
    fn walk<'o>(&mut self, order: &'o Order) -> Vec<Node<'o>> {
        let mut nodes: Vec<Node<'o>> = Vec::new();
        // The node that hides those that follow, as long as they are below it.
        let mut covering: Option<usize> = None;
        for owner in order.owners() {
            covering = covering.filter(|at| owner.key.starts_with(nodes[*at].owner.key));
            let hidden_by = covering;
            let is_reserved =
                owner.key.strip_prefix(STATE_LABEL.as_bytes()).is_some_and(|rest| rest.starts_with(&[0]));
            if is_reserved {
                let what = "is reserved: the server itself answers there, with the stateNdx; take it out";
                self.report_first(&owner, |name| format!("{name} {what}"));
            }
            match hidden_by.map(|at| &nodes[at]) {
                Some(above) => self.check_hidden(&owner, above),
                None => self.check_owner(&owner),
            }
            let has = |wanted: Rtype| owner.records().any(|index| self.records[index].rtype == wanted);
            let covers = match owner.key {
                [] => None,
                _ if has(Rtype::NS) => Some(Cover::Delegation),
                _ => None,
            };
            let covers = covers.or_else(|| has(Rtype::DNAME).then_some(Cover::Dname));
            if covering.is_none() && covers.is_some() {
                covering = Some(nodes.len());
            }
            let has_address = has(Rtype::A) || has(Rtype::AAAA);
            let has_alias = has(Rtype::CNAME);
            nodes.push(Node { owner, has_address, has_alias, covers, hidden_by });
        }
        nodes
    }

    /// Looks at a name that a delegation or a DNAME above it hides.
    fn check_hidden(&mut self, owner: &Owner<'_>, above: &Node<'_>) {
        let is_delegation = above.covers == Some(Cover::Delegation);
        let Some(above) = above.owner.records().next().map(|index| &self.records[index].owner) else {
            return;
        };
        for index in owner.records() {
            match self.records[index].rtype {
                Rtype::A | Rtype::AAAA if is_delegation => {}
                rtype if is_delegation => self.report(index, |name| {
                    let above = excerpt_name(above);
                    format!(
                        "{name} {rtype} is below the delegation of {above}; only A and AAAA may be, as glue"
                    )
                }),
                rtype => self.report(index, |name| {
                    let above = excerpt_name(above);
                    format!(
                        "{name} {rtype} is below the DNAME of {above}, where nothing may be (RFC 6672 2.4)"
                    )
                }),
            }
        }
    }

    /// Looks at the records of one name.
    fn check_owner(&mut self, owner: &Owner<'_>) {
        let is_apex = owner.key.is_empty();
        for (singleton, name) in [(Rtype::SOA, "SOA"), (Rtype::CNAME, "CNAME"), (Rtype::DNAME, "DNAME")] {
            let mut indexes = owner.records().filter(|index| self.records[*index].rtype == singleton);
            let Some(first) = indexes.next() else { continue };
            let rdata = &self.records[first].rdata;
            // A zone keeps one of several equal records. Which SOA it is answers carry, so that even case counts.
            let is_same = |other: &[u8]| match singleton {
                Rtype::SOA => other == rdata,
                _ => rdata::is_same(singleton, rdata, other),
            };
            let other = indexes.find(|index| !is_same(&self.records[*index].rdata));
            if let Some(other) = other {
                let line = self.in_line(first);
                self.report(other, |owner| format!("{owner} has another {name}{line}; there is one at most"));
            }
            if singleton == Rtype::SOA && !is_apex {
                let origin = excerpt_name(self.origin);
                self.report(first, |owner| {
                    format!("a SOA at {owner}; the only one of this zone stands at {origin}")
                });
            }
        }
        let mut indexes = owner.records();
        let alias = indexes.clone().find(|index| self.records[*index].rtype == Rtype::CNAME);
        let other = indexes.find(|index| !may_stand_beside_alias(self.records[*index].rtype));
        if let (Some(alias), Some(other)) = (alias, other) {
            let rtype = self.records[other].rtype;
            let (later, earlier) = if alias > other { (alias, other) } else { (other, alias) };
            let line = self.in_line(earlier);
            self.report(later, |owner| {
                format!(
                    "{owner} has a CNAME beside {rtype}, the first of them{line}; an alias has no other data"
                )
            });
        }
    }

    /// Looks for what every zone has.
    fn check_apex(&mut self, nodes: &[Node<'_>]) {
        let apex = nodes.first().filter(|node| node.owner.key.is_empty());
        let origin = excerpt_name(self.origin);
        for (rtype, what) in
            [(Rtype::SOA, "no SOA record at the zone's name"), (Rtype::NS, "no NS record at the zone's name")]
        {
            let found =
                apex.is_some_and(|apex| apex.owner.records().any(|index| self.records[index].rtype == rtype));
            if !found {
                self.insert(Fault::new(0, 0, format!("{what}, {origin}")));
            }
        }
    }

    /// Looks for the addresses of name servers whose names are in the zone.
    fn check_servers(&mut self, nodes: &[Node<'_>]) {
        for node in nodes.iter().filter(|node| node.hidden_by.is_none()) {
            for index in node.owner.records() {
                let record = &self.records[index];
                if record.rtype == Rtype::NS {
                    self.check_server(nodes, node, index, &Name::of_valid(&record.rdata));
                }
            }
        }
    }

    fn check_server(&mut self, nodes: &[Node<'_>], node: &Node<'_>, index: usize, server: &Name) {
        if !server.is_at_or_below(self.origin) {
            return;
        }
        let mut key = Vec::new();
        let wire = server.as_wire();
        name::put_sort_key(&wire[..wire.len() - self.origin.as_wire().len()], &mut key);
        let is_apex = node.owner.key.is_empty();
        let what = match find(nodes, &key) {
            Found::Address => return,
            // Its addresses are the business of another zone, unless nobody gets there without them.
            Found::Delegation if !is_apex && key.starts_with(node.owner.key) => {
                "has no A or AAAA record here: without this glue nobody gets there"
            }
            Found::Delegation => return,
            Found::Alias if is_apex => "is an alias; an NS record names a host (RFC 2181 10.3)",
            Found::Alias => return,
            Found::Nothing => "has no A or AAAA record; add one, or name another server",
        };
        self.report(index, |owner| format!("the server {} of {owner} {what}", excerpt_name(server)));
    }

    /// Reports a fault of the first of an owner's records.
    fn report_first(&mut self, owner: &Owner<'_>, text: impl FnOnce(&str) -> String) {
        if let Some(index) = owner.records().next() {
            self.report(index, text);
        }
    }

    /// Reports a fault of a record, unless enough are known in front of it; the text is made with the owner's name.
    fn report(&mut self, index: usize, text: impl FnOnce(&str) -> String) {
        let line = self.line(index);
        if self.faults.len() < FAULTS_MAX || self.faults.last().is_some_and(|last| line < last.line) {
            let text = text(&self.name(index));
            self.insert(Fault::new(line, 0, text));
        }
    }

    /// Keeps the faults in order, and no more than asked for.
    fn insert(&mut self, fault: Fault) {
        let place = self.faults.partition_point(|other| other.line <= fault.line);
        self.faults.insert(place, fault);
        self.faults.truncate(FAULTS_MAX);
    }

    fn line(&self, index: usize) -> u32 {
        self.lines.get(index).copied().unwrap_or(0)
    }

    /// Says in which line a record is, if that is known.
    fn in_line(&self, index: usize) -> String {
        match self.line(index) {
            0 => String::new(),
            line => format!(" in line {line}"),
        }
    }

    fn name(&self, index: usize) -> String {
        excerpt_name(&self.records[index].owner)
    }
}

fn excerpt_name(name: &Name) -> String {
    excerpt(name.to_string().as_bytes())
}

/// Types of DNSSEC, which describe an alias and are no data of its own (RFC 4034 3, 4; RFC 2181 10.1).
fn may_stand_beside_alias(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::CNAME | Rtype::RRSIG | Rtype::NSEC | Rtype::SIG | Rtype::KEY | Rtype::NXT)
}

/// What is found at a name.
enum Found {
    Address,
    Alias,
    /// It is at or below a delegation, and there is no glue.
    Delegation,
    Nothing,
}

/// Looks a name up, by its key: through delegations, DNAMEs and wildcards.
fn find(nodes: &[Node<'_>], key: &[u8]) -> Found {
    let search = |key: &[u8]| nodes.binary_search_by(|node| node.owner.key.cmp(key));
    let of = |node: &Node<'_>| match node {
        node if node.has_address => Found::Address,
        node if node.has_alias => Found::Alias,
        _ => Found::Nothing,
    };
    // A name is followed by all that is below it. So whatever is above `key` is above the node before it, too.
    let (exact, before, behind) = match search(key) {
        Ok(at) => (Some(&nodes[at]), Some(at), None),
        Err(at) => (None, at.checked_sub(1), nodes.get(at)),
    };
    if exact.is_some_and(|node| node.has_address) {
        return Found::Address;
    }
    let above = before.map(|at| nodes[at].hidden_by.unwrap_or(at));
    let above = above.map(|at| &nodes[at]).filter(|node| key.starts_with(node.owner.key));
    match above.and_then(|node| node.covers.map(|cover| (cover, node.owner.key.len()))) {
        Some((Cover::Delegation, _)) => return Found::Delegation,
        Some((Cover::Dname, len)) if len < key.len() => return Found::Alias,
        _ => {}
    }
    if let Some(node) = exact {
        return of(node);
    }
    let neighbours = before.map(|at| &nodes[at]).into_iter().chain(behind);
    let encloser = neighbours.map(|node| shared_labels(key, node.owner.key)).max().unwrap_or(0);
    // Where there is something below the name, it exists, and no wildcard answers for it.
    if encloser == key.len() {
        return Found::Nothing;
    }
    search(&[&key[..encloser], b"*\0"].concat()).map_or(Found::Nothing, |at| of(&nodes[at]))
}

/// Bytes of the labels that both keys begin with.
fn shared_labels(key: &[u8], other: &[u8]) -> usize {
    let shared = key.iter().zip(other).take_while(|(a, b)| a == b).count();
    key[..shared].iter().rposition(|byte| *byte == 0).map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone_file;

    /// The faults of a zone example.org with a good beginning, as text.
    fn faults(text: &str) -> Vec<String> {
        let text = format!("$TTL 300\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n{text}");
        let origin: Name = "example.org".parse().unwrap();
        let file = zone_file::parse(text.as_bytes(), &origin).unwrap();
        check(&origin, &file.records, &file.lines).iter().map(Fault::to_string).collect()
    }

    #[test]
    fn servers_are_looked_for_where_a_resolver_would() {
        for good in [
            "@ NS ns.other.test.",
            "@ NS x.wild\n*.wild AAAA ::1",
            "@ NS a.b.wild\n*.wild AAAA ::1",
            "sub NS ns.sub\nns.sub A 192.0.2.2",
            "sub NS sub\nsub A 192.0.2.2",
            "sub NS ns.sibling\nsibling NS ns.other.test.",
            "@ NS ns.sub\nsub NS ns.other.test.",
            "sub NS alias\nalias CNAME ns1",
            "sub NS x.d\nd DNAME other.test.",
            "sub NS d\nd DNAME other.test.\nd A 192.0.2.2",
        ] {
            assert_eq!(faults(good), [""; 0], "{good}");
        }
        for bad in [
            "@ NS none",
            "@ NS none.of.it",
            "@ NS @",
            "@ NS empty\nx.empty A 192.0.2.1",
            "@ NS txt\ntxt TXT x",
            "@ NS alias\nalias CNAME ns1",
            "@ NS x.d\nd DNAME other.test.",
            "@ NS d\nd DNAME other.test.",
            // A name that exists keeps the wildcard from names below it.
            "@ NS x.b.wild\n*.wild A 192.0.2.1\nb.wild TXT x",
            "@ NS c.wild\n*.wild A 192.0.2.1\nx.c.wild TXT x",
            "sub NS ns.sub",
            "sub NS sub",
            "sub NS ns.deep.sub\nx.deep.sub A 192.0.2.1",
            "sub NS none",
        ] {
            let faults = faults(bad);
            assert!(faults.len() == 1 && faults[0].starts_with("line 5: the server"), "{bad}: {faults:?}");
        }
    }

    #[test]
    fn the_first_lines_are_reported() {
        let many: String = (0..100).map(|at| format!("x{at}.sub TXT x\n")).collect();
        let all = faults(&format!("{many}sub NS ns1\nother.test. A 192.0.2.1"));
        let lines: Vec<String> = (5..21).map(|line| format!("line {line}: ")).collect();
        assert_eq!(all.len(), FAULTS_MAX);
        assert!(all.iter().zip(&lines).all(|(fault, line)| fault.starts_with(line)), "{all:?}");
    }
}
