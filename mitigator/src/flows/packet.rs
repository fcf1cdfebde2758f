//! `FlowPacket`: what one captured packet brings to its flow, read by the parser of the XDP program.
//!
//! Lengths are what the headers say as far as the wire bore it, so that neither Ethernet's padding nor a snap length
//! changes a feature. What is inside a tunnel is not looked at.

use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::envelope::Envelope;
use mitigator_ebpf::extensions;
use mitigator_ebpf::packet::{self, Fragment, Unparsed, protocol};

use super::flow::Endpoint;
use crate::capture::{CapturedPacket, Network};

const ETHERNET_BYTES: usize = 14;
const IPV6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;
const ICMP_BYTES: usize = 8;
const LEAST_TCP_BYTES: usize = 20;

/// What one packet brings to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPacket {
    /// Since the Unix epoch, as the capture says.
    pub at_ns: u64,
    /// Number of the transport protocol, past IPv6 extension headers.
    pub protocol: u8,
    /// Its port is 0 where the protocol has none, or the header was not captured.
    pub sender: Endpoint,
    /// As the sender.
    pub receiver: Endpoint,
    /// On the wire, with an Ethernet header.
    pub wire_bytes: u32,
    /// Of the transport header; 0 when it is not known or not in this fragment.
    pub header_bytes: u32,
    /// Behind the transport header.
    pub payload_bytes: u32,
    /// Of TCP.
    pub tcp: Option<TcpHeader>,
    /// Of ICMP and ICMPv6: type and code.
    pub icmp: Option<(u8, u8)>,
    /// Of a fragment: the identification that all fragments of its datagram bear.
    pub fragment: Option<FragmentOf>,
}

/// What TCP says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHeader {
    /// From FIN, the lowest bit, to CWR.
    pub flags: u8,
    /// As it stands in the header, without its scale.
    pub window: u16,
}

/// Of which datagram a packet is a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentOf {
    /// Equal for all fragments of a datagram.
    pub identification: u32,
    /// Whether it is the one with the ports.
    pub is_first: bool,
}

/// What stands in an IP header.
struct Inside {
    protocol: u8,
    sender: u128,
    receiver: u128,
    is_v4: bool,
    /// Where the transport header begins, and how far the datagram goes by its own word; `None` when out of reach.
    transport: Option<(usize, usize)>,
    fragment: Option<FragmentOf>,
}

impl FlowPacket {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// When it has no readable IP header, says which way.
    pub fn read(captured: &CapturedPacket<'_>) -> Result<Self, Unparsed> {
        let bytes = Cursor::over(captured.bytes);
        let arriving = packet::Direction::Arriving;
        let wire_bytes = captured.wire_bytes as usize;
        let (reading, wire_end) = match captured.network {
            Network::Ethernet => (Envelope::read(&bytes, arriving), wire_bytes),
            Network::At { ethertype, offset } => (
                Envelope::read_network(&bytes, ethertype, offset, arriving),
                (offset + wire_bytes).saturating_sub(ETHERNET_BYTES),
            ),
            Network::Cut => return Err(Unparsed::Malformed),
        };
        let envelope = reading.into_result()?;
        let inside = if envelope.is_v4 {
            Inside::of_v4(&bytes, envelope.start)
        } else {
            Inside::of_v6(&bytes, envelope.start)
        };
        let inside = inside.ok_or(Unparsed::Malformed)?;
        let mut packet = Self {
            at_ns: captured.at_ns,
            protocol: inside.protocol,
            sender: Endpoint { address: inside.sender, is_v4: inside.is_v4, port: 0 },
            receiver: Endpoint { address: inside.receiver, is_v4: inside.is_v4, port: 0 },
            wire_bytes: captured.wire_bytes,
            header_bytes: 0,
            payload_bytes: 0,
            tcp: None,
            icmp: None,
            fragment: inside.fragment,
        };
        if let Some((start, length)) = inside.transport {
            let length = length.min(wire_end.saturating_sub(start));
            packet.read_transport(&bytes, start, length);
        }
        Ok(packet)
    }

    /// `length` is what the datagram has from `start` on.
    fn read_transport(&mut self, bytes: &Cursor<'_>, start: usize, length: usize) {
        let is_later = self.fragment.is_some_and(|fragment| !fragment.is_first);
        let header_length = if is_later { 0 } else { self.read_header(bytes, start, length).unwrap_or(0) };
        self.header_bytes = u32::try_from(header_length).unwrap_or(0);
        self.payload_bytes = u32::try_from(length - header_length).unwrap_or(u32::MAX);
    }

    /// The header's length; `None` when it is cut, malformed or of another protocol.
    fn read_header(&mut self, bytes: &Cursor<'_>, start: usize, length: usize) -> Option<usize> {
        match self.protocol {
            protocol::TCP => {
                // The ports tell flows apart also where little of each packet was captured.
                let ports = bytes.span::<4>(start).filter(|_| length >= LEAST_TCP_BYTES)?;
                (self.sender.port, self.receiver.port) = (ports.u16::<0>(), ports.u16::<2>());
                let header = bytes.span::<LEAST_TCP_BYTES>(start)?;
                let header_length = usize::from(header.u8::<12>() >> 4) * 4;
                if header_length < LEAST_TCP_BYTES || length < header_length {
                    return None;
                }
                self.tcp = Some(TcpHeader { flags: header.u8::<13>(), window: header.u16::<14>() });
                Some(header_length)
            }
            protocol::UDP if length >= UDP_BYTES => {
                let ports = bytes.span::<4>(start)?;
                (self.sender.port, self.receiver.port) = (ports.u16::<0>(), ports.u16::<2>());
                Some(UDP_BYTES)
            }
            protocol::ICMP | protocol::ICMPV6 if length >= ICMP_BYTES => {
                let header = bytes.span::<ICMP_BYTES>(start)?;
                self.icmp = Some((header.u8::<0>(), header.u8::<1>()));
                Some(ICMP_BYTES)
            }
            _ => None,
        }
    }
}

impl Inside {
    fn of_v4(bytes: &Cursor<'_>, start: usize) -> Option<Self> {
        let header = bytes.span::<20>(start)?;
        let header_length = usize::from(header.u8::<0>() & 0x0f) * 4;
        // Zero is what segmentation offload leaves in packets captured on the sending host.
        let total = match header.u16::<2>() {
            0 => usize::MAX,
            total => usize::from(total),
        };
        let fragment_bits = header.u16::<6>();
        let fragment = (fragment_bits & 0x3fff != 0).then(|| FragmentOf {
            identification: u32::from(header.u16::<4>()),
            is_first: fragment_bits & 0x1fff == 0,
        });
        Some(Self {
            protocol: header.u8::<9>(),
            sender: header.u32::<12>().into(),
            receiver: header.u32::<16>().into(),
            is_v4: true,
            transport: Some((start + header_length, total.saturating_sub(header_length))),
            fragment,
        })
    }

    fn of_v6(bytes: &Cursor<'_>, start: usize) -> Option<Self> {
        let header = bytes.span::<IPV6_BYTES>(start)?;
        let address = |upper: u64, lower: u64| u128::from(upper) << 64 | u128::from(lower);
        let walked = extensions::walk(bytes, start);
        let transport = walked.transport.map(|stretch| (stretch.start, stretch.length));
        // The fragment header is the last one before what was fragmented, and ends with the identification.
        let identification =
            transport.and_then(|(start, _)| bytes.span::<4>(start - 4)).map(|id| id.u32::<0>());
        let fragment = identification.filter(|_| walked.fragment != Fragment::Whole).map(|identification| {
            FragmentOf { identification, is_first: walked.fragment == Fragment::First }
        });
        Some(Self {
            protocol: walked.protocol,
            sender: address(header.u64::<8>(), header.u64::<16>()),
            receiver: address(header.u64::<24>(), header.u64::<32>()),
            is_v4: false,
            transport,
            fragment,
        })
    }
}
