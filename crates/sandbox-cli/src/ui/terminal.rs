//! The user's terminal: its size, colours, and raw mode.

use std::io::IsTerminal;

use sandbox::PtySize;

pub(crate) use system::{RawMode, Resizes, size};

/// The size where the terminal reports none.
const DEFAULT_SIZE: PtySize = PtySize {
    columns: 80,
    rows: 24,
};

/// The terminal type, for programs in a sandbox.
pub(crate) fn term_type() -> String {
    std::env::var("TERM")
        .ok()
        .filter(|term| !term.is_empty())
        .unwrap_or_else(|| "xterm-256color".into())
}

/// Whether a stream is a terminal with colours, and NO_COLOR is not set (<https://no-color.org>).
pub(crate) fn has_colours(stream: &impl IsTerminal) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !set("NO_COLOR") && !dumb
}

#[cfg(unix)]
mod system {
    use std::io::{self, IsTerminal};
    use std::sync::{Mutex, MutexGuard, Once, PoisonError};

    use anyhow::{Context, Result};
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
    use sandbox::PtySize;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Raw mode: keys are passed on unchanged, until this is dropped or the program panics.
    pub(crate) struct RawMode(());

    /// The terminal's settings before raw mode.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// Notifies of changes of the terminal's size.
    pub(crate) struct Resizes(Signal);

    impl RawMode {
        /// Puts the terminal on stdin into raw mode. Returns `None` if stdin is not a terminal.
        ///
        /// # Errors
        ///
        /// If the terminal's settings cannot be read or changed.
        pub(crate) fn enter() -> Result<Option<Self>> {
            let stdin = io::stdin();
            if !stdin.is_terminal() {
                return Ok(None);
            }
            let before = tcgetattr(&stdin).context("cannot read the terminal's settings")?;
            let mut raw = before.clone();
            raw.make_raw();
            *lock_settings() = Some(before);
            restore_on_panic();
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

    fn lock_settings() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn restore() {
        if let Some(before) = lock_settings().take() {
            // A terminal that was closed has no settings to restore.
            let _closed = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }

    /// A panic's message needs the normal mode, and where a panic aborts, the guard is never
    /// dropped.
    fn restore_on_panic() {
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

        /// Waits for the next size.
        pub(crate) async fn next(&mut self) -> PtySize {
            if self.0.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            size()
        }
    }

    /// Returns the size of the terminal on stdout or stdin, else the default one.
    pub(crate) fn size() -> PtySize {
        let sizes = [tcgetwinsize(io::stdout()), tcgetwinsize(io::stdin())];
        sizes
            .into_iter()
            .flatten()
            .find(|size| size.ws_col > 0 && size.ws_row > 0)
            .map_or(super::DEFAULT_SIZE, |size| PtySize {
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

    /// Raw mode, which is not supported on this system.
    pub(crate) struct RawMode;

    /// Notifies of changes of the terminal's size.
    pub(crate) struct Resizes;

    impl RawMode {
        pub(crate) fn enter() -> Result<Option<Self>> {
            if io::stdin().is_terminal() {
                bail!("-t is not supported on this system; remove it, or use a Unix system");
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
        super::DEFAULT_SIZE
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::RawMode;

    /// Stdin of the test process becomes a terminal, which no other test uses.
    #[test]
    fn a_panic_restores_the_terminal() {
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
        // As if a panic aborted the process.
        std::mem::forget(raw);
        assert!(std::thread::spawn(|| panic!("a test's")).join().is_err());
        assert!(is_cooked());

        drop(RawMode::enter().unwrap().unwrap());
        assert!(is_cooked());
    }
}
