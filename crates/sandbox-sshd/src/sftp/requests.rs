//! Reading requests from the channel and writing replies to it.
//!
//! A client that transfers many small files pipelines its requests. Those that arrived together are
//! answered together, because each message of channel data costs a packet, its encryption and a
//! thread switch, which is more than most requests cost themselves.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::handler::Session;
use crate::channel::input::InputReader;

/// The longest request in bytes, as in OpenSSH.
const MAX_REQUEST: usize = 256 << 10;
/// Bytes of replies that are sent before further requests are served, so that the client can
/// continue.
const MIN_BATCH: usize = 4 << 10;

/// Serves all requests in order.
///
/// # Errors
///
/// If the channel is closed, or if the client sends invalid packets.
pub(super) async fn serve(
    mut input: InputReader,
    mut output: impl AsyncWrite + Unpin,
    mut session: Session,
) -> io::Result<()> {
    let mut requests = BytesMut::new();
    let mut replies = BytesMut::new();
    loop {
        loop {
            let request = match take_request(&mut requests) {
                Ok(Some(request)) => request,
                Ok(None) => break,
                Err(error) => {
                    // The requests before the invalid one are answered.
                    send_all(&mut output, &mut replies).await?;
                    return Err(error);
                }
            };
            replies.extend_from_slice(&serve_one(&request, &mut session)?);
            if replies.len() >= MIN_BATCH {
                output.write_all_buf(&mut replies).await?;
            }
        }
        let more = tokio::select! {
            biased;
            more = input.next() => more?,
            () = std::future::ready(()) => {
                send_all(&mut output, &mut replies).await?;
                input.next().await?
            }
        };
        match more {
            Some(data) => requests.extend_from_slice(&data),
            None => return send_all(&mut output, &mut replies).await,
        }
    }
}

async fn send_all(
    output: &mut (impl AsyncWrite + Unpin),
    replies: &mut BytesMut,
) -> io::Result<()> {
    output.write_all_buf(replies).await?;
    output.flush().await
}

/// Removes and returns the first request if all of it has arrived.
fn take_request(requests: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some((length, rest)) = requests.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_REQUEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "request longer than 256 KiB",
        ));
    }
    if rest.len() < length {
        return Ok(None);
    }
    requests.advance(4);
    Ok(Some(requests.split_to(length).freeze()))
}

fn serve_one(request: &[u8], session: &mut Session) -> io::Result<Bytes> {
    session.serve(request).encode()
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn only_complete_requests_are_taken() {
        let mut bytes = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\x00\0\0\0\x03cd"[..]);
        assert_eq!(take_request(&mut bytes).unwrap().unwrap(), "ab");
        assert_eq!(take_request(&mut bytes).unwrap().unwrap(), "");
        assert_eq!(take_request(&mut bytes).unwrap(), None);
        bytes.extend_from_slice(b"e\0");
        assert_eq!(take_request(&mut bytes).unwrap().unwrap(), "cde");
        assert_eq!(take_request(&mut bytes).unwrap(), None);
        assert!(take_request(&mut BytesMut::from(&b"\x00\x04\x00\x01"[..])).is_err());
    }

    #[test]
    fn an_invalid_request_is_answered() {
        let mut session = Session::new("/".into(), CancellationToken::new());
        for invalid in [
            &b""[..],
            b"\0",
            b"\x03\0\0",
            b"\xff\xff\xff",
            b"\x05\0\0\0\x01\xff\xff\xff\xff",
            b"\x65\0\0\0\x02\0\0\0\0",
            b"\xff\0\0\0\x03",
        ] {
            let reply = serve_one(invalid, &mut session).unwrap();
            assert_eq!(reply[4], 101, "SSH_FXP_STATUS");
            let id = if invalid.len() < 5 { 0 } else { invalid[4] };
            assert_eq!(reply[5..9], [0, 0, 0, id], "{invalid:?}");
        }
    }
}
