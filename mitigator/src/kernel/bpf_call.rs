//! The raw `bpf(2)` calls that aya does not make: map batches, element calls on plain bytes, and
//! what the kernel says of a link. With `mapped.rs` the one module of the crate with unsafe code.
#![expect(
    unsafe_code,
    reason = "raw system calls; every buffer's size is checked before its address is passed"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAP_LOOKUP_ELEM: i64 = 1;
const MAP_UPDATE_ELEM: i64 = 2;
const MAP_DELETE_ELEM: i64 = 3;
const MAP_GET_NEXT_KEY: i64 = 4;
const OBJ_PIN: i64 = 6;
const OBJ_GET: i64 = 7;
const PROG_GET_FD_BY_ID: i64 = 13;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const MAP_LOOKUP_BATCH: i64 = 24;
const MAP_UPDATE_BATCH: i64 = 26;
const MAP_DELETE_BATCH: i64 = 27;
const LINK_CREATE: i64 = 28;
const LINK_GET_FD_BY_ID: i64 = 30;
const LINK_DETACH: i64 = 34;

/// How far a batch call got.
#[derive(Debug)]
pub(super) struct BatchProgress {
    /// Elements read or written, also when the call failed part of the way.
    pub(super) count: usize,
    /// What stopped the call before its end.
    pub(super) error: Option<io::Error>,
}

#[repr(C)]
#[derive(Default)]
struct ElementAttributes {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value_or_next_key: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
struct PathAttributes {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct InfoAttributes {
    fd: u32,
    info_bytes: u32,
    info: u64,
}

#[repr(C)]
struct IdAttributes {
    id_or_fd: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct NewLinkAttributes {
    program_fd: u32,
    interface_index: u32,
    attach_type: u32,
    flags: u32,
}

/// Start of the kernel's `struct bpf_link_info`, as far as XDP fills it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct XdpLinkInfo {
    /// `BPF_LINK_TYPE_XDP` is 6.
    pub(super) kind: u32,
    pub(super) id: u32,
    pub(super) program_id: u32,
    reserved: u32,
    /// 0 when the interface is gone.
    pub(super) interface_index: u32,
    more: [u32; 27],
}

/// `BPF_XDP`.
const ATTACH_TYPE_XDP: u32 = 37;
/// `BPF_LINK_TYPE_XDP`.
pub(super) const LINK_KIND_XDP: u32 = 6;

fn call<T>(command: i64, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: `attributes` is a live, initialised structure of the size given; every address inside
    // was made from a slice whose size the caller of this function checked against the map.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn number_of(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("an open file descriptor is not negative")
}

fn address_of(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

fn address_of_mut(bytes: &mut [u8]) -> u64 {
    bytes.as_mut_ptr().expose_provenance() as u64
}

/// Reads one element; `value` must have the map's value size (times the possible CPUs, rounded up
/// to 8 bytes each, for per-CPU maps).
pub(super) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attributes = ElementAttributes {
        map_fd: number_of(map),
        key: address_of(key),
        value_or_next_key: address_of_mut(value),
        ..Default::default()
    };
    found(call(MAP_LOOKUP_ELEM, &mut attributes))
}

/// Writes one element.
pub(super) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attributes = ElementAttributes {
        map_fd: number_of(map),
        key: address_of(key),
        value_or_next_key: address_of(value),
        ..Default::default()
    };
    call(MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Removes one element; `false` when there was none.
pub(super) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut attributes =
        ElementAttributes { map_fd: number_of(map), key: address_of(key), ..Default::default() };
    found(call(MAP_DELETE_ELEM, &mut attributes))
}

/// The key after `key` in the map's own order, or the first one.
pub(super) fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let mut attributes = ElementAttributes {
        map_fd: number_of(map),
        key: key.map_or(0, address_of),
        value_or_next_key: address_of_mut(next),
        ..Default::default()
    };
    found(call(MAP_GET_NEXT_KEY, &mut attributes))
}

fn found(result: io::Result<i64>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads up to `count` elements that come after `position` (`None`: from the start); `next` receives
/// the position after them. `BPF_MAP_LOOKUP_BATCH`, kernel 5.6. `ENOENT` is the end of the map.
pub(super) fn lookup_batch(
    map: BorrowedFd<'_>,
    position: Option<&[u8]>,
    next: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> BatchProgress {
    let mut attributes = BatchAttributes {
        in_batch: position.map_or(0, address_of),
        out_batch: address_of_mut(next),
        keys: address_of_mut(keys),
        values: address_of_mut(values),
        count,
        map_fd: number_of(map),
        ..Default::default()
    };
    batch(MAP_LOOKUP_BATCH, &mut attributes)
}

/// Writes `count` elements. `BPF_MAP_UPDATE_BATCH`, kernel 5.6.
pub(super) fn update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> BatchProgress {
    let mut attributes = BatchAttributes {
        keys: address_of(keys),
        values: address_of(values),
        count,
        map_fd: number_of(map),
        ..Default::default()
    };
    batch(MAP_UPDATE_BATCH, &mut attributes)
}

/// Removes `count` elements; stops at the first that is not there. `BPF_MAP_DELETE_BATCH`, kernel 5.6.
pub(super) fn delete_batch(map: BorrowedFd<'_>, keys: &[u8], count: u32) -> BatchProgress {
    let mut attributes =
        BatchAttributes { keys: address_of(keys), count, map_fd: number_of(map), ..Default::default() };
    batch(MAP_DELETE_BATCH, &mut attributes)
}

fn batch(command: i64, attributes: &mut BatchAttributes) -> BatchProgress {
    let error = call(command, attributes).err();
    // A kernel that does not know the command or the map leaves `count` as it was.
    let refused = error.as_ref().is_some_and(is_refusal);
    BatchProgress { count: if refused { 0 } else { attributes.count as usize }, error }
}

/// Whether an error says that the kernel cannot do the call at all.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    // ENOTSUPP, the kernel's own, has no name in libc.
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPERM | 524))
}

/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attributes = PathAttributes { path: address_of(path.as_bytes_with_nul()), fd: 0, flags: 0 };
    own(call(OBJ_GET, &mut attributes)?)
}

/// Pins a link at `path`, which must be free.
pub(super) fn pin(link: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let fd = number_of(link.as_fd());
    let mut attributes = PathAttributes { path: address_of(path.as_bytes_with_nul()), fd, flags: 0 };
    call(OBJ_PIN, &mut attributes).map(drop)
}

/// Opens a program by its number, which keeps it in the kernel.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = IdAttributes { id_or_fd: id, next_id: 0, open_flags: 0 };
    own(call(PROG_GET_FD_BY_ID, &mut attributes)?)
}

/// Attaches an XDP program to an interface by a link of its own; `flags` choose the mode. Kernel 5.9.
pub(super) fn xdp_link(program: &OwnedFd, interface_index: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attributes = NewLinkAttributes {
        program_fd: number_of(program.as_fd()),
        interface_index,
        attach_type: ATTACH_TYPE_XDP,
        flags,
    };
    own(call(LINK_CREATE, &mut attributes)?)
}

/// What the kernel says of a link. Kernel 5.9 for XDP links.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<XdpLinkInfo> {
    let mut info = XdpLinkInfo::default();
    let mut attributes = InfoAttributes {
        fd: number_of(link),
        info_bytes: u32::try_from(size_of::<XdpLinkInfo>()).expect("the structure is small"),
        info: std::ptr::from_mut(&mut info).expose_provenance() as u64,
    };
    call(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

/// Opens a link by its number. Kernel 5.8.
pub(super) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = IdAttributes { id_or_fd: id, next_id: 0, open_flags: 0 };
    own(call(LINK_GET_FD_BY_ID, &mut attributes)?)
}

/// Takes over a descriptor that a call has just returned.
fn own(result: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Detaches what a link holds; the link itself stays as an empty shell. Kernel 5.9.
pub(super) fn link_detach(link: &OwnedFd) -> io::Result<()> {
    let mut attributes = IdAttributes { id_or_fd: number_of(link.as_fd()), next_id: 0, open_flags: 0 };
    call(LINK_DETACH, &mut attributes).map(drop)
}
