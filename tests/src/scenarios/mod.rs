//! Synthetic scenarios: days of traffic and attacks that nobody recorded, as data with a seed.
//!
//! `tests/scenarios.toml` says who sends what, when; its head says how to add a row. Here it is read ([`Catalogue`]),
//! turned into packets of both directions, one at a time and in the order of time ([`traffic`]), and run through the
//! control loop and the data plane of replay ([`run`]). What comes of it is counted ([`Figures`]) and held against
//! what is asked of the scenario. The same seed gives the same packets.

mod catalogue;
mod chance;
mod drawn;
mod exchange;
mod figures;
mod many;
mod measure;
mod rhythm;
mod run;
pub mod traffic;

pub use catalogue::{Catalogue, Expected, Population, Scenario};
pub use figures::{Exchanges, Figures, Packets, SecondPulse};
pub use many::run_all;
pub use run::run;
