//! Requests that create, read, change and delete the objects of sandboxes: Pods, Secrets and Leases.

use std::time::SystemTime;

use k8s_openapi::List;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Resource;
use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::core::Request as Build;
use sandbox_core::{Deadline, Error, Result, SandboxId, Uid};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::api::classify::Intent;
use crate::api::client::{ApiClient, Operation, Outcome};
use crate::manifest::labels;

/// The field manager of all writes.
const FIELD_MANAGER: &str = "sandbox-sdk";

/// A kind of object that the SDK creates.
pub(crate) trait ManagedKind:
    Resource<DynamicType = ()> + Serialize + DeserializeOwned + Send
{
    /// The resource, as in RBAC.
    const RESOURCE: &'static str;
    /// The name of the object of this id.
    fn name_for(id: &SandboxId) -> String;
}

impl ManagedKind for Pod {
    const RESOURCE: &'static str = "pods";
    fn name_for(id: &SandboxId) -> String {
        id.as_str().to_owned()
    }
}

impl ManagedKind for Secret {
    const RESOURCE: &'static str = "secrets";
    fn name_for(id: &SandboxId) -> String {
        labels::secret_name(id)
    }
}

impl ManagedKind for Lease {
    const RESOURCE: &'static str = "leases";
    fn name_for(id: &SandboxId) -> String {
        labels::lease_name(id)
    }
}

/// The result of a create.
pub(crate) enum CreateOutcome<K> {
    Stored(K),
    /// Another object has the name.
    NameTaken,
}

impl ApiClient {
    /// Creates an object exactly once. An existing object with the same name and nonce was stored by an
    /// earlier attempt.
    pub(crate) async fn create<K: ManagedKind>(
        &self,
        id: &SandboxId,
        object: &K,
        nonce: &str,
        deadline: Deadline,
    ) -> Result<CreateOutcome<K>> {
        let body = serde_json::to_vec(object).map_err(request_error)?;
        let params = PostParams {
            dry_run: false,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let request = self
            .url::<K>()
            .create(&params, body)
            .map_err(request_error)?;
        match self
            .call(
                &operation_on::<K>(Intent::Create, "create", id),
                &request,
                deadline,
            )
            .await?
        {
            Outcome::Success(stored, _) => Ok(CreateOutcome::Stored(stored)),
            Outcome::Exists | Outcome::Missing | Outcome::Conflict => {
                match self.get::<K>(id, deadline).await? {
                    Some((found, _)) if labels::has_nonce(found.meta(), nonce) => {
                        Ok(CreateOutcome::Stored(found))
                    }
                    _ => Ok(CreateOutcome::NameTaken),
                }
            }
        }
    }

    /// Checks in a dry run whether an object would be stored.
    pub(crate) async fn dry_run_create<K: ManagedKind>(
        &self,
        id: &SandboxId,
        object: &K,
        deadline: Deadline,
    ) -> Result<()> {
        let body = serde_json::to_vec(object).map_err(request_error)?;
        let params = PostParams {
            dry_run: true,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let request = self
            .url::<K>()
            .create(&params, body)
            .map_err(request_error)?;
        // An existing object of that name is no failure: the dry run has passed all checks before.
        self.call::<IgnoredAny>(
            &operation_on::<K>(Intent::Create, "create", id),
            &request,
            deadline,
        )
        .await
        .map(drop)
    }

    /// Gets the object of a sandbox, and the API server's time.
    pub(crate) async fn get<K: ManagedKind>(
        &self,
        id: &SandboxId,
        deadline: Deadline,
    ) -> Result<Option<(K, Option<SystemTime>)>> {
        let request = self
            .url::<K>()
            .get(&K::name_for(id), &GetParams::default())
            .map_err(request_error)?;
        match self
            .read(
                &operation_on::<K>(Intent::Read, "get", id),
                &request,
                deadline,
            )
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes one instance; with `version`, only if it has not changed since. Returns `false` if it has
    /// changed or does not exist any more.
    pub(crate) async fn delete<K: ManagedKind>(
        &self,
        id: &SandboxId,
        uid: &Uid,
        version: Option<&str>,
        deadline: Deadline,
    ) -> Result<bool> {
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.as_str().to_owned()),
            resource_version: version.map(str::to_owned),
        });
        let request = self
            .url::<K>()
            .delete(&K::name_for(id), &params)
            .map_err(request_error)?;
        let outcome = self
            .call::<IgnoredAny>(
                &operation_on::<K>(Intent::Delete, "delete", id),
                &request,
                deadline,
            )
            .await?;
        Ok(matches!(outcome, Outcome::Success(..)))
    }

    /// Deletes the Secret of a sandbox that another client created. The owner that a Pod names is trusted
    /// only if the labels of that Secret agree. Otherwise, everyone who may write Pods could have any Secret
    /// deleted.
    pub(crate) async fn delete_key_secret(
        &self,
        id: &SandboxId,
        owner: &Uid,
        deadline: Deadline,
    ) -> Result<()> {
        let found = self.get::<Secret>(id, deadline).await?;
        match found
            .as_ref()
            .map(|(secret, _)| labels::verify_secret(secret))
        {
            Some(Ok((found_id, uid))) if found_id == *id && uid == *owner => self
                .delete::<Secret>(id, owner, None, deadline)
                .await
                .map(|_| ()),
            Some(_) => {
                tracing::warn!(sandbox.id = %id, "Secret does not match its Pod; not deleted");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Sets an annotation of one instance; `None` if it does not exist any more.
    pub(crate) async fn annotate(
        &self,
        id: &SandboxId,
        uid: &Uid,
        (key, value): (&str, &str),
        deadline: Deadline,
    ) -> Result<Option<Pod>> {
        let patch = serde_json::json!({"metadata": {"uid": uid, "annotations": {key: value}}});
        self.patch::<Pod>(id, &patch, deadline).await
    }

    /// Applies a merge patch, to one instance if the patch names a uid; `None` if that does not exist.
    pub(crate) async fn patch<K: ManagedKind>(
        &self,
        id: &SandboxId,
        patch: &serde_json::Value,
        deadline: Deadline,
    ) -> Result<Option<K>> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let name = K::name_for(id);
        let request = self
            .url::<K>()
            .patch(&name, &params, &Patch::Merge(patch))
            .map_err(request_error)?;
        match self
            .call(
                &operation_on::<K>(Intent::Patch, "patch", id),
                &request,
                deadline,
            )
            .await?
        {
            Outcome::Success(pod, _) => Ok(Some(pod)),
            Outcome::Exists | Outcome::Missing | Outcome::Conflict => Ok(None),
        }
    }

    /// Lists the objects that a label selector matches, and the API server's time.
    pub(crate) async fn list<K: ManagedKind + k8s_openapi::ListableResource>(
        &self,
        selector: &str,
        deadline: Deadline,
    ) -> Result<(Vec<K>, Option<SystemTime>)> {
        let request = self
            .url::<K>()
            .list(&ListParams::default().labels(selector))
            .map_err(request_error)?;
        let operation = Operation {
            intent: Intent::Read,
            verb: "list",
            resource: K::RESOURCE,
            id: None,
        };
        let (list, date) = self.read::<List<K>>(&operation, &request, deadline).await?;
        Ok((list.items, date))
    }

    pub(super) fn url<K: Resource<DynamicType = ()>>(&self) -> Build {
        Build::new(K::url_path(&(), Some(&self.namespace)))
    }
}

fn operation_on<'a, K: ManagedKind>(
    intent: Intent,
    verb: &'static str,
    id: &'a SandboxId,
) -> Operation<'a> {
    Operation {
        intent,
        verb,
        resource: K::RESOURCE,
        id: Some(id),
    }
}

pub(crate) fn request_error(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Backend {
        backend: "k8s",
        operation: "build a request",
        message: "the request cannot be built".into(),
        transient: false,
        source: Some(Box::new(source)),
    }
}
