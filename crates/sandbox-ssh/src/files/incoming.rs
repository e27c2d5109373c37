//! Answers on their way from the server, told apart.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};

use super::bulk::{Answer, OURS, Parts, Waiting};
use super::sftp::MAX_PACKET;

/// Gives bytes in the parts in which they come.
pub(crate) trait Chunks: Send + Unpin {
    /// The next; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// Length, type and id of a packet; the version has a number where others have the id.
const HEAD: usize = 9;
const VERSION: u8 = 2;

/// What russh-sftp reads: all but the answers that are not for it.
pub(super) struct Incoming<C> {
    chunks: C,
    /// What has come and was not looked at yet.
    rest: Bytes,
    head: [u8; HEAD],
    at: At,
    waiting: Arc<Waiting>,
}

/// Where in a packet it is.
enum At {
    /// So many bytes of the head are there.
    Head(usize),
    /// From here on, the head goes to russh-sftp, up to there; and then so many bytes.
    Through(usize, usize, usize),
    /// So many bytes of an answer are to come.
    Ours(u32, usize, Answer),
}

impl<C> Incoming<C> {
    pub(super) fn new(chunks: C, waiting: Arc<Waiting>) -> Self {
        Self { chunks, rest: Bytes::new(), head: [0; HEAD], at: At::Head(0), waiting }
    }

    /// What is at hand goes where it belongs; whether there is something for russh-sftp.
    fn sort(&mut self) -> bool {
        loop {
            match &mut self.at {
                At::Head(have) => {
                    // The length, and then as much of a head as it leaves room for.
                    let wanted = if *have < 4 { 4 } else { 4 + Self::length(&self.head).min(HEAD - 4) };
                    if *have == wanted {
                        self.at = Self::begin(&self.head, wanted);
                        continue;
                    }
                    if self.rest.is_empty() {
                        return false;
                    }
                    let taken = self.rest.len().min(wanted - *have);
                    self.rest.copy_to_slice(&mut self.head[*have..*have + taken]);
                    *have += taken;
                }
                At::Through(from, to, left) => {
                    if *from == *to && *left == 0 {
                        self.at = At::Head(0);
                        continue;
                    }
                    return *from < *to || !self.rest.is_empty();
                }
                At::Ours(_, left, answer) => {
                    let part = self.rest.split_to(self.rest.len().min(*left));
                    *left -= part.len();
                    answer.body.push(part);
                    if *left > 0 {
                        return false;
                    }
                    if let At::Ours(id, _, answer) = std::mem::replace(&mut self.at, At::Head(0)) {
                        self.waiting.answer(id, answer);
                    }
                }
            }
        }
    }

    fn length(head: &[u8; HEAD]) -> usize {
        u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize
    }

    /// Whose packet it is.
    fn begin(head: &[u8; HEAD], have: usize) -> At {
        let (length, kind) = (Self::length(head), head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        // russh-sftp ends the session for what is too long.
        if have < HEAD || kind == VERSION || id < OURS || length > MAX_PACKET as usize {
            return At::Through(0, have, length - (have - 4));
        }
        At::Ours(id, length - (have - 4), Answer { kind, body: Parts::default() })
    }
}

impl<C: Chunks> AsyncRead for Incoming<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.sort() {
            match ready!(this.chunks.poll_chunk(cx))? {
                Some(chunk) => this.rest = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        if let At::Through(from, to, left) = &mut this.at {
            let of_head = (*to - *from).min(buf.remaining());
            buf.put_slice(&this.head[*from..*from + of_head]);
            *from += of_head;
            if *from == *to {
                let taken = this.rest.len().min(*left).min(buf.remaining());
                buf.put_slice(&this.rest.split_to(taken));
                *left -= taken;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<C> Drop for Incoming<C> {
    fn drop(&mut self) {
        self.waiting.end();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::AsyncReadExt;

    use super::super::bulk::{Bulk, Piece};
    use super::super::outgoing::Outgoing;
    use super::*;

    struct Cut(VecDeque<Bytes>);

    impl Chunks for Cut {
        fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
            Poll::Ready(Ok(self.0.pop_front()))
        }
    }

    fn packet(body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
    }

    /// With what it sends to, which must be kept.
    fn bulk() -> (Bulk, Outgoing) {
        let outgoing = Outgoing::over(tokio::io::sink());
        (Bulk::new(outgoing.requests()), outgoing)
    }

    /// Wherever the stream is cut, answers for us go to who waits, and all else through.
    #[tokio::test]
    async fn answers_are_told_apart_wherever_they_are_cut() {
        let (first, second) = (OURS.to_be_bytes(), (OURS + 1).to_be_bytes());
        let content: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
        let version = packet(&[&[VERSION], &u32::MAX.to_be_bytes(), b"name"]);
        let other = packet(&[&[101], &7_u32.to_be_bytes(), &[9; 40]]);
        let short = packet(&[&[101]]);
        let data = packet(&[&[103], &first, &5000_u32.to_be_bytes(), &content]);
        let unknown = packet(&[&[103], &(OURS + 9).to_be_bytes(), &[1; 30]]);
        let done = packet(&[&[101], &second, &[0; 4], &[0; 4], &[0; 4]]);
        let all = [&version[..], &data, &other, &unknown, &short, &done, &packet(&[]), &other].concat();
        for size in [1, 2, 3, 5, 9, 13, 100, 4096, all.len()] {
            let (bulk, _outgoing) = bulk();
            let chunks = all.chunks(size).map(Bytes::copy_from_slice).collect();
            let mut incoming = Incoming::new(Cut(chunks), bulk.waiting());
            let mut through = Vec::new();
            let mut piece = Piece::with_capacity(3);
            piece.as_vec().extend_from_slice(b"abc");
            let (read, written, passed) = tokio::join!(
                bulk.read("h", 0, 5000),
                bulk.write("h", 0, piece),
                incoming.read_to_end(&mut through)
            );
            passed.unwrap();
            assert!(read.unwrap().into_iter().flatten().eq(content.iter().copied()), "cut by {size}");
            written.unwrap();
            assert_eq!(through, [&version[..], &other, &short, &packet(&[]), &other].concat());
        }
    }

    #[tokio::test]
    async fn answers_that_make_no_sense_are_errors() {
        let id = OURS.to_be_bytes();
        for body in [
            // More than was asked for; less than is said; nothing; another kind.
            [&[103][..], &id, &11_u32.to_be_bytes(), &[0; 11]].concat(),
            [&[103][..], &id, &9_u32.to_be_bytes(), &[0; 3]].concat(),
            [&[103][..], &id].concat(),
            [&[104][..], &id, &[0; 40]].concat(),
            [&[101][..], &id, &[0; 3]].concat(),
            [&[101][..], &id, &99_u32.to_be_bytes(), &[0; 8]].concat(),
        ] {
            let (bulk, _outgoing) = bulk();
            let mut incoming = Incoming::new(Cut([packet(&[&body]).into()].into()), bulk.waiting());
            let mut through = Vec::new();
            let (read, passed) = tokio::join!(bulk.read("h", 0, 10), incoming.read_to_end(&mut through));
            passed.unwrap();
            assert!(read.is_err() && through.is_empty(), "{body:?}");
        }
    }

    #[tokio::test]
    async fn the_end_is_told_to_those_who_wait_and_those_who_come() {
        let (bulk, _outgoing) = bulk();
        let incoming = Incoming::new(Cut(VecDeque::new()), bulk.waiting());
        let (read, ()) = tokio::join!(bulk.read("h", 0, 10), async { drop(incoming) });
        assert!(read.is_err());
        assert!(bulk.read("h", 0, 10).await.is_err());
    }
}
