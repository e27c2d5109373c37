//! The Leases of shared pools: reads, creates, takes over, renews, lists and deletes them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use sandbox_core::{Deadline, Error, PoolKey, PoolLeader, PoolName, Result, Uid};
use serde_json::json;

use crate::api::client::{ApiClient, LOOKUP_TIMEOUT};
use crate::api::json_patch::{JsonPatch, Patched};
use crate::api::objects::CreateOutcome;
use crate::api::pool_lease::{PoolLease, PoolLeaseKey};
use crate::manifest::labels;
use crate::names::{BACKEND, MANAGED_BY, MANAGER, NONCE, POOL, POOL_KEY};
use crate::pool::election::{DURATION, LeaseState};

/// Timeout of one read or write of a holder. It must leave time for another attempt before the right is lost.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Reads the Lease of a pool.
///
/// # Errors
///
/// [`Error::Config`] if the Lease of this name is none of this SDK.
pub(super) async fn read(api: &ApiClient, key: &PoolLeaseKey) -> Result<Option<LeaseState>> {
    let deadline = Deadline::from_now(REQUEST_TIMEOUT);
    let found = api.get::<PoolLease>(key, deadline).await?;
    found.map(|(lease, _)| read_state(&lease.0)).transpose()
}

/// Creates the Lease of a pool for this holder; `false` if another process was faster.
pub(super) async fn create(
    api: &ApiClient,
    key: &PoolLeaseKey,
    pool_key: &PoolKey,
    holder: &str,
) -> Result<bool> {
    let nonce = Uid::generate()?;
    let now = server_time(api)?;
    let lease = PoolLease(Lease {
        metadata: ObjectMeta {
            name: Some(key.lease_name()),
            namespace: Some(api.namespace.clone()),
            labels: Some(
                [
                    (MANAGED_BY.to_owned(), MANAGER.to_owned()),
                    (POOL.to_owned(), key.pool.as_str().to_owned()),
                ]
                .into(),
            ),
            annotations: Some(
                [
                    (NONCE.to_owned(), nonce.as_str().to_owned()),
                    (POOL_KEY.to_owned(), pool_key.as_str().to_owned()),
                ]
                .into(),
            ),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    });
    let deadline = Deadline::from_now(REQUEST_TIMEOUT);
    match api.create(key, &lease, nonce.as_str(), deadline).await {
        Ok(CreateOutcome::Stored(_)) => Ok(true),
        Ok(CreateOutcome::NameTaken(_)) => Ok(false),
        Err(failure) => Err(lease_error(failure.error)),
    }
}

/// Writes this holder into a version of the Lease; `false` if it has changed since.
pub(super) async fn take_over(
    api: &ApiClient,
    key: &PoolLeaseKey,
    pool_key: &PoolKey,
    holder: &str,
    version: &str,
) -> Result<bool> {
    let now = server_time(api)?;
    let patch = json!({
        "metadata": {"resourceVersion": version, "annotations": {POOL_KEY: pool_key}},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": DURATION.as_secs(),
            "acquireTime": now, "renewTime": now,
        },
    });
    let deadline = Deadline::from_now(REQUEST_TIMEOUT);
    match api.patch::<PoolLease>(key, &patch, deadline).await {
        Ok(written) => Ok(written.is_some()),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Renews the Lease; `false` if this process does not hold it any more.
pub(super) async fn renew(api: &ApiClient, key: &PoolLeaseKey, holder: &str) -> Result<bool> {
    let patch = JsonPatch::default()
        .test(HOLDER, holder)
        .add("/spec/renewTime", json!(server_time(api)?));
    let deadline = Deadline::from_now(REQUEST_TIMEOUT);
    match api.json_patch::<PoolLease>(key, &patch, deadline).await? {
        Patched::Applied(_) => Ok(true),
        Patched::Missing => Ok(false),
        Patched::NotApplied => match read(api, key).await? {
            Some(lease) if lease.holder.as_deref() == Some(holder) => Err(Error::Backend {
                backend: BACKEND,
                operation: "renew the Lease of a pool",
                message: "the API server rejects the renewal".into(),
                transient: true,
                source: None,
            }),
            Some(_) | None => Ok(false),
        },
    }
}

/// Gives the Lease up, if this process holds it.
pub(super) async fn release(api: &ApiClient, key: &PoolLeaseKey, holder: &str) -> Result<()> {
    let patch = JsonPatch::default().test(HOLDER, holder).remove(HOLDER);
    let deadline = Deadline::from_now(REQUEST_TIMEOUT);
    api.json_patch::<PoolLease>(key, &patch, deadline)
        .await
        .map(drop)
}

/// Lists the pools that have a Lease, by name.
pub(super) async fn list_leaders(api: &ApiClient) -> Result<Vec<PoolLeader>> {
    let selector = labels::selector();
    let (leases, now) = api.list(&selector, LOOKUP_TIMEOUT, Some::<Lease>).await?;
    let mut leaders: Vec<_> = leases
        .iter()
        .filter_map(|lease| describe_leader(lease, now))
        .collect();
    leaders.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(leaders)
}

/// Deletes the Lease of a pool; `false` if there is none.
pub(super) async fn remove(api: &ApiClient, name: &PoolName) -> Result<bool> {
    let key = PoolLeaseKey::new(name)?;
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let Some((found, _)) = api.get::<PoolLease>(&key, deadline).await? else {
        return Ok(false);
    };
    read_state(&found.0)?;
    let Some(uid) = found.0.metadata.uid.map(Uid::new) else {
        return Ok(false);
    };
    api.delete::<PoolLease>(&key, &uid, None, deadline)
        .await
        .map_err(lease_error)
}

/// The path of the holder in a Lease.
const HOLDER: &str = "/spec/holderIdentity";

fn read_state(lease: &Lease) -> Result<LeaseState> {
    let meta = &lease.metadata;
    let label = meta.labels.as_ref().and_then(|all| all.get(MANAGED_BY));
    if label.map(String::as_str) != Some(MANAGER) {
        let name = meta.name.as_deref().unwrap_or_default();
        return Err(Error::Config {
            message: format!(
                "the Lease {name} is none of a pool: it does not carry the label {MANAGED_BY}; choose another name for \
                 the pool"
            ),
        });
    }
    let spec = lease.spec.clone().unwrap_or_default();
    let duration = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0);
    Ok(LeaseState {
        version: meta.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: duration.map_or(DURATION, Duration::from_secs),
    })
}

/// Describes the holder of a Lease; `None` if it is not that of a pool. Whether the holder is alive is judged by the
/// API server's clock, by which the Lease was renewed: this is for people, and decides nothing.
fn describe_leader(lease: &Lease, now: Option<SystemTime>) -> Option<PoolLeader> {
    let state = read_state(lease).ok()?;
    let mut leader = PoolLeader::new(PoolLeaseKey::parse(lease.metadata.name.as_deref()?)?);
    leader.key = labels::annotation(&lease.metadata, POOL_KEY).and_then(|key| key.parse().ok());
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
    let until = renewed.and_then(|time| SystemTime::from(time.0).checked_add(state.duration));
    leader.is_current =
        state.holder.is_some() && until.zip(now).is_some_and(|(until, now)| now <= until);
    leader.holder = state.holder;
    Some(leader)
}

/// Returns the API server's time. Before its first response the local time is used, which the next renewal corrects.
fn server_time(api: &ApiClient) -> Result<MicroTime> {
    let now = api.clock.now().unwrap_or_else(SystemTime::now);
    Timestamp::try_from(now).map(MicroTime).map_err(|_| {
        Error::invalid(
            "time of the API server",
            format!("{now:?}"),
            "the date is out of range",
        )
    })
}

/// The error of a Lease, which is no sandbox.
fn lease_error(error: Error) -> Error {
    let transient = error.is_retryable();
    let message = match &error {
        Error::Creation(creation) => creation.message.clone(),
        Error::Deletion { message, .. } => message.clone(),
        _ => return error,
    };
    Error::Backend {
        backend: BACKEND,
        operation: "write the Lease of a pool",
        message,
        transient,
        source: Some(error.into()),
    }
}
