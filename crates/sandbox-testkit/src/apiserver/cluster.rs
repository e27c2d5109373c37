//! What is not in the namespace: its labels, the nodes, the version, and who may do what.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, Uri};
use serde_json::{Value, json};

use super::ApiServer;
use super::answer::Answer;

#[derive(Default)]
pub(super) struct Cluster {
    labels: BTreeMap<String, String>,
    /// Each with the images that it has.
    nodes: BTreeMap<String, Vec<String>>,
    /// As `verb resource`.
    forbidden: BTreeSet<String>,
    pub(super) away: bool,
}

impl ApiServer {
    /// Gives the namespace a label.
    pub fn label_namespace(&self, name: &str, value: &str) {
        self.lock().cluster.labels.insert(name.into(), value.into());
    }

    /// A node that has these images.
    pub fn add_node(&self, name: &str, images: &[&str]) {
        let images = images.iter().map(|image| (*image).to_owned()).collect();
        self.lock().cluster.nodes.insert(name.into(), images);
    }

    /// Takes a right away: `create pods`, `get pods/log`, `list nodes`. It is told to those who ask
    /// for their rights, and holds for nodes and namespaces; for others see
    /// [`Fault::NoRight`](super::Fault::NoRight).
    pub fn forbid(&self, what: &str) {
        self.lock().cluster.forbidden.insert(what.into());
    }

    /// Cuts each connection, or none any more.
    pub fn away(&self, away: bool) {
        self.lock().cluster.away = away;
    }

    /// The answer to a question about the cluster; `None` for what it knows nothing of.
    pub(super) fn about_cluster(&self, method: &Method, uri: &Uri, body: &Value) -> Option<Answer> {
        let state = self.lock();
        let cluster = &state.cluster;
        let denied = |what: &str| {
            let message = format!("User \"tester\" cannot {what} at the cluster scope");
            cluster
                .forbidden
                .contains(what)
                .then(|| Answer::failure(403, "Forbidden", message))
        };
        let path = uri.path();
        match (method.as_str(), path) {
            ("GET", "/version") => Some(Answer::ok(200, json!({"gitVersion": "v1.33.0"}))),
            ("GET", "/api/v1/namespaces") => Some(denied("list namespaces").unwrap_or_else(|| {
                let items = json!([self.described(cluster)]);
                Answer::ok(200, list("NamespaceList", items))
            })),
            ("GET", "/api/v1/nodes") => Some(denied("list nodes").unwrap_or_else(|| {
                let items: Vec<Value> = cluster.nodes.iter().map(node).collect();
                Answer::ok(200, list("NodeList", json!(items)))
            })),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
                let asked = &body["spec"]["resourceAttributes"];
                let part = asked["subresource"]
                    .as_str()
                    .map(|part| format!("/{part}"))
                    .unwrap_or_default();
                let text = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
                let allowed = !cluster.forbidden.contains(&format!(
                    "{} {}{part}",
                    text("verb"),
                    text("resource")
                ));
                let mut review = body.clone();
                review["apiVersion"] = json!("authorization.k8s.io/v1");
                review["kind"] = json!("SelfSubjectAccessReview");
                review["status"] = json!({"allowed": allowed});
                Some(Answer::ok(201, review))
            }
            ("GET", path) => {
                let name = path.strip_prefix("/api/v1/namespaces/")?;
                let known = name == self.namespace();
                let absent =
                    || Answer::failure(404, "NotFound", format!("namespaces \"{name}\" not found"));
                (!name.contains('/')).then(|| {
                    denied("get namespaces").unwrap_or_else(|| match known {
                        true => Answer::ok(200, self.described(cluster)),
                        false => absent(),
                    })
                })
            }
            _ => None,
        }
    }

    fn described(&self, cluster: &Cluster) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace(), "labels": cluster.labels},
        })
    }
}

fn list(kind: &str, items: Value) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {}, "items": items})
}

fn node((name, images): (&String, &Vec<String>)) -> Value {
    let images: Vec<Value> = images
        .iter()
        .map(|image| json!({"names": [image], "sizeBytes": 1}))
        .collect();
    json!({"metadata": {"name": name}, "spec": {}, "status": {"images": images}})
}
