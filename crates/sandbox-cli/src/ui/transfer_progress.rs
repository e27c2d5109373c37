//! How far a copy is, on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sandbox::Transfer;
use tokio::io::{AsyncRead, AsyncWrite};

/// A copy that takes no longer needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// How often it moves though nothing did: the rate falls then.
const TICK: Duration = Duration::from_millis(200);
const KNOWN: &str = "{bytes} of {total_bytes}  {wide_bar}  {binary_bytes_per_sec}  {eta} left";
const UNKNOWN: &str = "{bytes}  {binary_bytes_per_sec}";

/// A bar on stderr, where that is a terminal; else nothing.
pub(crate) struct TransferProgress(Option<ProgressBar>);

impl TransferProgress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self((!quiet && std::io::stderr().is_terminal()).then(ProgressBar::no_length))
    }

    /// Lets the bar follow a transfer.
    pub(crate) fn watch(&self, transfer: Transfer) -> Transfer {
        let Some(bar) = self.0.clone() else {
            return transfer;
        };
        let begun = std::time::Instant::now();
        transfer.progress(move |done| {
            if begun.elapsed() < PATIENCE {
                return;
            }
            if let Some(total) = done.total
                && bar.length() != Some(total)
            {
                bar.set_length(total);
                bar.set_style(style(KNOWN));
            }
            bar.set_position(done.bytes);
        })
    }

    /// Standard input, with the bar following what is read of it. No bar where somebody types.
    pub(crate) fn input(&self) -> impl AsyncRead + Send + Unpin + 'static {
        let bar = if std::io::stdin().is_terminal() {
            ProgressBar::hidden()
        } else {
            self.late(None)
        };
        bar.wrap_async_read(tokio::io::stdin())
    }

    /// Standard output, with the bar following what is written there, of so many bytes if that is known.
    /// No bar where it is a terminal: it would be in the text.
    pub(crate) fn output(&self, total: Option<u64>) -> impl AsyncWrite + Send + Unpin + 'static {
        let stdout = tokio::io::stdout();
        let bar = if std::io::stdout().is_terminal() {
            ProgressBar::hidden()
        } else {
            self.late(total)
        };
        bar.wrap_async_write(stdout)
    }

    /// The bar, out of sight for a while.
    fn late(&self, total: Option<u64>) -> ProgressBar {
        let Some(bar) = self.0.clone() else {
            return ProgressBar::hidden();
        };
        bar.set_draw_target(ProgressDrawTarget::hidden());
        bar.set_style(style(if total.is_some() { KNOWN } else { UNKNOWN }));
        if let Some(total) = total {
            bar.set_length(total);
        }
        let shown = bar.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            // One that has come to its end draws nothing any more.
            shown.set_draw_target(ProgressDrawTarget::stderr());
            shown.enable_steady_tick(TICK);
        });
        bar
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for TransferProgress {
    fn drop(&mut self) {
        self.end();
    }
}

/// Without colours.
fn style(template: &str) -> ProgressStyle {
    // A template is wrong or right for good; the usual bar is right.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
