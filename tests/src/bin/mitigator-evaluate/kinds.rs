//! The kinds of captures, and which verdicts are right for each. A table.

use mitigator::pipeline::vectors::Vector;

/// What is expected of a kind of capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// As the label spells it.
    pub(crate) name: String,
    /// Names of the vectors of which any is right; none for benign traffic.
    pub(crate) right: Vec<&'static str>,
    pub(crate) answer: Answer,
}

/// What mitigator ought to do about a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it is benign.
    Pass,
    /// Say what it is; stopping it is a setting that is off.
    Report,
    /// Drop its packets.
    Stop,
}

/// Kind, the vectors that are right for it, and the answer. A star stands for any ending.
const KINDS: [(&str, &[&str], Answer); 12] = [
    ("benign", &[], Answer::Pass),
    ("syn-flood", &["syn-flood"], Answer::Stop),
    ("amplification-*", &["udp-reflection", "fragment-flood"], Answer::Stop),
    ("tcp-reflection", &["tcp-reflection"], Answer::Stop),
    ("icmp-flood", &["icmp-flood"], Answer::Stop),
    ("ipv6-flood", &["ipv6-extension-flood"], Answer::Stop),
    ("udp-flood", &["udp-flood"], Answer::Stop),
    ("dhcp-flood", &["udp-flood"], Answer::Stop),
    ("http-flood", &["http-flood", "connection-flood"], Answer::Stop),
    ("slowloris", &["slow-connections", "connection-flood"], Answer::Stop),
    ("scan", &["scan"], Answer::Report),
    ("bruteforce", &["password-guessing"], Answer::Report),
];

impl Kind {
    /// The kind that a label names: one of the table, or the vector of the same name. `None` for others.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        let kind =
            |right: &[&'static str], answer| Self { name: name.to_owned(), right: right.to_vec(), answer };
        if let Some((_, right, answer)) = KINDS.iter().find(|(pattern, ..)| matches(pattern)) {
            return Some(kind(right, *answer));
        }
        let vector = Vector::ALL.into_iter().find(|vector| vector.name() == name)?;
        Some(kind(&[vector.name()], Answer::Stop))
    }

    pub(crate) fn is_benign(&self) -> bool {
        self.answer == Answer::Pass
    }
}

/// Names of the table, for messages.
pub(crate) fn known() -> String {
    KINDS.map(|(name, ..)| name).join(", ")
}

/// The table as rows of kind and right vectors, for people.
pub(crate) fn rows() -> impl Iterator<Item = (&'static str, String)> {
    let attacks = KINDS.into_iter().filter(|(.., answer)| *answer != Answer::Pass);
    attacks.map(|(name, right, _)| (name, right.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_know_their_right_verdicts() {
        for (name, right, answer) in [
            ("benign", &[][..], Answer::Pass),
            ("syn-flood", &["syn-flood"], Answer::Stop),
            ("amplification-dns", &["udp-reflection", "fragment-flood"], Answer::Stop),
            ("amplification-dns-mixed", &["udp-reflection", "fragment-flood"], Answer::Stop),
            ("tcp-reflection", &["tcp-reflection"], Answer::Stop),
            ("icmp-flood", &["icmp-flood"], Answer::Stop),
            ("ipv6-flood", &["ipv6-extension-flood"], Answer::Stop),
            ("udp-flood", &["udp-flood"], Answer::Stop),
            ("dhcp-flood", &["udp-flood"], Answer::Stop),
            ("http-flood", &["http-flood", "connection-flood"], Answer::Stop),
            ("slowloris", &["slow-connections", "connection-flood"], Answer::Stop),
            ("scan", &["scan"], Answer::Report),
            ("bruteforce", &["password-guessing"], Answer::Report),
            ("tcp-flag-flood", &["tcp-flag-flood"], Answer::Stop),
        ] {
            let expected = Kind { name: name.to_owned(), right: right.to_vec(), answer };
            assert_eq!(Kind::of(name), Some(expected), "{name}");
        }
        for name in ["", "flood", "benign-ish", "amplification"] {
            assert_eq!(Kind::of(name), None, "{name}");
        }
    }
}
