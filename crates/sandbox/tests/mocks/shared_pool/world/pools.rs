//! The shared pools of the mocked backend.

use super::*;

#[async_trait]
impl SharedPools for World {
    async fn key(&self, spec: &SandboxSpec) -> Result<PoolKey> {
        Ok(key_of(spec))
    }

    async fn offer(&self, id: &SandboxId, _: &Uid) -> Result<bool> {
        let fails = self.with(|state| {
            let fails = state.failing_offers > 0;
            state.failing_offers = state.failing_offers.saturating_sub(1);
            fails
        });
        if fails {
            return Err(failure("offer the sandbox"));
        }
        Ok(self.advance(id, PoolMemberState::Filling, PoolMemberState::Waiting))
    }

    async fn withdraw(&self, id: &SandboxId, _: &Uid) -> Result<bool> {
        Ok(self.advance(id, PoolMemberState::Waiting, PoolMemberState::Draining))
    }

    async fn members(&self, name: Option<PoolName>) -> Result<Vec<SandboxInfo>> {
        let is_member = |pod: &&Pod| {
            let pool = pod.info.pool.as_ref();
            pool.is_some_and(|pool| name.as_ref().is_none_or(|name| pool.name == *name))
        };
        Ok(self.read(|state| {
            state
                .pods
                .values()
                .filter(is_member)
                .map(|pod| pod.info.clone())
                .collect()
        }))
    }

    async fn wait_for_change(&self, since: u64) -> u64 {
        let mut version = self.version.subscribe();
        let version = version.wait_for(|version| *version > since).await;
        *version.unwrap()
    }

    async fn claim(&self, claim: PoolClaim) -> Result<Option<Claimed>> {
        let waiting = self.ids(PoolMemberState::Waiting);
        // Another claimer may be faster at each await.
        tokio::task::yield_now().await;
        for id in waiting {
            if !self.advance(&id, PoolMemberState::Waiting, PoolMemberState::Taken) {
                continue;
            }
            let claimed = self.with(|state| {
                state.calls.push("claim");
                state.ttls.push(claim.ttl);
                let pod = state.pods.get_mut(&id).unwrap();
                pod.info.labels.extend(claim.labels.clone());
                pod.info.annotations.extend(claim.annotations.clone());
                pod.new_key = Some(claim.client_key.clone());
                Claimed {
                    info: pod.info.clone(),
                    first_access: access_of(pod, &pod.stored),
                    access: access_of(pod, &claim.client_key),
                }
            });
            return Ok(Some(claimed));
        }
        Ok(None)
    }

    async fn store_claim_key(&self, _: &SandboxId, _: &Uid) -> Result<()> {
        let fails = self.with(|state| {
            state.calls.push("store");
            let fails = state.failing_stores > 0;
            state.failing_stores = state.failing_stores.saturating_sub(1);
            fails
        });
        if fails {
            return Err(failure("store the key"));
        }
        Ok(())
    }

    async fn lead(&self, name: &PoolName, key: &PoolKey) -> Result<Box<dyn PoolLead>> {
        loop {
            let mut version = self.version.subscribe();
            version.borrow_and_update();
            if self.read(|state| state.leader.is_none()) {
                let term = self.with(|state| {
                    state.terms += 1;
                    state.leader = Some((name.clone(), key.clone(), state.terms));
                    state.terms
                });
                let world = self.clone();
                return Ok(Box::new(Lead { world, term }));
            }
            version.changed().await.unwrap();
        }
    }

    async fn leaders(&self) -> Result<Vec<PoolLeader>> {
        Ok(self.read(|state| {
            let leader = |(name, key, _): &(PoolName, PoolKey, u64)| {
                let mut leader = PoolLeader::new(name.clone());
                leader.key = Some(key.clone());
                leader.holder = Some("host-1".into());
                leader.is_current = true;
                leader
            };
            state.leader.iter().map(leader).collect()
        }))
    }

    async fn remove(&self, _: &PoolName) -> Result<bool> {
        Ok(self.with(|state| state.leader.take().is_some()))
    }
}

#[derive(Debug)]
struct Lead {
    world: World,
    term: u64,
}

#[async_trait]
impl PoolLead for Lead {
    fn is_held(&self) -> bool {
        let held = |(_, _, term): &(PoolName, PoolKey, u64)| *term == self.term;
        self.world
            .read(|state| state.leader.as_ref().is_some_and(held))
    }

    async fn wait_until_lost(&self) {
        let mut version = self.world.version.subscribe();
        while self.is_held() {
            version.changed().await.unwrap();
        }
    }

    async fn release(&self) -> Result<()> {
        self.world.with(|state| state.leader = None);
        Ok(())
    }
}
