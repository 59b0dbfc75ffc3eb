//! The OpenAPI document (3.1), generated from the handlers and the types that they answer with. An address gets into the
//! router together with its part of the document ([`Routes::add`]), so that none is served without being described.
//!
//! What every answer has in common is written once, here: `State-Ndx` and `Request-Id`, and the problems by their status.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::StatusCode;
use synod_app_zones::ZonesApp;
use utoipa::openapi::content::Content;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{KnownFormat, Object, Schema, SchemaFormat, Type};
use utoipa::openapi::tag::Tag;
use utoipa::openapi::{Components, Info, License, OpenApi, Ref, RefOr};
use utoipa::{IntoParams as _, PartialSchema as _, ToSchema as _};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::ask::AppPath;
use crate::parameters::Mistake;
use crate::problem::{PROBLEM_JSON, Problem, ProblemType};
use crate::routes::FrontEnd;

/// What every address can come to.
const ALWAYS: &[ProblemType] = &[
    ProblemType::InvalidParameters,
    ProblemType::InvalidHeader,
    ProblemType::BodyNotAllowed,
    ProblemType::UriTooLong,
    ProblemType::Timeout,
];

/// Addresses, each with its handler and its description.
pub(crate) struct Routes {
    router: Router<FrontEnd>,
    paths: Paths,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Routes {
    pub(crate) fn new() -> Routes {
        let schemas = BTreeMap::from([
            (Problem::name().into_owned(), Problem::schema()),
            (Mistake::name().into_owned(), Mistake::schema()),
        ]);
        Routes { router: Router::new(), paths: Paths::new(), schemas }
    }

    /// One address, as it stands at its handler, and the problems that it can come to beside those of every address.
    pub(crate) fn add(self, problems: &[ProblemType], route: UtoipaMethodRouter<FrontEnd>) -> Routes {
        let path = described_path(&route).to_owned();
        self.add_at(&path, problems, route)
    }

    /// The same at this path. If it is another one than at the handler, it names the application.
    pub(crate) fn add_at(
        mut self,
        path: &str,
        problems: &[ProblemType],
        route: UtoipaMethodRouter<FrontEnd>,
    ) -> Routes {
        let names_app = path != described_path(&route);
        let (schemas, described, method_router) = route;
        self.router = self.router.route(path, method_router);
        self.schemas.extend(schemas);
        // The router's sign for a rest of several segments means nothing in the document.
        let path = path.replace("{*", "{");
        for (_, mut item) in described.paths {
            let operation = item.get.as_mut().expect("every address is for reading");
            if names_app {
                operation.operation_id.as_mut().expect("every operation has a name").push_str("OfApp");
                let parameters = operation.parameters.get_or_insert_default();
                let app = AppPath::into_params(|| Some(ParameterIn::Path)).into_iter();
                let app =
                    app.map(|app| ParameterBuilder::from(app).example(Some(ZonesApp::KIND.into())).build());
                parameters.splice(0..0, app.map(RefOr::T));
            }
            complete(operation, problems);
            self.paths.paths.insert(path.clone(), item);
        }
        self
    }

    /// The router, and the whole document.
    pub(crate) fn finish(self) -> (Router<FrontEnd>, OpenApi) {
        let mut info = Info::new("Synod, the readers' port", env!("CARGO_PKG_VERSION"));
        info.description = Some(DESCRIPTION.to_owned());
        let mut license = License::new("Apache-2.0 OR MIT");
        license.identifier = Some("Apache-2.0 OR MIT".to_owned());
        info.license = Some(license);
        let mut components = Components::new();
        components.schemas = self.schemas;
        let mut document = OpenApi::new(info, self.paths);
        document.components = Some(components);
        document.tags = Some(TAGS.iter().map(|(name, text)| tag(name, text)).collect());
        (self.router, document)
    }
}

/// The path that stands at a handler.
fn described_path((_, described, _): &UtoipaMethodRouter<FrontEnd>) -> &str {
    described.paths.keys().next().expect("a handler is described at its path")
}

const DESCRIPTION: &str = "What the applications of this cluster hold, read-only. Every answer, errors too, says in \
    `State-Ndx` how many commands the application had executed. Any node answers; with `min` it waits until it is as far \
    as a receipt says.";

/// Groups of addresses, in the order in which they are shown.
const TAGS: &[(&str, &str)] = &[
    ("Key-value", "Applications of kind `kv`"),
    ("Zones", "Applications of kind `zones`"),
    ("Applications", "What all applications have in common"),
    ("Cluster", "Nodes, and how far they are"),
    ("Health", "For whoever starts nodes and sends them clients"),
    ("Interface", "This interface itself"),
];

fn tag(name: &str, text: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(text.to_owned());
    tag
}

/// Adds what every operation has in common, and its problems.
fn complete(operation: &mut Operation, problems: &[ProblemType]) {
    for parameter in operation.parameters.iter_mut().flatten() {
        // A format is a hint to some readers only; a maximum is not.
        if let RefOr::T(Parameter { schema: Some(RefOr::T(Schema::Object(object))), .. }) = parameter
            && object.format == Some(SchemaFormat::KnownFormat(KnownFormat::UInt64))
            && object.maximum.is_none()
        {
            object.maximum = Some(u64::MAX.into());
        }
    }
    let mut by_status: BTreeMap<StatusCode, Vec<ProblemType>> = BTreeMap::new();
    for problem in ALWAYS.iter().chain(problems) {
        by_status.entry(problem.description().status).or_default().push(*problem);
    }
    for (status, problems) in by_status {
        let lines = problems.iter().map(|problem| {
            let known = problem.description();
            format!("`{}`: {}", known.r#type, known.meaning())
        });
        let schema = RefOr::Ref(Ref::from_schema_name(Problem::name()));
        let mut response = Response::new(lines.collect::<Vec<_>>().join("\n\n"));
        response.content.insert(PROBLEM_JSON.to_owned(), Content::new(Some(schema)).into());
        operation.responses.responses.insert(status.as_str().to_owned(), response.into());
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let state_ndx = "How many commands the application had executed: one number, or a list of appNdx and \
                             stateNdx where the answer concerns no single application";
            response.headers.insert("State-Ndx".to_owned(), header(Type::String, state_ndx).into());
            let request_id = "The identity of this exchange: the client's own, or one that was made up";
            response.headers.insert("Request-Id".to_owned(), header(Type::String, request_id).into());
        }
    }
}

fn header(of: Type, text: &str) -> Header {
    let mut header = Header::new(Object::with_type(of));
    header.description = Some(text.to_owned());
    header
}
