//! What `etherparse` says of a packet, in the words of `Packet`.

use etherparse::err::Layer;
use etherparse::{
    EtherType, Icmpv4Slice, Icmpv6Slice, IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice,
    Ipv6RawExtHeaderSlice, LaxIpv4Slice, LaxIpv6Slice, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket,
    LinkSlice, TcpSlice, UdpHeaderSlice, err, ether_type, ip_number,
};
use mitigator_common::{Source, WideAddress};
use mitigator_ebpf::packet::{Fragment, MAX_EXTENSIONS, MAX_VLAN_TAGS, Packet, Transport, Unparsed};

/// Where the two parsers differ by definition, and this module follows ours. Each one is noted when a
/// packet meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Three tags: etherparse reads them, ours stops after [`MAX_VLAN_TAGS`] and calls the packet malformed.
    ThirdTag,
    /// MACsec: etherparse reads through an unencrypted one, to ours it is not IP.
    Macsec,
    /// The ethertype names one version and the IP header the other: etherparse believes the header,
    /// ours calls the packet malformed, as the kernel's IP layer does.
    OtherVersion,
    /// An IPv4 total length from 1 up to less than the header: etherparse takes the bytes there are,
    /// ours calls the packet malformed, as the kernel does. Both take 0 for "not filled in".
    ShortTotalLength,
    /// IPv4 with an authentication header: etherparse reads past it, to ours it is a protocol like another.
    Ipv4Authentication,
    /// Hop-by-hop options that are not the first extension header: etherparse stops, ours goes on.
    LateHopByHop,
    /// Mobility, host identity, Shim6: etherparse knows them but stops before them, ours goes on.
    RareExtension,
    /// An IPv6 authentication header that claims 8 bytes: etherparse stops, ours goes on, as the kernel does.
    ShortAuthentication,
    /// What follows the fragment header of a later fragment is no header. Etherparse reads it as one.
    InsideLaterFragment,
    /// More than [`MAX_EXTENSIONS`] extension headers: ours stops.
    TooManyExtensions,
    /// The transport header of a first fragment: etherparse leaves it alone, ours reads it.
    FirstFragment,
    /// TCP options that are cut: etherparse refuses the header, ours has all it needs in the first 20 bytes.
    CutTcpOptions,
    /// ICMP timestamps: etherparse wants their 20 bytes exactly, ours the 8 that all messages share.
    IcmpTimestamp,
}

impl Difference {
    pub const ALL: [Self; 13] = [
        Self::ThirdTag,
        Self::Macsec,
        Self::OtherVersion,
        Self::ShortTotalLength,
        Self::Ipv4Authentication,
        Self::LateHopByHop,
        Self::RareExtension,
        Self::ShortAuthentication,
        Self::InsideLaterFragment,
        Self::TooManyExtensions,
        Self::FirstFragment,
        Self::CutTcpOptions,
        Self::IcmpTimestamp,
    ];
}

/// Reads a packet with etherparse; `differences` gets those that it meets.
pub fn parse(bytes: &[u8], differences: &mut Vec<Difference>) -> Result<Packet, Unparsed> {
    let Ok(sliced) = LaxSlicedPacket::from_ethernet(bytes) else { return Err(Unparsed::Malformed) };
    let tags: Vec<EtherType> = sliced
        .link_exts
        .iter()
        .map_while(|extension| match extension {
            LaxLinkExtSlice::Vlan(tag) => Some(tag.ether_type()),
            LaxLinkExtSlice::Macsec(_) => None,
        })
        .collect();
    if tags.len() > MAX_VLAN_TAGS {
        differences.push(Difference::ThirdTag);
        return Err(Unparsed::Malformed);
    }
    if tags.len() < sliced.link_exts.len() {
        differences.push(Difference::Macsec);
        return Err(Unparsed::NotIp);
    }
    let (outermost, receiver) = match &sliced.link {
        Some(LinkSlice::Ethernet2(ethernet)) => (ethernet.ether_type(), ethernet.destination()),
        other => panic!("an Ethernet header was asked for: {other:?}"),
    };
    let innermost = tags.last().copied().unwrap_or(outermost);
    let packet = match (&sliced.net, innermost) {
        (Some(LaxNetSlice::Ipv4(header)), ether_type::IPV4) => parse_v4(header, differences),
        (Some(LaxNetSlice::Ipv6(header)), ether_type::IPV6) => Ok(parse_v6(bytes, header, differences)),
        (Some(LaxNetSlice::Ipv4(_) | LaxNetSlice::Ipv6(_)), _) => {
            differences.push(Difference::OtherVersion);
            Err(Unparsed::Malformed)
        }
        (
            None,
            ether_type::IPV4
            | ether_type::IPV6
            | ether_type::VLAN_TAGGED_FRAME
            | ether_type::PROVIDER_BRIDGING
            | ether_type::VLAN_DOUBLE_TAGGED_FRAME,
        ) => Err(Unparsed::Malformed),
        (None | Some(LaxNetSlice::Arp(_)), _) => Err(Unparsed::NotIp),
    };
    let is_to_group = receiver[0] & 1 == 1;
    packet.map(|packet| Packet { is_to_group, ..packet })
}

fn parse_v4(slice: &LaxIpv4Slice<'_>, differences: &mut Vec<Difference>) -> Result<Packet, Unparsed> {
    let header = slice.header();
    let header_length = header.slice().len();
    let claimed = claimed_length(header.total_len());
    let Some(claimed_after) = claimed.checked_sub(header_length) else {
        differences.push(Difference::ShortTotalLength);
        return Err(Unparsed::Malformed);
    };
    let fragment = fragment_from(header.fragments_offset().value(), header.more_fragments());
    let mut transport = Transport::OTHER;
    if header.protocol() == ip_number::AUTH {
        differences.push(Difference::Ipv4Authentication);
    } else {
        let payload = slice.payload().payload;
        transport = parse_transport(header.protocol(), payload, claimed_after, fragment, differences);
    }
    Ok(Packet {
        source: Source::from(std::net::IpAddr::from(header.source())),
        address: WideAddress::from_v4_bytes(header.source()),
        protocol: header.protocol().0,
        transport,
        fragment,
        has_extensions: false,
        is_to_group: false,
    })
}

fn parse_v6(bytes: &[u8], slice: &LaxIpv6Slice<'_>, differences: &mut Vec<Difference>) -> Packet {
    let header = slice.header();
    let start = header.slice().as_ptr().addr() - bytes.as_ptr().addr() + 40;
    let length = slice.extensions().slice().len() + slice.payload().payload.len();
    let walk = Walk::over(header.next_header(), &bytes[start..start + length], differences);
    let claimed_after = claimed_length(header.payload_length()) - (length - walk.rest.len());
    Packet {
        source: Source::from(std::net::IpAddr::from(header.source())),
        address: WideAddress::from_v6_bytes(header.source()),
        protocol: walk.next.0,
        transport: if is_extension(walk.next) {
            Transport::OTHER
        } else {
            parse_transport(walk.next, walk.rest, claimed_after, walk.fragment, differences)
        },
        fragment: walk.fragment,
        has_extensions: is_extension(header.next_header()),
        is_to_group: false,
    }
}

/// The walk along the extension headers of IPv6.
struct Walk<'packet> {
    next: IpNumber,
    rest: &'packet [u8],
    fragment: Fragment,
}

impl<'packet> Walk<'packet> {
    /// Lets etherparse walk as far as it goes, steps over what it stops at by definition, and lets it go on.
    fn over(first: IpNumber, region: &'packet [u8], differences: &mut Vec<Difference>) -> Self {
        let mut walk = Self { next: first, rest: region, fragment: Fragment::Whole };
        let mut headers = 0;
        loop {
            let (extensions, ..) = Ipv6ExtensionsSlice::from_slice_lax(walk.next, walk.rest);
            // The iterator of etherparse 0.21 reads past the end where its own lax walk stopped early, so
            // it is asked for no more than that walk has covered.
            let end = walk.rest.len() - extensions.slice().len();
            let mut iterator = extensions.into_iter();
            while walk.rest.len() > end {
                let Some(extension) = iterator.next() else { break };
                if headers == MAX_EXTENSIONS {
                    differences.push(Difference::TooManyExtensions);
                    return walk;
                }
                headers += 1;
                walk.step_over(&extension);
                if walk.fragment == Fragment::Later {
                    if is_extension(walk.next) {
                        differences.push(Difference::InsideLaterFragment);
                    }
                    return walk;
                }
            }
            let Some((difference, next, length)) = walk.beyond_etherparse() else { return walk };
            if headers == MAX_EXTENSIONS {
                differences.push(Difference::TooManyExtensions);
                return walk;
            }
            headers += 1;
            differences.push(difference);
            walk.next = next;
            walk.rest = &walk.rest[length..];
        }
    }

    fn step_over(&mut self, extension: &Ipv6ExtensionSlice<'_>) {
        let (next, length) = match extension {
            Ipv6ExtensionSlice::HopByHop(header)
            | Ipv6ExtensionSlice::Routing(header)
            | Ipv6ExtensionSlice::DestinationOptions(header) => (header.next_header(), header.slice().len()),
            Ipv6ExtensionSlice::Authentication(header) => (header.next_header(), header.slice().len()),
            Ipv6ExtensionSlice::Fragment(header) => {
                if header.is_fragmenting_payload() {
                    self.fragment = fragment_from(header.fragment_offset().value(), header.more_fragments());
                }
                (header.next_header(), header.slice().len())
            }
        };
        self.next = next;
        self.rest = &self.rest[length..];
    }

    /// A header that etherparse stops at although it is whole, with the next one's number and its length.
    fn beyond_etherparse(&self) -> Option<(Difference, IpNumber, usize)> {
        match self.next {
            ip_number::AUTH => match self.rest {
                [next, 0, _, _, _, _, _, _, ..] => {
                    Some((Difference::ShortAuthentication, IpNumber(*next), 8))
                }
                _ => None,
            },
            ip_number::IPV6_HOP_BY_HOP | ip_number::MOBILITY | ip_number::HIP | ip_number::SHIM6 => {
                let header = Ipv6RawExtHeaderSlice::from_slice(self.rest).ok()?;
                let is_late = self.next == ip_number::IPV6_HOP_BY_HOP;
                let difference = if is_late { Difference::LateHopByHop } else { Difference::RareExtension };
                Some((difference, header.next_header(), header.slice().len()))
            }
            _ => None,
        }
    }
}

/// Encrypted payload and the numbers kept for experiments have no length that one could step over.
fn is_extension(number: IpNumber) -> bool {
    number.is_ipv6_ext_header_value()
        && !matches!(number, ip_number::ENCAP_SEC | ip_number::EXP0 | ip_number::EXP1)
}

/// Zero is "not filled in" for both families and both parsers.
fn claimed_length(field: u16) -> usize {
    usize::from(if field == 0 { u16::MAX } else { field })
}

fn fragment_from(offset: u16, more: bool) -> Fragment {
    if offset > 0 {
        Fragment::Later
    } else if more {
        Fragment::First
    } else {
        Fragment::Whole
    }
}

/// `claimed` is what the IP header leaves for the transport, `payload` what of it is there.
fn parse_transport(
    number: IpNumber,
    payload: &[u8],
    claimed: usize,
    fragment: Fragment,
    differences: &mut Vec<Difference>,
) -> Transport {
    if fragment == Fragment::Later {
        return Transport::OTHER;
    }
    let transport = match number {
        ip_number::TCP => parse_tcp(payload, claimed, differences),
        ip_number::UDP => UdpHeaderSlice::from_slice(payload)
            .ok()
            .map(|udp| Transport::udp(udp.source_port(), udp.destination_port())),
        ip_number::ICMP => is_icmp(payload, differences).then_some(Transport::ICMP),
        ip_number::IPV6_ICMP => Icmpv6Slice::from_slice(payload).is_ok().then_some(Transport::ICMP),
        _ => None,
    };
    if fragment == Fragment::First && transport.is_some() {
        differences.push(Difference::FirstFragment);
    }
    transport.unwrap_or(Transport::OTHER)
}

fn parse_tcp(payload: &[u8], claimed: usize, differences: &mut Vec<Difference>) -> Option<Transport> {
    let mut fixed_part: Vec<u8>;
    let tcp = match TcpSlice::from_slice(payload) {
        Ok(tcp) => tcp,
        Err(err::tcp::HeaderSliceError::Len(_)) if payload.len() >= 20 => {
            differences.push(Difference::CutTcpOptions);
            fixed_part = payload[..20].to_vec();
            fixed_part[12] = 5 << 4 | fixed_part[12] & 0x0f;
            TcpSlice::from_slice(&fixed_part).ok()?
        }
        Err(_) => return None,
    };
    let header_length = usize::from(payload[12] >> 4) * 4;
    Some(Transport::tcp(tcp.source_port(), tcp.destination_port(), flags_of(&tcp), claimed > header_length))
}

fn flags_of(tcp: &TcpSlice<'_>) -> u8 {
    [tcp.fin(), tcp.syn(), tcp.rst(), tcp.psh(), tcp.ack(), tcp.urg(), tcp.ece(), tcp.cwr()]
        .into_iter()
        .enumerate()
        .fold(0, |flags, (bit, is_set)| flags | u8::from(is_set) << bit)
}

fn is_icmp(payload: &[u8], differences: &mut Vec<Difference>) -> bool {
    match Icmpv4Slice::from_slice(payload) {
        Ok(_) => true,
        Err(error) if matches!(error.layer, Layer::Icmpv4Timestamp | Layer::Icmpv4TimestampReply) => {
            differences.push(Difference::IcmpTimestamp);
            true
        }
        Err(_) => false,
    }
}
