//! Mapping the requests of the protocol to file operations.

use std::path::{Path, PathBuf};

use russh_sftp::protocol::{Data, File, FileAttributes, Handle, Name, Packet, Version};
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::reply::{build_attributes, build_name, build_status};
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

    /// Serves a request and returns its reply.
    pub(super) fn serve(&mut self, request: Packet) -> Packet {
        let id = request.get_request_id();
        self.try_serve(request)
            .unwrap_or_else(|error| error.into_reply(id))
    }

    fn try_serve(&mut self, request: Packet) -> Result<Packet, SftpError> {
        Ok(match request {
            Packet::Init(_) => {
                let mut version = Version::new();
                version.extensions = extensions::supported_extensions();
                version.into()
            }
            Packet::Open(r) => {
                let path = self.path(&r.filename)?;
                Handle {
                    id: r.id,
                    handle: self.files.open(&path, r.pflags, &r.attrs)?,
                }
                .into()
            }
            Packet::Close(r) => build_status(r.id, self.files.close(&r.handle))?,
            Packet::Read(r) => Data {
                id: r.id,
                data: self.files.read(&r.handle, r.offset, r.len)?,
            }
            .into(),
            Packet::Write(r) => build_status(r.id, self.files.write(&r.handle, r.offset, &r.data))?,
            Packet::Lstat(r) => {
                build_attributes(r.id, &self.path(&r.path)?.symlink_metadata()?).into()
            }
            Packet::Stat(r) => build_attributes(r.id, &self.path(&r.path)?.metadata()?).into(),
            Packet::Fstat(r) => build_attributes(r.id, &self.files.metadata(&r.handle)?).into(),
            Packet::SetStat(r) => build_status(
                r.id,
                attributes::set_on_path(&self.path(&r.path)?, &r.attrs, false),
            )?,
            Packet::FSetStat(r) => {
                build_status(r.id, self.files.set_attributes(&r.handle, &r.attrs))?
            }
            Packet::OpenDir(r) => {
                let path = self.path(&r.path)?;
                Handle {
                    id: r.id,
                    handle: self.files.open_directory(path)?,
                }
                .into()
            }
            Packet::ReadDir(r) => self.list(r.id, &r.handle)?.into(),
            Packet::Remove(r) => build_status(r.id, std::fs::remove_file(self.path(&r.filename)?))?,
            Packet::MkDir(r) => {
                build_status(r.id, Files::make_directory(&self.path(&r.path)?, &r.attrs))?
            }
            Packet::RmDir(r) => build_status(r.id, std::fs::remove_dir(self.path(&r.path)?))?,
            Packet::RealPath(r) => build_name(r.id, Files::real_path(&self.path(&r.path)?)?).into(),
            Packet::Rename(r) => build_status(
                r.id,
                Files::rename(&self.path(&r.oldpath)?, &self.path(&r.newpath)?),
            )?,
            Packet::ReadLink(r) => build_name(r.id, Files::read_link(&self.path(&r.path)?)?).into(),
            // The draft has the link first. OpenSSH sends the target first, and all clients do the
            // same.
            Packet::Symlink(r) => build_status(r.id, self.link(&r.linkpath, &r.targetpath))?,
            Packet::Extended(r) => extensions::serve(&self.files, r.id, &r.request, &r.data)?,
            _ => return Err(SftpError::unsupported("the operation")),
        })
    }

    fn path(&self, name: &str) -> Result<PathBuf, SftpError> {
        self.files.path(name)
    }

    fn list(&mut self, id: u32, handle: &str) -> Result<Name, SftpError> {
        let files = self
            .files
            .list(handle)?
            .into_iter()
            .map(|(name, metadata)| match metadata {
                Some(metadata) => File {
                    longname: attributes::long_name(&name, &metadata),
                    attrs: attributes::from_metadata(&metadata),
                    filename: name,
                },
                None => File {
                    longname: name.clone(),
                    filename: name,
                    attrs: FileAttributes::empty(),
                },
            });
        Ok(Name {
            id,
            files: files.collect(),
        })
    }

    fn link(&self, target: &str, link: &str) -> Result<(), SftpError> {
        // The target is checked but not made absolute, because a relative one starts at the link.
        self.path(target)?;
        Ok(std::os::unix::fs::symlink(
            Path::new(target),
            self.path(link)?,
        )?)
    }
}
