//! Whether SYNs can be answered with cookies here: by the kernel, and by how the host is set up.

use std::sync::OnceLock;

use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported};
use mitigator_common::Limit;
use serde::Serialize;

/// What the data plane calls to answer a SYN; the last of them came with Linux 5.12.
const HELPERS: [BpfHelper; 5] = [
    BpfHelper::BPF_FUNC_sk_lookup_tcp,
    BpfHelper::BPF_FUNC_sk_release,
    BpfHelper::BPF_FUNC_tcp_gen_syncookie,
    BpfHelper::BPF_FUNC_xdp_adjust_tail,
    BpfHelper::BPF_FUNC_check_mtu,
];
/// Of the network namespace that asks; 0 when listeners neither give nor take cookies.
const SWITCH: &str = "/proc/sys/net/ipv4/tcp_syncookies";

/// Half-open connections that a listener may keep, of this network namespace.
const LONGEST_QUEUE: &str = "/proc/sys/net/core/somaxconn";
/// Linux's default, and a bound of what a limit lets pass to fill a queue.
const USUAL_QUEUE: u64 = 4_096;
const MOST_QUEUED: u64 = 65_536;

/// Whether SYNs beyond a limit can be answered with cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SynCookies {
    /// They can.
    Ready,
    /// The kernel makes no cookies for XDP programs.
    NotInKernel,
    /// Listeners of this network namespace neither give nor take cookies.
    SwitchedOff,
}

impl SynCookies {
    /// As it stands in the network namespace of the calling thread.
    #[must_use]
    pub fn here() -> Self {
        let switch = std::fs::read_to_string(SWITCH);
        if !Self::are_in_kernel() {
            Self::NotInKernel
        } else if switch.is_ok_and(|switch| switch.trim() != "0") {
            Self::Ready
        } else {
            Self::SwitchedOff
        }
    }

    /// Half-open connections that fill any listener of this network namespace; 0 when it gives no cookies.
    pub(super) fn longest_queue() -> u64 {
        if Self::here() != Self::Ready {
            return 0;
        }
        let length = std::fs::read_to_string(LONGEST_QUEUE).ok();
        let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(USUAL_QUEUE);
        length.clamp(Limit::QUEUE_PARTS, MOST_QUEUED)
    }

    /// Whether the kernel has all that the data plane calls.
    pub(super) fn are_in_kernel() -> bool {
        static ANSWER: OnceLock<bool> = OnceLock::new();
        let has = |helper| is_helper_supported(ProgramType::Xdp, helper).unwrap_or(false);
        *ANSWER.get_or_init(|| HELPERS.into_iter().all(has))
    }

    /// What becomes of the SYNs of a forged flood beyond their limit.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ready => "answered with SYN cookies",
            Self::NotInKernel => "dropped: this kernel makes no SYN cookies for XDP programs",
            Self::SwitchedOff => {
                "dropped: SYN cookies are switched off, `sysctl net.ipv4.tcp_syncookies=1` permits them"
            }
        }
    }
}
