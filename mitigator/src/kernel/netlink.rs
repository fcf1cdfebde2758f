//! What rtnetlink says of an interface's XDP program, and how one without a link is taken off.

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::attachment::Mode;

/// The XDP program of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AttachedProgram {
    pub(super) id: u32,
    pub(super) mode: Mode,
}

/// The program attached to an interface, or `None`.
pub(super) fn attached_program(interface_index: u32) -> Result<Option<AttachedProgram>> {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    let answer = ask(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST)
        .context("cannot ask the kernel which XDP program an interface has")?;
    let Some(RouteNetlinkMessage::NewLink(link)) = answer else {
        return Ok(None);
    };
    let mut id = None;
    let mut mode = None;
    for attribute in link.attributes {
        let LinkAttribute::Xdp(parts) = attribute else {
            continue;
        };
        for part in parts {
            match part {
                LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) => mode = Some(Mode::Native),
                LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(Mode::Generic),
                LinkXdp::ProgId(number) => id = Some(number),
                LinkXdp::DrvProgId(number) => {
                    (id, mode) = (Some(number), Some(Mode::Native));
                }
                LinkXdp::SkbProgId(number) => {
                    id = id.or(Some(number));
                    mode = mode.or(Some(Mode::Generic));
                }
                _ => {}
            }
        }
    }
    Ok(id.zip(mode).map(|(id, mode)| AttachedProgram { id, mode }))
}

/// Whether the interface is one end of a virtual Ethernet pair.
pub(super) fn is_veth(interface_index: u32) -> bool {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    let Ok(Some(RouteNetlinkMessage::NewLink(link))) =
        ask(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST)
    else {
        return false;
    };
    link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(parts)
            if parts.iter().any(|part| matches!(part, LinkInfo::Kind(InfoKind::Veth))))
    })
}

/// Takes off a program that was attached without a link.
pub(super) fn take_off(interface_index: u32, mode: Mode) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = interface_index;
    message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Fd(-1), LinkXdp::Flags(mode.flags())]));
    ask(RouteNetlinkMessage::SetLink(message), NLM_F_REQUEST | NLM_F_ACK)
        .context("cannot take the foreign XDP program off")?;
    Ok(())
}

/// One request, the first message of its answer; `None` for a bare acknowledgement.
fn ask(request: RouteNetlinkMessage, flags: u16) -> Result<Option<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(request));
    packet.header.flags = flags;
    packet.header.sequence_number = 1;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?.payload {
        NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
        NetlinkPayload::Error(error) if error.code.is_none() => Ok(None),
        NetlinkPayload::Error(error) => Err(error.to_io().into()),
        other => bail!("the kernel answered with {other:?}"),
    }
}
