//! Pools on a fake API server that fails: what waits is handed out only while it lives, and a cluster without room is
//! not flooded.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sandbox::{
    Access, Client, CreationReason, Deadline, Defaults, Error, OnEmpty, Pool, Result, Session,
    SessionSource, Uid,
};
use sandbox_core::MockSession;
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{Injection, KubernetesOptions};
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

/// A cluster of which a test is the kubelet, and sessions to its Pods that run.
#[derive(Clone)]
struct Cluster {
    server: ApiServer,
}

impl Cluster {
    fn new() -> Self {
        Self {
            server: ApiServer::new("boxes"),
        }
    }

    fn client(&self) -> Client {
        let mut options = KubernetesOptions::default();
        options.injection = Injection::baked();
        let api = kube::Client::new(self.server.clone(), "boxes");
        let backend = KubernetesBackend::new(api, options);
        let mut defaults = Defaults::default();
        defaults.image = Some("busybox".to_owned());
        Client::with_parts(Arc::new(backend), Arc::new(self.clone()), defaults)
    }

    /// Starts a pool of this size, whose takes fail if none waits.
    fn start_pool(&self, size: usize) -> Pool {
        let client = self.client();
        let builder = client.pool(client.sandbox()).size(size);
        builder.on_empty(OnEmpty::Fail).start().unwrap()
    }

    fn pods(&self) -> Vec<String> {
        let names = self.server.object_names();
        let pods = names.iter().filter_map(|name| name.strip_prefix("pods/"));
        pods.map(str::to_owned).collect()
    }

    fn runs(&self, pod: &str) -> bool {
        let pod = self.server.object("pods", pod).unwrap_or_default();
        !pod["status"]["containerStatuses"][0]["state"]["running"].is_null()
    }

    /// Starts every new Pod, for ever.
    fn start_kubelet(&self) {
        let cluster = self.clone();
        tokio::spawn(async move {
            loop {
                for pod in cluster.pods() {
                    let found = cluster.server.object("pods", &pod).unwrap_or_default();
                    let status = &found["status"];
                    if status["phase"] == "Pending" && status["containerStatuses"].is_null() {
                        cluster.server.run_pod(&pod);
                    }
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

#[async_trait::async_trait]
impl SessionSource for Cluster {
    async fn session(&self, access: Arc<Access>, deadline: Deadline) -> Result<Arc<dyn Session>> {
        let is_running = async {
            while !self.runs(access.id.as_str()) {
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        deadline.bound("connecting", is_running).await?;
        let mut session = MockSession::new();
        session.expect_create_dir().returning(|_, _| Ok(()));
        session.expect_upload().returning(|_, _| Ok(0));
        session.expect_start_ttl().returning(Ok);
        Ok(Arc::new(session))
    }

    async fn evict(&self, _: &Uid) {}
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ends_before_the_take_is_not_handed_out() {
    for round in 0..4 {
        let cluster = Cluster::new();
        cluster.start_kubelet();
        let pool = cluster.start_pool(4);
        pool.filled().await;
        let pods = cluster.pods();
        // All but one end, each in its way, and this client has not noticed any of it.
        for (index, pod) in pods.iter().enumerate().filter(|(index, _)| *index != round) {
            match (index + round) % 4 {
                0 => cluster.server.evict_pod(pod, "the node was low on memory"),
                1 => cluster.server.end_pod(pod, 137, "OOMKilled"),
                2 => drop(cluster.server.remove("pods", pod)),
                _ => cluster.server.update("pods", pod, |pod| {
                    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                    pod["status"]["containerStatuses"][0]["state"] =
                        json!({"terminated": {"exitCode": 143}});
                }),
            }
        }
        let sbx = pool.take().label("team", "ml").await.unwrap();
        assert_eq!(sbx.id().as_str(), pods[round], "round {round}");
        // The others are replaced.
        pool.filled().await;
        sleep(Duration::from_secs(60)).await;
        let alive = cluster
            .pods()
            .iter()
            .filter(|pod| cluster.runs(pod))
            .count();
        assert_eq!(alive, 5, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_during_the_take_is_not_handed_out() {
    let cluster = Cluster::new();
    cluster.start_kubelet();
    let pool = cluster.start_pool(2);
    pool.filled().await;
    let delay = Fault::Delay(Duration::from_millis(500));
    cluster.server.inject("patch pods", delay);
    let taking = async { pool.take().label("team", "ml").await };
    let deleting = async {
        cluster.server.wait_for_requests("patch pods", 1).await;
        let requests = cluster.server.requests();
        let patched = requests.iter().find(|request| request.verb == "patch");
        let deleted = patched.and_then(|request| request.name.clone()).unwrap();
        cluster.server.remove("pods", &deleted).unwrap();
        deleted
    };
    let (taken, deleted) = tokio::join!(taking, deleting);
    assert_ne!(taken.unwrap().id().as_str(), deleted);
}

#[tokio::test(start_paused = true)]
async fn a_take_needs_no_api_server_unless_it_writes() {
    let cluster = Cluster::new();
    cluster.start_kubelet();
    let pool = cluster.start_pool(2);
    pool.filled().await;
    for request in [
        "get pods",
        "list pods",
        "watch pods",
        "patch pods",
        "delete pods",
    ] {
        cluster.server.inject_always(request, Fault::CutBefore);
    }
    cluster.server.cut_watches();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(pool.status().waiting, 2, "an outage ends nothing");
    let begun = Instant::now();
    let sbx = pool.take().env("MODE", "ci").await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    // Labels cannot be written. The sandbox may have got them, so nobody else gets it.
    let error = timeout(Duration::from_secs(120), async {
        pool.take().label("team", "ml").await.unwrap_err()
    });
    let error = error.await.unwrap();
    assert!(error.is_retryable(), "{error}");

    cluster.server.clear_faults();
    pool.filled().await;
    sleep(Duration::from_secs(120)).await;
    assert!(cluster.runs(sbx.id().as_str()));
    // The taken one and the two that wait now.
    assert_eq!(cluster.pods().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_room_gets_one_pod_that_is_held() {
    for reason in ["Unschedulable", "SchedulingGated"] {
        let cluster = Cluster::new();
        let pool = cluster.start_pool(8);
        cluster.server.wait_for_requests("create pods", 1).await;
        sleep(Duration::from_millis(100)).await;
        let [pod] = &cluster.pods()[..] else { panic!() };
        cluster.server.update("pods", pod, |pod| {
            pod["status"] = json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes are available"},
            ]});
        });
        sleep(Duration::from_secs(1800)).await;
        assert_eq!(cluster.pods(), std::slice::from_ref(pod), "{reason}");
        assert_eq!(cluster.server.count_requests("create pods"), 1);
        let problem = pool.status().problem.unwrap();
        assert_eq!(
            (problem.reason, problem.failures),
            (Some(CreationReason::Unschedulable), 0)
        );
        let Err(Error::PoolEmpty { message, .. }) = pool.take().await else {
            panic!("none waits")
        };
        assert!(message.contains("0/3 nodes"), "{message}");

        // It is the one that starts when there is room, and the others follow.
        cluster.start_kubelet();
        pool.filled().await;
        assert_eq!(pool.status().problem, None);
        assert!(cluster.runs(pod));
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_below_the_size_is_reported_and_not_hammered() {
    let cluster = Cluster::new();
    cluster.start_kubelet();
    let message = "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0";
    let refusal = Fault::refuse(403, "Forbidden", message);
    cluster.server.inject_always("create pods", refusal);
    let pool = cluster.start_pool(20);
    sleep(Duration::from_secs(600)).await;
    let problem = pool.status().problem.unwrap();
    assert_eq!(problem.reason, Some(CreationReason::Quota));
    let requests = cluster.server.count_requests("create pods");
    assert!(requests <= 15, "{requests} in ten minutes");
    cluster.server.clear_faults();
    pool.filled().await;
    let leftover = |name: &&String| name.starts_with("secrets/");
    let secrets = cluster.server.object_names();
    assert_eq!(secrets.iter().filter(leftover).count(), 20);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_is_reported_and_not_hammered() {
    let cluster = Cluster::new();
    let pool = cluster.start_pool(20);
    let kubelet = cluster.clone();
    tokio::spawn(async move {
        loop {
            for pod in kubelet.pods() {
                kubelet.server.update("pods", &pod, |pod| {
                    pod["spec"]["nodeName"] = json!("node-1");
                    pod["status"] = json!({
                        "phase": "Pending",
                        "conditions": [{"type": "PodScheduled", "status": "True",
                                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                        "containerStatuses": [{
                            "name": "sandbox", "image": "", "imageID": "", "restartCount": 0, "ready": false,
                            "state": {"waiting": {"reason": "ErrImagePull",
                                "message": "rpc error: code = NotFound desc = busybox: not found"}},
                        }],
                    });
                });
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    sleep(Duration::from_secs(600)).await;
    let problem = pool.status().problem.unwrap();
    assert_eq!(problem.reason, Some(CreationReason::ImagePull));
    assert!(
        problem.message.contains("busybox: not found"),
        "{problem:?}"
    );
    let requests = cluster.server.count_requests("create pods");
    assert!(requests <= 15, "{requests} in ten minutes");
    assert!(cluster.pods().len() <= 1, "each failed one is deleted");
}
