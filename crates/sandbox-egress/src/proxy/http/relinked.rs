//! Bodies in which the address of an upstream is replaced by that inside the sandbox, so that programs that follow the links
//! of a package index ask the proxy.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName,
};
use http_body::{Body, Frame};
use memchr::memmem;

/// Headers about bytes that are changed here.
const STALE: [HeaderName; 5] = [
    CONTENT_LENGTH,
    ACCEPT_RANGES,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];

/// Whether a response has links: it is a page or JSON, in plain form.
pub(super) fn has_links(headers: &HeaderMap) -> bool {
    let is_plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|encoding| encoding == "identity");
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    is_plain && (kind.ends_with("html") || kind.ends_with("json"))
}

/// Removes what is no longer true about a body whose links are replaced.
pub(super) fn prepare_headers(headers: &mut HeaderMap) {
    for name in STALE {
        headers.remove(name);
    }
}

/// A body whose links are replaced as it passes. Of the body it keeps less than the length of a link.
pub(super) struct RelinkedBody<B> {
    body: B,
    links: Links,
    waiting: VecDeque<Frame<Bytes>>,
    has_ended: bool,
}

impl<B> RelinkedBody<B> {
    /// Replaces `from` by `to` where it is followed by a slash.
    pub(super) fn new(body: B, from: &str, to: &str) -> Self {
        Self {
            body,
            links: Links::new(from, to),
            waiting: VecDeque::new(),
            has_ended: false,
        }
    }
}

impl<B> Body for RelinkedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
            let (data, other) = match next {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => (self.links.replace_in(&data), None),
                    // Trailers come after the content.
                    Err(trailers) => (self.links.rest(), Some(trailers)),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.has_ended = true;
                    (self.links.rest(), None)
                }
            };
            if !data.is_empty() {
                self.waiting.push_back(Frame::data(data));
            }
            self.waiting.extend(other);
        }
    }
}

/// Replaces links in content that comes in parts.
struct Links {
    from: Vec<u8>,
    to: Vec<u8>,
    /// The end of what has come, which may be the beginning of a link.
    kept: BytesMut,
}

impl Links {
    fn new(from: &str, to: &str) -> Self {
        Self {
            from: format!("{from}/").into_bytes(),
            to: format!("{to}/").into_bytes(),
            kept: BytesMut::new(),
        }
    }

    fn replace_in(&mut self, part: &[u8]) -> Bytes {
        self.kept.extend_from_slice(part);
        let text = self.kept.split();
        let mut replaced = BytesMut::with_capacity(text.len());
        let mut rest = &text[..];
        while let Some(at) = memmem::find(rest, &self.from) {
            replaced.extend_from_slice(&rest[..at]);
            replaced.extend_from_slice(&self.to);
            rest = &rest[at + self.from.len()..];
        }
        let kept = self.find_beginning(rest);
        replaced.extend_from_slice(&rest[..rest.len() - kept]);
        self.kept.extend_from_slice(&rest[rest.len() - kept..]);
        replaced.freeze()
    }

    fn rest(&mut self) -> Bytes {
        self.kept.split().freeze()
    }

    /// How many bytes at the end may be the beginning of a link.
    fn find_beginning(&self, text: &[u8]) -> usize {
        let longest = text.len().min(self.from.len() - 1);
        let is_beginning = |length: &usize| self.from.starts_with(&text[text.len() - length..]);
        (1..=longest).rev().find(is_beginning).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_replaced_wherever_a_part_ends() {
        let text = "<a href=\"https://a.example/x/1\">https://a.example/x https://a.example/x/https://a.example/xy hhttps://";
        let expected = "<a href=\"http://l/n/1\">https://a.example/x http://l/n/https://a.example/xy hhttps://";
        for size in 1..text.len() {
            let mut links = Links::new("https://a.example/x", "http://l/n");
            let mut replaced = Vec::new();
            for part in text.as_bytes().chunks(size) {
                replaced.extend_from_slice(&links.replace_in(part));
                assert!(links.kept.len() < links.from.len());
            }
            replaced.extend_from_slice(&links.rest());
            assert_eq!(String::from_utf8(replaced).unwrap(), expected, "{size}");
        }
    }
}
