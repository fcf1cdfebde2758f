//! The bar that shows how far a verb has read.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// Over so many bytes; hidden where nobody looks, or they are not known.
pub(super) fn byte_bar(bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() || bytes == 0 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} to go {msg}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
