//! Learning from labelled data: tables of features, models, figures, model files.
//!
//! What holds for any data set stands here; each data set is a module of its own. Live decisions are the pipeline's and use
//! none of this.

pub mod balance;
pub mod boosting;
pub mod classifier;
pub mod confusion;
pub mod flows;
pub mod model_file;
pub mod nsl_kdd;
pub mod table;
pub mod trees;
