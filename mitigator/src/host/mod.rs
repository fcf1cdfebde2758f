//! What must never be blocked on this machine: its own addresses, default gateways, name servers and
//! the peers of established SSH sessions. Reads `/proc`, `/etc/resolv.conf`, the interfaces and the sockets.

mod connections;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use mitigator_common::{AllowReason, PrefixKey};
use nix::ifaddrs::getifaddrs;
use procfs::process::{FDTarget, Process};
use procfs::{ProcError, ProcResult};

use self::connections::Connection;
use crate::pipeline::allowlist::host_of;

/// What a look at the machine came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Guarded addresses as prefixes of their hosts, each once, with the first reason found.
    pub guarded: Vec<(PrefixKey, AllowReason)>,
    /// Reasons of which something could not be read, each once: there may be more of them.
    pub unread: Vec<(AllowReason, anyhow::Error)>,
}

/// Looks for what must never be blocked.
#[must_use]
pub fn look() -> Found {
    gather([
        (AllowReason::LocalAddress, vec![local_addresses()]),
        (AllowReason::DefaultGateway, vec![default_gateways_v4(), default_gateways_v6()]),
        // The stub resolver of systemd stands in the first, those that it asks in the second.
        (
            AllowReason::Resolver,
            vec![resolvers("/etc/resolv.conf"), resolvers("/run/systemd/resolve/resolv.conf")],
        ),
        (AllowReason::SshPeer, ssh_peers()),
    ])
}

fn gather(parts: impl IntoIterator<Item = (AllowReason, Vec<Result<Vec<IpAddr>>>)>) -> Found {
    let mut guarded = BTreeMap::new();
    let mut unread = Vec::new();
    for (reason, parts) in parts {
        let mut error = None;
        for part in parts {
            let addresses = part.unwrap_or_else(|failed| {
                error = Some(failed);
                Vec::new()
            });
            for address in addresses.into_iter().filter(|address| !address.is_unspecified()) {
                guarded.entry(host_of(address)).or_insert(reason);
            }
        }
        unread.extend(error.map(|error| (reason, error)));
    }
    Found { guarded: guarded.into_iter().collect(), unread }
}

fn local_addresses() -> Result<Vec<IpAddr>> {
    let interfaces = getifaddrs().context("cannot list the addresses of this machine")?;
    Ok(interfaces
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect())
}

fn default_gateways_v4() -> Result<Vec<IpAddr>> {
    let path = "/proc/net/route";
    let table = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(gateways_v4(&table).into_iter().map(IpAddr::V4).collect())
}

/// Without IPv6 there is no such table.
fn default_gateways_v6() -> Result<Vec<IpAddr>> {
    let table = read_if_there("/proc/net/ipv6_route")?;
    Ok(gateways_v6(&table).into_iter().map(IpAddr::V6).collect())
}

/// The text of a file, empty when there is none.
fn read_if_there(path: &str) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {path}")),
    }
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

fn resolvers(path: &str) -> Result<Vec<IpAddr>> {
    Ok(name_servers(&read_if_there(path)?))
}

fn name_servers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            line.trim().strip_prefix("nameserver")?.split_whitespace().next().map(str::to_owned)
        })
        .filter_map(|address| address.split('%').next()?.parse().ok())
        .collect()
}

/// Peers of connections that an `sshd` holds, or that come to port 22.
fn ssh_peers() -> Vec<Result<Vec<IpAddr>>> {
    let established = connections::established();
    let is_anybody_there = established.iter().flatten().any(|connections| !connections.is_empty());
    let held = if is_anybody_there { sockets_of_sshd() } else { Ok(HashSet::new()) };
    let (held, error) = held.map_or_else(|error| (HashSet::new(), Some(error)), |held| (held, None));
    let peers_of = |connections: Vec<Connection>| {
        let by_ssh = connections
            .into_iter()
            .filter(|connection| connection.local_port == 22 || held.contains(&connection.inode));
        by_ssh.map(|connection| connection.peer).collect()
    };
    let peers = established.into_iter().map(|connections| connections.map(peers_of));
    peers.chain(error.map(Err)).collect()
}

fn sockets_of_sshd() -> Result<HashSet<u64>> {
    let mut sockets = HashSet::new();
    for process in procfs::process::all_processes().context("cannot list the processes")? {
        sockets.extend(if_to_be_seen(process.and_then(|process| sockets_if_sshd(&process)))?);
    }
    Ok(sockets)
}

fn sockets_if_sshd(process: &Process) -> ProcResult<Vec<u64>> {
    let mut sockets = Vec::new();
    if process.stat()?.comm.starts_with("sshd") {
        for descriptor in process.fd()? {
            match descriptor.map(|descriptor| descriptor.target) {
                Ok(FDTarget::Socket(inode)) => sockets.push(inode),
                // One that was closed while one looked must not hide the others.
                Ok(_) | Err(ProcError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sockets)
}

/// Processes end while one looks, and what a process without the rights cannot see it never sees.
fn if_to_be_seen(sockets: ProcResult<Vec<u64>>) -> Result<Vec<u64>> {
    match sockets {
        Err(ProcError::NotFound(_) | ProcError::PermissionDenied(_)) => Ok(Vec::new()),
        sockets => sockets.context("cannot look for the sockets of sshd"),
    }
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
    fn what_is_missing_is_empty_and_what_cannot_be_read_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("good"), b"# caf\xe9\nnameserver 192.0.2.53\n").unwrap();
        fs::create_dir(path("no file")).unwrap();
        let found = gather([
            (AllowReason::Resolver, vec![resolvers(&path("no file")), resolvers(&path("good"))]),
            (AllowReason::DefaultGateway, vec![resolvers(&path("missing"))]),
        ]);
        let expected = PrefixKey::new("192.0.2.53".parse().unwrap(), 32);
        assert_eq!(found.guarded, [(expected, AllowReason::Resolver)]);
        let unread: Vec<_> = found.unread.iter().map(|(reason, _)| *reason).collect();
        assert_eq!(unread, [AllowReason::Resolver]);
    }

    #[test]
    fn loopback_is_always_guarded() {
        let loopback = PrefixKey::new("127.0.0.1".parse().unwrap(), 8);
        assert!(look().guarded.contains(&(loopback, AllowReason::LocalAddress)));
    }
}
