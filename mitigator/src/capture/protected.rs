//! Which host a capture is about: the one whose arriving packets are judged, when nobody says.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use mitigator_ebpf::packet::{Transport, flags};

use super::{Capture, Damage};

/// Addresses looked at; a flood of forged ones must not grow memory.
const MAX_ADDRESSES: usize = 1_000_000;
/// A host is the capture's own when it takes part in this share of the packets.
const TAKES_PART_IN: f64 = 0.5;
/// Hosts that take part in nearly as many packets as the first are candidates as well.
const NEARLY: f64 = 0.98;

#[derive(Clone, Copy, Default)]
struct Role {
    takes_part: u64,
    received: u64,
    received_syns: u64,
}

/// The one host that takes part in most packets of a capture; `None` when there is no such host.
///
/// Of two hosts that only talk to each other, it is the one that connections are opened to, or the
/// one that receives more. What is damaged counts as far as it can be read.
#[must_use]
pub fn protected_host(mut capture: Capture) -> Option<IpAddr> {
    let mut roles: FxHashMap<IpAddr, Role> = FxHashMap::default();
    let mut packets = 0_u64;
    while let Ok(Some(captured)) = next(&mut capture) {
        let (Ok(packet), Some(destination)) = (captured.parse(), captured.destination()) else { continue };
        packets += 1;
        if let Some(role) = role_of(&mut roles, IpAddr::from(packet.address)) {
            role.takes_part += 1;
        }
        let opens = matches!(packet.transport, Transport::Tcp { flags, .. }
            if flags & (flags::SYN | flags::ACK) == flags::SYN);
        if let Some(role) = role_of(&mut roles, destination) {
            role.takes_part += 1;
            role.received += 1;
            role.received_syns += u64::from(opens);
        }
    }
    choose(&roles, packets)
}

fn next(capture: &mut Capture) -> Result<Option<super::CapturedPacket<'_>>, Damage> {
    capture.next_packet()
}

fn role_of(roles: &mut FxHashMap<IpAddr, Role>, address: IpAddr) -> Option<&mut Role> {
    if roles.len() >= MAX_ADDRESSES && !roles.contains_key(&address) {
        return None;
    }
    Some(roles.entry(address).or_default())
}

#[expect(clippy::cast_precision_loss, reason = "shares of packet counts")]
fn choose(roles: &FxHashMap<IpAddr, Role>, packets: u64) -> Option<IpAddr> {
    let most = roles.values().map(|role| role.takes_part).max()? as f64;
    if most < packets as f64 * TAKES_PART_IN {
        return None;
    }
    roles
        .iter()
        .filter(|(_, role)| role.takes_part as f64 >= most * NEARLY)
        .max_by_key(|(address, role)| (role.received_syns, role.received, std::cmp::Reverse(**address)))
        .map(|(address, _)| *address)
}
