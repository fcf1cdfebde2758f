//! Learning which flows are attacks, from labelled flows under the column names of CICFlowMeter.
//!
//! [`quantities`] are the columns that are read, [`table`] holds them, [`data`] are labelled files of them, [`category`] is
//! what labels mean, [`shapes`] are the features that a model sees, [`variation`] is what another network and another
//! tool would have made of a flow, [`model`] learns and answers, [`evaluation`] judges. `docs/flow-classifier.md` explains why.

pub mod category;
pub mod cross;
pub mod data;
pub mod evaluation;
pub mod model;
pub mod quantities;
pub mod shapes;
pub mod table;
pub mod variation;

pub use category::Category;
pub use data::Labelled;
pub use model::{DATA_SET, FlowModel, Thresholds, Training};
pub use table::FeatureTable;
