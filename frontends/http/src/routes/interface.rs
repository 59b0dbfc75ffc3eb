//! `/openapi.json` and `/docs`: this interface, for programs and for people. Both are made once, when the front end starts.

use bytes::Bytes;
use synod_types::Digest;
use utoipa::openapi::OpenApi;

use crate::ask::Ask;
use crate::etag::{EntityTag, IfNoneMatch};
use crate::page;
use crate::reply::{Outcome, Reply, Stamp};

const JSON: &str = "application/json";

/// The document and the page.
pub(crate) struct Interface {
    document: Tagged,
    page: Tagged,
}

struct Tagged {
    bytes: Bytes,
    tag: EntityTag,
}

impl Tagged {
    fn of(text: String) -> Tagged {
        let hash = Digest::of(&[text.as_bytes()]).to_string();
        Tagged { tag: EntityTag::strong(&hash[..16]), bytes: text.into() }
    }
}

impl Interface {
    pub(crate) fn of(document: &OpenApi) -> Interface {
        let document = serde_json::to_value(document).expect("a document has only text for keys");
        Interface { page: Tagged::of(page::docs(&document)), document: Tagged::of(document.to_string()) }
    }
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "Interface",
    params(IfNoneMatch),
    responses(
        (
            status = 200,
            description = "OpenAPI 3.1",
            body = Object,
            content_type = "application/json",
            headers(("ETag" = String, description = "Of this document")),
        ),
        (status = 304, description = "The client has this document", headers(("ETag" = String))),
    ),
)]
pub(super) async fn document(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    let Tagged { bytes, tag } = &ask.interface().document;
    Ok(Reply::bytes(Stamp::of_all(&ask.gateway), JSON, bytes.clone()).tagged(tag, &ask.headers))
}

/// This document as a page, which loads nothing from elsewhere.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "getDocs",
    tag = "Interface",
    params(IfNoneMatch),
    responses(
        (
            status = 200,
            description = "The page",
            body = String,
            content_type = "text/html",
            headers(("ETag" = String, description = "Of this page")),
        ),
        (status = 304, description = "The client has this page", headers(("ETag" = String))),
    ),
)]
pub(super) async fn docs(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    let Tagged { bytes, tag } = &ask.interface().page;
    Ok(page::reply(Stamp::of_all(&ask.gateway), bytes.clone()).tagged(tag, &ask.headers))
}
