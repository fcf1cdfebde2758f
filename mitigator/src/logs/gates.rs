//! Gates: the comparisons that a verdict rests on, each with what was seen and what it is held against.

use serde::Serialize;

/// Which way a comparison goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Passes from the limit on.
    AtLeast,
    /// Passes up to the limit.
    AtMost,
}

/// Whether a comparison has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It has to.
    All,
    /// One of several has to.
    OneOf,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// Stable name.
    pub name: &'static str,
    /// What was seen.
    pub value: f64,
    /// What it is held against.
    pub limit: f64,
    /// Of both.
    pub unit: &'static str,
    /// Which way.
    pub direction: Direction,
    /// Whether it lets the client be blamed.
    pub passed: bool,
    /// Whether it has to.
    #[serde(skip)]
    pub need: Need,
    /// What is compared, in plain words.
    pub what: &'static str,
}

impl Gate {
    /// Passes from `limit` on.
    #[must_use]
    pub fn at_least(
        name: &'static str,
        value: f64,
        limit: f64,
        unit: &'static str,
        what: &'static str,
    ) -> Self {
        Self {
            name,
            value,
            limit,
            unit,
            direction: Direction::AtLeast,
            passed: value >= limit,
            need: Need::All,
            what,
        }
    }

    /// Passes up to `limit`.
    #[must_use]
    pub fn at_most(
        name: &'static str,
        value: f64,
        limit: f64,
        unit: &'static str,
        what: &'static str,
    ) -> Self {
        Self {
            name,
            value,
            limit,
            unit,
            direction: Direction::AtMost,
            passed: value <= limit,
            need: Need::All,
            what,
        }
    }

    /// The same, as one of several or not.
    #[must_use]
    pub const fn needed(self, need: Need) -> Self {
        Self { need, ..self }
    }

    /// `4.9 requests/s, at least 3`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let bound = match self.direction {
            Direction::AtLeast => "at least",
            Direction::AtMost => "at most",
        };
        let blank = if self.unit.is_empty() { "" } else { " " };
        format!("{}: {}{blank}{}, {bound} {}", self.what, number(self.value), self.unit, number(self.limit))
    }
}

/// Three digits or so.
#[must_use]
pub fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
