//! `/v1/apps/{app}/query/…`: asking an application in a process of its own, in its own words.

use utoipa::IntoParams;

use crate::ask::{AppPath, Ask};
use crate::parameters::ReadParameters;
use crate::problem::{ProblemType, problem};
use crate::reply::{Outcome, Reply, Stamp};

/// Only the application knows what its answers are.
const BYTES: &str = "application/octet-stream";

/// The query in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `Ask::rest` finds")]
struct QueryPath {
    /// The query, percent-encoded; any bytes that the application understands.
    #[param(example = "visits")]
    query: String,
}

/// Asks an application in its own words, and gives its answer as it is: one that is in a process of its own. Those in the node have
/// addresses of their own.
#[utoipa::path(
    get,
    path = "/v1/apps/{app}/query/{*query}",
    operation_id = "queryApp",
    tag = "Applications",
    params(AppPath, QueryPath, ReadParameters),
    responses((status = 200, description = "Its answer", body = Vec<u8>, content_type = "application/octet-stream")),
)]
pub(super) async fn query(ask: Ask) -> Outcome {
    let door = ask.app()?;
    let read = ask.read_of(door)?;
    if !door.is_elsewhere() {
        let (ndx, kind) = (door.ndx(), door.kind());
        let detail = format!(
            "application {ndx} is of kind {kind:?}, which has addresses of its own; this one is for applications in processes of their own"
        );
        return Err(problem(Stamp::of(door.state_ndx()), &ask.uri, ProblemType::WrongKind, &detail));
    }
    let query = ask.rest(door)?;
    let answer = ask.query(door, read, &query).await?;
    Ok(Reply::bytes(Stamp::of(answer.state_ndx), BYTES, answer.body))
}
