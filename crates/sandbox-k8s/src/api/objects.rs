//! Requests that create, read, change and delete the objects of sandboxes: Pods, Secrets and Leases.

use std::time::SystemTime;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request as Build;
use sandbox_core::{Deadline, Error, Result, SandboxId, Uid};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::api::classify::Intent;
use crate::api::client::{ApiClient, Operation, Outcome};
use crate::api::failure::{Failure, FailureCause};
use crate::api::pages::Metadata;
use crate::manifest::labels::{self, SecretName, SecretRef};

/// The field manager of all writes.
pub(super) const FIELD_MANAGER: &str = "sandbox-sdk";

/// A kind of object that the SDK creates.
pub(crate) trait ManagedKind:
    Resource<DynamicType = ()> + Serialize + DeserializeOwned + Send
{
    /// The resource, as in RBAC.
    const RESOURCE: &'static str;
    /// What an object of this kind is requested by.
    type Key: Sync;
    /// The name of the object with this key.
    fn name_for(key: &Self::Key) -> String;
    /// The id of the sandbox or Lease, for messages.
    fn id_of(key: &Self::Key) -> &SandboxId;
}

impl ManagedKind for Pod {
    const RESOURCE: &'static str = "pods";
    type Key = SandboxId;
    fn name_for(id: &SandboxId) -> String {
        id.as_str().to_owned()
    }
    fn id_of(id: &SandboxId) -> &SandboxId {
        id
    }
}

impl ManagedKind for Secret {
    const RESOURCE: &'static str = "secrets";
    type Key = SecretName;
    fn name_for(name: &SecretName) -> String {
        name.as_str().to_owned()
    }
    fn id_of(name: &SecretName) -> &SandboxId {
        name.id()
    }
}

impl ManagedKind for Lease {
    const RESOURCE: &'static str = "leases";
    type Key = SandboxId;
    fn name_for(id: &SandboxId) -> String {
        labels::lease_name(id)
    }
    fn id_of(id: &SandboxId) -> &SandboxId {
        id
    }
}

/// The result of a create.
pub(crate) enum CreateOutcome<K> {
    Stored(K),
    /// Another object has the name: this one, unless it has been deleted since.
    NameTaken(Option<Box<K>>),
}

impl ApiClient {
    /// Creates an object exactly once. An existing object with the same name and nonce was stored by an
    /// earlier attempt.
    pub(crate) async fn create<K: ManagedKind>(
        &self,
        key: &K::Key,
        object: &K,
        nonce: &str,
        deadline: Deadline,
    ) -> Result<CreateOutcome<K>, Failure> {
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
                &operation_on::<K>(Intent::Create, "create", key),
                &request,
                deadline,
            )
            .await?
        {
            Outcome::Success(stored, _) => Ok(CreateOutcome::Stored(stored)),
            Outcome::Exists | Outcome::Missing | Outcome::Conflict | Outcome::Expired => {
                match self.get::<K>(key, deadline).await? {
                    Some((found, _)) if labels::has_nonce(found.meta(), nonce) => {
                        Ok(CreateOutcome::Stored(found))
                    }
                    found => Ok(CreateOutcome::NameTaken(
                        found.map(|(found, _)| Box::new(found)),
                    )),
                }
            }
        }
    }

    /// Checks in a dry run whether an object would be stored.
    pub(crate) async fn dry_run_create<K: ManagedKind>(
        &self,
        key: &K::Key,
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
            &operation_on::<K>(Intent::Create, "create", key),
            &request,
            deadline,
        )
        .await?;
        Ok(())
    }

    /// Gets the object of a sandbox, and the API server's time.
    pub(crate) async fn get<K: ManagedKind>(
        &self,
        key: &K::Key,
        deadline: Deadline,
    ) -> Result<Option<(K, Option<SystemTime>)>> {
        let request = self
            .url::<K>()
            .get(&K::name_for(key), &GetParams::default())
            .map_err(request_error)?;
        let operation = operation_on::<K>(Intent::Read, "get", key);
        Ok(self.read_existing(&operation, &request, deadline).await?)
    }

    /// Gets the metadata of an object, so that its content, such as keys, is never sent.
    pub(crate) async fn get_metadata<K: ManagedKind>(
        &self,
        key: &K::Key,
        deadline: Deadline,
    ) -> Result<Option<ObjectMeta>> {
        let request = self
            .url::<K>()
            .get_metadata(&K::name_for(key), &GetParams::default())
            .map_err(request_error)?;
        let operation = operation_on::<K>(Intent::Read, "get", key);
        let found = self
            .read_existing::<Metadata>(&operation, &request, deadline)
            .await?;
        Ok(found.map(|(object, _)| object.metadata))
    }

    /// Whether an object of others exists. Its content is not sent.
    pub(crate) async fn has_object<K: Resource<DynamicType = ()> + k8s_openapi::Resource>(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        let request = self
            .url::<K>()
            .get_metadata(name, &GetParams::default())
            .map_err(request_error)?;
        let operation = Operation {
            intent: Intent::Read,
            verb: "get",
            resource: K::URL_PATH_SEGMENT,
            id: None,
        };
        let found = self
            .read_existing::<IgnoredAny>(&operation, &request, deadline)
            .await?;
        Ok(found.is_some())
    }

    async fn read_existing<T: DeserializeOwned>(
        &self,
        operation: &Operation<'_>,
        request: &http::Request<Vec<u8>>,
        deadline: Deadline,
    ) -> Result<Option<(T, Option<SystemTime>)>, Failure> {
        match self.read(operation, request, deadline).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.cause == FailureCause::NoObject => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes one instance; with `version`, only if it has not changed since. Returns `false` if it has
    /// changed or does not exist any more.
    pub(crate) async fn delete<K: ManagedKind>(
        &self,
        key: &K::Key,
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
            .delete(&K::name_for(key), &params)
            .map_err(request_error)?;
        let outcome = self
            .call::<IgnoredAny>(
                &operation_on::<K>(Intent::Delete, "delete", key),
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
        owner: &SecretRef,
        deadline: Deadline,
    ) -> Result<()> {
        let found = self.get_metadata::<Secret>(&owner.name, deadline).await?;
        match found.as_ref().map(labels::verify_secret) {
            Some(Ok(found)) if found == *owner => self
                .delete::<Secret>(&owner.name, &owner.uid, None, deadline)
                .await
                .map(|_| ()),
            Some(_) => {
                tracing::warn!(secret = %owner.name, "Secret does not match its Pod; not deleted");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Deletes the Secret with the new key of a claimed sandbox, if there is one. It counts only if the Pod owns it.
    pub(crate) async fn delete_claim_secret(
        &self,
        name: &SecretName,
        pod: &Uid,
        deadline: Deadline,
    ) -> Result<()> {
        let Some(found) = self.get_metadata::<Secret>(name, deadline).await? else {
            return Ok(());
        };
        match labels::verify_secret(&found) {
            Ok(secret) if labels::owning_pod(&found).as_ref() == Some(pod) => self
                .delete::<Secret>(name, &secret.uid, None, deadline)
                .await
                .map(drop),
            Ok(_) | Err(_) => {
                tracing::warn!(secret = %name, "Secret does not belong to its Pod; not deleted");
                Ok(())
            }
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
        key: &K::Key,
        patch: &serde_json::Value,
        deadline: Deadline,
    ) -> Result<Option<K>> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let name = K::name_for(key);
        let request = self
            .url::<K>()
            .patch(&name, &params, &Patch::Merge(patch))
            .map_err(request_error)?;
        match self
            .call(
                &operation_on::<K>(Intent::Patch, "patch", key),
                &request,
                deadline,
            )
            .await?
        {
            Outcome::Success(pod, _) => Ok(Some(pod)),
            Outcome::Exists | Outcome::Missing | Outcome::Conflict | Outcome::Expired => Ok(None),
        }
    }

    pub(super) fn url<K: Resource<DynamicType = ()>>(&self) -> Build {
        Build::new(K::url_path(&(), Some(&self.namespace)))
    }
}

fn operation_on<'a, K: ManagedKind>(
    intent: Intent,
    verb: &'static str,
    key: &'a K::Key,
) -> Operation<'a> {
    Operation {
        intent,
        verb,
        resource: K::RESOURCE,
        id: Some(K::id_of(key)),
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
