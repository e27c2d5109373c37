//! Requests about the cluster: namespaces, nodes, the version and permissions.

use http::{Method, Uri};
use serde_json::{Value, json};

use super::response::ApiResponse;
use super::server::{ApiServer, ClusterState};

impl ApiServer {
    /// Gives the namespace a label.
    pub fn label_namespace(&self, name: &str, value: &str) {
        self.lock().cluster.labels.insert(name.into(), value.into());
    }

    /// Adds a node that has these images.
    pub fn add_node(&self, name: &str, images: &[&str]) {
        let images = images.iter().map(|image| (*image).to_owned()).collect();
        self.lock().cluster.nodes.insert(name.into(), images);
    }

    /// Removes a permission: `create pods`, `get pods/log`, `list nodes`. Access reviews report it, and
    /// requests for nodes, namespaces, the API server's Service and `/api` are refused. For other requests see
    /// [`Fault::Forbidden`](super::Fault::Forbidden).
    pub fn forbid(&self, kind: &str) {
        self.lock().cluster.forbidden.insert(kind.into());
    }

    /// Sets whether every connection is cut.
    pub fn set_unreachable(&self, is_unreachable: bool) {
        self.lock().cluster.is_unreachable = is_unreachable;
    }

    /// Responds to a request about the cluster; `None` for any other path.
    pub(super) fn respond_about_cluster(
        &self,
        method: &Method,
        uri: &Uri,
        body: &Value,
    ) -> Option<ApiResponse> {
        if (method.as_str(), uri.path()) == ("GET", "/api/v1") {
            return Some(ApiResponse::ok(200, self.list_resources()));
        }
        let state = self.lock();
        let cluster = &state.cluster;
        let denied = |kind: &str| {
            let message = format!("User \"tester\" cannot {kind} at the cluster scope");
            cluster
                .forbidden
                .contains(kind)
                .then(|| ApiResponse::failure(403, "Forbidden", message))
        };
        let path = uri.path();
        match (method.as_str(), path) {
            // As an API server does whose clients reach it at its own address.
            ("GET", "/api") => Some(denied("get /api").unwrap_or_else(|| {
                let address = json!({"clientCIDR": "0.0.0.0/0", "serverAddress": "192.168.7.2:6443"});
                let versions = json!({
                    "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address],
                });
                ApiResponse::ok(200, versions)
            })),
            ("GET", "/api/v1/namespaces/default/services/kubernetes") => {
                Some(denied("get services").unwrap_or_else(|| {
                    let port = json!({"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443});
                    let service = json!({
                        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes"},
                        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [port]},
                    });
                    ApiResponse::ok(200, service)
                }))
            }
            ("GET", "/version") => Some(ApiResponse::ok(200, json!({"gitVersion": "v1.33.0"}))),
            ("GET", "/api/v1/namespaces") => Some(denied("list namespaces").unwrap_or_else(|| {
                let items = json!([self.describe_namespace(cluster)]);
                ApiResponse::ok(200, list_of("NamespaceList", items))
            })),
            ("GET", "/api/v1/nodes") => Some(denied("list nodes").unwrap_or_else(|| {
                let items: Vec<Value> = cluster.nodes.iter().map(describe_node).collect();
                ApiResponse::ok(200, list_of("NodeList", json!(items)))
            })),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
                let attributes = &body["spec"]["resourceAttributes"];
                let subresource = attributes["subresource"]
                    .as_str()
                    .map(|subresource| format!("/{subresource}"))
                    .unwrap_or_default();
                let text = |key: &str| attributes[key].as_str().unwrap_or_default().to_owned();
                let allowed = !cluster.forbidden.contains(&format!(
                    "{} {}{subresource}",
                    text("verb"),
                    text("resource")
                ));
                let mut review = body.clone();
                review["apiVersion"] = json!("authorization.k8s.io/v1");
                review["kind"] = json!("SelfSubjectAccessReview");
                review["status"] = json!({"allowed": allowed});
                Some(ApiResponse::ok(201, review))
            }
            ("GET", path) => {
                let name = path.strip_prefix("/api/v1/namespaces/")?;
                let exists = name == self.namespace();
                let not_found = || {
                    ApiResponse::failure(
                        404,
                        "NotFound",
                        format!("namespaces \"{name}\" not found"),
                    )
                };
                (!name.contains('/')).then(|| {
                    denied("get namespaces").unwrap_or_else(|| {
                        if exists {
                            ApiResponse::ok(200, self.describe_namespace(cluster))
                        } else {
                            not_found()
                        }
                    })
                })
            }
            _ => None,
        }
    }

    fn describe_namespace(&self, cluster: &ClusterState) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace(), "labels": cluster.labels},
        })
    }
}

fn list_of(kind: &str, items: Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {}, "items": items})
}

fn describe_node((name, images): (&String, &Vec<String>)) -> Value {
    let images: Vec<Value> = images
        .iter()
        .map(|image| json!({"names": [image], "sizeBytes": 1}))
        .collect();
    json!({"metadata": {"name": name}, "spec": {}, "status": {"images": images}})
}
