//! `file_read`: a piece of a file.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sandbox::{DownloadRequest, Error, FileKind, FilePath, Sandbox};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;

use super::{Call, Reply, parse_path};
use crate::failure::Failure;
use crate::output::{complete_len, escape};
use crate::sync::lock;

pub(super) const READ: &str = "Read a file in a sandbox, 24 kB of it at most; next_offset continues. Bytes that are not \
    UTF-8 are written as \\xNN and flagged: read such a file with encoding base64 to get it exactly.";

/// The most bytes of one answer.
const MAX_BYTES: u64 = 24 << 10;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadArgs {
    /// Path of the file: absolute, or relative to the home directory.
    path: String,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
    /// First byte to read. Default: 0.
    #[serde(default)]
    offset: u64,
    /// The most bytes to read, up to 24576. Default: 24576.
    #[serde(default)]
    #[schemars(range(min = 1, max = 24576))]
    limit: Option<u64>,
    /// How the content is returned.
    #[serde(default)]
    encoding: Encoding,
}

/// How bytes are written in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    #[default]
    Text,
    Base64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReadReply {
    sandbox: String,
    content: String,
    encoding: Encoding,
    /// Size of the whole file in bytes.
    size: u64,
    /// Whether the file goes on after this piece.
    truncated: bool,
    /// The offset of what follows this piece.
    next_offset: u64,
    /// Whether the text has bytes that are not UTF-8. They are written as \xNN.
    invalid_utf8: bool,
}

pub(super) async fn read(call: &Call, args: ReadArgs) -> Result<Reply, Failure> {
    let limit = args.limit.unwrap_or(MAX_BYTES);
    if limit == 0 || limit > MAX_BYTES {
        return Err(Failure::new(format!(
            "the limit is not between 1 and {MAX_BYTES}"
        )));
    }
    let path = parse_path(args.path)?;
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    let size = match check_file(&sandbox, &path).await {
        Ok(size) => size,
        Err(failure) => return Err(call.explain(&slot, failure).await),
    };
    if args.offset > size {
        return Err(Failure::new(format!(
            "the offset {} is after the end of the file, which has {size} bytes",
            args.offset
        )));
    }
    let mut bytes = match read_piece(&sandbox, &path, args.offset, limit).await {
        Ok(bytes) => bytes,
        Err(failure) => return Err(call.explain(&slot, failure).await),
    };
    let may_continue = args.offset + (bytes.len() as u64) < size;
    let (content, invalid_utf8) = match args.encoding {
        Encoding::Base64 => (STANDARD.encode(&bytes), false),
        Encoding::Text => {
            let complete = complete_len(&bytes);
            // A limit below the length of one character must still make progress.
            if may_continue && complete > 0 {
                bytes.truncate(complete);
            }
            let escaped = escape(&bytes);
            (escaped.text, escaped.has_invalid)
        }
    };
    let next_offset = args.offset + bytes.len() as u64;
    let truncated = next_offset < size;
    let mut text = String::new();
    if truncated || args.offset > 0 {
        text.push_str(&format!(
            "bytes {} to {next_offset} of {size}\n",
            args.offset
        ));
    }
    if invalid_utf8 {
        text.push_str("note: bytes that are not UTF-8 are written as \\xNN; encoding base64 returns them exactly\n");
    }
    text.push_str(&content);
    let reply = ReadReply {
        sandbox: sandbox.id().to_string(),
        content,
        encoding: args.encoding,
        size,
        truncated,
        next_offset,
        invalid_utf8,
    };
    Ok(Reply::new(&reply, text)?
        .with_sandbox(sandbox.id())
        .with_detail(format_args!("{} bytes", bytes.len())))
}

/// Checks that there is a regular file, and returns its size: others may never end, or block.
pub(super) async fn check_file(sandbox: &Sandbox, path: &FilePath) -> Result<u64, Failure> {
    let info = sandbox.files().stat(path.clone()).await?;
    match info.kind {
        FileKind::File => Ok(info.size),
        FileKind::Directory => Err(Failure::new(format!(
            "{path} is a directory; use file_list"
        ))),
        _ => Err(Failure::new(format!(
            "{path} is neither a file nor a directory, and is not read; use command_run"
        ))),
    }
}

/// Reads at most `limit` bytes of a file.
pub(super) async fn read_piece(
    sandbox: &Sandbox,
    path: &FilePath,
    offset: u64,
    limit: u64,
) -> Result<Vec<u8>, Failure> {
    let piece = Piece::default();
    let mut request = DownloadRequest::new(path.clone());
    request.offset = offset;
    let writer = PieceWriter {
        piece: piece.clone(),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let downloaded: Result<u64, Error> =
        sandbox.session().download(request, Box::new(writer)).await;
    let bytes = std::mem::take(&mut *lock(&piece.0));
    match downloaded {
        Ok(_) => Ok(bytes),
        // The writer has ended the transfer.
        Err(_) if bytes.len() as u64 == limit => Ok(bytes),
        Err(error) => Err(error.into()),
    }
}

/// What was read.
#[derive(Clone, Default)]
struct Piece(Arc<Mutex<Vec<u8>>>);

/// Keeps the first bytes, and then ends the transfer with an error.
struct PieceWriter {
    piece: Piece,
    limit: usize,
}

impl AsyncWrite for PieceWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut piece = lock(&self.piece.0);
        let room = self.limit - piece.len();
        if room == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::Error::other("enough was read")));
        }
        let taken = room.min(bytes.len());
        piece.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
