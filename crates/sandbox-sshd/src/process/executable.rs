//! What an executable file is, by its first bytes.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

/// As much as the kernel looks at (BINPRM_BUF_SIZE).
const HEADER_LENGTH: u64 = 256;
const ELF_MAGIC: &[u8] = b"\x7fELF";
/// The class in an ELF header (elf(5)).
const CLASS_OFFSET: usize = 4;
const CLASS_32: u8 = 1;

/// Returns whether the file is a binary program, for whatever processor.
pub(crate) fn is_binary(path: &Path) -> bool {
    read_header(path).starts_with(ELF_MAGIC)
}

/// Returns the 32-bit program that the kernel would execute: the file itself, or the interpreter of a
/// script. A file that cannot be read counts as none.
pub(crate) fn find_32_bit_program(path: &Path, directory: &Path) -> Option<PathBuf> {
    let header = read_header(path);
    if is_32_bit(&header) {
        return Some(path.to_owned());
    }
    let interpreter = directory.join(interpreter(&header)?);
    is_32_bit(&read_header(&interpreter)).then_some(interpreter)
}

fn is_32_bit(header: &[u8]) -> bool {
    header.starts_with(ELF_MAGIC) && header.get(CLASS_OFFSET) == Some(&CLASS_32)
}

/// Returns the interpreter of a script (execve(2)).
fn interpreter(header: &[u8]) -> Option<&Path> {
    let line = header
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?;
    let mut words = line.split(|byte| b" \t".contains(byte));
    let name = words.find(|word| !word.is_empty())?;
    Some(Path::new(OsStr::from_bytes(name)))
}

/// Reads the beginning of a regular file. Others are not opened, because that can block.
fn read_header(path: &Path) -> Vec<u8> {
    let mut header = Vec::new();
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
        // What was read before an error is judged.
        file.and_then(|file| file.take(HEADER_LENGTH).read_to_end(&mut header))
            .ok();
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_the_first_word_of_the_first_line() {
        for (header, expected) in [
            (&b"#!/bin/sh\n"[..], Some("/bin/sh")),
            (b"#! \t/usr/bin/env python3\nrest", Some("/usr/bin/env")),
            (b"#!relative", Some("relative")),
            (b"#!\n/bin/sh", None),
            (b"#!", None),
            (b"/bin/sh", None),
            (b"", None),
        ] {
            assert_eq!(interpreter(header), expected.map(Path::new), "{header:?}");
        }
    }

    #[test]
    fn only_32_bit_programs_and_their_scripts_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let narrow = write("narrow", b"\x7fELF\x01\x01\x01");
        let wide = write("wide", b"\x7fELF\x02\x01\x01");
        let script = write("script", b"#!narrow -x\n");
        let absolute = write("absolute", format!("#!{}\n", narrow.display()).as_bytes());
        let of_wide = write("of-wide", b"#!wide\n");
        let short = write("short", b"\x7fELF");
        let find = |path: &Path| find_32_bit_program(path, directory.path());
        for path in [&narrow, &script, &absolute] {
            assert_eq!(find(path).as_ref(), Some(&narrow), "{}", path.display());
        }
        for path in [&wide, &of_wide, &short, &directory.path().join("none")] {
            assert_eq!(find(path), None, "{}", path.display());
        }
        assert!(is_binary(&narrow) && is_binary(&wide) && !is_binary(&script));
    }

    #[test]
    fn a_fifo_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read_header(&fifo), b"");
    }
}
