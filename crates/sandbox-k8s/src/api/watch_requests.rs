//! Requests that observe: lists and watches, events, logs; and streams to ports and programs.

use std::time::Duration;

use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Request};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::Resource;
use kube::api::{AttachParams, ListParams, WatchParams};
use kube::client::Body;
use kube::core::Request as Build;
use sandbox_core::{Deadline, Result, SandboxId, Uid, nearest};

use super::classify::Intent;
use super::client::{ApiClient, Operation};
use super::objects::{ManagedKind, request_error};
use super::watch_error::WatchError;
use crate::names::CONTAINER;

/// Timeout of a request that only adds a suggestion to an error.
const HINT_TIMEOUT: Duration = Duration::from_secs(2);

/// No version: the list is as recent as the request.
const ANY_VERSION: &str = "";

/// Selects the events of Pods that say more than their status.
const EVENTS_OF_PODS: &str =
    "involvedObject.kind=Pod,reason!=Scheduled,reason!=Created,reason!=Started,reason!=Killing";

/// Which part of which container's log to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogQuery<'a> {
    pub(crate) container: &'a str,
    /// Only this many lines from the end.
    pub(crate) tail_lines: Option<usize>,
    /// At most this many bytes of those, counted from the first.
    pub(crate) limit_bytes: Option<usize>,
    /// Whether to continue with new lines.
    pub(crate) follow: bool,
}

impl ApiClient {
    /// Opens a watch in one attempt; its body has one event per line.
    pub(crate) async fn open_watch<K: ManagedKind>(
        &self,
        selector: &str,
        version: &str,
        lifetime: Duration,
        deadline: Deadline,
    ) -> Result<Body, WatchError> {
        self.open_watch_with::<K>(
            WatchParams::default().labels(selector),
            version,
            lifetime,
            deadline,
        )
        .await
    }

    /// Opens a watch in one attempt that begins with the existing objects. A bookmark with an annotation marks
    /// their end. API servers before 1.27, and those without the feature, refuse the option.
    pub(crate) async fn open_watch_with_list<K: ManagedKind>(
        &self,
        selector: &str,
        lifetime: Duration,
        deadline: Deadline,
    ) -> Result<Body, WatchError> {
        let params = WatchParams::default().labels(selector).initial_events();
        self.open_watch_with::<K>(params, ANY_VERSION, lifetime, deadline)
            .await
    }

    /// Opens a watch of the cluster's events of all Pods, but not of those that every Pod has and whose content is in
    /// its status.
    pub(crate) async fn open_event_watch(
        &self,
        version: &str,
        lifetime: Duration,
        deadline: Deadline,
    ) -> Result<Body, WatchError> {
        let params = WatchParams::default()
            .fields(EVENTS_OF_PODS)
            .disable_bookmarks();
        self.open_watch_with::<Event>(params, version, lifetime, deadline)
            .await
    }

    async fn open_watch_with<K: Resource<DynamicType = ()>>(
        &self,
        params: WatchParams,
        version: &str,
        lifetime: Duration,
        deadline: Deadline,
    ) -> Result<Body, WatchError> {
        let params = params.timeout(u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX));
        let mut request = self
            .url::<K>()
            .watch(&params, version)
            .map_err(WatchError::from_error)?;
        // A compressed watch has one gzip member per event, which kube cannot read.
        request
            .headers_mut()
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(self.open(request, deadline).await?.into_body())
    }

    /// Finds an existing namespace with a similar name, if the account may list namespaces.
    pub(crate) async fn suggest_namespace(&self) -> Option<String> {
        let request = Build::new(Namespace::url_path(&(), None))
            .list(&ListParams::default())
            .ok()?;
        let response = self
            .open(request, Deadline::from_now(HINT_TIMEOUT))
            .await
            .ok()?;
        let body = response.into_body().collect_bytes();
        let body = tokio::time::timeout(HINT_TIMEOUT, body).await.ok()?.ok()?;
        let all: List<Namespace> = serde_json::from_slice(&body).ok()?;
        let names = all
            .items
            .iter()
            .filter_map(|namespace| namespace.metadata.name.as_deref());
        nearest(&self.namespace, names).map(str::to_owned)
    }

    /// Lists the cluster's events of a Pod, the latest last.
    pub(crate) async fn list_events(&self, uid: &Uid, deadline: Deadline) -> Result<Vec<Event>> {
        let params = ListParams::default().fields(&involved_object_selector(uid));
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

    /// Builds the request for a log.
    pub(crate) fn log_request(
        &self,
        id: &SandboxId,
        query: &LogQuery<'_>,
    ) -> Result<Request<Vec<u8>>> {
        let params = kube::api::LogParams {
            container: Some(query.container.into()),
            follow: query.follow,
            tail_lines: query
                .tail_lines
                .map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            limit_bytes: query
                .limit_bytes
                .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            ..kube::api::LogParams::default()
        };
        self.url::<Pod>()
            .logs(id.as_str(), &params)
            .map_err(request_error)
    }

    /// Builds the request to run a program in the sandbox's container, with streams for its input and output.
    pub(crate) fn exec_request(&self, name: &str, command: &[&str]) -> Result<Request<Vec<u8>>> {
        let params = AttachParams {
            container: Some(CONTAINER.into()),
            stdin: true,
            ..AttachParams::default()
        };
        self.url::<Pod>()
            .exec(name, command.iter().copied(), &params)
            .map_err(request_error)
    }

    /// Builds the request for a stream to a port of a Pod.
    pub(crate) fn port_forward_request(&self, name: &str, port: u16) -> Result<Request<Vec<u8>>> {
        self.url::<Pod>()
            .portforward(name, &[port])
            .map_err(request_error)
    }
}

/// The field selector of the events of one Pod.
fn involved_object_selector(uid: &Uid) -> String {
    format!("involvedObject.uid={uid}")
}
