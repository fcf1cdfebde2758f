//! `StopSignals`: by which an operator or the system ends a verb that goes on until then.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` when it was to be ignored from the start, as `nohup` has it.
    hang_up: Option<Signal>,
}

impl StopSignals {
    pub(super) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        let ignored = procfs::process::Process::myself()
            .and_then(|process| process.status())
            .map_or(0, |status| status.sigign);
        let hang_up = SignalKind::hangup();
        let is_ignored = ignored >> (hang_up.as_raw_value() - 1) & 1 == 1;
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: if is_ignored { None } else { Some(listen(hang_up)?) },
        })
    }

    pub(super) async fn received(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
        }
    }
}
