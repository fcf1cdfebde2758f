//! `AllowList`: what no block may touch, as the pipeline and every writer of blocks see it.

use std::net::IpAddr;

use mitigator_common::{AllowReason, PrefixKey};

use super::target::{AddressRange, Target, range_of};

/// How a target lies to the allow list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// No member is allowed.
    Apart,
    /// Some members are allowed.
    Covers,
    /// Every member is allowed.
    Inside,
}

/// Allowed prefixes with their reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<(PrefixKey, AllowReason)>,
    /// Sorted, disjoint, not touching.
    ranges: Vec<AddressRange>,
}

impl AllowList {
    /// From the entries of the kernel's table, in any order.
    #[must_use]
    pub fn new(mut entries: Vec<(PrefixKey, AllowReason)>) -> Self {
        entries.sort_unstable();
        let mut all: Vec<AddressRange> = entries.iter().map(|(key, _)| range_of(*key)).collect();
        all.sort_unstable();
        let mut ranges: Vec<AddressRange> = Vec::with_capacity(all.len());
        for range in all {
            match ranges.last_mut() {
                Some(last) if range.first <= (last.last.0, last.last.1.saturating_add(1)) => {
                    last.last = last.last.max(range.last);
                }
                _ => ranges.push(range),
            }
        }
        Self { entries, ranges }
    }

    /// The entries, sorted.
    #[must_use]
    pub fn entries(&self) -> &[(PrefixKey, AllowReason)] {
        &self.entries
    }

    /// How `target` lies to the list.
    #[must_use]
    pub fn relation_to(&self, target: &Target) -> Relation {
        let wanted = target.range();
        let index = self.ranges.partition_point(|range| range.last < wanted.first);
        match self.ranges.get(index) {
            Some(range) if range.first <= wanted.first && wanted.last <= range.last => Relation::Inside,
            Some(range) if range.first <= wanted.last => Relation::Covers,
            _ => Relation::Apart,
        }
    }

    /// The entries that share an address with `target`.
    pub fn meeting(&self, target: &Target) -> impl Iterator<Item = &(PrefixKey, AllowReason)> {
        let wanted = target.range();
        self.entries.iter().filter(move |(key, _)| {
            let range = range_of(*key);
            range.first <= wanted.last && wanted.first <= range.last
        })
    }
}

/// Whether a prefix is so wide that to allow it is to defend against hardly anybody: wider than /8 (IPv4) or /16
/// (IPv6).
#[must_use]
pub fn is_too_wide(key: PrefixKey) -> bool {
    let (address, length) = key.parts();
    length < if address.is_ipv4() { 8 } else { 16 }
}

/// The host that an address belongs to: all of 127.0.0.0/8 is one (RFC 1122, section 3.2.1.3).
#[must_use]
pub fn host_of(address: IpAddr) -> PrefixKey {
    let bits = match address.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => 8,
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    PrefixKey::new(address.to_canonical(), bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(prefixes: &[&str]) -> AllowList {
        let key = |text: &&str| {
            let (address, length) = text.split_once('/').unwrap();
            PrefixKey::new(address.parse().unwrap(), length.parse().unwrap())
        };
        AllowList::new(prefixes.iter().map(|text| (key(text), AllowReason::Operator)).collect())
    }

    #[test]
    fn too_wide_to_allow_starts_past_8_and_16_bits() {
        for (network, length, expected) in [
            ("10.0.0.0", 8, false),
            ("10.0.0.0", 7, true),
            ("0.0.0.0", 0, true),
            ("::ffff:0.0.0.0", 96, true),
            ("2001::", 16, false),
            ("2000::", 15, true),
            ("::", 0, true),
        ] {
            let key = PrefixKey::new(network.parse().unwrap(), length);
            assert_eq!(is_too_wide(key), expected, "{network}/{length}");
        }
    }

    #[test]
    fn knows_what_lies_inside_around_and_apart() {
        let allowed =
            list(&["192.0.2.0/25", "192.0.2.128/25", "198.51.100.7/32", "2001:db8::7/128", "192.0.2.9/32"]);
        for (target, expected) in [
            ("192.0.2.200", Relation::Inside),
            ("192.0.2.0/24", Relation::Inside),
            ("192.0.0.0/16", Relation::Covers),
            ("198.51.100.7", Relation::Inside),
            ("198.51.100.6", Relation::Apart),
            ("198.51.100.0/24", Relation::Covers),
            ("2001:db8::1", Relation::Covers),
            ("2001:db8::7/128", Relation::Inside),
            ("2001:db8::8/128", Relation::Apart),
            ("2001:db8:0:1::/64", Relation::Apart),
            ("::/0", Relation::Covers),
            ("::/64", Relation::Apart),
            ("::/8", Relation::Apart),
        ] {
            assert_eq!(allowed.relation_to(&target.parse().unwrap()), expected, "{target}");
        }
        assert_eq!(AllowList::default().relation_to(&"::/0".parse().unwrap()), Relation::Apart);
        assert_eq!(list(&["0.0.0.0/0"]).relation_to(&"203.0.113.1".parse().unwrap()), Relation::Inside);
    }
}
