//! `Source`: who sends, in 8 bytes for both families.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

/// The sender of packets as the data plane tells senders apart: an IPv4 address, or the /64 of an
/// IPv6 address, which is what one subscriber holds.
///
/// IPv4 keeps the upper half zero; IPv6 is its upper 64 bits. IPv6 addresses inside the reserved
/// `::/32` would collide with IPv4 and share the one source [`Source::RESERVED_V6`]. So do those inside
/// `0:1::/32`, which nobody holds: the other numbers of that prefix mark places of tables without a source.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct Source(u64);

const _: () = assert!(size_of::<Source>() == 8);

impl Source {
    /// All IPv6 senders inside `::/32` (unspecified, loopback, mapped and reserved addresses), and inside `0:1::/32`.
    pub const RESERVED_V6: Self = Self(1 << 32);
    /// No sender's: the row of a source while it is being made.
    pub const BEING_MADE: Self = Self(1 << 32 | 3);

    /// The source of an IPv4 packet, from the address as it stands on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes) as u64)
    }

    /// The source of an IPv6 packet, from the upper half of the address as it stands on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6_upper_half(bytes: [u8; 8]) -> Self {
        let upper = u64::from_be_bytes(bytes);
        if upper >> 33 == 0 { Self::RESERVED_V6 } else { Self(upper) }
    }

    /// The source that [`Source::number`] stands for.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number that stands for the source, for hashing and sorting.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whether the source is an IPv4 address.
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0 >> 32 == 0
    }

    /// The first address of the source: the IPv4 address itself, or the IPv6 network address.
    #[must_use]
    pub const fn network(self) -> IpAddr {
        if self.is_v4() {
            let [_, _, _, _, a, b, c, d] = self.0.to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else if self.0 == Self::RESERVED_V6.0 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::from_bits((self.0 as u128) << 64))
        }
    }

    /// How many leading bits of [`Source::network`] all members share: 32 (IPv4), 64 (IPv6), or 32
    /// for [`Source::RESERVED_V6`].
    #[must_use]
    pub const fn prefix_length(self) -> u8 {
        if self.is_v4() || self.0 == Self::RESERVED_V6.0 { 32 } else { 64 }
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::from_v4_bytes(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::from_v6_upper_half([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// An IPv4 address alone, an IPv6 source with its `/64`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_v4() {
            write!(f, "{}", self.network())
        } else {
            write!(f, "{}/{}", self.network(), self.prefix_length())
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn one_way_in_and_one_way_out() {
        for (address, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1", "fe80::/64"),
            ("::", "::/32"),
            ("::1", "::/32"),
            ("::ffff:192.0.2.7", "::/32"),
            ("0:0:c000:207::1", "::/32"),
            ("0:1::1", "::/32"),
            ("0:1:0:3::1", "::/32"),
            ("0:2::1", "0:2::/64"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(Source::from(address).to_string(), shown, "{address}");
        }
    }

    #[test]
    fn an_ipv6_sender_cannot_pass_for_an_ipv4_address() {
        let forged: IpAddr = "0:0:c000:207::1".parse().unwrap();
        let honest: IpAddr = "192.0.2.7".parse().unwrap();
        assert_ne!(Source::from(forged), Source::from(honest));
    }

    #[test]
    fn nobody_can_pass_for_a_row_that_is_being_made() {
        let number = Source::BEING_MADE.number();
        assert_ne!(Source::from_v6_upper_half(number.to_be_bytes()), Source::BEING_MADE);
        assert!(number > u64::from(u32::MAX), "an IPv4 address");
    }
}
