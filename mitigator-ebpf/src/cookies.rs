//! Answers a SYN with a cookie, so that its listener hears only of those who send the cookie back.
//!
//! The kernel makes the cookie and notes at the listener that cookies are out; without that note the listener
//! believes none. It does so while the listener's queue of half-open connections is full (or always, as
//! `net.ipv4.tcp_syncookies` = 2 says): who asks while there is room is told so. A listener to any address takes SYNs to
//! addresses of other hosts, too, so that the allow list, on which this host's own are, tells whether one is for this host.
#![expect(unsafe_code, reason = "helper calls, and the packet's bounds come from the XDP context")]

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::BPF_F_CURRENT_NETNS;
use aya_ebpf::helpers::generated::{
    bpf_check_mtu, bpf_sk_lookup_tcp, bpf_sk_release, bpf_tcp_gen_syncookie, bpf_xdp_adjust_tail,
};
use aya_ebpf::programs::XdpContext;
use mitigator_common::WideAddress;
use mitigator_ebpf::answer::{Opening, OpeningV4, OpeningV6, TCP_LENGTH, turned_round};
use mitigator_ebpf::cursor::Sheet;
use mitigator_ebpf::envelope::Envelope;

use crate::{allowlist, bytes};

/// What became of a SYN.
pub enum Answer {
    /// It is an answer, to be sent.
    Made,
    /// Its listener has room for it.
    Room,
    /// It cannot be answered: nobody listens here, it is not for this host, it is not plain, or the kernel would not.
    None,
}

/// Answers what may be a SYN. Verified for itself, not again for each way that
/// leads here.
#[inline(always)]
pub fn answer(ctx: &XdpContext, envelope: Envelope) -> Answer {
    let start = envelope.start;
    match if envelope.is_v4 { answer_v4(ctx, start) } else { answer_v6(ctx, start) } {
        MADE => Answer::Made,
        ROOM => Answer::Room,
        _ => Answer::None,
    }
}

// What the two functions return is a number: an enumeration would be returned through memory.
const NONE: u64 = 0;
const MADE: u64 = 1;
const ROOM: u64 = 2;

#[inline(never)]
fn answer_v4(ctx: &XdpContext, start: usize) -> u64 {
    let Some(opening) = OpeningV4::read(&bytes::arriving(ctx), start) else {
        return NONE;
    };
    let ([client], [server]) = (opening.client, opening.server);
    if !allowlist::is_own(WideAddress::from_v4_number(u32::from_be(server))) {
        return NONE;
    }
    let cookie = match cookie::<20, _, _>(ctx, start, &opening, [client, server, opening.ports]) {
        Ok(cookie) => cookie,
        Err(reason) => return reason,
    };
    let answer = opening.answer(cookie.number, cookie.segment_size(ctx, 40));
    write(ctx, start, &answer)
}

#[inline(never)]
fn answer_v6(ctx: &XdpContext, start: usize) -> u64 {
    let Some(opening) = OpeningV6::read(&bytes::arriving(ctx), start) else {
        return NONE;
    };
    let ([c0, c1, c2, c3], [s0, s1, s2, s3]) = (opening.client, opening.server);
    if !allowlist::is_own(WideAddress::from_v6_numbers(opening.server.map(u32::from_be))) {
        return NONE;
    }
    let tuple = [c0, c1, c2, c3, s0, s1, s2, s3, opening.ports];
    let cookie = match cookie::<40, _, _>(ctx, start, &opening, tuple) {
        Ok(cookie) => cookie,
        Err(reason) => return reason,
    };
    let answer = opening.answer(cookie.number, cookie.segment_size(ctx, 60));
    write(ctx, start, &answer)
}

struct Cookie {
    number: u32,
    /// The client's, as far as a cookie can tell.
    segment_size: u32,
}

impl Cookie {
    /// The largest segment to ask for: what the cookie can tell, and this interface can take beside `headers`.
    #[inline(always)]
    fn segment_size(&self, ctx: &XdpContext, headers: u32) -> u16 {
        let mut largest_packet = 0_u32;
        // SAFETY: the helper writes one number; 0 stands for the interface that the packet came from, and for a
        // packet of this length.
        unsafe { bpf_check_mtu(ctx.as_ptr(), 0, &raw mut largest_packet, 0, 0) };
        let own = largest_packet.saturating_sub(headers);
        (if own < self.segment_size { own } else { self.segment_size }) as u16
    }
}

#[inline(always)]
fn cookie<const HEADER: usize, const ADDRESS: usize, const TUPLE: usize>(
    ctx: &XdpContext,
    start: usize,
    opening: &Opening<ADDRESS>,
    mut tuple: [u32; TUPLE],
) -> Result<Cookie, u64> {
    let mut header = opening.header();
    let place = ctx.data() + start;
    if place + HEADER > ctx.data_end() {
        return Err(NONE);
    }
    // SAFETY: addresses and ports lie in `tuple` as in the helper's structure, of one of the two lengths that it knows;
    // both headers are readable for as long as is said; the socket is released on the only way there is.
    let made = unsafe {
        let socket = bpf_sk_lookup_tcp(
            ctx.as_ptr(),
            tuple.as_mut_ptr().cast(),
            (TUPLE * 4) as u32,
            BPF_F_CURRENT_NETNS as u64,
            0,
        );
        if socket.is_null() {
            return Err(NONE);
        }
        let made = bpf_tcp_gen_syncookie(
            socket.cast(),
            core::ptr::with_exposed_provenance_mut::<c_void>(place),
            HEADER as u32,
            header.as_mut_ptr().cast(),
            TCP_LENGTH as u32,
        );
        bpf_sk_release(socket.cast());
        made
    };
    match made {
        made if made >= 0 => {
            Ok(Cookie { number: made as u32, segment_size: (made as u64 >> 32) as u32 & 0xffff })
        }
        NO_ENTRY => Err(ROOM),
        _ => Err(NONE),
    }
}

/// `-ENOENT`: no cookie is needed.
const NO_ENTRY: i64 = -2;

/// Writes the answer over the SYN, in a frame that ends with it.
#[inline(always)]
fn write<const WORDS: usize>(ctx: &XdpContext, start: usize, answer: &[u32; WORDS]) -> u64 {
    let Some(turned) = turned_round(&bytes::arriving(ctx)) else {
        return NONE;
    };
    let change = (start + WORDS * 4) as i32 - bytes::arriving(ctx).length() as i32;
    // SAFETY: the context is the program's own; packet addresses taken before are not used after.
    if unsafe { bpf_xdp_adjust_tail(ctx.ctx, change) } != 0 {
        return NONE;
    }
    // SAFETY: `data..data_end` is the packet, and no cursor is used any more.
    let mut sheet = unsafe { Sheet::between(ctx.data(), ctx.data_end()) };
    if sheet.write(start, answer) && sheet.write(0, &turned) { MADE } else { NONE }
}
