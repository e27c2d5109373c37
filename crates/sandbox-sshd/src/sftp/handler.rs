//! Requests of the protocol to file operations.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use russh_sftp::protocol::{Attrs, Data, File, FileAttributes, Handle, Name, Packet, Version};
use tokio_util::sync::CancellationToken;

use super::status::{Refused, ok};
use super::{attributes, extensions, files::Files};

/// One SFTP session. Operations block, and so does every method: the thread is the session's
/// own.
pub(super) struct Session {
    files: Files,
}

impl Session {
    /// For a client until that has `gone`.
    pub(super) fn new(home: PathBuf, gone: CancellationToken) -> Self {
        Self {
            files: Files::new(home, gone),
        }
    }

    /// What a request comes to. There is an answer to each.
    pub(super) fn answer(&mut self, request: Packet) -> Packet {
        let id = request.get_request_id();
        self.serve(request)
            .unwrap_or_else(|refused| refused.answer(id))
    }

    fn serve(&mut self, request: Packet) -> Result<Packet, Refused> {
        Ok(match request {
            Packet::Init(_) => {
                let mut version = Version::new();
                version.extensions = extensions::offered();
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
            Packet::Close(r) => done(r.id, self.files.close(&r.handle))?,
            Packet::Read(r) => Data {
                id: r.id,
                data: self.files.read(&r.handle, r.offset, r.len)?,
            }
            .into(),
            Packet::Write(r) => done(r.id, self.files.write(&r.handle, r.offset, &r.data))?,
            Packet::Lstat(r) => attrs(r.id, &self.path(&r.path)?.symlink_metadata()?).into(),
            Packet::Stat(r) => attrs(r.id, &self.path(&r.path)?.metadata()?).into(),
            Packet::Fstat(r) => attrs(r.id, &self.files.metadata(&r.handle)?).into(),
            Packet::SetStat(r) => done(
                r.id,
                attributes::set_on_path(&self.path(&r.path)?, &r.attrs, false),
            )?,
            Packet::FSetStat(r) => done(r.id, self.files.set_attributes(&r.handle, &r.attrs))?,
            Packet::OpenDir(r) => {
                let path = self.path(&r.path)?;
                Handle {
                    id: r.id,
                    handle: self.files.open_directory(path)?,
                }
                .into()
            }
            Packet::ReadDir(r) => self.list(r.id, &r.handle)?.into(),
            Packet::Remove(r) => done(r.id, std::fs::remove_file(self.path(&r.filename)?))?,
            Packet::MkDir(r) => done(r.id, Files::make_directory(&self.path(&r.path)?, &r.attrs))?,
            Packet::RmDir(r) => done(r.id, std::fs::remove_dir(self.path(&r.path)?))?,
            Packet::RealPath(r) => name(r.id, Files::real_path(&self.path(&r.path)?)?).into(),
            Packet::Rename(r) => done(
                r.id,
                Files::rename(&self.path(&r.oldpath)?, &self.path(&r.newpath)?),
            )?,
            Packet::ReadLink(r) => name(r.id, Files::read_link(&self.path(&r.path)?)?).into(),
            // The draft has the link first; OpenSSH sends the target first, and everybody
            // follows it.
            Packet::Symlink(r) => done(r.id, self.link(&r.linkpath, &r.targetpath))?,
            Packet::Extended(r) => extensions::serve(&self.files, r.id, &r.request, &r.data)?,
            _ => return Err(Refused::unsupported("the operation")),
        })
    }

    fn path(&self, name: &str) -> Result<PathBuf, Refused> {
        self.files.path(name)
    }

    fn list(&mut self, id: u32, handle: &str) -> Result<Name, Refused> {
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

    fn link(&self, target: &str, link: &str) -> Result<(), Refused> {
        // Checked, but kept as it is: a relative target starts at the link.
        self.path(target)?;
        Ok(std::os::unix::fs::symlink(
            Path::new(target),
            self.path(link)?,
        )?)
    }
}

fn done(id: u32, result: Result<(), impl Into<Refused>>) -> Result<Packet, Refused> {
    result.map(|()| ok(id).into()).map_err(Into::into)
}

fn attrs(id: u32, metadata: &Metadata) -> Attrs {
    Attrs {
        id,
        attrs: attributes::from_metadata(metadata),
    }
}

pub(super) fn name(id: u32, path: String) -> Name {
    Name {
        id,
        files: vec![File::dummy(path)],
    }
}
