//! Asking and reading in tests: queries from a line of text, answers as `dig` prints them.
//!
//! The reader here shares nothing with the writer under test but names and the table of record types: it takes a
//! message apart strictly, and says what is wrong with it.

#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use synod_dns::{Freshness, Identity, Reply, Source, Transport};
use synod_types::StateNdx;
use synod_zone::{Name, Record, Rtype, Zone, Zones, rdata, zone_file};

/// Zones by their origin in lower case.
#[derive(Default)]
pub struct Served(BTreeMap<Vec<u8>, Zone>);

impl Zones for Served {
    fn zone(&self, origin: &[u8]) -> Option<&Zone> {
        self.0.get(origin)
    }
}

impl Served {
    pub fn add(&mut self, zone: Zone) {
        self.0.insert(zone.origin().to_lowercase().as_wire().to_vec(), zone);
    }
}

/// The zone that a file makes, checked for nothing but what makes it none; its origin is the SOA's owner.
pub fn zone(text: &str) -> Result<Zone, String> {
    let file = zone_file::parse(text.as_bytes(), &Name::root()).map_err(|faults| faults.to_string())?;
    let soa = file.records.iter().find(|record| record.rtype == Rtype::SOA).ok_or("no SOA")?;
    Zone::build(&soa.owner.clone(), file.records).map_err(|error| error.to_string())
}

/// A query in wire form.
#[derive(Clone)]
pub struct Ask {
    pub name: Vec<u8>,
    pub qtype: u16,
    pub qclass: u16,
    /// The header's second word.
    pub flags: u16,
    /// UDP size, version and flags, options.
    pub edns: Option<(u16, u32, Vec<u8>)>,
    /// Of an IXFR's SOA in the authority section.
    pub serial: Option<u32>,
}

impl Ask {
    pub fn new(name: &str, qtype: Rtype) -> Ask {
        let name = Name::parse(name).expect("a name").as_wire().to_vec();
        Ask { name, qtype: qtype.0, qclass: 1, flags: 0, edns: None, serial: None }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0x12, 0x34];
        out.extend(self.flags.to_be_bytes());
        let (authorities, additional) = (u8::from(self.serial.is_some()), u8::from(self.edns.is_some()));
        out.extend([0, 1, 0, 0, 0, authorities, 0, additional]);
        out.extend(&self.name);
        out.extend(self.qtype.to_be_bytes());
        out.extend(self.qclass.to_be_bytes());
        if let Some(serial) = self.serial {
            // Owner: the question's. Two root names and five numbers.
            out.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
            out.extend(serial.to_be_bytes());
            out.extend([0; 16]);
        }
        if let Some((size, ttl, options)) = &self.edns {
            out.extend([0, 0, 41]);
            out.extend(size.to_be_bytes());
            out.extend(ttl.to_be_bytes());
            out.extend(u16::try_from(options.len()).expect("short options").to_be_bytes());
            out.extend(options);
        }
        out
    }
}

impl Ask {
    /// Bytes that the answer has at most over datagrams.
    pub fn udp_limit(&self) -> usize {
        self.edns.as_ref().map_or(512, |(size, _, _)| usize::from(*size).clamp(512, 1232))
    }
}

/// One record of an answer, names in its data spelled out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    pub owner: Name,
    pub rtype: Rtype,
    pub class: u16,
    pub ttl: u32,
    pub rdata: Vec<u8>,
}

impl Told {
    /// What equal records have in common: names in lower case.
    pub fn key(&self) -> (Vec<u8>, u16, u16, u32, Vec<u8>) {
        let owner = self.owner.to_lowercase().as_wire().to_vec();
        (owner, self.rtype.0, self.class, self.ttl, lower_names(self.rtype, &self.rdata))
    }

    pub fn of(record: &Record) -> Told {
        Told {
            owner: record.owner.clone(),
            rtype: record.rtype,
            class: 1,
            ttl: record.ttl,
            rdata: record.rdata.to_vec(),
        }
    }
}

fn lower_names(rtype: Rtype, data: &[u8]) -> Vec<u8> {
    let mut lower = data.to_vec();
    for name in rdata::names(rtype, data) {
        let at = name.as_ptr().addr() - data.as_ptr().addr();
        lower[at..at + name.len()].make_ascii_lowercase();
    }
    lower
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            1 => "IN",
            3 => "CH",
            254 => "NONE",
            255 => "ANY",
            _ => "CLASS?",
        };
        write!(
            f,
            "{} {} {class} {} {}",
            self.owner,
            self.ttl,
            self.rtype,
            rdata::display(self.rtype, &self.rdata)
        )
    }
}

/// A message, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub id: u16,
    pub flags: u16,
    /// As it stands in the message.
    pub question: Option<(Name, u16, u16)>,
    pub answer: Vec<Told>,
    pub authority: Vec<Told>,
    pub additional: Vec<Told>,
    pub opt: Option<Told>,
    pub len: usize,
}

impl Message {
    /// Takes a response apart.
    pub fn read(bytes: &[u8]) -> Result<Message, String> {
        let mut reader = Reader { bytes, at: 0 };
        let [id, flags, questions, answers, authorities, additional] = reader.numbers()?;
        let mut message = Message {
            id,
            flags,
            question: None,
            answer: vec![],
            authority: vec![],
            additional: vec![],
            opt: None,
            len: bytes.len(),
        };
        if questions > 1 {
            return Err("more than one question".to_owned());
        }
        if questions == 1 {
            let name = reader.name()?;
            let [qtype, qclass] = reader.numbers()?;
            message.question = Some((name, qtype, qclass));
        }
        for _ in 0..answers {
            message.answer.push(reader.record()?);
        }
        for _ in 0..authorities {
            message.authority.push(reader.record()?);
        }
        for _ in 0..additional {
            let record = reader.record()?;
            match record.rtype {
                Rtype::OPT if message.opt.is_some() => return Err("a second OPT".to_owned()),
                Rtype::OPT => message.opt = Some(record),
                _ => message.additional.push(record),
            }
        }
        if reader.at != bytes.len() {
            return Err(format!("{} bytes behind the message", bytes.len() - reader.at));
        }
        Ok(message)
    }

    pub fn rcode(&self) -> u16 {
        let extended = self.opt.as_ref().map_or(0, |opt| opt.ttl >> 24);
        (self.flags & 0xf) | u16::try_from(extended).expect("eight bits") << 4
    }

    pub fn rcode_text(&self) -> String {
        match self.rcode() {
            0 => "NOERROR".to_owned(),
            1 => "FORMERR".to_owned(),
            2 => "SERVFAIL".to_owned(),
            3 => "NXDOMAIN".to_owned(),
            4 => "NOTIMP".to_owned(),
            5 => "REFUSED".to_owned(),
            6 => "YXDOMAIN".to_owned(),
            9 => "NOTAUTH".to_owned(),
            16 => "BADVERS".to_owned(),
            other => format!("RCODE{other}"),
        }
    }

    pub fn is_authoritative(&self) -> bool {
        self.flags & 0x0400 != 0
    }

    pub fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// Code and value of each EDNS option.
    pub fn options(&self) -> Vec<(u16, Vec<u8>)> {
        let mut rest = self.opt.as_ref().map_or(&[][..], |opt| &opt.rdata);
        let mut options = vec![];
        while let [a, b, c, d, behind @ ..] = rest {
            let (value, behind) = behind.split_at(usize::from(u16::from_be_bytes([*c, *d])));
            options.push((u16::from_be_bytes([*a, *b]), value.to_vec()));
            rest = behind;
        }
        options
    }
}

/// As `dig` has it, without what every message has.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rcode_text())?;
        match self.flags >> 11 & 0xf {
            0 => {}
            opcode => write!(f, " opcode{opcode}")?,
        }
        let flags = [(0x0400, "aa"), (0x0200, "tc"), (0x0100, "rd"), (0x0080, "ra"), (0x0040, "z")];
        for (bit, name) in flags.into_iter().chain([(0x0020, "ad"), (0x0010, "cd")]) {
            if self.flags & bit != 0 {
                write!(f, " {name}")?;
            }
        }
        match &self.question {
            Some(_) => {}
            None => write!(f, " no-question")?,
        }
        f.write_char('\n')?;
        for (title, section) in
            [("answer", &self.answer), ("authority", &self.authority), ("additional", &self.additional)]
        {
            for record in section {
                writeln!(f, "{title} {record}")?;
            }
        }
        if let Some(opt) = &self.opt {
            write!(f, "edns version {} udp {}", opt.ttl >> 16 & 0xff, opt.class)?;
            if opt.ttl & 0x8000 != 0 {
                f.write_str(" do")?;
            }
            if opt.ttl & 0x7fff != 0 {
                f.write_str(" unknown-flags")?;
            }
            f.write_char('\n')?;
            for (code, value) in self.options() {
                write!(f, "option {code} ")?;
                for byte in value {
                    write!(f, "{byte:02x}")?;
                }
                f.write_char('\n')?;
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn numbers<const COUNT: usize>(&mut self) -> Result<[u16; COUNT], String> {
        let mut numbers = [0; COUNT];
        for number in &mut numbers {
            *number = u16::from_be_bytes(*self.take(2)?.first_chunk().ok_or("two bytes")?);
        }
        Ok(numbers)
    }

    fn take(&mut self, len: usize) -> Result<&[u8], String> {
        let taken =
            self.bytes.get(self.at..self.at + len).ok_or_else(|| format!("it ends at {}", self.at))?;
        self.at += len;
        Ok(taken)
    }

    fn name(&mut self) -> Result<Name, String> {
        let (wire, end) = self.name_at(self.at)?;
        self.at = end;
        Name::from_wire(&wire).map_err(|error| format!("at {}: {error}", self.at))
    }

    /// The name at a place, spelled out, and where what follows it begins.
    fn name_at(&self, begin: usize) -> Result<(Vec<u8>, usize), String> {
        let (mut wire, mut end, mut at) = (vec![], None, begin);
        loop {
            let len = *self.bytes.get(at).ok_or("a name runs out of the message")?;
            match len {
                0 => {
                    wire.push(0);
                    return Ok((wire, end.unwrap_or(at + 1)));
                }
                1..=63 => {
                    let label = self
                        .bytes
                        .get(at..=at + usize::from(len))
                        .ok_or("a label runs out of the message")?;
                    wire.extend(label);
                    at += 1 + usize::from(len);
                }
                192.. => {
                    let low = *self.bytes.get(at + 1).ok_or("half a pointer")?;
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                    if target >= at || target < 12 {
                        return Err(format!("a pointer at {at} to {target}"));
                    }
                    end = end.or(Some(at + 2));
                    at = target;
                }
                _ => return Err(format!("a label of kind {len:#x}")),
            }
            if wire.len() > 255 {
                return Err(format!("a name at {begin} that is too long"));
            }
        }
    }

    fn record(&mut self) -> Result<Told, String> {
        let owner = self.name()?;
        let [rtype, class, ttl_high, ttl_low, len] = self.numbers()?;
        let rtype = Rtype(rtype);
        let ttl = u32::from(ttl_high) << 16 | u32::from(ttl_low);
        let end = self.at + usize::from(len);
        let mut rdata = vec![];
        // Fixed bytes, compressed names, fixed bytes.
        let (before, names) = match rtype {
            Rtype::NS
            | Rtype::CNAME
            | Rtype::PTR
            | Rtype::MB
            | Rtype::MG
            | Rtype::MR
            | Rtype::MD
            | Rtype::MF => (0, 1),
            Rtype::SOA | Rtype::MINFO => (0, 2),
            Rtype::MX => (2, 1),
            _ => (0, 0),
        };
        rdata.extend(self.take(before)?);
        for _ in 0..names {
            rdata.extend(self.name()?.as_wire());
        }
        let rest = end.checked_sub(self.at).ok_or("names beyond the end of the data")?;
        rdata.extend(self.take(rest)?);
        if rtype != Rtype::OPT && rtype != Rtype::TSIG {
            rdata::validate(rtype, &rdata).map_err(|error| format!("{owner} {rtype}: {error}"))?;
        }
        Ok(Told { owner, rtype, class, ttl, rdata })
    }
}

/// Asks; a message that is sent has to be well-formed.
pub fn ask(
    source: &Source<'_>,
    identity: &Identity,
    transport: Transport,
    query: &[u8],
) -> Result<Message, Reply> {
    let mut out = b"what was there before".to_vec();
    match synod_dns::answer(source, identity, transport, query, &mut out) {
        Reply::Send => Ok(Message::read(&out).unwrap_or_else(|error| panic!("{error} in {out:02x?}"))),
        reply => {
            assert!(out.is_empty(), "nothing is to be sent");
            Err(reply)
        }
    }
}

/// State 7, as fresh as can be.
pub fn source(zones: &dyn Zones) -> Source<'_> {
    Source { zones, state_ndx: StateNdx(7), freshness: Freshness::Fresh }
}
