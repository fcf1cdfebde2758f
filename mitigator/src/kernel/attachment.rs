//! Attaches the program to interfaces and takes it off: modes, pinned links, foreign programs.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpMode;

use super::adoption;
use super::bpf_call::{self, LINK_KIND_XDP, XdpLinkInfo};
use super::netlink;
use super::pins::{LinkPin, Pins};
use super::program::LoadedProgram;
use super::sent;
use crate::config::{Capacities, ModeChoice};

/// Where the kernel runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, before the kernel allocates anything.
    Native,
    /// In the network stack, after it allocated the packet's buffer.
    Generic,
}

impl Mode {
    /// In the operator's words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// As the kernel takes it: `XDP_FLAGS_DRV_MODE` or `XDP_FLAGS_SKB_MODE`.
    pub(super) const fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Native => Self::Generic,
            Self::Generic => Self::Native,
        }
    }
}

/// An interface the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// Where the kernel runs the program.
    pub mode: Mode,
    /// Number of the program.
    pub program_id: u32,
    /// Why this mode, and what would help; empty when there is nothing to say.
    pub why: String,
    /// Whether the link was there already and got this program without a gap.
    pub is_adopted: bool,
}

/// What to do about an interface that has somebody else's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignProgram {
    /// Leave it and fail.
    Refuse,
    /// Take it off.
    Replace,
}

/// Attaches the program to `interface`, or puts it into the link that is pinned for it.
///
/// # Errors
///
/// When the interface does not exist, has a foreign program that may not be replaced, or the kernel
/// refuses every mode asked for. An interface that was protected before still is.
pub fn attach(
    pins: &Pins,
    interface: &str,
    choice: ModeChoice,
    foreign: ForeignProgram,
    capacities: &Capacities,
) -> Result<Attachment> {
    let index = nix::net::if_::if_nametoindex(interface)
        .map_err(|_| anyhow::anyhow!("there is no interface `{interface}`; `ip link` lists them"))?;
    let mut attachment = match adoption::adopt(pins, interface, index, choice, capacities)? {
        Some(adopted) => adopted,
        None => {
            make_room(interface, index, foreign)?;
            let (mode, why) = attach_afresh(pins, interface, index, choice, capacities)?;
            let program_id = netlink::attached_program(index)?.map_or(0, |program| program.id);
            let why = join(&why, advice(index, mode));
            Attachment { interface: interface.to_owned(), mode, program_id, why, is_adopted: false }
        }
    };
    if let Err(error) = sent::attach(pins, interface, capacities) {
        let without =
            format!("what this host sends is not seen ({error:#}), so answers are judged as floods are");
        attachment.why = join(&attachment.why, &without);
    }
    Ok(attachment)
}

fn make_room(interface: &str, index: u32, foreign: ForeignProgram) -> Result<()> {
    let Some(program) = netlink::attached_program(index)? else {
        return Ok(());
    };
    let name = program_name(program.id);
    if foreign == ForeignProgram::Refuse {
        bail!(
            "`{interface}` already has an XDP program that is not mitigator's (`{name}`, id {}, {} mode); \
             `--replace` takes it off first",
            program.id,
            program.mode.name()
        );
    }
    tracing::warn!(interface, program = %name, id = program.id, "taking a foreign XDP program off");
    match link_of_program(program.id, index)? {
        Some(link_id) => {
            let link = bpf_call::link_by_id(link_id).context("cannot open the foreign program's link")?;
            bpf_call::link_detach(&link).context("cannot detach the foreign program's link")
        }
        None => netlink::take_off(index, program.mode),
    }
}

fn program_name(id: u32) -> String {
    aya::programs::loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The number of the link that holds a program on an interface, when it is held by one.
fn link_of_program(program_id: u32, index: u32) -> Result<Option<u32>> {
    for link in aya::programs::loaded_links() {
        let id = link.context("cannot list the kernel's links")?.id();
        let Ok(fd) = bpf_call::link_by_id(id) else {
            continue;
        };
        let info = bpf_call::link_info(fd.as_fd()).context("cannot ask the kernel about a link")?;
        if info.kind == LINK_KIND_XDP && info.program_id == program_id && info.interface_index == index {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Tries the modes in order; a first attach that fails can spoil the next, so each try loads afresh.
fn attach_afresh(
    pins: &Pins,
    interface: &str,
    index: u32,
    choice: ModeChoice,
    capacities: &Capacities,
) -> Result<(Mode, String)> {
    let native_error = if choice.accepts(Mode::Native) {
        match LoadedProgram::load(pins, capacities)
            .and_then(|loaded| attach_in(loaded, pins, interface, index, Mode::Native))
        {
            Ok(()) => return Ok((Mode::Native, String::new())),
            Err(error) if !choice.accepts(Mode::Generic) => {
                return Err(error).with_context(|| {
                    format!("cannot attach to `{interface}` in native mode; try `--xdp-mode generic`")
                });
            }
            Err(error) => Some(error),
        }
    } else {
        None
    };
    LoadedProgram::load(pins, capacities)
        .and_then(|loaded| attach_in(loaded, pins, interface, index, Mode::Generic))
        .with_context(|| format!("cannot attach to `{interface}` in any mode"))?;
    let why = match native_error {
        None => "generic mode was asked for".to_owned(),
        Some(error) => format!("native mode failed: {:#}", error.root_cause()),
    };
    Ok((Mode::Generic, why))
}

pub(super) fn attach_in(
    mut loaded: LoadedProgram,
    pins: &Pins,
    interface: &str,
    index: u32,
    mode: Mode,
) -> Result<()> {
    let program = loaded.program_mut()?;
    let flags = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
    };
    let id = program.attach_to_if_index(index, flags)?;
    let link: FdLink = program
        .take_link(id)?
        .try_into()
        .context("the kernel has no links for XDP programs; mitigator needs Linux 5.9 or newer")?;
    let path = pins.link(interface);
    drop(link.pin(&path).with_context(|| format!("cannot pin the link at {}", path.display()))?);
    Ok(())
}

/// What the operator should know about this mode on this kind of interface.
pub(super) fn advice(index: u32, mode: Mode) -> &'static str {
    match (mode, netlink::is_veth(index)) {
        (Mode::Native, true) => {
            "on a veth, native mode switches TCP segmentation offload off at the peer: bulk TCP loses about half its \
             throughput there; `--xdp-mode generic` keeps it"
        }
        (Mode::Generic, false) => {
            "in generic mode the kernel allocates each packet's buffer before the filter runs, two to three times the \
             cost per dropped packet; a driver with native XDP, a smaller MTU or fewer queues may allow native mode"
        }
        _ => "",
    }
}

pub(super) fn join(first: &str, second: &str) -> String {
    match (first, second) {
        ("", only) | (only, "") => only.to_owned(),
        (first, second) => format!("{first}; {second}"),
    }
}

/// The interfaces that the pinned links hold.
///
/// # Errors
///
/// When a pin cannot be opened.
pub fn list(pins: &Pins) -> Result<Vec<Attachment>> {
    let mut found = Vec::new();
    for pin in pins.links()? {
        let info = link_info(&open_link(&pin.path)?)?;
        if info.interface_index == 0 {
            continue;
        }
        let mode = netlink::attached_program(info.interface_index)
            .ok()
            .flatten()
            .map_or(Mode::Native, |program| program.mode);
        let interface = nix::net::if_::if_indextoname(info.interface_index)
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or(pin.interface);
        found.push(Attachment {
            interface,
            mode,
            program_id: info.program_id,
            why: String::new(),
            is_adopted: true,
        });
    }
    Ok(found)
}

/// Whether the link that is pinned for `interface` still holds one: the kernel lets go of an interface that is
/// deleted.
///
/// # Errors
///
/// When the pin is there and cannot be opened.
pub fn stands(pins: &Pins, interface: &str) -> Result<bool> {
    let pin = pins.link(interface);
    Ok(pin.exists() && link_info(&open_link(&pin)?)?.interface_index != 0)
}

/// Whether there is an interface of that name.
#[must_use]
pub fn is_there(interface: &str) -> bool {
    nix::net::if_::if_nametoindex(interface).is_ok()
}

/// Takes the program off `interfaces` again, and removes the maps that no link is left to need, after
/// a run that failed had made them.
///
/// # Errors
///
/// When a pin cannot be removed.
pub fn undo(pins: &Pins, interfaces: &[String], made_maps: bool) -> Result<()> {
    for pin in pins.links()?.into_iter().filter(|pin| interfaces.contains(&pin.interface)) {
        sent::take_off(pins, &pin.interface)?;
        take_off(&pin)?;
    }
    if made_maps { pins.remove_unused() } else { Ok(()) }
}

/// Detaches from every interface and removes all pins; returns the interfaces that were attached.
///
/// # Errors
///
/// When a pin cannot be removed.
pub fn detach(pins: &Pins) -> Result<Vec<String>> {
    let mut detached = Vec::new();
    for pin in pins.links()? {
        sent::take_off(pins, &pin.interface)?;
        take_off(&pin)?;
        detached.push(pin.interface);
    }
    pins.remove()?;
    Ok(detached)
}

/// At once, rather than when the kernel gets around to freeing the link.
fn take_off(pin: &LinkPin) -> Result<()> {
    let link = open_link(&pin.path)?;
    bpf_call::link_detach(&link)
        .with_context(|| format!("cannot take the program off `{}`", pin.interface))?;
    fs::remove_file(&pin.path).with_context(|| format!("cannot remove {}", pin.path.display()))
}

pub(super) fn open_link(path: &Path) -> Result<OwnedFd> {
    bpf_call::open_pin(path).with_context(|| format!("cannot open the link at {}", path.display()))
}

pub(super) fn link_info(link: &OwnedFd) -> Result<XdpLinkInfo> {
    bpf_call::link_info(link.as_fd()).context("cannot ask the kernel about a link")
}
