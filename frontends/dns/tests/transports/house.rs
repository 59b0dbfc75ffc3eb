//! A front end with a zone and no cluster, and clients that send exactly the bytes that they are told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use synod_dns::{Answers, DnsConfig, DnsServer, Freshness, Identity, Reply, Source, Transport, answer};
use synod_types::StateNdx;
use synod_zone::{Name, Rtype, Zone, Zones};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// The longest that a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

const ZONE: &str = "\
$ORIGIN example.
$TTL 300
@     IN SOA ns hostmaster 7 3600 600 86400 60
@     IN NS  ns
ns    IN A   192.0.2.1
www   IN A   192.0.2.2
www   IN AAAA 2001:db8::2
short 30 IN A 192.0.2.3
alias IN CNAME www
*.w   IN TXT \"any\"
";

/// What the front end answers from; a test may exchange the zone.
pub struct World(Mutex<Arc<Zone>>);

struct One(Arc<Zone>);

impl Zones for One {
    fn zone(&self, origin: &[u8]) -> Option<&Zone> {
        (origin == self.0.origin().to_lowercase().as_wire()).then_some(&*self.0)
    }
}

impl World {
    pub fn zone(&self) -> Arc<Zone> {
        Arc::clone(&self.0.lock().unwrap())
    }

    pub fn set(&self, zone: Zone) {
        *self.0.lock().unwrap() = Arc::new(zone);
    }
}

impl Answers for World {
    fn look(&self, look: &mut dyn FnMut(&Source<'_>)) {
        look(&Source { zones: &One(self.zone()), state_ndx: StateNdx(9), freshness: Freshness::Fresh });
    }

    fn zone(&self, _: &Name) -> Option<Arc<Zone>> {
        Some(self.zone())
    }
}

pub struct House {
    pub world: Arc<World>,
    pub server: DnsServer,
}

impl House {
    pub async fn open() -> House {
        House::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut DnsConfig)) -> House {
        let world = Arc::new(World(Mutex::new(Arc::new(zone(ZONE)))));
        let mut config = DnsConfig::at("127.0.0.1:0".parse().unwrap());
        config.identity = identity();
        change(&mut config);
        let server = DnsServer::start(config, Arc::<World>::clone(&world)).await.unwrap();
        House { world, server }
    }

    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// What the engine says, without any transport.
    pub fn says(&self, transport: Transport, query: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.world.look(&mut |source| {
            assert_eq!(answer(source, &identity(), transport, query, &mut out), Reply::Send);
        });
        out
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr()).await.unwrap()
    }

    pub async fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.addr()).await.unwrap();
        socket
    }
}

fn identity() -> Identity {
    Identity { version: "synod".to_owned(), hostname: "node-1".to_owned(), nsid: b"one".to_vec() }
}

/// A zone of `example.`
pub fn zone(text: &str) -> Zone {
    Zone::load(&Name::parse("example.").unwrap(), text.as_bytes()).unwrap()
}

/// A zone with answers of this many bytes, and some, at `big.example.`
pub fn zone_with_big_answers(bytes: usize) -> Zone {
    let text = "x".repeat(250);
    let records = (0..bytes.div_ceil(250)).map(|number| format!("big IN TXT {number} {text}\n"));
    zone(&format!("{ZONE}{}", records.collect::<String>()))
}

/// A question of class IN, without EDNS.
pub fn query(id: u16, name: &str, qtype: Rtype) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(Name::parse(name).unwrap().as_wire());
    message.extend_from_slice(&qtype.0.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// A message behind its length.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

/// The next message on a stream.
pub async fn next_message(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let read = async {
        let mut message = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut message).await.unwrap();
        message
    };
    tokio::time::timeout(PATIENCE, read).await.expect("a message comes")
}

/// Everything up to the end of a stream, which may be a hard one.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    bytes
}

/// The low bits of an answer's RCODE.
pub fn rcode(message: &[u8]) -> u8 {
    message[3] & 0x0f
}
