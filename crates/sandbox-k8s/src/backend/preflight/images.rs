//! Checks whether nodes have the images, as far as that is known before a Pod pulls them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::core::ObjectList;
use sandbox_core::Check;

use super::request::get;
use crate::backend::shared::Shared;
use crate::manifest::options::PullPolicy;

/// The number of nodes that are read. Each reports up to 50 images.
const MAX_NODES: usize = 100;
const UNKNOWN: &str = "not known before a Pod pulls it";

/// Returns one check for each image of a sandbox's Pod.
pub(super) async fn check_images(shared: &Shared, images: Vec<String>) -> Vec<Check> {
    let images: BTreeSet<String> = images.into_iter().collect();
    let url = format!("/api/v1/nodes?limit={MAX_NODES}");
    match get::<ObjectList<Node>>(shared, &url, "nodes").await {
        Ok(nodes) => {
            let never = shared.options.image_pull_policy == Some(PullPolicy::Never);
            images
                .iter()
                .map(|image| check_nodes(image, &nodes.items, never))
                .collect()
        }
        // Sandboxes do not need the permission to list nodes.
        Err(_) => {
            let detail = format!("{UNKNOWN}: the images of the nodes cannot be read (list nodes)");
            images
                .iter()
                .map(|image| Check::skipped(check_name(image), detail.clone()))
                .collect()
        }
    }
}

fn check_nodes(image: &str, nodes: &[Node], never: bool) -> Check {
    let full_name = full_name(image);
    let ready = || nodes.iter().filter(|node| !is_cordoned(node));
    let all = ready().count();
    let has = ready().filter(|node| has_image(node, &full_name)).count();
    match has {
        0 if never => Check::warning(
            check_name(image),
            format!("none of {all} nodes reports it, and the pull policy is Never"),
        )
        .with_remedy("load it into the nodes, or set SANDBOX_IMAGE_PULL_POLICY=IfNotPresent"),
        0 => Check::skipped(
            check_name(image),
            format!("{UNKNOWN}: none of {all} nodes reports it"),
        ),
        _ if has == all => Check::passed(check_name(image), format!("on each of {all} nodes")),
        _ if never => Check::warning(
            check_name(image),
            format!("on {has} of {all} nodes, and the pull policy is Never"),
        )
        .with_remedy("load it into the other nodes, or select nodes that have it"),
        _ => Check::passed(
            check_name(image),
            format!("on {has} of {all} nodes; the others pull it"),
        ),
    }
}

fn check_name(image: &str) -> String {
    format!("image {image}")
}

fn is_cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true))
}

fn has_image(node: &Node, full: &str) -> bool {
    let images = node
        .status
        .iter()
        .flat_map(|status| status.images.iter().flatten());
    images
        .flat_map(|image| image.names.iter().flatten())
        .any(|name| full_name(name) == full)
}

/// Returns the name with registry, repository and tag, as a container runtime completes it.
fn full_name(image: &str) -> String {
    let registry = image.split_once('/').map(|(first, _)| first);
    let named = registry.is_some_and(|first| first == "localhost" || first.contains(['.', ':']));
    let whole = match (named, registry) {
        (true, _) => image.to_owned(),
        (false, Some(_)) => format!("docker.io/{image}"),
        (false, None) => format!("docker.io/library/{image}"),
    };
    let last = whole.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) {
        whole
    } else {
        format!("{whole}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_as_by_a_runtime() {
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
            ("grafana/loki", "docker.io/grafana/loki:latest"),
            ("localhost/busybox:1", "localhost/busybox:1"),
            ("registry:5000/a/b", "registry:5000/a/b:latest"),
            ("ghcr.io/a/b@sha256:0f", "ghcr.io/a/b@sha256:0f"),
        ] {
            assert_eq!(full_name(short), full);
        }
    }
}
