//! Bursts of packets through a program by the kernel's own test run, each packet from another source.
//!
//! A test run repeats one packet, which would find every table in the cache. So what is run is a program of the bench
//! that writes another source into the packet and then goes on with the program under test, which is as it is used.
//! Bare drops go the same way, and what they take is taken off.
#![expect(unsafe_code, reason = "a map value of the bench's own, as plain bytes")]

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use etherparse::{PacketBuilder, PacketBuilderStep, VlanId};
use mitigator::kernel::program::Action;
use mitigator_bench_ebpf::Burst;

use crate::bpf;

/// Where the numbers of sources begin that send and are not blocked, and of those that were never there before.
const GOOD: u32 = 100_000_000;
const FORGED: u32 = 200_000_000;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Senders {
    /// So many that are blocked, at random.
    Blocked(u32),
    /// So many that are not, at random.
    Good(u32),
    /// Each packet from one that was never there before.
    Forged,
}

impl Senders {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Blocked(_) => "blocked",
            Self::Good(_) => "good",
            Self::Forged => "forged",
        }
    }

    /// How many there are; `None` where there is no end of them.
    pub(crate) const fn number(self) -> Option<u32> {
        match self {
            Self::Blocked(number) | Self::Good(number) => Some(number),
            Self::Forged => None,
        }
    }

    /// Those that a program may come to know.
    pub(crate) const fn known(self) -> u32 {
        if let Self::Good(number) = self { number } else { 0 }
    }
}

/// What the packets look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    Ipv4,
    OneVlanTag,
    TwoVlanTags,
    Ipv6,
}

impl Form {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::OneVlanTag => "IPv4, one VLAN tag",
            Self::TwoVlanTags => "IPv4, two VLAN tags",
            Self::Ipv6 => "IPv6",
        }
    }

    /// The first half of the number by which a source is known, where that is of both halves.
    const fn before(self) -> u64 {
        match self {
            Self::Ipv4 | Self::OneVlanTag | Self::TwoVlanTags => 0,
            Self::Ipv6 => IPV6_BEFORE as u64,
        }
    }

    /// A packet, and where in it the bytes stand that tell sources apart: the address, or the first half of an IPv6
    /// one.
    fn packet(self) -> Result<(Vec<u8>, u32)> {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let (from, to) = ([0; 4], [198, 18, 0, 1]);
        let tag = |number| VlanId::try_new(number).context("a VLAN id");
        let (step, offset): (PacketBuilderStep<etherparse::IpHeaders>, u32) = match self {
            Self::Ipv4 => (ethernet.ipv4(from, to, 64), 26),
            Self::OneVlanTag => (ethernet.single_vlan(tag(7)?).ipv4(from, to, 64), 30),
            Self::TwoVlanTags => (ethernet.double_vlan(tag(7)?, tag(8)?).ipv4(from, to, 64), 34),
            Self::Ipv6 => (ethernet.ipv6(ipv6_source(0), [0x30; 16], 64), 22),
        };
        let mut packet = Vec::new();
        step.udp(40_000, 53).write(&mut packet, &[0; 18])?;
        Ok((packet, offset))
    }
}

/// The first two groups of every IPv6 source.
const IPV6_BEFORE: u32 = 0x2001_0db8;

/// The IPv6 address of the source with these four bytes.
pub(crate) const fn ipv6_source(bytes: u32) -> [u8; 16] {
    ((IPV6_BEFORE as u128) << 96 | (bytes as u128) << 64 | 1).to_be_bytes()
}

/// What a burst took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) ns_per_packet: f64,
    /// What became of the last packet.
    pub(crate) is_dropped: bool,
}

/// Sends bursts.
pub(crate) struct Generator {
    ebpf: Ebpf,
    burst: Array<MapData, Control>,
    under_test: ProgramArray<MapData>,
    bare_drop: ProgramFd,
    random: u64,
    forged: u64,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Control(Burst);

// SAFETY: numbers without padding, which is checked where it stands; any bytes are one.
unsafe impl aya::Pod for Control {}

impl Generator {
    pub(crate) fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(bpf::OBJECT).context("cannot make the bench's own BPF maps")?;
        for name in ["vary", "drop_all"] {
            bpf::program(&mut ebpf, name)?.load().with_context(|| format!("the kernel refused `{name}`"))?;
        }
        let bare_drop = bpf::program(&mut ebpf, "drop_all")?.fd()?.try_clone()?;
        let mut map = |name: &str| ebpf.take_map(name).with_context(|| format!("no map {name}"));
        let burst = Array::try_from(map("BURST")?)?;
        let under_test = ProgramArray::try_from(map("UNDER_TEST")?)?;
        Ok(Self { ebpf, burst, under_test, bare_drop, random: 0x853c_49e6_748f_ea9b, forged: 0 })
    }

    /// The next forged sources are the first ones again.
    pub(crate) const fn begin_again(&mut self) {
        self.forged = 0;
    }

    /// A burst through bare `XDP_DROP`.
    pub(crate) fn drop_all(&mut self, form: Form, senders: Senders, packets: u32) -> Result<Took> {
        let program = self.bare_drop.try_clone()?;
        self.send(&program, form, senders, packets)
    }

    /// A burst through a program.
    pub(crate) fn send(
        &mut self,
        under_test: &ProgramFd,
        form: Form,
        senders: Senders,
        packets: u32,
    ) -> Result<Took> {
        let (packet, offset) = form.packet()?;
        let (first, sources, state) = match senders {
            Senders::Blocked(sources) => (0, u64::from(sources), self.random),
            Senders::Good(sources) => (GOOD, u64::from(sources), self.random),
            Senders::Forged => (FORGED, 0, self.forged),
        };
        let before = form.before();
        let burst =
            Burst { packets: packets.into(), offset, first, sources, state, before, ..Burst::default() };
        self.burst.set(0, Control(burst), 0)?;
        self.under_test.set(0, under_test, 0).context("the kernel will not go on with the program")?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.repeat = packets;
        let result = bpf::program(&mut self.ebpf, "vary")?.test_run(options).context("a test run failed")?;
        let Control(after) = self.burst.get(&0, 0)?;
        match senders {
            Senders::Forged => self.forged = after.state,
            Senders::Blocked(_) | Senders::Good(_) => self.random = after.state,
        }
        ensure!(after.done == burst.packets, "{} of {packets} packets were sent", after.done);
        #[expect(clippy::cast_precision_loss, reason = "bursts are short")]
        let ns_per_packet = (after.ended_ns - after.began_ns) as f64 / f64::from(packets - 1);
        Ok(Took { ns_per_packet, is_dropped: Action::of(result.return_value)? == Action::Drop })
    }
}
