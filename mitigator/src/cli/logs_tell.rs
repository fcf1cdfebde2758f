//! Tells who was blocked while a log is followed, beside the judging: a mail server that is slow must not hold up blocks.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::Clock;
use crate::notify::{self, Blamed, Handed, Message, NotifySettings};

/// Who wait to be told, and who are told at once.
const MOST_WAITING: usize = 10_000;
/// Those of one moment are told together.
const MOMENT: Duration = Duration::from_secs(2);
/// Between two messages: what comes meanwhile is told together.
const PAUSE: Duration = Duration::from_mins(3);

/// Tells everybody, on a thread of its own.
pub(super) struct Teller {
    sender: SyncSender<Blamed>,
    thread: JoinHandle<()>,
}

impl Teller {
    /// Tells what is blamed in `logs`.
    pub(super) fn start(settings: NotifySettings, logs: String, handed: Handed) -> Self {
        let (sender, receiver) = sync_channel(MOST_WAITING);
        let thread = std::thread::spawn(move || {
            tell(&receiver, |blamed| {
                let headline = format!("{} clients attack", blamed.len());
                let message = Message::success(&logs, &headline, blamed, handed);
                if let Err(error) = notify::send(&settings, &message) {
                    tracing::warn!("{error:#}");
                }
            });
        });
        Self { sender, thread }
    }

    /// Takes somebody to be told.
    pub(super) fn take(&self, blamed: Blamed) {
        if self.sender.try_send(blamed).is_err() {
            tracing::warn!("more clients are blamed than can be told; the log of events has all");
        }
    }

    /// Tells the rest.
    pub(super) fn finish(self) {
        drop(self.sender);
        if self.thread.join().is_err() {
            tracing::error!("who tells ended by a fault of its own; the last could not be told");
        }
    }
}

fn tell<T>(receiver: &Receiver<T>, mut send: impl FnMut(&[T])) {
    let mut waiting = Vec::new();
    let mut is_open = true;
    while is_open || !waiting.is_empty() {
        if waiting.is_empty() {
            let Ok(first) = receiver.recv() else { return };
            waiting.push(first);
        }
        is_open = collect(receiver, &mut waiting, MOMENT);
        send(&std::mem::take(&mut waiting));
        is_open = is_open && collect(receiver, &mut waiting, PAUSE);
    }
}

/// Collects for a while; says whether more may come.
fn collect<T>(receiver: &Receiver<T>, waiting: &mut Vec<T>, most: Duration) -> bool {
    let end = Clock::now().monotonic() + most;
    loop {
        match receiver.recv_timeout(end.since(Clock::now().monotonic())) {
            Ok(one) if waiting.len() < MOST_WAITING => waiting.push(one),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_one_moment_are_told_together_also_at_the_end() {
        let (sender, receiver) = sync_channel(10);
        (1..=3).for_each(|number| sender.send(number).unwrap());
        drop(sender);
        let mut told: Vec<Vec<i32>> = Vec::new();
        tell(&receiver, |together| told.push(together.to_vec()));
        assert_eq!(told, [vec![1, 2, 3]]);
    }
}
