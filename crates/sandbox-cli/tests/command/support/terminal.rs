//! A pseudo-terminal whose user is the test.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::Cli;

/// How many seconds output may take.
const TIMEOUT_SECONDS: i64 = 60;

/// The user's side of a terminal.
pub(crate) struct Terminal {
    user: File,
    program: File,
    pub(crate) screen: String,
}

impl Terminal {
    pub(crate) fn open(columns: u16, rows: u16) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap().into_string().unwrap();
        let program = File::options().read(true).write(true).open(name).unwrap();
        let terminal = Self {
            user: user.into(),
            program,
            screen: String::new(),
        };
        terminal.resize(columns, rows);
        terminal
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.user, size).unwrap();
    }

    pub(crate) fn start(&self, cli: &Cli, args: &[&str]) -> Child {
        self.command(cli, args).spawn().unwrap()
    }

    /// The command with stdin, stdout and stderr connected to this terminal.
    pub(crate) fn command(&self, cli: &Cli, args: &[&str]) -> Command {
        let end = || OwnedFd::from(self.program.try_clone().unwrap());
        let mut command = cli.command(args);
        command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        command
    }

    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.screen.contains(text) {
            self.wait_for_more();
        }
    }

    pub(crate) fn wait_for_more(&mut self) {
        let mut buffer = [0; 4096];
        let mut waiting = [PollFd::new(&self.user, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: TIMEOUT_SECONDS,
            tv_nsec: 0,
        };
        assert_ne!(
            poll(&mut waiting, Some(&timeout)).unwrap(),
            0,
            "no output after {:?}",
            self.screen
        );
        let read = self.user.read(&mut buffer).unwrap();
        self.screen
            .push_str(&String::from_utf8_lossy(&buffer[..read]));
    }

    pub(crate) fn type_keys(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether the terminal edits lines and echoes keys itself.
    pub(crate) fn is_cooked(&self) -> bool {
        tcgetattr(&self.program)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}
