//! Where figures come from: the command, the version, the machine.

use mitigator_tests::machine;
use serde::Serialize;

/// What somebody needs to get the same figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Origin {
    pub(crate) command: String,
    pub(crate) version: &'static str,
    /// `None` outside a repository.
    pub(crate) commit: Option<String>,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) captures: usize,
}

impl Origin {
    pub(crate) fn find(has_data_argument: bool, captures: usize) -> Self {
        Self {
            command: format!("cargo xtask evaluate{}", if has_data_argument { " --data DIR" } else { "" }),
            version: env!("CARGO_PKG_VERSION"),
            commit: machine::commit(),
            processor: machine::processor(),
            kernel: machine::kernel(),
            captures,
        }
    }
}
