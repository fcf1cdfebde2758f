//! What the labels of the data sets mean: a handful of categories.

use serde::{Deserialize, Serialize};

/// What a flow is. The order is that of the classes: nothing before [`Category::Benign`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// No attack; also an attempted attack that had no effect, as the corrected CICIDS2017 tells them apart.
    Benign,
    /// Denial of service by one machine.
    Dos,
    /// Denial of service by several.
    Ddos,
    /// Guessing passwords.
    BruteForce,
    /// Attacks on a web application.
    WebAttack,
    /// A machine that takes orders.
    Botnet,
    /// Looking for open ports.
    PortScan,
    /// What follows from a machine that was taken over, or reads what it must not.
    Infiltration,
}

/// What a label has in it, in lower case and with spaces alone between words; the first that fits decides.
const RULES: [(&str, Category); 15] = [
    ("attempted", Category::Benign),
    ("benign", Category::Benign),
    ("normal", Category::Benign),
    ("ddos", Category::Ddos),
    ("portscan", Category::PortScan),
    ("port scan", Category::PortScan),
    ("dos", Category::Dos),
    ("web", Category::WebAttack),
    ("xss", Category::WebAttack),
    ("sql injection", Category::WebAttack),
    ("patator", Category::BruteForce),
    ("brute", Category::BruteForce),
    ("bot", Category::Botnet),
    ("infil", Category::Infiltration),
    ("heartbleed", Category::Infiltration),
];

impl Category {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Benign,
        Self::Dos,
        Self::Ddos,
        Self::BruteForce,
        Self::WebAttack,
        Self::Botnet,
        Self::PortScan,
        Self::Infiltration,
    ];

    /// As reports spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Dos => "dos",
            Self::Ddos => "ddos",
            Self::BruteForce => "brute-force",
            Self::WebAttack => "web-attack",
            Self::Botnet => "botnet",
            Self::PortScan => "port-scan",
            Self::Infiltration => "infiltration",
        }
    }

    /// What a label of any of the data sets means; `None` for one that is not known.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        let letters = label.chars().map(|letter| if letter.is_alphanumeric() { letter } else { ' ' });
        let words = letters.collect::<String>().to_lowercase();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        RULES.iter().find(|(part, _)| words.contains(part)).map(|(_, category)| *category)
    }

    /// Whether it is to keep a service from answering: what this project is about.
    #[must_use]
    pub const fn is_denial_of_service(self) -> bool {
        matches!(self, Self::Dos | Self::Ddos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_all_data_sets_have_their_category() {
        for (category, labels) in [
            (Category::Benign, &["BENIGN", "Benign", "DoS Hulk - Attempted", "Normal"][..]),
            (
                Category::Dos,
                &["DoS Hulk", "DoS slowloris", "DoS attacks-SlowHTTPTest", "DoS", "DoS GoldenEye"],
            ),
            (Category::Ddos, &["DDoS", "DDOS attack-HOIC", "DDoS attacks-LOIC-HTTP", "DDOS attack-LOIC-UDP"]),
            (Category::BruteForce, &["FTP-Patator", "SSH-Bruteforce", "FTP-BruteForce", "Brute Force"]),
            (
                Category::WebAttack,
                &["Web Attack \u{2013} XSS", "Brute Force -Web", "Brute Force -XSS", "SQL Injection"],
            ),
            (Category::Botnet, &["Bot", "Botnet"]),
            (Category::PortScan, &["PortScan", "Portscan", "Infiltration - Portscan"]),
            (Category::Infiltration, &["Infiltration", "Infilteration", "Heartbleed"]),
        ] {
            for label in labels {
                assert_eq!(Category::of_label(label), Some(category), "{label}");
            }
        }
        for label in ["", "magic", "Label"] {
            assert_eq!(Category::of_label(label), None, "{label}");
        }
    }
}
