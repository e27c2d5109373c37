//! Requests of russh-sftp to file operations.

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Packet, Status, Version,
};
use russh_sftp::server::Handler;
use tokio::sync::oneshot;

use super::status::{Refused, ok};
use super::{attributes, extensions, files::Files};

/// One SFTP session.
pub(super) struct Session {
    files: Files,
    /// Dropped with the session.
    _alive: oneshot::Sender<()>,
}

impl Session {
    pub(super) fn new(home: PathBuf, alive: oneshot::Sender<()>) -> Self {
        Self { files: Files::new(home), _alive: alive }
    }

    fn path(&self, name: &str) -> Result<PathBuf, Refused> {
        self.files.path(name)
    }
}

/// Operations block, and so does every method here: the thread is the session's own.
impl Handler for Session {
    type Error = Refused;

    fn unimplemented(&self) -> Refused {
        Refused::unsupported("the operation")
    }

    async fn init(
        &mut self,
        _version: u32,
        _extensions: HashMap<String, String>,
    ) -> Result<Version, Refused> {
        let mut version = Version::new();
        version.extensions = extensions::offered();
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> Result<Handle, Refused> {
        let path = self.path(&filename)?;
        Ok(Handle { id, handle: self.files.open(&path, pflags, &attrs)? })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Refused> {
        self.files.close(&handle).map(|()| ok(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, Refused> {
        Ok(Data { id, data: self.files.read(&handle, offset, len)? })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Refused> {
        self.files.write(&handle, offset, &data).map(|()| ok(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Refused> {
        Ok(attrs(id, &self.path(&path)?.symlink_metadata()?))
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Refused> {
        Ok(attrs(id, &self.path(&path)?.metadata()?))
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Refused> {
        Ok(attrs(id, &self.files.metadata(&handle)?))
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Refused> {
        attributes::set_on_path(&self.path(&path)?, &attrs, false).map(|()| ok(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attrs: FileAttributes) -> Result<Status, Refused> {
        self.files.set_attributes(&handle, &attrs).map(|()| ok(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Refused> {
        let path = self.path(&path)?;
        Ok(Handle { id, handle: self.files.open_directory(path)? })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Refused> {
        let files = self.files.list(&handle)?.into_iter().map(|(name, metadata)| match metadata {
            Some(metadata) => File {
                longname: attributes::long_name(&name, &metadata),
                attrs: attributes::from_metadata(&metadata),
                filename: name,
            },
            None => File { longname: name.clone(), filename: name, attrs: FileAttributes::empty() },
        });
        Ok(Name { id, files: files.collect() })
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Refused> {
        std::fs::remove_file(self.path(&filename)?)?;
        Ok(ok(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Refused> {
        Files::make_directory(&self.path(&path)?, &attrs).map(|()| ok(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Refused> {
        std::fs::remove_dir(self.path(&path)?)?;
        Ok(ok(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Refused> {
        Ok(name(id, Files::real_path(&self.path(&path)?)?))
    }

    async fn rename(&mut self, id: u32, oldpath: String, newpath: String) -> Result<Status, Refused> {
        Files::rename(&self.path(&oldpath)?, &self.path(&newpath)?).map(|()| ok(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Refused> {
        Ok(name(id, Files::read_link(&self.path(&path)?)?))
    }

    /// The draft has the link first; OpenSSH sends the target first, and everybody follows it.
    async fn symlink(&mut self, id: u32, linkpath: String, targetpath: String) -> Result<Status, Refused> {
        let (target, link) = (linkpath, targetpath);
        // Checked, but kept as it is: a relative target starts at the link.
        self.path(&target)?;
        std::os::unix::fs::symlink(Path::new(&target), self.path(&link)?)?;
        Ok(ok(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, Refused> {
        extensions::serve(&self.files, id, &request, &data)
    }
}

fn attrs(id: u32, metadata: &Metadata) -> Attrs {
    Attrs { id, attrs: attributes::from_metadata(metadata) }
}

pub(super) fn name(id: u32, path: String) -> Name {
    Name { id, files: vec![File::dummy(path)] }
}
