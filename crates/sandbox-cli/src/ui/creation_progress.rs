//! Shows the steps of a creation on a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use sandbox::{SandboxEvent, SandboxEventKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::ui::printable::Printable;
use crate::ui::{messages, terminal};

/// Nothing is shown if the creation takes less time than this.
const DELAY: Duration = Duration::from_millis(300);

/// Shows each step as it happens on a line with the time since the start, on stderr if it is a
/// terminal. The steps are also logged (`--verbose`).
pub(crate) struct CreationProgress {
    /// `None` ends the writer.
    steps: mpsc::UnboundedSender<Option<Step>>,
    writer: JoinHandle<()>,
    started_at: Instant,
}

struct Step {
    after: Duration,
    kind: SandboxEventKind,
    message: String,
}

impl CreationProgress {
    /// Starts the task that writes.
    pub(crate) fn start(quiet: bool) -> Self {
        let (steps, receiver) = mpsc::unbounded_channel();
        let stderr = std::io::stderr();
        let style = (!quiet && stderr.is_terminal()).then(|| Style {
            colours: terminal::has_colours(&stderr),
        });
        Self {
            steps,
            writer: tokio::spawn(write_steps(receiver, style)),
            started_at: Instant::now(),
        }
    }

    /// Returns a callback for [`on_event`](sandbox::SandboxBuilder::on_event).
    pub(crate) fn callback(&self) -> impl Fn(&SandboxEvent) + Send + Sync + 'static {
        let (steps, started_at) = (self.steps.clone(), self.started_at);
        move |event| {
            match event.message.as_str() {
                "" => tracing::info!("{}", event.kind),
                message => tracing::info!("{} {}", event.kind, sandbox::Escaped::new(message)),
            }
            let step = Step {
                after: started_at.elapsed(),
                kind: event.kind,
                message: event.message.clone(),
            };
            // The writer has ended by then if stderr is not a terminal.
            let _ended = steps.send(Some(step));
        }
    }

    /// Waits until all steps so far are written.
    pub(crate) async fn finish(self) {
        // The writer ends at once if stderr is not a terminal.
        let _ended = self.steps.send(None);
        // The only error is a panic of the writer, which has no other effect.
        let _ended = self.writer.await;
    }
}

async fn write_steps(mut receiver: mpsc::UnboundedReceiver<Option<Step>>, style: Option<Style>) {
    let Some(style) = style else { return };
    let mut delayed = Printable::default();
    let delay = tokio::time::sleep(DELAY);
    tokio::pin!(delay);
    loop {
        tokio::select! {
            step = receiver.recv() => match step.flatten() {
                Some(step) => delayed = delayed.with(&style.format_line(&step)),
                None => return,
            },
            () = &mut delay => break,
        }
    }
    messages::write_stderr(&delayed);
    while let Some(step) = receiver.recv().await.flatten() {
        messages::write_stderr(&style.format_line(&step));
    }
}

/// How lines are formatted.
struct Style {
    colours: bool,
}

impl Style {
    fn format_line(&self, step: &Step) -> Printable {
        let colour = match step.kind {
            SandboxEventKind::Failed | SandboxEventKind::Ended | SandboxEventKind::Deleted => {
                "\x1b[31m"
            }
            SandboxEventKind::Warning | SandboxEventKind::ResizePending => "\x1b[33m",
            SandboxEventKind::Ready => "\x1b[32m",
            _ => "",
        };
        let (dim, colour, plain) = if self.colours {
            ("\x1b[2m", colour, "\x1b[0m")
        } else {
            ("", "", "")
        };
        let time = step.after.as_secs_f64();
        let kind = step.kind.to_string();
        // The message may come from an image or a registry, so it is escaped.
        let message: Vec<&str> = step.message.lines().collect();
        let message = Printable::line(message.join(" "));
        let line = Printable::trusted(format!(
            "{dim}{time:8.2} s{plain}  {colour}{kind:<9}{plain}  "
        ));
        let line = line.with(&message);
        Printable::trusted(line.as_str().trim_end()).with_trusted("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: SandboxEventKind, message: &str) -> Step {
        Step {
            after: Duration::from_millis(1234),
            kind,
            message: message.into(),
        }
    }

    #[test]
    fn a_line_has_the_time_the_step_and_an_escaped_message() {
        let plain = Style { colours: false };
        let scheduled = plain.format_line(&step(SandboxEventKind::Scheduled, "on node-1"));
        assert_eq!(scheduled.as_str(), "    1.23 s  Scheduled  on node-1\n");
        assert_eq!(
            plain
                .format_line(&step(SandboxEventKind::Started, ""))
                .as_str(),
            "    1.23 s  Started\n"
        );
        let hostile = plain.format_line(&step(SandboxEventKind::Warning, "a\n\u{1b}[2Jb"));
        assert_eq!(hostile.as_str(), "    1.23 s  Warning    a \\u{1b}[2Jb\n");
        let coloured = Style { colours: true }.format_line(&step(SandboxEventKind::Failed, "why"));
        assert!(
            coloured.as_str().contains("\x1b[31mFailed   \x1b[0m"),
            "{coloured:?}"
        );
    }

    #[tokio::test]
    async fn finish_returns_and_later_events_are_ignored() {
        let progress = CreationProgress::start(false);
        let callback = progress.callback();
        progress.finish().await;
        let at = std::time::SystemTime::now();
        let kind = SandboxEventKind::Ready;
        callback(&SandboxEvent {
            at,
            kind,
            message: String::new(),
        });
    }
}
