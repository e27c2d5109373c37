//! Reading files.

use std::io;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderValue, StatusCode, header};
use sandbox::{EntryKind, FilePath, GuestReader};

use super::FileRequest;
use super::range::ByteRange;
use super::response::{file_headers, refuses_identity};
use crate::api_error::ApiError;
use crate::envd::failure::Failure;
use crate::envd::filesystem::to_path;

/// What of a file is read before its length is believed: files of the kernel are shorter than they say, or longer.
const READ_AHEAD: usize = 64 << 10;

/// Answers a GET request.
pub(super) async fn answer(request: &FileRequest) -> Result<Response, Failure> {
    let headers = &request.head.headers;
    if refuses_identity(headers) {
        let message = "this server sends files uncompressed; accept the encoding identity";
        return Ok(ApiError::new(StatusCode::NOT_ACCEPTABLE, message).into_response());
    }
    let path = request.query.path.clone();
    let path = path.filter(|path| !path.is_empty());
    let path =
        to_path(path.ok_or_else(|| Failure::invalid("the query parameter path is missing"))?);
    // A range depends on a version of the file that is not known here, if the client names one.
    let range = headers
        .get(header::RANGE)
        .filter(|_| !headers.contains_key(header::IF_RANGE))
        .and_then(|value| ByteRange::parse(value.to_str().ok()?));
    match range {
        Some(range) => send_range(request, path, range).await,
        None => send_whole(request, open(request, path, 0, None).await?).await,
    }
}

async fn send_whole(request: &FileRequest, mut reader: GuestReader) -> Result<Response, Failure> {
    let headers = file_headers(name(&reader));
    let size = reader.entry().size;
    let mut ahead = Vec::new();
    let mut read = 0;
    while read < READ_AHEAD {
        match next(request, &mut reader).await? {
            Some(part) => {
                read += part.len();
                ahead.push(part);
            }
            None => {
                let body = Body::from(ahead.concat());
                return Ok((headers, body).into_response());
            }
        }
    }
    let rest = content(request, ahead, reader);
    let read = u64::try_from(read).unwrap_or(u64::MAX);
    if size <= read {
        return Ok((headers, Body::from_stream(rest)).into_response());
    }
    // What is appended meanwhile is left out, and what is cut off breaks the connection.
    let body = Body::from_stream(limit(rest, size));
    let length = [(header::CONTENT_LENGTH, HeaderValue::from(size))];
    Ok((headers, length, body).into_response())
}

async fn send_range(
    request: &FileRequest,
    path: FilePath,
    range: ByteRange,
) -> Result<Response, Failure> {
    let files = request.files();
    let entry = match files.stat(path.clone()).await {
        Ok(entry) => entry,
        Err(error) => return Err(request.guest.explain(error).await),
    };
    let size = match entry.kind {
        // The size of a link is that of its text.
        EntryKind::Symlink => open(request, path.clone(), 0, Some(0)).await?.entry().size,
        _ => entry.size,
    };
    if size == 0 {
        // Of an empty file nothing can be satisfied, and a file of the kernel says that it is one.
        return send_whole(request, open(request, path, 0, None).await?).await;
    }
    let Some((first, length)) = range.of_size(size) else {
        let message = format!("the file has only {size} bytes");
        let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, message);
        return Ok(([(header::CONTENT_RANGE, content_range("*", size))], error).into_response());
    };
    let reader = open(request, path, first, Some(length)).await?;
    let headers = file_headers(name(&reader));
    let range = content_range(&format!("{first}-{}", first + length - 1), size);
    let lengths = [
        (header::CONTENT_RANGE, range),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    let body = Body::from_stream(content(request, Vec::new(), reader));
    Ok((StatusCode::PARTIAL_CONTENT, headers, lengths, body).into_response())
}

async fn open(
    request: &FileRequest,
    path: FilePath,
    offset: u64,
    length: Option<u64>,
) -> Result<GuestReader, Failure> {
    let files = request.files();
    match files.read(path, offset, length).await {
        Ok(reader) => Ok(reader),
        Err(error) => Err(request.guest.explain(error).await),
    }
}

async fn next(request: &FileRequest, reader: &mut GuestReader) -> Result<Option<Bytes>, Failure> {
    match reader.next().await {
        Ok(part) => Ok(part),
        Err(error) => Err(request.guest.explain(error).await),
    }
}

/// What was read ahead, and the rest as the client receives it. An error breaks the connection, because the status was
/// sent.
fn content(
    request: &FileRequest,
    ahead: Vec<Bytes>,
    reader: GuestReader,
) -> BoxStream<'static, io::Result<Bytes>> {
    let guest = request.guest.clone();
    let rest = stream::unfold(Some((guest, reader)), |state| async {
        let (guest, mut reader) = state?;
        match reader.next().await {
            Ok(part) => Some((Ok(part?), Some((guest, reader)))),
            Err(error) => {
                guest.cut(error).await;
                Some((Err(io::ErrorKind::ConnectionReset.into()), None))
            }
        }
    });
    stream::iter(ahead.into_iter().map(Ok)).chain(rest).boxed()
}

/// The first `length` bytes.
fn limit(
    content: BoxStream<'static, io::Result<Bytes>>,
    length: u64,
) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold((content, length), |(mut content, left)| async move {
        if left == 0 {
            return None;
        }
        let part = content.next().await?.map(|mut part| {
            part.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            part
        });
        let taken = part.as_ref().map_or(0, Bytes::len);
        let left = left - u64::try_from(taken).unwrap_or(left);
        Some((part, (content, left)))
    })
    .boxed()
}

fn name(reader: &GuestReader) -> &[u8] {
    reader.entry().name.as_bytes()
}

fn content_range(range: &str, size: u64) -> HeaderValue {
    let text = format!("bytes {range}/{size}");
    // Only digits and a few signs.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes */*"))
}
