//! Features: plain numbers per source, with a unit and a name that `explain` prints.

use std::collections::BTreeMap;

use mitigator_common::SourceCounters;
use serde::Serialize;

use super::activity::Activity;
use super::rows::SourceActivity;

/// A number that describes a source's activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Packets per second.
    PacketsPerSecond,
    /// Bytes per second on the wire.
    BytesPerSecond,
    /// Bytes per packet.
    MeanBytes,
    /// SYN packets without ACK, of all packets.
    SynShare,
    /// SYN packets without ACK per packet with ACK (plus one).
    SynPerAck,
    /// Packets that push data to an application, of all packets.
    PushShare,
    /// UDP packets, of all packets.
    UdpShare,
    /// ICMP packets, of all packets.
    IcmpShare,
    /// Fragments, of all packets.
    FragmentShare,
    /// UDP packets from ports known for reflection, of all packets.
    ReflectionShare,
    /// Classes of destination ports in the last second, 0..=64.
    DistinctPorts,
    /// Seconds since the first packet.
    AgeSeconds,
}

impl Feature {
    /// Every feature, in the order of the columns.
    pub const ALL: [Self; 12] = [
        Self::PacketsPerSecond,
        Self::BytesPerSecond,
        Self::MeanBytes,
        Self::SynShare,
        Self::SynPerAck,
        Self::PushShare,
        Self::UdpShare,
        Self::IcmpShare,
        Self::FragmentShare,
        Self::ReflectionShare,
        Self::DistinctPorts,
        Self::AgeSeconds,
    ];

    /// Stable name, as reports and JSON spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PacketsPerSecond => "packets_per_second",
            Self::BytesPerSecond => "bytes_per_second",
            Self::MeanBytes => "mean_bytes",
            Self::SynShare => "syn_share",
            Self::SynPerAck => "syn_per_ack",
            Self::PushShare => "push_share",
            Self::UdpShare => "udp_share",
            Self::IcmpShare => "icmp_share",
            Self::FragmentShare => "fragment_share",
            Self::ReflectionShare => "reflection_share",
            Self::DistinctPorts => "distinct_ports",
            Self::AgeSeconds => "age_s",
        }
    }

    /// In plain words, as the label of a line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PacketsPerSecond => "packets of all kinds",
            Self::BytesPerSecond => "bytes",
            Self::MeanBytes => "size of a packet",
            Self::SynShare => "of them, SYN",
            Self::SynPerAck => "SYN to ACK, about",
            Self::PushShare => "of them, with data or a request",
            Self::UdpShare => "of them, UDP",
            Self::IcmpShare => "of them, ICMP",
            Self::FragmentShare => "of them, fragments",
            Self::ReflectionShare => "of them, answers of UDP services",
            Self::DistinctPorts => "different ports, about",
            Self::AgeSeconds => "first seen",
        }
    }

    /// How the number is to be read.
    #[must_use]
    pub const fn scale(self) -> Scale {
        match self {
            Self::PacketsPerSecond => Scale::Of("packets/s"),
            Self::BytesPerSecond => Scale::Of("bytes/s"),
            Self::MeanBytes => Scale::Of("bytes"),
            Self::SynPerAck | Self::DistinctPorts => Scale::Of(""),
            Self::AgeSeconds => Scale::Seconds,
            Self::SynShare
            | Self::PushShare
            | Self::UdpShare
            | Self::IcmpShare
            | Self::FragmentShare
            | Self::ReflectionShare => Scale::Share,
        }
    }
}

/// What the number of a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// So much of a unit.
    Of(&'static str),
    /// 0 to 1.
    Share,
    /// A time.
    Seconds,
}

/// One row per active source, one column per [`Feature`]. Values are worked out when they are asked for: few
/// of a million sources are ever looked at.
#[derive(Clone, Copy, Debug)]
pub struct FeatureTable<'a> {
    activity: &'a Activity,
}

impl FeatureTable<'_> {
    /// All features of the source in row `row`; `None` past the end.
    #[must_use]
    pub fn of(&self, row: usize) -> Option<Features> {
        let row = self.activity.rows.get(row)?;
        Some(Features(Feature::ALL.map(|feature| value_of(feature, &row, self.activity))))
    }
}

/// The value of each feature of one source, in the order of [`Feature::ALL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features([f64; Feature::ALL.len()]);

impl Features {
    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        Feature::ALL.into_iter().map(Feature::name).zip(self.0)
    }
}

/// As a map, sorted by name.
impl Serialize for Features {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.iter().collect::<BTreeMap<_, _>>().serialize(serializer)
    }
}

/// The features of every row of `activity`, in its order.
#[must_use]
pub const fn extract(activity: &Activity) -> FeatureTable<'_> {
    FeatureTable { activity }
}

#[expect(clippy::cast_precision_loss, reason = "counts in one interval are far below 2^52")]
fn value_of(feature: Feature, row: &SourceActivity<'_>, activity: &Activity) -> f64 {
    let change = &row.change;
    let share = |count: u32| f64::from(count) / change.packets.max(1) as f64;
    match feature {
        Feature::PacketsPerSecond => activity.per_second(change.packets),
        Feature::BytesPerSecond => activity.per_second(change.bytes),
        Feature::MeanBytes => change.bytes as f64 / change.packets.max(1) as f64,
        Feature::SynShare => share(change.tcp_syn_packets),
        Feature::SynPerAck => f64::from(change.tcp_syn_packets) / (f64::from(change.tcp_ack_packets) + 1.0),
        Feature::PushShare => share(change.tcp_push_packets),
        Feature::UdpShare => share(change.udp_packets),
        Feature::IcmpShare => share(change.icmp_packets),
        Feature::FragmentShare => share(change.fragment_packets),
        Feature::ReflectionShare => share(change.reflection_packets),
        Feature::DistinctPorts => f64::from(distinct_ports(change)),
        Feature::AgeSeconds => row.age.as_secs_f64(),
    }
}

/// Classes of destination ports seen in the epoch of the latest packet, 0..=64.
#[must_use]
pub fn distinct_ports(change: &SourceCounters) -> u32 {
    change.port_bits.count_ones()
}
