//! Synthetic scenarios, a row each: benign ones pass without a block, attacks are named in time and stopped. What is
//! known to fail has to fail, so that whoever mends it takes the mark away.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use mitigator_tests::scenarios::{Catalogue, Expected, Scenario, run};
use mitigator_tests::suite::{self, Needs, Trial};

/// Of a benign scenario's day, what the suite simulates: everything has happened once by then. `cargo xtask evaluate`
/// does all of it.
const LONGEST: Duration = Duration::from_hours(13);

fn main() -> ExitCode {
    let mut trials =
        vec![Trial::new("the_catalogue_is_read", Needs::Nothing, || Catalogue::read().map(drop))];
    for scenario in Catalogue::read().map(|catalogue| catalogue.scenarios).unwrap_or_default() {
        let name = match scenario.expected {
            Expected::Nothing => format!("passes_{}", scenario.name),
            _ => format!("catches_{}", scenario.name),
        };
        trials.push(Trial::new(name, Needs::Nothing, move || as_expected(&scenario)));
    }
    suite::run(trials)
}

fn as_expected(scenario: &Scenario) -> Result<()> {
    let longest = (scenario.expected == Expected::Nothing).then_some(LONGEST);
    let figures = run(scenario, longest)?;
    let wrong = figures.first_wrong.as_deref().unwrap_or_default();
    match &scenario.known_fault {
        None => ensure!(figures.is_met(), "{}\n{wrong}\n{:?}", figures.failures.join("; "), figures.verdicts),
        Some(fault) => ensure!(!figures.is_met(), "it passes: take away the known fault `{fault}`"),
    }
    Ok(())
}
