//! Sessions of clients, and the sandboxes of each.

mod registry;
mod slot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use sandbox::SandboxId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::registry::Registry;
pub(crate) use self::slot::{Slot, Standing};
use crate::app::App;
use crate::failure::Failure;
use crate::sync::lock;

/// The most calls of one session at once.
const MAX_CALLS: usize = 32;

/// The label of every sandbox that this server creates, and its value.
const CREATOR_LABEL: (&str, &str) = ("created-by", "mcp");
/// The label with the session that a sandbox belongs to.
const SESSION_LABEL: &str = "mcp-session";

/// A session of one client. It sees its own sandboxes only, and they are deleted with it.
pub(crate) struct Session {
    app: Arc<App>,
    name: String,
    kind: SessionKind,
    slots: Mutex<BTreeMap<SandboxId, Arc<Slot>>>,
    /// The sandbox that calls without an id use.
    own: tokio::sync::Mutex<Option<SandboxId>>,
    /// Held while a file is read, changed and written.
    pub(crate) edits: tokio::sync::Mutex<()>,
    pub(crate) calls: Arc<Semaphore>,
    closing: CancellationToken,
}

/// Whether the transport says which calls belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind {
    /// One client, from its beginning to its end.
    Kept,
    /// Calls without a session, as HTTP has them since the protocol of 2026-07-28. Whoever knows the id of a sandbox may
    /// use it; ids cannot be guessed.
    Shared,
}

impl Session {
    /// Begins a session.
    ///
    /// # Errors
    ///
    /// If the system has no randomness for its name.
    pub(crate) fn begin(app: &Arc<App>, kind: SessionKind) -> sandbox::Result<Arc<Self>> {
        // An id without its prefix: 50 random bits.
        let id = SandboxId::generate()?;
        let name = id
            .as_str()
            .rsplit('-')
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Arc::new(Self {
            app: Arc::clone(app),
            name,
            kind,
            slots: Mutex::default(),
            own: tokio::sync::Mutex::default(),
            edits: tokio::sync::Mutex::default(),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            closing: CancellationToken::new(),
        }))
    }

    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn kind(&self) -> SessionKind {
        self.kind
    }

    /// Finds one of this session's sandboxes.
    ///
    /// # Errors
    ///
    /// If this session has none of this id, whether or not somebody else has.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Slot>, Failure> {
        let found = id
            .parse::<SandboxId>()
            .ok()
            .and_then(|id| lock(&self.slots).get(&id).cloned());
        found.ok_or_else(|| {
            let list = match self.kind {
                SessionKind::Kept => "; sandbox_list shows those that there are",
                SessionKind::Shared => "",
            };
            Failure::new(format!("there is no sandbox {id:?} in this session{list}"))
        })
    }

    /// Returns the sandbox that calls without an id use. The first call creates it.
    ///
    /// # Errors
    ///
    /// If this client keeps no session, or no sandbox can be created.
    pub(crate) async fn own(&self, deadline: Instant) -> Result<Arc<Slot>, Failure> {
        match self.kind {
            SessionKind::Kept => {}
            SessionKind::Shared => {
                return Err(Failure::new(
                    "this client keeps no session, so it has no sandbox of its own; call sandbox_create, and pass the \
                     `sandbox` that it returns with every call",
                ));
            }
        }
        let mut own = self.own.lock().await;
        let known = own
            .as_ref()
            .and_then(|id| lock(&self.slots).get(id).cloned());
        if let Some(slot) = known {
            return Ok(slot);
        }
        let slot = self.create(None, deadline).await?;
        *own = Some(slot.id().clone());
        Ok(slot)
    }

    /// Whether calls without an id use this sandbox.
    pub(crate) async fn is_own(&self, id: &SandboxId) -> bool {
        self.own.lock().await.as_ref() == Some(id)
    }

    /// Begins to create a sandbox. The creation goes on when the caller stops to wait for it.
    ///
    /// # Errors
    ///
    /// If the operator does not permit the image, or no more sandboxes.
    pub(crate) async fn create(
        &self,
        image: Option<&str>,
        deadline: Instant,
    ) -> Result<Arc<Slot>, Failure> {
        let image = self.app.choose_image(image)?.map(str::to_owned);
        let room = self.find_room(deadline).await?;
        let id = SandboxId::generate()?;
        let config = &self.app.config;
        let mut builder = self.app.client.sandbox().id(&id);
        builder = builder
            .label(CREATOR_LABEL.0, CREATOR_LABEL.1)
            .label(SESSION_LABEL, &self.name)
            .ttl(config.ttl)
            .max_lifetime(config.max_lifetime());
        if let Some(image) = &image {
            builder = builder.image(image);
        }
        if let Some(cpu) = &config.cpu {
            builder = builder.cpu(cpu);
        }
        if let Some(memory) = &config.memory {
            builder = builder.memory(memory);
        }
        if let Some(disk) = &config.disk {
            builder = builder.disk(disk);
        }
        if let Some(pids) = config.pids {
            builder = builder.pids(pids);
        }
        let (mut builder, is_decided) = self.app.add_egress(builder);
        if is_decided {
            let audit = Arc::clone(&self.app.audit);
            let (session, sandbox) = (self.name.clone(), id.clone());
            builder =
                builder.on_egress(move |event| audit.write_decision(&session, &sandbox, event));
        }
        // The lock spans the check: a session that closes meanwhile either refuses here or sees the new slot.
        let mut slots = lock(&self.slots);
        if self.closing.is_cancelled() {
            return Err(Failure::new("the session is ending; nothing was created"));
        }
        let slot = Slot::create(
            id.clone(),
            image,
            builder,
            room,
            &self.app.tasks,
            &self.closing,
        );
        slots.insert(id, Arc::clone(&slot));
        Ok(slot)
    }

    /// Returns this session's sandboxes.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.slots).values().cloned().collect()
    }

    /// Forgets a sandbox that has ended, or that could not be created, and removes what is left of it, which goes on after
    /// the deadline. Then there is room for another one.
    pub(crate) async fn forget(&self, id: &SandboxId, deadline: Instant) {
        let Some(slot) = lock(&self.slots).remove(id) else {
            return;
        };
        let removing = self.app.tasks.spawn(async move {
            if let Err(error) = slot.delete().await {
                tracing::debug!(sandbox = %slot.id(), %error, "rest of an ended sandbox not removed");
            }
        });
        let _removed = tokio::time::timeout_at(deadline, removing).await;
    }

    /// Takes a sandbox that was deleted off the list.
    pub(crate) fn remove(&self, id: &SandboxId) {
        lock(&self.slots).remove(id);
    }

    /// Ends the session: cancels creations and deletes its sandboxes.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        let slots = std::mem::take(&mut *lock(&self.slots));
        join_all(slots.values().map(|slot| async {
            if let Err(error) = slot.delete().await {
                tracing::warn!(sandbox = %slot.id(), %error, "sandbox not deleted; it ends by itself");
            }
        }))
        .await;
    }

    /// Takes room for one more sandbox. Sandboxes that have ended meanwhile give theirs back.
    async fn find_room(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        let take = || Arc::clone(&self.app.room).try_acquire_owned().ok();
        if let Some(room) = take() {
            return Ok(room);
        }
        let pruning = join_all(self.slots().into_iter().map(|slot| async move {
            if slot.standing().await.has_ended() {
                self.forget(slot.id(), deadline).await;
            }
        }));
        let _pruned = tokio::time::timeout_at(deadline, pruning).await;
        take().ok_or_else(|| {
            Failure::new(format!(
                "there are {} sandboxes already, the most that the operator permits; delete one with sandbox_delete, or \
                 use an existing one",
                self.app.config.max_sandboxes
            ))
        })
    }
}
