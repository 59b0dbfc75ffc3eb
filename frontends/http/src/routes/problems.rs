//! `/problems`: what the types of problems mean, at the addresses that they are.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::ask::Ask;
use crate::page;
use crate::problem::{Description, ProblemType, problem};
use crate::reply::{Outcome, Refused, Reply, Stamp};

const JSON: &str = "application/json";
const HTML: &str = "text/html";

/// A type of problems.
#[derive(Serialize, ToSchema)]
#[schema(as = ProblemType)]
pub(super) struct TypeView {
    /// Its address: what `type` says in a problem.
    r#type: &'static str,
    title: &'static str,
    /// The status of the answers that carry it.
    status: u16,
    /// When it happens.
    description: &'static str,
}

impl TypeView {
    fn of(known: Description) -> TypeView {
        let (status, description) = (known.status.as_u16(), known.meaning());
        TypeView { r#type: known.r#type, title: known.title, status, description }
    }
}

/// All types of problems.
#[derive(Serialize, ToSchema)]
pub(super) struct ProblemTypes {
    problems: Vec<TypeView>,
}

/// Every type of problem; with `Accept: text/html`, a page.
#[utoipa::path(
    get,
    path = "/problems",
    operation_id = "listProblems",
    tag = "Interface",
    responses((
        status = 200,
        description = "All of them",
        content((ProblemTypes = "application/json"), (String = "text/html")),
    )),
)]
pub(super) async fn all(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    let known: Vec<Description> = ProblemType::ALL.iter().map(|which| which.description()).collect();
    let stamp = Stamp::of_all(&ask.gateway);
    let reply = if form(&ask)? == HTML {
        page::reply(stamp, page::problems(&known).into())
    } else {
        Reply::json(stamp, &ProblemTypes { problems: known.into_iter().map(TypeView::of).collect() })
    };
    Ok(reply.varies_by_accept())
}

/// The name in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `one` finds")]
struct NamePath {
    /// The last part of a problem's `type`.
    #[param(example = "no-such-key")]
    name: String,
}

/// What a type of problem means; with `Accept: text/html`, a page.
#[utoipa::path(
    get,
    path = "/problems/{name}",
    operation_id = "getProblem",
    tag = "Interface",
    params(NamePath),
    responses((
        status = 200,
        description = "The type",
        content((TypeView = "application/json"), (String = "text/html")),
    )),
)]
pub(super) async fn one(ask: Ask) -> Outcome {
    ask.without_parameters()?;
    let stamp = || Stamp::of_all(&ask.gateway);
    let name = ask.segment(2, stamp)?;
    let known = ProblemType::ALL.iter().map(|which| which.description());
    let Some(known) = known.into_iter().find(|known| known.name().as_bytes() == &*name) else {
        let detail = "there is no such type of problem; /problems lists them";
        return Err(problem(stamp(), &ask.uri, ProblemType::NotFound, detail));
    };
    let reply = if form(&ask)? == HTML {
        page::reply(stamp(), page::problems(&[known]).into())
    } else {
        Reply::json(stamp(), &TypeView::of(known))
    };
    Ok(reply.varies_by_accept())
}

fn form(ask: &Ask) -> Result<&'static str, Refused> {
    ask.acceptable(|| Stamp::of_all(&ask.gateway), &[JSON, HTML])
}
