//! Attaches the classifier that counts what this host sends, so that answers are known to be answers.
//!
//! Kernels from 6.6 on hold it by a link, pinned beside those of the XDP program; older ones by a filter
//! of the `clsact` queueing discipline (4.5), which stays by itself.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;

use super::bpf_call;
use super::pins::{LinkPin, Pins};
use super::program::{CLASSIFIER, LoadedClassifier};
use crate::config::Capacities;

/// Attaches the classifier to `interface`, in place of what an earlier run left there.
pub(super) fn attach(pins: &Pins, interface: &str, capacities: &Capacities) -> Result<()> {
    let mut loaded = LoadedClassifier::load(pins, capacities)?;
    let classifier = loaded.program_mut()?;
    if has_links() { attach_link(classifier, pins, interface) } else { attach_filter(classifier, interface) }
}

fn attach_link(classifier: &mut SchedClassifier, pins: &Pins, interface: &str) -> Result<()> {
    let home = pins.sent_link(interface);
    for pin in pins.sent_links()?.into_iter().filter(|pin| pin.interface == interface) {
        if pin.path == home && adopt(classifier, &pin).is_ok() {
            return Ok(());
        }
        // Of another schema, or of an interface that was made anew.
        take_off_link(&pin)?;
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = classifier.attach_with_options(interface, TcAttachType::Egress, options)?;
    let link: FdLink = classifier.take_link(id)?.try_into()?;
    drop(link.pin(&home).with_context(|| format!("cannot pin the link at {}", home.display()))?);
    Ok(())
}

fn adopt(classifier: &mut SchedClassifier, pin: &LinkPin) -> Result<()> {
    let link: FdLink = PinnedLink::from_pin(&pin.path)?.into();
    classifier.attach_to_link(SchedClassifierLink::try_from(link)?)?;
    Ok(())
}

fn attach_filter(classifier: &mut SchedClassifier, interface: &str) -> Result<()> {
    // Present already when somebody else filters there; what is wrong otherwise, attaching says.
    let _ = tc::qdisc_add_clsact(interface);
    take_off_filters(interface)?;
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let id = classifier.attach_with_options(interface, TcAttachType::Egress, options)?;
    // Dropping it would take the filter off.
    std::mem::forget(classifier.take_link(id)?);
    Ok(())
}

/// Takes the classifier off `interface`, of every schema.
pub(super) fn take_off(pins: &Pins, interface: &str) -> Result<()> {
    for pin in pins.sent_links()?.into_iter().filter(|pin| pin.interface == interface) {
        take_off_link(&pin)?;
    }
    take_off_filters(interface)
}

fn take_off_link(pin: &LinkPin) -> Result<()> {
    let link = bpf_call::open_pin(&pin.path)
        .with_context(|| format!("cannot open the link at {}", pin.path.display()))?;
    // A link whose interface is gone has nothing to take off.
    let _ = bpf_call::link_detach(&link);
    fs::remove_file(&pin.path).with_context(|| format!("cannot remove {}", pin.path.display()))
}

fn take_off_filters(interface: &str) -> Result<()> {
    if has_links() {
        return Ok(());
    }
    match tc::qdisc_detach_program(interface, TcAttachType::Egress, CLASSIFIER) {
        Err(TcError::IoError(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        // The interface may be gone, or have no such discipline.
        Err(error) => {
            tracing::debug!(interface, "no classifier taken off: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Links of classifiers came with kernel 6.6.
fn has_links() -> bool {
    KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 6, 0))
}
