//! Splits the received bytes into responses.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::clock::ActivityClock;
use super::wire::{MAX_PACKET, Need, Parts, Pending, Response};
use crate::channel::Chunks;

/// Length, type and id of a packet; the version has its number in place of the id.
const HEAD: usize = 9;
const LENGTH: usize = 4;

/// Reads responses from a stream of bytes.
pub(super) struct Incoming<C> {
    chunks: C,
    head: [u8; HEAD],
    position: Position,
    pending: Arc<Pending>,
    clock: Arc<ActivityClock>,
}

/// The position in the current packet.
enum Position {
    /// This many bytes of the head were received.
    Head(usize),
    /// This many bytes of the response are missing.
    Body(usize, Response, Need),
}

impl<C: Chunks> Incoming<C> {
    /// Records on `clock` when part of a response arrives that a request waits for. Nothing else
    /// counts as progress, so that a server cannot keep requests waiting without answering them.
    pub(super) fn new(chunks: C, pending: Arc<Pending>, clock: Arc<ActivityClock>) -> Self {
        Self {
            chunks,
            head: [0; HEAD],
            position: Position::Head(0),
            pending,
            clock,
        }
    }

    /// Delivers responses until the server ends the stream, or sends an invalid packet or the
    /// response to a request that was not made.
    pub(super) async fn run(mut self) -> io::Result<()> {
        while let Some(chunk) = poll_fn(|cx| self.chunks.poll_chunk(cx)).await? {
            self.split(chunk)?;
        }
        Ok(())
    }

    fn split(&mut self, mut chunk: Bytes) -> io::Result<()> {
        while !chunk.is_empty() {
            match &mut self.position {
                Position::Head(have) => {
                    // The length is checked first, because an invalid packet may be too short to have
                    // the rest of a head.
                    let wanted = if *have < LENGTH { LENGTH } else { HEAD };
                    let taken = chunk.len().min(wanted - *have);
                    chunk.copy_to_slice(&mut self.head[*have..*have + taken]);
                    *have += taken;
                    if *have == wanted {
                        let (length, response) = parse_head(&self.head)?;
                        self.position = if wanted == HEAD {
                            let need = self.check_requested(&response)?;
                            Position::Body(length, response, need)
                        } else {
                            Position::Head(LENGTH)
                        };
                    }
                }
                Position::Body(left, response, need) => {
                    if *need == Need::Awaited {
                        self.clock.record();
                    }
                    let part = chunk.split_to(chunk.len().min(*left));
                    *left -= part.len();
                    response.body.push(part);
                }
            }
            if let Position::Body(0, ..) = self.position
                && let Position::Body(_, response, _) =
                    std::mem::replace(&mut self.position, Position::Head(0))
            {
                self.pending.deliver(response);
            }
        }
        Ok(())
    }

    fn check_requested(&self, response: &Response) -> io::Result<Need> {
        let need = self.pending.need_of(response.id());
        if need == Need::Unrequested {
            let message = format!(
                "the server sent a response to the request {}, which was not made",
                response.id()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if need == Need::Awaited {
            self.clock.record();
        }
        Ok(need)
    }
}

/// Parses a header. Returns the number of body bytes to follow, and the response without its body.
fn parse_head(head: &[u8; HEAD]) -> io::Result<(usize, Response)> {
    let number =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = number(0);
    // Every packet has at least a type and an id.
    match length.checked_sub(5) {
        Some(left) if length <= MAX_PACKET => {
            let response = Response {
                kind: head[4],
                number: number(5),
                body: Parts::default(),
            };
            Ok((left as usize, response))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("invalid length of an SFTP packet: {length} bytes"),
        )),
    }
}

impl<C> Drop for Incoming<C> {
    fn drop(&mut self) {
        self.pending.end();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::{Context, Poll};

    use futures_util::FutureExt;

    use super::super::content::Piece;
    use super::super::outgoing::Outgoing;
    use super::super::wire::{INIT_ID, Wire};
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
        Wire::new(Outgoing::from_writer(tokio::io::sink()))
    }

    /// Reads these chunks, and then the end of the stream.
    fn run(
        wire: &Wire,
        chunks: impl Iterator<Item = Bytes>,
    ) -> impl Future<Output = io::Result<()>> {
        Incoming::new(Cut(chunks.collect()), wire.pending(), ActivityClock::new()).run()
    }

    #[tokio::test]
    async fn each_response_reaches_its_request_wherever_the_stream_is_cut() {
        let id = |id: u32| id.to_be_bytes();
        let content: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
        let version = packet(&[
            &[VERSION],
            &3_u32.to_be_bytes(),
            &[0, 0, 0, 1, b'x', 0, 0, 0, 0],
        ]);
        let data = packet(&[&[103], &id(1), &5000_u32.to_be_bytes(), &content]);
        let done = packet(&[&[101], &id(2), &[0; 4], &[0; 4], &[0; 4]]);
        let all = [&version[..], &done, &data].concat();
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
    async fn malformed_responses_are_errors() {
        let id = INIT_ID.to_be_bytes();
        for body in [
            // More than requested; less than announced; nothing; another kind.
            [&[103][..], &id, &11_u32.to_be_bytes(), &[0; 11]].concat(),
            [&[103][..], &id, &9_u32.to_be_bytes(), &[0; 3]].concat(),
            [&[103][..], &id].concat(),
            [&[104][..], &id, &[0; 40]].concat(),
            [&[101][..], &id, &[0; 3]].concat(),
            [&[101][..], &id, &99_u32.to_be_bytes(), &[0; 8]].concat(),
            // A status of success without data; a version.
            [&[101][..], &id, &[0; 12]].concat(),
            [&[VERSION][..], &id].concat(),
        ] {
            let wire = wire();
            let received = [Bytes::from(packet(&[&body]))].into_iter();
            let (read, ran) = tokio::join!(wire.read("h", 0, 10), run(&wire, received));
            assert!(read.is_err() && ran.is_ok(), "{body:?}");
        }
    }

    #[tokio::test]
    async fn an_invalid_packet_ends_the_session() {
        let longer = (MAX_PACKET + 1).to_be_bytes();
        for head in [[0, 0, 0, 0], [0, 0, 0, 4], longer, [0xff; 4]] {
            let wire = wire();
            let received = [Bytes::copy_from_slice(&head)].into_iter();
            let (read, ran) = tokio::join!(wire.read("h", 0, 10), run(&wire, received));
            assert!(read.is_err() && ran.is_err(), "{head:?}");
        }
    }

    #[tokio::test]
    async fn a_response_to_nobody_ends_the_session() {
        let status = |id: u32| packet(&[&[101], &id.to_be_bytes(), &[0; 12]]);
        let again = [status(INIT_ID), status(INIT_ID)].concat();
        for received in [status(900), again] {
            let wire = wire();
            let received = [Bytes::from(received)].into_iter();
            let (closed, ran) = tokio::join!(wire.close("h"), run(&wire, received));
            assert!(ran.is_err());
            drop(closed);
            assert!(wire.close("h").await.is_err(), "the session has ended");
        }
    }

    #[tokio::test]
    async fn a_response_to_a_dropped_request_is_ignored() {
        let wire = wire();
        assert!(wire.close("first").now_or_never().is_none());
        // One that was never sent has no response.
        drop(wire.register().unwrap());
        let status = |id: u32| Bytes::from(packet(&[&[101], &id.to_be_bytes(), &[0; 12]]));
        let received = [status(0), status(2)].into_iter();
        let (closed, ran) = tokio::join!(wire.close("second"), run(&wire, received));
        closed.unwrap();
        ran.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn only_awaited_responses_are_progress() {
        for (is_awaited, bytes) in [(true, 9), (true, 10), (false, 10), (true, 8)] {
            let wire = wire();
            let clock = ActivityClock::new();
            let began = clock.last_progress();
            let packet = packet(&[&[101], &0_u32.to_be_bytes(), &[0; 12]]);
            let received = VecDeque::from([Bytes::copy_from_slice(&packet[..bytes])]);
            tokio::time::advance(std::time::Duration::from_secs(5)).await;
            let mut request = Some(Box::pin(wire.close("h")));
            assert!(request.as_mut().unwrap().as_mut().now_or_never().is_none());
            if !is_awaited {
                request = None;
            }
            let incoming = Incoming::new(Cut(received), wire.pending(), Arc::clone(&clock));
            incoming.run().await.unwrap();
            let progress = clock.last_progress() > began;
            assert_eq!(progress, is_awaited && bytes >= HEAD, "{bytes}");
            drop(request);
        }
    }

    #[tokio::test]
    async fn the_end_fails_present_and_future_requests() {
        let wire = wire();
        let (read, ran) = tokio::join!(wire.read("h", 0, 10), run(&wire, std::iter::empty()));
        assert!(read.is_err() && ran.is_ok());
        assert!(wire.read("h", 0, 10).await.is_err());
    }
}
