//! The near end of a link of two queues: what the host's own stack sends leaves by another queue than frames that are sent
//! past its queueing discipline, as if two machines sent them.
#![expect(unsafe_code, reason = "a constant that the loader writes, a field of the kernel's context")]

use aya_ebpf::bindings::TC_ACT_UNSPEC;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// The queue for what the stack sends, from 0; written by the loader.
#[unsafe(no_mangle)]
static STACK_QUEUE: u32 = 0;

/// Frames past the queueing discipline never come here.
#[classifier]
pub fn apart(ctx: TcContext) -> i32 {
    // SAFETY: a read of initialised memory, which the compiler may not assume to hold what is written above.
    let queue = unsafe { core::ptr::read_volatile(&raw const STACK_QUEUE) };
    // Counted from one, as zero is for none.
    // SAFETY: the context of this very call; a classifier may write this field (since Linux 5.1).
    unsafe { (*ctx.skb.skb).queue_mapping = queue + 1 };
    TC_ACT_UNSPEC
}
