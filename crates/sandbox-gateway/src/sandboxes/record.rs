//! What a gateway has recorded about a sandbox that it created.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sandbox::SandboxInfo;
use serde::{Deserialize, Serialize};

/// What a gateway has recorded about a sandbox that it created. It is kept in the sandbox's annotations, so that every
/// replica can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The name of the template.
    pub(crate) template: String,
    /// The name of the key that created it, and that alone may use it.
    pub(crate) owner: String,
    /// What the caller wants to find it by.
    pub(crate) metadata: BTreeMap<String, String>,
    /// What happens at its end.
    pub(crate) lifecycle: Lifecycle,
    /// Who may reach its ports.
    pub(crate) network: Network,
    /// What the caller wants it to reach, of what its template allows.
    pub(crate) egress: EgressWish,
    /// When it was handed out.
    pub(crate) started_at: Option<SystemTime>,
    /// The request that created it, as a hash, if the request can be repeated.
    pub(crate) request: Option<String>,
}

/// What happens at the end of a sandbox's timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Lifecycle {
    /// What the timeout does.
    pub(crate) on_timeout: OnTimeout,
    /// Whether traffic resumes a paused sandbox.
    pub(crate) auto_resume: bool,
}

/// What the end of the timeout does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnTimeout {
    /// It ends the sandbox.
    #[default]
    Kill,
    /// It pauses the sandbox.
    Pause,
}

/// Who may reach a sandbox's ports, and how requests to them look.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Network {
    /// Whether its ports can be reached without a token. `None` is as the caller left it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_public_traffic: Option<bool>,
    /// What the Host header of requests to its ports is replaced by; `${PORT}` stands for the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mask_request_host: Option<String>,
}

/// What a sandbox is to reach, of what its template allows, as E2B's API has it. Without any field, all of that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EgressWish {
    /// `false` denies everything that `allow_out` does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_internet_access: Option<bool>,
    /// Hosts, addresses and networks that are allowed although everything is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_out: Option<Vec<String>>,
    /// Hosts, addresses and networks that are denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deny_out: Option<Vec<String>>,
    /// Grows with each update, so that an old record does not replace a newer one.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) version: u64,
}

impl EgressWish {
    /// Whether it asks for anything less than the template allows.
    pub(crate) fn is_narrowing(&self) -> bool {
        let is_set =
            |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        self.allow_internet_access == Some(false)
            || is_set(&self.allow_out)
            || is_set(&self.deny_out)
    }

    /// Writes it as an annotation.
    pub(crate) fn to_annotation(&self) -> serde_json::Result<(&'static str, String)> {
        Ok((EGRESS, serde_json::to_string(self)?))
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The keys of the record in the annotations.
const TEMPLATE: &str = "gateway/template";
const OWNER: &str = "gateway/owner";
const METADATA: &str = "gateway/metadata";
const LIFECYCLE: &str = "gateway/lifecycle";
const NETWORK: &str = "gateway/network";
const EGRESS: &str = "gateway/egress";
const STARTED: &str = "gateway/started";
const REQUEST: &str = "gateway/request";

impl Record {
    /// Reads the record of a sandbox. `None` if it has none that can be understood.
    pub(crate) fn of(info: &SandboxInfo) -> Option<Self> {
        Self::parse(&info.annotations)
    }

    fn parse(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| annotations.get(key).cloned();
        fn json<T: Default + for<'de> Deserialize<'de>>(text: Option<&String>) -> Option<T> {
            match text {
                Some(text) => serde_json::from_str(text).ok(),
                None => Some(T::default()),
            }
        }
        Some(Self {
            template: text(TEMPLATE)?,
            owner: text(OWNER)?,
            metadata: json(annotations.get(METADATA))?,
            lifecycle: json(annotations.get(LIFECYCLE))?,
            network: json(annotations.get(NETWORK))?,
            egress: json(annotations.get(EGRESS))?,
            started_at: match annotations.get(STARTED) {
                Some(text) => Some(
                    UNIX_EPOCH
                        + Duration::from_micros(
                            text.parse().ok().filter(|micros| *micros < YEAR_9999)?,
                        ),
                ),
                None => None,
            },
            request: text(REQUEST),
        })
    }

    /// Writes the record as annotations.
    pub(crate) fn to_annotations(&self) -> serde_json::Result<BTreeMap<String, String>> {
        let mut annotations = BTreeMap::from([
            (TEMPLATE.to_owned(), self.template.clone()),
            (OWNER.to_owned(), self.owner.clone()),
            (METADATA.to_owned(), serde_json::to_string(&self.metadata)?),
            (
                LIFECYCLE.to_owned(),
                serde_json::to_string(&self.lifecycle)?,
            ),
            (NETWORK.to_owned(), serde_json::to_string(&self.network)?),
        ]);
        if self.egress != EgressWish::default() {
            let (key, text) = self.egress.to_annotation()?;
            annotations.insert(key.to_owned(), text);
        }
        if let Some(started_at) = self.started_at {
            let since = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
            annotations.insert(STARTED.to_owned(), since.as_micros().to_string());
        }
        if let Some(request) = &self.request {
            annotations.insert(REQUEST.to_owned(), request.clone());
        }
        Ok(annotations)
    }
}

/// Microseconds from 1970 to a time that no sandbox has started at; later ones are none.
const YEAR_9999: u64 = 253_402_300_799_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_written() {
        let record = Record {
            template: "base".to_owned(),
            owner: "ci".to_owned(),
            metadata: BTreeMap::from([("a b".to_owned(), "c&d".to_owned())]),
            lifecycle: Lifecycle {
                on_timeout: OnTimeout::Pause,
                auto_resume: true,
            },
            network: Network {
                allow_public_traffic: Some(false),
                mask_request_host: None,
            },
            egress: EgressWish {
                allow_internet_access: Some(false),
                allow_out: Some(vec!["example.com".to_owned()]),
                deny_out: None,
                version: 7,
            },
            started_at: Some(UNIX_EPOCH + Duration::from_micros(1_790_000_000_123_456)),
            request: Some("hash".to_owned()),
        };
        let written = record.to_annotations().unwrap();
        assert_eq!(Record::parse(&written), Some(record));
    }

    #[test]
    fn a_record_that_others_have_changed_is_none() {
        assert_eq!(Record::parse(&BTreeMap::new()), None);
        let mut annotations = BTreeMap::from([
            (TEMPLATE.to_owned(), "base".to_owned()),
            (OWNER.to_owned(), "ci".to_owned()),
        ]);
        assert!(Record::parse(&annotations).is_some());
        annotations.insert(METADATA.to_owned(), "[1]".to_owned());
        assert_eq!(Record::parse(&annotations), None);
    }
}
