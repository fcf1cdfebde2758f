//! Numbers with units, as people read them.

use std::time::Duration;

use super::output::printable;
use crate::pipeline::second_opinion::SecondOpinion;
use crate::pipeline::verdict::Verdict;

/// `12.3k`, `4.5M`: three significant digits and a decimal prefix.
#[must_use]
pub fn count(value: f64) -> String {
    for (factor, suffix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= factor * 0.9995 {
            return format!("{}{suffix}", three_digits(value / factor));
        }
    }
    if value.fract() == 0.0 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// `1 flow`, `3 flows`.
#[must_use]
pub fn counted(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

fn three_digits(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// `3.02k packets/s`, `97 connections`: what decided a verdict, in its unit.
#[must_use]
pub fn measured(verdict: &Verdict) -> String {
    let (value, unit) =
        verdict.evidence.measure().map_or((0.0, verdict.vector.unit()), |gate| (gate.value, gate.unit));
    format!("{} {unit}", count(value))
}

/// `ddos 0.93 (37 flows)`: what a flow model says, or that it saw nothing.
#[must_use]
pub fn opinion(opinion: &SecondOpinion) -> String {
    let flows = opinion.flows;
    match opinion.class.as_deref().zip(opinion.probability) {
        Some((class, probability)) => {
            format!("{} {probability:.2} ({})", printable(class), counted(flows as u64, "flow", "flows"))
        }
        None => "no flows".to_owned(),
    }
}

/// Whole seconds at most, `1h 2m 3s`; under ten seconds, with tenths.
#[must_use]
pub fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
    }
}

/// A wall-clock time in UTC, to the second; [`parse_unix_ms`] reads it.
#[must_use]
pub fn unix_ms(at: u64) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_millis(at);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Milliseconds since the Unix epoch of a time that is written like `2026-01-31T12:00:00Z`; `None` when it is
/// written otherwise.
#[must_use]
pub fn parse_unix_ms(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    u64::try_from(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::gates::Gate;
    use crate::pipeline::time::Timestamp;
    use crate::pipeline::vectors::Vector;
    use crate::pipeline::verdict::{Decision, Evidence, Subject};

    #[test]
    fn connections_are_not_called_packets() {
        let value_of = |name| if name == "prefix_floor" { 98.0 } else { 97.0 };
        for (vector, gates, shown) in [
            (
                Vector::UdpFlood,
                vec![("total_floor", "packets/s"), ("source_floor", "packets/s")],
                "97 packets/s",
            ),
            (Vector::SlowConnections, vec![("source_floor", "connections")], "97 connections"),
            (Vector::HttpFlood, vec![("source_pace", "requests/s")], "97 requests/s"),
            (Vector::ConnectionFlood, vec![], "0 connections"),
            (
                Vector::UdpFlood,
                vec![("total_floor", "packets/s"), ("prefix_floor", "packets/s")],
                "98 packets/s",
            ),
        ] {
            let own_gates = gates
                .into_iter()
                .map(|(name, unit)| Gate::at_least(name, value_of(name), 50.0, unit))
                .collect();
            let verdict = Verdict {
                subject: Subject::Signature("TCP".to_owned()),
                vector,
                decision: Decision::Observe,
                limits: Vec::new(),
                since: Timestamp::default(),
                evidence: Evidence { own_gates, ..Evidence::default() },
            };
            assert_eq!(measured(&verdict), shown);
        }
    }

    #[test]
    fn numbers_read_well() {
        for (value, shown) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (7.0, "7"),
            (999.0, "999"),
            (999.6, "1.00k"),
            (1_000.0, "1.00k"),
            (12_345.0, "12.3k"),
            (999_950.0, "1.00M"),
            (4_500_000.0, "4.50M"),
            (2.5e9, "2.50G"),
        ] {
            assert_eq!(count(value), shown, "{value}");
        }
        assert_eq!(duration(Duration::from_millis(250)), "0.2s");
        assert_eq!(duration(Duration::from_secs(3_723)), "1h 2m 3s");
        assert_eq!(unix_ms(0), "1970-01-01T00:00:00Z");
        assert_eq!(parse_unix_ms(&unix_ms(1_769_860_800_000)), Some(1_769_860_800_000));
        assert_eq!(parse_unix_ms("2026-01-31"), None);
    }
}
