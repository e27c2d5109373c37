//! Pools that processes share, on a fake API server that fails: fillers and claimers, each a client of its own, and
//! servers that obey one key.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::{
    Access, Client, ConnectionStage, CreationReason, Deadline, Defaults, Error, OnEmpty, PublicKey,
    Result, Sandbox, SandboxEventKind, Session, SessionSource, SharedPool, Uid,
};
use sandbox_core::MockSession;
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{Injection, KubernetesOptions};
use sandbox_testkit::apiserver::{ApiServer, Fault, PodResize};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A cluster of which a test is the kubelet, and the servers of its Pods.
#[derive(Clone)]
struct Cluster {
    server: ApiServer,
    servers: Arc<Mutex<HashMap<Uid, Server>>>,
}

/// What a server obeys.
struct Server {
    key: PublicKey,
    was_claimed: bool,
}

impl Cluster {
    fn new() -> Self {
        Self {
            server: ApiServer::new("boxes"),
            servers: Arc::default(),
        }
    }

    /// A client of its own, as another process.
    fn client(&self) -> Client {
        let mut options = KubernetesOptions::default();
        options.injection = Injection::baked();
        let api = kube::Client::new(self.server.clone(), "boxes");
        let backend = KubernetesBackend::new(api, options);
        let mut defaults = Defaults::default();
        defaults.image = Some("busybox".to_owned());
        Client::with_parts(Arc::new(backend), Arc::new(self.clone()), defaults)
    }

    async fn fill(&self, size: usize) -> SharedPool {
        let client = self.client();
        let pool = client.shared_pool("ci", client.sandbox()).size(size);
        pool.start().await.unwrap()
    }

    async fn filled(&self, size: usize) -> SharedPool {
        let filler = self.fill(size).await;
        filler.filled().await;
        filler
    }

    fn pods(&self) -> Vec<String> {
        let names = self.server.object_names();
        let pods = names.iter().filter_map(|name| name.strip_prefix("pods/"));
        pods.map(str::to_owned).collect()
    }

    /// The Pods with this state in their label.
    fn pods_in(&self, state: &str) -> Vec<String> {
        let is_in = |name: &String| {
            let pod = self.server.object("pods", name).unwrap_or_default();
            pod["metadata"]["labels"]["sandbox.dev/pool-state"] == state
        };
        self.pods().into_iter().filter(is_in).collect()
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
        let key = access.client_key.public_key()?;
        let mut servers = self.servers.lock().unwrap();
        // The first key is that of the Secret, because no other client knows of the sandbox yet.
        let server = servers.entry(access.uid.clone()).or_insert_with(|| Server {
            key: key.clone(),
            was_claimed: false,
        });
        if server.key != key {
            let message = "not authorized";
            return Err(Error::connection(ConnectionStage::Auth, message, None));
        }
        let (servers, uid) = (Arc::clone(&self.servers), access.uid.clone());
        let mut session = MockSession::new();
        session.expect_claim().returning(move |request| {
            let mut servers = servers.lock().unwrap();
            let server = servers.get_mut(&uid).unwrap();
            if std::mem::replace(&mut server.was_claimed, true) {
                return Ok(false);
            }
            server.key = request.authorized;
            Ok(true)
        });
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
async fn a_pool_is_filled_claimed_and_refilled() {
    let cluster = Cluster::new();
    cluster.start_kubelet();
    let filler = cluster.filled(3).await;
    assert_eq!(cluster.pods_in("waiting").len(), 3);
    let client = cluster.client();
    let sbx = client.sandbox().from_pool("ci").label("job", "42").create();
    let sbx = sbx.await.unwrap();
    let pod = cluster.server.object("pods", sbx.id().as_str()).unwrap();
    assert_eq!(pod["metadata"]["labels"]["job"], "42");
    assert_eq!(pod["metadata"]["labels"]["sandbox.dev/pool-state"], "taken");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.pods_in("waiting").len(), 3);
    assert_eq!((filler.status().claimed, cluster.pods().len()), (1, 4));

    // A detached one is used by another process, with the key that is stored for it.
    let claim = client.sandbox().from_pool("ci").detached().create();
    let detached = claim.await.unwrap();
    cluster.client().connect(detached.id()).await.unwrap();
    sleep(Duration::from_secs(5)).await;

    filler.stop().await;
    let name = "ci".parse().unwrap();
    assert_eq!(client.remove_pool(&name).await.unwrap(), Some(3));
    for sbx in [sbx, detached] {
        sbx.delete().await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.server.object_names(), [""; 0], "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn many_clients_claim_under_faults_and_none_gets_what_another_has() {
    for fault in [
        Fault::CutAfter,
        Fault::CutBefore,
        Fault::lost_response(),
        Fault::too_many_requests(1),
        Fault::DelayResponse(Duration::from_millis(300)),
    ] {
        let cluster = Cluster::new();
        cluster.start_kubelet();
        let filler = cluster.filled(4).await;
        let name = format!("{fault:?}");
        cluster.server.inject_times("patch pods", 6, fault);
        let mut claims = JoinSet::new();
        for _ in 0..8 {
            let client = cluster.client();
            claims.spawn(async move {
                // As a caller who tries again, with the same program.
                for _ in 0..8 {
                    let claim = client.sandbox().from_pool("ci").create();
                    match timeout(Duration::from_secs(300), claim).await {
                        Ok(Ok(sbx)) => return (client, sbx),
                        Ok(Err(error)) => assert!(error.is_retryable(), "{error}"),
                        Err(_elapsed) => {}
                    }
                }
                panic!("no claim succeeded");
            });
        }
        let claimed: Vec<(Client, Sandbox)> = claims.join_all().await;
        let uids: HashSet<_> = claimed.iter().map(|(_, sbx)| sbx.uid().clone()).collect();
        assert_eq!(uids.len(), 8, "{name}");
        // What was claimed without a response is deleted, and the pool is as large as before.
        sleep(Duration::from_secs(300)).await;
        assert_eq!(cluster.pods_in("taken").len(), 8, "{name}");
        assert_eq!(cluster.pods_in("waiting").len(), 4, "{name}");
        assert_eq!(cluster.pods().len(), 12, "{name}");
        filler.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_filler_adopts_and_a_changed_pool_drains() {
    let cluster = Cluster::new();
    cluster.start_kubelet();
    let first = cluster.filled(4).await;
    let before = cluster.pods();
    let second = cluster.fill(4).await;
    sleep(Duration::from_secs(30)).await;
    assert!(first.status().is_leading && !second.status().is_leading);
    first.stop().await;
    second.filled().await;
    assert_eq!(cluster.pods(), before, "all were adopted");

    let client = cluster.client();
    let sbx = client.sandbox().from_pool("ci").create().await.unwrap();
    second.stop().await;
    let sandboxes = client.sandbox().image("other:2");
    let changed = client.shared_pool("ci", sandboxes).size(2);
    let third = changed.start().await.unwrap();
    third.filled().await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.pods_in("waiting").len(), 2);
    assert_eq!(cluster.pods().len(), 3);
    assert!(cluster.runs(sbx.id().as_str()), "what was taken stays");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_api_server_ends_nothing_that_waits() {
    let cluster = Cluster::new();
    cluster.start_kubelet();
    let filler = cluster.filled(3).await;
    let before = cluster.pods();
    for verb in ["get", "list", "watch", "patch", "delete", "create"] {
        for resource in ["pods", "leases", "secrets"] {
            let request = format!("{verb} {resource}");
            cluster.server.inject_always(&request, Fault::CutBefore);
        }
    }
    cluster.server.cut_watches();
    // Longer than the Lease lasts: the filler offers nothing any more, and keeps nothing.
    sleep(Duration::from_secs(60)).await;
    assert!(!filler.status().is_leading);
    cluster.server.clear_faults();
    filler.filled().await;
    assert_eq!(
        cluster.pods(),
        before,
        "it was elected again, and has adopted all"
    );
    let claim = cluster.client().sandbox().from_pool("ci").create().await;
    claim.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_room_gets_one_pod_that_is_held() {
    let cluster = Cluster::new();
    let filler = cluster.fill(8).await;
    cluster.server.wait_for_requests("create pods", 1).await;
    sleep(Duration::from_millis(100)).await;
    let [pod] = &cluster.pods()[..] else { panic!() };
    cluster.server.update("pods", pod, |pod| {
        pod["status"] = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"},
        ]});
    });
    sleep(Duration::from_secs(1200)).await;
    assert_eq!(cluster.pods(), std::slice::from_ref(pod));
    let problem = filler.status().problem.unwrap();
    assert_eq!(problem.reason, Some(CreationReason::Unschedulable));
    let claim = cluster
        .client()
        .sandbox()
        .from_pool("ci")
        .on_empty(OnEmpty::Fail);
    assert!(matches!(claim.create().await, Err(Error::PoolEmpty { .. })));
    cluster.start_kubelet();
    filler.filled().await;
    assert!(cluster.runs(pod));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ends_while_it_waits_is_replaced_and_never_claimed() {
    let cluster = Cluster::new();
    cluster.start_kubelet();
    let filler = cluster.filled(4).await;
    let pods = cluster.pods();
    cluster
        .server
        .evict_pod(&pods[0], "the node was low on memory");
    cluster.server.end_pod(&pods[1], 137, "OOMKilled");
    cluster.server.remove("pods", &pods[2]);
    let client = cluster.client();
    let claim = client.sandbox().from_pool("ci").create().await.unwrap();
    assert_eq!(claim.id().as_str(), pods[3]);
    sleep(Duration::from_secs(60)).await;
    filler.filled().await;
    assert_eq!(cluster.pods_in("waiting").len(), 4);
    assert_eq!(cluster.pods().len(), 5);
}

/// Claims a sandbox with 2 CPUs and 4 GiB from a pool of small ones. Returns it with the kinds of its events.
async fn claim_large(cluster: &Cluster) -> (Result<Sandbox>, Vec<SandboxEventKind>) {
    let events: Arc<Mutex<Vec<SandboxEventKind>>> = Arc::default();
    let seen = Arc::clone(&events);
    let client = cluster.client();
    let large = client.sandbox().cpu("2").memory("4Gi").from_pool("ci");
    let large = large.on_event(move |event| seen.lock().unwrap().push(event.kind));
    let claimed = large.create().await;
    let events = events.lock().unwrap().clone();
    (claimed, events)
}

#[tokio::test(start_paused = true)]
async fn a_small_sandbox_gets_the_size_that_a_claim_asks_for() {
    use SandboxEventKind::{Ready, ResizePending};
    let cluster = Cluster::new();
    cluster.start_kubelet();
    let client = cluster.client();
    let small = client.sandbox().cpu("100m").memory("64Mi");
    let filler = client.shared_pool("ci", small).size(2);
    let filler = filler.start().await.unwrap();
    filler.filled().await;

    let error = claim_large(&cluster).await.0.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("1.35"), "{error}");
    assert_eq!(cluster.pods_in("waiting").len(), 2, "nothing was claimed");

    for (handling, expected) in [
        (PodResize::Applied, vec![Ready]),
        (PodResize::Deferred, vec![ResizePending, Ready]),
        (PodResize::Ignored, vec![ResizePending, Ready]),
    ] {
        cluster.server.set_pod_resize(handling);
        let (claimed, events) = claim_large(&cluster).await;
        let sbx = claimed.unwrap();
        assert_eq!(events, expected, "{handling:?}");
        let pod = cluster.server.object("pods", sbx.id().as_str()).unwrap();
        let wanted = json!({"cpu": "2", "memory": "4Gi"});
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(*resources, json!({"limits": wanted, "requests": wanted}));
        let info = sbx.info();
        let limits = &info.limits;
        assert!(limits.iter().any(|limit| limit.value == "4Gi"), "{info:?}");
        filler.filled().await;
    }

    cluster.server.set_pod_resize(PodResize::Infeasible);
    let (taken, pods) = (cluster.pods_in("taken").len(), cluster.pods().len());
    let Err(Error::Creation(error)) = claim_large(&cluster).await.0 else {
        panic!("its node is too small");
    };
    assert_eq!(error.reason, CreationReason::Unschedulable, "{error}");
    assert!(error.message.contains("enough capacity"), "{error}");
    filler.filled().await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.pods_in("taken").len(), taken, "it is deleted");
    assert_eq!(cluster.pods().len(), pods);

    // A missing permission is named.
    cluster.server.set_pod_resize(PodResize::Applied);
    cluster
        .server
        .inject_always("patch pods/resize", Fault::Forbidden);
    let error = claim_large(&cluster).await.0.unwrap_err().to_string();
    assert!(error.contains("pods/resize"), "{error}");
    filler.stop().await;
}
