//! `POST /api/predictions`: flows with the features of CICFlowMeter in, a bare array of 0 (benign) and 1 (attack) out, in the
//! order of the rows. The interface is that of ML-IDS, whose clients work unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::Service;
use super::body::{Patience, announced, refuse_announced, require_encoding, whole};
use super::limits;
use super::models::{Chosen, Judged};
use super::openapi::ModelName;
use super::refusal::{ErrorBody, Refusal};
use super::split_table::{Given, SplitTable};

const ACCEPTED: &str = "application/json; format=pandas-split";

/// What may be asked of flows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PredictionQuery {
    model: Option<String>,
}

/// A table as pandas writes it with `to_json(orient="split")`.
#[derive(ToSchema)]
#[schema(as = SplitTable)]
#[expect(dead_code, reason = "describes what `SplitTable` reads")]
pub(super) struct SplitTableBody {
    /// Names of columns, in any spelling of `mitigator flows --names`; `GET /api/models` lists those that a model reads.
    columns: Vec<String>,
    /// Of the rows; not read.
    index: Option<Vec<serde_json::Value>>,
    /// Rows, each with a number, a text, true, false or null for each column.
    #[schema(value_type = Vec<Vec<Object>>)]
    data: Vec<Vec<serde_json::Value>>,
}

/// As everybody hears it who listens.
#[derive(Serialize)]
struct PredictionEvent<'found> {
    event: &'static str,
    model: &'found str,
    row: usize,
    class: &'found str,
    attack_probability: f64,
    /// The row as it was given, by the names of its columns; null when that is too long to be kept for listeners.
    flow: Option<Box<RawValue>>,
}

/// Tell attacks among flows
///
/// The interface of ML-IDS: a table in pandas' `split` form in, an array out that has 1 for each row that is an attack
/// and 0 for each that is not.
#[utoipa::path(
    post,
    path = "/api/predictions",
    tag = "predictions",
    params(ModelName),
    request_body(content = SplitTableBody, content_type = "application/json; format=pandas-split"),
    responses(
        (status = 200, description = "0 or 1 for each row", body = Vec<u32>, content_type = "application/json"),
        (status = 400, description = "Empty, not JSON, or not such a table; missing and extra columns are named", body = ErrorBody),
        (status = 408, description = "It took too long, or the sender paused for too long", body = ErrorBody),
        (status = 413, description = "Past the limit", body = ErrorBody),
        (status = 415, description = "Another content type, or a content encoding", body = ErrorBody),
        (status = 500, description = "The server failed", body = ErrorBody),
        (status = 503, description = "The server was started without a model", body = ErrorBody),
    )
)]
pub(super) async fn predict(
    State(service): State<Arc<Service>>,
    query: Result<Query<PredictionQuery>, QueryRejection>,
    request: Request,
) -> Result<impl IntoResponse, Refusal> {
    require_content_type(request.headers())?;
    require_encoding(request.headers(), &[])?;
    let Query(query) = query.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let patience = Patience { most_bytes: limits::PREDICTION_BYTES, idle: service.limits.idle };
    refuse_announced(&request, patience.most_bytes)?;
    let model = service.models.required(query.model.as_deref())?;
    let place = || Arc::clone(&service.predictions).acquire_owned();
    // Who sends much waits for a place first, so that memory is bounded; who sends little does not wait for those who
    // take their time to send much.
    let is_short = announced(&request).is_some_and(|length| length <= limits::SHORT_PREDICTION_BYTES);
    let early = if is_short { None } else { Some(place().await.map_err(Refusal::internal)?) };
    let body = whole(request.into_body(), patience).await?;
    if body.is_empty() {
        return Err(Refusal::bad_request(
            "the body is empty; send a table in the split form of pandas, as JSON",
        ));
    }
    let place = match early {
        Some(place) => place,
        None => place().await.map_err(Refusal::internal)?,
    };
    let service = Arc::clone(&service);
    let judging = spawn_blocking(move || {
        // Kept until the thread is done, also when nobody waits for it any more.
        let _place = place;
        let classes = judge(&service, &model, &body)?;
        serde_json::to_vec(&classes).map_err(Refusal::internal)
    });
    let json = judging.await.map_err(Refusal::internal)??;
    Ok(([(CONTENT_TYPE, "application/json")], json))
}

fn judge(service: &Service, model: &Chosen, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let wrong = |error: anyhow::Error| {
        Refusal::bad_request(format!(
            "the body is no table in the split form of pandas that can be judged: {error:#}"
        ))
    };
    let table = SplitTable::read(body).map_err(wrong)?;
    let rows = table.numbers().map_err(wrong)?;
    let judged = model.judge(&table.columns, &rows).map_err(wrong)?;
    let classes = model.classes();
    let is_heard = service.events.is_heard();
    for (row, Judged { class, attack_probability, .. }) in
        judged.iter().enumerate().filter(|(_, judged)| is_heard && judged.is_attack)
    {
        let flow: BTreeMap<&str, &Given> =
            table.columns.iter().map(String::as_str).zip(table.data[row].iter()).collect();
        let flow = to_raw_value(&flow).map_err(Refusal::internal)?;
        let event = PredictionEvent {
            event: "prediction",
            model: model.name(),
            row,
            class: classes.get(*class).map_or("", String::as_str),
            attack_probability: *attack_probability,
            flow: Some(flow).filter(|flow| flow.get().len() <= limits::EVENT_FLOW_BYTES),
        };
        service.events.tell("prediction", &event).map_err(Refusal::internal)?;
    }
    Ok(judged.into_iter().map(|judged| u8::from(judged.is_attack)).collect())
}

/// Spaces and case do not matter, and neither does another parameter.
fn require_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let is_accepted = given.as_ref().is_some_and(|given| {
        let mut parts = given.split(';').map(|part| part.trim().to_ascii_lowercase());
        parts.next().as_deref() == Some("application/json") && parts.any(|part| part == "format=pandas-split")
    });
    if is_accepted {
        return Ok(());
    }
    let given = given.map_or_else(
        || "there is no content type".to_owned(),
        |given| format!("the content type is `{given}`"),
    );
    Err(Refusal::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("{given}; what is accepted is `{ACCEPTED}`"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_content_type_is_accepted_however_it_is_written() {
        for (given, is_accepted) in [
            (Some(ACCEPTED), true),
            (Some("Application/JSON;format=pandas-split"), true),
            (Some("application/json; charset=utf-8; format=pandas-split "), true),
            (Some("application/json"), false),
            (Some("application/json; format=pandas-records"), false),
            (Some("text/plain; format=pandas-split"), false),
            (Some(""), false),
            (None, false),
        ] {
            let headers = given.map(|given| (CONTENT_TYPE, given.parse().unwrap())).into_iter().collect();
            assert_eq!(require_content_type(&headers).is_ok(), is_accepted, "{given:?}");
        }
    }
}
