//! Creates a sandbox in three steps: provision, connect, personalise.

pub(crate) mod builder;
mod creation_error;
pub(crate) mod delete_guard;
mod egress;
mod history;
mod isolate;
mod late_ttl;
mod lifetime;
mod set_up;
mod time_limit;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, pin_mut};
use sandbox_core::{
    Access, ConnectionStage, Deadline, Env, Error, Freshness, NetworkIsolation, Result,
    SandboxEvent, SandboxEventKind, SandboxId, SandboxInfo, SandboxSpec, SandboxState, Session,
    environment_file, metrics,
};
use tracing::Instrument;

use self::builder::{Personal, SandboxBuilder};
use self::creation_error::{connect_error, provision_error};
pub(crate) use self::creation_error::{isolate_error, personalise_error};
use self::delete_guard::{CLEANUP_WAIT, DeleteOnDrop};
use self::history::History;
use self::late_ttl::postpone_ttl;
pub(crate) use self::late_ttl::start_ttl;
pub(crate) use self::set_up::personalise;
use self::set_up::set_up;
use self::time_limit::TimeLimit;
use crate::handle::Sandbox;
use crate::handle::cache::HandleCache;
use crate::handle::egress::{EgressProxy, EgressSetup};
use crate::parts::Parts;
use crate::shared_pool::pools_of;

/// How long a sandbox waits at least for its first client. A creation may time out in less.
const MIN_FIRST_LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The pause after another server has answered in place of a new sandbox.
const OTHER_SERVER_PAUSE: Duration = Duration::from_millis(500);

/// How long a diagnosis of a failed creation may take.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(5);

impl SandboxBuilder {
    /// Creates the sandbox: provisions it, connects to it, and sets it up. Returns when commands
    /// can be run. If it fails, times out or the future is dropped, nothing is left behind.
    ///
    /// # Errors
    ///
    /// * [`Error::Invalid`](crate::Error::Invalid),
    ///   [`Error::AlreadyExists`](crate::Error::AlreadyExists) or
    ///   [`Error::Unsupported`](crate::Error::Unsupported), before anything was created;
    /// * [`Error::Creation`](crate::Error::Creation) with the stage that failed, the reason, the
    ///   backend's message, the latest events and the last lines of the log.
    pub async fn create(self) -> Result<Sandbox> {
        self.check()?;
        let backend = self.parts.backend.name();
        let measured = metrics::start_create(backend);
        let span = tracing::debug_span!(
            "sandbox.create",
            sandbox.backend = backend,
            sandbox.id = tracing::field::Empty,
        );
        let handles = Arc::clone(&self.handles);
        let created = create(self).instrument(span).await;
        measured.finish(&created);
        created.map(|created| created.open(&handles))
    }

    /// Creates the sandbox without a handle, for a pool.
    pub(crate) async fn create_without_handle(self) -> Result<Created> {
        let measured = metrics::start_create(self.parts.backend.name());
        let created = create(self).await;
        measured.finish(&created);
        created
    }
}

/// A sandbox that is connected and set up, and that has no handle yet.
pub(crate) struct Created {
    pub(crate) info: SandboxInfo,
    pub(crate) access: Arc<Access>,
    pub(crate) session: Arc<dyn Session>,
    /// Sent with every command, besides the variables of the way out.
    pub(crate) env: Env,
    pub(crate) attach_timeout: Option<Duration>,
    /// The way out, if it has one.
    pub(crate) egress: Option<EgressProxy>,
}

impl Created {
    /// Opens the handle, which keeps an attached sandbox alive.
    pub(crate) fn open(self, handles: &Arc<HandleCache>) -> Sandbox {
        let sandbox = handles.open(self.info, self.access, self.session, self.env, self.egress);
        if let Some(attach_timeout) = self.attach_timeout {
            sandbox.keep_attached(attach_timeout);
        }
        sandbox
    }
}

async fn create(builder: SandboxBuilder) -> Result<Created> {
    let SandboxBuilder {
        parts,
        mut spec,
        personal,
        egress,
        on_event,
        create_timeout,
        room_timeout,
        ..
    } = builder;
    spec.validate()?;
    // What cannot be stored is refused before anything is created.
    environment_file::encode(&personal.env)?;
    if !spec.backend_options.is_empty() {
        // Backends also check this themselves, except those that were written before these options
        // existed.
        spec.backend_options.require_only(parts.backend.name())?;
    }
    let mut egress = egress.if_served();
    if let Some(egress) = &mut egress {
        let backend = &parts.backend;
        let capabilities = backend.capabilities();
        egress.check_backend(&capabilities, backend.name())?;
        egress.lifetime = Some(spec.lifetime.max_lifetime);
        egress.build_proxy()?;
        spec.is_offline |= egress.needs_isolation(&capabilities);
        egress.refused = backend.control_plane().await;
    }
    if spec.pool.is_some() {
        pools_of(&parts)?;
    }
    if spec.id.is_none() {
        spec.id = Some(SandboxId::generate()?);
    }
    // If this process is killed, no other one knows that the creation has failed.
    let max_lifetime = spec.lifetime.max_lifetime;
    let longest = create_timeout.saturating_add(room_timeout);
    let first_login_timeout =
        longest.clamp(MIN_FIRST_LOGIN_TIMEOUT.min(max_lifetime), max_lifetime);
    spec.lifetime
        .first_login_timeout
        .get_or_insert(first_login_timeout);
    spec.waits_for_room = !room_timeout.is_zero();
    let postponed_ttl = postpone_ttl(&mut spec, &personal, longest, || {
        parts.backend.capabilities()
    });
    if let Some(id) = &spec.id {
        tracing::Span::current().record("sandbox.id", tracing::field::display(id));
    }
    let creation = Creation {
        parts,
        spec,
        personal,
        egress,
        postponed_ttl,
        history: History::new(on_event),
        limit: TimeLimit::start(create_timeout, room_timeout),
    };
    let failure = match creation.attempt().await {
        Ok(created) => return Ok(created),
        Err(failure) => failure,
    };
    if !failure.has_fallback || creation.limit.current().has_passed() {
        return Err(failure.error);
    }
    tracing::warn!(error = %failure.error, "creation failed; retrying with the backend's fallback");
    creation.attempt().await.map_err(|failure| failure.error)
}

/// A creation in progress.
struct Creation {
    parts: Arc<Parts>,
    spec: SandboxSpec,
    personal: Personal,
    egress: Option<EgressSetup>,
    /// What begins when the sandbox is handed out, and not with its server.
    postponed_ttl: Option<Duration>,
    history: History,
    limit: TimeLimit,
}

/// A failed attempt, of which nothing is left.
struct Failure {
    error: Error,
    /// Whether the backend would create the sandbox in another way now.
    has_fallback: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            has_fallback: false,
        }
    }
}

impl Creation {
    async fn attempt(&self) -> Result<Created, Failure> {
        // The backend cleans up after a `create` that fails, times out or is dropped. Once it has
        // succeeded, the guard does.
        let provisioned = self
            .limit
            .provisioning()
            .bound(
                "provisioning the sandbox",
                self.parts.backend.create(self.spec.clone()),
            )
            .await;
        let info = provisioned.map_err(|error| {
            provision_error(self.spec.id.as_ref(), error, || self.history.take())
        })?;
        let guard = DeleteOnDrop::new(self.parts.clone(), info.id.clone(), info.uid.clone());
        let isolation = match self.isolate(&info).await {
            Ok(isolation) => isolation,
            Err(error) => {
                guard.delete(CLEANUP_WAIT).await;
                return Err(error.into());
            }
        };
        match self
            .connect_and_personalise(&info, isolation.as_ref())
            .await
        {
            Ok(created) => {
                guard.disarm();
                Ok(created)
            }
            Err(mut failure) => {
                // A retry needs the name, which is free only after the deletion. On Kubernetes
                // before 1.27 that takes ten seconds.
                let wait = if failure.has_fallback {
                    self.limit.current().remaining().max(CLEANUP_WAIT)
                } else {
                    CLEANUP_WAIT
                };
                failure.has_fallback &= guard.delete(wait).await;
                Err(failure)
            }
        }
    }

    async fn connect_and_personalise(
        &self,
        info: &SandboxInfo,
        isolation: Option<&NetworkIsolation>,
    ) -> Result<Created, Failure> {
        let (access, session) = match self.connect(info).await {
            Ok(connected) => connected,
            Err(error) => return Err(self.diagnose(info, error).await),
        };
        self.observe(SandboxEvent {
            at: SystemTime::now(),
            kind: SandboxEventKind::Ready,
            message: String::new(),
        });
        if let Some(isolation) = isolation {
            // No command has run yet.
            self.prove_isolation(info, &*session, isolation).await?;
        }
        let set_up = self
            .limit
            .current()
            .bound("setting up the sandbox", async {
                let egress = self.egress.as_ref();
                let set_up = set_up(&self.personal, egress, &access.id, &session).await?;
                self.start_ttl(info, &*session).await?;
                Ok(set_up)
            })
            .await;
        let (env, egress) = match set_up {
            Ok(set_up) => set_up,
            Err(error) => {
                return Err(
                    Error::from(personalise_error(info, error, self.history.take())).into(),
                );
            }
        };
        // A backend may know more about a running sandbox, such as its address.
        let mut info = self.parts.backend.get(&info.id, Freshness::Cached).await?;
        if info.state == SandboxState::Pending {
            // A kubelet reports the start late, and this client has just used the sandbox.
            info.state = SandboxState::Running;
        }
        Ok(Created {
            info,
            access,
            session,
            env,
            attach_timeout: self.spec.lifetime.attach_timeout,
            egress,
        })
    }

    /// Opens the first session, unless a final event arrives first.
    ///
    /// The access may have to be waited for as well, because the host key of an image sshd is known
    /// only once it runs.
    async fn connect(&self, info: &SandboxInfo) -> Result<(Arc<Access>, Arc<dyn Session>)> {
        let backend = &self.parts.backend;
        let mut events = backend.events(&info.id).await?.fuse();
        let session = async {
            let access = self
                .limit
                .current()
                .bound("connecting to the sandbox", backend.access(&info.id))
                .await?;
            let access = Arc::new(access);
            let session = self.open_session(&access).await?;
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
                    self.observe(event);
                    if let Some(message) = failed {
                        return Err(Error::connection(ConnectionStage::Dial, message, None));
                    }
                }
                () = self.limit.wait_for_end() => {
                    return Err(Error::Timeout {
                        operation: "connecting to the sandbox",
                        after: self.limit.timeout(),
                    });
                }
            }
        }
    }

    fn observe(&self, event: SandboxEvent) {
        self.limit.observe(&event);
        self.history.push(event);
    }

    /// Opens a session. Another server may answer at first, such as a former sandbox that had the same name or
    /// address. It is never accepted, but it does not prove either that the new one will not come.
    async fn open_session(&self, access: &Arc<Access>) -> Result<Arc<dyn Session>> {
        let deadline = self.limit.current();
        loop {
            let sessions = &self.parts.sessions;
            let error = match sessions.session(Arc::clone(access), deadline).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let is_other_server = matches!(
                &error,
                Error::Connection(error) if error.stage == ConnectionStage::HostKey
            );
            if !is_other_server || deadline.remaining() <= OTHER_SERVER_PAUSE {
                return Err(error);
            }
            tracing::debug!(sandbox.id = %access.id, %error, "another server answers; retrying");
            tokio::time::sleep(OTHER_SERVER_PAUSE).await;
        }
    }

    /// Asks the backend why SSH did not answer.
    async fn diagnose(&self, info: &SandboxInfo, error: Error) -> Failure {
        let events = self.history.take();
        let has_timed_out = self.limit.current().has_passed();
        let diagnosis = Deadline::from_now(DIAGNOSIS_TIMEOUT)
            .bound("the diagnosis", self.parts.backend.diagnose(&info.id))
            .await
            .ok();
        let has_fallback = diagnosis
            .as_ref()
            .is_some_and(|diagnosis| diagnosis.has_fallback);
        Failure {
            error: connect_error(info, error, events, diagnosis, has_timed_out).into(),
            has_fallback,
        }
    }
}
