//! The time in which a process is the elected filler of a shared pool.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sandbox_core::{
    Error, PoolKey, PoolLead, PoolMemberState, PoolName, Result, SandboxId, SandboxInfo,
    SharedPools, Uid,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::member::{Attached, Members};
use super::plan::{Instance, Knowledge, Plan};
use super::status::FillerStatus;
use super::tasks::{Done, Workshop};
use crate::create::builder::SandboxBuilder;
use crate::parts::Parts;
use crate::pool::builder::PoolSettings;
use crate::pool::demand::Demand;
use crate::pool::filler::wait_until;
use crate::pool::pace::Pace;

/// The pause after an error of listing the pool.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How long the end of a term waits for the right to fill to be given back, and then for deletions.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What is filled with what, and who is told.
pub(super) struct FillerSetup {
    pub(super) parts: Arc<Parts>,
    pub(super) pools: Arc<dyn SharedPools>,
    pub(super) name: PoolName,
    pub(super) key: PoolKey,
    pub(super) template: SandboxBuilder,
    pub(super) settings: PoolSettings,
    /// The interval between two checks of what waits.
    pub(super) interval: Duration,
    pub(super) status: watch::Sender<FillerStatus>,
}

impl FillerSetup {
    /// Publishes a state, with the key.
    pub(super) fn publish(&self, mut status: FillerStatus) {
        status.key = Some(self.key.clone());
        self.status.send_if_modified(|current| {
            let is_new = *current != status;
            *current = status;
            is_new
        });
    }
}

/// Why a term as the elected filler has ended.
pub(super) enum End {
    Stopped,
    Lost,
    Failed,
}

/// The time in which this process is the elected filler.
pub(super) struct Term<'a> {
    filler: &'a FillerSetup,
    workshop: Arc<Workshop>,
    attached: Members,
    creating: HashSet<SandboxId>,
    adopting: HashSet<Uid>,
    /// What is being offered or removed.
    busy: HashSet<Uid>,
    tasks: JoinSet<Done>,
    demand: Demand,
    pace: Pace,
    claimed: u64,
    is_checking: bool,
    /// Why sandboxes are held.
    held: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl<'a> Term<'a> {
    pub(super) fn new(filler: &'a FillerSetup, lead: Arc<dyn PoolLead>) -> Self {
        let workshop = Workshop {
            parts: Arc::clone(&filler.parts),
            pools: Arc::clone(&filler.pools),
            lead,
            template: filler.template.clone(),
            max_age: filler.settings.max_age,
        };
        Self {
            filler,
            workshop: Arc::new(workshop),
            attached: Members::default(),
            creating: HashSet::new(),
            adopting: HashSet::new(),
            busy: HashSet::new(),
            tasks: JoinSet::new(),
            demand: Demand::default(),
            pace: Pace::new(filler.settings.concurrency),
            claimed: 0,
            is_checking: false,
            held: mpsc::channel(16),
        }
    }

    /// Fills the pool until this process is stopped or loses the right to.
    pub(super) async fn run(&mut self, stop: &mut watch::Receiver<bool>) -> End {
        let pools = Arc::clone(&self.filler.pools);
        let lead = Arc::clone(&self.workshop.lead);
        let mut seen = pools.wait_for_change(0).await;
        let mut next_check = Instant::now() + self.filler.interval;
        let mut retry_at = None;
        loop {
            if !lead.is_held() {
                return End::Lost;
            }
            let listing = tokio::select! {
                listing = pools.members(Some(self.filler.name.clone())) => listing,
                () = wait_for_stop(stop) => return End::Stopped,
                () = lead.wait_until_lost() => return End::Lost,
            };
            match listing {
                Ok(listed) => self.act(&listed),
                Err(error) => {
                    tracing::warn!(pool = %self.filler.name, %error, "cannot list the pool; retrying");
                    self.pace.record_failure(&error);
                    retry_at = Some(Instant::now() + RETRY_PAUSE);
                }
            }
            self.publish();
            let not_before = [self.pace.not_before(), retry_at]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                biased;
                () = wait_for_stop(stop) => return End::Stopped,
                () = lead.wait_until_lost() => return End::Lost,
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.finish(done),
                    Err(error) => {
                        tracing::error!(%error, "a task of the filler has failed; beginning anew");
                        return End::Failed;
                    }
                },
                Some(message) = self.held.1.recv() => self.pace.record_held(&message),
                () = tokio::time::sleep_until(next_check) => {
                    next_check = Instant::now() + self.filler.interval;
                    self.check();
                }
                now = pools.wait_for_change(seen) => seen = now,
                () = wait_until(not_before) => retry_at = None,
            }
        }
    }

    /// Compares what the backend lists with what should be, and starts what is to be done.
    fn act(&mut self, listed: &[SandboxInfo]) {
        let now = Instant::now();
        self.note(listed, now);
        let busy = self.busy.union(&self.adopting).cloned().collect();
        let known = Knowledge {
            key: &self.filler.key,
            attached: &self.attached,
            creating: &self.creating,
            busy: &busy,
            adopting: self.adopting.len(),
            target: self.demand.target(now, &self.filler.settings.bounds),
            max_age: self.filler.settings.max_age,
            adopts_unoffered: !self.filler.template.personal.needs_setup(),
            now,
            clock: SystemTime::now(),
        };
        let plan = Plan::new(&known, listed);
        let missing = known
            .target
            .saturating_sub(plan.stock + self.creating.len());
        for uid in plan.forget {
            self.forget(&uid);
        }
        for orphan in plan.adopt {
            self.adopting.insert(orphan.instance.uid.clone());
            self.tasks.spawn(Arc::clone(&self.workshop).adopt(orphan));
        }
        for instance in plan.offer {
            self.busy.insert(instance.uid.clone());
            self.tasks
                .spawn(Arc::clone(&self.workshop).offer_again(instance));
        }
        for instance in plan.withdraw {
            self.withdraw(instance);
        }
        for instance in plan.delete {
            self.delete(instance);
        }
        for _ in 0..self.pace.startable(now, missing, self.creating.len()) {
            if let Err(error) = self.create() {
                self.pace.record_failure(&error);
                break;
            }
        }
    }

    /// Notes which attached ones were claimed, and which can be.
    fn note(&mut self, listed: &[SandboxInfo], now: Instant) {
        for info in listed {
            let Some(member) = &info.pool else { continue };
            let is_waiting = member.state == PoolMemberState::Waiting;
            if member.state == PoolMemberState::Taken && self.attached.contains(&info.uid) {
                self.claimed += 1;
                self.demand.record_take(now);
                self.forget(&info.uid);
            }
            self.attached.note_listed(&info.uid, is_waiting);
        }
    }

    fn create(&mut self) -> Result<(), Error> {
        let id = SandboxId::generate()?;
        self.creating.insert(id.clone());
        let held = self.held.0.clone();
        // If many are held, the message of one is enough.
        let on_held = move |message: &str| drop(held.try_send(message.to_owned()));
        self.tasks
            .spawn(Arc::clone(&self.workshop).fill(id, on_held));
        Ok(())
    }

    fn withdraw(&mut self, instance: Instance) {
        self.attached.remove(&instance.uid);
        self.busy.insert(instance.uid.clone());
        self.tasks
            .spawn(Arc::clone(&self.workshop).withdraw(instance));
    }

    fn delete(&mut self, instance: Instance) {
        self.attached.remove(&instance.uid);
        self.busy.insert(instance.uid.clone());
        self.tasks
            .spawn(Arc::clone(&self.workshop).delete(instance));
    }

    /// Closes the connections to a sandbox that is another client's now, or has gone. Otherwise its server
    /// would stay attached to this filler.
    fn forget(&mut self, uid: &Uid) {
        if self.attached.remove(uid).is_some() {
            let (parts, uid) = (Arc::clone(&self.filler.parts), uid.clone());
            tokio::spawn(async move { parts.sessions.evict(&uid).await });
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Filled { id, took, result } => {
                self.creating.remove(&id);
                match result {
                    Ok(attached) => {
                        self.demand.record_fill(took);
                        self.pace.record_success();
                        self.attached.insert(attached);
                    }
                    Err(error) => {
                        tracing::warn!(pool = %self.filler.name, %error, "cannot create a sandbox for the pool; retrying");
                        self.pace.record_failure(&error);
                    }
                }
            }
            Done::Adopted { orphan, result } => {
                let instance = orphan.instance;
                self.adopting.remove(&instance.uid);
                match result {
                    Ok(attached) => self.attached.insert(attached),
                    Err(error) => {
                        tracing::info!(sandbox.id = %instance.id, %error, "a sandbox of a former filler does not answer; replacing it");
                        if orphan.is_offered {
                            self.withdraw(instance);
                        } else {
                            self.delete(instance);
                        }
                    }
                }
            }
            Done::Offered { uid, result } => {
                self.busy.remove(&uid);
                match result {
                    Ok(true) => self.attached.note_offered(&uid),
                    // The next list says what it is.
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(pool = %self.filler.name, %error, "cannot offer a sandbox; retrying");
                    }
                }
            }
            Done::Removed { uid } => {
                self.busy.remove(&uid);
            }
            Done::Checked { failed } => {
                self.is_checking = false;
                for instance in failed {
                    if self.attached.contains(&instance.uid) && !self.busy.contains(&instance.uid) {
                        self.withdraw(instance);
                    }
                }
            }
        }
    }

    /// Checks everything that waits, unless the last check has not ended.
    fn check(&mut self) {
        if !self.is_checking {
            self.is_checking = true;
            let checks = self.attached.checks(&self.filler.parts);
            self.tasks
                .spawn(Workshop::check(checks, self.filler.interval));
        }
    }

    fn publish(&mut self) {
        let target = self
            .demand
            .target(Instant::now(), &self.filler.settings.bounds);
        let is_waiting = |(_, attached): &(&Uid, &Attached)| attached.is_offered;
        let status = FillerStatus {
            is_leading: true,
            waiting: self.attached.iter().filter(is_waiting).count(),
            filling: self.creating.len() + self.adopting.len(),
            target,
            claimed: self.claimed,
            problem: self.pace.problem().cloned(),
            ..FillerStatus::default()
        };
        self.filler.publish(status);
    }

    /// Cancels what is being done, gives the right to fill back, and closes all connections.
    pub(super) async fn end(mut self, lead: &dyn PoolLead) {
        self.tasks.shutdown().await;
        if lead.is_held() {
            match tokio::time::timeout(STOP_TIMEOUT, lead.release()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(pool = %self.filler.name, %error, "the right to fill the pool is not given back; it expires");
                }
                Err(_elapsed) => {
                    tracing::warn!(pool = %self.filler.name, "the right to fill the pool is not given back in time; it expires");
                }
            }
        }
        for uid in self.attached.clear() {
            self.filler.parts.sessions.evict(&uid).await;
        }
        let deletions = self.filler.parts.deletions.wait_until_none();
        if tokio::time::timeout(STOP_TIMEOUT, deletions).await.is_err() {
            tracing::warn!(pool = %self.filler.name, "sandboxes that were being created are not deleted yet; they end by themselves");
        }
    }
}

/// Waits until the filler is to stop.
pub(super) async fn wait_for_stop(stop: &mut watch::Receiver<bool>) {
    // It fails only if the handle is dropped, which stops the filler, too.
    let _stopped = stop.wait_for(|is_stopped| *is_stopped).await;
}
