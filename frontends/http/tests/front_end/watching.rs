//! Following changes: streams of events, and pages that are asked for.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use synod_app_kv::{KvChange, KvOp, KvTxn};
use synod_types::StateNdx;
use synod_types::limits::{
    HTTP_WATCH_BOOKMARK_MS, HTTP_WATCH_BOOKMARK_STATES, HTTP_WATCH_PAGE_BYTES, HTTP_WRITE_STALL_MS_MAX,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, advance, timeout};

use crate::house::{Answer, House, ask, parse};

const PATIENCE: Duration = Duration::from_secs(3600);

/// A stream of events, as a client has it.
struct Stream {
    connection: TcpStream,
    head: Answer,
    buffer: Vec<u8>,
}

/// Name, id and data.
type Event = (String, u64, Value);

impl Stream {
    async fn open(house: &House, target: &str) -> Stream {
        Stream::open_with(house.addr(), target, "").await
    }

    async fn open_with(addr: SocketAddr, target: &str, headers: &str) -> Stream {
        Stream::open_on(TcpStream::connect(addr).await.unwrap(), target, headers).await
    }

    async fn open_on(mut connection: TcpStream, target: &str, headers: &str) -> Stream {
        // HTTP/1.0: what comes is the body as it is.
        let request = format!("GET {target} HTTP/1.0\r\nAccept: text/event-stream\r\n{headers}\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Stream { connection, head: parse(b"HTTP/1.0 0 \r\n\r\n"), buffer: Vec::new() };
        let head = stream.until(b"\r\n\r\n").await.expect("an answer has a head");
        stream.head = parse(&head);
        stream
    }

    /// Takes everything up to `end` out of what has come.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut seen = 0;
        loop {
            let from = usize::saturating_sub(seen, end.len());
            if let Some(at) = self.buffer[from..].windows(end.len()).position(|some| some == end) {
                return Some(self.buffer.drain(..from + at + end.len()).collect());
            }
            seen = self.buffer.len();
            let read = timeout(PATIENCE, self.connection.read_buf(&mut self.buffer)).await;
            if !matches!(read.expect("it goes on in time"), Ok(1..)) {
                return None;
            }
        }
    }

    /// The next event; `None`: the stream is over.
    async fn next(&mut self) -> Option<Event> {
        let block = String::from_utf8(self.until(b"\n\n").await?).unwrap();
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let (id, data) = (field("id: ").parse().unwrap(), serde_json::from_str(field("data: ")).unwrap());
        Some((field("event: ").to_owned(), id, data))
    }

    async fn expect(&mut self, name: &str, id: u64) -> Value {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!((&event.0[..], event.1), (name, id), "{event:?}");
        event.2
    }
}

fn key(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn a_stream_begins_at_the_present_and_tells_each_state_as_a_whole() {
    let mut house = House::open().await;
    house.put(b"a/old", b"1");
    let mut stream = Stream::open(&house, "/v1/apps/config/watch?prefix=a/").await;
    let head = &stream.head;
    assert_eq!(
        (head.status, head.state_ndx(), head.header("content-type"), head.header("cache-control")),
        (200, "1", "text/event-stream", "no-store")
    );
    assert_eq!(stream.expect("bookmark", 1).await, json!({"stateNdx": 1}));

    house.put(b"b/other", b"x");
    house.put(b"a/new", "ä\n".as_bytes());
    house.execute(&KvOp::Txn(KvTxn {
        then: vec![
            KvChange::Put { key: key("a/\u{1}"), value: Bytes::from_static(b"\xff"), lease: None },
            KvChange::Put { key: key("b/other"), value: key("y"), lease: None },
            KvChange::Delete { key: key("a/old") },
            KvChange::Put { key: key("a/new"), value: key("2"), lease: None },
        ],
        ..KvTxn::default()
    }));
    let put = stream.expect("change", 3).await;
    let expected = json!([{"key": "a/new", "value": "ä\n", "created": 3, "changed": 3}]);
    assert_eq!((&put["stateNdx"], &put["changes"]), (&3.into(), &expected));
    assert!(put["timeMs"].as_u64().unwrap() > 1_700_000_000_000, "{put}");
    let transaction = stream.expect("change", 4).await;
    let expected = json!([
        {"key": "a/\u{1}", "valueBase64": "/w==", "created": 4, "changed": 4},
        {"key": "a/new", "value": "2", "created": 3, "changed": 4},
        {"key": "a/old", "removed": "deleted"},
    ]);
    assert_eq!(transaction["changes"], expected);
}

#[tokio::test]
async fn whoever_comes_back_goes_on_behind_the_last_id() {
    let mut house = House::open().await;
    for n in 1..=6 {
        house.put(format!("k{}", n % 2).as_bytes(), n.to_string().as_bytes());
    }
    let mut all = Stream::open(&house, "/v1/apps/1/watch?after=0").await;
    all.expect("bookmark", 0).await;
    for n in 1..=6 {
        all.expect("change", n).await;
    }
    let mut one = Stream::open(&house, "/v1/apps/1/watch?after=2&key=k1").await;
    one.expect("bookmark", 2).await;
    for n in [3, 5] {
        one.expect("change", n).await;
    }
    let mut back = Stream::open_with(house.addr(), "/v1/apps/1/watch?after=2", "Last-Event-ID: 5\r\n").await;
    back.expect("bookmark", 5).await;
    back.expect("change", 6).await;
    house.put(b"k1", b"7");
    for stream in [&mut all, &mut one, &mut back] {
        stream.expect("change", 7).await;
    }
}

#[tokio::test]
async fn a_stream_of_more_than_a_page_is_complete() {
    let mut house = House::open().await;
    for n in 0..20_u8 {
        // Some of them do not fit into a page by themselves.
        house.put(b"k", &vec![b'a' + n; usize::from(n % 4) * HTTP_WATCH_PAGE_BYTES / 2]);
    }
    for n in 0..300_u32 {
        house.put(b"k", n.to_string().as_bytes());
    }
    let mut stream = Stream::open(&house, "/v1/apps/1/watch?after=0").await;
    stream.expect("bookmark", 0).await;
    for n in 1..=320 {
        let change = stream.expect("change", n).await;
        assert_eq!(change["changes"][0]["changed"], n);
    }
}

#[tokio::test]
async fn a_page_waits_until_there_is_something_in_it() {
    let mut house = House::open().await;
    let addr = house.addr();
    let nothing = house.get("/v1/apps/1/watch?wait=0").await.json();
    let expected = json!({"appNdx": 1, "stateNdx": 0, "after": 0, "through": 0, "more": false, "states": []});
    assert_eq!(nothing, expected);

    let target = "/v1/apps/1/watch?key=k&after=0&wait=30s";
    let waiting = tokio::spawn(async move { ask(addr, "GET", target).await });
    house.put(b"other", b"");
    house.put(b"k", b"v");
    let page = waiting.await.unwrap();
    assert_eq!((page.status, page.state_ndx()), (200, "2"));
    let page = page.json();
    assert_eq!((&page["after"], &page["through"], &page["more"]), (&0.into(), &2.into(), &false.into()));
    let changes = json!([{"key": "k", "value": "v", "created": 2, "changed": 2}]);
    assert_eq!((&page["states"][0]["stateNdx"], &page["states"][0]["changes"]), (&2.into(), &changes));

    house.put(b"other", b"");
    let nothing = house.get("/v1/apps/1/watch?key=k&after=2&wait=0.01").await.json();
    assert_eq!((&nothing["through"], &nothing["states"]), (&3.into(), &json!([])));
    let first = house.get("/v1/apps/1/watch?after=0&limit=2").await.json();
    assert_eq!((&first["through"], &first["more"]), (&2.into(), &true.into()));
    let last = house.get("/v1/apps/1/watch?after=2&limit=2").await.json();
    assert_eq!((&last["through"], &last["more"]), (&3.into(), &false.into()));
    assert_eq!(last["states"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_forgotten_cannot_be_followed() {
    let mut house = House::open().await;
    for n in 1..=4_u8 {
        house.put(b"k", &[n]);
    }
    let mut open = Stream::open(&house, "/v1/apps/1/watch?after=4").await;
    open.expect("bookmark", 4).await;
    // Nobody is served between these: the stream finds that it has been passed by.
    for n in 5..=6_u8 {
        house.put(b"k", &[n]);
    }
    house.execute(&KvOp::Compact { through: StateNdx(6) });
    let end = open.expect("end", 4).await;
    assert_eq!((&end["type"], &end["oldest"]), (&"/problems/compacted".into(), &6.into()));
    assert_eq!(open.next().await, None);

    let late = Stream::open(&house, "/v1/apps/1/watch?after=5").await;
    assert_eq!((late.head.status, late.head.header("content-type")), (410, "application/problem+json"));
    let answer = house.get("/v1/apps/1/watch?after=5").await;
    let json = answer.assert_problem(410, "compacted", "/v1/apps/1/watch");
    assert_eq!((&json["oldest"], answer.state_ndx()), (&6.into(), "7"));
    assert_eq!(house.get("/v1/apps/1/watch?after=6&wait=0").await.status, 200);
}

#[tokio::test]
async fn a_state_that_another_node_has_is_waited_for() {
    let mut house = House::open().await;
    house.put(b"k", b"1");
    house.get("/v1/apps/1/watch?after=2&wait=0").await.assert_problem(504, "timeout", "/v1/apps/1/watch");
    let late = Stream::open(&house, "/v1/apps/1/watch?after=2&wait=0").await;
    assert_eq!(late.head.status, 504);
    let waiting = tokio::spawn(Stream::open_with(house.addr(), "/v1/apps/1/watch?after=2&wait=30", ""));
    house.get("/livez").await;
    for value in [b"2", b"3"] {
        house.put(b"k", value);
    }
    let mut stream = waiting.await.unwrap();
    stream.expect("bookmark", 2).await;
    stream.expect("change", 3).await;
}

#[tokio::test]
async fn what_cannot_be_followed_is_said() {
    let house = House::open().await;
    let watch = "/v1/apps/1/watch";
    house.get("/v1/apps/2/watch").await.assert_problem(404, "wrong-kind", "/v1/apps/2/watch");
    let json = house.get("/v1/apps/1/watch?key=a&prefix=b&after=x&wait=31s&min=1").await;
    let json = json.assert_problem(400, "invalid-parameters", watch);
    let named: Vec<_> =
        json["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(named, ["key", "after", "wait", "min"]);
    let stream = Stream::open_with(house.addr(), watch, "Last-Event-ID: me\r\n").await;
    assert_eq!(stream.head.status, 400);
    let answer = crate::house::ask_accepting(house.addr(), "GET", watch, "text/html").await;
    answer.assert_problem(406, "not-acceptable", watch);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_says_that_it_lives() {
    let house = House::open().await;
    let mut stream = Stream::open(&house, "/v1/apps/1/watch").await;
    stream.expect("bookmark", 0).await;
    for _ in 0..3 {
        let begun = Instant::now();
        stream.expect("bookmark", 0).await;
        let silence = Duration::from_millis(HTTP_WATCH_BOOKMARK_MS);
        assert!(begun.elapsed() >= silence && begun.elapsed() < silence * 2, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_stream_says_how_far_it_is_when_much_went_by() {
    let mut house = House::open().await;
    let mut stream = Stream::open(&house, "/v1/apps/1/watch?prefix=mine/").await;
    stream.expect("bookmark", 0).await;
    for n in 1..HTTP_WATCH_BOOKMARK_STATES {
        house.put(b"other", &n.to_be_bytes());
    }
    house.put(b"other", b"the last one");
    stream.expect("bookmark", HTTP_WATCH_BOOKMARK_STATES).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_streams_at_once_and_says_so() {
    let mut house = House::open().await;
    let addr = house.addr();
    house.put(b"k", b"1");
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = Stream::open(&house, "/v1/apps/1/watch").await;
        stream.expect("bookmark", 1).await;
        streams.push(stream);
    }
    let page = tokio::spawn(async move { ask(addr, "GET", "/v1/apps/1/watch?wait=30").await });
    house.get("/livez").await;
    let begun = Instant::now();
    house.gateway.stop();
    let close = tokio::spawn(house.server.close());
    for stream in &mut streams {
        let end = stream.expect("end", 1).await;
        assert_eq!((&end["type"], &end["status"]), (&"/problems/stopping".into(), &503.into()));
        assert_eq!(stream.next().await, None);
    }
    page.await.unwrap().assert_problem(503, "stopping", "/v1/apps/1/watch");
    close.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "nothing was waited for: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let house = House::open().await;
    let mut stream = Stream::open(&house, "/v1/apps/1/watch").await;
    stream.expect("bookmark", 0).await;
    drop(stream);
    house.get("/livez").await;
    let begun = Instant::now();
    // Without the end of all streams it would wait for one that was still there.
    house.server.close().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// States that are not read, and bytes of each: more than the kernel takes for a client that does not read.
const UNREAD: (u8, usize) = (24, 256 << 10);

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_off() {
    let mut house = House::open().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let stuck = socket.connect(house.addr()).await.unwrap();
    let mut stuck = Stream::open_on(stuck, "/v1/apps/1/watch", "").await;
    let mut quick = Stream::open(&house, "/v1/apps/1/watch").await;
    for stream in [&mut stuck, &mut quick] {
        stream.expect("bookmark", 0).await;
    }
    for n in 1..=UNREAD.0 {
        house.put(b"k", &vec![b'x'; UNREAD.1]);
        quick.expect("change", n.into()).await;
    }
    advance(Duration::from_millis(HTTP_WRITE_STALL_MS_MAX + 1)).await;
    // The other one's bookmark comes when the server has had its turn.
    while quick.next().await.expect("the stream goes on").0 != "bookmark" {}
    let mut told = 0;
    while let Some((name, ..)) = stuck.next().await {
        assert_eq!(name, "change", "there was no way to tell it anything");
        told += 1;
    }
    assert!(told < UNREAD.0, "{told}");
}
