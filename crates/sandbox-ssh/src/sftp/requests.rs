//! The requests without content. Paths are bytes, so the requests are encoded here, and the responses
//! with names are decoded here; russh-sftp would take both for text.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::extensions::{LimitsExtension, Statvfs};
use russh_sftp::protocol::{Attrs, FileAttributes, OpenFlags, Packet, StatusCode, Version};
use sandbox_core::{FileKind, FilePath};

use super::error::SftpResult;
use super::names::{NamedFile, parse_names};
use super::wire::{Response, Wire};

// Packet types of draft-ietf-secsh-filexfer-02, section 3.
const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
const NAME: u8 = 104;
const EXTENDED: u8 = 200;

/// The version of the protocol, in place of an id.
const VERSION_3: u32 = 3;

/// Each request is sent when its future is first polled.
impl Wire {
    /// The first request of a session.
    pub(crate) async fn init(&self) -> SftpResult<Version> {
        let registration = self.register()?;
        let request = encode(INIT, VERSION_3, &[])?;
        let response = self.exchange(registration, request).await?;
        match response.into_packet()? {
            Packet::Version(version) => Ok(version),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }

    pub(crate) async fn open(
        &self,
        path: &FilePath,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> SftpResult<String> {
        let fields = [
            Field::String(path.as_bytes()),
            Field::U32(flags.bits()),
            Field::Attributes(&attributes),
        ];
        expect_handle(self.request(OPEN, &fields).await?)
    }

    pub(crate) async fn opendir(&self, path: &FilePath) -> SftpResult<String> {
        expect_handle(self.request_for_path(OPENDIR, path).await?)
    }

    pub(crate) async fn close(&self, handle: &str) -> SftpResult<()> {
        expect_ok(
            self.request_for_handle(CLOSE, handle)
                .await?
                .into_packet()?,
        )
    }

    pub(crate) async fn readdir(&self, handle: &str) -> SftpResult<Vec<NamedFile>> {
        expect_names(self.request_for_handle(READDIR, handle).await?)
    }

    pub(crate) async fn stat(&self, path: &FilePath) -> SftpResult<FileAttributes> {
        expect_attributes(self.request_for_path(STAT, path).await?)
    }

    pub(crate) async fn lstat(&self, path: &FilePath) -> SftpResult<FileAttributes> {
        expect_attributes(self.request_for_path(LSTAT, path).await?)
    }

    pub(crate) async fn fstat(&self, handle: &str) -> SftpResult<FileAttributes> {
        expect_attributes(self.request_for_handle(FSTAT, handle).await?)
    }

    pub(crate) async fn setstat(
        &self,
        path: &FilePath,
        attributes: FileAttributes,
    ) -> SftpResult<()> {
        let fields = [
            Field::String(path.as_bytes()),
            Field::Attributes(&attributes),
        ];
        expect_ok(self.request(SETSTAT, &fields).await?.into_packet()?)
    }

    pub(crate) async fn fsetstat(
        &self,
        handle: &str,
        attributes: FileAttributes,
    ) -> SftpResult<()> {
        let fields = [
            Field::String(handle.as_bytes()),
            Field::Attributes(&attributes),
        ];
        expect_ok(self.request(FSETSTAT, &fields).await?.into_packet()?)
    }

    pub(crate) async fn mkdir(&self, path: &FilePath) -> SftpResult<()> {
        let attributes = FileAttributes::empty();
        let fields = [
            Field::String(path.as_bytes()),
            Field::Attributes(&attributes),
        ];
        expect_ok(self.request(MKDIR, &fields).await?.into_packet()?)
    }

    pub(crate) async fn rmdir(&self, path: &FilePath) -> SftpResult<()> {
        expect_ok(self.request_for_path(RMDIR, path).await?.into_packet()?)
    }

    pub(crate) async fn remove(&self, path: &FilePath) -> SftpResult<()> {
        expect_ok(self.request_for_path(REMOVE, path).await?.into_packet()?)
    }

    pub(crate) async fn rename(&self, from: &FilePath, to: &FilePath) -> SftpResult<()> {
        let fields = [from, to].map(|path| Field::String(path.as_bytes()));
        expect_ok(self.request(RENAME, &fields).await?.into_packet()?)
    }

    /// The draft has the link first. OpenSSH has the target first, and so has every server and client
    /// that works with it.
    pub(crate) async fn symlink(&self, target: &FilePath, path: &FilePath) -> SftpResult<()> {
        let fields = [target, path].map(|path| Field::String(path.as_bytes()));
        expect_ok(self.request(SYMLINK, &fields).await?.into_packet()?)
    }

    pub(crate) async fn readlink(&self, path: &FilePath) -> SftpResult<Vec<NamedFile>> {
        expect_names(self.request_for_path(READLINK, path).await?)
    }

    pub(crate) async fn realpath(&self, path: &FilePath) -> SftpResult<Vec<NamedFile>> {
        expect_names(self.request_for_path(REALPATH, path).await?)
    }

    /// `statvfs@openssh.com`.
    pub(crate) async fn statvfs(&self, path: &FilePath) -> SftpResult<Statvfs> {
        let data = encode_strings([path.as_bytes()])?;
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
        match self.request_extension(name, &data).await?.into_packet()? {
            Packet::ExtendedReply(reply) => Ok(reply.data.into()),
            other => Err(unexpected_response(other)),
        }
    }

    /// A request of an extension whose response is a status.
    pub(crate) async fn extended_status(&self, name: &str, data: Vec<u8>) -> SftpResult<()> {
        expect_ok(self.request_extension(name, &data).await?.into_packet()?)
    }

    async fn request_extension(&self, name: &str, data: &[u8]) -> SftpResult<Response> {
        let fields = [Field::String(name.as_bytes()), Field::Rest(data)];
        self.request(EXTENDED, &fields).await
    }

    async fn request_for_path(&self, kind: u8, path: &FilePath) -> SftpResult<Response> {
        self.request(kind, &[Field::String(path.as_bytes())]).await
    }

    async fn request_for_handle(&self, kind: u8, handle: &str) -> SftpResult<Response> {
        self.request(kind, &[Field::String(handle.as_bytes())])
            .await
    }

    async fn request(&self, kind: u8, fields: &[Field<'_>]) -> SftpResult<Response> {
        let registration = self.register()?;
        let request = encode(kind, registration.id, fields)?;
        self.exchange(registration, request).await
    }
}

/// A field of a request.
enum Field<'a> {
    U32(u32),
    String(&'a [u8]),
    Attributes(&'a FileAttributes),
    /// Bytes without a length, at the end.
    Rest(&'a [u8]),
}

/// Encodes a request with its length.
fn encode(kind: u8, id: u32, fields: &[Field<'_>]) -> SftpResult<Bytes> {
    let mut request = BytesMut::new();
    request.put_u32(0);
    request.put_u8(kind);
    request.put_u32(id);
    for field in fields {
        match field {
            Field::U32(number) => request.put_u32(*number),
            Field::String(string) => put_string(&mut request, string)?,
            Field::Attributes(attributes) => {
                request.put_slice(&russh_sftp::ser::to_bytes(*attributes)?);
            }
            Field::Rest(bytes) => request.put_slice(bytes),
        }
    }
    let length = u32::try_from(request.len() - 4).map_err(too_long)?;
    request[..4].copy_from_slice(&length.to_be_bytes());
    Ok(request.freeze())
}

fn put_string(to: &mut impl BufMut, string: &[u8]) -> SftpResult<()> {
    to.put_u32(u32::try_from(string.len()).map_err(too_long)?);
    to.put_slice(string);
    Ok(())
}

fn too_long(_: std::num::TryFromIntError) -> SftpError {
    SftpError::Limited("the path is too long".into())
}

/// Encodes strings for the data of an extension.
pub(crate) fn encode_strings<const N: usize>(strings: [&[u8]; N]) -> SftpResult<Vec<u8>> {
    let mut data = Vec::with_capacity(strings.iter().map(|string| 4 + string.len()).sum());
    for string in strings {
        put_string(&mut data, string)?;
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

fn expect_handle(response: Response) -> SftpResult<String> {
    match response.into_packet()? {
        Packet::Handle(opened) => Ok(opened.handle),
        other => Err(unexpected_response(other)),
    }
}

fn expect_names(response: Response) -> SftpResult<Vec<NamedFile>> {
    if response.kind == NAME {
        parse_names(response.into_body())
    } else {
        Err(unexpected_response(response.into_packet()?))
    }
}

fn expect_attributes(response: Response) -> SftpResult<FileAttributes> {
    match response.into_packet()? {
        Packet::Attrs(Attrs { attrs, .. }) => Ok(attrs),
        other => Err(unexpected_response(other)),
    }
}

/// SFTP has 32 bits of seconds since 1970; other times become the nearest.
pub(crate) fn sftp_seconds(time: SystemTime) -> u32 {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    u32::try_from(seconds).unwrap_or(u32::MAX)
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
