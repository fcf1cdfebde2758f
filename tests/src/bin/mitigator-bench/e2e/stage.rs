//! Where floods are sent: two hosts of a lab and a veth pair between them, with a meter of what arrives and of what gets
//! past the contender that is on.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mitigator_tests::lab::{Core, Host, Interface, Lab, Offload, Switch};

use super::flood::{Generator, Sent};

/// Where floods go.
pub(crate) const RECEIVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const SENDER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The discard service, which nobody offers here: what gets through to it is counted by the kernel.
pub(crate) const UNUSED_PORT: u16 = 9;
/// Packets with which the meter is tried.
const TRIAL: u64 = 2_000;
/// How often, a millisecond each, what was sent is given time to arrive.
const PATIENCE: u32 = 50;

/// Two hosts; dropping it takes them away.
pub(crate) struct Stage {
    sender: Interface,
    pub(crate) receiver: Interface,
    pub(crate) victim: Host,
    /// Where nothing arrives.
    pub(crate) idle: Interface,
    _lab: Lab,
}

/// What a flood came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flooded {
    pub(crate) sent: Sent,
    /// Packets that were taken from the queue of the receiver.
    pub(crate) seen: u64,
    /// Packets that reached the port.
    pub(crate) leaked: u64,
}

#[derive(Clone, Copy)]
struct Counted {
    seen: u64,
    leaked: u64,
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let (outside, victim) = (lab.host("outside")?, lab.host("victim")?);
        for host in [&outside, &victim] {
            // Hosts that have no IPv6 do not announce it, so that nothing but the flood is on the links.
            let _there_may_be_none = host.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
        }
        let (sender, receiver) = lab.link(&outside, &victim)?;
        let (idle, _) = lab.link(&outside, &outside)?;
        sender.add_addresses(&[format!("{SENDER}/16").parse()?])?;
        receiver.add_addresses(&[format!("{RECEIVER}/16").parse()?])?;
        receiver.add_neighbours(&[SENDER.into()], sender.mac())?;
        // What answers there are for forged sources go back; a source that is not believed would hide a leak.
        victim.ip_batch(&[format!("route replace default via {SENDER} dev {}", receiver.name())])?;
        for interface in ["all", "default", receiver.name()] {
            victim.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
        }
        // Without a program of its own the receiver takes such frames only with this.
        receiver.set_offload(Offload::ReceiveJoining, Switch::On)?;
        Ok(Self { sender, receiver, victim, idle, _lab: lab })
    }

    /// Floods the receiver.
    pub(crate) fn flood(&self, generator: &mut Generator, sources: u32, packets: u64) -> Result<Flooded> {
        let before = self.counted()?;
        let sent = generator.send(&self.sender, &self.receiver, sources, packets)?;
        let mut after = self.counted()?;
        for _ in 0..PATIENCE {
            if after.seen - before.seen >= sent.packets {
                break;
            }
            wait();
            after = self.counted()?;
        }
        Ok(Flooded { sent, seen: after.seen - before.seen, leaked: after.leaked - before.leaked })
    }

    /// Sees to it that packets which nobody stops are counted as leaks.
    pub(crate) fn try_meter(&self, generator: &mut Generator) -> Result<()> {
        let flooded = self.flood(generator, 1, TRIAL)?;
        ensure!(
            flooded.seen >= TRIAL && flooded.leaked == TRIAL,
            "of {TRIAL} packets that nobody stopped {} were seen and {} reached the port; nothing could be measured",
            flooded.seen,
            flooded.leaked
        );
        Ok(())
    }

    fn counted(&self) -> Result<Counted> {
        let seen = self.receiver.counters()?.received_packets;
        let table = self
            .victim
            .enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))?
            .context("cannot read what reached the victim")?;
        let leaked = no_ports(&table).context("the kernel does not count packets for unused ports")?;
        Ok(Counted { seen, leaked })
    }
}

/// The core of the floods: the last one that there is for the bench, as the first serves most interrupts.
pub(crate) fn core() -> Result<Core> {
    Core::usable()?.pop().context("there is no core to run on")
}

/// UDP packets for ports on which nobody listens.
fn no_ports(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let (_, number) =
        names.split_whitespace().zip(numbers.split_whitespace()).find(|(name, _)| *name == "NoPorts")?;
    number.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "waiting for what is on its way")]
fn wait() {
    std::thread::sleep(Duration::from_millis(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_packets_that_nobody_wanted() {
        let table = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts InErrors\nUdp: 3 14 15\nUdpLite: NoPorts\nUdpLite: 9\n";
        assert_eq!(no_ports(table), Some(14));
        assert_eq!(no_ports("Udp: NoPorts\n"), None);
    }
}
