//! The frames that are sent.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::frames::Sender;
use super::{DATA_STREAM, ERROR_STREAM};

/// The length of the header of a data frame.
pub(super) const DATA_HEADER: usize = 8;

/// The first two bytes of a control frame: its mark, and the version.
const CONTROL_VERSION_3: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
/// The flag of a sender's last frame on a stream.
const FIN: u8 = 1;
/// The header of the zlib stream in which all blocks of HTTP headers travel: deflate with a window of 32 KiB, and
/// with the dictionary of SPDY/3, which is named by its checksum. Nothing here refers to the dictionary.
const ZLIB_HEADER: [u8; 6] = [0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2];
/// An empty block that is not compressed, which makes the reader deliver what is before it (RFC 1951 §3.2.4).
const ZLIB_FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// Builds what opens the stream of the error, on which nothing is sent, and that of the data.
pub(super) fn open_streams(port: u16) -> BytesMut {
    let mut frames = BytesMut::new();
    let port = port.to_string();
    for (stream, kind) in [(ERROR_STREAM, "error"), (DATA_STREAM, "data")] {
        let headers = [
            ("port", port.as_str()),
            ("requestid", "0"),
            ("streamtype", kind),
        ];
        let is_first = stream == ERROR_STREAM;
        let block = header_block(&headers, is_first);
        frames.put_u16(CONTROL_VERSION_3);
        frames.put_u16(SYN_STREAM);
        // No flags, and a length of 24 bits. The block has some hundred bytes.
        frames.put_u32((10 + block.len()) as u32);
        frames.put_u32(stream);
        // No associated stream, the highest priority, no credential.
        frames.put_u32(0);
        frames.put_u16(0);
        frames.put(block);
        if is_first {
            frames.put_slice(&data_header(stream, FIN, 0));
        }
    }
    frames
}

/// Encodes HTTP headers. They are short, so they are not compressed, only stored.
fn header_block(headers: &[(&str, &str)], is_first: bool) -> BytesMut {
    let mut plain = BytesMut::new();
    plain.put_u32(headers.len() as u32);
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        plain.put_u32(text.len() as u32);
        plain.put_slice(text.as_bytes());
    }
    let mut block = BytesMut::new();
    if is_first {
        block.put_slice(&ZLIB_HEADER);
    }
    // A stored block that is not the last one: its type, and its length twice.
    let length = plain.len() as u16;
    block.put_u8(0);
    block.put_u16_le(length);
    block.put_u16_le(!length);
    block.put(plain);
    block.put_slice(&ZLIB_FLUSH);
    block
}

/// Builds the header of a frame of data, whose length has 24 bits.
fn data_header(stream: u32, flags: u8, length: usize) -> [u8; DATA_HEADER] {
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    let [.., l0, l1, l2] = length.to_be_bytes();
    [s0, s1, s2, s3, flags, l0, l1, l2]
}

pub(super) struct FrameSender<W> {
    write: W,
    answers: mpsc::Receiver<Bytes>,
}

impl<W> FrameSender<W> {
    pub(super) fn new(write: W, answers: mpsc::Receiver<Bytes>) -> Self {
        Self { write, answers }
    }
}

impl<W> Sender for FrameSender<W>
where
    W: AsyncWrite + Unpin + Send,
{
    const HEADER: usize = DATA_HEADER;

    async fn send(&mut self, mut frame: BytesMut) -> io::Result<()> {
        let header = data_header(DATA_STREAM, 0, frame.len().saturating_sub(DATA_HEADER));
        if let Some(room) = frame.get_mut(..DATA_HEADER) {
            room.copy_from_slice(&header);
        }
        self.write.write_all(&frame).await?;
        self.write.flush().await
    }

    async fn next_answer(&mut self) -> Bytes {
        match self.answers.recv().await {
            Some(answer) => answer,
            // The receiving half has ended, so there are no more pings.
            None => std::future::pending().await,
        }
    }

    async fn answer(&mut self, answer: Bytes) -> io::Result<()> {
        self.write.write_all(&answer).await?;
        self.write.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.write
            .write_all(&data_header(DATA_STREAM, FIN, 0))
            .await?;
        self.write.flush().await
    }
}
