//! `Mapped`: values of an array map in this process's memory, so that reading or writing one takes no system call.
#![expect(unsafe_code, reason = "maps the memory of a BPF array, whose values are shared numbers")]

use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::Duration;

use mitigator_ebpf::block_table::{LiveHeader, LiveHits, LiveLine, LiveMarks, LiveWriterState};
use mitigator_ebpf::counters::{OwnersLine, RowDetails};
use mitigator_ebpf::source_table::LiveBucket;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rustix::param::page_size;
use rustix::thread::{MembarrierCommand, membarrier};

// Both stand in place of a line.
const _: () = assert!(size_of::<LiveLine>() == size_of::<LiveHeader>());
const _: () = assert!(size_of::<LiveLine>() == size_of::<LiveWriterState>());

/// Values that any bytes are one of, of which all are shared numbers, and which are as large as the kernel has them: a
/// multiple of 8 bytes.
pub(super) trait Shared {}

impl Shared for LiveLine {}
impl Shared for LiveHits {}
impl Shared for LiveMarks {}
impl Shared for LiveBucket {}
impl Shared for OwnersLine {}
impl Shared for RowDetails {}

/// Some values of a map that is made for it (5.5), as long as this lives.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    start: NonNull<T>,
    count: usize,
    /// Bytes that are mapped before the first value, because its page begins there.
    before: usize,
}

// SAFETY: the memory stays mapped until it is dropped, and all that lies in it are shared numbers.
unsafe impl<T: Shared> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapped<T> {}

impl<T: Shared> Mapped<T> {
    /// Maps `count` values from the value `first` on.
    pub(super) fn new(map: BorrowedFd<'_>, first: u32, count: u32) -> io::Result<Self> {
        let count = count as usize;
        let offset = first as usize * size_of::<T>();
        let before = offset % page_size();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice, of which nobody knows yet; the first value
        // lies in it, as far from the page's start as in the map.
        let start = unsafe {
            let bytes = before + count * size_of::<T>();
            mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, map, (offset - before) as u64)?
                .byte_add(before)
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { start, count, before })
    }

    /// The values.
    pub(super) fn values(&self) -> &[T] {
        // SAFETY: so many values are mapped, aligned as they are in the map, for as long as `self` lives; whoever else writes
        // them does so by atomic stores, too, and any bytes are one.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Mapped<LiveLine> {
    /// The first line as the header that it is when the mapping begins with the map.
    pub(super) fn header(&self) -> &LiveHeader {
        // SAFETY: as above; a header is as large as a line, and any bytes are one.
        unsafe { self.start.cast::<LiveHeader>().as_ref() }
    }

    /// The second line of such a mapping, of two lines or more, as the writers' state that it is.
    pub(super) fn writer_state(&self) -> &LiveWriterState {
        assert!(self.count > 1, "the second line is not mapped");
        // SAFETY: as above.
        unsafe { self.start.add(1).cast::<LiveWriterState>().as_ref() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        let bytes = self.before + self.count * size_of::<T>();
        // SAFETY: what `new` mapped, to which no reference is left.
        let unmapped = unsafe { munmap(self.start.as_ptr().byte_sub(self.before).cast::<c_void>(), bytes) };
        if let Err(error) = unmapped {
            tracing::error!("cannot unmap the memory of a BPF map: {error}");
        }
    }
}

/// What is less gets no large page.
const LARGE_PAGE: usize = 2 << 20;

/// An empty list with room for so many, in large pages where the kernel has some (2.6.38): it is filled at once, and a
/// page fault for every 4 KiB would take as long as what is written.
pub(super) fn list_in_large_pages<T>(capacity: usize) -> Vec<T> {
    let mut list = Vec::<T>::with_capacity(capacity);
    let room = size_of_val(list.spare_capacity_mut());
    let start = list.as_mut_ptr().cast::<c_void>();
    let before = start.align_offset(page_size());
    let pages = room.saturating_sub(before) / page_size() * page_size();
    if pages >= LARGE_PAGE {
        // SAFETY: whole pages of the list's own memory, of whose content this advice changes nothing.
        let advised = unsafe { madvise(start.byte_add(before), pages, Advice::LinuxHugepage) };
        // A kernel without large pages has small ones.
        advised.unwrap_or_default();
    }
    list
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
