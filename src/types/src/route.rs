//! What nodes carry for each other's front ends: questions, answers, and messages between yards; and the address of a yard.
//!
//! The mesh carries these as bytes. What is in them is said in the words of `synod-lane` (a question of a front end, and its answer) and of
//! `synod-delivery` (packets of its toolbox): neither is this crate's business, and a node that does not understand one drops it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::NAME_BYTES_MAX;
use crate::name::is_name;

/// What one node says to another on behalf of front ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RouteMessage {
    /// A question of a front end's for the receiver: `Asked` of `synod-lane`, in `MessagePack`. At most
    /// [`ROUTE_QUESTION_BYTES_MAX`](crate::limits::ROUTE_QUESTION_BYTES_MAX) bytes. One that is lost is answered by nobody.
    Asked(Bytes),
    /// The answer: `Told` of `synod-lane`, in `MessagePack`.
    Told(Bytes),
    /// A packet of the link between both nodes, on which messages between yards travel: `Packet` of `synod_delivery::toolbox`, in the
    /// encoding of [`crate::wire`].
    Packet(Bytes),
}

/// Where a message goes: `server/yard/queue`.
///
/// `yard` and `/yard/queue` are at the server that is asked, `server/yard` is the yard's queue without a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Address {
    /// The node's name; `None`: the one that is asked.
    pub server: Option<String>,
    /// The yard's name, that of a process or an application; `None`: the sender has none.
    pub yard: Option<String>,
    /// The queue's name; empty: the one without a name.
    pub queue: String,
}

/// Why a text is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAddress {
    /// It has too many parts.
    #[error("{0:?} is no address: write server/yard/queue, server/yard, /yard/queue or yard")]
    Parts(String),
    /// A part cannot be a name.
    #[error("{0:?} is no name: write 1 to {NAME_BYTES_MAX} of a-z, 0-9, '-', '_' and '.'")]
    Name(String),
    /// A message goes to a yard.
    #[error("{0:?} names no yard: write server/yard/queue, server/yard, /yard/queue or yard")]
    NoYard(String),
}

impl Address {
    /// The address of a yard, and nothing else.
    ///
    /// # Errors
    /// [`NoAddress`].
    pub fn of_yard(text: &str) -> Result<Address, NoAddress> {
        let address: Address = text.parse()?;
        if address.yard.is_none() {
            return Err(NoAddress::NoYard(text.to_owned()));
        }
        Ok(address)
    }
}

/// An empty part is the default; a single one is the yard.
impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Address, NoAddress> {
        let parts: Vec<&str> = text.split('/').collect();
        let (server, yard, queue) = match parts[..] {
            [yard] => ("", yard, ""),
            [server, yard] => (server, yard, ""),
            [server, yard, queue] => (server, yard, queue),
            _ => return Err(NoAddress::Parts(text.to_owned())),
        };
        let part = |part: &str| match part {
            "" => Ok(None),
            name if is_name(name) => Ok(Some(name.to_owned())),
            other => Err(NoAddress::Name(other.to_owned())),
        };
        Ok(Address { server: part(server)?, yard: part(yard)?, queue: part(queue)?.unwrap_or_default() })
    }
}

/// The shortest text that reads back as the same address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { server, yard, queue } = self;
        let (server, yard) = (server.as_deref().unwrap_or_default(), yard.as_deref().unwrap_or_default());
        match (server, queue.as_str()) {
            ("", "") => f.write_str(yard),
            (server, "") => write!(f, "{server}/{yard}"),
            (server, queue) => write!(f, "{server}/{yard}/{queue}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(server: &str, yard: &str, queue: &str) -> Address {
        let part = |part: &str| Some(part.to_owned()).filter(|part| !part.is_empty());
        Address { server: part(server), yard: part(yard), queue: queue.to_owned() }
    }

    #[test]
    fn parts_may_be_missing() {
        for (text, wanted) in [
            ("news", address("", "news", "")),
            ("/news", address("", "news", "")),
            ("/news/urgent", address("", "news", "urgent")),
            ("node3/news", address("node3", "news", "")),
            ("node3/news/", address("node3", "news", "")),
            ("node3/news/urgent", address("node3", "news", "urgent")),
            ("node3/", address("node3", "", "")),
            ("", address("", "", "")),
        ] {
            let read: Address = text.parse().unwrap();
            assert_eq!(read, wanted, "{text:?}");
            assert_eq!(read.to_string().parse(), Ok(wanted), "{text:?} as {read}");
        }
        for text in ["a/b/c/d", "///", "A", "node 3/news", "node3/news/ü", &"a".repeat(64)] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_message_goes_to_a_yard() {
        assert_eq!(Address::of_yard("node3/news").unwrap(), address("node3", "news", ""));
        for text in ["", "node3/", "node3//urgent"] {
            assert_eq!(Address::of_yard(text), Err(NoAddress::NoYard(text.to_owned())));
        }
    }
}
