//! The signature of a packet, and whether one more of it passes.

use mitigator_common::{Limit, PacketKind, Signature};

use crate::counters::is_reflection_port;
use crate::packet::{Fragment, Packet, Transport, TransportKind, flags};
use crate::shared::SharedU64;

/// What the packet has in common with others of its kind, whoever sends them.
#[inline(always)]
#[must_use]
pub fn signature_of(packet: &Packet) -> Signature {
    if !matches!(packet.fragment, Fragment::Whole) {
        return Signature::new(PacketKind::Fragment, 0);
    }
    if packet.has_extensions {
        return Signature::new(PacketKind::Extension, 0);
    }
    let Transport { kind, source_port, destination_port, flags, .. } = packet.transport;
    match kind {
        TransportKind::Tcp => Signature::new(kind_of(flags), destination_port),
        TransportKind::Udp if is_reflection_port(source_port) && !packet.is_to_group => {
            Signature::new(PacketKind::UdpReflection, source_port)
        }
        TransportKind::Udp => Signature::new(PacketKind::Udp, destination_port),
        TransportKind::Icmp => Signature::new(PacketKind::Icmp, 0),
        TransportKind::Other => Signature::new(PacketKind::Other, 0),
    }
}

#[inline(always)]
const fn kind_of(flags: u8) -> PacketKind {
    if flags & flags::RST != 0 {
        PacketKind::TcpRst
    } else if flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK {
        PacketKind::TcpSynAck
    } else if flags & flags::SYN != 0 {
        PacketKind::TcpSyn
    } else if flags & flags::ACK != 0 {
        PacketKind::TcpAck
    } else {
        PacketKind::TcpOdd
    }
}

/// [`Limit`] while packets arrive on several CPUs; field by field the same.
#[repr(C)]
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "documented at Limit, field by field")]
pub struct LiveLimit {
    pub expires_at_ns: SharedU64,
    pub since_ns: SharedU64,
    pub packets_per_window: SharedU64,
    pub window: SharedU64,
    pub used: SharedU64,
    pub passed: SharedU64,
    pub dropped: SharedU64,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<LiveLimit>() == size_of::<Limit>());
    assert!(offset_of!(LiveLimit, window) == offset_of!(Limit, window));
    assert!(offset_of!(LiveLimit, dropped) == offset_of!(Limit, dropped));
};

impl LiveLimit {
    /// Whether the limit is over.
    #[inline(always)]
    #[must_use]
    pub fn is_expired(&self, now_ns: u64) -> bool {
        now_ns >= self.expires_at_ns.get()
    }

    /// Whether one more packet passes at `now_ns`; counts it. Beyond the limit it passes, uncounted, when
    /// its sender `is_allowed`. CPUs that begin a window at once may let one packet each pass beyond the
    /// limit.
    #[inline(always)]
    #[must_use]
    pub fn admit(&self, now_ns: u64, is_allowed: impl FnOnce() -> bool) -> bool {
        let window = now_ns >> Limit::WINDOW_BITS;
        if self.window.get() != window {
            self.window.set(window);
            self.used.set(0);
        }
        let is_within = self.used.get() < self.packets_per_window.get();
        if is_within {
            self.used.add(1);
            self.passed.add(1);
            return true;
        }
        if is_allowed() {
            return true;
        }
        self.dropped.add(1);
        false
    }

    /// The limit as it stands.
    #[must_use]
    pub fn read(&self) -> Limit {
        Limit {
            expires_at_ns: self.expires_at_ns.get(),
            since_ns: self.since_ns.get(),
            packets_per_window: self.packets_per_window.get(),
            window: self.window.get(),
            used: self.used.get(),
            passed: self.passed.get(),
            dropped: self.dropped.get(),
        }
    }
}

impl From<Limit> for LiveLimit {
    fn from(limit: Limit) -> Self {
        Self {
            expires_at_ns: limit.expires_at_ns.into(),
            since_ns: limit.since_ns.into(),
            packets_per_window: limit.packets_per_window.into(),
            window: limit.window.into(),
            used: limit.used.into(),
            passed: limit.passed.into(),
            dropped: limit.dropped.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_its_share_of_each_window_pass() {
        let limit = LiveLimit::from(Limit { packets_per_window: 3, ..Limit::default() });
        for window in 1..=2 {
            let passed =
                (0..10).filter(|packet| limit.admit(window * Limit::WINDOW_NS + packet, || false)).count();
            assert_eq!(passed, 3);
        }
        assert_eq!((limit.read().passed, limit.read().dropped), (6, 14));
        assert!((0..10).all(|packet| limit.admit(3 * Limit::WINDOW_NS + packet, || true)), "allowed");
        assert_eq!((limit.read().passed, limit.read().dropped), (9, 14));
    }
}
