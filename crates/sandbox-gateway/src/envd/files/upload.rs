//! Writing files.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use sandbox::{AttributeChange, GuestWriter};

use super::multipart::{MultipartParser, PartHead, Piece};
use super::upload_body::UploadBody;
use super::written::WrittenFile;
use super::{FileRequest, metadata};
use crate::envd::failure::Failure;
use crate::envd::filesystem::to_path;

/// The most files of one request.
const MAX_FILES: usize = 10_000;
/// How long the rest of a refused upload is read, for the sake of clients that read no response before they have sent
/// everything.
const DISCARDED: Duration = Duration::from_secs(10);

/// Answers a POST request.
pub(super) async fn answer(request: &FileRequest, body: Body) -> Result<Response, Failure> {
    let headers = &request.head.headers;
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let mut upload = Upload {
        request,
        metadata: metadata::parse(headers).map_err(Failure::invalid)?,
        written: Vec::new(),
    };
    let mut body = UploadBody::new(headers, body)?;
    let done = if media_type.eq_ignore_ascii_case("multipart/form-data") {
        let parser = MultipartParser::for_content_type(content_type).map_err(malformed)?;
        upload.write_parts(&mut body, parser).await
    } else if media_type.eq_ignore_ascii_case("application/octet-stream") {
        upload.write_body(&mut body).await
    } else {
        let message = "the content type must be multipart/form-data or application/octet-stream";
        Err(Failure::invalid(message))
    };
    match done {
        Ok(()) => Ok(Json(upload.written).into_response()),
        Err(failure) => {
            // Whether all of it was read in time makes no difference.
            tokio::time::timeout(DISCARDED, body.discard())
                .await
                .unwrap_or_default();
            Err(failure)
        }
    }
}

struct Upload<'a> {
    request: &'a FileRequest,
    metadata: BTreeMap<String, String>,
    written: Vec<WrittenFile>,
}

impl Upload<'_> {
    /// Writes the body as one file.
    async fn write_body(&mut self, body: &mut UploadBody) -> Result<(), Failure> {
        let path = self
            .queried_path()
            .ok_or_else(|| Failure::invalid("the query parameter path is missing"))?;
        let mut writer = self.open(path).await?;
        while let Some(piece) = body.next().await? {
            self.write(&mut writer, &piece).await?;
        }
        self.finish(writer).await
    }

    /// Writes each part that is a file.
    async fn write_parts(
        &mut self,
        body: &mut UploadBody,
        mut parser: MultipartParser,
    ) -> Result<(), Failure> {
        let mut paths = HashSet::new();
        let mut writer = None;
        loop {
            match parser.next().map_err(malformed)? {
                Some(Piece::Head(head)) => {
                    let Some(path) = self.part_path(head)? else {
                        continue;
                    };
                    if paths.len() == MAX_FILES {
                        let message = format!("a request may have at most {MAX_FILES} files");
                        return Err(Failure::invalid(message));
                    }
                    if !paths.insert(path.clone()) {
                        let path = String::from_utf8_lossy(&path);
                        let message = format!("the request has two files for the path '{path}'");
                        return Err(Failure::invalid(message));
                    }
                    writer = Some(self.open(path).await?);
                }
                Some(Piece::Content(content)) => {
                    if let Some(writer) = &mut writer {
                        self.write(writer, &content).await?;
                    }
                }
                Some(Piece::End) => {
                    if let Some(writer) = writer.take() {
                        self.finish(writer).await?;
                    }
                }
                None => match body.next().await? {
                    Some(piece) => parser.push(&piece),
                    None => break,
                },
            }
        }
        parser.check_end().map_err(malformed)?;
        if self.written.is_empty() {
            return Err(Failure::invalid("the request has no part named \"file\""));
        }
        Ok(())
    }

    /// Where a part is to be written; `None` if it is no file.
    fn part_path(&self, head: PartHead) -> Result<Option<Vec<u8>>, Failure> {
        if head.name.as_deref() != Some(b"file") {
            return Ok(None);
        }
        let path = self.queried_path().or(head.filename);
        match path.filter(|path| !path.is_empty()) {
            Some(path) => Ok(Some(path)),
            None => Err(Failure::invalid(
                "a file has no name, and the query no path",
            )),
        }
    }

    fn queried_path(&self) -> Option<Vec<u8>> {
        let path = self.request.query.path.clone();
        path.filter(|path| !path.is_empty())
    }

    async fn open(&self, path: Vec<u8>) -> Result<GuestWriter, Failure> {
        let mut attributes = AttributeChange::default();
        attributes.set = metadata::to_attributes(&self.metadata);
        metadata::ATTRIBUTE.clone_into(&mut attributes.replaced_prefix);
        let files = self.request.files();
        self.check(files.writer(to_path(path), attributes).await)
            .await
    }

    async fn write(&self, writer: &mut GuestWriter, content: &Bytes) -> Result<(), Failure> {
        self.check(writer.write(content).await).await
    }

    async fn finish(&mut self, writer: GuestWriter) -> Result<(), Failure> {
        let written = self.check(writer.finish().await).await?;
        self.written.push(WrittenFile::of(&written.entry));
        Ok(())
    }

    async fn check<T>(&self, result: sandbox::Result<T>) -> Result<T, Failure> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.request.guest.explain(error).await),
        }
    }
}

fn malformed(error: super::multipart::MalformedMultipart) -> Failure {
    Failure::invalid(error.to_string())
}
