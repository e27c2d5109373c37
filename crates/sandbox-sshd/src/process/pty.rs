//! The pseudo-terminal of a command (RFC 4254 §6.2, §8).

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use nix::sys::termios::{
    self, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios,
};
use nix::unistd::fchown;
use pty_process::{OwnedReadPty, OwnedWritePty, Pts, Size};
use russh::Pty as Mode;
use tokio::io::AsyncWrite;
use tokio::process::Child;

use super::program::Program;
use super::spawn::build_command;
use crate::lock::lock;

/// An open terminal in which nothing runs yet.
pub(crate) struct Terminal {
    reader: OwnedReadPty,
    writer: TerminalWriter,
    pts: Pts,
    pub(crate) term: String,
}

/// The side of a terminal that sends input and sets the size.
#[derive(Clone)]
pub(crate) struct TerminalWriter(Arc<Mutex<OwnedWritePty>>);

impl Terminal {
    /// Opens a terminal with the parameters of a `pty-req`.
    ///
    /// # Errors
    ///
    /// If there is no `/dev/ptmx`, or if all terminals are in use.
    pub(crate) fn open(term: &str, size: Size, modes: &[(Mode, u32)]) -> io::Result<Self> {
        let (pty, pts) = pty_process::open().map_err(into_io)?;
        pty.resize(size).map_err(into_io)?;
        let mut settings = termios::tcgetattr(pts.as_fd())?;
        apply_modes(modes, &mut settings);
        termios::tcsetattr(pts.as_fd(), SetArg::TCSANOW, &settings)?;
        let (reader, writer) = pty.into_split();
        Ok(Self {
            reader,
            writer: TerminalWriter(Arc::new(Mutex::new(writer))),
            pts,
            term: term.to_owned(),
        })
    }

    /// Returns the path of the terminal's device, which is `None` where the system cannot name it.
    pub(crate) fn device(&self) -> Option<PathBuf> {
        nix::unistd::ttyname(self.pts.as_fd()).ok()
    }

    /// Starts a program in the terminal, as the leader of a new session. After an error, another attempt
    /// can be made.
    pub(crate) fn spawn(&self, program: &Program) -> io::Result<Child> {
        if let Some(identity) = &program.identity {
            // As sshd does, so that the program can open the terminal by its name.
            fchown(&self.pts, Some(identity.uid.into()), None)?;
        }
        let command = tokio::process::Command::from(build_command(program));
        pty_process::Command::from(command)
            .spawn_borrowed(&self.pts)
            .map_err(into_io)
    }

    /// Returns the server's ends of the terminal. The terminal then ends with the last process in it.
    pub(crate) fn into_streams(self) -> (OwnedReadPty, TerminalWriter) {
        (self.reader, self.writer)
    }
}

impl TerminalWriter {
    pub(crate) fn resize(&self, size: Size) {
        // This fails if all processes of the terminal have ended, and then the size is irrelevant.
        lock(&self.0).resize(size).ok();
    }
}

impl AsyncWrite for TerminalWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_shutdown(cx)
    }
}

/// Converts the size of a `pty-req`. Numbers above 65535 are reduced to it.
pub(crate) fn terminal_size(columns: u32, rows: u32, width: u32, height: u32) -> Size {
    let fit = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    Size::new_with_pixel(fit(rows), fit(columns), fit(width), fit(height))
}

fn into_io(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(errno) => errno.into(),
        other => io::Error::other(other.to_string()),
    }
}

/// Applies the modes of RFC 4254 §8 that a pseudo-terminal has. Speeds and character sizes have no
/// meaning for it.
fn apply_modes(modes: &[(Mode, u32)], settings: &mut Termios) {
    for &(mode, value) in modes {
        let enabled = value != 0;
        if let Some(key) = control_character(mode) {
            // 255 disables the key.
            settings.control_chars[key as usize] = u8::try_from(value)
                .ok()
                .filter(|&key| key != 255)
                .unwrap_or(0);
        } else if let Some(flag) = input_flag(mode) {
            settings.input_flags.set(flag, enabled);
        } else if let Some(flag) = local_flag(mode) {
            settings.local_flags.set(flag, enabled);
        } else if let Some(flag) = output_flag(mode) {
            settings.output_flags.set(flag, enabled);
        }
    }
}

fn control_character(mode: Mode) -> Option<SpecialCharacterIndices> {
    use SpecialCharacterIndices as Key;
    Some(match mode {
        Mode::VINTR => Key::VINTR,
        Mode::VQUIT => Key::VQUIT,
        Mode::VERASE => Key::VERASE,
        Mode::VKILL => Key::VKILL,
        Mode::VEOF => Key::VEOF,
        Mode::VEOL => Key::VEOL,
        Mode::VEOL2 => Key::VEOL2,
        Mode::VSTART => Key::VSTART,
        Mode::VSTOP => Key::VSTOP,
        Mode::VSUSP => Key::VSUSP,
        Mode::VREPRINT => Key::VREPRINT,
        Mode::VWERASE => Key::VWERASE,
        Mode::VLNEXT => Key::VLNEXT,
        Mode::VDISCARD => Key::VDISCARD,
        _ => return None,
    })
}

fn input_flag(mode: Mode) -> Option<InputFlags> {
    Some(match mode {
        Mode::IGNPAR => InputFlags::IGNPAR,
        Mode::PARMRK => InputFlags::PARMRK,
        Mode::INPCK => InputFlags::INPCK,
        Mode::ISTRIP => InputFlags::ISTRIP,
        Mode::INLCR => InputFlags::INLCR,
        Mode::IGNCR => InputFlags::IGNCR,
        Mode::ICRNL => InputFlags::ICRNL,
        Mode::IXON => InputFlags::IXON,
        Mode::IXANY => InputFlags::IXANY,
        Mode::IXOFF => InputFlags::IXOFF,
        Mode::IMAXBEL => InputFlags::IMAXBEL,
        Mode::IUTF8 => InputFlags::IUTF8,
        _ => return None,
    })
}

fn local_flag(mode: Mode) -> Option<LocalFlags> {
    Some(match mode {
        Mode::ISIG => LocalFlags::ISIG,
        Mode::ICANON => LocalFlags::ICANON,
        Mode::ECHO => LocalFlags::ECHO,
        Mode::ECHOE => LocalFlags::ECHOE,
        Mode::ECHOK => LocalFlags::ECHOK,
        Mode::ECHONL => LocalFlags::ECHONL,
        Mode::NOFLSH => LocalFlags::NOFLSH,
        Mode::TOSTOP => LocalFlags::TOSTOP,
        Mode::IEXTEN => LocalFlags::IEXTEN,
        Mode::ECHOCTL => LocalFlags::ECHOCTL,
        Mode::ECHOKE => LocalFlags::ECHOKE,
        Mode::PENDIN => LocalFlags::PENDIN,
        _ => return None,
    })
}

fn output_flag(mode: Mode) -> Option<OutputFlags> {
    Some(match mode {
        Mode::OPOST => OutputFlags::OPOST,
        Mode::ONLCR => OutputFlags::ONLCR,
        Mode::OCRNL => OutputFlags::OCRNL,
        Mode::ONOCR => OutputFlags::ONOCR,
        Mode::ONLRET => OutputFlags::ONLRET,
        _ => return None,
    })
}
