//! The content of an upload, as it arrives and decompressed.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt;

use super::gzip::GzipDecoder;
use crate::envd::failure::Failure;

/// The content of an upload.
pub(super) struct UploadBody {
    body: Body,
    gzip: Option<GzipDecoder>,
    is_complete: bool,
}

impl UploadBody {
    /// Creates the content of a request with these headers.
    ///
    /// # Errors
    ///
    /// If it is encoded otherwise than with gzip.
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Result<Self, Failure> {
        let gzip = match headers.get(header::CONTENT_ENCODING) {
            None => None,
            Some(encoding) if encoding.as_bytes().eq_ignore_ascii_case(b"identity") => None,
            Some(encoding) if encoding.as_bytes().eq_ignore_ascii_case(b"gzip") => {
                Some(GzipDecoder::new())
            }
            Some(_) => {
                let message = "this content encoding is not supported; use gzip or none";
                return Err(Failure::invalid(message));
            }
        };
        Ok(Self {
            body,
            gzip,
            is_complete: false,
        })
    }

    /// Waits for more content; `None` at the end.
    ///
    /// # Errors
    ///
    /// If it is cut off, or not gzip.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(gzip) = &mut self.gzip {
                let piece = gzip.next().map_err(|error| {
                    Failure::invalid(format!("the content is not gzip: {error}"))
                })?;
                if piece.is_some() {
                    return Ok(piece);
                }
            }
            if self.is_complete {
                return Ok(None);
            }
            match (self.receive().await?, &mut self.gzip) {
                (Some(piece), Some(gzip)) => gzip.push(piece),
                (None, Some(gzip)) => gzip.finish(),
                (Some(piece), None) => return Ok(Some(piece)),
                (None, None) => return Ok(None),
            }
        }
    }

    /// Reads and drops what is left, so that the client gets to reading the response.
    pub(super) async fn discard(mut self) {
        while let Ok(Some(_)) = self.receive().await {}
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.body.frame().await {
                None => {
                    self.is_complete = true;
                    return Ok(None);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    // Trailers, or nothing.
                    Ok(_) | Err(_) => {}
                },
                Some(Err(_cut_off)) => return Err(Failure::invalid("the content was cut off")),
            }
        }
    }
}
