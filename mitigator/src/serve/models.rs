//! The models that classify flows, and `GET /api/models`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ndarray::ArrayView1;
use serde::Serialize;
use utoipa::ToSchema;

use super::Service;
use super::refusal::Refusal;
use crate::learn::flows::model::attack_of;
use crate::learn::flows::{FeatureTable, FlowModel, quantities};

/// What a flow is taken for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judged {
    /// Of the model's classes.
    pub(super) class: usize,
    /// That it is an attack of any class, 0 to 1.
    pub(super) attack_probability: f64,
    /// Whether that is enough to call it one.
    pub(super) is_attack: bool,
}

/// A model, and what callers call it.
pub struct Model {
    name: String,
    data_set: String,
    flows: FlowModel,
}

impl Model {
    /// Reads the model in a file; its name is that of the file, without directory and ending.
    ///
    /// # Errors
    ///
    /// When there is none that classifies flows and fits this mitigator.
    pub fn read(file: &Path) -> Result<Self> {
        let (header, flows) = FlowModel::read(file)?;
        let name = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, data_set: header.data_set, flows })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Names of the classes; the first is benign.
    pub(super) fn classes(&self) -> &[String] {
        self.flows.classes()
    }

    /// A judgement for each row, under any spelling of the columns; NaN is missing. Shape of `rows`: (rows, columns).
    ///
    /// # Errors
    ///
    /// When columns are missing, by name, or there twice, or when a row has another number of cells.
    pub(super) fn judge(&self, columns: &[String], rows: &[Vec<f64>]) -> Result<Vec<Judged>> {
        let table = FeatureTable::from_columns(columns, rows)?;
        let judged = |probabilities: ArrayView1<'_, f64>| Judged {
            class: self.flows.decide(probabilities),
            // A sum of shares may be over 1 by a rounding.
            attack_probability: attack_of(probabilities).min(1.0),
            is_attack: self.flows.is_attack(probabilities),
        };
        Ok(self.flows.probabilities(&table).rows().into_iter().map(judged).collect())
    }
}

/// All that are served; the first answers who names none.
#[derive(Clone, Default)]
pub(super) struct Models(Arc<Vec<Model>>);

impl Models {
    /// # Errors
    ///
    /// When two have one name.
    pub(super) fn new(models: Vec<Model>) -> Result<Self> {
        let mut names = BTreeSet::new();
        let twice = models.iter().find(|model| !names.insert(model.name.as_str()));
        ensure!(
            twice.is_none(),
            "two models are called `{}`, after their files; rename one",
            twice.map_or("", |model| &model.name)
        );
        Ok(Self(Arc::new(models)))
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
        data_set: model.data_set.clone(),
        classes: model.classes().to_vec(),
        columns: quantities::names().iter().map(|name| (*name).to_owned()).collect(),
        is_default: place == 0,
    };
    Json(ModelsBody { models: service.models.0.iter().enumerate().map(described).collect() })
}
