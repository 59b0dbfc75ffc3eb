//! Asks a node over UDP, as a resolver would.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RecordType};
use synod_node::Node;
use synod_types::StateNdx;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The EDNS(0) option ZONEVERSION (RFC 9660), and its type for the stateNdx.
const ZONE_VERSION: u16 = 19;
const VERSION_STATE_NDX: u8 = 246;
/// How long a datagram is waited for before it is sent again.
const RESEND: Duration = Duration::from_secs(2);
/// How long anything is waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// What a node answered.
#[derive(Debug)]
pub struct Answer {
    pub code: ResponseCode,
    pub is_authoritative: bool,
    /// Each record's data, as in a zone file.
    pub records: Vec<String>,
    /// From the ZONEVERSION option.
    pub state_ndx: Option<StateNdx>,
}

/// Asks one question and returns the answer.
pub async fn ask(node: &Node, name: &str, rtype: RecordType) -> Answer {
    let server = node.addresses().dns.expect("the node serves DNS");
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_str(name).expect("a name"), rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    edns.options_mut().insert(EdnsOption::Unknown(ZONE_VERSION, Vec::new()));
    message.set_edns(edns);
    let query = message.to_vec().expect("a small query");
    let answer = timeout(LIMIT, exchange(server, &query)).await.expect("the node answers");
    let message = Message::from_vec(&answer).expect("a message");
    let edns = message.edns.as_ref().expect("an answer to a query with EDNS has it, too");
    let versions = edns.options().get_all(EdnsCode::Unknown(ZONE_VERSION));
    Answer {
        code: message.metadata.response_code,
        is_authoritative: message.metadata.authoritative,
        records: message.answers.iter().map(|record| record.data.to_string()).collect(),
        state_ndx: versions.into_iter().find_map(state_ndx),
    }
}

async fn exchange(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
    socket.connect(server).await.expect("loopback");
    let mut answer = vec![0; 4096];
    loop {
        socket.send(query).await.expect("loopback");
        if let Ok(received) = timeout(RESEND, socket.recv(&mut answer)).await {
            answer.truncate(received.expect("loopback"));
            return answer;
        }
    }
}

/// The option holds a label count, a type and the version (RFC 9660 section 2).
fn state_ndx(option: &EdnsOption) -> Option<StateNdx> {
    let EdnsOption::Unknown(_, version) = option else { return None };
    let [_labels, VERSION_STATE_NDX, number @ ..] = &version[..] else { return None };
    Some(StateNdx(u64::from_be_bytes(number.try_into().ok()?)))
}

/// Asks until the answer is as it should be.
pub async fn ask_until(
    node: &Node,
    name: &str,
    rtype: RecordType,
    is_good: impl Fn(&Answer) -> bool,
) -> Answer {
    let asking = async {
        loop {
            let answer = ask(node, name, rtype).await;
            if is_good(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match timeout(LIMIT, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("{name} {rtype}: {:?}", ask(node, name, rtype).await),
    }
}
