//! `GET /openapi.json` and `GET /healthz`: what the service can do, and that it is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{OpenApi, ToSchema};

use super::refusal::ErrorBody;
use super::{Service, captures, events, models, predictions};

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

/// The description, as it holds for this server.
pub(super) fn description(has_token: bool) -> utoipa::openapi::OpenApi {
    let mut description = Description::openapi();
    if has_token {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        description.components.get_or_insert_default().add_security_scheme("token", bearer);
        description.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
    description
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
pub(super) async fn describe(State(service): State<Arc<Service>>) -> Json<utoipa::openapi::OpenApi> {
    Json(description(service.admission.has_token()))
}
