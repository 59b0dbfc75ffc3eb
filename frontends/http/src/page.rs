//! Pages for people: the OpenAPI document, and the types of problems. One self-contained HTML file each, without a script;
//! its Content-Security-Policy lets nothing be loaded from anywhere.

use std::fmt::Write as _;

use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use bytes::Bytes;
use serde_json::Value;

use crate::problem::{Description, PROBLEM_JSON};
use crate::reply::{Reply, Stamp};

const HTML: &str = "text/html; charset=utf-8";
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
/// Where an example asks: a node's readers' port, as `config/node.toml` has it.
const EXAMPLE_HOST: &str = "http://127.0.0.1:9101";
/// What every answer carries.
const COMMON_HEADERS: [&str; 2] = ["State-Ndx", "Request-Id"];
const STYLE: &str = include_str!("page.css");

/// A page as an answer.
pub(crate) fn reply(stamp: Stamp, html: Bytes) -> Reply {
    Reply::bytes(stamp, HTML, html)
        .header(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

/// Types of problems.
pub(crate) fn problems(known: &[Description]) -> String {
    let mut html = begin(if let [one] = known { one.title } else { "Problems" });
    html.push_str("<table><tr><th>Type<th>Status<th>Title<th>When\n");
    for known in known {
        let (address, status) = (escaped(known.r#type), known.status.as_u16());
        let (title, meaning) = (escaped(known.title), prose(known.meaning()));
        let link = format!("<a href=\"{address}\"><code>{address}</code></a>");
        push(&mut html, format_args!("<tr><td>{link}<td>{status}<td>{title}<td>{meaning}\n"));
    }
    html.push_str(
        "</table>\n<p><a href=\"/problems\">All problems</a> · <a href=\"/docs\">All addresses</a>\n",
    );
    html.push_str(END);
    html
}

/// The OpenAPI document.
pub(crate) fn docs(document: &Value) -> String {
    let mut html = begin(text(&document["info"]["title"]));
    let (version, description) = (&document["info"]["version"], &document["info"]["description"]);
    push(&mut html, format_args!("<p>{}\n", prose(text(description))));
    html.push_str(
        "<p>Headers that every answer has are not listed: <code>State-Ndx</code>, <code>Request-Id</code>.\n",
    );
    push(
        &mut html,
        format_args!(
            "<p>Version {} · <a href=\"/openapi.json\">OpenAPI {}</a> · <a href=\"/problems\">Problems</a>\n",
            escaped(text(version)),
            escaped(text(&document["openapi"]))
        ),
    );
    contents(&mut html, document);
    for tag in list(&document["tags"]) {
        for (path, operation) in operations(document, text(&tag["name"])) {
            section(&mut html, path, operation);
        }
    }
    html.push_str("<h2 id=\"types\">Types</h2>\n");
    for (name, schema) in members(&document["components"]["schemas"]) {
        type_section(&mut html, name, schema);
    }
    html.push_str(END);
    html
}

/// Every operation with this tag, and its path.
fn operations<'a>(document: &'a Value, tag: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let all = members(&document["paths"]).filter_map(|(path, item)| Some((path, item.get("get")?)));
    all.filter(move |(_, operation)| list(&operation["tags"]).any(|of| of == tag))
}

/// A table of all addresses, by their tags.
fn contents(html: &mut String, document: &Value) {
    html.push_str("<table>\n");
    for tag in list(&document["tags"]) {
        let (name, description) = (text(&tag["name"]), text(&tag["description"]));
        let heading = format!("{} <small>{}</small>", escaped(name), prose(description));
        push(html, format_args!("<tr><th colspan=2>{heading}\n"));
        for (path, operation) in operations(document, name) {
            let (id, summary) =
                (escaped(text(&operation["operationId"])), prose(text(&operation["summary"])));
            let path = escaped(path);
            push(html, format_args!("<tr><td><a href=\"#{id}\"><code>{path}</code></a><td>{summary}\n"));
        }
    }
    html.push_str("</table>\n");
}

/// One operation.
fn section(html: &mut String, path: &str, operation: &Value) {
    let id = escaped(text(&operation["operationId"]));
    push(html, format_args!("<section id=\"{id}\"><h2><code>GET {}</code></h2>\n", escaped(path)));
    for part in ["summary", "description"] {
        if let Some(words) = operation[part].as_str().filter(|words| !words.is_empty()) {
            push(html, format_args!("<p>{}\n", prose(words)));
        }
    }
    let mut parameters = list(&operation["parameters"]).peekable();
    if parameters.peek().is_some() {
        html.push_str("<h3>Parameters</h3>\n<table><tr><th>Name<th>In<th>Type<th>Meaning\n");
        for parameter in parameters {
            let (name, place) = (escaped(text(&parameter["name"])), escaped(text(&parameter["in"])));
            let (of, meaning) = (type_of(&parameter["schema"]), prose(text(&parameter["description"])));
            push(html, format_args!("<tr><td><code>{name}</code><td>{place}<td>{of}<td>{meaning}\n"));
        }
        html.push_str("</table>\n");
    }
    html.push_str("<h3>Answers</h3>\n<table><tr><th>Status<th>Body<th>Headers<th>Meaning\n");
    let is_problem = |answer: &Value| answer["content"][PROBLEM_JSON].is_object();
    let (problems, answers): (Vec<_>, Vec<_>) =
        members(&operation["responses"]).partition(|(_, answer)| is_problem(answer));
    for (status, answer) in answers {
        let bodies: Vec<String> = members(&answer["content"])
            .map(|(form, content)| format!("<code>{}</code> {}", escaped(form), type_of(&content["schema"])))
            .collect();
        let headers: Vec<String> = members(&answer["headers"])
            .filter(|(name, _)| !COMMON_HEADERS.contains(name))
            .map(|(name, header)| {
                format!("<code>{}</code> {}", escaped(name), prose(text(&header["description"])))
            })
            .collect();
        let (bodies, headers) = (bodies.join("<br>"), headers.join("<br>"));
        let meaning = prose(text(&answer["description"]));
        push(html, format_args!("<tr><td>{}<td>{bodies}<td>{headers}<td>{meaning}\n", escaped(status)));
    }
    html.push_str("</table>\n<h3>Problems</h3>\n<table>\n");
    for (status, answer) in problems {
        let meaning = prose(text(&answer["description"]));
        push(html, format_args!("<tr><td>{}<td>{meaning}\n", escaped(status)));
    }
    let example = escaped(&example(path, operation));
    push(html, format_args!("</table>\n<h3>Example</h3>\n<pre>{example}</pre>\n</section>\n"));
}

/// A command that asks, with the examples of the path's parameters.
fn example(path: &str, operation: &Value) -> String {
    let mut path = path.to_owned();
    for parameter in list(&operation["parameters"]).filter(|parameter| parameter["in"] == "path") {
        let value = match &parameter["example"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        path = path.replace(&format!("{{{}}}", text(&parameter["name"])), &value);
    }
    format!("curl -i {EXAMPLE_HOST}{path}")
}

/// One type with its fields.
fn type_section(html: &mut String, name: &str, schema: &Value) {
    let name = escaped(name);
    push(html, format_args!("<h3 id=\"type-{name}\"><code>{name}</code></h3>\n"));
    if let Some(description) = schema["description"].as_str() {
        push(html, format_args!("<p>{}\n", prose(description)));
    }
    let parts = [schema].into_iter().chain(list(&schema["allOf"]));
    let mut fields = parts.flat_map(|part| members(&part["properties"])).peekable();
    if fields.peek().is_none() {
        push(html, format_args!("<p>{}\n", type_of(schema)));
        return;
    }
    html.push_str("<table><tr><th>Field<th>Type<th>Meaning\n");
    for (name, field) in fields {
        let (of, meaning) = (type_of(field), prose(text(&field["description"])));
        push(html, format_args!("<tr><td><code>{}</code><td>{of}<td>{meaning}\n", escaped(name)));
    }
    html.push_str("</table>\n");
}

/// A type in a few words.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|address| address.rsplit('/').next()) {
        let name = escaped(name);
        return format!("<a href=\"#type-{name}\">{name}</a>");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(|value| escaped(&value.to_string())).collect();
        return values.join(" | ");
    }
    if schema["items"].is_object() {
        return format!("list of {}", type_of(&schema["items"]));
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if schema[several].is_array() {
            let each: Vec<String> = list(&schema[several]).map(type_of).collect();
            return each.join(if several == "allOf" { " and " } else { " or " });
        }
    }
    let mut of = match &schema["type"] {
        Value::Array(several) => several.iter().map(text).collect::<Vec<_>>().join(" or "),
        one => text(one).to_owned(),
    };
    if let (Some(least), Some(most)) = (schema.get("minimum"), schema.get("maximum")) {
        push(&mut of, format_args!(", {least} to {most}"));
    }
    if let Some(default) = schema.get("default") {
        push(&mut of, format_args!("; default {default}"));
    }
    escaped(&of)
}

const END: &str = "</main></body></html>\n";

fn begin(title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n\
         <style>{STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn push(html: &mut String, what: std::fmt::Arguments<'_>) {
    html.write_fmt(what).expect("a String takes everything");
}

/// Text in a page or in an attribute.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// Sentences: paragraphs, and code in backticks. A problem's type leads to what it means.
fn prose(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for (n, part) in text.split('`').enumerate() {
        let part = escaped(part).replace("\n\n", "<br>");
        if n % 2 == 0 {
            html.push_str(&part);
        } else if part.starts_with("/problems/") {
            push(&mut html, format_args!("<a href=\"{part}\"><code>{part}</code></a>"));
        } else {
            push(&mut html, format_args!("<code>{part}</code>"));
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<a href=\"x\">'&'"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;");
        assert_eq!(prose("see `a<b`, or `c"), "see <code>a&lt;b</code>, or <code>c</code>");
        assert_eq!(prose("`/problems/x`"), "<a href=\"/problems/x\"><code>/problems/x</code></a>");
    }

    #[test]
    fn types_are_named() {
        let of = |text: &str| type_of(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r##"{"$ref": "#/components/schemas/App"}"##), "<a href=\"#type-App\">App</a>");
        assert_eq!(of(r#"{"type": ["string", "null"]}"#), "string or null");
        assert_eq!(of(r#"{"type": "array", "items": {"type": "integer"}}"#), "list of integer");
        assert_eq!(of(r#"{"enum": ["a", 1]}"#), "&quot;a&quot; | 1");
        assert_eq!(
            of(r#"{"type": "integer", "minimum": 1, "maximum": 9, "default": 3}"#),
            "integer, 1 to 9; default 3"
        );
    }
}
