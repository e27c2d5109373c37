//! Mapping the requests of the protocol to file operations.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use russh_sftp::protocol::{Data, FileAttributes, Handle, Version};
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::reply::{NamedFile, Reply, build_attributes, build_name, build_status};
use super::request::{Head, Request};
use super::status::SftpError;
use super::{attributes, extensions};

/// One SFTP session. Its methods block, so it needs a thread of its own.
pub(super) struct Session {
    files: Files,
}

impl Session {
    /// Creates a session, which lasts until the token `closed` is cancelled.
    pub(super) fn new(home: PathBuf, closed: CancellationToken) -> Self {
        Self {
            files: Files::new(home, closed),
        }
    }

    /// Serves a request and returns its reply. One that is too short to have an id is answered with
    /// the id 0.
    pub(super) fn serve(&mut self, request: &[u8]) -> Reply {
        let head = match Head::parse(request) {
            Ok(head) => head,
            Err(error) => return error.into_reply(0),
        };
        let id = head.id;
        head.parse_request()
            .and_then(|request| self.try_serve(id, request))
            .unwrap_or_else(|error| error.into_reply(id))
    }

    fn try_serve(&mut self, id: u32, request: Request<'_>) -> Result<Reply, SftpError> {
        Ok(match request {
            Request::Init => {
                let mut version = Version::new();
                version.extensions = extensions::supported_extensions();
                version.into()
            }
            Request::Open {
                path,
                flags,
                attributes,
            } => {
                let path = self.files.path(path)?;
                let handle = self.files.open(&path, flags, &attributes)?;
                Handle { id, handle }.into()
            }
            Request::Close { handle } => build_status(id, self.files.close(handle))?,
            Request::Read {
                handle,
                offset,
                length,
            } => {
                let data = self.files.read(handle, offset, length)?;
                Data { id, data }.into()
            }
            Request::Write {
                handle,
                offset,
                data,
            } => build_status(id, self.files.write(handle, offset, data))?,
            Request::Stat { path, follow } => {
                let path = self.files.path(path)?;
                let metadata = if follow {
                    path.metadata()?
                } else {
                    path.symlink_metadata()?
                };
                build_attributes(id, &metadata).into()
            }
            Request::StatHandle { handle } => {
                build_attributes(id, &self.files.metadata(handle)?).into()
            }
            Request::SetAttributes { path, attributes } => {
                let path = self.files.path(path)?;
                build_status(id, attributes::set_on_path(&path, &attributes, false))?
            }
            Request::SetHandleAttributes { handle, attributes } => {
                build_status(id, self.files.set_attributes(handle, &attributes))?
            }
            Request::OpenDirectory { path } => {
                let path = self.files.path(path)?;
                let handle = self.files.open_directory(path)?;
                Handle { id, handle }.into()
            }
            Request::ReadDirectory { handle } => self.list(id, handle)?,
            Request::Remove { path } => {
                build_status(id, std::fs::remove_file(self.files.path(path)?))?
            }
            Request::MakeDirectory { path, attributes } => {
                let path = self.files.path(path)?;
                build_status(id, Files::make_directory(&path, &attributes))?
            }
            Request::RemoveDirectory { path } => {
                build_status(id, std::fs::remove_dir(self.files.path(path)?))?
            }
            Request::RealPath { path } => {
                build_name(id, Files::real_path(&self.files.path(path)?)?)
            }
            Request::Rename { from, to } => {
                let (from, to) = (self.files.path(from)?, self.files.path(to)?);
                build_status(id, Files::rename(&from, &to))?
            }
            Request::ReadLink { path } => {
                build_name(id, Files::read_link(&self.files.path(path)?)?)
            }
            Request::Link { target, path } => build_status(id, self.link(target, path))?,
            Request::Extended { name, data } => extensions::serve(&self.files, id, name, data)?,
        })
    }

    fn list(&mut self, id: u32, handle: &str) -> Result<Reply, SftpError> {
        let files = self
            .files
            .list(handle)?
            .into_iter()
            .map(|(name, metadata)| match metadata {
                Some(metadata) => NamedFile {
                    long_name: attributes::long_name(&name, &metadata),
                    attributes: attributes::from_metadata(&metadata),
                    name,
                },
                None => NamedFile {
                    long_name: name.clone(),
                    name,
                    attributes: FileAttributes::empty(),
                },
            });
        Ok(Reply::Names(id, files.collect()))
    }

    fn link(&self, target: &[u8], link: &[u8]) -> Result<(), SftpError> {
        // The target is checked but not made absolute, because a relative one starts at the link.
        self.files.path(target)?;
        Ok(std::os::unix::fs::symlink(
            OsStr::from_bytes(target),
            self.files.path(link)?,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves one request of this kind with these strings and returns its encoded reply.
    fn serve(session: &mut Session, kind: u8, strings: &[&[u8]], rest: &[u8]) -> Vec<u8> {
        let mut request = vec![kind, 0, 0, 0, 1];
        for string in strings {
            request.extend(u32::try_from(string.len()).unwrap().to_be_bytes());
            request.extend(*string);
        }
        request.extend(rest);
        session.serve(&request).encode().unwrap().to_vec()
    }

    #[test]
    fn every_request_accepts_names_that_are_not_utf8() {
        const NAME: &[u8] = b"caf\xe9 \xff\n";
        const TARGET: &[u8] = b"\xfe/..";
        let home = tempfile::tempdir().unwrap();
        let path = |name: &[u8]| home.path().join(OsStr::from_bytes(name));
        let mut session = Session::new(home.path().to_owned(), CancellationToken::new());
        let mut ok = |kind, strings: &[&[u8]], rest: &[u8]| {
            let reply = serve(&mut session, kind, strings, rest);
            let failed = reply[4] == 101 && reply[9..13] != [0; 4];
            assert!(!failed, "{kind}: {}", reply.escape_ascii());
            reply
        };
        let contains =
            |reply: &[u8], name: &[u8]| reply.windows(name.len()).any(|part| part == name);

        let write_and_create = [0, 0, 0, 0x1a, 0, 0, 0, 0];
        ok(3, &[NAME], &write_and_create);
        assert!(path(NAME).is_file());
        ok(7, &[NAME], &[]);
        ok(17, &[NAME], &[]);
        ok(9, &[NAME], &[0, 0, 0, 4, 0, 0, 1, 0o200]);
        ok(18, &[NAME, b"\xf0"], &[]);
        assert!(path(b"\xf0").is_file());
        ok(13, &[b"\xf0"], &[]);
        ok(14, &[NAME], &[0; 4]);
        ok(20, &[TARGET, b"\xfd"], &[]);
        assert_eq!(
            path(b"\xfd").read_link().unwrap().as_os_str().as_bytes(),
            TARGET
        );
        assert!(contains(&ok(19, &[b"\xfd"], &[]), TARGET));
        assert!(contains(&ok(16, &[NAME], &[]), NAME));
        let opened = ok(11, &[b"."], &[]);
        let listed = ok(12, &[&opened[13..]], &[]);
        assert!(contains(&listed, NAME) && contains(&listed, b"\0\0\0\x01\xfd"));
        ok(15, &[NAME], &[]);
        assert!(!path(NAME).exists());
    }

    #[test]
    fn a_name_with_a_replacement_character_is_an_ordinary_one() {
        let home = tempfile::tempdir().unwrap();
        let mut session = Session::new(home.path().to_owned(), CancellationToken::new());
        std::fs::write(home.path().join("a\u{fffd}b"), "x").unwrap();
        let stat = |session: &mut Session, name: &[u8]| serve(session, 7, &[name], &[])[4];
        assert_eq!(stat(&mut session, "a\u{fffd}b".as_bytes()), 105);
        assert_eq!(stat(&mut session, b"a\xffb"), 101, "that is another name");
        assert_eq!(stat(&mut session, b"a\0b"), 101);
    }
}
