//! The programs that are compared, each with so many blocked sources.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{MapData, PerCpuHashMap, PerCpuValues};
use aya::programs::{ProgramFd, Xdp};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use mitigator::clock::Clock;
use mitigator::config::Capacities;
use mitigator::kernel::blocks::NewBlock;
use mitigator::kernel::pins::Pins;
use mitigator::kernel::program::LoadedProgram;
use mitigator::kernel::xdp::XdpDataPlane;
use mitigator::pipeline::target::Target;
use mitigator_bench_ebpf::address_of;
use mitigator_common::{BlockOrigin, Source};

use crate::bpf;
use crate::dataplane::traffic::{Form, ipv6_source};

/// A program in the kernel, which keeps its maps as long as it is there. Pins are below the bench's directory, which is
/// removed at the end.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// For another program that goes on with it.
    pub(crate) program: ProgramFd,
    loaded: Loaded,
}

enum Loaded {
    Ours(LoadedProgram),
    /// An object, and the name of the program.
    Other(Ebpf, &'static str),
}

impl Subject {
    fn ours(mut program: LoadedProgram) -> Result<Self> {
        Ok(Self { name: OURS, program: program.descriptor()?.try_clone()?, loaded: Loaded::Ours(program) })
    }

    /// Loads the program of that name.
    pub(crate) fn other(name: &'static str, mut ebpf: Ebpf, program: &'static str) -> Result<Self> {
        let xdp = bpf::program(&mut ebpf, program)?;
        xdp.load().with_context(|| format!("the kernel refused {name}"))?;
        Ok(Self { name, program: xdp.fd()?.try_clone()?, loaded: Loaded::Other(ebpf, program) })
    }

    /// To be attached.
    pub(crate) fn xdp(&mut self) -> Result<&mut Xdp> {
        match &mut self.loaded {
            Loaded::Ours(program) => program.program_mut(),
            Loaded::Other(ebpf, program) => bpf::program(ebpf, program),
        }
    }
}

/// What bare `XDP_DROP` is called in reports.
pub(crate) const BARE_DROP: &str = "bare drop";

/// What mitigator is called in reports.
pub(crate) const OURS: &str = "mitigator";
/// The peer, as Debian's package `xdp-tools` has it: it allows what is not listed, and looks at IP addresses.
pub(crate) const XDP_FILTER: &str = "xdp-filter";
const XDP_FILTER_PROGRAM: &str = "xdpfilt_alw_ip";
/// How long mitigator's blocks are to last: longer than any run.
const LASTS: Duration = Duration::from_hours(24);
/// Blocked by its source address.
const XDP_FILTER_BY_SOURCE: u64 = 1;
/// What it is made for by default.
const XDP_FILTER_ENTRIES: u32 = 10_000;

/// mitigator with so many blocked sources, and how many instructions the verifier walked through.
pub(crate) fn ours(directory: &Path, form: Form, entries: u32) -> Result<(Subject, Option<u32>)> {
    let pins = Pins::below(directory);
    let capacities = Capacities { blocks: entries.saturating_mul(2).max(1_024), ..Capacities::default() };
    let mut program = LoadedProgram::load(&pins, &capacities)?;
    let plane = XdpDataPlane::open(&pins)?;
    let address = |number: u32| match form {
        Form::Ipv6 => IpAddr::from(Ipv6Addr::from(ipv6_source(address_of(number)))),
        Form::Ipv4 | Form::OneVlanTag | Form::TwoVlanTags => Ipv4Addr::from(address_of(number)).into(),
    };
    // So that the end is judged for each packet.
    let end = Clock::now().monotonic() + LASTS;
    let blocks: Vec<NewBlock> = (0..entries)
        .map(|number| NewBlock {
            target: Target::Source(Source::from(address(number))),
            expires_at_ns: end.ns,
            origin: BlockOrigin::Import,
        })
        .collect();
    plane.blocks().block_all(&blocks, |_| {})?;
    let instructions = program.verified_instructions()?;
    Ok((Subject::ours(program)?, instructions))
}

/// xdp-filter with so many blocked IPv4 sources.
pub(crate) fn xdp_filter(directory: &Path, entries: u32) -> Result<Subject> {
    let object = xdp_filter_object().context("it is not installed (Debian's package xdp-tools)")?;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let mut ebpf = EbpfLoader::new()
        .default_map_pin_directory(directory)
        .map_max_entries("filter_ipv4", entries.max(XDP_FILTER_ENTRIES))
        .load_file(&object)
        .with_context(|| format!("cannot load {}", object.display()))?;
    let map = ebpf.map_mut("filter_ipv4").context("xdp-filter has no map filter_ipv4")?;
    let mut sources: PerCpuHashMap<&mut MapData, u32, u64> = map.try_into()?;
    let cpus = nr_cpus().map_err(|(file, error)| anyhow::anyhow!("cannot read {file}: {error}"))?;
    for number in 0..entries {
        let value = PerCpuValues::try_from(vec![XDP_FILTER_BY_SOURCE; cpus])?;
        sources.insert(address_of(number).to_be(), value, 0)?;
    }
    Subject::other(XDP_FILTER, ebpf, XDP_FILTER_PROGRAM)
}

/// Bare `XDP_DROP`.
pub(crate) fn bare_drop() -> Result<Subject> {
    let ebpf = EbpfLoader::new().load(bpf::OBJECT).context("cannot make the bench's own BPF maps")?;
    Subject::other(BARE_DROP, ebpf, "drop_all")
}

/// Where Debian's package puts it.
fn xdp_filter_object() -> Option<PathBuf> {
    let file = format!("{XDP_FILTER_PROGRAM}.o");
    let directories = ["/usr/lib/x86_64-linux-gnu/bpf", "/usr/lib/aarch64-linux-gnu/bpf", "/usr/lib/bpf"];
    directories.iter().map(|directory| Path::new(directory).join(&file)).find(|path| path.exists())
}
