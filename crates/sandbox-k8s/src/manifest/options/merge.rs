//! Merges the options of one sandbox over those of its client.

use std::collections::BTreeMap;

use super::kubernetes::KubernetesOptions;
use super::pod_options::PodOptions;

impl PodOptions {
    /// Merges these over the client's. The patches are not merged, because both are applied.
    pub(crate) fn merge_over(&self, client: &KubernetesOptions) -> Self {
        let (own, all) = (self.clone(), client.pod.clone());
        let secrets = client
            .image_pull_secrets
            .iter()
            .cloned()
            .chain(all.image_pull_secrets);
        Self {
            service_account_name: own.service_account_name.or(all.service_account_name),
            runtime_class_name: own.runtime_class_name.or(all.runtime_class_name),
            priority_class_name: own.priority_class_name.or(all.priority_class_name),
            node_selector: merge_maps(all.node_selector, own.node_selector),
            tolerations: union(all.tolerations, own.tolerations),
            host_aliases: merge_named(all.host_aliases, own.host_aliases, |alias| &alias.ip),
            requests: merge_maps(all.requests, own.requests),
            extended_resources: merge_maps(all.extended_resources, own.extended_resources),
            volumes: merge_named(all.volumes, own.volumes, |volume| &volume.name),
            annotations: merge_maps(all.annotations, own.annotations),
            image_pull_secrets: union(union(Vec::new(), secrets), own.image_pull_secrets),
            image_pull_policy: own
                .image_pull_policy
                .or(all.image_pull_policy)
                .or(client.image_pull_policy),
            security_profile: own
                .security_profile
                .or(all.security_profile)
                .or_else(|| Some(client.security.clone())),
            run_as_user: own.run_as_user.or(all.run_as_user).or(client.run_as),
            patch: None,
        }
    }
}

fn merge_maps(
    mut all: BTreeMap<String, String>,
    own: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    all.extend(own);
    all
}

/// Joins two lists in their order, without duplicates.
fn union<T: PartialEq>(mut all: Vec<T>, own: impl IntoIterator<Item = T>) -> Vec<T> {
    for one in own {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

/// Joins two lists; of two elements with one name, that of the sandbox wins. Two of the sandbox with one
/// name both remain, because that is a mistake to report.
fn merge_named<T>(mut all: Vec<T>, own: Vec<T>, name: impl Fn(&T) -> &String) -> Vec<T> {
    all.retain(|one| !own.iter().any(|other| name(other) == name(one)));
    all.extend(own);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::options::{PodVolume, PullPolicy, SecurityProfile, VolumeSource};

    #[test]
    fn options_of_a_sandbox_win_over_those_of_its_client() {
        let pod = PodOptions::new()
            .runtime_class("gvisor")
            .node_selector("disk", "ssd")
            .node_selector("zone", "a")
            .tolerate("gpu")
            .host_alias("10.0.0.5", ["old"])
            .image_pull_secret("b")
            .volume(PodVolume::new("data", "/old", VolumeSource::EmptyDir(None)))
            .volume(PodVolume::new(
                "more",
                "/more",
                VolumeSource::EmptyDir(None),
            ));
        let client = KubernetesOptions {
            image_pull_secrets: vec!["a".into()],
            image_pull_policy: Some(PullPolicy::Always),
            pod,
            ..KubernetesOptions::default()
        };
        let own = PodOptions::new()
            .node_selector("zone", "b")
            .tolerate("gpu")
            .tolerate("spot")
            .host_alias("10.0.0.5", ["new"])
            .image_pull_secret("a")
            .image_pull_secret("c")
            .run_as_user(7)
            .security_profile(SecurityProfile::Baseline)
            .volume(PodVolume::new("data", "/new", VolumeSource::EmptyDir(None)));
        let both = own.merge_over(&client);
        assert_eq!(both.runtime_class_name.as_deref(), Some("gvisor"));
        assert_eq!(
            both.node_selector.values().collect::<Vec<_>>(),
            ["ssd", "b"]
        );
        assert_eq!(both.tolerations.len(), 2);
        assert_eq!(
            both.host_aliases[0].hostnames.as_deref(),
            Some(["new".to_owned()].as_slice())
        );
        assert_eq!(both.image_pull_secrets, ["a", "b", "c"]);
        assert_eq!(
            (both.image_pull_policy, both.run_as_user),
            (Some(PullPolicy::Always), Some(7))
        );
        assert_eq!(both.security_profile, Some(SecurityProfile::Baseline));
        let places: Vec<_> = both
            .volumes
            .iter()
            .map(|volume| volume.mount_path.as_str())
            .collect();
        assert_eq!(places, ["/more", "/new"]);
        let none = PodOptions::new().merge_over(&client);
        assert_eq!(
            (none.run_as_user, none.security_profile),
            (Some(1000), Some(SecurityProfile::Restricted))
        );
    }
}
