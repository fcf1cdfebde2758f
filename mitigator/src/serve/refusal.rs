//! `Refusal`: what is answered instead of what was asked for. A status, and one sentence in `{"error": ...}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The body of every answer that is a refusal.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// What is wrong, and what to do about it.
    error: String,
}

/// A status of 400 to 599, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn too_large(why: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    }

    pub(super) fn busy(why: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, why)
    }

    /// What should never be; the cause goes into the log, not to whoever asked.
    pub(super) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!("a request failed: {cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here; the server's log says what")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.why })).into_response();
        let more = match self.status {
            StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, "1")),
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer realm=\"mitigator\"")),
            _ => None,
        };
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
        }
        response
    }
}
