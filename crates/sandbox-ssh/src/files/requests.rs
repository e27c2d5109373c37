//! Everything else that is asked of a server, in russh-sftp's packets.

use bytes::Bytes;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::extensions::{LimitsExtension, Statvfs, StatvfsExtension};
use russh_sftp::protocol::{
    Attrs, Close, Extended, FSetStat, File, FileAttributes, Fstat, Init, Lstat, MkDir, Open,
    OpenDir, OpenFlags, Packet, ReadDir, ReadLink, RealPath, Remove, Rename, RmDir, SetStat, Stat,
    StatusCode, Symlink, Version,
};

use super::sftp::SftpResult;
use super::wire::Wire;

/// Each is sent when first polled, in the order of the polls.
impl Wire {
    /// The first of all.
    pub(super) async fn init(&self) -> SftpResult<Version> {
        match self.request(|_| Init::default().into()).await? {
            Packet::Version(version) => Ok(version),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }

    pub(super) async fn open(
        &self,
        path: &str,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> SftpResult<String> {
        handle(
            self.request(|id| {
                Open {
                    id,
                    filename: path.into(),
                    pflags,
                    attrs,
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn opendir(&self, path: &str) -> SftpResult<String> {
        handle(
            self.request(|id| {
                OpenDir {
                    id,
                    path: path.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn close(&self, handle: &str) -> SftpResult<()> {
        done(
            self.request(|id| {
                Close {
                    id,
                    handle: handle.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn readdir(&self, handle: &str) -> SftpResult<Vec<File>> {
        names(
            self.request(|id| {
                ReadDir {
                    id,
                    handle: handle.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn stat(&self, path: &str) -> SftpResult<FileAttributes> {
        attributes(
            self.request(|id| {
                Stat {
                    id,
                    path: path.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn lstat(&self, path: &str) -> SftpResult<FileAttributes> {
        attributes(
            self.request(|id| {
                Lstat {
                    id,
                    path: path.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn fstat(&self, handle: &str) -> SftpResult<FileAttributes> {
        attributes(
            self.request(|id| {
                Fstat {
                    id,
                    handle: handle.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn setstat(&self, path: &str, attrs: FileAttributes) -> SftpResult<()> {
        done(
            self.request(|id| {
                SetStat {
                    id,
                    path: path.into(),
                    attrs,
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn fsetstat(&self, handle: &str, attrs: FileAttributes) -> SftpResult<()> {
        done(
            self.request(|id| {
                FSetStat {
                    id,
                    handle: handle.into(),
                    attrs,
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn mkdir(&self, path: &str) -> SftpResult<()> {
        let attrs = FileAttributes::empty();
        done(
            self.request(|id| {
                MkDir {
                    id,
                    path: path.into(),
                    attrs,
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn rmdir(&self, path: &str) -> SftpResult<()> {
        done(
            self.request(|id| {
                RmDir {
                    id,
                    path: path.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn remove(&self, path: &str) -> SftpResult<()> {
        done(
            self.request(|id| {
                Remove {
                    id,
                    filename: path.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> SftpResult<()> {
        let rename = |id| {
            Rename {
                id,
                oldpath: from.into(),
                newpath: to.into(),
            }
            .into()
        };
        done(self.request(rename).await?)
    }

    /// The draft has the link first. OpenSSH has the target first, and so has everybody who wants to
    /// work with it.
    pub(super) async fn symlink(&self, target: &str, path: &str) -> SftpResult<()> {
        let symlink = |id| {
            Symlink {
                id,
                linkpath: target.into(),
                targetpath: path.into(),
            }
            .into()
        };
        done(self.request(symlink).await?)
    }

    pub(super) async fn readlink(&self, path: &str) -> SftpResult<Vec<File>> {
        names(
            self.request(|id| {
                ReadLink {
                    id,
                    path: path.into(),
                }
                .into()
            })
            .await?,
        )
    }

    pub(super) async fn realpath(&self, path: &str) -> SftpResult<Vec<File>> {
        names(
            self.request(|id| {
                RealPath {
                    id,
                    path: path.into(),
                }
                .into()
            })
            .await?,
        )
    }

    /// `statvfs@openssh.com`.
    pub(super) async fn statvfs(&self, path: &str) -> SftpResult<Statvfs> {
        let asked: Vec<u8> = StatvfsExtension { path: path.into() }.try_into()?;
        Ok(russh_sftp::de::from_bytes(
            &mut self.extended("statvfs@openssh.com", asked).await?,
        )?)
    }

    /// `limits@openssh.com`.
    pub(super) async fn limits(&self) -> SftpResult<LimitsExtension> {
        Ok(russh_sftp::de::from_bytes(
            &mut self.extended("limits@openssh.com", Vec::new()).await?,
        )?)
    }

    /// A request of an extension that is answered with data.
    pub(super) async fn extended(&self, name: &str, data: Vec<u8>) -> SftpResult<Bytes> {
        match self
            .request(|id| {
                Extended {
                    id,
                    request: name.into(),
                    data,
                }
                .into()
            })
            .await?
        {
            Packet::ExtendedReply(reply) => Ok(reply.data.into()),
            other => Err(refused(other)),
        }
    }

    /// A request of an extension that is answered with a status.
    pub(super) async fn extended_do(&self, name: &str, data: Vec<u8>) -> SftpResult<()> {
        done(
            self.request(|id| {
                Extended {
                    id,
                    request: name.into(),
                    data,
                }
                .into()
            })
            .await?,
        )
    }

    async fn request(&self, packet: impl FnOnce(u32) -> Packet) -> SftpResult<Packet> {
        let wait = self.wait()?;
        let request = Bytes::try_from(packet(wait.id))?;
        self.ask(wait, request).await?.packet()
    }
}

/// Strings one after another, as the data of an extension has them.
pub(super) fn strings(texts: [&str; 2]) -> SftpResult<Vec<u8>> {
    let mut data = Vec::with_capacity(texts.iter().map(|text| 4 + text.len()).sum());
    for text in texts {
        let length = u32::try_from(text.len())
            .map_err(|_| SftpError::Limited("the path is too long".into()))?;
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    Ok(data)
}

/// Answers with a status that it was done.
pub(super) fn done(answer: Packet) -> SftpResult<()> {
    match answer {
        Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
        other => Err(refused(other)),
    }
}

/// A status in place of what was asked for; one of success makes no sense then.
fn refused(answer: Packet) -> SftpError {
    match answer {
        Packet::Status(status) if status.status_code != StatusCode::Ok => SftpError::Status(status),
        _ => SftpError::UnexpectedPacket,
    }
}

fn handle(answer: Packet) -> SftpResult<String> {
    match answer {
        Packet::Handle(opened) => Ok(opened.handle),
        other => Err(refused(other)),
    }
}

fn names(answer: Packet) -> SftpResult<Vec<File>> {
    match answer {
        Packet::Name(names) => Ok(names.files),
        other => Err(refused(other)),
    }
}

fn attributes(answer: Packet) -> SftpResult<FileAttributes> {
    match answer {
        Packet::Attrs(Attrs { attrs, .. }) => Ok(attrs),
        other => Err(refused(other)),
    }
}
