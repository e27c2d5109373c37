//! A program inside the sandbox that connects through its way out, for those that know no proxies: ssh, and with it git.

use sandbox_core::{Result, Session, UploadRequest};

/// Its path, relative to the home directory.
const PATH: &str = ".sandbox/connect";

/// How git starts ssh. The home directory is that of whoever runs git.
pub(super) const GIT_SSH_COMMAND: &str =
    r#"ssh -o ProxyCommand='sh "$HOME/.sandbox/connect" %h %p'"#;

/// The program. sandbox-sshd can do it, where it is a file in the sandbox; else bash can, which is nearly everywhere.
const PROGRAM: &str = include_str!("connect.sh");

/// Writes the program into the sandbox, for the proxy behind this port.
///
/// # Errors
///
/// Those of an upload.
pub(super) async fn store(session: &dyn Session, port: u16) -> Result<()> {
    let text = PROGRAM.replace("@PORT@", &port.to_string());
    session.create_dir(&".sandbox".into(), true).await?;
    let mut file = UploadRequest::new(PATH);
    file.mode = Some(0o700);
    session
        .upload(file, Box::new(std::io::Cursor::new(text.into_bytes())))
        .await?;
    Ok(())
}
