//! `Catalogue`: the scenarios of `tests/scenarios.toml`, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use mitigator::pipeline::vectors::Vector;
use serde::Deserialize;

use super::chance::Chance;
use super::drawn::{Drawn, drawn_duration, length};
use super::exchange::{Exchange, Step};
use super::rhythm::Rhythm;

/// The project's own.
const TEXT: &str = include_str!("../../scenarios.toml");
/// Stands for all of them.
const EVERY: &str = "all";
/// Sources that one population may have, when they are not forged.
const MOST_SOURCES: u64 = 1_000_000;

/// Every scenario.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// In the order of the file.
    pub scenarios: Vec<Scenario>,
}

/// Who sends what, when, and what mitigator ought to make of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Unique.
    pub name: String,
    /// In a sentence.
    pub about: String,
    /// What has to come of it.
    pub expected: Expected,
    /// For an attack, the benign scenario that looks like it.
    pub twin: Option<String>,
    /// Of chance.
    pub seed: u64,
    /// From the first packet to the last.
    pub lasts: Duration,
    /// Why it fails at present; `None` when it passes.
    pub known_fault: Option<String>,
    /// Who takes part.
    pub populations: Vec<Population>,
}

/// What has to come of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nobody is blocked, nothing is dropped.
    Nothing,
    /// A verdict that names one of these, and nobody is blocked.
    Report(Vec<Vector>),
    /// A verdict that names one of these, and the attack is stopped.
    Stop(Vec<Vector>),
}

/// Some who do the same.
#[derive(Clone, Debug)]
pub struct Population {
    /// In the file's words.
    pub name: String,
    /// Whether it is the attack.
    pub attacks: bool,
    /// Where its addresses lie.
    pub from: IpNet,
    /// How many; IPv6: how many /64.
    pub sources: u64,
    /// Whether each exchange has another address, of all in `from`.
    pub forged: bool,
    pub(super) does: Exchange,
    pub(super) at_once: Drawn,
    pub(super) per_second: f64,
    pub(super) pace: Pace,
    /// Over time.
    pub rhythm: Rhythm,
    /// When it begins.
    pub start: Duration,
    /// When it begins nothing more; `None` for the end of the scenario.
    pub stop: Option<Duration>,
    pub(super) port: Ports,
    pub(super) their_port: Ports,
    pub(super) round_trip: Drawn,
}

/// How exchanges follow each other.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pace {
    /// As chance has it, by sources as chance has it.
    #[default]
    Random,
    /// Evenly, by one source after the other.
    Regular,
}

/// Which port an exchange uses.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum Ports {
    Fixed(u16),
    OneOf(Vec<u16>),
    Any(Any),
}

/// Spells `any`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Any {
    /// Every port.
    Any,
    /// Those that a client takes.
    Ephemeral,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    exchanges: BTreeMap<String, Vec<Step>>,
    background: BTreeMap<String, PopulationRow>,
    #[serde(rename = "scenario")]
    scenarios: Vec<ScenarioRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScenarioRow {
    name: String,
    about: String,
    #[serde(default)]
    expect: Vec<String>,
    twin: Option<String>,
    seed: u64,
    #[serde(deserialize_with = "length")]
    lasts: Duration,
    known_fault: Option<String>,
    #[serde(default)]
    background: Vec<String>,
    #[serde(rename = "population", default)]
    populations: Vec<PopulationRow>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PopulationRow {
    name: String,
    #[serde(default)]
    attacks: bool,
    from: IpNet,
    #[serde(default = "one")]
    sources: u64,
    #[serde(default)]
    forged: bool,
    does: String,
    #[serde(default)]
    at_once: Option<String>,
    per_second: f64,
    #[serde(default)]
    pace: Pace,
    #[serde(default)]
    rhythm: Rhythm,
    #[serde(default, deserialize_with = "length")]
    start: Duration,
    #[serde(default, deserialize_with = "stop")]
    stop: Option<Duration>,
    #[serde(default = "web")]
    port: Ports,
    #[serde(default = "ephemeral")]
    their_port: Ports,
    #[serde(default = "usual_round_trip", deserialize_with = "drawn_duration")]
    round_trip: Drawn,
}

const fn one() -> u64 {
    1
}

const fn web() -> Ports {
    Ports::Fixed(443)
}

const fn ephemeral() -> Ports {
    Ports::Any(Any::Ephemeral)
}

const fn usual_round_trip() -> Drawn {
    Drawn::fixed(3e7)
}

fn stop<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    length(deserializer).map(Some)
}

impl Catalogue {
    /// The scenarios of the project.
    ///
    /// # Errors
    ///
    /// As [`Catalogue::parse`].
    pub fn read() -> Result<Self> {
        Self::parse(TEXT).context("`tests/scenarios.toml`")
    }

    /// The scenarios of `text`.
    ///
    /// # Errors
    ///
    /// When it is not such a file; says which scenario and what.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let mut exchanges = BTreeMap::new();
        for (name, steps) in &file.exchanges {
            let exchange = Exchange::compile(steps).with_context(|| format!("exchange `{name}`"))?;
            exchanges.insert(name.as_str(), exchange);
        }
        let scenarios: Vec<Scenario> = file
            .scenarios
            .into_iter()
            .map(|row| {
                let name = row.name.clone();
                Scenario::new(row, &exchanges, &file.background).with_context(|| format!("scenario `{name}`"))
            })
            .collect::<Result<_>>()?;
        for (position, scenario) in scenarios.iter().enumerate() {
            let same = |other: &&Scenario| other.name == scenario.name;
            ensure!(
                scenarios.iter().position(|other| same(&other)) == Some(position),
                "scenario `{}` is there twice",
                scenario.name
            );
            if let Some(twin) = &scenario.twin {
                let is_benign = |other: &Scenario| other.name == *twin && other.expected == Expected::Nothing;
                ensure!(
                    scenarios.iter().any(is_benign),
                    "scenario `{}`: there is no benign scenario `{twin}`",
                    scenario.name
                );
            }
        }
        Ok(Self { scenarios })
    }

    /// The scenarios of these names; all of them for none, or for `all`.
    ///
    /// # Errors
    ///
    /// When there is none of a name.
    pub fn choose(mut self, names: &[String]) -> Result<Vec<Scenario>> {
        let is_every = names.is_empty() || names.iter().any(|name| name == EVERY);
        for name in names.iter().filter(|_| !is_every) {
            if !self.scenarios.iter().any(|scenario| scenario.name == *name) {
                let known: Vec<&str> = self.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
                bail!("there is no scenario `{name}`; there are {}", known.join(", "));
            }
        }
        self.scenarios.retain(|scenario| is_every || names.contains(&scenario.name));
        Ok(self.scenarios)
    }
}

impl Scenario {
    fn new(
        row: ScenarioRow,
        exchanges: &BTreeMap<&str, Exchange>,
        background: &BTreeMap<String, PopulationRow>,
    ) -> Result<Self> {
        let expected = Expected::of(&row.expect)?;
        let shared = row.background.iter().map(|name| {
            background.get(name).cloned().with_context(|| format!("there is no background `{name}`"))
        });
        let rows = shared.chain(row.populations.into_iter().map(Ok));
        let populations: Vec<Population> =
            rows.map(|row| Population::new(row?, exchanges)).collect::<Result<_>>()?;
        ensure!(!populations.is_empty(), "nobody takes part");
        ensure!(!row.lasts.is_zero(), "it lasts no time");
        let has_attack = populations.iter().any(|population| population.attacks);
        match expected {
            Expected::Nothing => ensure!(!has_attack, "somebody attacks, but nothing is expected"),
            _ => ensure!(has_attack, "nobody attacks, but `{}` is expected", row.expect.join(", ")),
        }
        Ok(Self {
            name: row.name,
            about: row.about,
            expected,
            twin: row.twin,
            seed: row.seed,
            lasts: row.lasts,
            known_fault: row.known_fault,
            populations,
        })
    }

    /// When the first packet of the attack may come, since the beginning; `None` without an attack.
    #[must_use]
    pub fn attack_starts(&self) -> Option<Duration> {
        self.attackers().map(|population| population.start).min()
    }

    /// The pulses of the attack: when the first begins, and on and off. `None` when it has none.
    #[must_use]
    pub fn pulses(&self) -> Option<(Duration, Duration, Duration)> {
        self.attackers().find_map(|population| match population.rhythm {
            Rhythm::Pulse { on, off } => Some((population.start, on, off)),
            _ => None,
        })
    }

    fn attackers(&self) -> impl Iterator<Item = &Population> {
        self.populations.iter().filter(|population| population.attacks)
    }
}

impl Expected {
    fn of(names: &[String]) -> Result<Self> {
        let vector = |name: &String| {
            Vector::ALL.into_iter().find(|vector| vector.name() == name).with_context(|| {
                let known = Vector::ALL.map(Vector::name).join(", ");
                format!("there is no vector `{name}`; there are {known}")
            })
        };
        let vectors: Vec<Vector> = names.iter().map(vector).collect::<Result<_>>()?;
        Ok(if vectors.is_empty() {
            Self::Nothing
        } else if vectors.iter().any(|vector| vector.is_blocked()) {
            Self::Stop(vectors)
        } else {
            Self::Report(vectors)
        })
    }

    /// The vectors of which one has to be named.
    #[must_use]
    pub fn vectors(&self) -> &[Vector] {
        match self {
            Self::Nothing => &[],
            Self::Report(vectors) | Self::Stop(vectors) => vectors,
        }
    }
}

impl Population {
    fn new(row: PopulationRow, exchanges: &BTreeMap<&str, Exchange>) -> Result<Self> {
        let what = format!("population `{}`", row.name);
        let does = exchanges
            .get(row.does.as_str())
            .with_context(|| format!("{what}: there is no exchange `{}`", row.does))?;
        let room = 1_u64 << host_bits(row.from).min(40);
        ensure!(
            row.forged || (1..=room.min(MOST_SOURCES)).contains(&row.sources),
            "{what}: `{}` has no room for {} sources",
            row.from,
            row.sources
        );
        ensure!(
            row.per_second.is_finite() && row.per_second > 0.0,
            "{what}: `per-second` is {}; it must be over 0",
            row.per_second
        );
        let at_once = row.at_once.as_deref().unwrap_or("1");
        Ok(Self {
            name: row.name,
            attacks: row.attacks,
            from: row.from,
            sources: row.sources,
            forged: row.forged,
            does: does.clone(),
            at_once: Drawn::number(at_once).with_context(|| format!("{what}: `at-once`"))?,
            per_second: row.per_second,
            pace: row.pace,
            rhythm: row.rhythm,
            start: row.start,
            stop: row.stop,
            port: row.port,
            their_port: row.their_port,
            round_trip: row.round_trip,
        })
    }
}

/// Bits of an address below the prefix that make another source.
pub(super) fn host_bits(from: IpNet) -> u32 {
    let all: u32 = if from.addr().is_ipv4() { 32 } else { 64 };
    all.saturating_sub(u32::from(from.prefix_len()))
}

impl Ports {
    pub(super) fn draw(&self, chance: &mut Chance) -> u16 {
        let within = |chance: &mut Chance, low: u16, count: u16| {
            low + u16::try_from(chance.below(u64::from(count))).unwrap_or(0)
        };
        match self {
            Self::Fixed(port) => *port,
            Self::OneOf(ports) => {
                let position = usize::try_from(chance.below(ports.len() as u64)).unwrap_or(0);
                ports.get(position).copied().unwrap_or(0)
            }
            Self::Any(Any::Any) => within(chance, 1, u16::MAX),
            Self::Any(Any::Ephemeral) => within(chance, 32_768, 28_232),
        }
    }

    /// The port of an exchange so many places beside that with port `first`: lists are gone through in turn.
    pub(super) fn beside(&self, first: u16, places: u64) -> u16 {
        let Self::OneOf(ports) = self else {
            return first;
        };
        let start = ports.iter().position(|port| *port == first).unwrap_or(0);
        let places = usize::try_from(places).unwrap_or(0);
        ports.iter().cycle().nth(start + places % ports.len().max(1)).copied().unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_benign_twin_and_every_vector_an_attack() {
        let scenarios = Catalogue::read().unwrap().scenarios;
        let attacks = || scenarios.iter().filter(|scenario| scenario.expected != Expected::Nothing);
        for attack in attacks() {
            assert!(attack.twin.is_some(), "{}", attack.name);
        }
        for vector in Vector::ALL {
            assert!(attacks().any(|attack| attack.expected.vectors().contains(&vector)), "{vector:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = |population: &str, scenario: &str| {
            format!(
                "background = {{}}\n[exchanges]\nping = [\"> icmp\", \"< icmp\"]\n[[scenario]]\nname = \"a\"\n\
                 about = \"b\"\nseed = 1\n{scenario}\n[[scenario.population]]\nname = \"p\"\n{population}\n"
            )
        };
        let population = "from = \"10.0.0.0/30\"\ndoes = \"ping\"\nper-second = 1.0";
        let scenario = "lasts = \"1m\"";
        assert!(Catalogue::parse(&text(population, scenario)).is_ok());
        for (population, scenario, hint) in [
            (population, "", "missing field `lasts`"),
            (population, "lasts = \"soon\"", "`soon`"),
            (population, "lasts = \"0s\"", "lasts no time"),
            (population, "lasts = \"1m\"\nexpect = [\"rain\"]", "no vector `rain`"),
            (population, "lasts = \"1m\"\nexpect = [\"syn-flood\"]", "nobody attacks"),
            (population, "lasts = \"1m\"\ntwin = \"c\"", "no benign scenario `c`"),
            (population, "lasts = \"1m\"\nbackground = [\"c\"]", "no background `c`"),
            (&population.replace("ping", "pong"), scenario, "no exchange `pong`"),
            (&population.replace("1.0", "0.0"), scenario, "must be over 0"),
            (&format!("{population}\nsources = 5"), scenario, "no room for 5 sources"),
            (&format!("{population}\nattacks = true"), scenario, "nothing is expected"),
            (&format!("{population}\ncolour = 5"), scenario, "unknown field `colour`"),
            (&format!("{population}\nat-once = \"many\""), scenario, "`many`"),
        ] {
            let error = format!("{:#}", Catalogue::parse(&text(population, scenario)).unwrap_err());
            assert!(error.contains(hint), "{hint}: {error}");
        }
    }
}
