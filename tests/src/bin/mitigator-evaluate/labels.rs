//! The labels of a directory of captures: what each is, who is attacked, and by whom.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use mitigator_ebpf::packet::{Fragment, Packet, TransportKind};
use rustc_hash::FxHashSet;
use serde::Deserialize;

use crate::kinds::{self, Kind};
use crate::recording::Recording;

/// What is known of one capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Of the file, without its extensions.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) kind: Kind,
    /// Whom the capture's attack is on; empty when nobody in particular is.
    pub(crate) victims: Vec<IpAddr>,
    attackers: Attackers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Attackers {
    Listed(Vec<IpAddr>),
    Ruled(Rule),
}

/// Attackers described.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    AllButVictims,
    Outside(Vec<IpNet>),
    /// Whoever sends UDP from this port, or a fragment of UDP.
    UdpFrom(u16),
}

/// As `labels.json` spells it.
#[derive(Deserialize)]
struct Entry {
    kind: String,
    #[serde(default)]
    victims: Vec<IpAddr>,
    attackers: Option<ListOrRule>,
    rule: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ListOrRule {
    List(Vec<IpAddr>),
    Rule(String),
}

/// The labels in `directory`, in the order of their names.
///
/// # Errors
///
/// When there is no `labels.json`, or when it says something that is not understood.
pub(crate) fn read(directory: &Path) -> Result<Vec<Label>> {
    let file = directory.join("labels.json");
    let cannot_read = || format!("cannot read the labels `{}`", file.display());
    let text = fs::read_to_string(&file).with_context(cannot_read)?;
    let entries: BTreeMap<String, Entry> = serde_json::from_str(&text).with_context(cannot_read)?;
    let label = |(key, entry): (String, Entry)| {
        Label::new(directory, &key, entry).with_context(|| format!("`{}`: `{key}`", file.display()))
    };
    entries.into_iter().map(label).collect()
}

impl Label {
    fn new(directory: &Path, key: &str, entry: Entry) -> Result<Self> {
        let file_name = key.rsplit('/').next().unwrap_or(key);
        let file = directory.join(file_name);
        ensure!(file.is_file(), "there is no file `{}`", file.display());
        let kind = Kind::of(&entry.kind).with_context(|| {
            format!(
                "the kind `{}` is unknown; known are {} and the names of vectors",
                entry.kind,
                kinds::known()
            )
        })?;
        let attackers = match (entry.attackers, entry.rule) {
            (Some(ListOrRule::List(listed)), _) => Attackers::Listed(listed),
            (Some(ListOrRule::Rule(rule)), _) | (None, Some(rule)) => Attackers::Ruled(Rule::parse(&rule)?),
            (None, None) => Attackers::Listed(Vec::new()),
        };
        let name = file_name.split('.').next().unwrap_or(file_name).to_owned();
        Ok(Self { name, file, kind, victims: entry.victims, attackers })
    }

    /// Who attacks in the capture.
    pub(crate) fn attackers(&self, recording: &Recording) -> FxHashSet<IpAddr> {
        let is_victim = |address: &IpAddr| self.victims.contains(address);
        match &self.attackers {
            Attackers::Listed(listed) => listed.iter().copied().collect(),
            Attackers::Ruled(Rule::AllButVictims) => {
                recording.senders().into_iter().filter(|address| !is_victim(address)).collect()
            }
            Attackers::Ruled(Rule::Outside(prefixes)) => {
                let is_inside = |address: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(address));
                recording.senders().into_iter().filter(|address| !is_inside(address)).collect()
            }
            Attackers::Ruled(Rule::UdpFrom(port)) => recording
                .parsed()
                .filter(|packet| is_udp_from(packet, *port))
                .map(|packet| packet.address.into())
                .collect(),
        }
    }
}

/// A later fragment has no ports, only the protocol.
fn is_udp_from(packet: &Packet, port: u16) -> bool {
    const UDP: u8 = mitigator_ebpf::packet::protocol::UDP;
    let is_from_port =
        packet.transport.kind() == TransportKind::Udp && packet.transport.source_port() == port;
    is_from_port || packet.protocol == UDP && packet.fragment != Fragment::Whole
}

impl Rule {
    fn parse(text: &str) -> Result<Self> {
        let unknown = || {
            format!(
                "the rule `{text}` is unknown; known are `every source except the victims`, `every source outside \
                 PREFIX and PREFIX` and `every source that sends UDP from port PORT or UDP fragments`"
            )
        };
        let rest = text.strip_prefix("every source ").with_context(unknown)?;
        if rest == "except the victims" {
            return Ok(Self::AllButVictims);
        }
        if let Some(prefixes) = rest.strip_prefix("outside ") {
            let words = prefixes.split([' ', ',']).filter(|word| !word.is_empty() && *word != "and");
            let prefixes: Result<Vec<IpNet>, _> = words.map(str::parse).collect();
            let prefixes = prefixes.with_context(unknown)?;
            ensure!(!prefixes.is_empty(), unknown());
            return Ok(Self::Outside(prefixes));
        }
        let port = rest
            .strip_prefix("that sends UDP from port ")
            .and_then(|rest| rest.strip_suffix(" or UDP fragments"))
            .and_then(|port| port.parse().ok());
        port.map(Self::UdpFrom).with_context(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recorded;
    use mitigator_tests::packet;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_understood_or_refused() {
        for (text, expected) in [
            ("every source except the victims", Some(Rule::AllButVictims)),
            (
                "every source outside 127.0.0.0/8 and 192.168.0.0/16",
                Some(Rule::Outside(vec![net("127.0.0.0/8"), net("192.168.0.0/16")])),
            ),
            (
                "every source outside 10.0.0.0/8, 2001:db8::/32 and 192.168.0.0/16",
                Some(Rule::Outside(vec![net("10.0.0.0/8"), net("2001:db8::/32"), net("192.168.0.0/16")])),
            ),
            ("every source outside 10.0.0.0/8", Some(Rule::Outside(vec![net("10.0.0.0/8")]))),
            ("every source that sends UDP from port 53 or UDP fragments", Some(Rule::UdpFrom(53))),
            ("every source that sends UDP from port dns or UDP fragments", None),
            ("every source outside ", None),
            ("every source outside the office", None),
            ("every source", None),
            ("", None),
        ] {
            let parsed = Rule::parse(text);
            if expected.is_none() {
                assert!(parsed.as_ref().is_err_and(|error| error.to_string().contains(text)), "{parsed:?}");
            }
            assert_eq!(parsed.ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_list_beats_a_rule_and_a_bad_entry_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.pcap.zst"), "").unwrap();
        let read = |entry: &str| {
            let text = format!("{{\"pcap/a.pcap.zst\": {entry}}}");
            fs::write(directory.path().join("labels.json"), text).unwrap();
            read(directory.path())
        };
        let listed = r#"{"kind": "syn-flood", "victims": ["192.0.2.1"], "attackers": ["192.0.2.7"],
            "rule": "every source except the victims", "packets": 5}"#;
        let label = read(listed).unwrap().remove(0);
        assert_eq!((label.name.as_str(), label.kind.name.as_str()), ("a", "syn-flood"));
        assert_eq!(label.attackers, Attackers::Listed(vec!["192.0.2.7".parse().unwrap()]));
        let ruled = r#"{"kind": "scan", "attackers": "every source except the victims"}"#;
        assert_eq!(read(ruled).unwrap()[0].attackers, Attackers::Ruled(Rule::AllButVictims));
        for (entry, hint) in [
            (r#"{"kind": "scan", "attackers": "some"}"#, "the rule `some` is unknown"),
            (r#"{"kind": "weather", "attackers": []}"#, "the kind `weather` is unknown"),
            (r#"{"attackers": []}"#, "missing field `kind`"),
        ] {
            let error = format!("{:#}", read(entry).unwrap_err());
            assert!(error.contains(hint) && error.contains("labels.json"), "{error}");
        }
    }

    #[test]
    fn rules_find_the_attackers() {
        let frames = [
            packet::udp("192.0.2.1", 4_000).bytes(),
            packet::udp("198.51.100.7", 4_000).bytes(),
            packet::udp("203.0.113.9", 53).bytes(),
            packet::udp("203.0.113.10", 4_000).fragment(0, true).bytes(),
            packet::tcp_syn("2001:db8::5").bytes(),
        ];
        let recorded = |frame: Vec<u8>| Recorded { at_ns: 0, wire_bytes: 60, frame };
        let recording = Recording { packets: frames.map(recorded).into() };
        let label = |rule| Label {
            name: String::new(),
            file: PathBuf::new(),
            kind: Kind::of("udp-flood").unwrap(),
            victims: vec!["192.0.2.1".parse().unwrap()],
            attackers: Attackers::Ruled(rule),
        };
        for (rule, expected) in [
            (Rule::AllButVictims, &["198.51.100.7", "203.0.113.9", "203.0.113.10", "2001:db8::5"][..]),
            (
                Rule::Outside(vec![net("192.0.2.0/24"), net("203.0.113.0/24")]),
                &["198.51.100.7", "2001:db8::5"],
            ),
            (Rule::UdpFrom(53), &["203.0.113.9", "203.0.113.10"]),
        ] {
            let expected: FxHashSet<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(label(rule.clone()).attackers(&recording), expected, "{rule:?}");
        }
    }
}
