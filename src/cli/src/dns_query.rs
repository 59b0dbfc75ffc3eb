//! Asks a name server one question over UDP, as a resolver would, and reads as much of the answer as a tool needs.
//!
//! The reader of messages is apart from the front end's writer on purpose: what both agree on has been checked.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use synod_types::StateNdx;
use synod_zone::{Name, Rtype};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Bytes of an answer that is asked for (RFC 9715 section 3).
const ANSWER_BYTES_MAX: u16 = 1232;
/// The EDNS(0) option ZONEVERSION (RFC 9660).
const OPTION_ZONE_VERSION: u16 = 19;
/// Its type for the SOA serial.
const VERSION_SERIAL: u8 = 0;
/// Its type, of those for private use, for the stateNdx.
const VERSION_STATE_NDX: u8 = 246;
const CLASS_IN: u16 = 1;
const CLASS_CH: u16 = 3;
const TYPE_OPT: u16 = 41;

/// NOERROR (RFC 1035).
pub const NOERROR: u8 = 0;
/// REFUSED (RFC 1035): the server has no such zone.
pub const REFUSED: u8 = 5;

/// What a tool reads of an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DnsAnswer {
    /// The low four bits of the response code.
    pub rcode: u8,
    /// Whether the server has the zone (AA).
    pub is_authoritative: bool,
    /// The answer section.
    pub records: Vec<DnsRecord>,
    /// The zone's serial, from ZONEVERSION.
    pub serial: Option<u32>,
    /// The state from which the answer comes, from ZONEVERSION.
    pub state_ndx: Option<StateNdx>,
}

/// A record of an answer, as it is on the wire: names in the data may be compressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsRecord {
    /// Whose it is.
    pub owner: Name,
    /// Its type.
    pub rtype: Rtype,
    /// Its data.
    pub rdata: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The socket.
    #[error("{server} is not reachable: {why}")]
    Unreachable {
        /// Who was asked.
        server: SocketAddr,
        /// What the operating system says.
        why: std::io::Error,
    },
    /// Nothing came.
    #[error("{0} does not answer")]
    NoAnswer(SocketAddr),
}

/// The name of a response code, as `dig` prints it.
pub fn rcode_name(rcode: u8) -> &'static str {
    match rcode {
        NOERROR => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        REFUSED => "REFUSED",
        9 => "NOTAUTH",
        _ => "an error",
    }
}

/// Asks for the records of a name, and for the state from which they come.
///
/// # Errors
/// [`DnsError`], also if nothing that can be read comes within `wait`.
pub async fn ask(
    server: SocketAddr,
    name: &Name,
    rtype: Rtype,
    wait: Duration,
) -> Result<DnsAnswer, DnsError> {
    exchange(server, name, rtype, CLASS_IN, wait).await
}

/// Asks for the server's state, apart from any zone.
///
/// # Errors
/// As [`ask`].
pub async fn ask_state(server: SocketAddr, wait: Duration) -> Result<Option<StateNdx>, DnsError> {
    let name = Name::parse("statendx.synod.").expect("two short labels");
    let answer = exchange(server, &name, Rtype::TXT, CLASS_CH, wait).await?;
    Ok(answer.records.first().and_then(DnsRecord::text).and_then(|text| text.parse().ok()).map(StateNdx))
}

async fn exchange(
    server: SocketAddr,
    name: &Name,
    rtype: Rtype,
    class: u16,
    wait: Duration,
) -> Result<DnsAnswer, DnsError> {
    let unreachable = |why| DnsError::Unreachable { server, why };
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await.map_err(unreachable)?;
    socket.connect(server).await.map_err(unreachable)?;
    let id = rand::random();
    let question = question(name, rtype, class);
    socket.send(&query(id, &question)).await.map_err(unreachable)?;
    let reading = async {
        let mut bytes = vec![0; ANSWER_BYTES_MAX.into()];
        loop {
            let len = socket.recv(&mut bytes).await.map_err(unreachable)?;
            if let Some(answer) = read(id, &question, &bytes[..len]) {
                return Ok(answer);
            }
        }
    };
    timeout(wait, reading).await.unwrap_or(Err(DnsError::NoAnswer(server)))
}

fn question(name: &Name, rtype: Rtype, class: u16) -> Vec<u8> {
    let mut question = name.as_wire().to_vec();
    question.extend_from_slice(&rtype.0.to_be_bytes());
    question.extend_from_slice(&class.to_be_bytes());
    question
}

/// A query with one question, and an OPT record that asks for ZONEVERSION.
fn query(id: u16, question: &[u8]) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    // No flags: nobody is asked to recurse. One question, one additional record.
    query.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    query.extend_from_slice(question);
    query.push(0);
    query.extend_from_slice(&TYPE_OPT.to_be_bytes());
    query.extend_from_slice(&ANSWER_BYTES_MAX.to_be_bytes());
    // Extended code, version and flags; then one option without data.
    query.extend_from_slice(&[0, 0, 0, 0, 0, 4]);
    query.extend_from_slice(&OPTION_ZONE_VERSION.to_be_bytes());
    query.extend_from_slice(&[0, 0]);
    query
}

/// The answer to the query with this id and question; `None` if the bytes are anything else.
fn read(id: u16, question: &[u8], message: &[u8]) -> Option<DnsAnswer> {
    let mut bytes = Reading { message, at: 0 };
    let (found, flags) = (bytes.u16()?, bytes.u16()?);
    let counts = [bytes.u16()?, bytes.u16()?, bytes.u16()?, bytes.u16()?];
    if found != id
        || flags & 0x8000 == 0
        || counts[0] != 1
        || !bytes.take(question.len())?.eq_ignore_ascii_case(question)
    {
        return None;
    }
    let [_, rcode] = flags.to_be_bytes();
    let mut answer =
        DnsAnswer { rcode: rcode & 0x0f, is_authoritative: flags & 0x0400 != 0, ..DnsAnswer::default() };
    for (section, count) in counts[1..].iter().enumerate() {
        for _ in 0..*count {
            let owner = bytes.name()?;
            let (rtype, _class, _ttl) = (bytes.u16()?, bytes.u16()?, bytes.take(4)?);
            let len = bytes.u16()?;
            let rdata = bytes.take(len.into())?;
            if section == 0 {
                let rdata = Bytes::copy_from_slice(rdata);
                answer.records.push(DnsRecord { owner, rtype: Rtype(rtype), rdata });
            } else if rtype == TYPE_OPT {
                read_options(rdata, &mut answer)?;
            }
        }
    }
    Some(answer)
}

fn read_options(options: &[u8], answer: &mut DnsAnswer) -> Option<()> {
    let mut options = Reading { message: options, at: 0 };
    while options.at < options.message.len() {
        let (code, len) = (options.u16()?, options.u16()?);
        let data = options.take(len.into())?;
        if code == OPTION_ZONE_VERSION {
            let (&[_labels, version_type], version) = data.split_first_chunk()?;
            match version_type {
                VERSION_SERIAL => answer.serial = Some(u32::from_be_bytes(version.try_into().ok()?)),
                VERSION_STATE_NDX => {
                    answer.state_ndx = Some(StateNdx(u64::from_be_bytes(version.try_into().ok()?)));
                }
                _ => {}
            }
        }
    }
    Some(())
}

/// Reads a message from its beginning.
struct Reading<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reading<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.message.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A name, which may be compressed (RFC 1035 section 4.1.4): each pointer leads further to the front.
    fn name(&mut self) -> Option<Name> {
        let mut wire = Vec::new();
        let mut at = self.at;
        let mut end = None;
        loop {
            let len = *self.message.get(at)?;
            match len {
                0 => {
                    wire.push(0);
                    self.at = end.unwrap_or(at + 1);
                    return Name::from_wire(&wire).ok();
                }
                1..=63 => {
                    let label = self.message.get(at..)?.get(..usize::from(len) + 1)?;
                    wire.extend_from_slice(label);
                    at += label.len();
                }
                0xc0.. => {
                    let low = *self.message.get(at + 1)?;
                    end.get_or_insert(at + 2);
                    let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                    if target >= at {
                        return None;
                    }
                    at = target;
                }
                64..0xc0 => return None,
            }
            // What is longer is no name, and ends here.
            if wire.len() > 255 {
                return None;
            }
        }
    }
}

impl DnsRecord {
    /// The first character string of TXT data, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        let (&len, rest) = self.rdata.split_first().filter(|_| self.rtype == Rtype::TXT)?;
        std::str::from_utf8(rest.get(..len.into())?).ok()
    }

    /// The address of A data.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = (self.rtype == Rtype::A).then(|| self.rdata[..].try_into().ok()).flatten()?;
        Some(octets.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    /// `www.example.org. A`: a CNAME and an address with compressed names, and the two versions in an OPT record.
    fn message() -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x84, 0x00, 0, 1, 0, 2, 0, 0, 0, 1];
        message.extend_from_slice(&question(&name("www.example.org"), Rtype::A, CLASS_IN));
        // At 12 the question's name, "example.org" at 16.
        message.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, b'a', 0xc0, 16]);
        let owner = u8::try_from(message.len() - 4).unwrap();
        message.extend_from_slice(&[0xc0, owner, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
        message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 24]);
        message.extend_from_slice(&[0, 19, 0, 6, 2, 0, 0, 0, 0, 7]);
        message.extend_from_slice(&[0, 19, 0, 10, 2, VERSION_STATE_NDX, 0, 0, 0, 0, 0, 0, 1, 0]);
        message
    }

    #[test]
    fn an_answer_is_read() {
        let question = question(&name("WWW.example.org"), Rtype::A, CLASS_IN);
        let answer = read(0x1234, &question, &message()).unwrap();
        assert_eq!((answer.rcode, answer.is_authoritative), (NOERROR, true));
        assert_eq!((answer.serial, answer.state_ndx), (Some(7), Some(StateNdx(256))));
        assert_eq!(answer.records.len(), 2);
        assert_eq!(answer.records[1].owner, name("a.example.org"));
        assert_eq!(answer.records[1].ipv4(), Some(Ipv4Addr::new(192, 0, 2, 1)));
    }

    #[test]
    fn what_is_no_answer_is_passed_over() {
        let question = question(&name("www.example.org"), Rtype::A, CLASS_IN);
        let whole = message();
        for len in 0..whole.len() {
            assert_eq!(read(0x1234, &question, &whole[..len]), None, "{len} bytes of {}", whole.len());
        }
        assert_eq!(read(0x1235, &question, &whole), None, "another id");
        let mut loops = whole.clone();
        loops[question.len() + 13] = u8::try_from(question.len() + 12).unwrap();
        assert_eq!(read(0x1234, &question, &loops), None, "a name that points to itself");
        let asked = query(0x1234, &question);
        assert_eq!(read(0x1234, &question, &asked), None, "a query");
    }

    #[tokio::test]
    async fn a_server_is_asked_and_a_silent_one_given_up() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = server.local_addr().unwrap();
        let www = name("www.example.org");
        let served = async {
            let mut bytes = [0; 512];
            let (_, client) = server.recv_from(&mut bytes).await.unwrap();
            let mut answer = message();
            server.send_to(&answer, client).await.unwrap();
            answer[..2].copy_from_slice(&bytes[..2]);
            server.send_to(&answer, client).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(address, &www, Rtype::A, Duration::from_secs(10)), served);
        assert_eq!(answer.unwrap().state_ndx, Some(StateNdx(256)));
        let error = ask(address, &www, Rtype::A, Duration::from_millis(10)).await.unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
    }
}
