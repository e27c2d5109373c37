//! From a claim that the backend has granted to a sandbox that only the claimer can enter.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sandbox_core::{
    Access, ClaimRequest, Claimed, CreationError, CreationReason, CreationStage, Deadline,
    DownloadRequest, Env, Error, KeyPair, OnExpiry, ResizeOutcome, Resources, Result, SandboxEvent,
    SandboxEventKind, SandboxInfo, SandboxState, Session, SharedPools, environment_file,
};
use tokio::io::AsyncReadExt;

use super::claim_ttl::ClaimTtl;
use crate::create::builder::{EventHook, Personal, SandboxBuilder};
use crate::create::delete_guard::{CLEANUP_WAIT, DeleteOnDrop};
use crate::create::{Created, isolate_error, personalise, personalise_error, start_ttl};
use crate::handle::egress::proof::{Unproved, prove};
use crate::handle::egress::{EgressProxy, EgressSetup};
use crate::handle::pause::set_on_expiry;
use crate::parts::Parts;

/// How long the first connection may take. The sandbox runs, so only one that has just ended takes as long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What a claimed sandbox gets.
pub(super) struct HandOver {
    pub(super) parts: Arc<Parts>,
    pub(super) request: ClaimRequest,
    pub(super) on_expiry: OnExpiry,
    /// The `ttl`, if it begins at the end of the setup.
    pub(super) late_ttl: Option<Duration>,
    pub(super) personal: Personal,
    /// What it may reach, if this process serves that.
    pub(super) egress: Option<EgressSetup>,
    /// Whether the claim has given it labels, which other policies may select.
    pub(super) has_new_labels: bool,
    /// Its new size.
    pub(super) size: Option<Resources>,
    pub(super) on_event: Option<EventHook>,
    /// How long the setup may take.
    pub(super) timeout: Duration,
}

/// Why a claimed sandbox was not handed over.
pub(super) enum HandOverError {
    /// It has ended, or another client has claimed its server. Another one may serve. It is deleted, unless
    /// it is another client's.
    Lost(Error),
    /// The request failed, as it would with another sandbox. This one is deleted.
    Failed(Error),
}

impl HandOver {
    pub(super) fn new(
        sandbox: &SandboxBuilder,
        key: &KeyPair,
        size: Option<&Resources>,
        ttl: ClaimTtl,
        max_lifetime: Option<Duration>,
    ) -> Self {
        let lifetime = &sandbox.spec.lifetime;
        let mut request = ClaimRequest::new(key.public.clone());
        request.attach_timeout = lifetime.attach_timeout;
        request.ttl = ttl.now;
        request.max_lifetime = max_lifetime;
        Self {
            parts: Arc::clone(&sandbox.parts),
            request,
            on_expiry: lifetime.on_expiry,
            late_ttl: ttl.later,
            personal: sandbox.personal.clone(),
            egress: sandbox.egress.clone().if_served(),
            has_new_labels: !sandbox.spec.labels.is_empty(),
            size: size.copied(),
            on_event: sandbox.on_event.clone(),
            timeout: sandbox.create_timeout,
        }
    }

    /// Takes the sandbox over from its filler and sets it up. If that fails, or the future is dropped, the
    /// sandbox is deleted.
    pub(super) async fn run(
        &self,
        pools: &dyn SharedPools,
        claimed: Claimed,
    ) -> Result<Created, HandOverError> {
        let Claimed {
            mut info,
            first_access,
            access,
        } = claimed;
        let guard = DeleteOnDrop::new(Arc::clone(&self.parts), info.id.clone(), info.uid.clone());
        let (access, session) = match self.enter(pools, first_access, access).await {
            Ok(Some(entered)) => entered,
            Ok(None) => {
                // The sandbox is used by the client that its server obeys, whatever the backend says.
                guard.disarm();
                return Err(HandOverError::Lost(Error::NotFound { id: info.id }));
            }
            Err(error) => {
                if is_lost(&error) {
                    // The deletion continues in the background, while the next one is claimed.
                    return Err(HandOverError::Lost(error));
                }
                guard.delete(CLEANUP_WAIT).await;
                return Err(HandOverError::Failed(error));
            }
        };
        let prepared = Deadline::from_now(self.timeout).bound("setting up the sandbox", async {
            let egress = self.serve_egress(&info, &session).await?;
            let (env, mut latest) = self
                .prepare(pools, &info, &*session, egress.as_ref())
                .await?;
            if let Some(ttl) = self.late_ttl {
                let started = start_ttl(&*self.parts.backend, &info, &*session, ttl).await?;
                latest = started.or(latest);
            }
            Ok((env, latest, egress))
        });
        let (env, latest, egress) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                let error = match error {
                    Error::Creation(error) => *error,
                    other => personalise_error(&info, other, Vec::new()),
                };
                guard.delete(CLEANUP_WAIT).await;
                return Err(HandOverError::Failed(error.into()));
            }
        };
        if let Some(latest) = latest {
            info = latest;
        }
        if info.state == SandboxState::Pending {
            // A kubelet reports the start late, and this client has just used the sandbox.
            info.state = SandboxState::Running;
        }
        guard.disarm();
        Ok(Created {
            info,
            access,
            session,
            env,
            attach_timeout: self.request.attach_timeout,
            egress,
        })
    }

    /// Serves the way out, if there are rules, once it is proved that the sandbox has no other one. One that waited without
    /// a network was proved by its filler before it was offered, and that holds until it gets other labels.
    async fn serve_egress(
        &self,
        info: &SandboxInfo,
        session: &Arc<dyn Session>,
    ) -> Result<Option<EgressProxy>> {
        let Some(egress) = &self.egress else {
            return Ok(None);
        };
        let backend = &self.parts.backend;
        let mut egress = egress.clone();
        if egress.needs_isolation(&backend.capabilities()) {
            let isolation = backend.isolate_network(&info.id, &info.uid).await;
            let proved = match isolation {
                Ok(isolation) if isolation.was_ordered && !self.has_new_labels => Ok(()),
                Ok(isolation) => prove(&**session, info.port, &isolation).await,
                Err(error) => Err(Unproved::Failed(error)),
            };
            proved.map_err(|unproved| isolate_error(info, unproved, Vec::new()))?;
        }
        egress.refused = backend.control_plane().await;
        let served = EgressProxy::start(&egress, &info.id, Arc::clone(session)).await?;
        Ok(Some(served))
    }

    /// Connects with the key that the sandbox waited with, and replaces it. `None` if another client was
    /// faster.
    async fn enter(
        &self,
        pools: &dyn SharedPools,
        first_access: Access,
        access: Access,
    ) -> Result<Option<(Arc<Access>, Arc<dyn Session>)>> {
        let sessions = &self.parts.sessions;
        let deadline = Deadline::from_now(CONNECT_TIMEOUT);
        let stored = async {
            match self.request.attach_timeout {
                Some(_) => Ok(()),
                // The key has to be there before the sandbox outlives this client.
                None => pools.store_claim_key(&access.id, &access.uid).await,
            }
        };
        let connected = sessions.session(Arc::new(first_access), deadline);
        let (session, ()) = tokio::try_join!(connected, stored)?;
        if !session.claim(self.request.clone()).await? {
            return Ok(None);
        }
        // From now on connections are opened with the new key.
        let access = Arc::new(access);
        let session = sessions.session(Arc::clone(&access), deadline).await?;
        Ok(Some((access, session)))
    }

    /// Resizes the sandbox and sets it up, at the same time if that runs no commands, which may need the new size.
    async fn prepare(
        &self,
        pools: &dyn SharedPools,
        info: &SandboxInfo,
        session: &dyn Session,
        egress: Option<&EgressProxy>,
    ) -> Result<(Env, Option<SandboxInfo>)> {
        let resize = async {
            match &self.size {
                Some(size) => self.resize(pools, info, size).await.map(Some),
                None => Ok(None),
            }
        };
        if self.personal.init.is_empty() {
            return tokio::try_join!(self.set_up(session, egress), resize);
        }
        let resized = resize.await?;
        Ok((self.set_up(session, egress).await?, resized))
    }

    /// Resizes the sandbox. That it has to wait for its new size is an event, and that it never gets it an error.
    async fn resize(
        &self,
        pools: &dyn SharedPools,
        info: &SandboxInfo,
        size: &Resources,
    ) -> Result<SandboxInfo> {
        let resized = pools.resize(&info.id, &info.uid, size).await?;
        match resized.outcome {
            ResizeOutcome::Applied => {}
            ResizeOutcome::Infeasible { message } => return Err(infeasible(info, &message)),
            ResizeOutcome::Deferred { message } | ResizeOutcome::Unconfirmed { message } => {
                tracing::warn!(
                    sandbox.id = %info.id, reason = message,
                    "the sandbox keeps the size of its pool for now"
                );
                self.report_pending(message);
            }
            // A later kind of outcome is no confirmation.
            other => self.report_pending(format!("{other:?}")),
        }
        Ok(resized.info)
    }

    fn report_pending(&self, message: String) {
        if let Some(hook) = &self.on_event {
            hook(&SandboxEvent {
                at: SystemTime::now(),
                kind: SandboxEventKind::ResizePending,
                message,
            });
        }
    }

    /// Sets variables, in addition to those of the pool, and runs the initial commands. Returns the variables
    /// for every command, besides those of the way out.
    async fn set_up(&self, session: &dyn Session, egress: Option<&EgressProxy>) -> Result<Env> {
        // What waits ends at the end of its ttl.
        if self.on_expiry != OnExpiry::End {
            set_on_expiry(session, self.on_expiry).await?;
        }
        let mut personal = self.personal.clone();
        if let Some(egress) = egress {
            egress.store_programs(session).await?;
            // Variables of the caller override those of the way out.
            personal.env = egress.variables().clone();
            personal.env.extend(&self.personal.env);
        }
        let mut of_init = personal.env.clone();
        of_init.extend(&personal.secret_env);
        if !personal.env.is_empty() {
            // The file with the variables is replaced, so it gets those of the pool as well.
            let mut of_pool = read_environment(session).await?;
            of_pool.extend(&personal.env);
            personal.env = of_pool;
        }
        personalise(session, &personal, &of_init).await?;
        let mut env = self.personal.env.clone();
        env.extend(&self.personal.secret_env);
        Ok(env)
    }
}

/// Reads the variables that are stored in the sandbox. What is no variable for the SDK is left out.
async fn read_environment(session: &dyn Session) -> Result<Env> {
    let mut env = Env::default();
    let path = environment_file::PATH.into();
    match session.stat(&path, true).await {
        Ok(_) => {}
        Err(Error::Transfer(error)) if error.reason == sandbox_core::TransferReason::NotFound => {
            return Ok(env);
        }
        Err(error) => return Err(error),
    }
    let (reader, writer) = tokio::io::duplex(64 << 10);
    let mut text = Vec::new();
    let mut limited = reader.take(environment_file::MAX_BYTES as u64);
    let request = DownloadRequest::new(environment_file::PATH);
    let download = session.download(request, Box::new(writer));
    let (downloaded, read) = tokio::join!(download, async {
        let read = limited.read_to_end(&mut text).await;
        // A longer file is not read to its end.
        drop(limited);
        read
    });
    if text.len() < environment_file::MAX_BYTES {
        downloaded?;
    }
    read.map_err(|error| {
        let path = environment_file::PATH;
        let message = "the variables of the pool cannot be read";
        let reason = sandbox_core::TransferReason::Other;
        let direction = sandbox_core::Direction::Download;
        Error::transfer(direction, path, reason, message, Some(error.into()))
    })?;
    for (name, value) in environment_file::parse(&text) {
        if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
            env.set(name, value).ok();
        }
    }
    Ok(env)
}

fn infeasible(info: &SandboxInfo, message: &str) -> Error {
    CreationError {
        id: info.id.clone(),
        stage: CreationStage::Personalise,
        reason: CreationReason::Unschedulable,
        message: format!(
            "its node can never give the requested size: {message} (ask for less, or fill the pool on larger nodes)"
        ),
        events: Vec::new(),
        log_tail: String::new(),
        source: None,
    }
    .into()
}

/// Whether an error means that the sandbox has ended or cannot be entered, and that nothing was run in it.
fn is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. } | Error::Connection(_) | Error::Timeout { .. }
    )
}
