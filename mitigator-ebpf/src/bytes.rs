//! The bytes of the packet that a program was called for. Taken from its context wherever they are read, so that no register
//! has to keep where they are in between.
#![expect(unsafe_code, reason = "the packet's bounds come from the context")]

use aya_ebpf::programs::{TcContext, XdpContext};
use mitigator_common::WideAddress;
use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::envelope::{Direction, Envelope};

/// Of a packet that arrives.
#[inline(always)]
pub fn arriving(ctx: &XdpContext) -> Cursor<'_> {
    // SAFETY: `data..data_end` is the packet, readable until its length is changed.
    unsafe { Cursor::between(ctx.data(), ctx.data_end()) }
}

/// Its sender's full address.
#[inline(always)]
pub fn sender(ctx: &XdpContext, envelope: &Envelope) -> WideAddress {
    envelope.address(&arriving(ctx), Direction::Arriving)
}

/// Of a packet that leaves, its linear part.
#[inline(always)]
pub fn leaving(ctx: &TcContext) -> Cursor<'_> {
    // SAFETY: as above.
    unsafe { Cursor::between(ctx.data(), ctx.data_end()) }
}
