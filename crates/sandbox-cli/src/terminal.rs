//! The terminal of this program: its size, and raw mode.

use std::io::IsTerminal;

use sandbox::PtySize;

pub(crate) use system::{RawMode, Resizes, size};

/// What a terminal has that tells no size.
const USUAL: PtySize = PtySize { columns: 80, rows: 24 };

/// The kind of terminal, for programs inside.
pub(crate) fn kind() -> String {
    std::env::var("TERM").ok().filter(|term| !term.is_empty()).unwrap_or_else(|| "xterm-256color".into())
}

/// Whether colours may be written there: to a terminal that has them, and not where NO_COLOR is set
/// (<https://no-color.org>).
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !set("NO_COLOR") && !dumb
}

#[cfg(unix)]
mod system {
    use std::io::{self, IsTerminal};

    use anyhow::{Context, Result};
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
    use sandbox::PtySize;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Passes every key as it is, until dropped.
    pub(crate) struct RawMode {
        before: Termios,
    }

    /// Changes of the terminal's size.
    pub(crate) struct Resizes(Signal);

    impl RawMode {
        /// Puts the terminal that is standard input into raw mode; none for a pipe or file.
        pub(crate) fn enter() -> Result<Option<Self>> {
            let stdin = io::stdin();
            if !stdin.is_terminal() {
                return Ok(None);
            }
            let before = tcgetattr(&stdin).context("cannot read the terminal's settings")?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(&stdin, OptionalActions::Now, &raw).context("cannot change the terminal's settings")?;
            Ok(Some(Self { before }))
        }
    }

    impl Drop for RawMode {
        fn drop(&mut self) {
            // A terminal that hung up needs nothing any more.
            let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        }
    }

    impl Resizes {
        pub(crate) fn new() -> Result<Self> {
            Ok(Self(signal(SignalKind::window_change()).context("cannot listen for signals")?))
        }

        /// The next size.
        pub(crate) async fn next(&mut self) -> PtySize {
            if self.0.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            size()
        }
    }

    /// The size of the terminal on standard output or input, else the usual one.
    pub(crate) fn size() -> PtySize {
        let sizes = [tcgetwinsize(io::stdout()), tcgetwinsize(io::stdin())];
        sizes
            .into_iter()
            .flatten()
            .find(|size| size.ws_col > 0 && size.ws_row > 0)
            .map_or(super::USUAL, |size| PtySize { columns: size.ws_col, rows: size.ws_row })
    }
}

#[cfg(not(unix))]
mod system {
    use std::io::{self, IsTerminal};

    use anyhow::{Result, bail};
    use sandbox::PtySize;

    /// Passes every key as it is, until dropped.
    pub(crate) struct RawMode;

    /// Changes of the terminal's size.
    pub(crate) struct Resizes;

    impl RawMode {
        pub(crate) fn enter() -> Result<Option<Self>> {
            if io::stdin().is_terminal() {
                bail!("-t is not supported by this system's terminals: leave it out, or use a Unix system");
            }
            Ok(None)
        }
    }

    impl Resizes {
        pub(crate) fn new() -> Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn next(&mut self) -> PtySize {
            std::future::pending().await
        }
    }

    pub(crate) fn size() -> PtySize {
        super::USUAL
    }
}
