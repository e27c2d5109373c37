//! One connection, from the accepted stream to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::server::run_stream;
use tokio::io::{AsyncRead, AsyncWrite};

use super::handler::ConnectionHandler;
use super::state::ServerState;
use super::transport::Transport;
use crate::channel::gate::ReadGate;
use crate::channel::write_backlog::WriteBacklog;

/// Serves a stream until either side ends it, the server stops, or the login takes too long.
pub(crate) async fn serve<S>(server: Arc<ServerState>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let kill = server.stop.child_token();
    // russh runs the session in a task of its own, which must not outlive this one.
    let _kill_when_dropped = kill.clone().drop_guard();
    let gate = Arc::new(ReadGate::default());
    let backlog = Arc::new(WriteBacklog::default());
    let authenticated = Arc::new(AtomicBool::new(false));
    let pending = server.pending_logins.add(kill.clone());
    let connection = server.owner.add_connection(kill.clone());
    let transport = Transport::new(
        stream,
        Arc::clone(&gate),
        Arc::clone(&backlog),
        kill.clone(),
    );
    let handler = ConnectionHandler::new(
        Arc::clone(&server),
        gate,
        backlog,
        Arc::clone(&authenticated),
        pending,
        connection,
    );
    let session = async {
        // Until russh has started its task, a blocked write of the greeting does not see the kill
        // switch, so this select watches it.
        let running = tokio::select! {
            running = run_stream(Arc::clone(&server.ssh), transport, handler) => running?,
            () = kill.cancelled() => return Ok(()),
        };
        running.await
    };
    tokio::pin!(session);
    let ended = tokio::select! {
        ended = &mut session => ended,
        () = tokio::time::sleep(server.config.login_grace) => {
            if !authenticated.load(Ordering::Relaxed) {
                tracing::debug!("login grace exceeded; closing the connection");
                kill.cancel();
            }
            session.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
