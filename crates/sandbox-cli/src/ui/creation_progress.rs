//! The steps of a creation, live on a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use sandbox::{SandboxEvent, SandboxEventKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::ui::escape::Escaped;
use crate::ui::terminal;

/// A creation that takes no longer needs no explanation.
const PATIENCE: Duration = Duration::from_millis(300);

/// Shows each step as it happens, one a line with the time since the beginning: on stderr, and
/// only where that is a terminal. The log has them in any case (`--verbose`).
pub(crate) struct CreationProgress {
    /// `None` is the end.
    steps: mpsc::UnboundedSender<Option<Step>>,
    writer: JoinHandle<()>,
    begun: Instant,
}

struct Step {
    after: Duration,
    kind: SandboxEventKind,
    message: String,
}

impl CreationProgress {
    pub(crate) fn begin(quiet: bool) -> Self {
        let (steps, told) = mpsc::unbounded_channel();
        let stderr = std::io::stderr();
        let style = (!quiet && stderr.is_terminal()).then(|| Style {
            colours: terminal::has_colours(&stderr),
        });
        Self {
            steps,
            writer: tokio::spawn(write(told, style)),
            begun: Instant::now(),
        }
    }

    /// For [`on_event`](sandbox::SandboxBuilder::on_event).
    pub(crate) fn hook(&self) -> impl Fn(&SandboxEvent) + Send + Sync + 'static {
        let (steps, begun) = (self.steps.clone(), self.begun);
        move |event| {
            tracing::info!(message = %Escaped(&event.message), "{}", event.kind);
            let step = Step {
                after: begun.elapsed(),
                kind: event.kind,
                message: event.message.clone(),
            };
            // Nobody listens when the end has been written.
            let _late = steps.send(Some(step));
        }
    }

    /// Returns when all that was told so far is written.
    pub(crate) async fn end(self) {
        // Where there is no terminal nobody listens.
        let _unheard = self.steps.send(None);
        // It does not panic, and there is nothing else to do.
        let _ended = self.writer.await;
    }
}

async fn write(mut told: mpsc::UnboundedReceiver<Option<Step>>, style: Option<Style>) {
    let Some(style) = style else { return };
    let mut early = String::new();
    let slow = tokio::time::sleep(PATIENCE);
    tokio::pin!(slow);
    loop {
        tokio::select! {
            step = told.recv() => match step.flatten() {
                Some(step) => early.push_str(&style.line(&step)),
                None => return,
            },
            () = &mut slow => break,
        }
    }
    to_terminal(&early);
    while let Some(step) = told.recv().await.flatten() {
        to_terminal(&style.line(&step));
    }
}

fn to_terminal(text: &str) {
    // Nothing is left to tell it to when the terminal has gone.
    let _gone = std::io::stderr().write_all(text.as_bytes());
}

/// How a line is written.
struct Style {
    colours: bool,
}

impl Style {
    fn line(&self, step: &Step) -> String {
        let colour = match step.kind {
            SandboxEventKind::Failed | SandboxEventKind::Deleted => "\x1b[31m",
            SandboxEventKind::Warning => "\x1b[33m",
            SandboxEventKind::Ready => "\x1b[32m",
            _ => "",
        };
        let (dim, colour, plain) = match self.colours {
            true => ("\x1b[2m", colour, "\x1b[0m"),
            false => ("", "", ""),
        };
        let (time, kind) = (step.after.as_secs_f64(), step.kind.to_string());
        // The words may come from an image or a registry.
        let message: Vec<String> = step
            .message
            .lines()
            .map(|line| Escaped(line).to_string())
            .collect();
        let line = format!(
            "{dim}{time:8.2} s{plain}  {colour}{kind:<9}{plain}  {}",
            message.join(" ")
        );
        format!("{}\n", line.trim_end())
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
    fn a_line_has_the_time_the_step_and_harmless_words() {
        let plain = Style { colours: false };
        let scheduled = plain.line(&step(SandboxEventKind::Scheduled, "on node-1"));
        assert_eq!(scheduled, "    1.23 s  Scheduled  on node-1\n");
        assert_eq!(
            plain.line(&step(SandboxEventKind::Started, "")),
            "    1.23 s  Started\n"
        );
        let hostile = plain.line(&step(SandboxEventKind::Warning, "a\n\u{1b}[2Jb"));
        assert_eq!(hostile, "    1.23 s  Warning    a \\u{1b}[2Jb\n");
        let coloured = Style { colours: true }.line(&step(SandboxEventKind::Failed, "why"));
        assert!(
            coloured.contains("\x1b[31mFailed   \x1b[0m"),
            "{coloured:?}"
        );
    }

    #[tokio::test]
    async fn it_ends_when_all_is_told() {
        let progress = CreationProgress::begin(false);
        let hook = progress.hook();
        progress.end().await;
        // Late, and harmless.
        let (at, kind) = (std::time::SystemTime::now(), SandboxEventKind::Ready);
        hook(&SandboxEvent {
            at,
            kind,
            message: String::new(),
        });
    }
}
