//! What stands between the flood and the victim: XDP programs, nftables, iptables with ipset. Tables are filled once and
//! stay; only the hook is set and taken away.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use aya::programs::XdpMode;
use mitigator_bench_ebpf::address_of;
use mitigator_tests::lab::{Host, Interface, find_program};

use super::stage::Stage;
use crate::subject::Subject;

/// Something that drops what comes from blocked sources, and can be switched on and off.
pub(crate) struct Contender {
    pub(crate) name: String,
    hook: Hook,
}

enum Hook {
    Xdp { subject: Subject, mode: XdpMode },
    Commands { victim: Host, set: Call, take_away: Call },
}

/// A program, its arguments, and what it reads.
struct Call {
    program: PathBuf,
    arguments: Vec<String>,
    input: String,
}

/// The peers' names.
pub(crate) const NFTABLES: &str = "nftables netdev";
pub(crate) const IPSET: &str = "iptables raw + ipset";

impl Contender {
    /// An XDP program in the driver of the interface.
    pub(crate) fn native(subject: Subject) -> Self {
        Self { name: subject.name.to_owned(), hook: Hook::Xdp { subject, mode: XdpMode::Driver } }
    }

    /// An XDP program in front of the stack, as on interfaces whose driver has no XDP.
    pub(crate) fn generic(subject: Subject) -> Self {
        Self { name: format!("{}, generic", subject.name), hook: Hook::Xdp { subject, mode: XdpMode::Skb } }
    }

    /// nftables at the ingress of the interface, with a set of addresses.
    pub(crate) fn nftables(stage: &Stage, entries: u32) -> Result<Self> {
        let nft = find_program("nft").context("it is not installed (Debian's package nftables)")?;
        let call = |input: String| Call { program: nft.clone(), arguments: words("-f -"), input };
        let table = format!(
            "table netdev bench {{\nset blocked {{\ntype ipv4_addr\nsize {}\nelements = {{\n{}\n}}\n}}\n}}\n",
            entries.max(LEAST_SIZE),
            addresses(entries).collect::<Vec<_>>().join(",\n")
        );
        call(table).run(&stage.victim)?;
        let interface = stage.receiver.name();
        let set = call(format!(
            "add chain netdev bench drops {{ type filter hook ingress device {interface} priority -500; }}\n\
             add rule netdev bench drops ip saddr @blocked drop\n"
        ));
        let take_away = call("delete chain netdev bench drops\n".to_owned());
        Ok(Self {
            name: NFTABLES.to_owned(),
            hook: Hook::Commands { victim: stage.victim.clone(), set, take_away },
        })
    }

    /// iptables in its raw table, before connections are tracked, with a set of ipset's.
    pub(crate) fn ipset(stage: &Stage, entries: u32) -> Result<Self> {
        let ipset = find_program("ipset").context("ipset is not installed (Debian's package ipset)")?;
        let iptables = find_program("iptables-legacy")
            .or_else(|| find_program("iptables"))
            .context("iptables is not installed (Debian's package iptables)")?;
        let mut input = format!("create blocked hash:ip maxelem {}\n", entries.max(LEAST_SIZE));
        for address in addresses(entries) {
            writeln!(input, "add blocked {address}")?;
        }
        Call { program: ipset, arguments: words("restore"), input }.run(&stage.victim)?;
        let call = |arguments: &str| Call {
            program: iptables.clone(),
            arguments: words(arguments),
            input: String::new(),
        };
        let set = call("-t raw -A PREROUTING -m set --match-set blocked src -j DROP");
        let take_away = call("-t raw -F PREROUTING");
        Ok(Self {
            name: IPSET.to_owned(),
            hook: Hook::Commands { victim: stage.victim.clone(), set, take_away },
        })
    }

    /// Does `work` while it drops.
    pub(crate) fn while_on<T>(
        &mut self,
        receiver: &Interface,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        match &mut self.hook {
            Hook::Xdp { subject, mode } => {
                let (program, mode) = (subject.xdp()?, *mode);
                let attached =
                    receiver.host().enter(|| program.attach_to_if_index(receiver.index(), mode))?;
                let link = attached.with_context(|| format!("cannot attach {} in this mode", self.name))?;
                let done = work();
                subject.xdp()?.detach(link).with_context(|| format!("cannot detach {}", self.name))?;
                done
            }
            Hook::Commands { victim, set, take_away } => {
                set.run(victim)?;
                let done = work();
                take_away.run(victim)?;
                done
            }
        }
    }
}

/// Some do not take sets of one.
const LEAST_SIZE: u32 = 1_024;

fn addresses(entries: u32) -> impl Iterator<Item = String> {
    (0..entries).map(|number| Ipv4Addr::from(address_of(number)).to_string())
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

impl Call {
    fn run(&self, host: &Host) -> Result<()> {
        let Self { program, arguments, input } = self;
        let mut command = host.command(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut pipe = child.stdin.take().context("a program without standard input")?;
        let written = pipe.write_all(input.as_bytes());
        drop(pipe);
        let output =
            child.wait_with_output().with_context(|| format!("cannot wait for {}", program.display()))?;
        // Some repeat the whole of their input.
        let said = String::from_utf8_lossy(output.stderr.get(..1_000).unwrap_or(&output.stderr)).into_owned();
        ensure!(output.status.success(), "{} {}: {}", program.display(), arguments.join(" "), said.trim());
        written.with_context(|| format!("cannot tell {} what to do", program.display()))
    }
}
