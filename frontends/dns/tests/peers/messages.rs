//! Messages for these tests: made by hand, read by hickory-proto, which is nobody's side.

use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinEncodable;

const DNAME: u16 = 39;

/// A query's bytes.
pub fn query(id: u16, name: &str, rtype: u16, payload: Option<u16>, recursion: bool) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([u8::from(recursion), 0, 0, 1, 0, 0, 0, 0, 0, u8::from(payload.is_some())]);
    for label in name.trim_end_matches('.').split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(rtype.to_be_bytes());
    message.extend([0, 1]);
    if let Some(payload) = payload {
        message.extend([0, 0, 41]);
        message.extend(payload.to_be_bytes());
        message.extend([0; 6]);
    }
    message
}

/// What an answer says, without its order and with names in lower case.
#[derive(PartialEq, Eq, Clone, Debug)]
pub struct Said {
    /// The response code, with EDNS' upper bits.
    pub rcode: u16,
    /// Authoritative.
    pub aa: bool,
    /// Truncated.
    pub tc: bool,
    /// Recursion desired, as copied.
    pub rd: bool,
    /// Whether there is an OPT.
    pub edns: bool,
    /// The answer section.
    pub answer: Vec<String>,
    /// The authority section.
    pub authority: Vec<String>,
    /// The additional section but OPT.
    pub additional: Vec<String>,
}

impl Said {
    /// Reads a message.
    pub fn read(bytes: &[u8]) -> Said {
        let message = Message::from_vec(bytes).unwrap_or_else(|why| panic!("{why}: {bytes:02x?}"));
        Said {
            rcode: message.metadata.response_code.into(),
            aa: message.metadata.authoritative,
            tc: message.metadata.truncation,
            rd: message.metadata.recursion_desired,
            edns: message.edns.is_some(),
            answer: lines(&message.answers),
            authority: lines(&message.authorities),
            additional: lines(&message.additionals),
        }
    }
}

fn lines(records: &[Record]) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(line).collect();
    lines.sort();
    lines
}

/// A record in lower case, since servers keep the case of names or do not. hickory-proto does not know DNAME, and shows
/// it as base64.
pub fn line(record: &Record) -> String {
    let line = match u16::from(record.record_type()) {
        DNAME => {
            let target = record.data.to_bytes().unwrap();
            format!("{} {} DNAME {:?}", record.name, record.ttl, String::from_utf8_lossy(&target))
        }
        _ => record.to_string(),
    };
    line.to_lowercase()
}
