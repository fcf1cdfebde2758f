//! A line on the terminal that says what is happening; nothing in a pipe.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Moves by itself, a step a second.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For something that takes about `length`.
    pub(crate) fn new(length: Duration) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(length.as_secs()), target);
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} of about {len} s  {spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar }
    }

    /// From here on, this is happening.
    pub(crate) fn say(&self, what: &'static str) {
        self.bar.set_message(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
