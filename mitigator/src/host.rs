//! What must never be blocked on this machine: its own addresses, default gateways, name servers and
//! the peers of established SSH sessions. Reads `/proc`, `/etc/resolv.conf` and the interfaces.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mitigator_common::{AllowReason, PrefixKey};
use nix::ifaddrs::getifaddrs;
use procfs::net::TcpState;
use procfs::process::FDTarget;

/// Guarded addresses as full-length prefixes, each once, with the first reason found.
///
/// What cannot be read is left out: guarding a part is better than guarding nothing.
#[must_use]
pub fn guarded() -> Vec<(PrefixKey, AllowReason)> {
    let found = [
        (AllowReason::LocalAddress, local_addresses()),
        (AllowReason::DefaultGateway, default_gateways()),
        (AllowReason::Resolver, resolvers()),
        (AllowReason::SshPeer, ssh_peers()),
    ];
    let mut guarded = BTreeMap::new();
    for (reason, addresses) in found {
        for address in addresses.into_iter().filter(|address| !address.is_unspecified()) {
            guarded.entry(PrefixKey::new(address.to_canonical(), address_bits(address))).or_insert(reason);
        }
    }
    guarded.into_iter().collect()
}

fn address_bits(address: IpAddr) -> u8 {
    if address.to_canonical().is_ipv4() { 32 } else { 128 }
}

fn local_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect()
}

fn default_gateways() -> Vec<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    gateways_v4(&v4).into_iter().map(IpAddr::V4).chain(gateways_v6(&v6).into_iter().map(IpAddr::V6)).collect()
}

/// Columns of `/proc/net/route`: interface, destination, gateway, ...; addresses in hexadecimal, in
/// the machine's byte order.
fn gateways_v4(table: &str) -> Vec<Ipv4Addr> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let is_default = number(columns.get(1)?)? == 0 && number(columns.get(7)?)? == 0;
            let gateway = number(columns.get(2)?)?;
            (is_default && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
        })
        .collect()
}

/// Columns of `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, ...
fn gateways_v6(table: &str) -> Vec<Ipv6Addr> {
    table
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let is_default = columns.first()?.bytes().all(|digit| digit == b'0') && *columns.get(1)? == "00";
            let hop = u128::from_str_radix(columns.get(4)?, 16).ok()?;
            (is_default && hop != 0).then(|| Ipv6Addr::from_bits(hop))
        })
        .collect()
}

fn resolvers() -> Vec<IpAddr> {
    // The stub resolver of systemd stands in the first, those that it asks in the second.
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| name_servers(&text))
        .collect()
}

fn name_servers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            line.trim().strip_prefix("nameserver")?.split_whitespace().next().map(str::to_owned)
        })
        .filter_map(|address| address.split('%').next()?.parse().ok())
        .collect()
}

/// Connections that an `sshd` holds, or that come to port 22.
fn ssh_peers() -> Vec<IpAddr> {
    let established: Vec<_> = [procfs::net::tcp(), procfs::net::tcp6()]
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.state == TcpState::Established)
        .collect();
    if established.is_empty() {
        return Vec::new();
    }
    let held = sockets_of_sshd();
    established
        .into_iter()
        .filter(|entry| entry.local_address.port() == 22 || held.contains(&entry.inode))
        .map(|entry| entry.remote_address.ip())
        .collect()
}

fn sockets_of_sshd() -> HashSet<u64> {
    let Ok(processes) = procfs::process::all_processes() else {
        return HashSet::new();
    };
    processes
        .flatten()
        .filter(|process| process.stat().is_ok_and(|stat| stat.comm.starts_with("sshd")))
        .filter_map(|process| process.fd().ok())
        .flat_map(Iterator::flatten)
        .filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_route_tables() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                  eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(gateways_v4(v4), [Ipv4Addr::new(192, 0, 2, 1)]);
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                  fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
                  20010db8000000000000000000000000 40 00000000000000000000000000000000 00 \
                  00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n";
        assert_eq!(gateways_v6(v6), ["fe80::1".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn reads_name_servers_with_zones_and_comments() {
        let text = "# made by hand\nnameserver 192.0.2.53\n  nameserver fe80::53%eth0\nsearch example.org\nnameserver x\n";
        let expected: Vec<IpAddr> = vec!["192.0.2.53".parse().unwrap(), "fe80::53".parse().unwrap()];
        assert_eq!(name_servers(text), expected);
    }

    #[test]
    fn loopback_is_always_guarded() {
        let loopback = PrefixKey::new("127.0.0.1".parse().unwrap(), 32);
        assert!(guarded().contains(&(loopback, AllowReason::LocalAddress)));
    }
}
