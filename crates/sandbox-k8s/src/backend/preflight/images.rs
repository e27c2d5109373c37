//! Whether the images are there: what can be known before a Pod pulls one.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::core::ObjectList;
use sandbox_core::Check;

use super::request::get;
use crate::backend::shared::Shared;
use crate::manifest::options::PullPolicy;

/// Machines that are looked at: each tells of up to 50 images.
const MACHINES: usize = 100;
const NOT_KNOWN: &str = "not known before a Pod pulls it";

/// One check for each image of a sandbox's Pod.
pub(super) async fn images(shared: &Shared, images: Vec<String>) -> Vec<Check> {
    let images: BTreeSet<String> = images.into_iter().collect();
    let url = format!("/api/v1/nodes?limit={MACHINES}");
    match get::<ObjectList<Node>>(shared, &url, "nodes").await {
        Ok(nodes) => {
            let never = shared.options.image_pull_policy == Some(PullPolicy::Never);
            images
                .iter()
                .map(|image| on_machines(image, &nodes.items, never))
                .collect()
        }
        // No right that sandboxes need.
        Err(_) => {
            let why =
                format!("{NOT_KNOWN}: which images the nodes have cannot be read (list nodes)");
            images
                .iter()
                .map(|image| Check::skipped(name(image), why.clone()))
                .collect()
        }
    }
}

fn on_machines(image: &str, nodes: &[Node], never: bool) -> Check {
    let wanted = whole_name(image);
    let ready = || nodes.iter().filter(|node| !cordoned(node));
    let (all, has) = (
        ready().count(),
        ready().filter(|node| lists(node, &wanted)).count(),
    );
    match has {
        0 if never => Check::warning(
            name(image),
            format!("none of {all} nodes tells of it, and it is never pulled"),
        )
        .with_remedy("load it into the nodes, or set SANDBOX_IMAGE_PULL_POLICY=IfNotPresent"),
        0 => Check::skipped(
            name(image),
            format!("{NOT_KNOWN}: none of {all} nodes tells of it"),
        ),
        _ if has == all => Check::passed(name(image), format!("on each of {all} nodes")),
        _ if never => Check::warning(
            name(image),
            format!("on {has} of {all} nodes, and it is never pulled"),
        )
        .with_remedy("load it into the other nodes, or choose nodes that have it"),
        _ => Check::passed(
            name(image),
            format!("on {has} of {all} nodes; the others pull it"),
        ),
    }
}

fn name(image: &str) -> String {
    format!("image {image}")
}

fn cordoned(node: &Node) -> bool {
    node.spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true))
}

fn lists(node: &Node, wanted: &str) -> bool {
    let images = node
        .status
        .iter()
        .flat_map(|status| status.images.iter().flatten());
    images
        .flat_map(|image| image.names.iter().flatten())
        .any(|name| whole_name(name) == wanted)
}

/// With the registry, the repository and the tag that a short name means.
fn whole_name(image: &str) -> String {
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
    fn a_short_name_means_what_a_runtime_makes_of_it() {
        for (short, whole) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
            ("grafana/loki", "docker.io/grafana/loki:latest"),
            ("localhost/busybox:1", "localhost/busybox:1"),
            ("registry:5000/a/b", "registry:5000/a/b:latest"),
            ("ghcr.io/a/b@sha256:0f", "ghcr.io/a/b@sha256:0f"),
        ] {
            assert_eq!(whole_name(short), whole);
        }
    }
}
