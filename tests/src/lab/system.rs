//! The raw system calls of the lab, behind safe functions: what a child does between fork and exec, ethtool,
//! packet sockets that send many frames at once, and the question whether bpf(2) is allowed.
#![expect(unsafe_code, reason = "the one module of the test stage that makes raw system calls")]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Core, Offload, Switch};

/// Frames that one call sends; a quarter of a veth queue, so that a burst alone never fills it.
pub(crate) const FRAMES_PER_CALL: usize = 64;

// From linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct EthtoolDriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// The attributes of `BPF_MAP_CREATE` that every kernel knows.
#[repr(C)]
struct BpfMapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

pub(super) fn enter_namespace(command: &mut Command, namespace: Arc<File>) {
    // SAFETY: between fork and exec only one system call is made, on a descriptor that the closure keeps open.
    unsafe {
        command.pre_exec(move || Ok(setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?));
    }
}

pub(super) fn pin_to_core(command: &mut Command, core: Core) {
    // SAFETY: between fork and exec only one system call is made; the set lives on the stack.
    unsafe {
        command.pre_exec(move || {
            let mut cores = CpuSet::new();
            cores.set(core.0)?;
            Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
        });
    }
}

pub(super) fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only one system call is made.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?));
    }
}

/// Priorities of threads that any process has to make way for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RealTime {
    Lowest = 1,
    /// Before those of the lowest.
    BeforeOthers = 2,
}

/// Has a thread run whenever it can, before all processes of ordinary priority on its core.
pub(super) fn prefer_over_processes(thread: Pid, priority: RealTime) -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: priority as libc::c_int };
    // SAFETY: the parameter is only read during the call.
    checked(unsafe { libc::sched_setscheduler(thread.as_raw(), libc::SCHED_FIFO, &raw const priority) })
        .map(drop)
}

/// Gives the calling thread most of a core that it has to share: some thirty times what a process of ordinary priority gets.
pub(super) fn favour_this_thread() -> io::Result<()> {
    const THIS_THREAD: libc::id_t = 0;
    const NICENESS: libc::c_int = -15;
    // SAFETY: takes numbers only.
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, THIS_THREAD, NICENESS) }).map(drop)
}

/// Switches an offload of an interface of the calling thread's namespace.
pub(super) fn set_offload(interface: &str, offload: Offload, switch: Switch) -> io::Result<()> {
    let command = match offload {
        Offload::TcpSegmentation => ETHTOOL_STSO,
        Offload::Segmentation => ETHTOOL_SGSO,
        Offload::ReceiveJoining => ETHTOOL_SGRO,
        Offload::SendChecksums => ETHTOOL_STXCSUM,
    };
    ethtool(interface, &mut EthtoolValue { command, data: u32::from(switch == Switch::On) })
}

/// The name of the driver behind an interface of the calling thread's namespace.
pub(crate) fn driver_of(interface: &str) -> io::Result<String> {
    let mut info = EthtoolDriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    ethtool(interface, &mut info)?;
    Ok(String::from_utf8_lossy(&info.driver).trim_end_matches('\0').to_owned())
}

/// `T` must be the structure that its command expects.
fn ethtool<T>(interface: &str, argument: &mut T) -> io::Result<()> {
    let socket = new_socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: `ifreq` is plain numbers and pointers, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(argument).cast();
    // SAFETY: the name ends in zero, and the two callers pass the structure of their command, alive across the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    checked(answer).map(drop)
}

/// Makes the smallest BPF map there is and lets go of it: an error says why BPF cannot be used.
pub(super) fn try_bpf() -> io::Result<()> {
    let mut array = BpfMapCreate { map_type: 2, key_size: 4, value_size: 4, max_entries: 1, map_flags: 0 };
    let size = size_of::<BpfMapCreate>();
    // SAFETY: command 0 reads `size` bytes of `array` and answers with a descriptor or -1.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, 0, &raw mut array, size) };
    let descriptor = checked(i32::try_from(answer).unwrap_or(-1))?;
    // SAFETY: the kernel has just given it to us.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

/// A socket that sends whole Ethernet frames out of one interface, past its queueing discipline.
#[derive(Debug)]
pub(crate) struct FrameSocket {
    socket: OwnedFd,
}

impl FrameSocket {
    /// Opens one for interface number `index` of the calling thread's namespace. It receives nothing.
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let socket = new_socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        let one: libc::c_int = 1;
        // SAFETY: the option takes an int, which outlives the call.
        checked(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                (&raw const one).cast::<c_void>(),
                size_of_as_length::<libc::c_int>(),
            )
        })?;
        // SAFETY: `sockaddr_ll` is plain numbers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET.cast_unsigned().try_into().map_err(io::Error::other)?;
        address.sll_ifindex = index.cast_signed();
        // SAFETY: the address is a `sockaddr_ll` of the stated length.
        checked(unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_as_length::<libc::sockaddr_ll>(),
            )
        })?;
        Ok(Self { socket })
    }

    /// Sends the first [`FRAMES_PER_CALL`] of `frames`; how many left. A frame for which the receiver's queue had
    /// no room has left as well, and is lost as on a full NIC.
    pub(crate) fn send(&self, frames: &[&[u8]]) -> io::Result<usize> {
        // SAFETY: both are plain numbers and pointers, for all of which zero is a value.
        let mut parts: [libc::iovec; FRAMES_PER_CALL] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; FRAMES_PER_CALL] = unsafe { zeroed() };
        for ((frame, part), message) in frames.iter().zip(&mut parts).zip(&mut messages) {
            *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let count = frames.len().min(FRAMES_PER_CALL);
        let mut left = 0;
        while left < count {
            let rest = &mut messages[left..count];
            let length = libc::c_uint::try_from(rest.len()).expect("at most FRAMES_PER_CALL");
            // SAFETY: all messages of `rest` point to live parts, and those to live frames that are only read.
            let answer = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), rest.as_mut_ptr(), length, 0) };
            left += match checked(answer) {
                Ok(sent) => usize::try_from(sent).unwrap_or(0),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => 1,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                Err(error) => return Err(error),
            };
        }
        Ok(left)
    }
}

fn new_socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes three numbers.
    let descriptor = checked(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn size_of_as_length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("socket structures are small")
}

fn checked(answer: i32) -> io::Result<i32> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
