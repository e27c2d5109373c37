//! The SFTP subsystem: [draft-ietf-secsh-filexfer-02], version 3, which all clients support, with
//! OpenSSH's extensions and file hashes.
//!
//! Names and paths are bytes, as in OpenSSH's server. russh-sftp has them as text and would mangle
//! those that are not UTF-8, so requests, and the replies with names, are parsed and encoded here.
//!
//! [draft-ietf-secsh-filexfer-02]: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02

mod attributes;
mod extensions;
mod fields;
mod file_hash;
mod files;
mod handler;
mod reply;
mod request;
mod requests;
mod status;

use std::path::PathBuf;

use crate::channel::io::{ChannelIo, send_unless_closed};
use crate::channel::output::{ChannelClosed, Exit};

/// Serves one SFTP session. It has a thread of its own, so that a slow disk blocks no other task
/// and file operations need no switch to a blocking thread each.
pub(crate) async fn serve(home: PathBuf, channel: ChannelIo) -> Result<(), ChannelClosed> {
    let ChannelIo {
        input,
        output,
        control: _control,
    } = channel;
    let closed = input.closed_token();
    let writer = output.stdout_writer(closed.clone());
    let session = handler::Session::new(home, closed.clone());
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        if let Err(error) = runtime.block_on(requests::serve(input, writer, session)) {
            tracing::debug!(%error, "SFTP session ended early");
        }
        Ok::<_, std::io::Error>(())
    });
    let code = match thread.await {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            send_unless_closed(
                &closed,
                output.send_error(&format!("cannot start the SFTP session: {error}")),
            )
            .await?;
            1
        }
        Err(error) => {
            tracing::error!(%error, "SFTP session panicked");
            1
        }
    };
    send_unless_closed(&closed, output.finish(Some(Exit::Code(code)))).await
}
