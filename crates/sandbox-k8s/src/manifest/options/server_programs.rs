//! The programs sandbox-sshd that are uploaded into Pods.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sandbox_core::{Error, Result};
use sha2::{Digest, Sha256};

use super::dep_info;

/// A processor architecture, named as in Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Architecture {
    /// All architectures.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Returns the architecture that `uname -m` names.
    pub(crate) fn from_machine(machine: &str) -> Option<Self> {
        match machine {
            "x86_64" | "amd64" => Some(Self::Amd64),
            "aarch64" | "arm64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Returns the architecture that a program is built for, from its header: 64-bit, little-endian ELF.
    /// <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>
    fn from_program(header: &[u8]) -> Option<Self> {
        if !header.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        match header.get(18..20)? {
            [62, 0] => Some(Self::Amd64),
            [183, 0] => Some(Self::Arm64),
            _ => None,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

/// The static programs sandbox-sshd that are uploaded into Pods, one for each processor architecture. They are read
/// when the first Pod needs them, and kept in memory from then on. Clones share the memory.
#[derive(Clone, Default)]
pub struct ServerPrograms {
    programs: Vec<(Architecture, Arc<Program>)>,
}

/// The size of an ELF header that contains the architecture.
const HEADER: usize = 20;
/// The maximum size of a program: the volume that it is uploaded into holds one and a partial one.
const MAX_SIZE: usize = 30 << 20;

impl ServerPrograms {
    /// Uses one program, or all programs of a directory: `sandbox-sshd-amd64` and `sandbox-sshd-arm64`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is none, or one cannot be read or is no program for such an architecture.
    pub fn from_path(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Self::default().with_file(path);
        }
        let mut programs = Self::default();
        for architecture in Architecture::ALL {
            let file = path.join(file_name(architecture));
            if file.exists() {
                programs = programs.with_file(&file)?;
            }
        }
        if programs.is_empty() {
            let names = Architecture::ALL.map(file_name).join(" nor ");
            return Err(config_error(path, &format!("it has neither {names}")));
        }
        Ok(programs)
    }

    /// Adds the program in a file, in place of one for the same architecture.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it cannot be read, or is no program for a known architecture.
    pub fn with_file(self, path: &Path) -> Result<Self> {
        let header = read_header(path).map_err(|error| config_error(path, &error.to_string()))?;
        let architecture = Architecture::from_program(&header)
            .ok_or_else(|| config_error(path, "it is no Linux program for amd64 or arm64"))?;
        let path = path.to_owned();
        Ok(self.with_origin(architecture, Origin::File(path)))
    }

    /// Adds a program that is loaded when it is needed first, such as one that is compressed. It takes the place of
    /// one for the same architecture.
    #[must_use]
    pub fn with_loader(
        self,
        architecture: Architecture,
        load: impl Fn() -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.with_origin(architecture, Origin::Loader(Box::new(load)))
    }

    /// Whether there is no program.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// Returns the architectures for which there is a program.
    pub fn architectures(&self) -> impl Iterator<Item = Architecture> {
        self.programs.iter().map(|(architecture, _)| *architecture)
    }

    fn with_origin(mut self, architecture: Architecture, origin: Origin) -> Self {
        let program = Program {
            origin,
            loaded: OnceLock::new(),
        };
        self.programs.retain(|(other, _)| *other != architecture);
        self.programs.push((architecture, Arc::new(program)));
        self.programs.sort_by_key(|(architecture, _)| *architecture);
        self
    }

    /// Returns the program for an architecture, if there is one. This may block.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it cannot be read, or is for another architecture.
    pub(crate) fn load(&self, architecture: Architecture) -> Result<Option<ServerProgram>> {
        let Some((_, program)) = self
            .programs
            .iter()
            .find(|(other, _)| *other == architecture)
        else {
            return Ok(None);
        };
        program.load(architecture).map(Some)
    }
}

/// Equal programs are the same ones in memory, or of the same file.
impl PartialEq for ServerPrograms {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.programs.iter().zip(&other.programs);
        self.programs.len() == other.programs.len()
            && pairs.all(|(one, other)| {
                one.0 == other.0 && (Arc::ptr_eq(&one.1, &other.1) || one.1.has_file_of(&other.1))
            })
    }
}

impl fmt::Debug for ServerPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.architectures()).finish()
    }
}

/// A program in memory.
#[derive(Clone)]
pub(crate) struct ServerProgram {
    pub(crate) content: Bytes,
    /// The hash of the content, in hexadecimal.
    pub(crate) sha256: String,
}

struct Program {
    origin: Origin,
    loaded: OnceLock<ServerProgram>,
}

enum Origin {
    File(PathBuf),
    Loader(Box<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>),
}

impl Program {
    fn has_file_of(&self, other: &Self) -> bool {
        matches!((&self.origin, &other.origin), (Origin::File(one), Origin::File(other)) if one == other)
    }

    fn load(&self, architecture: Architecture) -> Result<ServerProgram> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded.clone());
        }
        let embedded = PathBuf::from(format!("the embedded program for {architecture}"));
        let (content, origin) = match &self.origin {
            Origin::File(path) => {
                warn_if_old(path);
                (std::fs::read(path), path)
            }
            Origin::Loader(load) => (load(), &embedded),
        };
        let content = content.map_err(|error| config_error(origin, &error.to_string()))?;
        if Architecture::from_program(&content) != Some(architecture) {
            let why = format!("it is no Linux program for {architecture} any more");
            return Err(config_error(origin, &why));
        }
        if content.len() > MAX_SIZE {
            return Err(config_error(origin, "it is larger than 30 MiB"));
        }
        let program = ServerProgram {
            sha256: to_hex(&Sha256::digest(&content)),
            content: content.into(),
        };
        Ok(self.loaded.get_or_init(|| program).clone())
    }
}

/// Warns about a program of a development tree that was changed since.
fn warn_if_old(program: &Path) {
    if let Some(source) = dep_info::changed_source(program) {
        tracing::warn!(
            program = %program.display(),
            changed = %source.display(),
            "the SSH server to upload is older than its sources; build it with `cargo xtask image`"
        );
    }
}

/// Returns a hash in hexadecimal.
pub(crate) fn to_hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_name(architecture: Architecture) -> String {
    format!("sandbox-sshd-{architecture}")
}

fn read_header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(HEADER);
    File::open(path)?
        .take(HEADER as u64)
        .read_to_end(&mut header)?;
    Ok(header)
}

fn config_error(path: &Path, why: &str) -> Error {
    Error::Config {
        message: format!(
            "the SSH server to upload cannot be used: {}: {why}; name a static sandbox-sshd in SANDBOX_SERVER_PATH \
             (`cargo xtask image` builds one)",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(machine: u8) -> Vec<u8> {
        let mut program = b"\x7fELF\x02\x01\x01".to_vec();
        program.resize(18, 0);
        program.extend([machine, 0]);
        program
    }

    #[test]
    fn the_header_tells_the_architecture() {
        for (header, expected) in [
            (program(62), Some(Architecture::Amd64)),
            (program(183), Some(Architecture::Arm64)),
            (program(40), None),
            (b"#!/bin/sh\necho 0123456789".to_vec(), None),
            (b"\x7fELF\x02\x01".to_vec(), None),
        ] {
            assert_eq!(Architecture::from_program(&header), expected, "{header:?}");
        }
        assert_eq!(
            Architecture::from_machine("x86_64"),
            Some(Architecture::Amd64)
        );
        assert_eq!(Architecture::from_machine("riscv64"), None);
    }

    #[test]
    fn a_directory_has_one_program_for_each_architecture() {
        let directory = tempfile::tempdir().unwrap();
        let empty = ServerPrograms::from_path(directory.path()).unwrap_err();
        assert!(empty.to_string().contains("sandbox-sshd-arm64"), "{empty}");
        std::fs::write(directory.path().join("sandbox-sshd-arm64"), program(183)).unwrap();
        let programs = ServerPrograms::from_path(directory.path()).unwrap();
        assert_eq!(
            programs.architectures().collect::<Vec<_>>(),
            [Architecture::Arm64]
        );
        assert!(programs.load(Architecture::Amd64).unwrap().is_none());
        let loaded = programs.load(Architecture::Arm64).unwrap().unwrap();
        assert_eq!(loaded.content, program(183));
        assert_eq!(loaded.sha256.len(), 64);
        assert_eq!(
            programs,
            ServerPrograms::from_path(directory.path()).unwrap()
        );
        assert_ne!(programs, ServerPrograms::default());
    }

    #[test]
    fn what_is_no_server_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("server");
        for content in [b"#!/bin/sh\n".to_vec(), Vec::new(), program(8)] {
            std::fs::write(&file, content).unwrap();
            let error = ServerPrograms::from_path(&file).unwrap_err().to_string();
            assert!(error.contains("no Linux program"), "{error}");
        }
        std::fs::write(&file, program(62)).unwrap();
        let programs = ServerPrograms::from_path(&file).unwrap();
        std::fs::write(&file, program(183)).unwrap();
        let changed = programs.load(Architecture::Amd64).err().unwrap();
        assert!(changed.to_string().contains("any more"), "{changed}");
        std::fs::remove_file(&file).unwrap();
        assert!(programs.load(Architecture::Amd64).is_err());
        assert!(ServerPrograms::from_path(&file).is_err());
        let broken = ServerPrograms::default().with_loader(Architecture::Amd64, || {
            Err(io::ErrorKind::InvalidData.into())
        });
        assert!(broken.load(Architecture::Amd64).is_err());
    }
}
