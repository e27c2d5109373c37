//! A request for a new sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::failure::ApiResult;
use super::super::network::{EgressFields, is_set};
use crate::api_error::ApiError;
use crate::sandboxes::record::{EgressWish, Lifecycle, Network, OnTimeout};

/// The body, as both generations of the API have it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NewSandbox {
    #[serde(rename = "templateID")]
    pub(super) template_id: Option<String>,
    timeout: Option<i64>,
    #[serde(rename = "autoPause")]
    auto_pause: Option<bool>,
    #[serde(rename = "autoPauseMemory")]
    auto_pause_memory: Option<bool>,
    #[serde(rename = "autoResume")]
    auto_resume: Option<AutoResume>,
    allow_internet_access: Option<bool>,
    network: Option<NetworkRequest>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    #[serde(rename = "envVars")]
    pub(super) env_vars: Option<BTreeMap<String, String>>,
    iam: Option<Value>,
    #[serde(rename = "volumeMounts")]
    volume_mounts: Option<Vec<Value>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct AutoResume {
    enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NetworkRequest {
    #[serde(rename = "allowPublicTraffic")]
    allow_public_traffic: Option<bool>,
    #[serde(rename = "maskRequestHost")]
    mask_request_host: Option<String>,
    #[serde(flatten)]
    egress: EgressFields,
}

/// The longest host that requests can be given.
const MAX_HOST: usize = 253;

impl NewSandbox {
    /// How long the sandbox lasts, unless its template says.
    pub(super) fn timeout(&self) -> ApiResult<Option<Duration>> {
        self.timeout
            .map(|seconds| super::super::one::positive("timeout", seconds))
            .transpose()
    }

    /// What happens at its end.
    pub(super) fn lifecycle(&self) -> Lifecycle {
        Lifecycle {
            on_timeout: if self.auto_pause == Some(true) {
                OnTimeout::Pause
            } else {
                OnTimeout::Kill
            },
            auto_resume: self.auto_resume.unwrap_or_default().enabled,
        }
    }

    /// Who may reach its ports.
    pub(super) fn network(&self) -> Network {
        let network = self.network.as_ref();
        Network {
            allow_public_traffic: network.and_then(|network| network.allow_public_traffic),
            mask_request_host: network.and_then(|network| network.mask_request_host.clone()),
        }
    }

    /// What it is to reach, of what its template allows.
    pub(super) fn egress(&self) -> EgressWish {
        let fields = self.network.as_ref().map(|network| &network.egress);
        fields
            .map(|fields| fields.wish(self.allow_internet_access))
            .unwrap_or_else(|| EgressFields::default().wish(self.allow_internet_access))
    }

    /// Refuses what is asked for and cannot be kept.
    pub(super) fn check(&self) -> ApiResult<()> {
        let refuse = |field: &str, why: &str| {
            Err(ApiError::bad_request(format!(
                "{field} is not supported by this server: {why}; leave it out"
            )))
        };
        if self.auto_pause_memory == Some(false) {
            return refuse("autoPauseMemory: false", "a pause keeps the memory");
        }
        if self.iam.as_ref().is_some_and(is_set) {
            return refuse("iam", "it issues no tokens of other services");
        }
        if self
            .volume_mounts
            .as_ref()
            .is_some_and(|mounts| !mounts.is_empty())
        {
            return refuse("volumeMounts", "it has no volumes");
        }
        if let Some(network) = &self.network {
            network.egress.check()?;
            let is_host = |host: &str| {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:${}".contains(&byte);
                (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(allowed)
            };
            if network
                .mask_request_host
                .as_deref()
                .is_some_and(|host| !is_host(host))
            {
                return Err(ApiError::bad_request(
                    "network.maskRequestHost is no host, such as localhost:${PORT}",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: Value) -> NewSandbox {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_both_sdks_send_is_understood() {
        let python = parse(json!({
            "templateID": "base", "timeout": 300, "autoPause": true, "autoResume": {"enabled": true}, "secure": true,
            "allow_internet_access": true, "metadata": {}, "envVars": {"A": "1"}, "mcp": {"x": {}},
            "network": {"allowPublicTraffic": false, "maskRequestHost": "localhost:${PORT}", "allowOut": [], "egressProxy": null},
        }));
        python.check().unwrap();
        assert!(!python.egress().is_narrowing());
        let offline =
            parse(json!({"allow_internet_access": false, "network": {"allowOut": ["a.example"]}}));
        offline.check().unwrap();
        assert_eq!(offline.egress().allow_internet_access, Some(false));
        assert_eq!(
            offline.egress().allow_out.as_deref(),
            Some(&["a.example".to_owned()][..])
        );
        assert_eq!(
            python.lifecycle(),
            Lifecycle {
                on_timeout: OnTimeout::Pause,
                auto_resume: true
            }
        );
        assert_eq!(python.network().allow_public_traffic, Some(false));
        assert_eq!(python.timeout().unwrap(), Some(Duration::from_secs(300)));
        let least = parse(json!({}));
        least.check().unwrap();
        assert_eq!(
            (least.lifecycle(), least.network()),
            (Lifecycle::default(), Network::default())
        );
    }

    #[test]
    fn what_cannot_be_enforced_is_refused_by_name() {
        for (field, body) in [
            ("autoPauseMemory", json!({"autoPauseMemory": false})),
            ("iam", json!({"iam": {"tokens": {}}})),
            (
                "volumeMounts",
                json!({"volumeMounts": [{"name": "n", "path": "/p"}]}),
            ),
            (
                "network.egressProxy",
                json!({"network": {"egressProxy": {"address": "a:1"}}}),
            ),
            (
                "network.dnsServers",
                json!({"network": {"dnsServers": ["1.1.1.1"]}}),
            ),
            ("network.rules", json!({"network": {"rules": {"h": []}}})),
            (
                "network.maskRequestHost",
                json!({"network": {"maskRequestHost": "a b\r\nx: y"}}),
            ),
        ] {
            let refused = format!("{:?}", parse(body).check().unwrap_err());
            assert!(
                refused.contains(field) && refused.contains("400"),
                "{refused}"
            );
        }
        for timeout in [0, -1] {
            assert!(parse(json!({"timeout": timeout})).timeout().is_err());
        }
    }
}
