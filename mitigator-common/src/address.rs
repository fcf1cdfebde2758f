//! Full addresses and prefixes of both families in one form, as the longest-prefix maps hold them.

use core::net::{IpAddr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

/// A full address of either family: IPv6 as it is, IPv4 mapped to `::ffff:a.b.c.d`.
///
/// A genuine IPv6 packet from `::ffff:0:0/96` looks like the IPv4 address here; such packets are not
/// routable and have the source [`crate::Source::RESERVED_V6`], which no rule for IPv4 matches.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct WideAddress(pub [u8; 16]);

impl WideAddress {
    /// From an IPv4 address as it stands on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_bytes([a, b, c, d]: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }
}

impl From<IpAddr> for WideAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::from_v4_bytes(address.octets()),
            IpAddr::V6(address) => Self(address.octets()),
        }
    }
}

impl From<WideAddress> for IpAddr {
    fn from(address: WideAddress) -> Self {
        IpAddr::V6(Ipv6Addr::from(address.0)).to_canonical()
    }
}

/// Key of the longest-prefix maps.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct PrefixKey {
    /// Leading bits of `address` that count, 0..=128; an IPv4 prefix has 96 more than people write.
    pub length: u32,
    /// Bits past `length` are zero.
    pub address: WideAddress,
}

const _: () = assert!(size_of::<PrefixKey>() == 20);

impl PrefixKey {
    /// The key of `address/length`, where `length` counts as people write it for the family.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Self {
        let family_offset = if address.is_ipv4() { 96 } else { 0 };
        let length = (family_offset + u32::from(length)).min(128);
        let wide = u128::from_be_bytes(WideAddress::from(address).0);
        let kept = if length == 0 { 0 } else { wide & (u128::MAX << (128 - length)) };
        Self { length, address: WideAddress(kept.to_be_bytes()) }
    }

    /// The key that asks a longest-prefix map about one full address.
    #[inline(always)]
    #[must_use]
    pub const fn of_address(address: WideAddress) -> Self {
        Self { length: 128, address }
    }

    /// Address and length as people write them.
    #[must_use]
    pub fn parts(self) -> (IpAddr, u8) {
        let mapped = self.address.0.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        let length = u8::try_from(self.length.min(128)).unwrap_or(128);
        if mapped && length >= 96 {
            (IpAddr::from(self.address), length - 96)
        } else {
            (IpAddr::V6(Ipv6Addr::from(self.address.0)), length)
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::format;

    #[test]
    fn prefixes_survive_the_round_trip_with_host_bits_cleared() {
        for (address, length, shown) in [
            ("192.0.2.7", 24, "192.0.2.0/24"),
            ("192.0.2.7", 32, "192.0.2.7/32"),
            ("0.0.0.0", 0, "0.0.0.0/0"),
            ("2001:db8::7", 32, "2001:db8::/32"),
            ("2001:db8::7", 128, "2001:db8::7/128"),
            ("::", 0, "::/0"),
        ] {
            let (network, length) = PrefixKey::new(address.parse().unwrap(), length).parts();
            assert_eq!(format!("{network}/{length}"), shown);
        }
    }
}
