//! The Python clients, in a virtual environment that is created once and filled from PyPI.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::client::PYTHON;
use crate::bench::openssh::find;

/// The virtual environment, which is kept between runs.
const DIRECTORY: &str = "target/bench-python";

/// The interpreter and the installed libraries.
pub(super) struct Python {
    interpreter: Option<PathBuf>,
    script: tempfile::NamedTempFile,
    /// Name and version.
    pub(super) installed: Vec<(&'static str, String)>,
}

impl Python {
    pub(super) fn find(requested: Option<&Path>) -> Result<Self> {
        let mut script = tempfile::NamedTempFile::new()?;
        std::io::Write::write_all(&mut script, PYTHON.as_bytes())?;
        let mut python = Self {
            interpreter: None,
            script,
            installed: Vec::new(),
        };
        let Some(base) = requested.map(Path::to_owned).or_else(|| find("python3")) else {
            return Ok(python);
        };
        let directory = Path::new(DIRECTORY);
        if !directory.join("bin/python").exists()
            && !succeeds(Command::new(base).args(["-m", "venv", DIRECTORY]))
        {
            eprintln!("cannot create a virtual environment; skipping paramiko and asyncssh");
            return Ok(python);
        }
        let interpreter = directory.join("bin/python");
        for library in ["paramiko", "asyncssh"] {
            let version = || {
                let text = format!("import {library}; print({library}.__version__)");
                let output = Command::new(&interpreter)
                    .args(["-c", &text])
                    .stderr(Stdio::null())
                    .output()
                    .ok()?;
                let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
                output.status.success().then_some(version)
            };
            let install = || {
                succeeds(Command::new(&interpreter).args(["-m", "pip", "install", "-q", library]))
            };
            match version().or_else(|| install().then(version).flatten()) {
                Some(version) => python.installed.push((library, version)),
                None => eprintln!("cannot install {library}; skipping it"),
            }
        }
        python.interpreter = Some(interpreter);
        Ok(python)
    }

    /// The command that starts a client, if its library is installed.
    pub(super) fn command(&self, library: &str) -> Option<Command> {
        let interpreter = self.interpreter.as_ref()?;
        self.installed.iter().find(|(name, _)| *name == library)?;
        let mut command = Command::new(interpreter);
        // Failures are part of the results; stderr has only messages of destructors.
        command
            .arg(self.script.path())
            .arg(library)
            .stderr(Stdio::null());
        Some(command)
    }
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
