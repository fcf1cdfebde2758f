//! `BlockedPrefixes`: which of many sources lie in a blocked prefix, where reading the table for each would take too long.

use mitigator_common::{BlockEntry, PrefixKey, Source};
use rustc_hash::FxHashMap;

use crate::kernel::blocks::StandingBlock;
use crate::pipeline::target::Target;

/// Blocked prefixes as they stood at one time.
#[derive(Debug, Default)]
pub(super) struct BlockedPrefixes {
    by_key: FxHashMap<PrefixKey, BlockEntry>,
    /// Those that there are, of both families, the longest first.
    lengths: Vec<u8>,
}

impl BlockedPrefixes {
    /// Those among `blocks` that have not ended.
    pub(super) fn among(blocks: impl IntoIterator<Item = StandingBlock>, now_ns: u64) -> Self {
        let mut prefixes = Self::default();
        for StandingBlock { target, entry } in blocks {
            let Target::Prefix(key) = target else { continue };
            if !entry.is_expired(now_ns) {
                prefixes.by_key.insert(key, entry);
                prefixes.lengths.push(key.parts().1);
            }
        }
        prefixes.lengths.sort_unstable_by(|a, b| b.cmp(a));
        prefixes.lengths.dedup();
        prefixes
    }

    /// The longest that all of a source lies in: what is finer than a source blocks a part of it.
    pub(super) fn covering(&self, source: Source) -> Option<StandingBlock> {
        let network = source.network();
        let lengths = self.lengths.iter().filter(|length| **length <= source.prefix_length());
        lengths.map(|length| PrefixKey::new(network, *length)).find_map(|key| {
            let entry = *self.by_key.get(&key)?;
            Some(StandingBlock { target: Target::Prefix(key), entry })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use mitigator_common::{BlockOrigin, NEVER_EXPIRES};

    use super::*;

    #[test]
    fn a_source_is_found_in_the_longest_prefix_that_stands() {
        let block = |text: &str, end| StandingBlock {
            target: text.parse().unwrap(),
            entry: BlockEntry::new(end, BlockOrigin::Operator),
        };
        let prefixes = BlockedPrefixes::among(
            [
                block("192.0.2.0/24", NEVER_EXPIRES),
                block("192.0.2.128/25", NEVER_EXPIRES),
                block("192.0.2.192/26", 5),
                block("198.51.100.7", NEVER_EXPIRES),
                block("2001:db8::/48", NEVER_EXPIRES),
                block("2001:db8:1::7/128", NEVER_EXPIRES),
            ],
            7_000_000_000,
        );
        for (description, address, expected) in [
            ("inside", "192.0.2.7", Some("192.0.2.0/24")),
            ("inside two", "192.0.2.130", Some("192.0.2.128/25")),
            ("inside three, of which one has ended", "192.0.2.200", Some("192.0.2.128/25")),
            ("beside", "192.0.3.7", None),
            ("blocked itself", "198.51.100.7", None),
            ("inside a site", "2001:db8:0:7::1", Some("2001:db8::/48")),
            ("one address of it is blocked", "2001:db8:1::1", None),
        ] {
            let source = Source::from(address.parse::<IpAddr>().unwrap());
            let found = prefixes.covering(source).map(|block| block.target.to_string());
            assert_eq!(found.as_deref(), expected, "{description}");
        }
        assert!(BlockedPrefixes::default().covering(Source::from_v4_bytes([192, 0, 2, 7])).is_none());
    }
}
