//! Shows the progress of a copy on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sandbox::Transfer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ui::stdio::{AsyncStdin, AsyncStdout};

/// No bar is shown if the copy takes less time than this.
const DELAY: Duration = Duration::from_millis(500);

/// How often the bar is redrawn without progress, so that the displayed rate falls.
const TICK: Duration = Duration::from_millis(200);
/// The bar if the total is known.
const WITH_TOTAL: &str = "{bytes} of {total_bytes}  {wide_bar}  {binary_bytes_per_sec}  {eta} left";
/// The bar if the total is not known.
const WITHOUT_TOTAL: &str = "{bytes}  {binary_bytes_per_sec}";

/// A progress bar on stderr if it is a terminal, else nothing.
pub(crate) struct TransferProgress(Option<ProgressBar>);

impl TransferProgress {
    /// Creates the bar, without showing it.
    pub(crate) fn new(quiet: bool) -> Self {
        Self((!quiet && std::io::stderr().is_terminal()).then(ProgressBar::no_length))
    }

    /// Shows the progress of a transfer.
    pub(crate) fn track(&self, transfer: Transfer) -> Transfer {
        let Some(bar) = self.0.clone() else {
            return transfer;
        };
        let started_at = std::time::Instant::now();
        transfer.progress(move |done| {
            if started_at.elapsed() < DELAY {
                return;
            }
            if let Some(total) = done.total
                && bar.length() != Some(total)
            {
                bar.set_length(total);
                bar.set_style(bar_style(WITH_TOTAL));
            }
            bar.set_position(done.bytes);
        })
    }

    /// Returns stdin, and shows how much is read from it. There is no bar if stdin is a terminal.
    pub(crate) fn wrap_stdin(&self) -> impl AsyncRead + Send + Unpin + 'static {
        let bar = if std::io::stdin().is_terminal() {
            ProgressBar::hidden()
        } else {
            self.show_delayed(None)
        };
        bar.wrap_async_read(AsyncStdin::default())
    }

    /// Returns stdout, and shows how much of `total` is written to it. There is no bar if stdout is
    /// a terminal, because it would be in the middle of the content.
    pub(crate) fn wrap_stdout(
        &self,
        total: Option<u64>,
    ) -> impl AsyncWrite + Send + Unpin + 'static {
        let stdout = AsyncStdout::default();
        let bar = if std::io::stdout().is_terminal() {
            ProgressBar::hidden()
        } else {
            self.show_delayed(total)
        };
        bar.wrap_async_write(stdout)
    }

    /// Returns the bar, hidden at first.
    fn show_delayed(&self, total: Option<u64>) -> ProgressBar {
        let Some(bar) = self.0.clone() else {
            return ProgressBar::hidden();
        };
        bar.set_draw_target(ProgressDrawTarget::hidden());
        bar.set_style(bar_style(if total.is_some() {
            WITH_TOTAL
        } else {
            WITHOUT_TOTAL
        }));
        if let Some(total) = total {
            bar.set_length(total);
        }
        let shown = bar.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            // A finished bar draws nothing.
            shown.set_draw_target(ProgressDrawTarget::stderr());
            shown.enable_steady_tick(TICK);
        });
        bar
    }

    /// Removes the bar from the terminal.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl Drop for TransferProgress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn bar_style(template: &str) -> ProgressStyle {
    // The templates are constants; the default style would only appear if one of them were invalid.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
