//! Evidence for people: each gate with what it asks, what was seen, what it takes and by how much; what the
//! source sent; its group; and what would have had to be different.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Deserialize;

use super::output::{Ink, printable};
use super::units;
use crate::pipeline::features::{Feature, Scale};
use crate::pipeline::meanings::{self, Reading};
use crate::pipeline::settings::DetectionSettings;
use crate::pipeline::vectors::{Comparison, Vector};

/// The unit of vectors that are counted in what stands.
const CONNECTIONS: &str = "connections";
/// Columns after which a sentence goes on in the next line.
const WIDTH: usize = 100;
/// Groups that are shown.
const SHOWN_GROUPS: usize = 4;

/// The evidence of a decision, as reports and the history of decisions spell it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Told {
    window_s: f64,
    gates: Vec<ToldGate>,
    features: BTreeMap<String, f64>,
    clusters: Vec<Group>,
    cluster: Option<usize>,
    distance: Option<f64>,
    silhouette: f64,
    note: String,
    second_opinion: Option<ToldOpinion>,
}

/// One comparison.
#[derive(Clone, Debug, Deserialize)]
pub struct ToldGate {
    name: String,
    /// JSON knows no infinity: what is missing cannot be reached.
    value: Option<f64>,
    limit: Option<f64>,
    unit: String,
    passed: bool,
}

/// What a flow model says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ToldOpinion {
    model: String,
    learned_flows: f64,
    seen_flows: f64,
    flows: f64,
    live_flows: f64,
    class: Option<String>,
    class_flows: f64,
    probability: Option<f64>,
    agrees: Option<bool>,
    source_share: f64,
    lost_packets: f64,
    deaf_interfaces: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Group {
    sources: usize,
    packets_per_second: f64,
    share: f64,
    mean_bytes: f64,
    is_attacking: bool,
}

/// When something that did not happen would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tense {
    /// It is measured as we speak.
    Now,
    /// It is over.
    Then,
}

impl Told {
    /// Reads evidence; what is unreadable is left out.
    #[must_use]
    pub fn read(evidence: &impl serde::Serialize) -> Self {
        let value = serde_json::to_value(evidence);
        let mut told: Self = value.and_then(serde_json::from_value).unwrap_or_default();
        let unit = told.unit().to_owned();
        // What is enough to judge by is counted as the rest is.
        for gate in told.gates.iter_mut().filter(|gate| gate.unit.is_empty() && unit == CONNECTIONS) {
            gate.unit.clone_from(&unit);
        }
        told
    }

    /// Each gate on a line, then what the source sent, its group, and what else decided.
    #[must_use]
    pub fn text(&self, ink: Ink) -> String {
        let mut text = gate_lines(&self.gates, ink);
        text.push_str(&self.feature_lines());
        text.push_str(&self.group_lines(ink));
        if !self.note.is_empty() {
            let _ = writeln!(text, "  Note: {}.", self.note);
        }
        if let Some(opinion) = &self.second_opinion {
            for line in wrapped(&opinion.sentences()).lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }

    /// Each gate on a line, and nothing else.
    #[must_use]
    pub fn gates(&self, ink: Ink) -> String {
        gate_lines(&self.gates, ink)
    }

    /// What the source sent, one feature on a line; shares of nothing are left out.
    fn feature_lines(&self) -> String {
        let shown = |feature: &Feature| {
            let value = *self.features.get(feature.name())?;
            let text = match feature.scale() {
                Scale::Of(unit) => format!("{} {unit}", units::count(value)),
                Scale::Share => percent(value),
                Scale::Seconds => {
                    format!(
                        "{} before",
                        units::duration(Duration::try_from_secs_f64(value).unwrap_or_default())
                    )
                }
            };
            let is_nothing = value <= 0.0 && *feature != Feature::AgeSeconds;
            (!is_nothing).then(|| vec![feature.label().to_owned(), text.trim_end().to_owned()])
        };
        let rows: Vec<Vec<String>> = Feature::ALL.iter().filter_map(shown).collect();
        if rows.is_empty() {
            return String::new();
        }
        let over = Duration::try_from_secs_f64(self.window_s).unwrap_or_default();
        let mut text = format!("  What it sent, over {}:\n", short_time(over));
        for line in aligned(&rows, &[]) {
            let _ = writeln!(text, "    {line}");
        }
        text
    }

    fn group_lines(&self, ink: Ink) -> String {
        if self.clusters.is_empty() {
            return String::new();
        }
        let unit = self.unit();
        let sources: usize = self.clusters.iter().map(|group| group.sources).sum();
        let mut text = match (self.clusters.len(), sources) {
            (1, 1) => "  Nobody else sent it.\n".to_owned(),
            (1, _) => format!("  The {sources} sources that sent it are one group:\n"),
            (groups, _) => format!(
                "  The {sources} sources that sent it are {groups} groups, {}:\n",
                apartness(self.silhouette)
            ),
        };
        if sources == 1 {
            return text;
        }
        let row = |(index, group): (usize, &Group)| {
            let is_own = self.cluster == Some(index);
            let distance = self.distance.filter(|_| is_own && group.sources > 1);
            let mine = match (is_own, distance) {
                (false, _) => String::new(),
                (true, None) => "<- its own".to_owned(),
                (true, Some(distance)) => format!("<- its own, {distance:.2} decades from the centre"),
            };
            // A connection is more than one packet, or none, and has no size.
            let [of_all, size] = match unit {
                CONNECTIONS => [String::new(), String::new()],
                _ => [
                    percent(group.share.min(1.0)) + " of all",
                    format!("{} bytes each", units::count(group.mean_bytes.round())),
                ],
            };
            vec![
                units::counted(group.sources as u64, "source", "sources"),
                format!("{} {unit}", units::count(group.packets_per_second)),
                of_all,
                size,
                if group.is_attacking { ink.bad("attacking") } else { ink.good("innocent ") },
                mine,
            ]
        };
        // Its own is shown however quiet it is.
        let is_shown = |index: usize| index < SHOWN_GROUPS || self.cluster == Some(index);
        let groups = self.clusters.iter().enumerate().filter(|(index, _)| is_shown(*index));
        let rows: Vec<Vec<String>> = groups.map(row).collect();
        for line in aligned(&rows, &[0, 1, 2, 3]) {
            let _ = writeln!(text, "    {line}");
        }
        text
    }

    /// What the numbers of the vector are.
    fn unit(&self) -> &str {
        self.gate("total_floor").or_else(|| self.gates.first()).map_or("packets/s", |gate| gate.unit.as_str())
    }

    fn gate(&self, name: &str) -> Option<&ToldGate> {
        self.gates.iter().find(|gate| gate.name == name)
    }

    /// What would have kept a target from being blocked, in one sentence.
    #[must_use]
    pub fn what_would_have_kept(&self, target: &str, vector: Option<Vector>) -> String {
        let traffic = vector.map_or(String::new(), |vector| format!(" ({})", vector.traffic()));
        let allow = format!("with a place on the allow list: `mitigator allow add {target}`");
        let limit = |gate: &ToldGate| with_unit(gate, gate.limit);
        match (self.gate("prefix_floor"), self.gate("prefix_members"), self.gate("source_floor")) {
            (Some(floor), Some(members), _) => format!(
                "It would not have been blocked below {} from the whole prefix{traffic}, with fewer than {} there that \
                 take part, with anybody there whom this host knew before, or {allow}.",
                limit(floor),
                limit(members)
            ),
            (_, _, Some(floor)) => {
                let brief = self
                    .gate("lasted")
                    .filter(|_| floor.unit == CONNECTIONS)
                    .map_or(String::new(), |gate| format!(", had they ended within {}", limit(gate)));
                format!("It would not have been blocked below {}{traffic}{brief}, or {allow}.", limit(floor))
            }
            _ => match self.gate("paced_sources") {
                Some(sources) => format!(
                    "It would not have been blocked with fewer than {} that are new and ask at the same even \
                     pace{traffic}, or {allow}.",
                    limit(sources)
                ),
                None => format!("It would not have been blocked {allow}."),
            },
        }
    }

    /// What is missing for a verdict, in one sentence.
    #[must_use]
    pub fn what_it_would_take(&self, vector: Vector, settings: &DetectionSettings, tense: Tense) -> String {
        let verb = if vector.is_blocked() { "blocked" } else { "reported" };
        let (name, ticks) = (vector.name(), settings.ticks);
        let (takes, when) = match tense {
            Tense::Now => ("it takes", "now"),
            Tense::Then => ("it would have taken", "then"),
        };
        let mut missing = self.missing(when);
        if missing.is_empty() {
            return match tense {
                Tense::Now => format!(
                    "It sends all that {name} takes: it is {verb} when it goes on for {ticks} looks in a row and stands \
                     out from the others."
                ),
                Tense::Then => format!("It sent all that {name} takes."),
            };
        }
        if vector.comparison() == Comparison::Peers && self.gate("has_quieter_peers").is_none() {
            missing.push("others that do the same at a normal rate".to_owned());
        }
        // Some seconds are one look.
        let is_window = self.window_s >= settings.window.as_secs_f64();
        let is_told = self.gates.iter().any(|gate| gate.name == "ticks" || gate.name == "lasted");
        if !is_window && !is_told {
            missing.push(format!("all that in {ticks} looks in a row"));
        }
        format!("To be {verb} for {name} {takes} {}.", listed(&missing))
    }

    /// The conditions that are not met. Of several about the same number the hardest is told.
    fn missing(&self, when: &str) -> Vec<String> {
        let mut missing: Vec<(&str, f64, String)> = Vec::new();
        for gate in self.gates.iter().filter(|gate| !gate.passed) {
            let meaning = meanings::of_gate(&gate.name);
            let condition = meaning.map_or(gate.name.as_str(), |meaning| meaning.condition);
            let phrase = match meaning.map_or(Reading::Amount, |meaning| meaning.reading) {
                Reading::YesNo => condition.to_owned(),
                Reading::Amount | Reading::Share => {
                    let is_share = meaning.is_some_and(|meaning| meaning.reading == Reading::Share);
                    let value = if is_share { with_unit(gate, gate.value) } else { amount(gate.value) };
                    format!("at least {} {condition} ({value} {when})", with_unit(gate, gate.limit))
                }
            };
            let limit = gate.limit.unwrap_or(f64::INFINITY);
            match missing.iter_mut().find(|(known, ..)| *known == condition) {
                Some(known) if known.1 < limit => *known = (condition, limit, phrase),
                Some(_) => {}
                None => missing.push((condition, limit, phrase)),
            }
        }
        missing.into_iter().map(|(.., phrase)| phrase).collect()
    }
}

impl ToldOpinion {
    /// What is known of a flow that goes on is less than the model learned from.
    fn haste(&self) -> String {
        match self.live_flows {
            live if live <= 0.0 => String::new(),
            live if live < self.flows => {
                let were = if live == 1.0 { "was" } else { "were" };
                format!(" {} of them {were} not over yet.", units::count(live))
            }
            1.0 => " It was not over yet.".to_owned(),
            _ => " None of them was over yet.".to_owned(),
        }
    }

    /// What it says, of what, and who says it.
    fn sentences(&self) -> String {
        let mut text = "Second opinion, which decides nothing: ".to_owned();
        // Writing to a string cannot fail.
        let _ = match (&self.class, self.probability) {
            (Some(class), Some(probability)) => write!(
                text,
                "{} Of {}{}, {} {} {}, whose mean probability is {probability:.2}.{}",
                if self.agrees == Some(true) { "an attack, too." } else { "no attack." },
                counted(self.flows, "flow", "flows"),
                if self.seen_flows > self.flows {
                    format!(" (of {} that were seen)", units::count(self.seen_flows))
                } else {
                    String::new()
                },
                units::count(self.class_flows),
                if self.class_flows == 1.0 { "is" } else { "are" },
                printable(class),
                self.haste()
            ),
            _ => write!(text, "none. No flow of it was seen."),
        };
        if self.source_share < 1.0 {
            let _ =
                write!(text, " Under load, {} of all sources were listened to.", percent(self.source_share));
        }
        if self.lost_packets > 0.0 {
            let _ = write!(
                text,
                " There was no room for {}, so flows may be longer than they look.",
                counted(self.lost_packets, "packet", "packets")
            );
        }
        if self.deaf_interfaces > 0.0 {
            let deaf = counted(self.deaf_interfaces, "interface", "interfaces");
            let _ = write!(text, " {deaf} could not be listened to.");
        }
        let _ = write!(
            text,
            " The flow model is {}, learned from {}.",
            printable(&self.model),
            counted(self.learned_flows, "flow", "flows")
        );
        text
    }
}

/// Shortened where it is many.
fn counted(count: f64, one: &str, more: &str) -> String {
    format!("{} {}", units::count(count), if count == 1.0 { one } else { more })
}

/// What was done, as people say it.
#[must_use]
pub fn done(decision: &str) -> &'static str {
    match decision {
        "block" => "blocked",
        "limit" => "limited",
        _ => "reported",
    }
}

/// Each gate on a line: passed or not, what it asks, what was seen, what it takes, by how much.
fn gate_lines(gates: &[ToldGate], ink: Ink) -> String {
    let row = |gate: &ToldGate| {
        let meaning = meanings::of_gate(&gate.name);
        let label = meaning.map_or_else(|| gate.name.replace('_', " "), |meaning| meaning.label.to_owned());
        let sign = if gate.passed { "≥" } else { "<" };
        let [value, limit] = match meaning.map_or(Reading::Amount, |meaning| meaning.reading) {
            Reading::YesNo => [if gate.passed { "yes" } else { "no" }.to_owned(), String::new()],
            Reading::Share => {
                let share = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), percent);
                [share(gate.value), format!("{sign} {}", share(gate.limit))]
            }
            Reading::Amount => [amount(gate.value), format!("{sign} {}", with_unit(gate, gate.limit))],
        };
        vec![label, value, limit, by_how_much(gate)]
    };
    let rows: Vec<Vec<String>> = gates.iter().map(row).collect();
    let mut text = String::new();
    for (line, gate) in aligned(&rows, &[1]).iter().zip(gates) {
        let mark = if gate.passed { ink.good("✓") } else { ink.bad("✗") };
        let _ = writeln!(text, "  {mark} {line}");
    }
    text
}

/// `4.2 times the limit`, `3 short`, `62 % of the limit`; nothing where yes or no says it all.
fn by_how_much(gate: &ToldGate) -> String {
    let reading = meanings::of_gate(&gate.name).map_or(Reading::Amount, |meaning| meaning.reading);
    let (Some(value), Some(limit)) = (gate.value, gate.limit) else {
        return String::new();
    };
    if reading == Reading::YesNo || limit <= 0.0 {
        return String::new();
    }
    let ratio = value / limit;
    let is_whole = |number: f64| number.fract() == 0.0;
    let is_count =
        reading == Reading::Amount && !gate.unit.ends_with("/s") && is_whole(value) && is_whole(limit);
    match gate.passed {
        true if ratio < 1.05 => "just enough".to_owned(),
        true => format!("{} times the limit", times(ratio)),
        false if is_count => format!("{} short", units::count(limit - value)),
        false => format!("{} of the limit", percent(ratio.min(0.99))),
    }
}

fn times(ratio: f64) -> String {
    if ratio < 9.95 { format!("{ratio:.1}") } else { units::count(ratio.round()) }
}

fn amount(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), units::count)
}

/// A number in the unit of a gate, or in that of its meaning.
fn with_unit(gate: &ToldGate, value: Option<f64>) -> String {
    let meaning = meanings::of_gate(&gate.name);
    if meaning.is_some_and(|meaning| meaning.reading == Reading::Share) {
        return value.map_or_else(|| "-".to_owned(), percent);
    }
    // What the gates count in ticks, people call looks.
    let own = if gate.unit == "ticks" { "" } else { gate.unit.as_str() };
    let unit = if own.is_empty() { meaning.map_or("", |meaning| meaning.unit) } else { own };
    format!("{} {unit}", amount(value)).trim_end().to_owned()
}

/// `0.08 s`: short looks are shorter than a tenth of a second.
fn short_time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.2} s", time.as_secs_f64())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

fn percent(share: f64) -> String {
    let share = share * 100.0;
    match share {
        _ if share > 0.0 && share < 1.0 => "under 1 %".to_owned(),
        _ if share > 99.0 && share < 100.0 => "over 99 %".to_owned(),
        _ => format!("{share:.0} %"),
    }
}

/// A silhouette in words; the bounds are the usual ones (Kaufman and Rousseeuw 1990).
fn apartness(silhouette: f64) -> &'static str {
    match silhouette {
        _ if silhouette >= 0.9 => "far apart",
        _ if silhouette >= 0.7 => "well apart",
        _ if silhouette >= 0.5 => "apart, with a few between them",
        _ => "hardly apart",
    }
}

/// A paragraph in lines of a readable length; what stands in backquotes is copied, so it stays in one line.
#[must_use]
pub fn wrapped(paragraph: &str) -> String {
    let mut text = String::new();
    let mut length = 0;
    let mut is_quoted = false;
    for word in paragraph.split(' ') {
        let is_inside = is_quoted;
        is_quoted ^= word.matches('`').count() % 2 == 1;
        let width = word.chars().count();
        if length > 0 {
            let is_full = length + 1 + width > WIDTH && !is_inside;
            text.push(if is_full { '\n' } else { ' ' });
            length = if is_full { 0 } else { length + 1 };
        }
        text.push_str(word);
        length += width;
    }
    text
}

/// `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Columns side by side, those in `right` aligned at their end.
fn aligned(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width_of).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .filter(|(_, (_, width))| **width > 0)
            .map(|(column, (cell, width))| {
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
                if right.contains(&column) { padding + cell } else { cell.clone() + &padding }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gate(name: &str, value: f64, limit: f64, unit: &str) -> serde_json::Value {
        json!({"name": name, "value": value, "limit": limit, "unit": unit, "passed": value >= limit})
    }

    #[test]
    fn says_by_how_much() {
        for (name, value, limit, unit, expected) in [
            ("source_floor", 210.0, 50.0, "packets/s", "4.2 times the limit"),
            ("source_floor", 31.0, 50.0, "packets/s", "62 % of the limit"),
            ("source_floor", 49.99, 50.0, "packets/s", "99 % of the limit"),
            ("source_packets", 7.0, 10.0, "", "3 short"),
            ("ticks", 2.0, 2.0, "ticks", "just enough"),
            ("has_baseline", 1.0, 1.0, "", ""),
            ("light_share", 0.25, 0.5, "of the packets", "50 % of the limit"),
        ] {
            let gate: ToldGate = serde_json::from_value(gate(name, value, limit, unit)).unwrap();
            assert_eq!(by_how_much(&gate), expected, "{name} {value} of {limit}");
        }
    }

    #[test]
    fn evidence_reads_as_people_say_it() {
        let told = Told::read(&json!({
            "window_s": 0.25,
            "gates": [
                gate("total_floor", 300.0, 200.0, "packets/s"),
                gate("source_floor", 31.0, 50.0, "packets/s"),
                gate("source_packets", 7.0, 10.0, ""),
                gate("in_attacking_cluster", 0.0, 1.0, ""),
                gate("of_a_later_version", 1.0, 2.0, "things"),
            ],
            "features": {"packets_per_second": 40.0, "udp_share": 0.0, "syn_share": 0.775, "age_s": 12.0},
            "clusters": [
                {"sources": 1, "packets_per_second": 260.0, "share": 1.0, "mean_bytes": 60.0, "is_attacking": true},
                {"sources": 40, "packets_per_second": 30.0, "share": 0.9, "mean_bytes": 60.0, "is_attacking": false},
            ],
            "cluster": 1,
            "distance": 0.12,
            "silhouette": 0.95,
            "note": "",
        }));
        let expected = "
  ✓ all sources together            300  ≥ 200 packets/s  1.5 times the limit
  ✗ this source                      31  < 50 packets/s   62 % of the limit
  ✗ seen of it, enough to judge by    7  < 10 packets     3 short
  ✗ in a group that stands out       no
  ✗ of a later version                1  < 2 things       1 short
  What it sent, over 0.25 s:
    packets of all kinds  40 packets/s
    of them, SYN          78 %
    first seen            12s before
  The 41 sources that sent it are 2 groups, far apart:
      1 source  260 packets/s  100 % of all  60 bytes each  attacking
    40 sources   30 packets/s   90 % of all  60 bytes each  innocent   <- its own, 0.12 decades from the centre
";
        assert_eq!(format!("\n{}", told.text(Ink::Plain)), expected);
    }

    #[test]
    fn groups_of_connections_have_no_bytes() {
        let told = Told::read(&json!({
            "gates": [gate("total_floor", 120.0, 20.0, "connections")],
            "clusters": [
                {"sources": 1, "packets_per_second": 99.0, "share": 0.0, "mean_bytes": 1.0, "is_attacking": true},
                {"sources": 3, "packets_per_second": 7.0, "share": 0.0, "mean_bytes": 1.0, "is_attacking": false},
            ],
            "silhouette": 0.95,
        }));
        let text = told.text(Ink::Plain);
        assert!(text.contains("     1 source  99 connections  attacking\n"), "{text}");
        assert!(!text.contains("bytes"), "{text}");
    }

    #[test]
    fn says_what_is_missing_and_what_would_have_kept_it() {
        let settings = DetectionSettings::default();
        let syn = |total: f64, own: f64| {
            let total = gate("total_floor", total, 200.0, "packets/s");
            Told::read(&json!({"gates": [total, gate("source_floor", own, 50.0, "packets/s")]}))
        };
        for (told, tense, expected) in [
            (
                syn(300.0, 31.0),
                Tense::Now,
                "To be blocked for syn-flood it takes at least 50 packets/s from it (31 now) and all that in 2 looks in a \
                 row.",
            ),
            (
                syn(31.0, 31.0),
                Tense::Then,
                "To be blocked for syn-flood it would have taken at least 200 packets/s from all sources together (31 \
                 then), at least 50 packets/s from it (31 then) and all that in 2 looks in a row.",
            ),
            (syn(300.0, 60.0), Tense::Then, "It sent all that syn-flood takes."),
        ] {
            assert_eq!(told.what_it_would_take(Vector::SynFlood, &settings, tense), expected);
        }
        let kept = syn(300.0, 60.0).what_would_have_kept("192.0.2.7", Some(Vector::SynFlood));
        assert_eq!(
            wrapped(&kept),
            "It would not have been blocked below 50 packets/s (SYN packets without a following ACK), or with a\nplace \
             on the allow list: `mitigator allow add 192.0.2.7`."
        );
    }
}
