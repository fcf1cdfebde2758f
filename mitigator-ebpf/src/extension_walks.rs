//! The walk over IPv6 extension headers as functions of their own, which the kernel verifies once for whatever they are
//! called with. Inlined, every way through it would be another way through all that follows, which is most of what the
//! verifier would have to do. Packets without such headers never come here.
#![expect(unsafe_code, reason = "names of functions, and the contexts that they are called with")]

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::programs::{TcContext, XdpContext};
use mitigator_ebpf::cursor::Cursor;
use mitigator_ebpf::envelope::MAX_START;
use mitigator_ebpf::extensions::{self, Extensions};

use crate::bytes;

/// Over the headers of the IPv6 packet that arrives, from its IP header at `start` on.
#[inline(always)]
pub fn arriving(ctx: &XdpContext, start: usize) -> Extensions {
    // SAFETY: the context is that of the program.
    Extensions::from_bits(unsafe { walk_arriving(ctx.ctx, start as u32) })
}

/// As [`arriving`], of a packet that leaves.
#[inline(always)]
pub fn leaving(ctx: &TcContext, start: usize) -> Extensions {
    // SAFETY: the context is that of the program.
    Extensions::from_bits(unsafe { walk_leaving(ctx.skb.skb, start as u32) })
}

/// Exported, so that it stays global: only such functions are verified once. The types of the arguments tell the kernel what
/// they are.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn walk_arriving(ctx: *mut xdp_md, start: u32) -> u64 {
    let ctx = XdpContext::new(ctx);
    walk(&bytes::arriving(&ctx), start)
}

/// As [`walk_arriving`].
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn walk_leaving(ctx: *mut __sk_buff, start: u32) -> u64 {
    let ctx = TcContext::new(ctx);
    walk(&bytes::leaving(&ctx), start)
}

#[inline(always)]
fn walk(bytes: &Cursor<'_>, start: u32) -> u64 {
    // What the verifier does not know here.
    let start = (start as usize).min(MAX_START);
    extensions::walk(bytes, start).to_bits()
}
