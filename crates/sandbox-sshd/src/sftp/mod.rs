//! The SFTP subsystem: [draft-ietf-secsh-filexfer-02], version 3, which is what everybody
//! speaks, with OpenSSH's extensions and file hashes.
//!
//! russh-sftp decodes names as UTF-8 and puts U+FFFD for what is none. A request with that
//! character in a path is refused, so that no file with a mangled name is ever made or
//! touched; a listing shows such a name with U+FFFD, so that the file is seen to be there.
//!
//! [draft-ietf-secsh-filexfer-02]: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02

mod attributes;
mod check;
mod extensions;
mod files;
mod handler;
mod requests;
mod status;

use std::path::PathBuf;

use crate::command::{Ends, unless};
use crate::output::{Exit, Lost};

/// Serves one SFTP session. It has a thread of its own, so that a slow disk holds up nobody
/// else, and so that file operations need no hand-over each.
pub(crate) async fn serve(home: PathBuf, ends: Ends) -> Result<(), Lost> {
    let Ends {
        input,
        output,
        control: _control,
    } = ends;
    let gone = input.gone();
    let writer = output.writer(gone.clone());
    let session = handler::Session::new(home, gone.clone());
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        if let Err(error) = runtime.block_on(requests::answer(input, writer, session)) {
            tracing::debug!(%error, "an SFTP session ended early");
        }
        Ok::<_, std::io::Error>(())
    });
    let code = match thread.await {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            unless(
                &gone,
                output.complain(&format!("the SFTP session cannot start: {error}")),
            )
            .await?;
            1
        }
        Err(error) => {
            tracing::error!(%error, "an SFTP session broke down");
            1
        }
    };
    unless(&gone, output.finish(Some(Exit::Code(code)))).await
}
