//! The models that classify flows: what the service asks of one, those it has, and `GET /api/models`.

use std::sync::Arc;

use anyhow::Result;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Service;
use super::refusal::Refusal;

/// What a flow is taken for.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Of the model's classes.
    pub class: usize,
    /// That it is an attack of any class, 0 to 1.
    pub attack_probability: f64,
    /// Whether that is enough to call it one.
    pub is_attack: bool,
}

/// What classifies flows by the features of CICFlowMeter.
pub trait Classifier: Send + Sync {
    /// Names of the classes; the first is benign.
    fn classes(&self) -> Vec<String>;

    /// Names of the columns that are read.
    fn columns(&self) -> Vec<String>;

    /// What it was trained on.
    fn data_set(&self) -> String;

    /// A judgement for each row, under any spelling of the columns; NaN is missing.
    ///
    /// # Errors
    ///
    /// When columns are missing, by name, or there twice, or when a row has another number of cells.
    fn judge(&self, columns: &[String], rows: &[Vec<f64>]) -> Result<Vec<Judged>>;
}

/// A model, and what callers call it.
pub struct Model {
    /// Unique among those that are served.
    pub name: String,
    /// What classifies.
    pub classifier: Box<dyn Classifier>,
}

/// All that are served; the first answers who names none.
#[derive(Clone, Default)]
pub(super) struct Models(Arc<Vec<Model>>);

impl Models {
    pub(super) fn new(models: Vec<Model>) -> Self {
        Self(Arc::new(models))
    }

    /// The place of the one of that name, or of the first; `None` when there is none at all and none was named.
    pub(super) fn find(&self, name: Option<&str>) -> Result<Option<Chosen>, Refusal> {
        let place = match name {
            None => (!self.0.is_empty()).then_some(0),
            Some(name) => Some(self.0.iter().position(|model| model.name == name).ok_or_else(|| {
                let names: Vec<&str> = self.0.iter().map(|model| model.name.as_str()).collect();
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Refusal::bad_request(format!("there is no model `{name}`; there are: {known}"))
            })?),
        };
        Ok(place.map(|place| Chosen { models: self.clone(), place }))
    }

    /// As [`Models::find`], when nothing goes on without one.
    pub(super) fn required(&self, name: Option<&str>) -> Result<Chosen, Refusal> {
        self.find(name)?.ok_or_else(|| {
            let why = "this server has no model; start it with `mitigator serve --model FILE`";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
        })
    }
}

/// A model that may be taken to another thread.
#[derive(Clone)]
pub(super) struct Chosen {
    models: Models,
    place: usize,
}

impl std::ops::Deref for Chosen {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.models.0[self.place]
    }
}

/// A model, described.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelBody {
    /// For `?model=`.
    name: String,
    /// What it was trained on.
    data_set: String,
    /// The first is benign.
    classes: Vec<String>,
    /// That a request for predictions has to have, in any of the spellings of `mitigator flows --names`.
    columns: Vec<String>,
    /// Whether it answers who names none.
    is_default: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ModelsBody {
    models: Vec<ModelBody>,
}

/// The models that classify flows
#[utoipa::path(
    get,
    path = "/api/models",
    tag = "models",
    responses((status = 200, description = "All of them; none when the server was started without `--model`", body = ModelsBody))
)]
pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<ModelsBody> {
    let described = |(place, model): (usize, &Model)| ModelBody {
        name: model.name.clone(),
        data_set: model.classifier.data_set(),
        classes: model.classifier.classes(),
        columns: model.classifier.columns(),
        is_default: place == 0,
    };
    Json(ModelsBody { models: service.models.0.iter().enumerate().map(described).collect() })
}
