//! `MappedLines`: lines of the block table in this process's memory, so that writing one takes no system call.
#![expect(unsafe_code, reason = "maps the memory of a BPF array, whose lines are shared numbers")]

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::Duration;

use mitigator_ebpf::block_table::{LiveHeader, LiveLine};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::{MembarrierCommand, membarrier};

// One cache line each, as the kernel has them.
const _: () = assert!(size_of::<LiveLine>() == 64 && size_of::<LiveHeader>() == 64);

/// Some lines of the map, from a page's start on, as long as this lives.
#[derive(Debug)]
pub(super) struct MappedLines {
    start: NonNull<LiveLine>,
    count: usize,
}

// SAFETY: the memory stays mapped until it is dropped, and all that lies in it are shared numbers.
unsafe impl Send for MappedLines {}
// SAFETY: as above.
unsafe impl Sync for MappedLines {}

impl MappedLines {
    /// Maps `count` lines from the line `first` on, which begins a page. The map is made for it (5.5).
    pub(super) fn new(map: BorrowedFd<'_>, first: u32, count: u32) -> io::Result<Self> {
        let count = count as usize;
        let offset = u64::from(first) * size_of::<LiveLine>() as u64;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice, of which nobody knows yet.
        let start = unsafe {
            let bytes = count * size_of::<LiveLine>();
            mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, map, offset)?
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { start, count })
    }

    /// The lines.
    pub(super) fn lines(&self) -> &[LiveLine] {
        // SAFETY: so many lines are mapped, aligned to a page, for as long as `self` lives; whoever else writes
        // them does so by atomic stores, too, and any bytes are a line.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }

    /// The first line as the header that it is when the mapping begins with the map.
    pub(super) fn header(&self) -> &LiveHeader {
        // SAFETY: as above; a header is as large as a line, and any bytes are one.
        unsafe { self.start.cast::<LiveHeader>().as_ref() }
    }
}

impl Drop for MappedLines {
    fn drop(&mut self) {
        let bytes = self.count * size_of::<LiveLine>();
        // SAFETY: what `new` mapped, to which no reference is left.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), bytes) } {
            tracing::error!("cannot unmap the block table: {error}");
        }
    }
}

/// How long a packet may take at most where the kernel cannot tell.
const LONGEST_PACKET: Duration = Duration::from_millis(50);

/// Returns when every packet that is being judged at this moment has been. `MEMBARRIER_CMD_GLOBAL` (4.3) waits for
/// a grace period of RCU, under which XDP programs run; some kernels with `nohz_full` refuse it.
#[expect(clippy::disallowed_methods, reason = "where the kernel cannot wait for us")]
pub(super) fn wait_for_packets() {
    if membarrier(MembarrierCommand::Global).is_err() {
        std::thread::sleep(LONGEST_PACKET);
    }
}
