//! The flood: frames that the kernel itself makes (live frames of its test run) and puts into a veth, each from another
//! of the sources; bounded in time and in number.
#![expect(unsafe_code, reason = "a map value of the bench's own, as plain bytes")]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::{Array, MapData};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, XdpMode};
use aya::{Ebpf, EbpfLoader};
use etherparse::{Ipv4HeaderSlice, PacketBuilder};
use mitigator_bench_ebpf::Flood;
use mitigator_tests::lab::{Core, Interface};
use mitigator_tests::traffic::Permit;
use nix::errno::Errno;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::stage::{RECEIVER, UNUSED_PORT};
use crate::bpf;

/// Frames of one system call, within which nobody looks at the time: a tenth of a second at most.
const FRAMES_PER_CALL: u32 = 65_536;
/// Frames that the kernel makes and sends at a time; a quarter of a veth's queue, which therefore never overflows.
const BATCH: u32 = 64;
/// Ends every flood, however many frames are left.
const LONGEST: Duration = Duration::from_secs(10);

/// Sends floods from one core.
pub(crate) struct Generator {
    ebpf: Ebpf,
    flood: Array<MapData, Control>,
    /// Does on the core what is left of receiving when it is too much at once.
    receiver: Option<ClockId>,
    state: u64,
    held: Option<XdpLinkId>,
}

/// What a flood took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    /// CPU time of everything that was done on the core for them: made, sent, received and judged.
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
}

impl Sent {
    /// CPU time per packet.
    #[expect(clippy::cast_precision_loss, reason = "floods are short")]
    pub(crate) fn ns_per_packet(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.packets as f64
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Control(Flood);

// SAFETY: numbers without padding, which is checked where it stands; any bytes are one.
unsafe impl aya::Pod for Control {}

impl Generator {
    /// For the core on which the calling thread stays.
    pub(crate) fn load(core: Core) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(bpf::OBJECT).context("cannot make the bench's own BPF maps")?;
        bpf::program(&mut ebpf, "flood")?.load().context("the kernel refused `flood`")?;
        let flood = Array::try_from(ebpf.take_map("FLOOD").context("no map FLOOD")?)?;
        let receiver = thread_called(&format!("ksoftirqd/{}", core.0));
        let receiver = receiver.and_then(|pid| clock_getcpuclockid(pid).ok());
        Ok(Self { ebpf, flood, receiver, state: 0x853c_49e6_748f_ea9b, held: None })
    }

    /// Attaches the generator to an interface where nothing arrives. The kernel keeps a list of XDP programs that it may
    /// call directly; a test run of one that is not there changes the list twice, and waits for all cores each time.
    pub(crate) fn hold(&mut self, idle: &Interface) -> Result<()> {
        let program = bpf::program(&mut self.ebpf, "flood")?;
        if let Some(held) = self.held.take() {
            program.detach(held).context("cannot take the generator from the idle interface")?;
        }
        let attached = idle.host().enter(|| program.attach_to_if_index(idle.index(), XdpMode::Driver))?;
        self.held = Some(attached.context("cannot attach the generator to an idle interface")?);
        Ok(())
    }

    /// Sends so many packets of the first `sources` sources from one end of a lab's veth pair to the other.
    ///
    /// # Errors
    ///
    /// When the interface is not a lab's veth, the kernel has no live frames (before 5.18), or the time was up.
    pub(crate) fn send(
        &mut self,
        from: &Interface,
        to: &Interface,
        sources: u32,
        packets: u64,
    ) -> Result<Sent> {
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let permit = Permit::obtain(from, LONGEST)?;
                self.send_here(&permit, from, to, sources, packets)
            });
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn send_here(
        &mut self,
        permit: &Permit,
        from: &Interface,
        to: &Interface,
        sources: u32,
        packets: u64,
    ) -> Result<Sent> {
        let frame = frame(from.mac(), to.mac())?;
        let flood = Flood {
            sources: sources.into(),
            state: self.state,
            sent: 0,
            interface: permit.interface_index(),
            header_sum: sum_of_header(&frame)?,
        };
        self.flood.set(0, Control(flood), 0)?;
        let (began, cpu_before) = (now(), self.cpu_time()?);
        let mut left = packets;
        while left > 0 {
            ensure!(began.elapsed() < LONGEST, "{left} of {packets} packets were left after {LONGEST:?}");
            #[expect(clippy::cast_possible_truncation, reason = "bounded")]
            let call = left.min(FRAMES_PER_CALL.into()) as u32;
            self.call(&frame, call)?;
            left -= u64::from(call);
        }
        let (wall, cpu) = (began.elapsed(), self.cpu_time()?.saturating_sub(cpu_before));
        let Control(after) = self.flood.get(&0, 0)?;
        self.state = after.state;
        Ok(Sent { packets: after.sent, cpu, wall })
    }

    fn call(&mut self, frame: &[u8], frames: u32) -> Result<()> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = frames;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        match bpf::program(&mut self.ebpf, "flood")?.test_run(options) {
            Ok(_) => Ok(()),
            // A frame found no room at the receiver, which the counters there show.
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(Errno::ENOSPC as i32) =>
            {
                Ok(())
            }
            Err(error) => Err(anyhow!(error).context(
                "the kernel sends no frames of its own (live frames of test runs came with Linux 5.18)",
            )),
        }
    }

    /// Of this thread, in which packets are received as well, and of the one that the kernel has for what is left.
    fn cpu_time(&self) -> Result<Duration> {
        let own = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("cannot read the CPU time")?;
        let receiver = self.receiver.map(clock_gettime).transpose().context("cannot read a CPU time")?;
        Ok(Duration::from(own) + receiver.map_or(Duration::ZERO, Duration::from))
    }
}

/// A UDP packet for a port on which nobody listens, without the checksum that IPv4 leaves to the sender's choice.
fn frame(from_mac: [u8; 6], to_mac: [u8; 6]) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2(from_mac, to_mac).ipv4([0; 4], RECEIVER.octets(), 64);
    packet.udp(40_000, UNUSED_PORT).write(&mut frame, &[0; 18])?;
    let checksum = frame.get_mut(40..42).context("a UDP packet has a checksum")?;
    checksum.fill(0);
    Ok(frame)
}

/// Of its 16-bit words, but source and checksum, which the program writes.
fn sum_of_header(frame: &[u8]) -> Result<u32> {
    let header = Ipv4HeaderSlice::from_slice(frame.get(14..).context("a frame without a packet")?)?;
    let words = header.slice().chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    Ok(words.sum::<u32>() - u32::from(header.header_checksum()))
}

fn thread_called(name: &str) -> Option<Pid> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_wanted = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    pids.find(is_wanted).map(Pid::from_raw)
}

#[expect(clippy::disallowed_methods, reason = "a bench asks the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_the_header_gives_its_checksum() {
        let frame = frame([2; 6], [4; 6]).unwrap();
        let header = Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap();
        let sum = sum_of_header(&frame).unwrap();
        let folded = (sum & 0xffff) + (sum >> 16);
        assert_eq!(u16::try_from(folded).unwrap(), !header.to_header().calc_header_checksum());
        assert_eq!(&frame[40..42], [0, 0]);
    }
}
