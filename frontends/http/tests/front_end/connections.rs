//! Connections: limits, bad input, and closing.

use std::time::Duration;

use synod_http::{HttpConfig, HttpError, HttpServer};
use synod_types::limits::{HTTP_CLOSE_MS_MAX, HTTP_URI_BYTES_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{House, ask, parse, read_to_end};

/// Sends `request` and reads until the server closes.
async fn exchange(house: &House, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(house.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

#[tokio::test]
async fn requests_may_follow_each_other_without_waiting() {
    let mut house = House::open().await;
    house.put(b"a", b"first");
    house.put(b"b", b"second");
    let requests = "GET /v1/apps/1/kv/a HTTP/1.1\r\nHost: t\r\n\r\n\
                    GET /v1/apps/1/kv/b HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    let answers = String::from_utf8(exchange(&house, requests).await).unwrap();
    let (first, second) = (answers.find("first").unwrap(), answers.find("second").unwrap());
    assert!(first < second && answers.matches("HTTP/1.1 200 OK").count() == 2, "{answers}");
}

#[tokio::test]
async fn a_body_is_refused_and_not_taken_for_a_request() {
    let house = House::open().await;
    for method in ["GET", "POST"] {
        let request = format!(
            "{method} /v1/apps HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\nGET /livez HTTP/1.1\r\nHost: t\r\n\r\n"
        );
        let answer = parse(&exchange(&house, &request).await);
        let (status, slug) =
            if method == "GET" { (413, "body-not-allowed") } else { (405, "method-not-allowed") };
        answer.assert_problem(status, slug, "/v1/apps");
        assert_eq!(answer.header("connection"), "close");
    }
}

#[tokio::test]
async fn the_limit_of_an_address_is_exact() {
    let house = House::open().await;
    let path = "/v1/apps/1/kv/";
    for (bytes, status) in
        [(HTTP_URI_BYTES_MAX - 1, 404), (HTTP_URI_BYTES_MAX, 404), (HTTP_URI_BYTES_MAX + 1, 414)]
    {
        let target = format!("{path}{}", "k".repeat(bytes - path.len()));
        let slug = if status == 414 { "uri-too-long" } else { "no-such-key" };
        house.get(&target).await.assert_problem(status, slug, &target);
    }
}

#[tokio::test]
async fn what_is_not_http_is_answered_and_closed() {
    let house = House::open().await;
    for request in [
        "\0\0\0\0",
        "GET\r\n\r\n",
        "GET / HTTP/3.7\r\n\r\n",
        &format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1 << 17)),
    ] {
        let mut stream = TcpStream::connect(house.addr()).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert_eq!(house.get("/livez").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_and_half_a_request_do_not_stay() {
    let house = House::open().await;
    for request in ["", "GET /livez HTTP/1.1\r\nHost:"] {
        assert_eq!(exchange(&house, request).await, b"");
    }
}

#[tokio::test]
async fn closing_lets_answers_finish_and_idle_clients_go() {
    let mut house = House::open().await;
    let addr = house.addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nHost: t\r\n\r\n";
    idle.write_all(request.as_bytes()).await.unwrap();
    assert_ne!(idle.read(&mut [0; 1024]).await.unwrap(), 0);

    let target = "/v1/apps/1/kv/a?consistency=linearizable&wait=30";
    let busy = tokio::spawn(async move { ask(addr, "GET", target).await });
    let question = house.questions.next().await.unwrap();
    house.put(b"a", b"late");
    let slot = house.slot();
    let closing = tokio::spawn(house.server.close());
    assert_eq!(read_to_end(&mut idle).await, b"");
    question.grant(slot);
    let answer = busy.await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"late"[..]));
    closing.await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
}

#[tokio::test(start_paused = true)]
async fn closing_cuts_answers_that_take_too_long() {
    let mut house = House::open().await;
    let mut stream = TcpStream::connect(house.addr()).await.unwrap();
    let request = "GET /v1/apps/1/kv/a?consistency=linearizable&wait=30 HTTP/1.1\r\nHost: t\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let _question = house.questions.next().await.unwrap();
    let begin = tokio::time::Instant::now();
    house.server.close().await;
    assert!(begin.elapsed() < Duration::from_millis(HTTP_CLOSE_MS_MAX + 1000));
    assert_eq!(read_to_end(&mut stream).await, b"");
}

#[tokio::test]
async fn stopping_the_gateway_ends_waits_so_that_closing_is_quick() {
    let mut house = House::open().await;
    let addr = house.addr();
    let target = "/v1/apps/1/kv/a?consistency=linearizable&wait=30";
    let waiting = tokio::spawn(async move { ask(addr, "GET", target).await });
    let _question = house.questions.next().await.unwrap();
    house.gateway.stop();
    let answer = waiting.await.unwrap();
    answer.assert_problem(503, "stopping", "/v1/apps/1/kv/a");
    assert_eq!(answer.state_ndx(), "0");
    house.server.close().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let house = House::open().await;
    let addr = house.addr();
    let error = HttpServer::start(HttpConfig::at(addr), house.gateway.clone()).await.err().unwrap();
    assert!(matches!(error, HttpError::PortInUse { addr: named } if named == addr));
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}
