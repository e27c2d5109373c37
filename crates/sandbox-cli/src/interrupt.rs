//! Signals that ask this program to exit.

use anyhow::Result;
use sandbox::Signal;

use crate::exit::Outcome;

/// A signal that asks this program to exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(unix), allow(dead_code, reason = "Windows has only Ctrl-C"))]
pub(crate) enum Interrupt {
    Int,
    Term,
    Hup,
    Quit,
}

/// Waits for such signals. Signals that were ignored when the program was started, as with nohup(1)
/// or for background jobs of a script, stay ignored.
pub(crate) struct Interrupts(system::Listeners);

impl Interrupt {
    /// The exit code that a shell reports for a program that was ended by this signal.
    pub(crate) fn exit_code(self) -> u8 {
        128 + self.signal().number().unwrap_or_default()
    }

    /// The same signal for a command.
    pub(crate) fn signal(self) -> Signal {
        match self {
            Self::Int => Signal::Int,
            Self::Term => Signal::Term,
            Self::Hup => Signal::Hup,
            Self::Quit => Signal::Quit,
        }
    }
}

impl Interrupts {
    /// Installs the handlers.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(system::Listeners::new()?))
    }

    /// Waits for the next signal. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Interrupt {
        self.0.next().await
    }

    /// Runs a subcommand and drops it if a signal arrives. Dropping cleans up what was begun.
    pub(crate) async fn run_until_signal(
        &mut self,
        action: impl Future<Output = Outcome>,
    ) -> Outcome {
        tokio::select! {
            outcome = action => outcome,
            signal = self.next() => Ok(signal.exit_code()),
        }
    }
}

#[cfg(unix)]
mod system {
    use anyhow::{Context, Result};
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Interrupt;

    pub(super) struct Listeners {
        int: Option<Signal>,
        term: Option<Signal>,
        hup: Option<Signal>,
        quit: Option<Signal>,
    }

    impl Listeners {
        pub(super) fn new() -> Result<Self> {
            let ignored = read_ignored_signals();
            let listen = |kind: SignalKind| -> Result<Option<Signal>> {
                if ignored & (1 << (kind.as_raw_value() - 1)) != 0 {
                    return Ok(None);
                }
                Ok(Some(signal(kind).context("cannot listen for signals")?))
            };
            Ok(Self {
                int: listen(SignalKind::interrupt())?,
                term: listen(SignalKind::terminate())?,
                hup: listen(SignalKind::hangup())?,
                quit: listen(SignalKind::quit())?,
            })
        }

        pub(super) async fn next(&mut self) -> Interrupt {
            tokio::select! {
                () = receive(&mut self.int) => Interrupt::Int,
                () = receive(&mut self.term) => Interrupt::Term,
                () = receive(&mut self.hup) => Interrupt::Hup,
                () = receive(&mut self.quit) => Interrupt::Quit,
            }
        }
    }

    async fn receive(signal: &mut Option<Signal>) {
        let received = match signal {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if received.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads a bit mask of the ignored signals from proc_pid_status(5). Other systems than Linux
    /// report none.
    fn read_ignored_signals() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0)
    }
}

#[cfg(not(unix))]
mod system {
    use anyhow::Result;

    use super::Interrupt;

    pub(super) struct Listeners;

    impl Listeners {
        pub(super) fn new() -> Result<Self> {
            Ok(Self)
        }

        pub(super) async fn next(&mut self) -> Interrupt {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            Interrupt::Int
        }
    }
}
