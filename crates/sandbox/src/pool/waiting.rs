//! A sandbox that waits in a pool.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{
    Access, Deadline, DeleteOptions, Env, Error, Freshness, Result, SandboxId, SandboxInfo,
    SandboxState, Session, TransferReason, Uid, metrics,
};
use tokio::time::Instant;

use super::take::TakeRequest;
use crate::create::builder::{Personal, SandboxBuilder};
use crate::create::delete_guard::DeleteOnDrop;
use crate::create::{Created, isolate_error, personalise, personalise_error, start_ttl};
use crate::handle::Sandbox;
use crate::handle::egress::proof::{Unproved, prove};
use crate::handle::pause::set_on_expiry;
use crate::parts::Parts;

/// How long the look whether a sandbox still runs may take. Its connection is open, so this is
/// needed only for one that does not run.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a lookup by the backend may take. It is a memory access, unless the backend's watch is interrupted.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// A sandbox that waits. It is deleted when it is dropped.
pub(super) struct Waiting {
    created: Created,
    parts: Arc<Parts>,
    guard: DeleteOnDrop,
    pub(super) since: Instant,
    counted: metrics::WaitingSandbox,
}

/// Why a waiting sandbox was not handed out. It is being deleted.
pub(super) enum HandOverError {
    /// It has ended. Another one may serve.
    Ended(Error),
    /// The request failed, as it would with another sandbox.
    Failed(Error),
}

impl Waiting {
    pub(super) fn new(created: Created, parts: Arc<Parts>) -> Self {
        let guard = DeleteOnDrop::new(
            Arc::clone(&parts),
            created.info.id.clone(),
            created.info.uid.clone(),
        );
        Self {
            created,
            parts,
            guard,
            since: Instant::now(),
            counted: metrics::WaitingSandbox::new(),
        }
    }

    pub(super) fn uid(&self) -> &Uid {
        &self.created.info.uid
    }

    /// Returns what is needed to check whether it still runs, while it waits.
    pub(super) fn check(&self) -> Check {
        Check::new(Arc::clone(&self.parts), Arc::clone(&self.created.access))
    }

    /// Deletes it, and waits until nothing is left.
    pub(super) async fn delete(self) -> Result<()> {
        let info = &self.created.info;
        let options = DeleteOptions::for_instance(info.uid.clone());
        self.parts.delete(&info.id, options).await?;
        self.guard.disarm();
        Ok(())
    }

    /// Sets it up as requested, and opens its handle.
    pub(super) async fn hand_over(
        mut self,
        request: &TakeRequest,
        template: &SandboxBuilder,
    ) -> Result<Sandbox, HandOverError> {
        let session = match self.check().run(CHECK_TIMEOUT).await {
            Ok(session) => session,
            Err(error) => return Err(HandOverError::Ended(error)),
        };
        if let (Some(egress), Some(hook)) = (&self.created.egress, &request.egress_hook) {
            egress.replace_hook(Arc::clone(hook));
        }
        let needs_new_proof = self.needs_new_proof(request, template);
        let late_ttl = self.late_ttl(request, needs_new_proof);
        let early_ttl = request.assignment.ttl.filter(|_| late_ttl.is_none());
        let assigned = self.assign(request, early_ttl);
        let set_up = self.set_up(&*session, request, &template.personal.env, early_ttl);
        let (assigned, set_up) = if needs_new_proof {
            // Nothing runs in it before the proof.
            let assigned = assigned.await;
            if assigned.is_ok() {
                self.prove_isolation(&*session).await?;
            }
            (assigned, set_up.await)
        } else {
            tokio::join!(assigned, set_up)
        };
        let env = match set_up {
            Ok(env) => env,
            Err(error) if has_ended(&error) => return Err(HandOverError::Ended(error)),
            Err(error) => {
                let error = personalise_error(&self.created.info, error, Vec::new());
                return Err(HandOverError::Failed(error.into()));
            }
        };
        let assigned = match (assigned, late_ttl) {
            (Ok(assigned), Some(ttl)) => {
                let backend = &*self.parts.backend;
                start_ttl(backend, &self.created.info, &*session, ttl)
                    .await
                    .map(|recorded| recorded.or(assigned))
            }
            (assigned, _) => assigned,
        };
        match assigned {
            Ok(Some(mut info)) => {
                // A kubelet reports the start late, and this client has just used the sandbox.
                if info.state == SandboxState::Pending {
                    info.state = SandboxState::Running;
                }
                self.created.info = info;
            }
            Ok(None) => {}
            Err(error) if has_ended(&error) => return Err(HandOverError::Ended(error)),
            Err(error) => return Err(HandOverError::Failed(error)),
        }
        self.created.env = env;
        self.created.session = session;
        drop(self.counted);
        self.guard.disarm();
        Ok(self.created.open(&template.handles))
    }

    /// Whether what proved that it has no network does not hold any more: other labels may be selected by other policies.
    fn needs_new_proof(&self, request: &TakeRequest, template: &SandboxBuilder) -> bool {
        let egress = &template.egress;
        !request.assignment.labels.is_empty()
            && egress.is_served()
            && egress.needs_isolation(&self.parts.backend.capabilities())
    }

    async fn prove_isolation(&self, session: &dyn Session) -> Result<(), HandOverError> {
        let info = &self.created.info;
        let isolated = self
            .parts
            .backend
            .isolate_network(&info.id, &info.uid)
            .await;
        let proved = match isolated {
            Ok(isolation) => prove(session, info.port, &isolation).await,
            Err(error) => Err(Unproved::Failed(error)),
        };
        match proved {
            Ok(()) => Ok(()),
            Err(Unproved::Failed(error)) if has_ended(&error) => Err(HandOverError::Ended(error)),
            Err(unproved) => {
                let error = isolate_error(info, unproved, Vec::new());
                Err(HandOverError::Failed(error.into()))
            }
        }
    }

    /// The ttl, if it begins only after a proof or initial commands. Until then the sandbox has none.
    fn late_ttl(&self, request: &TakeRequest, needs_new_proof: bool) -> Option<Duration> {
        let takes_a_while = needs_new_proof || !request.personal.init.is_empty();
        let ttl = request.assignment.ttl.filter(|_| takes_a_while)?;
        self.parts
            .backend
            .capabilities()
            .sandbox_sshd
            .then_some(ttl)
    }

    /// Writes labels, annotations and this ttl.
    async fn assign(
        &self,
        request: &TakeRequest,
        ttl: Option<Duration>,
    ) -> Result<Option<SandboxInfo>> {
        let mut assignment = request.assignment.clone();
        assignment.ttl = ttl;
        if assignment.is_empty() {
            return Ok(None);
        }
        let info = &self.created.info;
        let assigned = self
            .parts
            .backend
            .assign(&info.id, &info.uid, assignment)
            .await?;
        Ok(Some(assigned))
    }

    /// Sets variables, in addition to those of the pool, starts this ttl and runs the initial
    /// commands. Returns the variables for every command, besides those of the way out.
    async fn set_up(
        &self,
        session: &dyn Session,
        request: &TakeRequest,
        pool_env: &Env,
        ttl: Option<Duration>,
    ) -> Result<Env> {
        let mut env = self.created.env.clone();
        env.extend(&request.personal.env);
        env.extend(&request.personal.secret_env);
        if let Some(ttl) = ttl
            && self.parts.backend.capabilities().sandbox_sshd
        {
            session.start_ttl(ttl).await?;
        }
        if let Some(on_expiry) = request.assignment.on_expiry {
            set_on_expiry(session, on_expiry).await?;
        }
        let egress = self.created.egress.as_ref();
        let of_egress = egress
            .map(|egress| egress.variables().clone())
            .unwrap_or_default();
        let mut personal = Personal {
            init: request.personal.init.clone(),
            ..Personal::default()
        };
        // The file with the variables is replaced, so it gets those of the pool as well.
        if !request.personal.env.is_empty() {
            personal.env = of_egress.clone();
            personal.env.extend(pool_env);
            personal.env.extend(&request.personal.env);
        }
        let mut of_init = of_egress;
        of_init.extend(&env);
        personalise(session, &personal, &of_init).await?;
        Ok(env)
    }
}

/// Checks whether a waiting sandbox still runs, and keeps it attached.
pub(crate) struct Check {
    parts: Arc<Parts>,
    access: Arc<Access>,
}

impl Check {
    pub(crate) fn new(parts: Arc<Parts>, access: Arc<Access>) -> Self {
        Self { parts, access }
    }

    pub(crate) fn id(&self) -> &SandboxId {
        &self.access.id
    }

    pub(crate) fn uid(&self) -> &Uid {
        &self.access.uid
    }

    /// Returns its session. Nothing is run inside: that would count as use.
    pub(crate) async fn run(&self, timeout: Duration) -> Result<Arc<dyn Session>> {
        let id = &self.access.id;
        let lookup = self.parts.backend.get(id, Freshness::Cached);
        let looked_up = Deadline::from_now(LOOKUP_TIMEOUT)
            .bound("looking up a waiting sandbox", lookup)
            .await;
        match looked_up {
            // A Pod that is being deleted may still answer for a while.
            Ok(info) if info.uid != self.access.uid || info.state == SandboxState::Ended => {
                return Err(Error::NotFound { id: id.clone() });
            }
            Ok(_) => {}
            // This says nothing about the sandbox, but its session does.
            Err(
                error @ (Error::Backend {
                    transient: true, ..
                }
                | Error::Timeout { .. }),
            ) => {
                tracing::debug!(sandbox.id = %id, %error, "the state of a waiting sandbox is not known");
            }
            Err(error) => return Err(error),
        }
        let deadline = Deadline::from_now(timeout);
        self.parts
            .sessions
            .session(Arc::clone(&self.access), deadline)
            .await
    }
}

/// Whether an error means that the sandbox cannot be used, and that nothing was run in it.
fn has_ended(error: &Error) -> bool {
    // The variables are written before the first command runs.
    let is_lost_transfer =
        matches!(error, Error::Transfer(error) if error.reason == TransferReason::Lost);
    is_lost_transfer || matches!(error, Error::NotFound { .. } | Error::Connection(_))
}
