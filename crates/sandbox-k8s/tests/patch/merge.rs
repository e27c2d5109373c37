//! The patch of one sandbox is merged with that of the backend.

use sandbox_k8s::options::PodOptions;
use serde_json::json;

use crate::{build, options};

#[test]
fn the_patch_of_one_sandbox_is_applied_after_that_of_the_backend() {
    let mut all = options();
    all.pod = PodOptions::new().node_selector("disk", "ssd").patch(json!({"spec": {
        "hostname": "all", "subdomain": "boxes",
        "containers": [{"name": "sandbox", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}],
    }}));
    let own = PodOptions::new().patch(json!({"spec": {
        "hostname": "own", "subdomain": null, "nodeSelector": null,
        "containers": [{"name": "sandbox", "env": [{"name": "B", "value": "2"}]}],
    }}));
    let spec = build(&own, &all).unwrap().spec.unwrap();
    assert_eq!(
        (spec.hostname.as_deref(), spec.subdomain, spec.node_selector),
        (Some("own"), None, None)
    );
    let variables = spec.containers[0].env.as_ref().unwrap().iter();
    let values: Vec<_> = variables
        .filter_map(|variable| variable.value.as_deref())
        .collect();
    assert_eq!(values, ["1", "2"]);
    // The second patch is validated like the first.
    let own = PodOptions::new().patch(json!({"spec": {"hostPID": true}}));
    assert!(build(&own, &all).is_err());
}
