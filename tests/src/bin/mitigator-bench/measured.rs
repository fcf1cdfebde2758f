//! What a part of the bench hands over, in all the forms in which it is shown, saved and compared.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plot::Plot;
use crate::quartiles::Quartiles;

/// The results of one part.
pub(crate) struct Measured {
    /// For people.
    pub(crate) text: String,
    /// For machines: an object.
    pub(crate) json: Value,
    /// For the page, without its heading.
    pub(crate) section: String,
    pub(crate) plots: Vec<Plot>,
    /// What another run is compared by.
    pub(crate) figures: Vec<Figure>,
}

/// One figure, with what lies between its quartiles for noise.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// What was measured, population included; the same in every run.
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl Figure {
    pub(crate) fn new(name: String, unit: &str, quartiles: Quartiles) -> Self {
        let Quartiles { lower, median, upper, .. } = quartiles;
        Self { name, unit: unit.to_owned(), lower, median, upper }
    }
}
