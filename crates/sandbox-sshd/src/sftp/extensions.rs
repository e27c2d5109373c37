//! OpenSSH's extensions ([PROTOCOL, section 4]), and hashes of files. Their paths arrive as
//! bytes and are used so.
//!
//! [PROTOCOL, section 4]: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL

use std::collections::HashMap;
use std::fs::File;

use nix::sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs};
use russh_sftp::protocol::{ExtendedReply, FileAttributes, Packet, StatusCode};

use super::files::{Files, MOST_DATA, MOST_HANDLES};
use super::handler::name;
use super::status::{Refused, ok};
use super::{attributes, check};

/// Most bytes of a packet.
const PACKET: u64 = 256 << 10;

const EXTENSIONS: [(&str, &str); 9] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("check-file", "1"),
];

/// Names and versions for the greeting.
pub(super) fn offered() -> HashMap<String, String> {
    EXTENSIONS
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into()
}

pub(super) fn serve(files: &Files, id: u32, request: &str, data: &[u8]) -> Result<Packet, Refused> {
    let mut data = Fields(data);
    match request {
        "posix-rename@openssh.com" => {
            let (from, to) = (
                files.raw_path(data.string()?)?,
                files.raw_path(data.string()?)?,
            );
            std::fs::rename(from, to)?;
        }
        "hardlink@openssh.com" => {
            let (from, to) = (
                files.raw_path(data.string()?)?,
                files.raw_path(data.string()?)?,
            );
            std::fs::hard_link(from, to)?;
        }
        "fsync@openssh.com" => files.file(data.text()?)?.sync_all()?,
        "lsetstat@openssh.com" => {
            let path = files.raw_path(data.string()?)?;
            attributes::set_on_path(&path, &data.attributes()?, true)?;
        }
        "statvfs@openssh.com" => {
            return Ok(reply(
                id,
                &describe(&statvfs(&files.raw_path(data.string()?)?)?),
            ));
        }
        "fstatvfs@openssh.com" => {
            return Ok(reply(id, &describe(&fstatvfs(files.file(data.text()?)?)?)));
        }
        "limits@openssh.com" => {
            return Ok(reply(
                id,
                &[
                    PACKET,
                    MOST_DATA.into(),
                    MOST_DATA.into(),
                    MOST_HANDLES as u64,
                ],
            ));
        }
        "expand-path@openssh.com" => {
            let path = data.string()?;
            let path = match path.strip_prefix(b"~") {
                Some([]) => b"",
                Some([b'/', rest @ ..]) => rest,
                Some(_) => {
                    return Err(Refused::new(
                        StatusCode::Failure,
                        "home directories of others are not known",
                    ));
                }
                None => path,
            };
            return Ok(name(id, Files::real_path(&files.raw_path(path)?)?).into());
        }
        "check-file-handle" => {
            let file = files.file(data.text()?)?;
            return check(files, file, id, &mut data);
        }
        "check-file-name" => {
            let file = files.open_to_read(&files.raw_path(data.string()?)?)?;
            return check(files, &file, id, &mut data);
        }
        _ => return Err(Refused::unsupported("the extension")),
    }
    Ok(ok(id).into())
}

fn check(files: &Files, file: &File, id: u32, data: &mut Fields<'_>) -> Result<Packet, Refused> {
    let algorithms = data.text()?;
    let range = check::Range {
        start: data.long()?,
        length: data.long()?,
        block: data.number()?,
    };
    let data = check::hashes(file, algorithms, range, files.gone())?;
    Ok(Packet::ExtendedReply(ExtendedReply { id, data }))
}

fn reply(id: u32, numbers: &[u64]) -> Packet {
    Packet::ExtendedReply(ExtendedReply {
        id,
        data: numbers.iter().flat_map(|n| n.to_be_bytes()).collect(),
    })
}

fn describe(fs: &Statvfs) -> [u64; 11] {
    let flags = fs.flags();
    let read_only = u64::from(flags.contains(FsFlags::ST_RDONLY));
    let no_set_id = u64::from(flags.contains(FsFlags::ST_NOSUID)) << 1;
    [
        fs.block_size(),
        fs.fragment_size(),
        fs.blocks(),
        fs.blocks_free(),
        fs.blocks_available(),
        fs.files(),
        fs.files_free(),
        fs.files_available(),
        fs.filesystem_id(),
        read_only | no_set_id,
        fs.name_max(),
    ]
}

/// The fields of a request (RFC 4251 §5).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn string(&mut self) -> Result<&'a [u8], Refused> {
        let length = usize::try_from(self.number()?).map_err(|_| malformed())?;
        let (string, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(string)
    }

    fn text(&mut self) -> Result<&'a str, Refused> {
        std::str::from_utf8(self.string()?).map_err(|_| malformed())
    }

    fn number(&mut self) -> Result<u32, Refused> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn long(&mut self) -> Result<u64, Refused> {
        Ok(u64::from(self.number()?) << 32 | u64::from(self.number()?))
    }

    fn attributes(&mut self) -> Result<FileAttributes, Refused> {
        let (mut wanted, flags) = (FileAttributes::empty(), self.number()?);
        if flags & 1 != 0 {
            wanted.size = Some(self.long()?);
        }
        if flags & 2 != 0 {
            (wanted.uid, wanted.gid) = (Some(self.number()?), Some(self.number()?));
        }
        if flags & 4 != 0 {
            wanted.permissions = Some(self.number()?);
        }
        if flags & 8 != 0 {
            (wanted.atime, wanted.mtime) = (Some(self.number()?), Some(self.number()?));
        }
        Ok(wanted)
    }
}

fn malformed() -> Refused {
    Refused::new(StatusCode::BadMessage, "the request is malformed")
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn short_requests_are_refused() {
        let files = Files::new("/".into(), CancellationToken::new());
        for (request, _) in EXTENSIONS {
            for data in [&b""[..], b"\0\0\0", b"\0\0\0\x05ab", b"\xff\xff\xff\xff"] {
                assert!(
                    serve(&files, 1, request, data).is_err() || request == "limits@openssh.com",
                    "{request}"
                );
            }
        }
        assert!(serve(&files, 1, "other@example.org", b"").is_err());
    }
}
