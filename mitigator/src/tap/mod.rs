//! `Tap`: the headers of packets that pass an interface, of all sources or, under load, of some.
//!
//! A packet socket (AF_PACKET) stands behind the XDP program: what that drops never comes here. A filter in the kernel cuts
//! packets to their headers and, when there are more of them than a budget, passes those of a share of the remote
//! addresses, so that what is heard of a source is whole. What there is no room for is dropped by the kernel, and counted.
//! Whoever reads never waits. Needs CAP_NET_RAW; what it uses of the kernel (SKF_AD_PKTTYPE, SO_TIMESTAMPNS) is older than 2.6.32.

mod filter;
mod merged;
mod sampling;

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
    getsockopt, recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::{getsockopt_impl, sockopt_impl};
use socket2::SockRef;

use self::filter::{SNAP_BYTES, Sample};
use self::sampling::Sampling;
use crate::capture::{CapturedPacket, Network};
use crate::flows::FlowPacket;
use crate::pipeline::time::Timestamp;

// nix has no such option of its own; its macro makes one, with the system call.
sockopt_impl!(
    /// Packets that the filter passed and those of them that there was no room for, since it was asked before.
    PacketStatistics,
    GetOnly,
    libc::SOL_PACKET,
    libc::PACKET_STATISTICS,
    libc::tpacket_stats
);

/// Of the socket's queue; the kernel counts twice as much, and with each packet the buffer that it came in.
const QUEUE_BYTES: usize = 4 << 20;
/// Packets that are read at a time at most, so that no flood holds up who reads.
const MOST_AT_A_TIME: u32 = 8_192;
/// Where the kernel does not say.
const USUAL_MTU: u32 = 1_500;
const ETHERNET_BYTES: u32 = 14;

/// What a look at the queue came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    /// Packets that were handed over.
    pub packets: u64,
    /// Packets that there was no room for.
    pub lost: u64,
}

/// The headers of packets that pass an interface.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
    /// Longer packets are several in one.
    mtu: u32,
    /// Chooses who is heard.
    key: u32,
    sampling: Sampling,
    heard_at: Timestamp,
}

impl Tap {
    /// Listens to an interface. `key` chooses who is heard when there is more than `packets_per_second`, 1 or more.
    ///
    /// # Errors
    ///
    /// When there is no such interface, or the kernel refuses, as it does without CAP_NET_RAW.
    pub fn open(interface: &str, key: u32, packets_per_second: u32, now: Timestamp) -> Result<Self> {
        let attempt = || format!("cannot listen to the packets of `{interface}`");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Datagram, flags, SockProtocol::EthAll)
            .with_context(|| format!("{}; it takes CAP_NET_RAW", attempt()))?;
        // Until it is bound, a packet socket hears every interface.
        SockRef::from(&socket).attach_filter(&filter::deaf()).with_context(attempt)?;
        bind(socket.as_raw_fd(), &link_address(interface)?).with_context(attempt)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).with_context(attempt)?;
        // The usual limit is some dozens of packets. Without CAP_NET_ADMIN it stands.
        if setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &QUEUE_BYTES).with_context(attempt)?;
        }
        let sampling = Sampling::new(packets_per_second);
        let tap = Self { socket, mtu: mtu(interface), key, sampling, heard_at: now };
        while receive(&tap.socket, &mut [0; SNAP_BYTES])?.is_some() {}
        getsockopt(&tap.socket, PacketStatistics).with_context(attempt)?;
        tap.choose().with_context(attempt)?;
        Ok(tap)
    }

    /// Of how many sources packets are heard, 0..=1.
    #[must_use]
    pub const fn source_share(&self) -> f64 {
        self.sampling.share()
    }

    /// Hands over what came since, in the order in which it came, and sees to it that it is no more than the budget.
    ///
    /// # Errors
    ///
    /// When the interface is down or gone. What waited in the queue is lost then.
    pub fn hear(&mut self, now: Timestamp, mut take: impl FnMut(FlowPacket)) -> Result<Heard> {
        let mut heard = Heard::default();
        let mut buffer = [0; SNAP_BYTES];
        // What is merged is as much work as its pieces.
        let mut pieces = 0;
        while pieces < MOST_AT_A_TIME {
            let Some((length, at_ns)) = receive(&self.socket, &mut buffer)? else { break };
            let Some(packet) = buffer.get(..length).and_then(|bytes| read(bytes, at_ns)) else {
                pieces += 1;
                continue;
            };
            heard.packets += 1;
            for piece in merged::pieces(packet, self.mtu) {
                pieces += 1;
                take(piece);
            }
        }
        let statistics = getsockopt(&self.socket, PacketStatistics).context("cannot count what was lost")?;
        heard.lost = statistics.tp_drops.into();
        let elapsed = now.since(self.heard_at).max(Duration::from_millis(1));
        self.heard_at = now;
        if self.sampling.adapt(statistics.tp_packets.max(pieces), elapsed) {
            self.choose().context("cannot choose who is listened to")?;
        }
        Ok(heard)
    }

    fn choose(&self) -> Result<()> {
        let sample = Sample::new(self.key, self.sampling.share());
        Ok(SockRef::from(&self.socket).attach_filter(&filter::headers_of(sample))?)
    }
}

/// The next packet from its network header on: its length, as far as it was cut, and when it came, since the Unix epoch.
fn receive(socket: &OwnedFd, buffer: &mut [u8; SNAP_BYTES]) -> Result<Option<(usize, u64)>> {
    let mut room = nix::cmsg_space!(TimeSpec);
    loop {
        let mut slices = [IoSliceMut::new(buffer)];
        let received =
            recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut room), MsgFlags::MSG_DONTWAIT);
        let message = match received {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error).context("cannot read a packet"),
        };
        let at = message.cmsgs().context("a packet without a time")?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        let at_ns = at.and_then(|at| u64::try_from(at.as_nanos()).ok()).context("a packet without a time")?;
        return Ok(Some((message.bytes, at_ns)));
    }
}

/// Reads what the filter left of a packet, which is IP.
fn read(bytes: &[u8], at_ns: u64) -> Option<FlowPacket> {
    let number = |at: usize| bytes.get(at..at + 2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    // A length of 0 stands for more than fits in there.
    let (ethertype, length) = match bytes.first()? >> 4 {
        4 => (0x0800, u32::from(number(2)?)),
        _ => (0x86dd, number(4).filter(|payload| *payload > 0).map_or(0, |payload| u32::from(payload) + 40)),
    };
    let length = if length == 0 { u32::from(u16::MAX) } else { length };
    let network = Network::At { ethertype, offset: 0 };
    FlowPacket::read(&CapturedPacket { at_ns, wire_bytes: length + ETHERNET_BYTES, bytes, network }).ok()
}

/// What a packet socket is bound to.
fn link_address(interface: &str) -> Result<LinkAddr> {
    let mut known = getifaddrs().context("cannot list the interfaces of this machine")?;
    let own = known.find_map(|known| {
        let address = known.address.filter(|_| known.interface_name == interface)?;
        address.as_link_addr().copied()
    });
    own.with_context(|| format!("there is no interface `{interface}`"))
}

fn mtu(interface: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).unwrap_or_default();
    text.trim().parse().unwrap_or(USUAL_MTU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_headers_whose_packets_were_longer() {
        let mut v4 = vec![0x45, 0, 0x05, 0xdc, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 7, 198, 51, 100, 1];
        v4.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        let packet = read(&v4, 5).unwrap();
        assert_eq!((packet.at_ns, packet.wire_bytes, packet.payload_bytes), (5, 1_514, 1_460));
        assert_eq!((packet.sender.port, packet.receiver.port), (40_000, 80));

        let mut v6 = vec![0x60, 0, 0, 0, 0, 20, 17, 64];
        v6.extend([0x20, 1, 0x0d, 0xb8].iter().chain(&[0; 12]).chain(&[0x20, 1, 0x0d, 0xb8]).chain(&[1; 12]));
        v6.extend([0, 53, 0x9c, 0x40, 0, 20, 0, 0]);
        let packet = read(&v6, 0).unwrap();
        assert_eq!((packet.wire_bytes, packet.payload_bytes, packet.protocol), (74, 12, 17));
        assert_eq!(packet.sender.port, 53);

        // Too long for the field that says how long it is.
        v4[2..4].copy_from_slice(&[0, 0]);
        assert_eq!(read(&v4, 0).unwrap().payload_bytes, 65_535 - 40);
        assert!(read(&v4[..1], 0).is_none() && read(&[], 0).is_none());
    }
}
