//! What the front end says of itself is what it does, and what docs/HTTP.md says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::house::{House, ask_accepting, ask_with};

/// docs/HTTP.md
const PAGE: &str = include_str!("../../../../docs/HTTP.md");

/// What is in backticks.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The first cells of a table's rows, whose head begins like this; and the cells behind them.
fn rows<'a>(head: &str) -> Vec<(&'a str, &'a str)> {
    let table = PAGE.split(head).nth(1).unwrap_or_else(|| panic!("docs/HTTP.md has no table {head:?}"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("| "));
    rows.map(|row| row[2..].split_once(" | ").unwrap()).collect()
}

async fn document(house: &House) -> Value {
    let answer = house.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    answer.json()
}

/// The path of an operation with the examples of its parameters in their places.
fn example(path: &str, operation: &Value) -> String {
    let mut path = path.replace("{app}", "1");
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "path" {
            let example = parameter["example"].as_str().map(str::to_owned);
            let example = example.unwrap_or_else(|| parameter["example"].to_string());
            path = path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), &example);
        }
    }
    path
}

#[tokio::test]
async fn the_document_and_the_page_name_the_same_addresses() {
    let house = House::open().await;
    let document = document(&house).await;
    let described: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = rows("| address |").iter().flat_map(|(cell, _)| codes(cell)).collect();
    // The page says once that each address of zones is there for a named application, too.
    let of_named = |address: &str| address.replace("/v1/zones", "/v1/apps/{app}/zones");
    let named: Vec<String> =
        listed.iter().filter(|address| address.starts_with("/v1/zones")).map(|it| of_named(it)).collect();
    let listed: BTreeSet<&str> =
        listed.into_iter().filter(|it| !it.ends_with('…')).chain(named.iter().map(String::as_str)).collect();
    assert_eq!(described, listed);
}

#[tokio::test]
async fn what_is_described_is_there_and_takes_what_it_says() {
    let mut house = House::open().await;
    house.put(b"greeting", b"hello");
    let document = document(&house).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let operation = &item["get"];
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{path}: twice the same name");
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let queried: Vec<&str> = parameters
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let query: Vec<String> = queried.iter().map(|name| format!("{name}=%zz")).collect();
        let target = format!("{}?{}&nonsense=1", example(path, operation), query.join("&"));
        let answer = house.get(&target).await;
        let json = answer.json();
        if json["type"] != "/problems/invalid-parameters" {
            // There are no zones here.
            assert!(path.contains("zones"), "{target}: {json}");
            continue;
        }
        // What cannot be decoded is wrong by itself; it is asked for again with a value that any parameter could have.
        for name in queried {
            let target = format!("{}?{name}=1&nonsense=1", example(path, operation));
            let json = house.get(&target).await.json();
            let wrong: Vec<&str> = json["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["name"].as_str().unwrap())
                .collect();
            let known = !json["detail"].as_str().unwrap().contains(&format!("{name:?} is unknown here"));
            assert!(known && wrong.contains(&"nonsense"), "{target}: {json}");
        }
        // Nothing changes here, whoever waits for it.
        let waits = operation["parameters"].to_string().contains("\"name\":\"wait\"");
        let target = example(path, operation) + if waits { "?wait=0" } else { "" };
        let answer = house.get(&target).await;
        let described = &operation["responses"][answer.status.to_string()];
        assert!(described.is_object(), "{target}: {} is not described", answer.status);
        let form = answer.header("content-type").split(';').next().unwrap();
        assert!(described["content"][form].is_object(), "{target}: {form} is not described");
        for name in described["headers"].as_object().unwrap().keys() {
            assert!(answer.headers.contains_key(&name.to_lowercase()), "{target}: {name} is missing");
        }
    }
}

#[tokio::test]
async fn every_answer_is_described_with_its_state_and_every_reference_leads_somewhere() {
    let house = House::open().await;
    let document = document(&house).await;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (status, response) in item["get"]["responses"].as_object().unwrap() {
            for header in ["State-Ndx", "Request-Id"] {
                assert!(response["headers"][header].is_object(), "{path} {status}: {header}");
            }
            let is_problem = status.starts_with(['4', '5']);
            assert_eq!(
                response["content"]["application/problem+json"].is_object(),
                is_problem,
                "{path} {status}"
            );
        }
    }
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                    found.insert(to);
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"));
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_page_is_whole_by_itself() {
    let house = House::open().await;
    let answer = house.get("/docs").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    let html = String::from_utf8(answer.body.clone()).unwrap();
    let document = document(&house).await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let id = item["get"]["operationId"].as_str().unwrap();
        assert!(html.contains(&format!("<section id=\"{id}\"><h2><code>GET {path}</code>")), "{path}");
    }
    assert!(!html.contains("<script") && !html.contains("<link") && !html.contains("url("));
    // Every link stays on the page or at this server.
    for link in html.split("href=\"").skip(1) {
        let link = link.split('"').next().unwrap();
        assert!(link.starts_with('#') || link.starts_with('/'), "{link}");
        if let Some(id) = link.strip_prefix('#') {
            assert!(html.contains(&format!("id=\"{id}\"")), "{link} leads nowhere");
        }
    }
    let tag = answer.header("etag");
    let again = ask_with(house.addr(), "GET", "/docs", &[("If-None-Match", tag)]).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag));
}

#[tokio::test]
async fn every_problem_is_described_at_its_address_and_in_the_docs() {
    let house = House::open().await;
    let all = house.get("/problems").await;
    assert_eq!((all.status, all.header("content-type")), (200, "application/json"));
    let mut served = BTreeMap::new();
    for problem in all.json()["problems"].as_array().unwrap() {
        let address = problem["type"].as_str().unwrap();
        assert_eq!(&house.get(address).await.json(), problem);
        let page = ask_accepting(house.addr(), "GET", address, "text/html,*/*;q=0.8").await;
        let html = String::from_utf8(page.body).unwrap();
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        let title = problem["title"].as_str().unwrap().replace('\'', "&#39;");
        assert!(html.contains(address) && html.contains(&title), "{html}");
        let name = address.strip_prefix("/problems/").unwrap().to_owned();
        assert!(served.insert(name, problem["status"].to_string()).is_none(), "{address} is there twice");
    }
    let rows = rows("| status | type:");
    let listed: BTreeMap<String, String> = rows
        .iter()
        .flat_map(|(status, rest)| {
            let names = codes(rest.split(" | ").next().unwrap());
            names.map(|name| (name.to_owned(), (*status).to_owned()))
        })
        .collect();
    assert_eq!(served, listed, "docs/HTTP.md lists every problem, with its status");
    house.get("/problems/none").await.assert_problem(404, "not-found", "/problems/none");
    let page = ask_accepting(house.addr(), "GET", "/problems", "image/png").await;
    page.assert_problem(406, "not-acceptable", "/problems");
}
