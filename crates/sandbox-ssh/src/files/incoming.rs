//! Answers on their way from the server, each to whoever waits for it.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};

use super::sftp::MAX_PACKET;
use super::wire::{Answer, Parts, Waiting};

/// Gives bytes in the parts in which they come.
pub(crate) trait Chunks: Send + Unpin {
    /// The next; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// Length, type and id of a packet; the version has a number where others have the id.
const HEAD: usize = 9;
const LENGTH: usize = 4;

/// What comes, and where in a packet it is.
pub(super) struct Incoming<C> {
    chunks: C,
    head: [u8; HEAD],
    at: At,
    waiting: Arc<Waiting>,
}

enum At {
    /// So many bytes of the head are there.
    Head(usize),
    /// So many bytes of an answer are to come.
    Body(usize, Answer),
}

impl<C: Chunks> Incoming<C> {
    pub(super) fn new(chunks: C, waiting: Arc<Waiting>) -> Self {
        Self {
            chunks,
            head: [0; HEAD],
            at: At::Head(0),
            waiting,
        }
    }

    /// Hands out answers until the server ends, or sends what is no answer; then no more will come.
    pub(super) async fn run(mut self) -> io::Result<()> {
        while let Some(chunk) = poll_fn(|cx| self.chunks.poll_chunk(cx)).await? {
            self.sort(chunk)?;
        }
        Ok(())
    }

    fn sort(&mut self, mut chunk: Bytes) -> io::Result<()> {
        while !chunk.is_empty() {
            match &mut self.at {
                At::Head(have) => {
                    // The length first: what has too little for the rest would be waited for.
                    let wanted = if *have < LENGTH { LENGTH } else { HEAD };
                    let taken = chunk.len().min(wanted - *have);
                    chunk.copy_to_slice(&mut self.head[*have..*have + taken]);
                    *have += taken;
                    if *have == wanted {
                        let begun = begin(&self.head)?;
                        self.at = if wanted == HEAD {
                            begun
                        } else {
                            At::Head(LENGTH)
                        };
                    }
                }
                At::Body(left, answer) => {
                    let part = chunk.split_to(chunk.len().min(*left));
                    *left -= part.len();
                    answer.body.push(part);
                }
            }
            if let At::Body(0, _) = self.at
                && let At::Body(_, answer) = std::mem::replace(&mut self.at, At::Head(0))
            {
                self.waiting.answer(answer);
            }
        }
        Ok(())
    }
}

/// The beginning of an answer, and how much of it is to come.
fn begin(head: &[u8; HEAD]) -> io::Result<At> {
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = number(0);
    // A type and an id are the least; what is longer would not be taken by anybody.
    match length.checked_sub(5) {
        Some(left) if length <= MAX_PACKET => {
            let answer = Answer {
                kind: head[4],
                number: number(5),
                body: Parts::default(),
            };
            Ok(At::Body(left as usize, answer))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a packet of {length} bytes"),
        )),
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

    use super::super::content::Piece;
    use super::super::outgoing::Outgoing;
    use super::super::wire::{INIT, Wire};
    use super::*;

    const VERSION: u8 = 2;

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

    fn wire() -> Wire {
        Wire::new(Outgoing::over(tokio::io::sink()))
    }

    /// What has come, and then nothing more.
    fn run(
        wire: &Wire,
        chunks: impl Iterator<Item = Bytes>,
    ) -> impl Future<Output = io::Result<()>> {
        Incoming::new(Cut(chunks.collect()), wire.waiting()).run()
    }

    /// Wherever the stream is cut, each answer goes to who waits for it.
    #[tokio::test]
    async fn answers_are_told_apart_wherever_they_are_cut() {
        let id = |id: u32| id.to_be_bytes();
        let content: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
        let version = packet(&[
            &[VERSION],
            &3_u32.to_be_bytes(),
            &[0, 0, 0, 1, b'x', 0, 0, 0, 0],
        ]);
        let unknown = packet(&[&[103], &id(900), &[1; 30]]);
        let data = packet(&[&[103], &id(1), &5000_u32.to_be_bytes(), &content]);
        let done = packet(&[&[101], &id(2), &[0; 4], &[0; 4], &[0; 4]]);
        let all = [&version[..], &unknown, &done, &data].concat();
        for size in [1, 2, 3, 5, 9, 13, 100, 4096, all.len()] {
            let wire = wire();
            let mut piece = Piece::with_capacity(3);
            piece.as_vec().extend_from_slice(b"abc");
            let (version, read, written, ran) = tokio::join!(
                wire.init(),
                wire.read("h", 0, 5000),
                wire.write("h", 0, piece),
                run(&wire, all.chunks(size).map(Bytes::copy_from_slice))
            );
            assert!(version.unwrap().extensions.contains_key("x"));
            assert!(
                read.unwrap()
                    .into_iter()
                    .flatten()
                    .eq(content.iter().copied()),
                "cut by {size}"
            );
            written.unwrap();
            ran.unwrap();
        }
    }

    #[tokio::test]
    async fn answers_that_make_no_sense_are_errors() {
        let id = INIT.to_be_bytes();
        for body in [
            // More than was asked for; less than is said; nothing; another kind.
            [&[103][..], &id, &11_u32.to_be_bytes(), &[0; 11]].concat(),
            [&[103][..], &id, &9_u32.to_be_bytes(), &[0; 3]].concat(),
            [&[103][..], &id].concat(),
            [&[104][..], &id, &[0; 40]].concat(),
            [&[101][..], &id, &[0; 3]].concat(),
            [&[101][..], &id, &99_u32.to_be_bytes(), &[0; 8]].concat(),
            // A status of success that brings nothing; a version.
            [&[101][..], &id, &[0; 12]].concat(),
            [&[VERSION][..], &id].concat(),
        ] {
            let wire = wire();
            let come = [Bytes::from(packet(&[&body]))].into_iter();
            let (read, ran) = tokio::join!(wire.read("h", 0, 10), run(&wire, come));
            assert!(read.is_err() && ran.is_ok(), "{body:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_packet_is_the_end() {
        let longer = (MAX_PACKET + 1).to_be_bytes();
        for head in [[0, 0, 0, 0], [0, 0, 0, 4], longer, [0xff; 4]] {
            let wire = wire();
            let come = [Bytes::copy_from_slice(&head)].into_iter();
            let (read, ran) = tokio::join!(wire.read("h", 0, 10), run(&wire, come));
            assert!(read.is_err() && ran.is_err(), "{head:?}");
        }
    }

    #[tokio::test]
    async fn the_end_is_told_to_those_who_wait_and_those_who_come() {
        let wire = wire();
        let (read, ran) = tokio::join!(wire.read("h", 0, 10), run(&wire, std::iter::empty()));
        assert!(read.is_err() && ran.is_ok());
        assert!(wire.read("h", 0, 10).await.is_err());
    }
}
