//! Established TCP connections of this machine.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use procfs::net::{TcpNetEntry, TcpState};
use procfs::{ProcError, ProcResult};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) local_port: u16,
    pub(super) peer: IpAddr,
    /// Of the socket.
    pub(super) inode: u64,
}

/// Those over IPv4 and those over IPv6, each as far as they can be read. Both ways of reading them walk through all of the
/// kernel's table, whose size is the machine's; by `/proc` that takes several times as long.
pub(super) fn established() -> [Result<Vec<Connection>>; 2] {
    [
        diagnosed(AF_INET).or_else(|_| listed(procfs::net::tcp())),
        diagnosed(AF_INET6).or_else(|_| match procfs::net::tcp6() {
            // There is no IPv6.
            Err(ProcError::NotFound(_)) => Ok(Vec::new()),
            table => listed(table),
        }),
    ]
}

/// By the kernel's socket diagnosis (Linux 3.3; a module in some kernels, which may not be there).
fn diagnosed(family: u8) -> Result<Vec<Connection>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::ESTABLISHED,
        socket_id,
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut connections = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let header = &response.header;
                    connections.push(Connection {
                        local_port: header.socket_id.source_port,
                        peer: header.socket_id.destination_address,
                        inode: header.inode.into(),
                    });
                }
                NetlinkPayload::Done(_) => return Ok(connections),
                NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                other => bail!("the kernel answered {other:?}"),
            }
            // Messages begin at multiples of four bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Of a table of `/proc`.
fn listed(table: ProcResult<Vec<TcpNetEntry>>) -> Result<Vec<Connection>> {
    let table = table.context("cannot read the TCP connections")?;
    let established = table.into_iter().filter(|entry| entry.state == TcpState::Established);
    let connections = established.map(|entry| Connection {
        local_port: entry.local_address.port(),
        peer: entry.remote_address.ip(),
        inode: entry.inode,
    });
    Ok(connections.collect())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn both_ways_tell_the_same_of_a_connection() {
        for (address, family) in [("127.0.0.1:0", AF_INET), ("[::1]:0", AF_INET6), ("[::]:0", AF_INET6)] {
            let Ok(listener) = TcpListener::bind(address) else {
                assert!(family == AF_INET6, "{address}: no listener");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            // To the last one comes a client over IPv4, whose address is a mapped one there.
            let to: IpAddr = if address.starts_with("[::1]") { "::1" } else { "127.0.0.1" }.parse().unwrap();
            let client = TcpStream::connect((to, port)).unwrap();
            let (held, _) = listener.accept().unwrap();
            let link = std::fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd())).unwrap();
            let listed =
                listed(if family == AF_INET { procfs::net::tcp() } else { procfs::net::tcp6() }).unwrap();
            let of_port = |connections: Vec<Connection>| -> Vec<Connection> {
                connections.into_iter().filter(|connection| connection.local_port == port).collect()
            };
            let listed = of_port(listed);
            assert_eq!(listed.len(), 1, "{address}");
            assert_eq!(format!("socket:[{}]", listed[0].inode), link.to_str().unwrap(), "{address}");
            assert_eq!(of_port(diagnosed(family).unwrap()), listed, "{address}");
            drop(client);
        }
    }
}
