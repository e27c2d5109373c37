//! Whether a port can be reached from inside.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use russh::ChannelOpenFailure;
use sandbox_core::{ConnectionStage, Deadline, Error, PortProbe, Result};
use tokio::sync::oneshot;

use super::{ChannelPool, OpenChannel, connection_lost_error, refused_error};
use crate::connection::{OpenError, Opening};

impl ChannelPool {
    /// Lets the server connect to a port. The silence counts from an answer to a request that was sent after that for the
    /// channel: the server reads a connection in order, so it has begun to connect by then. `timeout` is for that answer.
    pub(crate) async fn probe_port(
        &self,
        (host, port): (&str, u16),
        silence: Duration,
        timeout: Duration,
        deadline: Deadline,
    ) -> Result<PortProbe> {
        let target = format!("{host}:{port}");
        let opening = Opening::Tcp {
            host: host.to_owned(),
            port,
        };
        let slot = self.slots.checkout(deadline).await?;
        let conn = Arc::clone(slot.conn());
        let (requested, is_requested) = oneshot::channel();
        // The task closes a channel that is opened later, and holds its slot until then.
        let mut opened = tokio::spawn(async move {
            let mut opening = pin!(OpenChannel::open(slot, &opening));
            // The first poll has queued the request for the channel.
            let first = poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx))).await;
            requested.send(()).ok();
            let opened = match first {
                Poll::Ready(opened) => opened,
                Poll::Pending => opening.await,
            };
            opened.map_err(|(_slot, error)| error)
        });
        let waiting = async {
            let is_alive = is_requested.await.is_ok() && conn.ping(timeout).await;
            tokio::time::sleep(silence).await;
            is_alive
        };
        let opened = tokio::select! {
            biased;
            opened = &mut opened => opened,
            is_alive = waiting => {
                // The connection takes no other channel before the server gives this one up.
                conn.retire();
                // It has to be alive at the end of the silence, too.
                return match is_alive && conn.ping(timeout).await {
                    true => Ok(PortProbe::Silent),
                    false => Err(connection_lost_error(&conn)),
                };
            }
        };
        match opened {
            Ok(Ok(channel)) => {
                drop(channel);
                Ok(PortProbe::Open)
            }
            Ok(Err(OpenError::Refused(ChannelOpenFailure::ConnectFailed))) => {
                Ok(PortProbe::Refused)
            }
            Ok(Err(OpenError::Refused(reason))) => {
                Err(refused_error(&reason, &target, "AllowTcpForwarding"))
            }
            Ok(Err(OpenError::Lost)) => Err(connection_lost_error(&conn)),
            Err(error) => {
                let message = format!("{target} could not be tried");
                Err(Error::connection(
                    ConnectionStage::Channel,
                    message,
                    Some(error.into()),
                ))
            }
        }
    }
}
