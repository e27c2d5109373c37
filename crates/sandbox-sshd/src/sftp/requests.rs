//! Packets off a stream and onto it.
//!
//! A client that moves many small files has many requests on their way. Those that have come
//! together are answered together: each piece of channel data costs a packet, its encryption
//! and a change of thread, which is more than most requests cost themselves.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use russh_sftp::protocol::{Packet, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::handler::Session;
use crate::inbox::InboxReader;

/// Most bytes of a request, as OpenSSH has it.
const LONGEST: usize = 256 << 10;
/// Answers are sent when there are so many bytes of them, so that the client has work too.
const ENOUGH: usize = 4 << 10;

/// Answers every request in its turn, until there are no more.
///
/// # Errors
///
/// When the client has gone, or sends what is no packet.
pub(super) async fn answer(
    mut input: InboxReader,
    mut output: impl AsyncWrite + Unpin,
    mut session: Session,
) -> io::Result<()> {
    let (mut requests, mut answers) = (BytesMut::new(), BytesMut::new());
    loop {
        loop {
            let request = match next(&mut requests) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => {
                    // What came before it is answered.
                    send(&mut output, &mut answers).await?;
                    return Err(error);
                }
            };
            answers.extend_from_slice(&one(request, &mut session)?);
            if answers.len() >= ENOUGH {
                output.write_all_buf(&mut answers).await?;
            }
        }
        let more = tokio::select! {
            biased;
            more = input.next() => more?,
            () = std::future::ready(()) => {
                send(&mut output, &mut answers).await?;
                input.next().await?
            }
        };
        match more {
            Some(data) => requests.extend_from_slice(&data),
            None => return send(&mut output, &mut answers).await,
        }
    }
}

/// Sends all answers that there are.
async fn send(output: &mut (impl AsyncWrite + Unpin), answers: &mut BytesMut) -> io::Result<()> {
    output.write_all_buf(answers).await?;
    output.flush().await
}

/// Takes a request out that has come whole.
fn next(requests: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some((length, rest)) = requests.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a request is longer than 256 KiB",
        ));
    }
    if rest.len() < length {
        return Ok(None);
    }
    requests.advance(4);
    Ok(Some(requests.split_to(length).freeze()))
}

fn one(mut request: Bytes, session: &mut Session) -> io::Result<Bytes> {
    let answer = match Packet::try_from(&mut request) {
        Ok(request) => session.answer(request),
        Err(_) => Packet::error(0, StatusCode::BadMessage),
    };
    Bytes::try_from(answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn requests_are_taken_out_whole() {
        let mut bytes = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\x00\0\0\0\x03cd"[..]);
        assert_eq!(next(&mut bytes).unwrap().unwrap(), "ab");
        assert_eq!(next(&mut bytes).unwrap().unwrap(), "");
        assert_eq!(next(&mut bytes).unwrap(), None);
        bytes.extend_from_slice(b"e\0");
        assert_eq!(next(&mut bytes).unwrap().unwrap(), "cde");
        assert_eq!(next(&mut bytes).unwrap(), None);
        assert!(next(&mut BytesMut::from(&b"\x00\x04\x00\x01"[..])).is_err());
    }

    #[test]
    fn nonsense_is_answered() {
        let mut session = Session::new("/".into(), CancellationToken::new());
        for nonsense in [
            &b""[..],
            b"\0",
            b"\x03\0\0",
            b"\xff\xff\xff",
            b"\x05\0\0\0\x01\xff\xff\xff\xff",
        ] {
            let answer = one(Bytes::copy_from_slice(nonsense), &mut session).unwrap();
            assert_eq!(answer[4], 101, "a status");
        }
    }
}
