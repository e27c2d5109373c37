//! The requests that there are: Pods, Secrets, events and logs.

use std::time::{Duration, SystemTime};

use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Request};
use k8s_openapi::List;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, Secret};
use kube::Resource;
use kube::api::{
    DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchParams,
};
use kube::client::Body;
use kube::core::Request as Build;
use sandbox_core::{Deadline, Error, Result, SandboxId, Uid, nearest};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::api::classify::Intent;
use crate::api::client::{ApiClient, Operation, Outcome};
use crate::api::watch_error::WatchError;
use crate::manifest::labels;
use crate::names::CONTAINER;

/// Under which name our fields are managed.
const FIELD_MANAGER: &str = "sandbox-sdk";

/// How long it may take to find what an error could suggest.
const HINT: Duration = Duration::from_secs(2);

/// Which of the two objects of a sandbox, or the Lease that owns them.
pub(crate) trait ManagedKind:
    Resource<DynamicType = ()> + Serialize + DeserializeOwned + Send
{
    /// As RBAC has it.
    const RESOURCE: &'static str;
    /// The name of a sandbox's.
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

/// How a create ended.
pub(crate) enum CreateOutcome<K> {
    Stored(K),
    /// The name is another's.
    NameTaken,
}

impl ApiClient {
    /// Stores an object, once: an object of its name that has its nonce is the one of an
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
                &operation::<K>(Intent::Create, "create", id),
                &request,
                deadline,
            )
            .await?
        {
            Outcome::Done(stored, _) => Ok(CreateOutcome::Stored(stored)),
            Outcome::Exists | Outcome::AlreadyGone | Outcome::Changed => {
                match self.get::<K>(id, deadline).await? {
                    Some((found, _)) if labels::is_from(found.meta(), nonce) => {
                        Ok(CreateOutcome::Stored(found))
                    }
                    _ => Ok(CreateOutcome::NameTaken),
                }
            }
        }
    }

    /// Only asks whether an object would be stored.
    pub(crate) async fn try_create<K: ManagedKind>(
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
        // An object of that name would be another's; the trial has told what it should.
        self.call::<IgnoredAny>(
            &operation::<K>(Intent::Create, "create", id),
            &request,
            deadline,
        )
        .await
        .map(drop)
    }

    /// The object of a sandbox, and the API server's time.
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
            .read(&operation::<K>(Intent::Read, "get", id), &request, deadline)
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes one instance; with `version`, only if it is still as it was then. `false` when it
    /// is not, or is gone.
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
                &operation::<K>(Intent::Delete, "delete", id),
                &request,
                deadline,
            )
            .await?;
        Ok(matches!(outcome, Outcome::Done(..)))
    }

    /// Deletes the keys of a sandbox that was not made here: what a Pod calls its owner is taken at
    /// its word only when the Secret says the same of itself. Otherwise whoever may write Pods
    /// could have any Secret deleted.
    pub(crate) async fn delete_keys(
        &self,
        id: &SandboxId,
        owner: &Uid,
        deadline: Deadline,
    ) -> Result<()> {
        let found = self.get::<Secret>(id, deadline).await?;
        match found.as_ref().map(|(secret, _)| labels::secret_of(secret)) {
            Some(Ok((whose, uid))) if whose == *id && uid == *owner => self
                .delete::<Secret>(id, owner, None, deadline)
                .await
                .map(|_| ()),
            Some(_) => {
                tracing::warn!(sandbox.id = %id, "its Secret is not what its Pod says, and is left alone");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Sets an annotation of one instance.
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

    /// A merge patch, of one instance where it names a uid; `None` when that is not there.
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
                &operation::<K>(Intent::Patch, "patch", id),
                &request,
                deadline,
            )
            .await?
        {
            Outcome::Done(pod, _) => Ok(Some(pod)),
            Outcome::Exists | Outcome::AlreadyGone | Outcome::Changed => Ok(None),
        }
    }

    /// All of a kind that this selector finds, and the API server's time.
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

    /// The same for the watch: once, and with the version that it goes on from.
    pub(crate) async fn list_for_watch<K: ManagedKind + k8s_openapi::ListableResource>(
        &self,
        selector: &str,
        deadline: Deadline,
    ) -> Result<List<K>, WatchError> {
        let request = self
            .url::<K>()
            .list(&ListParams::default().labels(selector));
        let response = self
            .open(request.map_err(WatchError::request_error)?, deadline)
            .await?;
        let body = deadline.bound("listing objects", async {
            let body = response.into_body().collect_bytes().await;
            body.map_err(request_error)
        });
        let body = body.await.map_err(WatchError::request_error)?;
        serde_json::from_slice(&body).map_err(WatchError::request_error)
    }

    /// The lines of a watch.
    pub(crate) async fn open_watch<K: ManagedKind>(
        &self,
        selector: &str,
        version: &str,
        lasts: Duration,
        deadline: Deadline,
    ) -> Result<Body, WatchError> {
        self.watch_by::<K>(
            WatchParams::default().labels(selector),
            version,
            lasts,
            deadline,
        )
        .await
    }

    /// The same for what the cluster says happens to one Pod.
    pub(crate) async fn open_event_watch(
        &self,
        uid: &Uid,
        version: &str,
        lasts: Duration,
        deadline: Deadline,
    ) -> Result<Body, WatchError> {
        let params = WatchParams::default()
            .fields(&of_pod(uid))
            .disable_bookmarks();
        self.watch_by::<Event>(params, version, lasts, deadline)
            .await
    }

    async fn watch_by<K: Resource<DynamicType = ()>>(
        &self,
        params: WatchParams,
        version: &str,
        lasts: Duration,
        deadline: Deadline,
    ) -> Result<Body, WatchError> {
        let params = params.timeout(u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX));
        let mut request = self
            .url::<K>()
            .watch(&params, version)
            .map_err(WatchError::request_error)?;
        // Compressed, it comes one member for each event, which kube does not read.
        request
            .headers_mut()
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(self.open(request, deadline).await?.into_body())
    }

    /// The namespace that may have been meant, for those who may list them.
    pub(crate) async fn nearest_namespace(&self) -> Option<String> {
        let request = Build::new(Namespace::url_path(&(), None))
            .list(&ListParams::default())
            .ok()?;
        let response = self.open(request, Deadline::from_now(HINT)).await.ok()?;
        let body = response.into_body().collect_bytes();
        let body = tokio::time::timeout(HINT, body).await.ok()?.ok()?;
        let all: List<Namespace> = serde_json::from_slice(&body).ok()?;
        let names = all
            .items
            .iter()
            .filter_map(|namespace| namespace.metadata.name.as_deref());
        nearest(&self.namespace, names).map(str::to_owned)
    }

    /// What the cluster says happened to a Pod, latest last.
    pub(crate) async fn list_events(&self, uid: &Uid, deadline: Deadline) -> Result<Vec<Event>> {
        let params = ListParams::default().fields(&of_pod(uid));
        let request = self.url::<Event>().list(&params).map_err(request_error)?;
        let operation = Operation {
            intent: Intent::Read,
            verb: "list",
            resource: "events",
            id: None,
        };
        Ok(self
            .read::<List<Event>>(&operation, &request, deadline)
            .await?
            .0
            .items)
    }

    /// The request for the log of a sandbox's server.
    pub(crate) fn log(
        &self,
        id: &SandboxId,
        tail: Option<usize>,
        follow: bool,
    ) -> Result<Request<Vec<u8>>> {
        let params = kube::api::LogParams {
            container: Some(CONTAINER.into()),
            follow,
            tail_lines: tail.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            ..kube::api::LogParams::default()
        };
        self.url::<Pod>()
            .logs(id.as_str(), &params)
            .map_err(request_error)
    }

    /// The request for a stream to a port of a Pod.
    pub(crate) fn port_forward(&self, name: &str, port: u16) -> Result<Request<Vec<u8>>> {
        self.url::<Pod>()
            .portforward(name, &[port])
            .map_err(request_error)
    }

    fn url<K: Resource<DynamicType = ()>>(&self) -> Build {
        Build::new(K::url_path(&(), Some(&self.namespace)))
    }
}

/// The field selector for the cluster's events of one Pod.
fn of_pod(uid: &Uid) -> String {
    format!("involvedObject.uid={uid}")
}

fn operation<'a, K: ManagedKind>(
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
        operation: "write a request",
        message: "it cannot be sent".into(),
        transient: false,
        source: Some(Box::new(source)),
    }
}
