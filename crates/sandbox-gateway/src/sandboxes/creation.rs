//! Creates sandboxes for the holders of keys.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use sandbox::{Error, OnEmpty, OnExpiry, Result, Sandbox, SandboxBuilder, SandboxId, SandboxInfo};

use super::egress::{Reach, put_in_force};
use super::owned::Owned;
use super::pools::{self, TemplatePoolHandle};
use super::record::{OnTimeout, Record};
use super::{GATEWAY_LABEL, Sandboxes};
use crate::config::{GatewayConfig, Template};
use crate::error::GatewayError;
use crate::hex;

/// What a caller may choose about a new sandbox, besides what is recorded.
#[derive(Debug)]
pub(crate) struct Creation {
    /// The environment of every command.
    pub(crate) env: BTreeMap<String, String>,
    /// When it ends.
    pub(crate) timeout: Duration,
    /// What it may reach.
    pub(crate) reach: Reach,
    /// How long the creation may take.
    pub(crate) limit: Duration,
}

impl Sandboxes {
    /// Creates a sandbox, or takes one that waits. One with a chosen id is always created: what waits has an id already.
    ///
    /// # Errors
    ///
    /// Those of [`SandboxBuilder::create`], and a retryable one if the backend does not respond. Nothing is left behind,
    /// also if the future is dropped.
    pub(crate) async fn create(
        &self,
        config: &GatewayConfig,
        record: Record,
        creation: Creation,
        id: Option<SandboxId>,
    ) -> Result<Owned> {
        let limit = creation.limit;
        // A future as large as that of a creation would be copied by each layer of the server above this one.
        let creating = Box::pin(self.create_without_limit(config, record, creation, id));
        tokio::select! {
            created = tokio::time::timeout(limit, creating) => created.unwrap_or_else(|_elapsed| {
                Err(Error::Timeout {
                    operation: "creating the sandbox",
                    after: limit,
                })
            }),
            error = self.detect_absence("create the sandbox") => Err(error),
        }
    }

    async fn create_without_limit(
        &self,
        config: &GatewayConfig,
        record: Record,
        creation: Creation,
        id: Option<SandboxId>,
    ) -> Result<Owned> {
        let Some((_, template)) = config.template(&record.template) else {
            return Err(Error::invalid(
                "template",
                &record.template,
                "there is no such template",
            ));
        };
        let annotations = record
            .to_annotations()
            .map_err(|error| Error::invalid("metadata", "(omitted)", error.to_string()))?;
        let on_expiry = match record.lifecycle.on_timeout {
            OnTimeout::Kill => OnExpiry::End,
            OnTimeout::Pause => OnExpiry::Pause,
        };
        let is_narrowed = record.egress.is_narrowing();
        // What waits has the rules of its template, and where it has a network, that cannot be changed any more.
        let may_wait = id.is_none() && !(is_narrowed && self.egress.has_network());
        let pool = self.pools.get(&record.template).filter(|_| may_wait);
        let handle = match pool {
            Some(TemplatePoolHandle::InProcess(pool)) => {
                let mut take = pool
                    .take()
                    .label(GATEWAY_LABEL, &self.name)
                    .ttl(creation.timeout)
                    .on_expiry(on_expiry);
                for (key, value) in annotations {
                    take = take.annotation(key, value);
                }
                for (name, value) in creation.env {
                    take = take.env(name, value);
                }
                let taken = take.await?;
                if is_narrowed {
                    self.narrow_taken(&taken, creation.reach).await?;
                }
                taken
            }
            Some(TemplatePoolHandle::Shared { name }) => {
                let sandbox = self
                    .describe_new(template, annotations, creation)
                    .on_expiry(on_expiry);
                sandbox
                    .from_pool(name)
                    .on_empty(OnEmpty::Create)
                    .create()
                    .await?
            }
            None => {
                let id = match id {
                    Some(id) => id,
                    None => new_id()?,
                };
                self.describe_new(template, annotations, creation)
                    .on_expiry(on_expiry)
                    .id(id.as_str())
                    .create()
                    .await?
            }
        };
        self.keep(&handle);
        self.servings.record(handle.uid(), record.egress.version);
        Ok(Owned {
            info: handle.info().clone(),
            record,
        })
    }

    /// Gives a sandbox that has waited the rules of its caller. If that fails, it is deleted.
    async fn narrow_taken(&self, taken: &Sandbox, reach: Reach) -> Result<()> {
        if taken.egress().is_none() && reach.is_nothing() {
            return Ok(());
        }
        let narrowed = put_in_force(taken, reach).await;
        if narrowed.is_err()
            && let Err(error) = taken.delete().await
        {
            tracing::warn!(sandbox = %taken.id(), %error, "sandbox not deleted; it ends by itself");
        }
        narrowed
    }

    fn describe_new(
        &self,
        template: &Template,
        annotations: BTreeMap<String, String>,
        creation: Creation,
    ) -> SandboxBuilder {
        let sandbox = pools::describe(&self.client, template);
        let mut sandbox = self
            .egress
            .apply(sandbox, &creation.reach)
            .label(GATEWAY_LABEL, &self.name)
            .detached()
            .ttl(creation.timeout)
            .create_timeout(creation.limit);
        for (key, value) in annotations {
            sandbox = sandbox.annotation(key, value);
        }
        for (name, value) in creation.env {
            sandbox = sandbox.env(name, value);
        }
        sandbox
    }

    /// Deletes a sandbox. The handle of this instance is closed first.
    ///
    /// # Errors
    ///
    /// [`Error::Deletion`] if it may still exist.
    pub(crate) async fn delete(&self, info: &SandboxInfo) -> Result<()> {
        let deleted = match self.handle(&info.uid) {
            Some(handle) => handle.delete().await,
            None => self.client.delete_sandbox(&info.id).await,
        };
        self.forget(&info.uid);
        if let Err(error) = &deleted {
            tracing::warn!(sandbox = %info.id, %error, "sandbox not deleted");
        }
        deleted
    }

    /// The id of the sandbox that this key of a request stands for.
    ///
    /// # Errors
    ///
    /// None that a caller can cause: the id is always valid.
    pub(crate) fn id_for(&self, owner: &str, idempotency_key: &str) -> Result<SandboxId> {
        id_from_hex(&self.tokens.derive(&["id", owner, idempotency_key]))
    }
}

/// The number of random characters of an id, after its first letter: 76 bits.
const ID_LEN: usize = 19;

/// A random id. Clients of E2B expect letters and digits only.
pub(super) fn new_id() -> Result<SandboxId> {
    id_from_hex(&random_hex()?)
}

fn random_hex() -> Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| {
            Error::invalid("id", "(random)", GatewayError::Randomness.to_string())
        })?;
    Ok(hex::encode(&bytes))
}

/// An id of hexadecimal digits behind a letter, because the name of a Pod must not begin with a digit.
fn id_from_hex(digits: &str) -> Result<SandboxId> {
    format!("i{}", digits.get(..ID_LEN).unwrap_or(digits)).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_letters_and_digits_only() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 20);
        assert!(
            one.as_str()
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
    }
}
