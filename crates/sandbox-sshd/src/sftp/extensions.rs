//! OpenSSH's extensions ([PROTOCOL, section 4]), and hashes of files.
//!
//! [PROTOCOL, section 4]: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL

use std::collections::HashMap;
use std::fs::File;

use nix::sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs};
use russh_sftp::protocol::{ExtendedReply, StatusCode};

use super::attributes;
use super::fields::Fields;
use super::file_hash::{Range, hash_range};
use super::files::{Files, MAX_DATA, MAX_HANDLES};
use super::reply::{Reply, build_name, build_ok};
use super::status::SftpError;

/// The largest packet in bytes.
const MAX_PACKET: u64 = 256 << 10;

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

/// Returns the names and versions for the reply to `SSH_FXP_INIT`.
pub(super) fn supported_extensions() -> HashMap<String, String> {
    EXTENSIONS
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into()
}

/// Serves one extended request.
pub(super) fn serve(
    files: &Files,
    id: u32,
    request: &str,
    mut data: Fields<'_>,
) -> Result<Reply, SftpError> {
    match request {
        "posix-rename@openssh.com" => {
            let from = files.path(data.read_string()?)?;
            let to = files.path(data.read_string()?)?;
            std::fs::rename(from, to)?;
        }
        "hardlink@openssh.com" => {
            let from = files.path(data.read_string()?)?;
            let to = files.path(data.read_string()?)?;
            std::fs::hard_link(from, to)?;
        }
        "fsync@openssh.com" => files.file(data.read_text()?)?.sync_all()?,
        "lsetstat@openssh.com" => {
            let path = files.path(data.read_string()?)?;
            attributes::set_on_path(&path, &data.read_attributes()?, true)?;
        }
        "statvfs@openssh.com" => {
            return Ok(build_numbers(
                id,
                &statvfs_fields(&statvfs(&files.path(data.read_string()?)?)?),
            ));
        }
        "fstatvfs@openssh.com" => {
            return Ok(build_numbers(
                id,
                &statvfs_fields(&fstatvfs(files.file(data.read_text()?)?)?),
            ));
        }
        "limits@openssh.com" => {
            return Ok(build_numbers(
                id,
                &[
                    MAX_PACKET,
                    MAX_DATA.into(),
                    MAX_DATA.into(),
                    MAX_HANDLES as u64,
                ],
            ));
        }
        "expand-path@openssh.com" => {
            let path = data.read_string()?;
            let path = match path.strip_prefix(b"~") {
                Some([]) => b"",
                Some([b'/', rest @ ..]) => rest,
                Some(_) => {
                    return Err(SftpError::new(
                        StatusCode::Failure,
                        "the home directories of other users are unknown: use an absolute path",
                    ));
                }
                None => path,
            };
            return Ok(build_name(id, Files::real_path(&files.path(path)?)?));
        }
        "check-file-handle" => {
            let file = files.file(data.read_text()?)?;
            return reply_with_hashes(files, file, id, &mut data);
        }
        "check-file-name" => {
            let file = files.open_for_reading(&files.path(data.read_string()?)?)?;
            return reply_with_hashes(files, &file, id, &mut data);
        }
        _ => return Err(SftpError::unsupported("the extension")),
    }
    Ok(build_ok(id).into())
}

fn reply_with_hashes(
    files: &Files,
    file: &File,
    id: u32,
    data: &mut Fields<'_>,
) -> Result<Reply, SftpError> {
    let algorithms = data.read_text()?;
    let range = Range {
        start: data.read_u64()?,
        length: data.read_u64()?,
        block: data.read_u32()?,
    };
    let data = hash_range(file, algorithms, range, files.closed_token())?;
    Ok(ExtendedReply { id, data }.into())
}

fn build_numbers(id: u32, numbers: &[u64]) -> Reply {
    ExtendedReply {
        id,
        data: numbers.iter().flat_map(|n| n.to_be_bytes()).collect(),
    }
    .into()
}

fn statvfs_fields(fs: &Statvfs) -> [u64; 11] {
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
                    serve(&files, 1, request, Fields(data)).is_err()
                        || request == "limits@openssh.com",
                    "{request}"
                );
            }
        }
        assert!(serve(&files, 1, "other@example.org", Fields(b"")).is_err());
    }
}
