//! The lab's own BPF programs at an interface: they keep the clients, who share a link with the generator, apart from what
//! it sends and from what forged senders are answered.

use anyhow::{Context, Result};
use aya::programs::xdp::XdpMode;
use aya::programs::{SchedClassifier, TcAttachType, Xdp, tc};
use aya::{Ebpf, EbpfLoader};

use super::{Core, Host, Interface};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/bench.o"));
const ELSEWHERE: &str = "elsewhere";
const APART: &str = "apart";
const STACK_QUEUE: &str = "STACK_QUEUE";

/// A program that works at an interface while this lives.
#[derive(Debug)]
pub struct Attached {
    host: Host,
    ebpf: Option<Ebpf>,
}

impl Interface {
    /// Has an XDP program take away what is meant for hosts outside of the lab: IPv4 packets for addresses outside of
    /// 198.18.0.0/15.
    ///
    /// A veth also takes what the other end's native XDP program sends back only while it has a program of its own.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the program.
    pub fn drop_what_goes_elsewhere(&self) -> Result<Attached> {
        self.attach(&mut EbpfLoader::new(), ELSEWHERE, |ebpf| {
            let program: &mut Xdp = program(ebpf, ELSEWHERE)?.try_into()?;
            program.load()?;
            Ok(program.attach(self.name(), XdpMode::Driver).map(drop)?)
        })
    }

    /// Of the two queues of its link, has the host's own stack send by another than floods from `core`, as if two
    /// machines sent them. A flood goes past the queueing discipline, and so by the queue with its core's number, modulo
    /// two.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the program.
    pub fn send_apart_from_floods(&self, core: Core) -> Result<Attached> {
        let stack_queue = u32::try_from(core.other_queue()).expect("there are two");
        self.attach(EbpfLoader::new().override_global(STACK_QUEUE, &stack_queue, true), APART, |ebpf| {
            let program: &mut SchedClassifier = program(ebpf, APART)?.try_into()?;
            program.load()?;
            // Kernels before 6.6 attach to this queueing discipline; where it is missing, attaching says so.
            let _ = tc::qdisc_add_clsact(self.name());
            Ok(program.attach(self.name(), TcAttachType::Egress).map(drop)?)
        })
    }

    fn attach(
        &self,
        loader: &mut EbpfLoader<'_>,
        name: &str,
        load_and_attach: impl FnOnce(&mut Ebpf) -> Result<()> + Send,
    ) -> Result<Attached> {
        let mut ebpf = loader.load(OBJECT).context("cannot load the lab's own BPF programs")?;
        self.host()
            .enter(|| load_and_attach(&mut ebpf))?
            .with_context(|| format!("cannot attach `{name}` to `{}`", self.name()))?;
        Ok(Attached { host: self.host().clone(), ebpf: Some(ebpf) })
    }
}

impl Drop for Attached {
    /// Kernels before 6.6 detach a classifier by its interface's number, which means another interface in another namespace.
    fn drop(&mut self) {
        if self.host.enter(|| drop(self.ebpf.take())).is_err() {
            // The host is gone, and its interfaces with it; the rest ends with this program.
            std::mem::forget(self.ebpf.take());
        }
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program> {
    ebpf.program_mut(name).with_context(|| format!("no program {name}"))
}
