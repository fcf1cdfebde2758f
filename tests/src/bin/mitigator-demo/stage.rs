//! The stage: one host outside with all visitors and attackers, the victim with its web server, and a sink that
//! swallows what the quiet phase sends.
//!
//! ```text
//!   one core                                      another core
//!   outside: visitors, attackers, generator ───── victim: nginx, the agent
//!        └─── sink: drops what it gets
//! ```
//!
//! With queues apart, the link has two: one for the generator's frames, another for everybody else.
//! Receiving is work for the receiver's core on both ends of the link, and offloads are the same in all phases.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use ipnet::{IpNet, Ipv4Net};
use mitigator_tests::lab::{Attached, Core, Host, Interface, Lab};
use mitigator_tests::traffic::{ADDRESSES_OF_STRANGERS, Addressing, Destination, HttpTarget};
use mitigator_tests::web_server::{PAGES, WebServer};

use crate::arguments::Queues;
use crate::kind::AttackKind;

/// Who works where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// Generator, visitors and this program.
    pub(crate) senders: Core,
    /// The victim's receiving thread, its web server, the agent.
    pub(crate) servers: Core,
}

impl Cores {
    /// The first two that this thread may use; to be asked before it is pinned to one.
    pub(crate) fn choose() -> Result<Self> {
        match Core::usable()?[..] {
            [senders, servers, ..] => Ok(Self { senders, servers }),
            _ => bail!("{TOO_FEW_CORES}"),
        }
    }
}

pub(crate) const TOO_FEW_CORES: &str = "it takes two cores, one for the senders and one for the server";

pub(crate) const CLIENTS: usize = 40;
pub(crate) const ATTACKERS: usize = 60;
/// New visitors who come in the middle of an attack, and those of a flash crowd.
const NEWCOMERS: usize = 20;
const CROWD: usize = 800;
const NAME_SERVERS: u8 = 60;
/// Who opens ten connections a second, each from another address.
const STRANGERS: u32 = 50;

/// The range that RFC 2544 sets aside for tests like this one.
const VICTIM: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
const VICTIM_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, 0xfe);
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// A hardware address that nobody has, so that the sink drops at the first look.
const NOBODYS_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];
const HTTP_PORT: u16 = 80;
/// Where strangers come from, a half of it.
const ABROAD: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 19, 128, 0), 17);

/// Between two batches that the visitors' host receives; its queue of 256 holds five million packets a second meanwhile.
const BATCH: Duration = Duration::from_micros(50);

/// Everything in its place; dropping it strikes the set.
pub(crate) struct Stage {
    pub(crate) cores: Cores,
    pub(crate) victim: Host,
    pub(crate) victim_side: Interface,
    pub(crate) outside: Interface,
    pub(crate) to_sink: Interface,
    _on_the_link: Vec<Attached>,
    // The order of the fields is the order of their end: nginx before its namespace.
    _web_server: WebServer,
    _lab: Lab,
}

impl Stage {
    pub(crate) fn set(kind: &AttackKind, queues: Queues, cores: Cores) -> Result<Self> {
        let lab = Lab::new()?;
        let (outside_host, victim, sink) = (lab.host("outside")?, lab.host("victim")?, lab.host("sink")?);
        let number_of_queues = match queues {
            Queues::Shared => 1,
            Queues::Apart => 2,
        };
        let (outside, victim_side) = lab.link_with_queues(&outside_host, &victim, number_of_queues)?;
        let (to_sink, _) = lab.link(&outside_host, &sink)?;

        // What is sent to attackers who hold no conversations is lost, as with forged addresses.
        let talkers = if kind.is_conversation() { attackers() } else { Vec::new() };
        let guests = [newcomers(kind), name_servers(kind)].concat();
        let answering = [clients(), talkers].concat().into_iter().map(IpAddr::from);
        let mut outside_addresses = vec![IpNet::new(GATEWAY.into(), 16)?, IpNet::new(GATEWAY_V6.into(), 64)?];
        outside_addresses.extend(answering.chain(guests.iter().copied()).map(IpNet::from));
        outside.add_addresses(&outside_addresses)?;
        outside.add_neighbours(&[VICTIM.into(), VICTIM_V6.into()], victim_side.mac())?;
        to_sink.add_routes(&[IpNet::from(IpAddr::from(NOBODY))])?;
        to_sink.add_neighbours(&[NOBODY.into()], NOBODYS_MAC)?;

        victim_side.add_addresses(&[IpNet::new(VICTIM.into(), 16)?, IpNet::new(VICTIM_V6.into(), 64)?])?;
        let mut neighbours = guests;
        neighbours.extend([clients(), attackers()].concat().into_iter().map(IpAddr::from));
        neighbours.extend([IpAddr::from(GATEWAY), GATEWAY_V6.into()]);
        victim_side.add_neighbours(&neighbours, outside.mac())?;
        victim.ip_batch(&[
            format!("route add default via {GATEWAY}"),
            format!("route add default via {GATEWAY_V6}"),
        ])?;

        // Every address of it is the host's own.
        outside_host.ip_batch(&[format!("route add local {ABROAD} dev lo")])?;
        outside.receive_on(cores.senders)?;
        victim_side.receive_on(cores.servers)?;
        let address = SocketAddr::new(VICTIM.into(), HTTP_PORT);
        let web_server = WebServer::start(&victim, address, kind.web_server(), cores.servers)?;
        let mut on_the_link = Vec::new();
        if queues == Queues::Apart {
            on_the_link.push(outside.send_apart_from_floods(cores.senders)?);
            // A network card's queues take turns by few packets each, so that no visitor waits behind a full one.
            victim_side.receive_first(cores.senders.other_queue())?;
        }
        // What forged senders are answered is on its way to others, in every phase alike. So that it costs the visitors'
        // core little, it does not wake that core for each packet either.
        if *kind == AttackKind::SynSpoofed {
            outside.receive_in_batches(BATCH)?;
            on_the_link.push(outside.drop_what_goes_elsewhere()?);
        }
        Ok(Self {
            cores,
            victim,
            victim_side,
            outside,
            to_sink,
            _on_the_link: on_the_link,
            _web_server: web_server,
            _lab: lab,
        })
    }

    pub(crate) fn to_victim(&self) -> Addressing {
        Addressing { from_mac: self.outside.mac(), to_mac: self.victim_side.mac(), to: VICTIM }
    }

    pub(crate) fn to_nobody(&self) -> Addressing {
        Addressing { from_mac: self.to_sink.mac(), to_mac: NOBODYS_MAC, to: NOBODY }
    }

    /// Where frames of a capture go that are meant for `addressing`.
    pub(crate) fn destination(addressing: Addressing) -> Destination {
        Destination {
            from_mac: addressing.from_mac,
            to_mac: addressing.to_mac,
            ipv4: addressing.to,
            ipv6: VICTIM_V6,
        }
    }
}

/// The web server, as a visitor asks for it: mostly small pages.
pub(crate) fn pages_of(address: Ipv4Addr) -> HttpTarget {
    let [(small, _), (large, _)] = PAGES;
    HttpTarget { server: SocketAddr::new(address.into(), HTTP_PORT), paths: vec![small, small, large] }
}

/// The visitors' addresses.
pub(crate) fn clients() -> Vec<Ipv4Addr> {
    sources().skip(ATTACKERS).collect()
}

/// The attackers' addresses.
pub(crate) fn attackers() -> Vec<Ipv4Addr> {
    sources().take(ATTACKERS).collect()
}

/// The addresses of those who have never been there before the attack; nobody for most kinds.
pub(crate) fn newcomers(kind: &AttackKind) -> Vec<IpAddr> {
    let count = match kind {
        AttackKind::SynSpoofed => NEWCOMERS,
        AttackKind::FlashCrowd => CROWD,
        _ => 0,
    };
    let hosts = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 16, 0), 20).hosts();
    hosts.take(count).map(IpAddr::from).collect()
}

/// The first addresses of those who are never there twice; nobody where connections are not what is attacked.
pub(crate) fn strangers(kind: &AttackKind) -> Vec<IpAddr> {
    let count = if matches!(kind, AttackKind::SynSpoofed) { STRANGERS } else { 0 };
    let first = |number| ABROAD.network().to_bits() + number * ADDRESSES_OF_STRANGERS;
    (0..count).map(|number| Ipv4Addr::from_bits(first(number)).into()).collect()
}

/// The name servers that the victim asks; none where its look-ups are not attacked.
pub(crate) fn name_servers(kind: &AttackKind) -> Vec<IpAddr> {
    let count = if matches!(kind, AttackKind::DnsReflection) { NAME_SERVERS } else { 0 };
    (1..=count).map(|last| IpAddr::from([198, 18, 8, last])).collect()
}

/// Whether an address is in `range` (an address or a prefix as the agent writes them).
pub(crate) fn covers(range: &str, address: IpAddr) -> bool {
    match (range.parse::<IpNet>(), range.parse::<IpAddr>()) {
        (Ok(prefix), _) => prefix.contains(&address),
        (_, Ok(single)) => single == address,
        _ => false,
    }
}

/// Addresses in no order: visitors and attackers share their /24s, so that blocking a neighbourhood would show.
fn sources() -> impl Iterator<Item = Ipv4Addr> {
    let neighbourhood = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 16).network().octets();
    // 37 is prime to 100, so every number below 100 comes once.
    (0..(CLIENTS + ATTACKERS)).map(move |number| {
        let place = u8::try_from(number * 37 % 100).expect("a remainder of 100 fits");
        Ipv4Addr::new(neighbourhood[0], neighbourhood[1], 1 + place / 25, 10 + place % 25)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_an_address_and_shares_neighbourhoods() {
        let mut all = [clients(), attackers()].concat();
        assert_eq!((clients().len(), attackers().len()), (CLIENTS, ATTACKERS));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), CLIENTS + ATTACKERS);
        for third in 1..=4 {
            assert!(clients().iter().any(|address| address.octets()[2] == third));
            assert!(attackers().iter().any(|address| address.octets()[2] == third));
        }
    }

    #[test]
    fn a_block_covers_an_address_or_a_prefix() {
        let address = IpAddr::from([198, 18, 1, 10]);
        for (range, expected) in
            [("198.18.1.10", true), ("198.18.1.0/24", true), ("198.18.1.11", false), ("udp port 53", false)]
        {
            assert_eq!(covers(range, address), expected, "{range}");
        }
    }
}
