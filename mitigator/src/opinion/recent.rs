//! `RecentFlows`: the flows that are live, as far as they came, and those that ended within the last seconds.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use crate::flows::{Flow, FlowEnd, FlowPacket, FlowSettings, FlowTable};

/// How long a flow is remembered after its last packet, once it is over.
const WINDOW: Duration = Duration::from_secs(10);
/// Flows that are held while they are not over; when there are more, those give way that were quiet the longest.
const MOST_LIVE: usize = 16_384;
/// Flows that are remembered; when there are more, the oldest give way.
const MOST_ENDED: usize = 4_096;

/// Memory is bounded by 20 MiB.
const _: () = assert!(size_of::<Flow>() * (MOST_LIVE + MOST_ENDED) <= 20 << 20);

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent<'flows> {
    pub(super) flow: &'flows Flow,
    pub(super) is_over: bool,
}

/// The flows that are live, and those that ended lately.
#[derive(Debug)]
pub(super) struct RecentFlows {
    live: FlowTable,
    /// In the order in which they ended.
    ended: VecDeque<Flow>,
}

impl Default for RecentFlows {
    fn default() -> Self {
        let settings = FlowSettings { most_live: MOST_LIVE, ..FlowSettings::default() };
        Self { live: FlowTable::new(&settings), ended: VecDeque::new() }
    }
}

impl RecentFlows {
    /// Takes in the next packet.
    pub(super) fn take(&mut self, packet: FlowPacket) {
        let Self { live, ended } = self;
        let Ok(()) = live.take::<Infallible>(packet, &mut |flow| {
            // What a clock that jumped back ended is dated in the future.
            if flow.end != FlowEnd::Clock {
                if ended.len() >= MOST_ENDED {
                    ended.pop_front();
                }
                ended.push_back(flow);
            }
            Ok(())
        });
        let since_ns = self.since_ns();
        let is_old = |flow: &Flow| flow.last_ns < since_ns;
        while self.ended.front().is_some_and(is_old) {
            self.ended.pop_front();
        }
    }

    /// Those that are over, which are what a model learned from, then those that are not; of each, the latest first.
    pub(super) fn latest_first(&self) -> impl Iterator<Item = Recent<'_>> {
        let since_ns = self.since_ns();
        let ended = self.ended.iter().rev().filter(move |flow| flow.last_ns >= since_ns);
        let over = self.live.lingering().chain(ended).map(|flow| Recent { flow, is_over: true });
        over.chain(self.live.live().map(|flow| Recent { flow, is_over: false }))
    }

    fn since_ns(&self) -> u64 {
        let window_ns = u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX);
        self.live.latest_ns().saturating_sub(window_ns)
    }
}

#[cfg(test)]
pub(super) fn packet(from: &str, to: &str, at_ms: u64, tcp_flags: u8) -> FlowPacket {
    use crate::flows::{Endpoint, TcpHeader};
    let endpoint = |text: &str, port| match text.parse().unwrap() {
        std::net::IpAddr::V4(address) => Endpoint { address: address.to_bits().into(), is_v4: true, port },
        std::net::IpAddr::V6(address) => Endpoint { address: address.to_bits(), is_v4: false, port },
    };
    FlowPacket {
        at_ns: at_ms * 1_000_000,
        protocol: 6,
        sender: endpoint(from, 40_000),
        receiver: endpoint(to, 80),
        wire_bytes: 54,
        header_bytes: 20,
        payload_bytes: 0,
        tcp: Some(TcpHeader { flags: tcp_flags, window: 0 }),
        icmp: None,
        fragment: None,
    }
}

#[cfg(test)]
mod tests {
    use mitigator_ebpf::packet::flags;

    use super::*;

    const SERVER: &str = "203.0.113.1";

    fn initiators(flows: &RecentFlows) -> Vec<String> {
        flows.latest_first().map(|recent| recent.flow.initiator.ip().to_string()).collect()
    }

    #[test]
    fn flows_are_told_as_they_stand_and_for_a_while_after_their_end() {
        let mut flows = RecentFlows::default();
        flows.take(packet("192.0.2.1", SERVER, 0, flags::SYN));
        flows.take(packet("192.0.2.2", SERVER, 1_000, flags::SYN));
        flows.take(packet("192.0.2.2", SERVER, 2_000, flags::RST));
        flows.take(packet("192.0.2.3", SERVER, 3_000, flags::SYN));
        assert_eq!(initiators(&flows), ["192.0.2.2", "192.0.2.3", "192.0.2.1"]);
        // It no longer lingers, and is remembered.
        flows.take(packet("192.0.2.3", SERVER, 9_000, flags::ACK));
        assert_eq!(initiators(&flows), ["192.0.2.2", "192.0.2.3", "192.0.2.1"]);
        let are_over: Vec<bool> = flows.latest_first().map(|recent| recent.is_over).collect();
        assert_eq!(are_over, [true, false, false]);
        flows.take(packet("192.0.2.3", SERVER, 12_500, flags::ACK));
        assert_eq!(initiators(&flows), ["192.0.2.3", "192.0.2.1"], "who is quiet is not over");
        for at_ms in [119_000, 124_000] {
            flows.take(packet("192.0.2.3", SERVER, at_ms, flags::ACK));
        }
        assert_eq!(
            initiators(&flows),
            ["192.0.2.3", "192.0.2.3"],
            "its continuation, and what it was before"
        );
    }

    #[test]
    fn a_flood_of_flows_takes_bounded_room() {
        let mut flows = RecentFlows::default();
        for number in 0..60_000_u32 {
            let from = std::net::Ipv4Addr::from_bits(number).to_string();
            flows.take(packet(&from, SERVER, u64::from(number) / 100, flags::SYN));
        }
        assert_eq!(flows.latest_first().count(), MOST_LIVE + MOST_ENDED);
        assert_eq!(initiators(&flows)[MOST_ENDED], "0.0.234.95");
    }
}
