//! Messages between processes: what `synod lane` says of yards, sends to them, and takes as one.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use synod_sdk::front::{AskError, FrontEnd, Read};
use synod_sdk::yard::Arrival;
use synod_types::Address;
use synod_types::limits::LANE_FRAME_BYTES_MAX;

use super::told;
use crate::exit::Failure;
use crate::output::{self, Output};
use crate::table::{Table, printable};

/// How long a `tail` waits for a message before it asks again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The address in an argument, if it is one: an application's name has no slash.
pub(super) fn address(text: &str) -> anyhow::Result<Option<Address>> {
    if !text.contains('/') {
        return Ok(None);
    }
    Ok(Some(Address::of_yard(text).map_err(|why| Failure::Usage(why.to_string()))?))
}

/// What is to be sent: a text, or what is in a file, `-` being standard input.
pub(super) fn body(text: Option<String>, file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    match (text, file) {
        (Some(text), _) => Ok(text.into_bytes()),
        (None, Some(path)) => {
            let mut bytes = Vec::new();
            let max = u64::try_from(LANE_FRAME_BYTES_MAX)?;
            let read = if path == Path::new("-") {
                std::io::stdin().lock().take(max).read_to_end(&mut bytes)
            } else {
                std::fs::File::open(path).and_then(|file| file.take(max).read_to_end(&mut bytes))
            };
            read.map_err(|why| Failure::Usage(format!("cannot read {}: {why}", path.display())))?;
            Ok(bytes)
        }
        (None, None) => unreachable!("one of the two is required"),
    }
}

/// What a server has.
pub(super) fn on_server(front: &mut FrontEnd, server: &str) -> anyhow::Result<Value> {
    front.set_server(Some(server));
    let (apps, yards) = (told(front.apps())?, told(front.yards())?);
    front.set_server(None);
    Ok(json!({ "server": server, "isThere": true, "apps": apps, "yards": yards }))
}

/// All servers and what they have, as far as they are there.
pub(super) fn list_all(front: &mut FrontEnd, output: Output) -> anyhow::Result<()> {
    let mut servers = Vec::new();
    for server in told(front.servers())? {
        let away = json!({ "server": server.server, "isThere": false, "apps": [], "yards": [] });
        match on_server(front, &server.server) {
            Ok(told) => servers.push(told),
            // It may go between two questions.
            Err(_) => {
                front.set_server(None);
                servers.push(away);
            }
        }
    }
    let text = table(&servers);
    output.print(&json!({ "clusterId": front.cluster(), "servers": servers }), text)
}

/// A line for each application and each yard.
pub(super) fn table(servers: &[Value]) -> Table {
    let mut table = Table::new(&["server", "address", "what", "stateNdx", "waiting", "queues"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for told in servers {
        let server = text(&told["server"]);
        if told["isThere"] != true {
            table.row([server, String::new(), "away".to_owned()]);
            continue;
        }
        for app in told["apps"].as_array().into_iter().flatten() {
            let address = format!("{server}/{}", text(&app["name"]));
            table.row([server.clone(), address, "application".to_owned(), app["stateNdx"].to_string()]);
        }
        for yard in told["yards"].as_array().into_iter().flatten() {
            let queues = yard["queues"].as_array().map(|queues| {
                queues.iter().map(|queue| format!("{:?}", text(queue))).collect::<Vec<_>>().join(" ")
            });
            let address = format!("{server}/{}", text(&yard["yard"]));
            let queues = queues.unwrap_or_else(|| "all".to_owned());
            let waiting = yard["waiting"].to_string();
            table.row([server.clone(), address, "yard".to_owned(), String::new(), waiting, queues]);
        }
    }
    table
}

/// Sends to a yard.
pub(super) fn send(
    mut front: FrontEnd,
    to: &Address,
    body: Vec<u8>,
    wait: Duration,
    wants_reply: bool,
    output: Output,
) -> anyhow::Result<()> {
    let to = to.to_string();
    // One part alone is an application's name here, and a yard's there.
    let at = if to.contains('/') { to } else { format!("/{to}") };
    if !wants_reply {
        told(front.send_to(&at, body, Some(wait)))?;
        return output.print(&json!({ "to": at, "taken": true }), format!("taken by {at}"));
    }
    let answer = told(front.request(&at, body, Some(wait)))?;
    if output == Output::Text {
        return output::bytes(&answer);
    }
    let (text, hex) = text_or_hex(&answer);
    output.print(&json!({ "to": at, "answer": text, "answerHex": hex }), "")
}

/// Whether the address is that of an application.
pub(super) fn is_app(front: &mut FrontEnd, address: &Address) -> anyhow::Result<bool> {
    let apps = told(front.apps())?;
    let yard = address.yard.as_deref().unwrap_or_default();
    Ok(address.queue.is_empty() && apps.iter().any(|app| app.name == yard || app.app.to_string() == yard))
}

/// Takes messages as a yard, and prints them.
pub(super) fn tail(
    front: FrontEnd,
    at: &Address,
    count: Option<u64>,
    answer: Option<&str>,
    output: Output,
) -> anyhow::Result<()> {
    if at.server.as_ref().is_some_and(|server| server != front.node()) {
        let why = format!("a yard is open where its process is connected: this is {}", front.node());
        return Err(Failure::Usage(why).into());
    }
    let name = at.yard.clone().unwrap_or_default();
    // Without a queue, all of them.
    let queues = [at.queue.as_str()];
    let queues = Some(&queues[..]).filter(|_| !at.queue.is_empty());
    let mut yard = told(front.open(&name, queues))?;
    let mut left = count;
    while left != Some(0) {
        for arrival in told(yard.receive(None, 1, LOOK_AGAIN))? {
            print(&arrival, output)?;
            if let Some(answer) = answer.filter(|_| arrival.wants_reply) {
                answered(yard.reply(arrival.number, answer.as_bytes().to_vec()))?;
            }
            left = left.map(|left| left - 1);
        }
    }
    Ok(())
}

/// That nobody waits any more is no reason to end.
fn answered(replied: Result<(), AskError>) -> anyhow::Result<()> {
    match replied {
        Err(AskError::Problem { code, .. }) if code == "no-such-request" => Ok(()),
        replied => told(replied),
    }
}

fn print(arrival: &Arrival, output: Output) -> anyhow::Result<()> {
    let Arrival { number, from, queue, body, wants_reply } = arrival;
    let (text, hex) = text_or_hex(body);
    let shown = text.clone().map_or_else(|| hex.clone().unwrap_or_default(), |text| printable(&text));
    let place = if queue.is_empty() { from.clone() } else { format!("{from} to {queue}") };
    output.print(
        &json!({
            "number": number,
            "from": from,
            "queue": queue,
            "body": text,
            "bodyHex": hex,
            "wantsReply": wants_reply,
        }),
        format!("{place}: {shown}"),
    )
}

/// The one or the other.
pub(super) fn text_or_hex(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(hex::encode(bytes))),
    }
}

/// How [`Read`] is asked for at another server.
pub(super) fn query_at(
    front: &mut FrontEnd,
    address: &Address,
    query: Vec<u8>,
    read: Read,
) -> Result<synod_sdk::front::Answered, AskError> {
    front.set_server(address.server.as_deref());
    front.query(address.yard.as_deref().unwrap_or_default(), query, read)
}

/// What a problem of routing comes to; `None`: it is none of these.
pub(super) fn routing_failure(code: &str, text: &str) -> Option<Failure> {
    let text = text.to_owned();
    match code {
        "bad-address" | "unknown-server" | "not-a-yard" | "not-elsewhere" | "too-large" => {
            Some(Failure::Usage(text))
        }
        "server-away" => Some(Failure::Unreachable(text)),
        "lost" => Some(Failure::Unknown(text)),
        _ => None,
    }
}
