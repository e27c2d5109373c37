//! The terminal of this program: its size, and raw mode.

use std::io::IsTerminal;

use sandbox::PtySize;

pub(crate) use system::{RawMode, Resizes, size};

/// What a terminal has that tells no size.
const USUAL: PtySize = PtySize {
    columns: 80,
    rows: 24,
};

/// The kind of terminal, for programs inside.
pub(crate) fn kind() -> String {
    std::env::var("TERM")
        .ok()
        .filter(|term| !term.is_empty())
        .unwrap_or_else(|| "xterm-256color".into())
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
    use std::sync::{Mutex, Once, PoisonError};

    use anyhow::{Context, Result};
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
    use sandbox::PtySize;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Passes every key as it is, until dropped, or until a panic has something to say.
    pub(crate) struct RawMode(());

    /// How the terminal was.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

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
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
            restore_before_panics();
            tcsetattr(&stdin, OptionalActions::Now, &raw)
                .context("cannot change the terminal's settings")?;
            Ok(Some(Self(())))
        }
    }

    impl Drop for RawMode {
        fn drop(&mut self) {
            restore();
        }
    }

    fn restore() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A terminal that hung up needs nothing any more.
            let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }

    /// What a panic says is for a terminal that is as it was; and nobody may come to drop the guard.
    fn restore_before_panics() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                report(panic);
            }));
        });
    }

    impl Resizes {
        pub(crate) fn new() -> Result<Self> {
            Ok(Self(
                signal(SignalKind::window_change()).context("cannot listen for signals")?,
            ))
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
            .map_or(super::USUAL, |size| PtySize {
                columns: size.ws_col,
                rows: size.ws_row,
            })
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
                bail!(
                    "-t is not supported by this system's terminals: leave it out, or use a Unix system"
                );
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

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::RawMode;

    /// The test's standard input becomes a terminal, which no other test uses.
    #[test]
    fn after_a_panic_the_terminal_is_as_it_was() {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap().into_string().unwrap();
        let no_controlling_terminal = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
        let program = File::options()
            .read(true)
            .write(true)
            .custom_flags(no_controlling_terminal)
            .open(name)
            .unwrap();
        rustix::stdio::dup2_stdin(&program).unwrap();
        let is_cooked = || {
            tcgetattr(&program)
                .unwrap()
                .local_modes
                .contains(LocalModes::ICANON)
        };

        assert!(is_cooked());
        let raw = RawMode::enter().unwrap().unwrap();
        assert!(!is_cooked());
        // Forgotten, as where a panic ends the program at once.
        std::mem::forget(raw);
        assert!(std::thread::spawn(|| panic!("a test's")).join().is_err());
        assert!(is_cooked());

        drop(RawMode::enter().unwrap().unwrap());
        assert!(is_cooked());
    }
}
