//! Creating a sandbox in three steps: provision, connect, personalise.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::{StreamExt, pin_mut};
use sandbox_core::{
    Access, CreationError, CreationReason, CreationStage, Deadline, Env, Error, Result, SandboxEvent,
    SandboxEventKind, SandboxId, SandboxInfo, Session, UploadRequest,
};

use crate::builder::{EventHook, Personal, SandboxBuilder};
use crate::client::Parts;
use crate::explain::DeleteOnDrop;
use crate::{Client, Sandbox};

/// Where the server reads the environment of every command from, under the home directory.
const ENVIRONMENT_FILE: &str = ".sandbox/environment";

/// How much of a first command's output is kept for the error it may become.
const INIT_OUTPUT: usize = 64 << 10;

pub(crate) async fn create(builder: SandboxBuilder) -> Result<Sandbox> {
    let SandboxBuilder { client, mut spec, personal, on_event, create_timeout, .. } = builder;
    spec.validate()?;
    if !spec.backend_options.is_empty() {
        // Also for a backend that was made before there were any.
        spec.backend_options.only_for(client.backend_name())?;
    }
    let attach_timeout = spec.lifetime.attach_timeout;
    if spec.id.is_none() {
        spec.id = Some(SandboxId::generate()?);
    }
    let deadline = Deadline::after(create_timeout);
    let parts = &client.parts;

    // A dropped or late `create` of a backend leaves nothing; from here on it is ours.
    let info = deadline.bound("provision the sandbox", parts.backend.create(spec)).await?;
    let guard = DeleteOnDrop::new(parts.clone(), info.id.clone(), info.uid.clone());
    match equip(&client, &info, personal, on_event, deadline).await {
        Ok(sandbox) => {
            guard.disarm();
            sandbox.stay_attached(attach_timeout);
            client.known.see(&sandbox);
            Ok(sandbox)
        }
        Err(error) => {
            if let Err(leftover) = guard.delete().await {
                tracing::warn!(sandbox.id = %info.id, error = %leftover, "a failed creation could not be undone; the sandbox ends by itself");
            }
            Err(error)
        }
    }
}

/// Connects and personalises.
async fn equip(
    client: &Client,
    info: &SandboxInfo,
    personal: Personal,
    on_event: Option<EventHook>,
    deadline: Deadline,
) -> Result<Sandbox> {
    let parts = &client.parts;
    let access = Arc::new(parts.backend.access(&info.id).await?);
    let history = History { seen: Mutex::default(), hook: on_event };
    let session = match connect(parts, info, &access, &history, deadline).await {
        Ok(session) => session,
        Err(error) => return Err(unreachable(parts, info, error, history.into_events()).await),
    };
    let mut env = personal.env.clone();
    env.extend(&personal.secret_env);
    if let Err(error) = deadline.bound("set the sandbox up", personalise(&*session, &personal, &env)).await {
        return Err(creation(
            info,
            CreationStage::Personalise,
            CreationReason::Setup,
            error,
            history.into_events(),
        ));
    }
    // Once it runs the backend may know more, such as its address.
    let info = parts.backend.get(&info.id, sandbox_core::Freshness::Cached).await?;
    Ok(Sandbox::new(client, info, access, session, env))
}

/// Opens the first session, unless the events say that there will be none.
async fn connect(
    parts: &Parts,
    info: &SandboxInfo,
    access: &Arc<Access>,
    history: &History,
    deadline: Deadline,
) -> Result<Arc<dyn Session>> {
    let mut events = parts.backend.events(&info.id).await?.fuse();
    let session = parts.sessions.session(access.clone(), deadline);
    pin_mut!(session);
    loop {
        tokio::select! {
            biased;
            session = &mut session => return session,
            Some(event) = events.next() => {
                let event = event?;
                let failed = event.kind.is_final().then(|| event.message.clone());
                history.push(event);
                if let Some(message) = failed {
                    return Err(Error::connection(sandbox_core::ConnectionStage::Dial, message, None));
                }
            }
        }
    }
}

/// Sets the sandbox up. Doing it twice does no harm.
async fn personalise(session: &dyn Session, personal: &Personal, env: &Env) -> Result<()> {
    if !personal.env.is_empty() {
        let mut text = String::new();
        for (name, value) in personal.env.iter() {
            // The server reads one variable a line; others travel with each command only.
            if !value.contains('\n') && !name.contains('\n') {
                text.push_str(&format!("{name}={value}\n"));
            }
        }
        session.create_dir(".sandbox", true).await?;
        let mut file = UploadRequest::new(ENVIRONMENT_FILE);
        file.mode = Some(0o600);
        session.upload(file, Box::new(std::io::Cursor::new(text.into_bytes()))).await?;
    }
    for command in &personal.init {
        let mut command = command.clone();
        let own = std::mem::replace(&mut command.env, env.clone());
        command.env.extend(&own);
        session.output(command, INIT_OUTPUT).await?.check()?;
    }
    Ok(())
}

/// What happened so far, for the error that may come of it.
struct History {
    seen: Mutex<Vec<SandboxEvent>>,
    hook: Option<EventHook>,
}

impl History {
    fn push(&self, event: SandboxEvent) {
        if let Some(hook) = &self.hook {
            hook(&event);
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    fn into_events(self) -> Vec<SandboxEvent> {
        self.seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SSH never answered: ask the backend why.
async fn unreachable(parts: &Parts, info: &SandboxInfo, error: Error, events: Vec<SandboxEvent>) -> Error {
    let failed = events.last().is_some_and(|event| event.kind == SandboxEventKind::Failed);
    let reason = match &error {
        Error::Timeout { .. } => CreationReason::Timeout,
        _ if failed => CreationReason::Crashed,
        _ => CreationReason::Unreachable,
    };
    let diagnosis = Deadline::after(std::time::Duration::from_secs(5))
        .bound("diagnose", parts.backend.diagnose(&info.id))
        .await;
    let mut creation = creation_error(info, CreationStage::Connect, reason, error, events);
    if let Ok(diagnosis) = diagnosis {
        if !diagnosis.summary.is_empty() {
            creation.message = format!("{} ({})", creation.message, diagnosis.summary);
        }
        creation.log_tail = diagnosis.log_tail;
        if creation.events.is_empty() {
            creation.events = diagnosis.events;
        }
    }
    creation.into()
}

fn creation(
    info: &SandboxInfo,
    stage: CreationStage,
    reason: CreationReason,
    error: Error,
    events: Vec<SandboxEvent>,
) -> Error {
    creation_error(info, stage, reason, error, events).into()
}

fn creation_error(
    info: &SandboxInfo,
    stage: CreationStage,
    reason: CreationReason,
    error: Error,
    events: Vec<SandboxEvent>,
) -> CreationError {
    let message = error.to_string();
    // The sentence is in the message already; what lies beneath it is the cause.
    let source = match error {
        Error::Connection(error) => error.source,
        Error::Transfer(error) => error.source,
        Error::Command { source, .. } | Error::Backend { source, .. } => source,
        _ => None,
    };
    let events = if events.is_empty() {
        vec![SandboxEvent { at: SystemTime::now(), kind: SandboxEventKind::Failed, message: message.clone() }]
    } else {
        events
    };
    CreationError { id: info.id.clone(), stage, reason, message, events, log_tail: String::new(), source }
}
