//! SYNs beyond a limit that answers: which are answered with a cookie, and what the answer looks like to an
//! independent reader. In a network namespace of its own, whose listeners give cookies as the trial says.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use mitigator::kernel::program::Action;
use mitigator::pipeline::limits::NewLimit;
use mitigator::pipeline::time::Timestamp;
use mitigator_common::{Outcome, PacketKind, Signature};
use mitigator_tests::packet::protocol::DESTINATION_OPTIONS;
use mitigator_tests::packet::{ACK, SYN, WEB_PORT, tcp, tcp_syn};
use nix::sched::{CloneFlags, unshare};

use super::bench::{Bench, Change, difference};

const V4: &str = "192.0.2.9";
/// Where packets of the trials go, and where none goes.
const OWN: &str = "198.51.100.1";
const OTHER: &str = "203.0.113.77";
const LONGEST_QUEUE: u64 = 1_000;
const V6: &str = "2001:db8:1:2::7";

/// Runs `work` where nobody else listens.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            work()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn give_cookies(when: &str) -> Result<()> {
    fs::write("/proc/sys/net/ipv4/tcp_syncookies", when).context("cannot set tcp_syncookies")
}

fn limit(bench: &Bench, port: Option<u16>, answers: bool) -> Result<()> {
    let limit = NewLimit {
        signature: port
            .map_or(Signature::of_kind(PacketKind::TcpSyn), |port| Signature::new(PacketKind::TcpSyn, port)),
        packets_per_second: 0.0,
        since: Timestamp::from_ns(1),
        until: Timestamp::from_ns(u64::MAX),
        answers,
    };
    bench.change(Change::OwnAddresses)?;
    bench.plane().blocks().set_limits(&[limit], &[])
}

/// Each row on tables that hold a limit of nothing for SYNs to the web server, with listeners that always give cookies.
pub fn answers(bench: &mut Bench) -> Result<()> {
    const ANSWERED: Outcome = Outcome::AnswerCookie;
    const DROPPED: Outcome = Outcome::DropLimited;
    const COUNTED: Outcome = Outcome::PassCounted;
    apart(|| {
        let _listener = TcpListener::bind(("::", WEB_PORT)).context("cannot listen")?;
        give_cookies("2")?;
        for (description, packet, expected) in [
            ("IPv4", tcp_syn(V4), ANSWERED),
            ("IPv4, padded", tcp_syn(V4).padded_by(6), ANSWERED),
            ("IPv4, with data", tcp_syn(V4).payload(700), ANSWERED),
            ("IPv4, one tag", tcp_syn(V4).vlan(7), ANSWERED),
            ("IPv4, two tags", tcp_syn(V4).service_vlan(7).vlan(8), ANSWERED),
            ("IPv6", tcp_syn(V6), ANSWERED),
            ("IPv6, one tag", tcp_syn(V6).vlan(7), ANSWERED),
            ("IPv6, two tags", tcp_syn(V6).service_vlan(7).vlan(8), ANSWERED),
            ("IPv4 options", tcp_syn(V4).options(4), DROPPED),
            ("from a loop", tcp_syn("127.0.0.1"), DROPPED),
            ("from everybody", tcp_syn("255.255.255.255"), DROPPED),
            ("from a group, IPv6", tcp_syn("ff02::1"), DROPPED),
            ("another port", tcp_syn(V4).to_port(WEB_PORT + 1), COUNTED),
            ("not a SYN", tcp(V4, SYN | ACK), COUNTED),
            ("IPv6 options", tcp_syn(V6).extension(DESTINATION_OPTIONS), COUNTED),
        ] {
            bench.clear()?;
            limit(bench, Some(WEB_PORT), true)?;
            let bytes = packet.bytes();
            let outcome = bench.outcome_of(&bytes)?;
            ensure!(outcome == expected, "{description}: {}", outcome.name());
            if outcome == ANSWERED {
                let left = bench.program().test_run(&bytes, 1)?;
                ensure!(left.action == Action::Answer, "{description}: {left:?}");
                is_answer_to(&bytes, &left.packet).context(description)?;
                ensure!(
                    bench.plane().sources().read_all()?.is_empty(),
                    "{description}: counted all the same"
                );
            }
        }
        Ok(())
    })
}

/// Who is not answered although the limit says so, or although a listener would.
pub fn hindrances(bench: &mut Bench) -> Result<()> {
    let syn = |port| tcp_syn(V4).to_port(port).bytes();
    apart(|| {
        give_cookies("2")?;
        limit(bench, None, true)?;
        let outcome = bench.outcome_of(&syn(WEB_PORT))?;
        ensure!(outcome == Outcome::DropLimited, "nobody listens: {}", outcome.name());
        let _listener = TcpListener::bind(("0.0.0.0", WEB_PORT)).context("cannot listen")?;
        let outcome = bench.outcome_of(&syn(WEB_PORT))?;
        ensure!(outcome == Outcome::AnswerCookie, "any port: {}", outcome.name());
        let outcome = bench.outcome_of(&tcp_syn(V6).bytes())?;
        ensure!(outcome == Outcome::DropLimited, "nobody listens to IPv6: {}", outcome.name());
        bench.change(Change::GuardNobody)?;
        let outcome = bench.outcome_of(&syn(WEB_PORT))?;
        ensure!(outcome == Outcome::DropLimited, "for another host: {}", outcome.name());
        bench.change(Change::OwnAddresses)?;
        let mut to_everybody = syn(WEB_PORT);
        to_everybody.splice(0..6, [0xff; 6]);
        let outcome = bench.outcome_of(&to_everybody)?;
        ensure!(outcome == Outcome::DropLimited, "in a frame to everybody: {}", outcome.name());
        for (description, changes, expected) in [
            (
                "an own address that is allowed, too",
                [Change::Allow(OWN), Change::OwnAddresses],
                Outcome::AnswerCookie,
            ),
            (
                "another host's, which was own",
                [Change::GuardNobody, Change::Allow(OWN)],
                Outcome::DropLimited,
            ),
            (
                "one that was allowed before",
                [Change::OwnAddresses, Change::Disallow(OTHER)],
                Outcome::AnswerCookie,
            ),
        ] {
            bench.change(Change::Allow(OTHER))?;
            changes.into_iter().try_for_each(|change| bench.change(change))?;
            let outcome = bench.outcome_of(&syn(WEB_PORT))?;
            ensure!(outcome == expected, "{description}: {}", outcome.name());
        }
        bench.change(Change::Allow(V4))?;
        let outcome = bench.outcome_of(&syn(WEB_PORT))?;
        ensure!(outcome == Outcome::PassCounted, "on the allow list: {}", outcome.name());
        bench.clear()?;
        limit(bench, Some(WEB_PORT), false)?;
        let outcome = bench.outcome_of(&syn(WEB_PORT))?;
        ensure!(outcome == Outcome::DropLimited, "a limit that only drops: {}", outcome.name());
        // Written where cookies are switched off, a limit never answers.
        give_cookies("0")?;
        bench.clear()?;
        limit(bench, Some(WEB_PORT), true)?;
        give_cookies("2")?;
        let outcome = bench.outcome_of(&syn(WEB_PORT))?;
        ensure!(outcome == Outcome::DropLimited, "switched off: {}", outcome.name());
        // While the listener has room it gets so many of them, and the rest is dropped.
        give_cookies("1")?;
        fs::write("/proc/sys/net/core/somaxconn", LONGEST_QUEUE.to_string())?;
        bench.clear()?;
        limit(bench, Some(WEB_PORT), true)?;
        let before = bench.plane().outcomes()?;
        let packets = LONGEST_QUEUE * 20;
        bench.program().test_run(&syn(WEB_PORT), u32::try_from(packets)?)?;
        let change = difference(&bench.plane().outcomes()?, &before);
        let (passed, dropped) =
            (change[Outcome::PassCounted as usize], change[Outcome::DropLimited as usize]);
        ensure!(passed + dropped == packets, "{passed} passed, {dropped} dropped");
        ensure!((LONGEST_QUEUE..LONGEST_QUEUE * 2).contains(&passed), "{passed} passed, {dropped} dropped");
        let [(_, limit)] = bench.plane().blocks().limits()?[..] else { anyhow::bail!("one limit") };
        ensure!((limit.passed, limit.dropped, limit.answered) == (passed, dropped, 0), "{limit:?}");
        Ok(())
    })
}

/// Whether `answer` accepts the connection that `question` opens, in the same tags, with sound checksums.
fn is_answer_to(question: &[u8], answer: &[u8]) -> Result<()> {
    let (asked, told) = (SlicedPacket::from_ethernet(question)?, SlicedPacket::from_ethernet(answer)?);
    ensure!(answer[..6] == question[6..12] && answer[6..12] == question[..6], "the frame goes elsewhere");
    ensure!(asked.vlan_ids() == told.vlan_ids(), "{:?} instead of {:?}", told.vlan_ids(), asked.vlan_ids());
    let (Some(TransportSlice::Tcp(syn)), Some(TransportSlice::Tcp(tcp))) =
        (&asked.transport, &told.transport)
    else {
        anyhow::bail!("{told:?}")
    };
    let checksum = match (&asked.net, &told.net) {
        (Some(NetSlice::Ipv4(asked)), Some(NetSlice::Ipv4(told))) => {
            let (asked, told) = (asked.header().to_header(), told.header().to_header());
            ensure!((told.source, told.destination) == (asked.destination, asked.source), "{told:?}");
            ensure!(told.header_checksum == told.calc_header_checksum(), "{told:?}");
            tcp.to_header().calc_checksum_ipv4(&told, tcp.payload())?
        }
        (Some(NetSlice::Ipv6(asked)), Some(NetSlice::Ipv6(told))) => {
            let (asked, told) = (asked.header().to_header(), told.header().to_header());
            ensure!((told.source, told.destination) == (asked.destination, asked.source), "{told:?}");
            tcp.to_header().calc_checksum_ipv6(&told, tcp.payload())?
        }
        _ => anyhow::bail!("{told:?}"),
    };
    ensure!(tcp.checksum() == checksum, "{tcp:?}");
    let ports = (tcp.source_port(), tcp.destination_port());
    ensure!(ports == (syn.destination_port(), syn.source_port()), "{tcp:?}");
    ensure!(tcp.syn() && tcp.ack() && !tcp.rst() && !tcp.fin() && tcp.payload().is_empty(), "{tcp:?}");
    ensure!(tcp.acknowledgment_number() == syn.sequence_number().wrapping_add(1), "{tcp:?}");
    let options: Vec<_> = tcp.options_iterator().collect();
    // Without an option of the client, the least that every host takes.
    let [Ok(TcpOptionElement::MaximumSegmentSize(536 | 1_220))] = options[..] else {
        anyhow::bail!("{options:?}")
    };
    Ok(())
}
