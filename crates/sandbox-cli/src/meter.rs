//! How far a copy is, on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sandbox::Transfer;

/// A copy that takes no longer needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar on stderr, where that is a terminal; else nothing.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self((!quiet && std::io::stderr().is_terminal()).then(ProgressBar::no_length))
    }

    /// Lets the bar follow a transfer.
    pub(crate) fn watch(&self, transfer: Transfer) -> Transfer {
        let Some(bar) = self.0.clone() else { return transfer };
        let begun = std::time::Instant::now();
        transfer.progress(move |done| {
            if begun.elapsed() < PATIENCE {
                return;
            }
            if let Some(total) = done.total
                && bar.length() != Some(total)
            {
                bar.set_length(total);
                bar.set_style(style(
                    "{bytes} of {total_bytes}  {wide_bar}  {binary_bytes_per_sec}  {eta} left",
                ));
            }
            bar.set_position(done.bytes);
        })
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// Without colours.
fn style(template: &str) -> ProgressStyle {
    // A template is wrong or right for good; the usual bar is right.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
