//! Keeps a new sandbox from its network, and proves it before anything runs inside.

use sandbox_core::{NetworkIsolation, Result, SandboxInfo, Session};

use super::{Creation, isolate_error};
use crate::handle::egress::proof::{Unproved, prove};

impl Creation {
    /// Keeps the sandbox from its network, if it is to have none and has one. It is starting meanwhile.
    pub(super) async fn isolate(&self, info: &SandboxInfo) -> Result<Option<NetworkIsolation>> {
        if !self.spec.is_offline {
            if let Some(egress) = &self.egress {
                egress.check_sandbox(info)?;
            }
            return Ok(None);
        }
        let backend = &self.parts.backend;
        let isolated = self
            .limit
            .provisioning()
            .bound(
                "keeping the sandbox from the network",
                backend.isolate_network(&info.id, &info.uid),
            )
            .await;
        match isolated {
            Ok(isolation) => Ok(Some(isolation)),
            Err(error) => {
                let unproved = Unproved::Failed(error);
                Err(isolate_error(info, unproved, self.history.take()).into())
            }
        }
    }

    /// Proves from inside that the sandbox reaches no network.
    pub(super) async fn prove_isolation(
        &self,
        info: &SandboxInfo,
        session: &dyn Session,
        isolation: &NetworkIsolation,
    ) -> Result<()> {
        let proof = prove(session, info.port, isolation);
        let proved = self
            .limit
            .current()
            .bound("proving that the sandbox has no network", async {
                Ok(proof.await)
            })
            .await
            .unwrap_or_else(|error| Err(Unproved::Failed(error)));
        proved.map_err(|unproved| isolate_error(info, unproved, self.history.take()).into())
    }
}
