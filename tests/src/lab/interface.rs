//! One end of a veth pair: addresses, neighbours, offloads, the core that receives for it, its packet counters.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use nix::unistd::Pid;

use super::system::RealTime;
use super::{Core, Host, INTERFACE_PREFIX, ip, output_of, system};

/// A network interface inside a [`Host`]. Clones are the same interface.
#[derive(Clone, Debug)]
pub struct Interface {
    host: Host,
    name: String,
    index: u32,
    mac: [u8; 6],
}

/// What an interface may do on behalf of the stack; see `ethtool --features`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// TCP segmentation on sending (TSO).
    TcpSegmentation,
    /// Segmentation of whatever is sent (GSO).
    Segmentation,
    /// Joining of received segments (GRO); on veth this is also what gives the interface a NAPI of its own.
    ReceiveJoining,
    /// Checksums left to be filled in on sending.
    SendChecksums,
}

/// Whether an [`Offload`] is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Used.
    On,
    /// Not used.
    Off,
}

/// What has passed an interface since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounters {
    /// Taken from its receive queue, those an XDP program dropped included.
    pub received_packets: u64,
    /// Sent in vain, because the receive queue at the other end was full.
    pub undelivered_packets: u64,
}

impl Interface {
    pub(super) fn create_pair(a: &Host, b: &Host, number: usize, queues: usize) -> Result<(Self, Self)> {
        let end = |host: &Host, side: u8| {
            let pid = std::process::id();
            let [_, p1, p2, p3] = pid.to_be_bytes();
            let low = u8::try_from(number % 256).expect("a remainder of 256 fits");
            // Locally administered, and different for every process, link and side.
            let mac = [0x02 | (side << 2), low, p1, p2, p3, side];
            (
                host.clone(),
                format!("{INTERFACE_PREFIX}{}{number}{}", in_base36(pid), ['a', 'b'][usize::from(side)]),
                mac,
            )
        };
        let ((host_a, name_a, mac_a), (host_b, name_b, mac_b)) = (end(a, 0), end(b, 1));
        let count = format!("numtxqueues {queues} numrxqueues {queues}");
        let line = format!(
            "link add {name_a} address {} {count} netns {} type veth peer name {name_b} address {} {count} netns {}",
            text_of(mac_a),
            a.name(),
            text_of(mac_b),
            b.name(),
        );
        ip(&line.split(' ').collect::<Vec<_>>())?;
        let open = |host: Host, name: String, mac| -> Result<Self> {
            let index = host.enter(|| if_nametoindex(name.as_str()))??;
            let interface = Self { host, name, index, mac };
            for offload in [Offload::TcpSegmentation, Offload::Segmentation] {
                interface.set_offload(offload, Switch::Off)?;
            }
            interface.host.ip_batch(&[format!("link set {} up", interface.name)])?;
            Ok(interface)
        };
        Ok((open(host_a, name_a, mac_a)?, open(host_b, name_b, mac_b)?))
    }

    /// Its name, unique on this machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number inside its host.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The host it is part of.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Gives it addresses, IPv4 or IPv6, each with its prefix length.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one.
    pub fn add_addresses(&self, addresses: &[IpNet]) -> Result<()> {
        self.ip_lines(addresses, |address| {
            let no_detection = if address.addr().is_ipv6() { " nodad" } else { "" };
            format!("address add {address} dev {}{no_detection}", self.name)
        })
    }

    /// Tells it the hardware address behind each of `addresses` for good, so that nobody has to ask.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one.
    pub fn add_neighbours(&self, addresses: &[IpAddr], mac: [u8; 6]) -> Result<()> {
        let mac = text_of(mac);
        self.ip_lines(addresses, |address| {
            format!("neighbour replace {address} lladdr {mac} dev {} nud permanent", self.name)
        })
    }

    /// Sends packets for each of `destinations` out here.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one.
    pub fn add_routes(&self, destinations: &[IpNet]) -> Result<()> {
        self.ip_lines(destinations, |destination| format!("route replace {destination} dev {}", self.name))
    }

    /// Sets the largest packet it takes, in bytes without the Ethernet header.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the size.
    pub fn set_mtu(&self, bytes: u32) -> Result<()> {
        self.host.ip_batch(&[format!("link set {} mtu {bytes}", self.name)])
    }

    /// Switches an offload.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_offload(&self, offload: Offload, switch: Switch) -> Result<()> {
        self.host
            .enter(|| system::set_offload(&self.name, offload, switch))?
            .with_context(|| format!("cannot switch {offload:?} {switch:?} on `{}`", self.name))
    }

    /// Has packets received on `core` by a thread of the kernel, not by whoever sends them.
    ///
    /// On veth, a sender otherwise does the receiver's work on its own core. Switches GRO on, which gives the
    /// interface the NAPI that the thread runs; an XDP program attached later keeps to the same thread.
    ///
    /// # Errors
    ///
    /// When the kernel has no threaded NAPI (before 5.12), or refuses.
    pub fn receive_on(&self, core: Core) -> Result<()> {
        self.set_offload(Offload::ReceiveJoining, Switch::On)?;
        // `ip netns exec` mounts a /sys that shows the namespace's own interfaces.
        output_of(
            std::process::Command::new("ip")
                .args(["netns", "exec", self.host.name(), "sh", "-c"])
                .arg(format!("echo 1 > /sys/class/net/{}/threaded", self.name)),
        )?;
        for thread in self.receiving_threads()? {
            core.pin(thread)?;
            // Receiving preempts processes on a real machine. A thread of ordinary priority waits behind the web
            // server for milliseconds, in which a flood overruns the 256 slots of a veth's queue.
            system::prefer_over_processes(thread, RealTime::Lowest)
                .with_context(|| format!("cannot raise the priority of the receiving thread {thread}"))?;
        }
        Ok(())
    }

    /// Of several queues, has packets in this one, from 0, received before those in the others. For after
    /// [`Self::receive_on`], whose threads otherwise do not take turns: one goes on until its queue is empty.
    ///
    /// # Errors
    ///
    /// When there is no such queue, or the kernel refuses.
    pub fn receive_first(&self, queue: usize) -> Result<()> {
        let threads = self.receiving_threads()?;
        let thread = *threads.get(queue).with_context(|| format!("`{}` has no queue {queue}", self.name))?;
        system::prefer_over_processes(thread, RealTime::BeforeOthers)
            .with_context(|| format!("cannot raise the priority of the receiving thread {thread}"))
    }

    /// Has it receive in batches, as a network card moderates its interrupts: after a batch the receiving thread is
    /// woken again no sooner than after `pause`, and not for each packet. For after [`Self::receive_on`].
    ///
    /// # Errors
    ///
    /// When the kernel cannot (before 5.8), or refuses.
    pub fn receive_in_batches(&self, pause: Duration) -> Result<()> {
        // As there. So many times in a row is nothing found before it waits to be woken.
        output_of(std::process::Command::new("ip").args(["netns", "exec", self.host.name(), "sh", "-c"]).arg(
            format!(
                "cd /sys/class/net/{} && echo {} > gro_flush_timeout && echo 3 > napi_defer_hard_irqs",
                self.name,
                pause.as_nanos()
            ),
        ))
        .map(drop)
    }

    /// What it has received so far.
    ///
    /// # Errors
    ///
    /// When the interface is gone.
    pub fn counters(&self) -> Result<TrafficCounters> {
        // The table shows the interfaces of the reading thread's own namespace.
        let table = self
            .host
            .enter(|| fs::read_to_string("/proc/thread-self/net/dev"))?
            .context("cannot read the packet counters")?;
        table
            .lines()
            .find_map(|line| counters_in(line.trim_start().strip_prefix(&self.name)?.strip_prefix(':')?))
            .with_context(|| format!("`{}` is gone", self.name))
    }

    /// One a queue, in the order of the queues: their names end in numbers that rise with them.
    fn receiving_threads(&self) -> Result<Vec<Pid>> {
        for _ in 0..100 {
            let threads = kernel_threads_called(&format!("napi/{}-", self.name));
            if !threads.is_empty() {
                return Ok(threads);
            }
            pause();
        }
        bail!("the kernel started no receiving thread for `{}`", self.name)
    }

    fn ip_lines<T>(&self, items: &[T], line: impl Fn(&T) -> String) -> Result<()> {
        self.host.ip_batch(&items.iter().map(line).collect::<Vec<_>>())
    }
}

/// The second number of one line of `/proc/net/dev`, packets received, and the twelfth, drops on sending.
fn counters_in(numbers: &str) -> Option<TrafficCounters> {
    let mut numbers = numbers.split_whitespace().map(|number| number.parse().ok());
    let received_packets = numbers.nth(1)??;
    let undelivered_packets = numbers.nth(9)??;
    Some(TrafficCounters { received_packets, undelivered_packets })
}

/// Those whose names are this and a number, by that number.
fn kernel_threads_called(prefix: &str) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut numbered: Vec<(u32, i32)> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let name = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm")).ok()?;
            Some((name.trim_end().strip_prefix(prefix)?.parse().ok()?, pid))
        })
        .collect();
    numbered.sort_unstable();
    numbered.into_iter().map(|(_, pid)| Pid::from_raw(pid)).collect()
}

fn text_of(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Short enough that name, link number and tag fit in the 15 characters of an interface name.
fn in_base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit(number % 36, 36).expect("a remainder of 36 is a digit"));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "waiting for the kernel to start a thread")]
fn pause() {
    thread::sleep(Duration::from_millis(10));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_columns() {
        let expected = TrafficCounters { received_packets: 2, undelivered_packets: 12 };
        assert_eq!(counters_in(" 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"), Some(expected));
        assert_eq!(counters_in(" 1 2 3"), None);
    }

    #[test]
    fn names_stay_short() {
        for (number, expected) in [(0, "0"), (35, "z"), (36, "10"), (4_194_304, "2hwcg")] {
            assert_eq!(in_base36(number), expected);
        }
    }
}
