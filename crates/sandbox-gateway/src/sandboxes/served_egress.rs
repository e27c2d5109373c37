//! Which rules are in force, for which sandbox.

use std::time::SystemTime;

use futures_util::StreamExt;
use sandbox::{Egress, Error, Sandbox, SandboxInfo};

use super::Sandboxes;
use super::egress::{Reach, put_in_force};
use super::owned::Owned;
use super::record::{EgressWish, Record};

/// How many sandboxes are opened at once to serve their egress.
const MAX_OPENINGS: usize = 8;

/// Why the rules of a sandbox were not replaced.
#[derive(Debug)]
pub(crate) enum EgressFailure {
    /// The wish cannot be kept.
    Refused(String),
    /// Another replica carries the sandbox's connections.
    ServedElsewhere,
    /// The sandbox or the backend failed.
    Sandbox(Error),
}

impl Sandboxes {
    /// Serves what a sandbox may reach from this process, unless another replica does. Without a request, a sandbox is
    /// offline once the replica that has served it is gone.
    pub(super) async fn serve_egress(&self, info: &SandboxInfo, record: &Record, handle: &Sandbox) {
        let version = record.egress.version;
        if self.servings.has(handle.uid(), version) || info.is_paused(SystemTime::now()) {
            return;
        }
        let reach = match self.egress.narrow(&record.template, &record.egress) {
            Ok(reach) => reach,
            Err(reason) => {
                tracing::warn!(id = %info.id, reason, "egress refused; the template allows less than before");
                Reach::nothing()
            }
        };
        let is_needed = !reach.is_nothing() || handle.egress().is_some();
        if reach.rules.is_some() && is_needed {
            self.servings.serve(handle, reach, version).await;
        } else {
            self.servings.record(handle.uid(), version);
        }
    }

    /// Serves what sandboxes may reach that a former process has served.
    pub(crate) async fn serve_all_egress(&self) -> sandbox::Result<()> {
        let listed = self.list().await;
        let listed = listed.inspect_err(|_| self.servings.set_started())?;
        let now = SystemTime::now();
        let served = listed.into_iter().filter(|owned| {
            let reach = self
                .egress
                .narrow(&owned.record.template, &owned.record.egress);
            let is_served = reach.is_ok_and(|reach| reach.rules.is_some() && !reach.is_nothing());
            !owned.is_paused(now) && is_served
        });
        futures_util::stream::iter(served)
            .for_each_concurrent(MAX_OPENINGS, |owned| async move {
                if let Err(error) = self.open_owned(&owned).await {
                    tracing::debug!(id = %owned.info.id, %error, "egress not served");
                }
            })
            .await;
        self.servings.set_started();
        Ok(())
    }

    /// Replaces the rules of a sandbox: in its record, so that they outlive this process, and then in force.
    ///
    /// # Errors
    ///
    /// [`EgressFailure`]; then the former rules are in force.
    pub(crate) async fn update_egress(
        &self,
        owned: &Owned,
        handle: &Sandbox,
        wish: EgressWish,
    ) -> Result<(), EgressFailure> {
        let template = &owned.record.template;
        let reach = self
            .egress
            .narrow(template, &wish)
            .map_err(EgressFailure::Refused)?;
        let (key, network) = wish.to_annotation().map_err(|error| {
            let error = Error::invalid("network", "(omitted)", error.to_string());
            EgressFailure::Sandbox(error)
        })?;
        let turn = self.servings.turn(handle.uid());
        let _turn = turn.lock().await;
        let former_rules = handle.egress();
        let was_wished = self.egress.narrow(template, &owned.record.egress);
        let may_be_served = !was_wished.is_ok_and(|reach| reach.is_nothing());
        let must_serve = !reach.is_nothing() || may_be_served;
        if former_rules.is_none() && must_serve {
            put_in_force(handle, reach.clone())
                .await
                .map_err(|error| match error {
                    Error::Connection(_) | Error::Timeout { .. } => EgressFailure::ServedElsewhere,
                    Error::Unsupported(_) => EgressFailure::Refused(error.to_string()),
                    other => EgressFailure::Sandbox(other),
                })?;
        }
        let version = wish.version;
        let recorded = handle.annotate([(key, &network)]).await;
        if let Err(error) = recorded {
            if former_rules.is_none() {
                handle.stop_egress();
            }
            return Err(EgressFailure::Sandbox(error));
        }
        if former_rules.is_some() {
            handle
                .update_egress(reach.rules.unwrap_or_else(Egress::open))
                .map_err(EgressFailure::Sandbox)?;
        }
        self.servings.record(handle.uid(), version);
        tracing::info!(id = %owned.info.id, %network, "egress rules replaced");
        Ok(())
    }
}
