//! The requests without content, in russh-sftp's packets.

use bytes::Bytes;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::extensions::{LimitsExtension, Statvfs, StatvfsExtension};
use russh_sftp::protocol::{
    Attrs, Close, Extended, FSetStat, File, FileAttributes, Fstat, Init, Lstat, MkDir, Open,
    OpenDir, OpenFlags, Packet, ReadDir, ReadLink, RealPath, Remove, Rename, RmDir, SetStat, Stat,
    StatusCode, Symlink, Version,
};

use sandbox_core::FileKind;

use super::error::SftpResult;
use super::wire::Wire;

/// Each request is sent when its future is first polled.
impl Wire {
    /// The first request of a session.
    pub(crate) async fn init(&self) -> SftpResult<Version> {
        match self.request(|_| Init::default().into()).await? {
            Packet::Version(version) => Ok(version),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }

    pub(crate) async fn open(
        &self,
        path: &str,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> SftpResult<String> {
        expect_handle(
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

    pub(crate) async fn opendir(&self, path: &str) -> SftpResult<String> {
        expect_handle(
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

    pub(crate) async fn close(&self, handle: &str) -> SftpResult<()> {
        expect_ok(
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

    pub(crate) async fn readdir(&self, handle: &str) -> SftpResult<Vec<File>> {
        expect_names(
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

    pub(crate) async fn stat(&self, path: &str) -> SftpResult<FileAttributes> {
        expect_attributes(
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

    pub(crate) async fn lstat(&self, path: &str) -> SftpResult<FileAttributes> {
        expect_attributes(
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

    pub(crate) async fn fstat(&self, handle: &str) -> SftpResult<FileAttributes> {
        expect_attributes(
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

    pub(crate) async fn setstat(&self, path: &str, attrs: FileAttributes) -> SftpResult<()> {
        expect_ok(
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

    pub(crate) async fn fsetstat(&self, handle: &str, attrs: FileAttributes) -> SftpResult<()> {
        expect_ok(
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

    pub(crate) async fn mkdir(&self, path: &str) -> SftpResult<()> {
        let attrs = FileAttributes::empty();
        expect_ok(
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

    pub(crate) async fn rmdir(&self, path: &str) -> SftpResult<()> {
        expect_ok(
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

    pub(crate) async fn remove(&self, path: &str) -> SftpResult<()> {
        expect_ok(
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

    pub(crate) async fn rename(&self, from: &str, to: &str) -> SftpResult<()> {
        let rename = |id| {
            Rename {
                id,
                oldpath: from.into(),
                newpath: to.into(),
            }
            .into()
        };
        expect_ok(self.request(rename).await?)
    }

    /// The draft has the link first. OpenSSH has the target first, and so has every server and client
    /// that works with it.
    pub(crate) async fn symlink(&self, target: &str, path: &str) -> SftpResult<()> {
        let symlink = |id| {
            Symlink {
                id,
                linkpath: target.into(),
                targetpath: path.into(),
            }
            .into()
        };
        expect_ok(self.request(symlink).await?)
    }

    pub(crate) async fn readlink(&self, path: &str) -> SftpResult<Vec<File>> {
        expect_names(
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

    pub(crate) async fn realpath(&self, path: &str) -> SftpResult<Vec<File>> {
        expect_names(
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
    pub(crate) async fn statvfs(&self, path: &str) -> SftpResult<Statvfs> {
        let data: Vec<u8> = StatvfsExtension { path: path.into() }.try_into()?;
        Ok(russh_sftp::de::from_bytes(
            &mut self.extended("statvfs@openssh.com", data).await?,
        )?)
    }

    /// `limits@openssh.com`.
    pub(crate) async fn limits(&self) -> SftpResult<LimitsExtension> {
        Ok(russh_sftp::de::from_bytes(
            &mut self.extended("limits@openssh.com", Vec::new()).await?,
        )?)
    }

    /// A request of an extension whose response is data.
    pub(crate) async fn extended(&self, name: &str, data: Vec<u8>) -> SftpResult<Bytes> {
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
            other => Err(unexpected_response(other)),
        }
    }

    /// A request of an extension whose response is a status.
    pub(crate) async fn extended_status(&self, name: &str, data: Vec<u8>) -> SftpResult<()> {
        expect_ok(
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
        let registration = self.register()?;
        let request = Bytes::try_from(packet(registration.id))?;
        self.exchange(registration, request).await?.into_packet()
    }
}

/// Encodes strings for the data of an extension.
pub(crate) fn encode_strings(texts: [&str; 2]) -> SftpResult<Vec<u8>> {
    let mut data = Vec::with_capacity(texts.iter().map(|text| 4 + text.len()).sum());
    for text in texts {
        let length = u32::try_from(text.len())
            .map_err(|_| SftpError::Limited("the path is too long".into()))?;
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    Ok(data)
}

/// Expects a status of success.
pub(super) fn expect_ok(response: Packet) -> SftpResult<()> {
    match response {
        Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
        other => Err(unexpected_response(other)),
    }
}

/// The error in a response of another kind; a status of success is unexpected there.
fn unexpected_response(response: Packet) -> SftpError {
    match response {
        Packet::Status(status) if status.status_code != StatusCode::Ok => SftpError::Status(status),
        _ => SftpError::UnexpectedPacket,
    }
}

fn expect_handle(response: Packet) -> SftpResult<String> {
    match response {
        Packet::Handle(opened) => Ok(opened.handle),
        other => Err(unexpected_response(other)),
    }
}

fn expect_names(response: Packet) -> SftpResult<Vec<File>> {
    match response {
        Packet::Name(names) => Ok(names.files),
        other => Err(unexpected_response(other)),
    }
}

fn expect_attributes(response: Packet) -> SftpResult<FileAttributes> {
    match response {
        Packet::Attrs(Attrs { attrs, .. }) => Ok(attrs),
        other => Err(unexpected_response(other)),
    }
}

/// The kind of a file, from its permissions.
pub(crate) fn file_kind(attributes: &FileAttributes) -> FileKind {
    match attributes.permissions.unwrap_or(0) & 0o170_000 {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Symlink,
        _ => FileKind::Other,
    }
}
