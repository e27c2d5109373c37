//! The last step of a creation: the way out, variables, initial commands.

use std::sync::Arc;

use bytes::Bytes;
use sandbox_core::{Env, Result, SandboxId, Session, UploadRequest, environment_file};

use super::builder::Personal;
use crate::handle::egress::{EgressProxy, EgressSetup};

/// How much of the output of an initial command is kept for its error, in bytes.
const INIT_OUTPUT_CAP: usize = 64 << 10;

/// Opens the way out, and sets the sandbox up. Returns the variables of its commands, besides those of the way out.
pub(super) async fn set_up(
    requested: &Personal,
    egress: Option<&EgressSetup>,
    id: &SandboxId,
    session: &Arc<dyn Session>,
) -> Result<(Env, Option<EgressProxy>)> {
    let mut personal = requested.clone();
    let egress = match egress {
        Some(setup) => Some(EgressProxy::start(setup, id, Arc::clone(session)).await?),
        None => None,
    };
    if let Some(egress) = &egress {
        egress.store_programs(&**session).await?;
        // Variables of the caller override those of the way out.
        personal.env = egress.variables().clone();
        personal.env.extend(&requested.env);
    }
    let mut of_init = personal.env.clone();
    of_init.extend(&personal.secret_env);
    personalise(&**session, &personal, &of_init).await?;
    let mut env = requested.env.clone();
    env.extend(&requested.secret_env);
    Ok((env, egress))
}

/// Sets the sandbox up. A second call does no harm.
pub(crate) async fn personalise(
    session: &dyn Session,
    personal: &Personal,
    env: &Env,
) -> Result<()> {
    if !personal.env.is_empty() {
        let text = environment_file::encode(&personal.env)?;
        session.create_dir(&".sandbox".into(), true).await?;
        let mut file = UploadRequest::new(environment_file::PATH);
        file.mode = Some(0o600);
        let text = Bytes::from_owner(text);
        session
            .upload(file, Box::new(std::io::Cursor::new(text)))
            .await?;
    }
    for command in &personal.init {
        let mut command = command.clone();
        // The variables of the command override those of the sandbox.
        let own = std::mem::replace(&mut command.env, env.clone());
        command.env.extend(&own);
        session.output(command, INIT_OUTPUT_CAP).await?.check()?;
    }
    Ok(())
}
