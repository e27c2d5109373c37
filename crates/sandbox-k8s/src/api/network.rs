//! Requests about the network: its policies, and where the API server is.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ListParams, PostParams};
use sandbox_core::{Deadline, Result};
use serde::Deserialize;

use super::classify::Intent;
use super::client::{ApiClient, Operation, Outcome};
use super::failure::{Failure, FailureCause};
use super::objects::{FIELD_MANAGER, request_error};
use super::pages::Page;

/// The resource, as in RBAC.
const POLICIES: &str = "networkpolicies";
/// The Service of the API server, which every cluster has.
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>
const API_SERVICE: &str = "/api/v1/namespaces/default/services/kubernetes";

impl ApiClient {
    /// Lists all network policies of the namespace. There are few.
    pub(crate) async fn network_policies(
        &self,
        deadline: Deadline,
    ) -> Result<Vec<NetworkPolicy>, Failure> {
        let request = self
            .url::<NetworkPolicy>()
            .list(&ListParams::default())
            .map_err(request_error)?;
        let operation = operation(Intent::Read, "list", POLICIES);
        let (page, _) = self
            .read::<Page<NetworkPolicy>>(&operation, &request, deadline)
            .await?;
        Ok(page.into_items().collect())
    }

    /// Creates a network policy. Returns `false` if there is one of this name.
    pub(crate) async fn create_network_policy(
        &self,
        policy: &NetworkPolicy,
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        let body = serde_json::to_vec(policy).map_err(request_error)?;
        let params = PostParams {
            dry_run: false,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let request = self
            .url::<NetworkPolicy>()
            .create(&params, body)
            .map_err(request_error)?;
        let operation = operation(Intent::Create, "create", POLICIES);
        let outcome = self
            .call::<NetworkPolicy>(&operation, &request, deadline)
            .await?;
        Ok(matches!(outcome, Outcome::Success(..)))
    }

    /// Reads the Service of the API server; `None` if the account may not, or if it is gone.
    pub(crate) async fn api_service(&self, deadline: Deadline) -> Result<Option<Service>> {
        let request = http::Request::get(API_SERVICE)
            .body(Vec::new())
            .map_err(request_error)?;
        let operation = operation(Intent::Read, "get", "services");
        let service = self.read::<Service>(&operation, &request, deadline);
        Ok(ignore_unreadable(service.await)?.map(|(service, _)| service))
    }

    /// Returns the addresses under which the API server says that its clients reach it, if the account may ask.
    /// <https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.33/#apiversions-v1-meta>
    pub(crate) async fn advertised_addresses(&self, deadline: Deadline) -> Result<Vec<String>> {
        let request = http::Request::get("/api")
            .body(Vec::new())
            .map_err(request_error)?;
        let operation = operation(Intent::Read, "get", "the versions of the API");
        let versions = self.read::<ApiVersions>(&operation, &request, deadline);
        let listed =
            ignore_unreadable(versions.await)?.and_then(|(versions, _)| versions.server_addresses);
        let listed = listed.into_iter().flatten();
        Ok(listed.map(|one| one.server_address).collect())
    }
}

/// Returns what was read; `None` if the account may not, or if it does not exist.
fn ignore_unreadable<T>(read: Result<T, Failure>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(failure) => match failure.cause {
            FailureCause::NoPermission | FailureCause::NoObject | FailureCause::NoNamespace => {
                Ok(None)
            }
            FailureCause::Other => Err(failure.error),
        },
    }
}

fn operation(intent: Intent, verb: &'static str, resource: &'static str) -> Operation<'static> {
    Operation {
        intent,
        verb,
        resource,
        id: None,
    }
}

/// The part of the response that is read.
#[derive(Deserialize)]
struct ApiVersions {
    #[serde(rename = "serverAddressByClientCIDRs")]
    server_addresses: Option<Vec<ServerAddress>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerAddress {
    server_address: String,
}
