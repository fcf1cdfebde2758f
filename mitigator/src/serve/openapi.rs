//! `GET /openapi.json` and `GET /healthz`: what the service can do, and that it is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, Required, ResponseBuilder};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::refusal::ErrorBody;
use super::{Service, captures, events, limits, models, predictions};

/// `?victim=`
pub(super) struct Victim;

/// `?model=`
pub(super) struct ModelName;

/// `?flows=`
pub(super) struct ListedFlows;

impl IntoParams for Victim {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let what =
            "Judge only packets to these addresses, separated by commas; without, every packet is judged";
        vec![parameter("victim", what, text().examples(["192.0.2.1"]))]
    }
}

impl IntoParams for ModelName {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let what = "The model that classifies flows, by its name; without, the first one, if there is any";
        vec![parameter("model", what, text())]
    }
}

impl IntoParams for ListedFlows {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .maximum(Some(limits::LISTED_FLOWS))
            .default(Some(captures::SHOWN_FLOWS.into()));
        vec![parameter("flows", "Flows that the answer lists", number)]
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn parameter(name: &str, what: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(what))
        .schema(Some(schema))
        .build()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "mitigator",
        description = "Flows, classes and verdicts of captures, and classes of flows. Every refusal is `{\"error\": ...}`."
    ),
    paths(predictions::predict, captures::judge, captures::stream, events::listen, models::list, health, describe),
    components(schemas(ErrorBody)),
    tags(
        (name = "predictions", description = "Which flows are attacks"),
        (name = "captures", description = "What is in a capture"),
        (name = "events", description = "What is found, as it is found"),
        (name = "models", description = "What classifies"),
        (name = "service", description = "The service itself"),
    )
)]
struct Description;

/// The one path that is open to everybody.
pub(super) const HEALTH: &str = "/healthz";

/// The description, as it holds for this server.
pub(super) fn description(has_token: bool) -> utoipa::openapi::OpenApi {
    let mut description = Description::openapi();
    if has_token {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        description.components.get_or_insert_default().add_security_scheme("token", bearer);
        description.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
    let admitted = description.paths.paths.iter_mut().filter(|(path, _)| *path != HEALTH);
    for operation in admitted.flat_map(|(_, item)| [&mut item.get, &mut item.post]).flatten() {
        refuse(operation, 403, "What a page of another site has a browser ask");
        if has_token {
            refuse(operation, 401, "Without the token, or with another");
        } else {
            refuse(operation, 421, "The header `Host` names another server");
        }
    }
    description
}

fn refuse(operation: &mut Operation, status: u16, what: &str) {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    let response = ResponseBuilder::new().description(what).content("application/json", body).build();
    operation.responses.responses.insert(status.to_string(), response.into());
}

/// That the service is there.
#[derive(Serialize, ToSchema)]
pub(super) struct HealthBody {
    /// `ok`
    status: &'static str,
    version: &'static str,
}

/// That the service is there; also without the token
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    security(()),
    responses((status = 200, description = "It is", body = HealthBody))
)]
pub(super) async fn health() -> Json<HealthBody> {
    Json(HealthBody { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// This description
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn describe(State(service): State<Arc<Service>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], service.description.clone())
}
