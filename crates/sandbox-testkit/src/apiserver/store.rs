//! The objects and the history of their changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::selector::Selector;

#[derive(Debug, Default)]
pub(super) struct Store {
    /// By resource and name.
    objects: BTreeMap<(String, String), Value>,
    version: u64,
    uids: u64,
    history: Vec<Change>,
    /// The history does not contain changes up to this version.
    compacted: u64,
}

/// A change of an object, or its removal if `after` is `None`.
#[derive(Debug)]
struct Change {
    version: u64,
    resource: String,
    before: Option<Value>,
    after: Option<Value>,
}

/// The history does not reach back to the requested version.
#[derive(Debug)]
pub(super) struct TooOld;

impl Store {
    /// Returns the version of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, resource: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(resource.to_owned(), name.to_owned()))
    }

    pub(super) fn list(&self, resource: &str, selector: &Selector) -> Vec<Value> {
        let all = self
            .objects
            .iter()
            .filter(|((object_resource, _), _)| object_resource == resource)
            .map(|(_, object)| object);
        all.filter(|object| selector.matches(object))
            .cloned()
            .collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.objects
            .keys()
            .map(|(resource, name)| format!("{resource}/{name}"))
            .collect()
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.objects
            .iter()
            .map(|((resource, _), object)| (resource.as_str(), object))
    }

    pub(super) fn next_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012}", self.uids)
    }

    /// Stores a new or changed object and sets its version.
    pub(super) fn put(&mut self, resource: &str, name: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let key = (resource.to_owned(), name.to_owned());
        let before = self.objects.insert(key, object.clone());
        self.record_change(resource, before, Some(object.clone()));
        object
    }

    /// Removes an object and returns it with the version of its removal.
    pub(super) fn remove(&mut self, resource: &str, name: &str) -> Option<Value> {
        let mut object = self
            .objects
            .remove(&(resource.to_owned(), name.to_owned()))?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.record_change(resource, Some(object.clone()), None);
        Some(object)
    }

    pub(super) fn compact_history(&mut self) {
        self.history.clear();
        self.compacted = self.version;
    }

    pub(super) fn restore_backup(&mut self, versions: u64) {
        self.version = self.version.saturating_sub(versions);
        self.history.retain(|change| change.version <= self.version);
        self.compacted = self.compacted.min(self.version);
    }

    /// Returns the events of a watch after a version, each with its version.
    pub(super) fn events_since(
        &self,
        version: u64,
        resource: &str,
        selector: &Selector,
    ) -> Result<Vec<(u64, Value)>, TooOld> {
        if version < self.compacted {
            return Err(TooOld);
        }
        let changes = self
            .history
            .iter()
            .filter(|change| change.version > version && change.resource == resource);
        Ok(changes
            .filter_map(|change| Some((change.version, change.event_for(selector)?)))
            .collect())
    }

    fn record_change(&mut self, resource: &str, before: Option<Value>, after: Option<Value>) {
        self.history.push(Change {
            version: self.version,
            resource: resource.to_owned(),
            before,
            after,
        });
    }
}

impl Change {
    /// Returns the event of a watch. An object that leaves the selection counts as deleted.
    fn event_for(&self, selector: &Selector) -> Option<Value> {
        let before = self
            .before
            .as_ref()
            .filter(|object| selector.matches(object));
        let after = self
            .after
            .as_ref()
            .filter(|object| selector.matches(object));
        let (kind, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(after)) => ("ADDED", after.clone()),
            (Some(_), Some(after)) => ("MODIFIED", after.clone()),
            (Some(before), None) => {
                let mut last = before.clone();
                last["metadata"]["resourceVersion"] = json!(self.version.to_string());
                ("DELETED", last)
            }
        };
        Some(json!({"type": kind, "object": object}))
    }
}
