//! `multipart/form-data` ([RFC 7578](https://www.rfc-editor.org/rfc/rfc7578)) as it arrives: content is passed on at once,
//! and only heads of parts are kept.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::{self, Finder};

/// The longest head of a part.
const MAX_HEAD: usize = 16 << 10;
/// The longest boundary, by [RFC 2046](https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1).
const MAX_BOUNDARY: usize = 70;

/// What a multipart body consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A part begins.
    Head(PartHead),
    /// Content of the part.
    Content(Bytes),
    /// The part is complete.
    End,
}

/// What a part says about itself. Both are bytes, because file names are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PartHead {
    /// The name of the form's field.
    pub(super) name: Option<Vec<u8>>,
    /// The name of the file, with directories if it has any.
    pub(super) filename: Option<Vec<u8>>,
}

/// A body that is no multipart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the multipart body is malformed: {0}")]
pub(super) struct MalformedMultipart(&'static str);

/// Takes a multipart body apart.
#[derive(Debug)]
pub(super) struct MultipartParser {
    /// Finds the delimiter: a line break, two dashes, and the boundary.
    delimiter: Finder<'static>,
    received: BytesMut,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// After a delimiter: a part follows, or the end.
    Delimiter,
    Head,
    Content,
    /// After the last delimiter. What follows means nothing.
    Epilogue,
}

impl MultipartParser {
    /// Creates a parser for the boundary that the content type names.
    ///
    /// # Errors
    ///
    /// If it names none, or an invalid one.
    pub(super) fn for_content_type(content_type: &str) -> Result<Self, MalformedMultipart> {
        let boundary = parameters(content_type.as_bytes())
            .find_map(|(name, value)| name.eq_ignore_ascii_case(b"boundary").then_some(value))
            .filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len()))
            .ok_or(MalformedMultipart("its content type names no boundary"))?;
        let delimiter = [b"\r\n--", &boundary[..]].concat();
        Ok(Self {
            delimiter: Finder::new(&delimiter).into_owned(),
            // As if a line had ended before, so that the first delimiter looks like the others.
            received: BytesMut::from(&b"\r\n"[..]),
            state: State::Preamble,
        })
    }

    /// Adds what has arrived.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.received.extend_from_slice(piece);
    }

    /// Returns the next piece; `None` if that needs more data, or at the end.
    ///
    /// # Errors
    ///
    /// If the body is malformed.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, MalformedMultipart> {
        loop {
            match self.state {
                State::Preamble => match self.delimiter.find(&self.received) {
                    Some(at) => {
                        self.received.advance(at + self.delimiter.needle().len());
                        self.state = State::Delimiter;
                    }
                    None => {
                        self.take_content();
                        return Ok(None);
                    }
                },
                State::Delimiter => {
                    let padding = self
                        .received
                        .iter()
                        .take_while(|byte| matches!(byte, b' ' | b'\t'))
                        .count();
                    self.received.advance(padding);
                    match self.received.first_chunk::<2>() {
                        Some(b"\r\n") => {
                            self.received.advance(2);
                            self.state = State::Head;
                        }
                        Some(b"--") => self.state = State::Epilogue,
                        Some(_) => {
                            return Err(MalformedMultipart(
                                "a boundary is not followed by a line break",
                            ));
                        }
                        None => return Ok(None),
                    }
                }
                State::Head => {
                    let Some(head) = self.take_head()? else {
                        return Ok(None);
                    };
                    self.state = State::Content;
                    return Ok(Some(Piece::Head(head)));
                }
                State::Content => {
                    let content = match self.delimiter.find(&self.received) {
                        Some(0) => {
                            self.received.advance(self.delimiter.needle().len());
                            self.state = State::Delimiter;
                            return Ok(Some(Piece::End));
                        }
                        Some(at) => self.received.split_to(at).freeze(),
                        None => self.take_content(),
                    };
                    return Ok((!content.is_empty()).then_some(Piece::Content(content)));
                }
                State::Epilogue => {
                    self.received.clear();
                    return Ok(None);
                }
            }
        }
    }

    /// Checks, after the last data, that the body was complete.
    ///
    /// # Errors
    ///
    /// If it was not.
    pub(super) fn check_end(&self) -> Result<(), MalformedMultipart> {
        match self.state {
            State::Epilogue => Ok(()),
            State::Preamble | State::Delimiter | State::Head | State::Content => {
                Err(MalformedMultipart("it ends before its last boundary"))
            }
        }
    }

    /// Removes what cannot be the beginning of a delimiter.
    fn take_content(&mut self) -> Bytes {
        let needle = self.delimiter.needle();
        let tail_at = self.received.len().saturating_sub(needle.len() - 1);
        let keep_from = memchr::memchr_iter(b'\r', &self.received[tail_at..])
            .map(|at| tail_at + at)
            .find(|at| needle.starts_with(&self.received[*at..]))
            .unwrap_or(self.received.len());
        self.received.split_to(keep_from).freeze()
    }

    fn take_head(&mut self) -> Result<Option<PartHead>, MalformedMultipart> {
        if self.received.starts_with(b"\r\n") {
            self.received.advance(2);
            return Ok(Some(PartHead::default()));
        }
        let searched = &self.received[..self.received.len().min(MAX_HEAD)];
        let Some(end) = memmem::find(searched, b"\r\n\r\n") else {
            return if self.received.len() >= MAX_HEAD {
                Err(MalformedMultipart("the head of a part is too long"))
            } else {
                Ok(None)
            };
        };
        let head = parse_head(&self.received[..end]);
        self.received.advance(end + 4);
        Ok(Some(head))
    }
}

fn parse_head(head: &[u8]) -> PartHead {
    let mut parsed = PartHead::default();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !name
            .trim_ascii()
            .eq_ignore_ascii_case(b"content-disposition")
        {
            continue;
        }
        for (name, value) in parameters(value) {
            if name.eq_ignore_ascii_case(b"name") {
                parsed.name.get_or_insert(decode_name(&value));
            } else if name.eq_ignore_ascii_case(b"filename") {
                parsed.filename.get_or_insert(decode_name(&value));
            }
        }
    }
    parsed
}

/// The parameters of a header such as `form-data; name="file"`, without quotation marks.
fn parameters(value: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let mut rest = value;
    // What comes before the first semicolon is no parameter.
    let first = rest.iter().position(|byte| *byte == b';');
    rest = first.map_or(&[], |at| &rest[at + 1..]);
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let name = rest[..equals].trim_ascii().to_vec();
        rest = rest[equals + 1..].trim_ascii_start();
        let value = match rest.split_first() {
            Some((b'"', quoted)) => {
                rest = quoted;
                take_quoted(&mut rest)
            }
            Some(_) | None => {
                let end = rest.iter().position(|byte| *byte == b';');
                let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
                rest = after;
                token.trim_ascii().to_vec()
            }
        };
        let next = rest.iter().position(|byte| *byte == b';');
        rest = next.map_or(&[], |at| &rest[at + 1..]);
        Some((name, value))
    })
}

/// Takes a quoted string, after its first quotation mark. A backslash quotes a quotation mark and itself only: some
/// clients do not quote it in names such as `C:\a`.
fn take_quoted(rest: &mut &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    while let Some((byte, after)) = rest.split_first() {
        *rest = after;
        match (byte, after.first()) {
            (b'"', _) => break,
            (b'\\', Some(quoted @ (b'"' | b'\\'))) => {
                value.push(*quoted);
                *rest = &after[1..];
            }
            (byte, _) => value.push(*byte),
        }
    }
    value
}

/// Decodes what [browsers](https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data)
/// encode in names: quotation marks and line breaks, nothing else.
fn decode_name(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after) {
            (b'%', [b'2', b'2', after @ ..]) => (b'"', after),
            (b'%', [b'0', b'A' | b'a', after @ ..]) => (b'\n', after),
            (b'%', [b'0', b'D' | b'd', after @ ..]) => (b'\r', after),
            (byte, after) => (*byte, after),
        };
        decoded.push(byte);
        rest = after;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b0";

    /// Parses a body that arrives in pieces of this size, and joins pieces of content.
    fn parse(body: &[u8], size: usize) -> Result<Vec<Piece>, MalformedMultipart> {
        let mut parser = MultipartParser::for_content_type(TYPE)?;
        let mut pieces: Vec<Piece> = Vec::new();
        for arrived in body.chunks(size) {
            parser.push(arrived);
            while let Some(piece) = parser.next()? {
                match (pieces.last_mut(), piece) {
                    (Some(Piece::Content(before)), Piece::Content(more)) => {
                        *before = [&before[..], &more].concat().into();
                    }
                    (_, piece) => pieces.push(piece),
                }
            }
        }
        parser.check_end()?;
        Ok(pieces)
    }

    fn head(name: &str, filename: Option<&str>) -> Piece {
        Piece::Head(PartHead {
            name: Some(name.into()),
            filename: filename.map(Into::into),
        })
    }

    #[test]
    fn parts_are_found_in_whatever_pieces_they_arrive() {
        let body = b"preamble\r\n--b0\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"/d/a.txt\"\r\n\
            Content-Type: text/plain\r\n\r\none\r\n--b\r\n--\r\r\n--b0  \r\n\
            content-disposition: form-data; filename=\"b\"; name=file\r\n\r\n\r\n--b0\r\n\
            \r\nno head\r\n--b0--\r\nepilogue";
        let expected = [
            head("file", Some("/d/a.txt")),
            Piece::Content(Bytes::from_static(b"one\r\n--b\r\n--\r")),
            Piece::End,
            head("file", Some("b")),
            Piece::End,
            Piece::Head(PartHead::default()),
            Piece::Content(Bytes::from_static(b"no head")),
            Piece::End,
        ];
        for size in [1, 2, 3, 7, 16, 1000] {
            assert_eq!(parse(body, size).unwrap(), expected, "in pieces of {size}");
        }
        assert_eq!(parse(b"--b0--", 1).unwrap(), []);
    }

    #[test]
    fn names_are_decoded_as_browsers_and_httpx_encode_them() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"\"a%22b%0Ac.txt\"", b"a\"b\nc.txt"),
            (b"\"100%.txt\"", b"100%.txt"),
            (b"\"a%20b\"", b"a%20b"),
            (b"\"a\\\\b\\\"c\\d\"", b"a\\b\"c\\d"),
            (b"\"dir/caf\xc3\xa9; x=1\"", b"dir/caf\xc3\xa9; x=1"),
            (b"plain ; x=1", b"plain"),
        ];
        for (encoded, expected) in cases {
            let head = [b"Content-Disposition: form-data; filename=", encoded].concat();
            assert_eq!(parse_head(&head).filename.unwrap(), expected);
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for body in [
            &b""[..],
            b"--b0",
            b"--b0\r\n",
            b"--b0\r\n\r\ncontent",
            b"--b0\r\n\r\ncontent\r\n--b0",
            b"--b0x\r\n",
            &[&b"--b0\r\nx: "[..], &[b'y'; MAX_HEAD]].concat(),
        ] {
            assert!(parse(body, 64).is_err());
        }
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; charset=x",
        ] {
            assert!(MultipartParser::for_content_type(content_type).is_err());
        }
        assert!(MultipartParser::for_content_type("multipart/form-data; Boundary=\"a b\"").is_ok());
    }

    #[test]
    fn content_without_delimiters_is_not_kept() {
        let mut parser = MultipartParser::for_content_type(TYPE).unwrap();
        parser.push(b"--b0\r\n\r\n");
        assert!(parser.next().unwrap().is_some());
        for _ in 0..100 {
            parser.push(&[b'\r'; 1000]);
            while parser.next().unwrap().is_some() {}
            assert!(parser.received.len() < 10);
        }
    }
}
