//! Takes over what an earlier agent left attached: replaces the program in its link without a gap, or
//! changes the mode. Whatever fails, the interface stays as protected as it was.

use std::fs;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;

use super::attachment::{Attachment, Mode, advice, attach_in, join, link_info, open_link};
use super::bpf_call;
use super::netlink;
use super::pins::{LinkPin, Pins};
use super::program::LoadedProgram;
use crate::config::{Capacities, ModeChoice};

const TAKEN_OVER: &str = "found attached by an earlier run, and taken over without a gap";

/// Takes over what an earlier agent pinned for the interface, of this schema or another.
pub(super) fn adopt(
    pins: &Pins,
    interface: &str,
    index: u32,
    choice: ModeChoice,
    capacities: &Capacities,
) -> Result<Option<Attachment>> {
    for pin in pins.links()?.into_iter().filter(|pin| pin.interface == interface) {
        let link = open_link(&pin.path)?;
        let info = link_info(&link)?;
        let attached = netlink::attached_program(index)?.filter(|_| info.interface_index == index);
        let Some(attached) = attached else {
            // The interface was made anew.
            drop(link);
            fs::remove_file(&pin.path)
                .with_context(|| format!("cannot remove the stale pin {}", pin.path.display()))?;
            continue;
        };
        let loaded = LoadedProgram::load(pins, capacities)?;
        let (mode, program_id, why) = if choice.accepts(attached.mode) {
            let program_id = put_into_link(loaded, pins, &pin)?;
            (attached.mode, program_id, TAKEN_OVER.to_owned())
        } else {
            let mode = attached.mode.other();
            change_mode(loaded, pins, &pin, &link, index, attached.mode)?;
            let program_id = netlink::attached_program(index)?.map_or(0, |program| program.id);
            (mode, program_id, join("changed from the mode of an earlier run", advice(index, mode)))
        };
        return Ok(Some(Attachment {
            interface: interface.to_owned(),
            mode,
            program_id,
            why,
            is_adopted: mode == attached.mode,
        }));
    }
    Ok(None)
}

/// Replaces the program of a pinned link; returns the new one's number.
fn put_into_link(mut loaded: LoadedProgram, pins: &Pins, pin: &LinkPin) -> Result<u32> {
    let fd_link: FdLink = PinnedLink::from_pin(&pin.path)?.into();
    let link = XdpLink::try_from(fd_link)
        .with_context(|| format!("the pin {} is not a link of an XDP program", pin.path.display()))?;
    let program = loaded.program_mut()?;
    let id = program
        .attach_to_link(link)
        .with_context(|| format!("cannot replace the program on `{}`", pin.interface))?;
    let home = pins.link(&pin.interface);
    if pin.path != home {
        let link: FdLink = program.take_link(id)?.try_into()?;
        drop(link.pin(&home)?);
        fs::remove_file(&pin.path)?;
    }
    loaded.id()
}

/// Attaches the program in the other mode, for which the kernel wants the first one off; when that
/// fails, the old program goes back to where it was.
fn change_mode(
    loaded: LoadedProgram,
    pins: &Pins,
    pin: &LinkPin,
    link: &OwnedFd,
    index: u32,
    old: Mode,
) -> Result<()> {
    let (interface, new) = (pin.interface.as_str(), old.other());
    let program = bpf_call::program_by_id(link_info(link)?.program_id)
        .with_context(|| format!("cannot open the program on `{interface}`"))?;
    tracing::warn!(
        interface,
        from = old.name(),
        to = new.name(),
        "changing the mode: nothing is filtered for a moment"
    );
    bpf_call::link_detach(link).with_context(|| format!("cannot take the program off `{interface}`"))?;
    let attached = fs::remove_file(&pin.path)
        .map_err(anyhow::Error::from)
        .and_then(|()| attach_in(loaded, pins, interface, index, new));
    let Err(error) = attached else {
        return Ok(());
    };
    let back = bpf_call::xdp_link(&program, index, old.flags())
        .and_then(|restored| bpf_call::pin(&restored, &pin.path));
    let what_stands = match back {
        Ok(()) => format!("it filters in {} mode as before", old.name()),
        Err(lost) => format!("and not in {} mode again ({lost}): nothing is filtered", old.name()),
    };
    Err(error.context(format!("cannot attach to `{interface}` in {} mode; {what_stands}", new.name())))
}
