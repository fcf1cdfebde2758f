//! `Target`: what a block is about, a source or a prefix.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use mitigator_common::{PrefixKey, Source};

/// What can be blocked. A prefix that is exactly one source is always the source, so that equal
/// things compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// An IPv4 address or an IPv6 /64.
    Source(Source),
    /// A finer or coarser prefix.
    Prefix(PrefixKey),
}

/// First and last address of something, by family and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    /// First address.
    pub first: (u32, u128),
    /// Last address, included.
    pub last: (u32, u128),
}

impl Target {
    /// The target that a text stands for that is an address and nothing else.
    #[must_use]
    pub fn of_address(text: &str) -> Option<Self> {
        let address: IpAddr = text.parse().ok()?;
        Some(Self::Source(Source::from(address.to_canonical())))
    }

    /// The target of a prefix; host bits are ignored.
    #[must_use]
    pub fn of_prefix(prefix: IpNet) -> Self {
        let key = PrefixKey::new(prefix.network(), prefix.prefix_len());
        let (network, length) = key.parts();
        let source = Source::from(network);
        if source.prefix_length() == length && source.network() == network {
            Self::Source(source)
        } else {
            Self::Prefix(key)
        }
    }

    /// Network address and length as people write them.
    #[must_use]
    pub fn parts(&self) -> (IpAddr, u8) {
        match self {
            Self::Source(source) => (source.network(), source.prefix_length()),
            Self::Prefix(key) => key.parts(),
        }
    }

    /// All addresses of the target.
    #[must_use]
    pub fn range(&self) -> AddressRange {
        range_of(match self {
            Self::Source(source) => PrefixKey::from(*source),
            Self::Prefix(key) => *key,
        })
    }

    /// Whether nobody should block as much at once: wider than /16 (IPv4) or /32 (IPv6).
    #[must_use]
    pub fn is_too_wide(&self) -> bool {
        let (address, length) = self.parts();
        length < if address.is_ipv4() { 16 } else { 32 }
    }
}

/// All addresses below a key.
#[must_use]
pub fn range_of(key: PrefixKey) -> AddressRange {
    let (first, last) = key.bounds();
    AddressRange { first, last }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(source) => source.fmt(f),
            Self::Prefix(key) => {
                let (address, length) = key.parts();
                write!(f, "{address}/{length}")
            }
        }
    }
}

impl serde::Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotATarget(String);

impl fmt::Display for NotATarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is neither an IP address nor a prefix such as 192.0.2.0/24 or 2001:db8::/48", self.0)
    }
}

impl std::error::Error for NotATarget {}

/// An address stands for its source: for IPv6 the whole /64. `/128` means the one address.
impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of_prefix =
            || text.parse::<IpNet>().map(Self::of_prefix).map_err(|_| NotATarget(text.to_owned()));
        Self::of_address(text).map_or_else(of_prefix, Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_what_operators_write() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::/64"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("2001:db8::7/128", "2001:db8::7/128"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.7/128", "192.0.2.7"),
        ] {
            assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(shown.to_owned()));
        }
        for text in
            ["", "192.0.2", "192.0.2.7/33", "example.org", "192.0.2.7/", "2001:db8::/129", "192.0.2.7 "]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_hold_exactly_the_members() {
        for (text, first, last) in [
            ("192.0.2.0/24", "192.0.2.0", "192.0.2.255"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
            ("2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"),
        ] {
            let range = text.parse::<Target>().unwrap().range();
            let address = |text: &str| range_of(PrefixKey::new(text.parse().unwrap(), 128));
            assert_eq!((range.first, range.last), (address(first).first, address(last).last), "{text}");
        }
        let all = "::/0".parse::<Target>().unwrap().range();
        assert_eq!((all.first.1, all.last.1), (0, u128::MAX));
    }

    #[test]
    fn too_wide_starts_past_16_and_32_bits() {
        for (text, expected) in [
            ("10.0.0.0/16", false),
            ("10.0.0.0/15", true),
            ("2001:db8::/32", false),
            ("2001:db8::/31", true),
            ("192.0.2.7", false),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().is_too_wide(), expected, "{text}");
        }
    }
}
