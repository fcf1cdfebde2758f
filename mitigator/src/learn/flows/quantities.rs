//! The columns that are read of a flow, under the names of all four spellings.
//!
//! They are the features that every data set has, and the protocol. Addresses, ports, the flow's identifier and its time are
//! not among them: what they tell is who attacked in the laboratory, not what an attack looks like.

use std::sync::LazyLock;

use anyhow::{Result, ensure};
use rustc_hash::FxHashMap;

use crate::flows::Flow;
use crate::flows::features::{self, FEATURES, Spelling};

const SPELLINGS: [Spelling; 3] = [Spelling::Original2018, Spelling::Converted2018, Spelling::Corrected2017];
/// The transport protocol, which stands with what tells flows apart rather than with the features.
pub const PROTOCOL: &str = "Protocol";

static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let names = common().filter_map(|feature| feature.name(Spelling::Original2018));
    std::iter::once(PROTOCOL).chain(names).collect()
});

/// The features that every data set has.
fn common() -> impl Iterator<Item = &'static features::Feature> {
    FEATURES.iter().filter(|feature| SPELLINGS.iter().all(|of| feature.name(*of).is_some()))
}

/// Where each spelling stands among [`names`]; spellings are compared without case and what is no letter or digit.
static PLACES: LazyLock<FxHashMap<String, usize>> = LazyLock::new(|| {
    let mut places = FxHashMap::default();
    places.insert(plain(PROTOCOL), 0);
    for feature in &FEATURES {
        let own = feature.name(Spelling::Original2018);
        if let Some(place) = own.and_then(|own| NAMES.iter().position(|name| *name == own)) {
            let spelled = SPELLINGS.iter().filter_map(|spelling| feature.name(*spelling));
            places.extend(spelled.map(|name| (plain(name), place)));
        }
    }
    places
});

/// As the CSV files of CSE-CIC-IDS2018 spell them, in the order of their columns.
#[must_use]
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// The quantities of a flow, in the order of [`names`].
pub fn of(flow: &Flow) -> impl Iterator<Item = f64> {
    std::iter::once(f64::from(flow.protocol)).chain(common().map(|feature| feature.of(flow).number()))
}

/// The place of a quantity among [`names`].
///
/// # Panics
///
/// When there is none of that name.
#[must_use]
pub fn place(name: &str) -> usize {
    NAMES.iter().position(|own| *own == name).expect("a quantity's name")
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Where in a row each quantity stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions(Vec<usize>);

impl Positions {
    /// Finds every quantity among the names of a table's columns; others are passed over.
    ///
    /// # Errors
    ///
    /// When some are missing, by name, or there twice.
    pub fn find<N: AsRef<str>>(columns: &[N]) -> Result<Self> {
        let mut found: Vec<Option<usize>> = vec![None; NAMES.len()];
        for (position, column) in columns.iter().enumerate() {
            let Some(place) = PLACES.get(&plain(column.as_ref())) else { continue };
            ensure!(
                found[*place].replace(position).is_none(),
                "two columns are the feature `{}`; the second is `{}`",
                NAMES[*place],
                column.as_ref()
            );
        }
        let missing: Vec<&str> = NAMES
            .iter()
            .zip(&found)
            .filter(|(_, position)| position.is_none())
            .map(|(name, _)| *name)
            .collect();
        ensure!(
            missing.is_empty(),
            "{} of the {} features of CICFlowMeter are missing: {} (or as other data sets spell them; `mitigator flows` writes \
             all of them)",
            missing.len(),
            NAMES.len(),
            missing.join(", ")
        );
        Ok(Self(found.into_iter().flatten().collect()))
    }

    /// Shape (quantities): in the order of [`names`].
    #[must_use]
    pub fn places(&self) -> &[usize] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_every_quantity_and_nothing_that_tells_machines_apart() {
        assert_eq!(names().len(), 77);
        for spelling in
            [Spelling::Original2018, Spelling::Converted2018, Spelling::Corrected2017, Spelling::SnakeCase]
        {
            let columns: Vec<String> =
                features::columns(spelling).into_iter().map(|column| column.name.into_owned()).collect();
            let positions = Positions::find(&columns).unwrap();
            for (name, position) in names().iter().zip(positions.places()) {
                let again = Positions::find(&columns).unwrap();
                assert_eq!(again.places()[place(name)], *position, "{spelling:?}");
            }
        }
        for identity in ["Flow ID", "Src IP", "Src Port", "Dst IP", "Dst Port", "Timestamp"] {
            assert!(!names().contains(&identity), "{identity}");
        }
    }

    #[test]
    fn what_is_missing_or_there_twice_is_named() {
        let mut columns: Vec<String> = names().iter().map(|name| (*name).to_owned()).collect();
        columns.push("flow_duration".to_owned());
        let error = Positions::find(&columns).unwrap_err().to_string();
        assert!(error.contains("two columns are the feature `Flow Duration`"), "{error}");
        columns.retain(|name| name != "flow_duration" && name != "Flow Duration" && name != "Idle Min");
        let error = Positions::find(&columns).unwrap_err().to_string();
        assert!(error.contains("2 of the 77") && error.contains("Flow Duration, Idle Min"), "{error}");
    }
}
