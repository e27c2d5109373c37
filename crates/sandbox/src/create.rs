//! Creating a sandbox in three steps: provision, connect, personalise.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::{StreamExt, pin_mut};
use sandbox_core::{
    Access, CreationError, CreationReason, CreationStage, Deadline, Env, Error, Result,
    SandboxEvent, SandboxEventKind, SandboxId, SandboxInfo, SandboxSpec, Session, UploadRequest,
    measure,
};
use tracing::Instrument;

use crate::builder::{EventHook, Personal, SandboxBuilder};
use crate::client::Parts;
use crate::explain::{DeleteOnDrop, UNDO_WAIT};
use crate::unanswered::unanswered;
use crate::{Client, Sandbox};

/// Where the server reads the environment of every command from, under the home directory.
const ENVIRONMENT_FILE: &str = ".sandbox/environment";

/// How much of a first command's output is kept for the error it may become.
const INIT_OUTPUT: usize = 64 << 10;

pub(crate) async fn create(builder: SandboxBuilder) -> Result<Sandbox> {
    let measured = measure::create(builder.client.backend_name());
    let span = tracing::debug_span!(
        "sandbox.create",
        sandbox.backend = builder.client.backend_name(),
        sandbox.id = tracing::field::Empty,
    );
    let created = prepare(builder).instrument(span).await;
    measured.ended(&created);
    created
}

async fn prepare(builder: SandboxBuilder) -> Result<Sandbox> {
    let SandboxBuilder {
        client,
        mut spec,
        personal,
        on_event,
        create_timeout,
        ..
    } = builder;
    spec.validate()?;
    if !spec.backend_options.is_empty() {
        // Also for a backend that was made before there were any.
        spec.backend_options.only_for(client.backend_name())?;
    }
    if spec.id.is_none() {
        spec.id = Some(SandboxId::generate()?);
    }
    if let Some(id) = &spec.id {
        tracing::Span::current().record("sandbox.id", tracing::field::display(id));
    }
    let deadline = Deadline::after(create_timeout);
    let history = History {
        seen: Mutex::default(),
        hook: on_event,
    };
    let failure = match once(&client, &spec, &personal, &history, deadline).await {
        Ok(sandbox) => return Ok(sandbox),
        Err(failure) => failure,
    };
    if !failure.try_again || deadline.has_passed() {
        return Err(failure.error);
    }
    tracing::warn!(error = %failure.error, "the sandbox is made once more, in another way");
    once(&client, &spec, &personal, &history, deadline)
        .await
        .map_err(|failure| failure.error)
}

/// A creation that failed, and of which nothing is left.
struct Failure {
    error: Error,
    /// The backend would make it another way now.
    try_again: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            try_again: false,
        }
    }
}

async fn once(
    client: &Client,
    spec: &SandboxSpec,
    personal: &Personal,
    history: &History,
    deadline: Deadline,
) -> Result<Sandbox, Failure> {
    let parts = &client.parts;
    // A dropped or late `create` of a backend leaves nothing; from here on it is ours.
    let made = deadline
        .bound("provision the sandbox", parts.backend.create(spec.clone()))
        .await;
    let info = made.map_err(|error| late(spec, history, error))?;
    let guard = DeleteOnDrop::new(parts.clone(), info.id.clone(), info.uid.clone());
    match equip(client, &info, personal, history, deadline).await {
        Ok(sandbox) => {
            guard.disarm();
            sandbox.stay_attached(spec.lifetime.attach_timeout);
            client.known.see(&sandbox);
            Ok(sandbox)
        }
        Err(mut failure) => {
            // What has not gone has the name still; on Kubernetes before 1.27 that takes ten seconds.
            let wait = if failure.try_again {
                deadline.remaining().max(UNDO_WAIT)
            } else {
                UNDO_WAIT
            };
            failure.try_again &= guard.delete(wait).await;
            Err(failure)
        }
    }
}

/// A backend that did not take it in time: which sandbox that was to be, and what is known of it.
fn late(spec: &SandboxSpec, history: &History, error: Error) -> Error {
    match (&spec.id, error) {
        (Some(id), Error::Timeout { operation, after }) => CreationError {
            id: id.clone(),
            stage: CreationStage::Provision,
            reason: CreationReason::Timeout,
            message: Error::Timeout { operation, after }.to_string(),
            events: history.take(),
            log_tail: String::new(),
            source: None,
        }
        .into(),
        (_, error) => error,
    }
}

/// Connects and personalises.
async fn equip(
    client: &Client,
    info: &SandboxInfo,
    personal: &Personal,
    history: &History,
    deadline: Deadline,
) -> Result<Sandbox, Failure> {
    let parts = &client.parts;
    let (access, session) = match connect(parts, info, history, deadline).await {
        Ok(connected) => connected,
        Err(error) => return Err(unreachable(parts, info, error, history.take()).await),
    };
    let ready = SandboxEvent {
        at: SystemTime::now(),
        kind: SandboxEventKind::Ready,
        message: String::new(),
    };
    history.push(ready);
    let mut env = personal.env.clone();
    env.extend(&personal.secret_env);
    if let Err(error) = deadline
        .bound("set the sandbox up", personalise(&*session, personal, &env))
        .await
    {
        let (stage, reason) = (CreationStage::Personalise, CreationReason::Setup);
        return Err(Error::from(creation(info, stage, reason, error, history.take())).into());
    }
    // Once it runs the backend may know more, such as its address.
    let info = parts
        .backend
        .get(&info.id, sandbox_core::Freshness::Cached)
        .await?;
    Ok(Sandbox::new(client, info, access, session, env))
}

/// Opens the first session, unless the events say that there will be none. What it takes to
/// connect may have to be waited for as well: an image's own server tells its key when it runs.
async fn connect(
    parts: &Parts,
    info: &SandboxInfo,
    history: &History,
    deadline: Deadline,
) -> Result<(Arc<Access>, Arc<dyn Session>)> {
    let mut events = parts.backend.events(&info.id).await?.fuse();
    let session = async {
        let access = deadline
            .bound("connect to the sandbox", parts.backend.access(&info.id))
            .await?;
        let access = Arc::new(access);
        let session = parts
            .sessions
            .session(Arc::clone(&access), deadline)
            .await?;
        Ok((access, session))
    };
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
        session
            .upload(file, Box::new(std::io::Cursor::new(text.into_bytes())))
            .await?;
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
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }

    fn take(&self) -> Vec<SandboxEvent> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// SSH never answered: ask the backend why.
async fn unreachable(
    parts: &Parts,
    info: &SandboxInfo,
    error: Error,
    events: Vec<SandboxEvent>,
) -> Failure {
    let diagnosis = Deadline::after(std::time::Duration::from_secs(5))
        .bound("diagnose", parts.backend.diagnose(&info.id))
        .await
        .ok();
    let try_again = diagnosis
        .as_ref()
        .is_some_and(|diagnosis| diagnosis.try_again);
    Failure {
        error: unanswered(info, error, events, diagnosis).into(),
        try_again,
    }
}

fn creation(
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
        vec![SandboxEvent {
            at: SystemTime::now(),
            kind: SandboxEventKind::Failed,
            message: message.clone(),
        }]
    } else {
        events
    };
    CreationError {
        id: info.id.clone(),
        stage,
        reason,
        message,
        events,
        log_tail: String::new(),
        source,
    }
}
