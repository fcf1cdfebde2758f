//! Full addresses and prefixes of both families in one form, as the longest-prefix maps hold them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

use crate::Source;

const V4: u32 = 4;
const V6: u32 = 6;
/// Eight bytes, so that the values in a trie, which follow the key, are aligned for atomic additions.
const FAMILY_BITS: u32 = 64;

/// A full address of either family. The family stands first, so that no prefix of one family holds an
/// address of the other: `::/0` is every IPv6 address, and no IPv4 address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct WideAddress {
    /// In network order, the last byte counts.
    family: [u32; 2],
    /// As on the wire; IPv4 is followed by zeros.
    words: [u32; 4],
}

impl WideAddress {
    /// From an IPv4 address as it stands on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_bytes(bytes: [u8; 4]) -> Self {
        Self { family: [0, V4.to_be()], words: [u32::from_ne_bytes(bytes), 0, 0, 0] }
    }

    /// From an IPv6 address as it stands on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> Self {
        let words = [
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ];
        Self { family: [0, V6.to_be()], words }
    }

    /// From an IPv4 address as a number in host order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_number(number: u32) -> Self {
        Self { family: [0, V4.to_be()], words: [number.to_be(), 0, 0, 0] }
    }

    /// From the quarters of an IPv6 address, the uppermost first, as numbers in host order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6_numbers([a, b, c, d]: [u32; 4]) -> Self {
        Self { family: [0, V6.to_be()], words: [a.to_be(), b.to_be(), c.to_be(), d.to_be()] }
    }

    /// The address as a number that sorts by family first; IPv4 fills the upper bits of the second part.
    #[must_use]
    pub fn number(self) -> (u32, u128) {
        let [_, family] = self.family;
        let number = self.words.iter().fold(0, |sum, word| sum << 32 | u128::from(u32::from_be(*word)));
        (u32::from_be(family), number)
    }
}

impl Ord for WideAddress {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for WideAddress {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl From<IpAddr> for WideAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::from_v4_bytes(address.octets()),
            IpAddr::V6(address) => Self::from_v6_bytes(address.octets()),
        }
    }
}

impl From<WideAddress> for IpAddr {
    fn from(address: WideAddress) -> Self {
        let (family, number) = address.number();
        let [a, b, c, d, ..] = number.to_be_bytes();
        if family == V4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from_bits(number).into() }
    }
}

/// Key of the longest-prefix maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct PrefixKey {
    /// Leading bits of `address` that count, the family included: 64..=96 for IPv4, 64..=192 for IPv6.
    pub length: u32,
    /// Bits past `length` are zero.
    pub address: WideAddress,
}

const _: () = assert!(size_of::<PrefixKey>() == 28);

impl PrefixKey {
    /// `length` of a key that asks a longest-prefix map about one full address of either family.
    pub const FULL: u32 = FAMILY_BITS + 128;

    /// The key of `address/length`, where `length` counts as people write it for the family, up to the
    /// whole address. IPv4 mapped into IPv6 is IPv4, because no packet carries it otherwise.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        let (address, length) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(inner)) if length >= 96 => (IpAddr::V4(inner), length - 96),
            _ => (address, length),
        };
        let length = u32::from(length).min(if address.is_ipv4() { 32 } else { 128 });
        let (_, number) = WideAddress::from(address).number();
        let kept = (number & !u128::MAX.checked_shr(length).unwrap_or(0)).to_be_bytes();
        let [a, b, c, d, ..] = kept;
        let address = if address.is_ipv4() {
            WideAddress::from_v4_bytes([a, b, c, d])
        } else {
            WideAddress::from_v6_bytes(kept)
        };
        Self { length: FAMILY_BITS + length, address }
    }

    /// Address and length as people write them.
    #[must_use]
    pub fn parts(self) -> (IpAddr, u8) {
        let length = self.length.saturating_sub(FAMILY_BITS).min(128);
        (IpAddr::from(self.address), u8::try_from(length).unwrap_or(128))
    }

    /// First and last address below the key, as [`WideAddress::number`] counts.
    #[must_use]
    pub fn bounds(self) -> ((u32, u128), (u32, u128)) {
        let (family, first) = self.address.number();
        let host_bits = u128::MAX.checked_shr(self.length.saturating_sub(FAMILY_BITS)).unwrap_or(0);
        ((family, first), (family, first | host_bits))
    }
}

impl From<Source> for PrefixKey {
    fn from(source: Source) -> Self {
        let number = source.number().to_be_bytes();
        let address = match (source, number) {
            (Source::RESERVED_V6, _) => WideAddress::from_v6_bytes([0; 16]),
            (_, [0, 0, 0, 0, a, b, c, d]) => WideAddress::from_v4_bytes([a, b, c, d]),
            (_, [a, b, c, d, e, f, g, h]) => {
                WideAddress::from_v6_bytes([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0])
            }
        };
        Self { length: FAMILY_BITS + u32::from(source.prefix_length()), address }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    #[test]
    fn the_prefix_of_a_source_is_that_of_its_network() {
        for address in
            ["192.0.2.7", "0.0.0.0", "255.255.255.255", "2001:db8::7", "::1", "ffff:ffff::", "0:1::"]
        {
            let source = Source::from(address.parse::<IpAddr>().unwrap());
            let expected = PrefixKey::new(source.network(), source.prefix_length());
            assert_eq!(PrefixKey::from(source), expected, "{address}");
        }
    }

    #[test]
    fn prefixes_survive_the_round_trip_with_host_bits_cleared() {
        for (address, length, shown) in [
            ("192.0.2.7", 24, "192.0.2.0/24"),
            ("192.0.2.7", 32, "192.0.2.7/32"),
            ("0.0.0.0", 0, "0.0.0.0/0"),
            ("2001:db8::7", 32, "2001:db8::/32"),
            ("2001:db8::7", 128, "2001:db8::7/128"),
            ("::", 0, "::/0"),
            ("::ffff:192.0.2.7", 120, "192.0.2.0/24"),
            ("192.0.2.7", 128, "192.0.2.7/32"),
        ] {
            let (network, length) = PrefixKey::new(address.parse().unwrap(), length).parts();
            assert_eq!(format!("{network}/{length}"), shown);
        }
    }

    #[test]
    fn no_prefix_of_one_family_holds_an_address_of_the_other() {
        let bounds = |address: &str, length| PrefixKey::new(address.parse().unwrap(), length).bounds();
        for (address, length) in [("::", 0), ("::", 64), ("::", 96), ("8000::", 1), ("ff00::", 8)] {
            let (first, last) = bounds(address, length);
            let (all_first, all_last) = bounds("0.0.0.0", 0);
            assert!(all_last < first || last < all_first, "{address}/{length}");
        }
    }
}
