//! The filter of the packet socket, in classic BPF: which packets pass, and how much of them.
//!
//! IPv4 and IPv6 pass; of an arriving packet the source is hashed, of a leaving one the destination, so that both
//! directions of a conversation pass or none. Of IPv6 it is the upper half, as for a `Source`. The hash is a multiplication with an odd
//! number that is chosen at random, of which the upper bits count.

use socket2::SockFilter;

/// Of a packet, from the network header on, what passes: two headers with all their options, and some IPv6 extensions.
pub(super) const SNAP_BYTES: usize = SNAP as usize;
const SNAP: u32 = 192;

/// Which remote addresses are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Odd.
    factor: u32,
    /// The highest hash of those that are.
    most: u32,
}

impl Sample {
    /// A share of all addresses, 0..=1, chosen by `key`.
    pub(super) fn new(key: u32, share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at both ends")]
        let most = (share * f64::from(u32::MAX)) as u32;
        Self { factor: key | 1, most }
    }
}

/// Nothing passes.
pub(super) fn deaf() -> Vec<SockFilter> {
    vec![Instruction::give(0).assembled()]
}

/// The headers of packets from and to `sample`.
pub(super) fn headers_of(sample: Sample) -> Vec<SockFilter> {
    program(sample).map(Instruction::assembled).into()
}

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const OUTGOING: u32 = libc::PACKET_OUTGOING as u32;

const fn program(Sample { factor, most }: Sample) -> [Instruction; 26] {
    use Instruction as I;
    [
        I::about(libc::SKF_AD_PROTOCOL), // 0
        I::if_equal(IPV4, 0, 6),         // 1, or 8
        I::about(libc::SKF_AD_PKTTYPE),  // 2
        I::if_equal(OUTGOING, 2, 0),     // 3, to 6
        I::of_network_header(12),        // 4
        I::go_on_after(16),              // 5, to 22
        I::of_network_header(16),        // 6
        I::go_on_after(14),              // 7, to 22
        I::if_equal(IPV6, 0, 16),        // 8, or 25
        I::about(libc::SKF_AD_PKTTYPE),  // 9
        I::if_equal(OUTGOING, 5, 0),     // 10, to 16
        I::of_network_header(8),         // 11
        I::multiply(factor),             // 12
        I::keep(),                       // 13
        I::of_network_header(12),        // 14
        I::go_on_after(4),               // 15, to 20
        I::of_network_header(24),        // 16
        I::multiply(factor),             // 17
        I::keep(),                       // 18
        I::of_network_header(28),        // 19
        I::recall(),                     // 20
        I::mix(),                        // 21
        I::multiply(factor),             // 22
        I::if_greater(most, 1, 0),       // 23, to 25
        I::give(SNAP),                   // 24
        I::give(0),                      // 25
    ]
}

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u32,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

impl Instruction {
    const fn plain(code: u32, operand: u32) -> Self {
        Self { code, if_true: 0, if_false: 0, operand }
    }

    /// Loads what the kernel knows about the packet.
    const fn about(what: i32) -> Self {
        Self::plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + what).cast_unsigned())
    }

    /// Loads four bytes; where the packet ends before, nothing of it passes.
    const fn of_network_header(offset: i32) -> Self {
        Self::plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_NET_OFF + offset).cast_unsigned())
    }

    const fn multiply(factor: u32) -> Self {
        Self::plain(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, factor)
    }

    const fn keep() -> Self {
        Self::plain(libc::BPF_ST, 0)
    }

    /// What was kept, beside what was loaded since.
    const fn recall() -> Self {
        Self::plain(libc::BPF_LDX | libc::BPF_MEM, 0)
    }

    const fn mix() -> Self {
        Self::plain(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0)
    }

    /// Leaves out this many instructions.
    const fn go_on_after(count: u32) -> Self {
        Self::plain(libc::BPF_JMP | libc::BPF_JA, count)
    }

    /// Leaves out one or the other number of instructions.
    const fn if_equal(operand: u32, if_true: u8, if_false: u8) -> Self {
        Self { code: libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, if_true, if_false, operand }
    }

    const fn if_greater(operand: u32, if_true: u8, if_false: u8) -> Self {
        Self { code: libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, if_true, if_false, operand }
    }

    const fn give(bytes: u32) -> Self {
        Self::plain(libc::BPF_RET | libc::BPF_K, bytes)
    }

    #[expect(clippy::cast_possible_truncation, reason = "codes have 16 bits")]
    const fn assembled(self) -> SockFilter {
        SockFilter::new(self.code as u16, self.if_true, self.if_false, self.operand)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{RngCore, SeedableRng};
    use socket2::SockRef;

    use super::*;

    impl Sample {
        /// What the program has to say.
        fn has(self, address: IpAddr) -> bool {
            let number = match address {
                IpAddr::V4(address) => address.to_bits(),
                IpAddr::V6(address) => {
                    let [first, second, ..] = words(&address.octets());
                    first.wrapping_mul(self.factor) ^ second
                }
            };
            number.wrapping_mul(self.factor) <= self.most
        }
    }

    fn words(bytes: &[u8]) -> [u32; 2] {
        [0, 4].map(|at| u32::from_be_bytes(*bytes[at..].first_chunk().unwrap()))
    }

    /// What the kernel does with a packet: bytes that pass.
    fn run(sample: Sample, protocol: u32, packet_type: u32, bytes: &[u8]) -> u32 {
        let program = program(sample);
        let (mut a, mut x, mut kept, mut next) = (0_u32, 0, 0, 0);
        loop {
            let Instruction { code, if_true, if_false, operand } = program[next];
            next += 1;
            let (about, header) = (
                operand.wrapping_sub(libc::SKF_AD_OFF.cast_unsigned()),
                operand.wrapping_sub(libc::SKF_NET_OFF.cast_unsigned()),
            );
            match code {
                0x20 if about == libc::SKF_AD_PROTOCOL.cast_unsigned() => a = protocol,
                0x20 if about == libc::SKF_AD_PKTTYPE.cast_unsigned() => a = packet_type,
                0x20 => match bytes.get(header as usize..).and_then(<[u8]>::first_chunk) {
                    Some(word) => a = u32::from_be_bytes(*word),
                    None => return 0,
                },
                0x24 => a = a.wrapping_mul(operand),
                0x02 => kept = a,
                0x61 => x = kept,
                0xac => a ^= x,
                0x05 => next += operand as usize,
                0x15 => next += usize::from(if a == operand { if_true } else { if_false }),
                0x25 => next += usize::from(if a > operand { if_true } else { if_false }),
                0x06 => return operand,
                _ => panic!("{code:#x}"),
            }
        }
    }

    /// An IP header from the one to the other.
    fn header(from: IpAddr, to: IpAddr) -> Vec<u8> {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => [&[0x45; 12][..], &from.octets(), &to.octets()].concat(),
            (IpAddr::V6(from), IpAddr::V6(to)) => [&[0x60; 8][..], &from.octets(), &to.octets()].concat(),
            _ => panic!("two families"),
        }
    }

    #[test]
    fn both_directions_of_a_share_of_the_remote_addresses_pass() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        for share in [0.0, 0.1, 0.5, 1.0] {
            let mut passed = 0;
            for number in 0..4_000_u32 {
                let sample = Sample::new(rng.next_u32(), share);
                let (protocol, own, remote): (_, IpAddr, IpAddr) = if number % 2 == 0 {
                    (IPV4, Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::from(rng.next_u32()).into())
                } else {
                    let remote = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
                    (IPV6, "2001:db8::1".parse().unwrap(), std::net::Ipv6Addr::from(remote).into())
                };
                let expected = if sample.has(remote) { SNAP } else { 0 };
                assert_eq!(run(sample, protocol, 0, &header(remote, own)), expected, "{remote} arrives");
                assert_eq!(
                    run(sample, protocol, OUTGOING, &header(own, remote)),
                    expected,
                    "{remote} is sent to"
                );
                passed += u32::from(expected > 0);
            }
            let wanted = share * 4_000.0;
            assert!((f64::from(passed) - wanted).abs() <= 130.0, "{passed} of 4000 at {share}");
        }
    }

    #[test]
    fn a_subnet_is_shared_out_too() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        for _ in 0..50 {
            let sample = Sample::new(rng.next_u32(), 0.25);
            let heard =
                (0..=u8::MAX).filter(|last| sample.has(Ipv4Addr::new(192, 0, 2, *last).into())).count();
            assert!((20..=110).contains(&heard), "{heard} of 256 with {sample:?}");
        }
    }

    #[test]
    fn what_is_not_ip_or_cut_does_not_pass() {
        let all = Sample::new(1, 1.0);
        let whole = header(Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into());
        assert_eq!(run(all, IPV4, 0, &whole), SNAP);
        assert_eq!(run(all, 0x0806, 0, &whole), 0);
        assert_eq!(run(all, IPV4, 0, &whole[..15]), 0);
        assert_eq!(run(all, IPV6, 0, &whole[..15]), 0);
    }

    /// Any socket takes such a filter: over loopback the kernel has to judge as said above.
    #[test]
    fn the_kernel_runs_the_program_as_it_is_meant() {
        let patience = Duration::from_millis(50);
        for key in [0x9e37_79b9, 0x85eb_ca6b, 0xc2b2_ae35] {
            let sample = Sample::new(key, 0.5);
            let receiver = UdpSocket::bind("0.0.0.0:0").unwrap();
            receiver.set_read_timeout(Some(patience)).unwrap();
            SockRef::from(&receiver).attach_filter(&headers_of(sample)).unwrap();
            let to = (Ipv4Addr::LOCALHOST, receiver.local_addr().unwrap().port());
            let mut heard = 0;
            for last in 1..=40 {
                let from = Ipv4Addr::new(127, 0, 0, last);
                UdpSocket::bind((from, 0)).unwrap().send_to(&[7; 1_000], to).unwrap();
                if !sample.has(from.into()) {
                    continue;
                }
                let (length, sender) = receiver.recv_from(&mut [0; 2_000]).unwrap();
                // UDP's own header takes its part of what passes.
                assert_eq!((length, sender.ip()), (SNAP_BYTES - 8, from.into()), "{key:#x}");
                heard += 1;
            }
            assert!(receiver.recv_from(&mut [0; 2_000]).is_err(), "{key:#x}: somebody else was heard");
            assert!((5..=35).contains(&heard), "{key:#x}: {heard} of 40");
        }
    }
}
