//! Our answers beside those of NSD and Knot: the same zones, the same questions. For each question we say what one of
//! the two says, or the difference is one of [`differences::EXPLAINED`].
//!
//! Needs `nsd` and `knotd`, which come as packages of every distribution, and says so where they are missing.

#![expect(clippy::unwrap_used, reason = "a test says where it failed")]

mod differences;
mod messages;
mod servers;
mod transfer;
mod zones;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use messages::Said;
use servers::{Role, Server};
use synod_dns::{Freshness, Identity, Reply, Source, Transport, answer};
use synod_types::StateNdx;
use synod_zone::{Name, Zone, Zones, zone_file};
use zones::{Question, World, ZoneText};

const QUESTIONS: usize = 100_000;
/// Questions that a server is asked before its first answer is awaited.
const WINDOW: usize = 64;

#[test]
fn we_say_what_nsd_or_knot_say() {
    if !(servers::is_installed("nsd") && servers::is_installed("knotd")) {
        eprintln!("SKIPPED: nsd and knotd are not installed (Debian: apt-get install nsd knot)");
        return;
    }
    let mut world = World::new(20);
    let dir = tempfile::tempdir().unwrap();
    let role = Role::Primary(&world.zones);
    let mut peers =
        [servers::nsd(&dir.path().join("nsd"), &role), servers::knot(&dir.path().join("knot"), &role)];
    for peer in &mut peers {
        peer.until_it_serves(world.zones.iter().map(|zone| zone.origin.clone()));
    }
    let ours = Served::load(&world.zones);

    let mut tally = Tally::default();
    for _ in 0..QUESTIONS.div_ceil(1000) {
        let questions: Vec<Question> = (0..1000).map(|_| world.question()).collect();
        let [nsd, knot] = [&peers[0], &peers[1]].map(|peer| ask_all(peer, &questions));
        for ((question, nsd), knot) in questions.iter().zip(nsd).zip(knot) {
            let said = ours.say(question, Transport::Udp);
            tally.compare(question, "UDP", &said, &nsd, &knot);
            // What was cut off is compared whole; a few of the others, too.
            if said.tc || tally.questions % 100 == 0 {
                let said = ours.say(question, Transport::Stream);
                let [nsd, knot] = [&peers[0], &peers[1]].map(|peer| ask_over_tcp(peer.addr, question));
                tally.compare(question, "TCP", &said, &nsd, &knot);
            }
        }
    }
    tally.finish();
}

/// What came of the comparison.
#[derive(Default)]
struct Tally {
    questions: usize,
    with_nsd: usize,
    with_knot: usize,
    explained: BTreeMap<&'static str, usize>,
    unexplained: Vec<String>,
}

impl Tally {
    fn compare(&mut self, question: &Question, way: &str, ours: &Said, nsd: &Said, knot: &Said) {
        self.questions += 1;
        let (with_nsd, with_knot) = (agree(ours, nsd), agree(ours, knot));
        self.with_nsd += usize::from(with_nsd);
        self.with_knot += usize::from(with_knot);
        if with_nsd || with_knot {
            return;
        }
        match differences::explain(question, ours, nsd, knot) {
            Some(why) => *self.explained.entry(why).or_default() += 1,
            None => self.unexplained.push(format!(
                "{} TYPE{} over {way}, payload {:?}\n ours {ours:?}\n nsd  {nsd:?}\n knot {knot:?}",
                question.name, question.rtype, question.payload
            )),
        }
    }

    fn finish(self) {
        let Tally { questions, with_nsd, with_knot, explained, unexplained } = self;
        println!("{questions} answers: {with_nsd} as NSD's, {with_knot} as Knot's, explained: {explained:?}");
        let shown: Vec<&String> = unexplained.iter().take(10).collect();
        assert!(unexplained.is_empty(), "{} unexplained, such as {shown:#?}", unexplained.len());
    }
}

/// Whether two answers say the same. What a truncated answer still holds is up to the server.
fn agree(a: &Said, b: &Said) -> bool {
    if a.tc && b.tc {
        return (a.rcode, a.aa, a.rd, a.edns) == (b.rcode, b.aa, b.rd, b.edns);
    }
    a == b
}

/// The zones in this process.
struct Served(BTreeMap<Vec<u8>, Zone>);

impl Served {
    fn load(zones: &[ZoneText]) -> Served {
        let build = |zone: &ZoneText| {
            let origin = Name::parse(&zone.origin).unwrap();
            let file = zone_file::parse(zone.text.as_bytes(), &origin).unwrap();
            let zone = Zone::build(&origin, file.records).unwrap();
            (origin.to_lowercase().as_wire().to_vec(), zone)
        };
        Served(zones.iter().map(build).collect())
    }

    fn say(&self, question: &Question, transport: Transport) -> Said {
        let source = Source { zones: self, state_ndx: StateNdx(7), freshness: Freshness::Fresh };
        let identity = Identity { version: "x".to_owned(), hostname: "x".to_owned(), nsid: Vec::new() };
        let mut out = Vec::new();
        let reply = answer(&source, &identity, transport, &bytes(question, 1), &mut out);
        assert_eq!(reply, Reply::Send);
        Said::read(&out)
    }
}

impl Zones for Served {
    fn zone(&self, origin: &[u8]) -> Option<&Zone> {
        self.0.get(origin)
    }
}

fn bytes(question: &Question, id: u16) -> Vec<u8> {
    messages::query(id, &question.name, question.rtype, question.payload, question.recursion)
}

/// Asks over UDP, many at a time; what gets lost is asked again.
fn ask_all(peer: &Server, questions: &[Question]) -> Vec<Said> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(peer.addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut said: Vec<Option<Said>> = vec![None; questions.len()];
    let mut buffer = vec![0; 65_536];
    for start in (0..questions.len()).step_by(WINDOW) {
        let window = start..questions.len().min(start + WINDOW);
        for attempt in 0.. {
            assert!(attempt < 30, "{} does not answer", peer.name);
            let open: Vec<usize> = window.clone().filter(|&at| said[at].is_none()).collect();
            if open.is_empty() {
                break;
            }
            for &at in &open {
                socket.send(&bytes(&questions[at], u16::try_from(at).unwrap())).unwrap();
            }
            for _ in &open {
                let Ok(len) = socket.recv(&mut buffer) else { break };
                let at = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
                said[at] = Some(Said::read(&buffer[..len]));
            }
        }
    }
    said.into_iter().map(|said| said.expect("every question was answered")).collect()
}

fn ask_over_tcp(addr: SocketAddr, question: &Question) -> Said {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let query = bytes(question, 1);
    let mut framed = u16::try_from(query.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(query);
    stream.write_all(&framed).unwrap();
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer).unwrap();
    Said::read(&answer)
}
