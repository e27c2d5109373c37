//! Lists in pages, so that neither the API server nor this client holds a long list in one response.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>

use std::time::{Duration, SystemTime};

use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::core::Request as Build;
use kube::core::request::Error as BuildError;
use sandbox_core::{Deadline, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::classify::{self, FailedResponse, Intent};
use super::client::{ApiClient, Operation, Outcome};
use super::failure::Failure;
use super::objects::{ManagedKind, request_error};
use super::response::{BodyError, read_body};
use super::watch_error::WatchError;

/// The number of objects of a page, as in kubectl and in Kubernetes' own clients.
pub(crate) const PAGE_SIZE: u32 = 500;

/// How often a list starts again because its continuation has expired, which happens after some minutes.
const MAX_RESTARTS: u32 = 3;

/// One page of a list.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(crate) struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    /// Older API servers write `null` for no objects.
    items: Option<Vec<T>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    continuation: Option<String>,
}

impl<T> Page<T> {
    /// The version of the whole list, from which a watch can start.
    pub(crate) fn version(&self) -> String {
        self.metadata.resource_version.clone().unwrap_or_default()
    }

    /// What the next page is requested with; `None` after the last one.
    pub(crate) fn continuation(&self) -> Option<String> {
        // The last page has an empty one, or none.
        let continuation = self.metadata.continuation.clone();
        continuation.filter(|text| !text.is_empty())
    }

    pub(crate) fn into_items(self) -> impl Iterator<Item = T> {
        self.items.into_iter().flatten()
    }
}

/// An object as `PartialObjectMetadata`.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources>
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) metadata: ObjectMeta,
}

impl ApiClient {
    /// Lists the objects that a label selector matches, and the API server's time at the start. `keep` reduces
    /// each object to what stays in memory. `timeout` is for each page.
    pub(crate) async fn list<K: ManagedKind, T>(
        &self,
        selector: &str,
        timeout: Duration,
        keep: impl Fn(K) -> Option<T>,
    ) -> Result<(Vec<T>, Option<SystemTime>)> {
        let listed = self.list_pages::<K, K, T>(selector, timeout, Build::list, keep);
        Ok(listed.await?)
    }

    /// Lists the metadata of the objects that a label selector matches, and the API server's time at the start.
    /// The content of the objects, such as keys, is never sent. `timeout` is for each page.
    pub(crate) async fn list_metadata<K: ManagedKind>(
        &self,
        selector: &str,
        timeout: Duration,
    ) -> Result<(Vec<ObjectMeta>, Option<SystemTime>), Failure> {
        let keep = |object: Metadata| Some(object.metadata);
        self.list_pages::<K, Metadata, _>(selector, timeout, Build::list_metadata, keep)
            .await
    }

    async fn list_pages<K: ManagedKind, I: DeserializeOwned, T>(
        &self,
        selector: &str,
        timeout: Duration,
        build: impl Fn(&Build, &ListParams) -> Result<Request<Vec<u8>>, BuildError>,
        keep: impl Fn(I) -> Option<T>,
    ) -> Result<(Vec<T>, Option<SystemTime>), Failure> {
        let url = self.url::<K>();
        let (mut found, mut started, mut restarts) = (Vec::new(), None, 0);
        let mut continuation: Option<String> = None;
        loop {
            let is_first = continuation.is_none();
            let params = page_params(selector, continuation.as_deref());
            let request = build(&url, &params).map_err(request_error)?;
            let operation = Operation {
                intent: if is_first {
                    Intent::Read
                } else {
                    Intent::Continue
                },
                verb: "list",
                resource: K::RESOURCE,
                id: None,
            };
            let deadline = Deadline::from_now(timeout);
            let outcome = self.call::<Page<I>>(&operation, &request, deadline).await?;
            match outcome {
                Outcome::Success(page, date) => {
                    if is_first {
                        started = date;
                    }
                    continuation = page.continuation();
                    found.extend(page.into_items().filter_map(&keep));
                    if continuation.is_none() {
                        return Ok((found, started));
                    }
                }
                Outcome::Expired if restarts < MAX_RESTARTS => {
                    restarts += 1;
                    continuation = None;
                    found.clear();
                }
                Outcome::Exists | Outcome::Missing | Outcome::Conflict | Outcome::Expired => {
                    let context = self.context(&operation, restarts);
                    return Err(classify::give_up(&context, &FailedResponse::default()).into());
                }
            }
        }
    }

    /// Requests one page of a list in one attempt; the first page for no continuation.
    pub(crate) async fn list_page<K: ManagedKind>(
        &self,
        selector: &str,
        continuation: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<K>, WatchError> {
        let request = self.url::<K>().list(&page_params(selector, continuation));
        let response = self
            .open(request.map_err(WatchError::from_error)?, deadline)
            .await?;
        let body = match tokio::time::timeout_at(
            deadline.instant(),
            read_body(response.into_body()),
        )
        .await
        {
            Ok(Ok(body)) => body,
            Ok(Err(BodyError::TooLong)) => return Err(WatchError::too_long()),
            Ok(Err(BodyError::Lost(error))) => return Err(WatchError::from_error(error)),
            Err(_elapsed) => return Err(WatchError::from_error(deadline.error("listing objects"))),
        };
        serde_json::from_slice(&body).map_err(WatchError::from_error)
    }
}

fn page_params(selector: &str, continuation: Option<&str>) -> ListParams {
    let params = ListParams::default().labels(selector).limit(PAGE_SIZE);
    match continuation {
        Some(continuation) => params.continue_token(continuation),
        None => params,
    }
}
