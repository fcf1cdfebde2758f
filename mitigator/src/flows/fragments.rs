//! `Fragments`: to which ports later fragments belong, as the first fragment of their datagram said.

use std::collections::HashMap;

use super::packet::FlowPacket;

/// How long a host waits for the rest of a datagram, RFC 8200 (IPv4's RFC 1122 allows twice that).
const REASSEMBLY_NS: u64 = 60_000_000_000;
/// Datagrams that are remembered; a flood of fragments gets no more memory.
const CAPACITY: usize = 65_536;

/// The ports of datagrams whose first fragment was seen.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    /// With the time of the first fragment.
    ports: HashMap<Datagram, (u16, u16, u64)>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Datagram {
    sender: u128,
    receiver: u128,
    protocol: u8,
    identification: u32,
}

impl Fragments {
    /// Remembers the ports of a first fragment, and gives them to a later one; without a first fragment it has none.
    pub(super) fn complete(&mut self, packet: &mut FlowPacket) {
        let Some(fragment) = packet.fragment else { return };
        let datagram = Datagram {
            sender: packet.sender.address,
            receiver: packet.receiver.address,
            protocol: packet.protocol,
            identification: fragment.identification,
        };
        if fragment.is_first {
            if self.ports.len() >= CAPACITY {
                self.make_room(packet.at_ns);
            }
            self.ports.insert(datagram, (packet.sender.port, packet.receiver.port, packet.at_ns));
        } else if let Some((sender, receiver, since_ns)) = self.ports.get(&datagram)
            && packet.at_ns.saturating_sub(*since_ns) <= REASSEMBLY_NS
        {
            (packet.sender.port, packet.receiver.port) = (*sender, *receiver);
        }
    }

    /// Forgets those that no host waits for any longer; when that is not enough, all.
    fn make_room(&mut self, now_ns: u64) {
        self.ports.retain(|_, (_, _, since_ns)| now_ns.saturating_sub(*since_ns) <= REASSEMBLY_NS);
        if self.ports.len() > CAPACITY / 2 {
            self.ports.clear();
        }
    }
}
