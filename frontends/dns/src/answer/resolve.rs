//! RFC 1034 4.3.2 on a set of zones: down to the name, around aliases, to data, a referral, or the proof that there is
//! none.
//!
//! DNAME: RFC 6672 3. Wildcards: RFC 4592. Negative answers: RFC 2308 2, 3. Which zone answers for DS: RFC 4035 3.1.4.1.
//! ANY: RFC 8482 4.1, the first RRset. An alias is followed across this server's zones, from this state alone.

use synod_zone::zone::{Cover, Node, Rrset, Served};
use synod_zone::{Rtype, Zone, Zones};

use crate::answer::response::Response;
use crate::answer::state::{self, Decimal, StateName};
use crate::answer::{Source, additional};
use crate::message::{CLASS_IN, Full, HEADER_BYTES, Owner, POINTER_END, QueryName, Question, Rcode, Section};

/// Aliases that one answer follows. DNAMEs can make ever new names, and every alias costs a look-up.
const ALIASES_MAX: usize = 16;

/// The zone that answers for a name in lower case: the one with the longest origin at or above it. For DS at an origin,
/// the one above that.
pub(super) fn find_zone<'z>(zones: &'z dyn Zones, name: &QueryName, qtype: Rtype) -> Option<Served<'z>> {
    let mut found = name.suffixes().filter_map(|suffix| Some((suffix, zones.served(suffix)?)));
    let (origin, served) = found.next()?;
    if qtype == Rtype::DS && origin.len() == name.as_wire().len() {
        return Some(found.next().map_or(served, |(_, above)| above));
    }
    Some(served)
}

/// Answers the question from this zone, and from where its aliases lead.
pub(super) fn resolve<'z>(
    source: &Source<'z>,
    zone: &'z Zone,
    question: &Question<'_>,
    response: &mut Response<'_, '_, '_>,
) -> Rcode {
    response.is_from(zone, source.state_ndx);
    let mut answer = Answer { source, zone, response, question, aliases: None };
    loop {
        match answer.step() {
            Ok(Step::Done(rcode)) => return rcode,
            Ok(Step::Alias) => {}
            Err(Full) => {
                answer.response.is_truncated = true;
                return Rcode::NOERROR;
            }
        }
    }
}

/// Answers with the zone's SOA.
pub(super) fn soa(source: &Source<'_>, zone: &Zone, response: &mut Response<'_, '_, '_>) -> Rcode {
    response.is_from(zone, source.state_ndx);
    response.is_authoritative = true;
    if response.writer.rrset(Section::Answer, Owner::At(HEADER_BYTES), zone.soa()).is_err() {
        response.is_truncated = true;
    }
    Rcode::NOERROR
}

enum Step {
    /// The answer is complete.
    Done(Rcode),
    /// It goes on at another name.
    Alias,
}

struct Answer<'r, 'z, 'q, 'a, 'i> {
    source: &'r Source<'z>,
    /// The zone of the present name.
    zone: &'z Zone,
    response: &'r mut Response<'q, 'a, 'i>,
    question: &'r Question<'r>,
    /// None as long as the present name is the question's.
    aliases: Option<Aliases<'z>>,
}

/// The way from the question's name to the present one.
struct Aliases<'z> {
    /// The present name, its case as it was told.
    name: QueryName,
    /// The same in lower case.
    lower: QueryName,
    /// Where the names on the way stand in the message: the question's first, the present one last.
    places: [usize; ALIASES_MAX + 1],
    count: usize,
    /// The DNAMEs in the answer: each stands there once.
    dnames: [Option<Rrset<'z>>; ALIASES_MAX],
}

impl<'z> Answer<'_, 'z, '_, '_, '_> {
    fn step(&mut self) -> Result<Step, Full> {
        let qtype = self.question.qtype;
        let zone = self.zone;
        let Some(found) = zone.find(self.lower()) else { unreachable!("the name is in its zone") };
        match state::of(zone, self.lower(), found) {
            StateName::Other => {}
            StateName::Itself | StateName::ItselfWithData if matches!(qtype, Rtype::TXT | Rtype::ANY) => {
                return self.state();
            }
            StateName::ItselfWithData => {}
            StateName::Itself => return Ok(self.nothing(Rcode::NOERROR)),
            StateName::Below => return Ok(self.nothing(Rcode::NXDOMAIN)),
        }
        let cover = if found.exact { found.node.cover() } else { found.node.cover_below() };
        match cover {
            Cover::None => {}
            // The parent answers for the DS of its child.
            Cover::Cut(cut) if qtype == Rtype::DS && found.exact && found.node == cut => {
                return self.signer(cut);
            }
            Cover::Cut(cut) => return self.refer(cut),
            Cover::Dname(above) => return self.rename(above),
        }
        let node = match (found.exact, found.node.wildcard()) {
            (true, _) => found.node,
            (false, Some(wildcard)) => wildcard,
            (false, None) => return Ok(self.nothing(Rcode::NXDOMAIN)),
        };
        if qtype == Rtype::ANY {
            return match node.rrsets().next() {
                Some(rrset) => self.data(rrset),
                None => Ok(self.nothing(Rcode::NOERROR)),
            };
        }
        // One way through, for the type and for an alias.
        let mut alias = None;
        for rrset in node.rrsets() {
            if rrset.rtype() == qtype {
                return self.data(rrset);
            }
            if rrset.rtype() == Rtype::CNAME {
                alias = Some(rrset);
            }
        }
        match alias {
            Some(cname) => self.follow(cname),
            None => Ok(self.nothing(Rcode::NOERROR)),
        }
    }

    /// The DS at a delegation; the zone's name servers do not come along, as they would be taken for the child's.
    fn signer(&mut self, cut: Node<'z>) -> Result<Step, Full> {
        let Some(ds) = cut.rrset(Rtype::DS) else { return Ok(self.nothing(Rcode::NOERROR)) };
        self.claim();
        let owner = self.owner();
        self.response.writer.rrset(Section::Answer, owner, ds)?;
        Ok(Step::Done(Rcode::NOERROR))
    }

    /// There is what was asked for.
    fn data(&mut self, rrset: Rrset<'z>) -> Result<Step, Full> {
        self.claim();
        let owner = self.owner();
        self.response.writer.rrset(Section::Answer, owner, rrset)?;
        if self.question.qclass == CLASS_IN && self.question.qtype != Rtype::ANY {
            additional::add(self.zone, self.origin_place(), rrset, self.response);
        }
        Ok(Step::Done(Rcode::NOERROR))
    }

    /// There is no such data, or no such name: the SOA says for how long.
    fn nothing(&mut self, rcode: Rcode) -> Step {
        self.claim();
        let owner = self.origin_owner();
        let soa = self.zone.soa();
        if let Some(rdata) = soa.records().next() {
            let ttl = self.zone.negative_ttl();
            let told = self.response.writer.record(Section::Authority, owner, Rtype::SOA, ttl, rdata);
            // Without its SOA the rcode still holds.
            self.response.is_truncated |= told.is_err();
        }
        Step::Done(rcode)
    }

    /// Others answer for the name.
    fn refer(&mut self, cut: Node<'z>) -> Result<Step, Full> {
        additional::refer(self.zone, cut, self.response)?;
        Ok(Step::Done(Rcode::NOERROR))
    }

    /// The number of the state.
    fn state(&mut self) -> Result<Step, Full> {
        self.claim();
        let mut rdata = [0; 21];
        let len = Decimal::of(self.source.state_ndx).txt(&mut rdata);
        let owner = self.owner();
        self.response.writer.record(Section::Answer, owner, Rtype::TXT, 0, &rdata[..len])?;
        Ok(Step::Done(Rcode::NOERROR))
    }

    /// The name is an alias.
    fn follow(&mut self, cname: Rrset<'z>) -> Result<Step, Full> {
        self.claim();
        let owner = self.owner();
        let place = self.response.writer.rrset(Section::Answer, owner, cname)?;
        match cname.records().next().and_then(QueryName::read) {
            Some(target) => Ok(self.go_on(target, place, None)),
            None => Ok(Step::Done(Rcode::NOERROR)),
        }
    }

    /// The name is below a DNAME: it becomes another one, and the DNAME is told together with the alias that it makes.
    fn rename(&mut self, above: Node<'z>) -> Result<Step, Full> {
        self.claim();
        let Some(dname) = above.rrset(Rtype::DNAME) else { unreachable!("the node covers by its DNAME") };
        let (name, place) = self.present();
        let below = name.len() - above.name().len();
        let target = dname.records().next().and_then(QueryName::read);
        let target = target.and_then(|end| QueryName::concat(&name[..below], end.as_wire()));
        let is_told = self.aliases.as_ref().is_some_and(|aliases| aliases.dnames.contains(&Some(dname)));
        if !is_told {
            let owner = match &self.aliases {
                None => Owner::At(place + below),
                Some(_) => Owner::Named(above.name()),
            };
            self.response.writer.rrset(Section::Answer, owner, dname)?;
        }
        let Some(target) = target else { return Ok(Step::Done(Rcode::YXDOMAIN)) };
        let (ttl, rdata) = (dname.ttl(), target.as_wire());
        let owner = self.owner();
        let place = self.response.writer.record(Section::Answer, owner, Rtype::CNAME, ttl, rdata)?;
        if self.question.qtype == Rtype::CNAME {
            return Ok(Step::Done(Rcode::NOERROR));
        }
        Ok(self.go_on(target, place, Some(dname)))
    }

    /// Goes on at a name that stands at `place`, unless it was there before, is not this server's, or is one too many.
    fn go_on(&mut self, target: QueryName, place: usize, dname: Option<Rrset<'z>>) -> Step {
        let Some(lower) = QueryName::read_lowercase(target.as_wire()) else { unreachable!("it is a name") };
        let Some(Served::Whole(zone)) = find_zone(self.source.zones, &lower, self.question.qtype) else {
            return Step::Done(Rcode::NOERROR);
        };
        let aliases = self.aliases.get_or_insert(Aliases {
            name: QueryName::ROOT,
            lower: QueryName::ROOT,
            places: [HEADER_BYTES; ALIASES_MAX + 1],
            count: 0,
            dnames: [None; ALIASES_MAX],
        });
        let place = self.response.writer.labels_at(place);
        let mut before = aliases.places[..=aliases.count].iter();
        let is_loop = before.any(|at| self.response.writer.stands_at(*at, lower.as_wire()));
        if is_loop || aliases.count == ALIASES_MAX || place >= POINTER_END {
            return Step::Done(Rcode::NOERROR);
        }
        aliases.dnames[aliases.count] = dname;
        aliases.count += 1;
        aliases.places[aliases.count] = place;
        (aliases.name, aliases.lower) = (target, lower);
        self.zone = zone;
        Step::Alias
    }

    /// The data is this zone's: the answer is authoritative, if a class was named (RFC 1034 3.7.1) and if that is so of
    /// its first owner.
    fn claim(&mut self) {
        if self.aliases.is_none() {
            self.response.is_authoritative = self.question.qclass == CLASS_IN;
        }
    }

    /// The present name in lower case.
    fn lower(&self) -> &[u8] {
        match &self.aliases {
            None => self.question.name.as_wire(),
            Some(aliases) => aliases.lower.as_wire(),
        }
    }

    /// The present name, its case as it was told, and where it stands in the message.
    fn present(&self) -> (&[u8], usize) {
        match &self.aliases {
            None => (self.question.cased_name(), HEADER_BYTES),
            Some(aliases) => (aliases.name.as_wire(), aliases.places[aliases.count]),
        }
    }

    /// The owner of what is at the present name.
    fn owner(&self) -> Owner<'static> {
        let (_, place) = self.present();
        Owner::At(place)
    }

    /// Where the zone's origin stands in the message, if it is part of the question.
    fn origin_place(&self) -> Option<usize> {
        let below = self.lower().len() - self.zone.origin().as_wire().len();
        self.aliases.is_none().then_some(HEADER_BYTES + below)
    }

    fn origin_owner(&self) -> Owner<'z> {
        match self.origin_place() {
            Some(at) => Owner::At(at),
            None => Owner::Named(self.zone.origin().as_wire()),
        }
    }
}
