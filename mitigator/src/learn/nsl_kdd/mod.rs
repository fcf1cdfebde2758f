//! NSL-KDD: connections of 1998 with 41 features, in five classes (Tavallaee et al., 2009).

pub mod attack;
pub mod encoding;
pub mod evaluation;
pub mod folds;
pub mod model;
pub mod record;
