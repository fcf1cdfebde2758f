//! What each gate asks, in plain words: one row per name that a [`super::gates::Gate`] may have.

/// How the number of a gate is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// So much of the gate's unit.
    Amount,
    /// 0 or 1.
    YesNo,
    /// 0 to 1.
    Share,
}

/// A gate in plain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Stable name, as reports and JSON spell it.
    pub name: &'static str,
    /// What is compared, as the label of a line.
    pub label: &'static str,
    /// What a verdict takes: follows "at least LIMIT UNIT", or stands alone when the answer is yes or no.
    pub condition: &'static str,
    /// How the number is to be read.
    pub reading: Reading,
    /// Of value and limit where the gate names no unit.
    pub unit: &'static str,
}

const fn amount(
    name: &'static str,
    label: &'static str,
    condition: &'static str,
    unit: &'static str,
) -> Meaning {
    Meaning { name, label, condition, reading: Reading::Amount, unit }
}

const fn yes_no(name: &'static str, label: &'static str, condition: &'static str) -> Meaning {
    Meaning { name, label, condition, reading: Reading::YesNo, unit: "" }
}

/// Every gate that is made, in the order they are asked.
const MEANINGS: [Meaning; 29] = [
    amount("total_floor", "all sources together", "from all sources together", "packets/s"),
    amount(
        "total_over_median",
        "all together, against the usual level",
        "from all sources together",
        "packets/s",
    ),
    amount(
        "total_over_noise",
        "all together, against the usual swings",
        "from all sources together",
        "packets/s",
    ),
    amount(
        "service_floor",
        "all sources of this service",
        "to this service from all sources together",
        "packets/s",
    ),
    amount(
        "service_over_median",
        "this service, against its usual level",
        "to this service from all sources together",
        "packets/s",
    ),
    amount(
        "service_over_noise",
        "this service, against its usual swings",
        "to this service from all sources together",
        "packets/s",
    ),
    amount("source_floor", "this source", "from it", "packets/s"),
    amount("source_packets", "seen of it, enough to judge by", "of it in one look", "packets"),
    yes_no("in_attacking_cluster", "in a group that stands out", "a group that stands out from quieter ones"),
    yes_no(
        "has_quieter_peers",
        "others do the same at a normal rate",
        "others that do the same at a normal rate",
    ),
    yes_no("has_baseline", "the usual level is known", "a quiet time before, to learn what is usual"),
    amount("overwhelming", "so much that one look is enough", "from it", "packets/s"),
    amount("ticks", "looks in a row that showed it", "in a row", "looks"),
    amount("lasted", "time that it lasted", "of time", "s"),
    amount(
        "light_sources",
        "sources that each send only a little",
        "that each send only a little",
        "sources",
    ),
    Meaning {
        reading: Reading::Share,
        ..amount("light_share", "their share of the traffic", "of the traffic from those", "")
    },
    amount("alike_sources", "sources that behave exactly alike", "that behave exactly alike", "sources"),
    amount(
        "unsolicited",
        "answers that nobody here asked for",
        "of answers that nobody here asked for",
        "packets/s",
    ),
    amount(
        "overwhelming_total",
        "all together, far beyond the floor",
        "from all sources together",
        "packets/s",
    ),
    amount(
        "sudden_total",
        "so many at once that no crowd of visitors comes like it",
        "from all sources together",
        "packets/s",
    ),
    amount("prefix_floor", "the whole prefix", "from the whole prefix", "packets/s"),
    amount(
        "prefix_members",
        "addresses of the prefix that take part",
        "of the prefix that take part",
        "sources",
    ),
    amount(
        "paced_sources",
        "new sources with the same even pace",
        "that are new and ask at the same even pace",
        "sources",
    ),
    Meaning {
        reading: Reading::Share,
        ..amount("paced_share", "their share of the requests", "of the requests from those", "")
    },
    amount(
        "paced_over_median",
        "those together, against the usual level",
        "from those together",
        "packets/s",
    ),
    Meaning {
        reading: Reading::Share,
        ..amount(
            "paced_unevenness",
            "difference of one pause to the next",
            "of difference from one pause to the next, as machines that keep time do not have",
            "",
        )
    },
    amount("source_pace", "its own pace", "from it", "requests/s"),
    amount("paced_seconds", "seconds in which it asked", "in which it asks, with no rush", "seconds"),
    yes_no("is_served", "its requests are answered", "answers to its requests"),
];

/// What the gate of this name asks; `None` for a name that this version does not make.
#[must_use]
pub fn of_gate(name: &str) -> Option<&'static Meaning> {
    MEANINGS.iter().find(|meaning| meaning.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources_below(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources_below(&path) } else { vec![path] }).collect()
    }

    /// The names that the text of the pipeline gives its gates.
    fn names_in(text: &str) -> BTreeSet<String> {
        let calls = ["at_least(", "count_gate(", "gates_named("];
        let after = calls.iter().flat_map(|call| text.split(call).skip(1));
        let is_name =
            |word: &&str| !word.is_empty() && word.chars().all(|c| c == '_' || c.is_ascii_lowercase());
        let first_words = after.filter_map(|rest| {
            let rest = rest.trim_start().trim_start_matches('[').trim_start();
            rest.strip_prefix('"')?.split('"').next()
        });
        first_words.filter(is_name).map(str::to_owned).collect()
    }

    #[test]
    fn every_gate_that_is_made_has_a_meaning() {
        let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline");
        let made: BTreeSet<String> = sources_below(&pipeline)
            .into_iter()
            .filter(|path| !path.ends_with("meanings.rs"))
            .flat_map(|path| names_in(&fs::read_to_string(path).unwrap()))
            .collect();
        assert!(made.len() >= 15, "{made:?}");
        let strangers: Vec<&String> = made.iter().filter(|name| of_gate(name).is_none()).collect();
        assert!(strangers.is_empty(), "no meaning: {strangers:?}");
        let known: BTreeSet<&str> = MEANINGS.iter().map(|meaning| meaning.name).collect();
        assert_eq!(known.len(), MEANINGS.len(), "a name twice");
    }
}
