//! The objects and the history of their changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};

use super::selector::Selector;

/// The resource and the name of an object.
pub(super) type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    /// The keys of the objects by their uids.
    uids: HashMap<String, Key>,
    /// The keys of the objects that name an owner, by its uid.
    dependents: HashMap<String, BTreeSet<Key>>,
    /// The objects that may have lost their owners.
    possible_orphans: BTreeSet<Key>,
    version: u64,
    next_uid: u64,
    /// In the order of their versions.
    history: VecDeque<Change>,
    /// How many changes are kept; `None` means all.
    history_limit: Option<usize>,
    /// The history does not contain changes up to this version.
    compacted: u64,
}

/// A change of an object, or its removal if `after` is `None`.
#[derive(Debug)]
struct Change {
    version: u64,
    resource: String,
    before: Option<Arc<Value>>,
    after: Option<Arc<Value>>,
}

/// A part of a list.
pub(super) struct Page {
    pub(super) items: Vec<Value>,
    /// The name of the last object, if more follow.
    pub(super) last: Option<String>,
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
        let object = self.objects.get(&(resource.to_owned(), name.to_owned()));
        object.map(Arc::as_ref)
    }

    /// Lists at most `limit` selected objects, those after the name `after`.
    pub(super) fn list(
        &self,
        resource: &str,
        selector: &Selector,
        after: Option<&str>,
        limit: usize,
    ) -> Page {
        let first = match after {
            Some(name) => Bound::Excluded((resource.to_owned(), name.to_owned())),
            None => Bound::Included((resource.to_owned(), String::new())),
        };
        let mut selected = self
            .objects
            .range((first, Bound::Unbounded))
            .take_while(|((object_resource, _), _)| object_resource == resource)
            .filter(|(_, object)| selector.matches(object));
        let (mut items, mut last) = (Vec::new(), None);
        for ((_, name), object) in selected.by_ref().take(limit) {
            items.push(Value::clone(object));
            last = Some(name.clone());
        }
        Page {
            items,
            last: last.filter(|_| selected.next().is_some()),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.objects
            .keys()
            .map(|(resource, name)| format!("{resource}/{name}"))
            .collect()
    }

    pub(super) fn next_uid(&mut self) -> String {
        self.next_uid += 1;
        format!("00000000-0000-4000-8000-{:012}", self.next_uid)
    }

    /// Stores a new or changed object and sets its version.
    pub(super) fn put(&mut self, resource: &str, name: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let key = (resource.to_owned(), name.to_owned());
        if let Some(before) = self.objects.get(&key).cloned() {
            self.forget_references(&key, &before);
        }
        if let Some(uid) = object["metadata"]["uid"].as_str() {
            self.uids.insert(uid.to_owned(), key.clone());
        }
        for owner in owners(&object).filter_map(|owner| owner["uid"].as_str()) {
            self.possible_orphans.insert(key.clone());
            let dependents = self.dependents.entry(owner.to_owned()).or_default();
            dependents.insert(key.clone());
        }
        let after = Arc::new(object.clone());
        let before = self.objects.insert(key, Arc::clone(&after));
        self.record_change(resource, before, Some(after));
        object
    }

    /// Removes an object and returns it with the version of its removal.
    pub(super) fn remove(&mut self, resource: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), name.to_owned());
        let before = self.objects.remove(&key)?;
        self.forget_references(&key, &before);
        self.possible_orphans.remove(&key);
        if let Some(uid) = before["metadata"]["uid"].as_str() {
            let dependents = self.dependents.get(uid).into_iter().flatten();
            self.possible_orphans.extend(dependents.cloned());
        }
        self.version += 1;
        let mut object = Value::clone(&before);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.record_change(resource, Some(Arc::new(object.clone())), None);
        Some(object)
    }

    /// Returns the key and uid of each object whose owners are all deleted and whose deletion has not started.
    pub(super) fn find_orphans(&mut self) -> Vec<(Key, Value)> {
        let possible = std::mem::take(&mut self.possible_orphans);
        let mut orphans = Vec::new();
        for key in possible {
            let Some(object) = self.objects.get(&key) else {
                continue;
            };
            let is_orphan = !owners(object).any(|owner| self.owner_exists(owner));
            if is_orphan && object["metadata"]["deletionTimestamp"].is_null() {
                orphans.push((key, object["metadata"]["uid"].clone()));
            }
        }
        let keys = orphans.iter().map(|(key, _)| key.clone());
        self.possible_orphans = keys.collect();
        orphans
    }

    fn owner_exists(&self, owner: &Value) -> bool {
        let uid = owner["uid"].as_str().unwrap_or_default();
        let object = self.uids.get(uid).and_then(|key| self.objects.get(key));
        object.is_some_and(|object| {
            object["kind"] == owner["kind"]
                && object["apiVersion"] == owner["apiVersion"]
                && object["metadata"]["name"] == owner["name"]
        })
    }

    /// Forgets the uid of an object, and that it depends on its owners.
    fn forget_references(&mut self, key: &Key, object: &Value) {
        if let Some(uid) = object["metadata"]["uid"].as_str() {
            self.uids.remove(uid);
        }
        for owner in owners(object).filter_map(|owner| owner["uid"].as_str()) {
            if let Some(dependents) = self.dependents.get_mut(owner) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    /// Keeps at most this many changes from now on. A watch from an older version is refused.
    pub(super) fn limit_history(&mut self, changes: usize) {
        self.history_limit = Some(changes);
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

    /// Whether all changes after a version are in the history.
    pub(super) fn has_history_since(&self, version: u64) -> bool {
        version >= self.compacted
    }

    /// Returns the events of a watch after a version, each with its version.
    pub(super) fn events_since(
        &self,
        version: u64,
        resource: &str,
        selector: &Selector,
    ) -> Result<Vec<(u64, Value)>, TooOld> {
        if !self.has_history_since(version) {
            return Err(TooOld);
        }
        let first = self
            .history
            .partition_point(|change| change.version <= version);
        let changes = self
            .history
            .range(first..)
            .filter(|change| change.resource == resource);
        Ok(changes
            .filter_map(|change| Some((change.version, change.event_for(selector)?)))
            .collect())
    }

    fn record_change(
        &mut self,
        resource: &str,
        before: Option<Arc<Value>>,
        after: Option<Arc<Value>>,
    ) {
        if self
            .history_limit
            .is_some_and(|limit| self.history.len() >= limit)
            && let Some(oldest) = self.history.pop_front()
        {
            self.compacted = oldest.version;
        }
        self.history.push_back(Change {
            version: self.version,
            resource: resource.to_owned(),
            before,
            after,
        });
    }
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten()
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
            (None, Some(after)) => ("ADDED", Value::clone(after)),
            (Some(_), Some(after)) => ("MODIFIED", Value::clone(after)),
            (Some(before), None) => {
                let mut last = Value::clone(before);
                last["metadata"]["resourceVersion"] = json!(self.version.to_string());
                ("DELETED", last)
            }
        };
        Some(json!({"type": kind, "object": object}))
    }
}
