//! Which host a capture is about: the one whose arriving packets are judged, when nobody says.

use std::net::{IpAddr, Ipv4Addr};

use rustc_hash::FxHashMap;

use mitigator_ebpf::packet::Direction;

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
/// one that receives more. A host that only sends is no candidate: nothing arrives there. Neither is an
/// address that is not one host's. What is damaged counts as far as it can be read.
#[must_use]
pub fn protected_host(mut capture: Capture) -> Option<IpAddr> {
    let mut roles: FxHashMap<IpAddr, Role> = FxHashMap::default();
    let mut packets = 0_u64;
    while let Ok(Some(captured)) = next(&mut capture) {
        let (Ok(packet), Some(destination)) = (captured.parse(Direction::Arriving), captured.destination())
        else {
            continue;
        };
        packets += 1;
        if let Some(role) = role_of(&mut roles, IpAddr::from(packet.address)) {
            role.takes_part += 1;
        }
        if let Some(role) = role_of(&mut roles, destination) {
            role.takes_part += 1;
            role.received += 1;
            role.received_syns += u64::from(packet.transport.opens());
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
    let is_host = |address: IpAddr| !address.is_unspecified() && address != IpAddr::V4(Ipv4Addr::BROADCAST);
    let candidates = || roles.iter().filter(|(address, role)| role.received > 0 && is_host(**address));
    let most = candidates().map(|(_, role)| role.takes_part).max()? as f64;
    if most < packets as f64 * TAKES_PART_IN {
        return None;
    }
    candidates()
        .filter(|(_, role)| role.takes_part as f64 >= most * NEARLY)
        .max_by_key(|(address, role)| (role.received_syns, role.received, std::cmp::Reverse(**address)))
        .map(|(address, _)| *address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(roles: &[(&str, u64, u64, u64)], packets: u64) -> Option<String> {
        let role = |(address, takes_part, received, received_syns): &(&str, u64, u64, u64)| {
            let (takes_part, received, received_syns) = (*takes_part, *received, *received_syns);
            (address.parse().unwrap(), Role { takes_part, received, received_syns })
        };
        choose(&roles.iter().map(role).collect(), packets).map(|address| address.to_string())
    }

    #[test]
    fn the_host_that_the_capture_is_about_is_found() {
        let (server, client, other) = ("192.0.2.1", "198.51.100.1", "198.51.100.2");
        for (description, roles, packets, expected) in [
            ("nothing", vec![], 0, None),
            ("a server with many clients", vec![(server, 100, 60, 9), (client, 3, 1, 0)], 100, Some(server)),
            ("two who talk", vec![(client, 100, 60, 0), (server, 99, 39, 9)], 100, Some(server)),
            ("no connections", vec![(client, 100, 40, 0), (server, 100, 60, 0)], 100, Some(server)),
            ("a crowd", vec![(server, 40, 20, 9), (client, 30, 15, 0)], 100, None),
            (
                "one who only sends, to two",
                vec![(client, 100, 0, 0), (server, 60, 60, 9), (other, 40, 40, 9)],
                100,
                Some(server),
            ),
            (
                "one who only sends, to many",
                vec![(client, 100, 0, 0), (server, 40, 40, 9), (other, 40, 40, 9)],
                100,
                None,
            ),
            ("no host", vec![("255.255.255.255", 100, 100, 0), ("0.0.0.0", 100, 0, 0)], 100, None),
        ] {
            assert_eq!(chosen(&roles, packets).as_deref(), expected, "{description}");
        }
    }
}
