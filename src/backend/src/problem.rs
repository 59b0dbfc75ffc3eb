//! Refusals over HTTP: problem+json (RFC 9457) with a status that a proxy or a retry library understands.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use synod_types::{Receipt, Refusal, RefusalCode};

use crate::forms::ReceiptForm;

/// Seconds after which a client may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The body of a problem.
#[derive(Serialize)]
pub(crate) struct Problem {
    /// A stable reference that a program looks at.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    /// The receipt of a command that was executed and refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Box<ReceiptForm>>,
}

impl Problem {
    /// A problem that is HTTP's own, not a refusal.
    pub(crate) fn http(status: StatusCode, name: &str, detail: impl ToString) -> Problem {
        Problem {
            kind: format!("/problems/{name}"),
            title: name.replace('-', " "),
            status: status.as_u16(),
            detail: detail.to_string(),
            receipt: None,
        }
    }

    /// A command that was executed and refused: 409 whatever the code, because the refusal is now part of history.
    pub(crate) fn executed(refusal: &Refusal, receipt: &Receipt) -> Problem {
        let mut problem = Problem::http(StatusCode::CONFLICT, refusal.code.name(), &refusal.text);
        problem.receipt = Some(Box::new(ReceiptForm::from(receipt)));
        problem
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::http(status(refusal.code), refusal.code.name(), refusal.text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("made from a StatusCode");
        let body = serde_json::to_vec(&self).expect("strings and numbers always serialize");
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// The status of what was refused, and not executed.
fn status(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::Malformed | RefusalCode::WrongCluster => StatusCode::BAD_REQUEST,
        RefusalCode::BadSignature => StatusCode::UNAUTHORIZED,
        RefusalCode::UnknownCommander
        | RefusalCode::Revoked
        | RefusalCode::NotPermitted
        | RefusalCode::NotValidNow => StatusCode::FORBIDDEN,
        RefusalCode::UnknownApp => StatusCode::NOT_FOUND,
        RefusalCode::Expired => StatusCode::GONE,
        RefusalCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalCode::Busy | RefusalCode::NoLeader | RefusalCode::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        RefusalCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        RefusalCode::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        // Upload the file, and submit the same bytes again.
        RefusalCode::ContentMissing => StatusCode::CONFLICT,
        // Stale, reused and far seqs, failed conditions, and what a later version adds.
        _ => StatusCode::CONFLICT,
    }
}
