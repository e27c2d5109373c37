//! What requests do to the objects.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::Answer;
use super::clock::stamp;
use super::request::Call;
use super::selector::Selector;
use super::{ApiServer, ImageVolumes, State, patch};

/// How long the processes of a Pod take to end.
pub(super) const GRACE: Duration = Duration::from_secs(1);

impl ApiServer {
    /// Carries a request out.
    pub(super) fn act(&self, call: &Call, body: &Value) -> Answer {
        let seen = &call.seen;
        let Some(selector) = Selector::of(&call.query) else {
            return Answer::failure(
                400,
                "BadRequest",
                "unable to parse requirement of the selector",
            );
        };
        if call.namespace != self.inner.namespace {
            return match seen.verb {
                "list" => list(call, &State::empty(), &selector),
                "create" => {
                    let message = format!("namespaces \"{}\" not found", call.namespace);
                    Answer::failure(404, "NotFound", message)
                }
                _ => absent(call),
            };
        }
        let mut state = self.lock();
        let answer = match seen.verb {
            "list" => list(call, &state.store, &selector),
            "get" if seen.resource == "pods/log" => Answer::ok(200, json!("the log")),
            "get" => state
                .find(call)
                .map_or_else(|| absent(call), |found| Answer::ok(200, found)),
            "create" => state.create(call, body),
            "patch" | "update" => state.change(call, body),
            "delete" => {
                let answer = state.delete(call, body);
                if let Some((name, uid)) = going(&answer) {
                    self.end_after(state.pods_end_after, name, uid);
                }
                answer
            }
            _ => Answer::failure(405, "MethodNotAllowed", "there is no such method"),
        };
        drop(state);
        if seen.is_write() {
            self.tell();
        }
        answer
    }

    /// A Pod that was told to end does so after a while.
    fn end_after(&self, grace: Duration, name: String, uid: String) {
        let server = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            let mut state = server.lock();
            let same = state
                .store
                .get("pods", &name)
                .is_some_and(|pod| pod["metadata"]["uid"] == *uid);
            if same {
                state.store.remove("pods", &name);
            }
            drop(state);
            server.tell();
        });
    }
}

impl State {
    fn empty() -> super::store::Store {
        super::store::Store::default()
    }

    fn find(&self, call: &Call) -> Option<Value> {
        self.store
            .get(&call.seen.resource, call.seen.name.as_deref()?)
            .cloned()
    }

    fn create(&mut self, call: &Call, body: &Value) -> Answer {
        let resource = &call.seen.resource;
        let Some(name) = body["metadata"]["name"]
            .as_str()
            .filter(|name| !name.is_empty())
        else {
            return Answer::failure(
                422,
                "Invalid",
                "metadata.name: Required value: name is required",
            );
        };
        if self.store.get(resource, name).is_some() {
            return Answer::failure(
                409,
                "AlreadyExists",
                format!("{resource} \"{name}\" already exists"),
            );
        }
        if let Some(refused) = self.check_image_volumes(resource, name, body) {
            return refused;
        }
        let mut object = body.clone();
        let (version, kind) = call.kind();
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"]["namespace"] = json!(call.namespace);
        object["metadata"]["uid"] = json!(self.store.next_uid());
        object["metadata"]["creationTimestamp"] = json!(stamp(self.clock.now()));
        if resource == "pods" {
            if self.image_volumes == ImageVolumes::Gated {
                drop_image_volumes(&mut object["spec"]);
            }
            object["status"] = json!({"phase": "Pending"});
        }
        if call.seen.dry_run {
            return Answer::ok(201, object);
        }
        Answer::ok(201, self.store.put(resource, name, object))
    }

    fn check_image_volumes(&self, resource: &str, name: &str, body: &Value) -> Option<Answer> {
        let volumes = body["spec"]["volumes"]
            .as_array()
            .filter(|_| resource == "pods")?;
        let at = volumes
            .iter()
            .position(|volume| volume.get("image").is_some())?;
        match self.image_volumes {
            ImageVolumes::Work | ImageVolumes::Empty | ImageVolumes::Gated => None,
            ImageVolumes::Unknown => Some(Answer::failure(
                422,
                "Invalid",
                format!(
                    "Pod \"{name}\" is invalid: spec.volumes[{at}]: Required value: must specify a volume type"
                ),
            )),
            ImageVolumes::Refused => Some(Answer::failure(
                400,
                "BadRequest",
                format!(
                    "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \
                     \"spec.volumes[{at}].image\""
                ),
            )),
        }
    }

    /// A merge patch, or a whole object: both may ask for a uid and a version.
    fn change(&mut self, call: &Call, body: &Value) -> Answer {
        let Some(mut object) = self.find(call) else {
            return absent(call);
        };
        let name = call.seen.name.clone().unwrap_or_default();
        for field in ["uid", "resourceVersion"] {
            let wanted = &body["metadata"][field];
            if !wanted.is_null() && *wanted != object["metadata"][field] {
                let message = format!(
                    "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your \
                     changes to the latest version and try again",
                    call.seen.resource
                );
                return Answer::failure(409, "Conflict", message);
            }
        }
        let (uid, created) = (
            object["metadata"]["uid"].clone(),
            object["metadata"]["creationTimestamp"].clone(),
        );
        if call.seen.verb == "patch" {
            patch::merge(&mut object, body);
        } else {
            object = body.clone();
        }
        object["metadata"]["uid"] = uid;
        object["metadata"]["creationTimestamp"] = created;
        if call.seen.dry_run {
            return Answer::ok(200, object);
        }
        Answer::ok(200, self.store.put(&call.seen.resource, &name, object))
    }

    fn delete(&mut self, call: &Call, body: &Value) -> Answer {
        let Some(mut object) = self.find(call) else {
            return absent(call);
        };
        let (resource, name) = (
            &call.seen.resource,
            call.seen.name.clone().unwrap_or_default(),
        );
        for (field, word) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let wanted = &body["preconditions"][field];
            let found = &object["metadata"][field];
            if !wanted.is_null() && wanted != found {
                let message = format!(
                    "Operation cannot be fulfilled on {resource} \"{name}\": the {word} in the precondition ({wanted}) \
                     does not match the {word} in record ({found}). The object might have been deleted and then \
                     recreated"
                );
                return Answer::failure(409, "Conflict", message);
            }
        }
        if call.seen.dry_run {
            return Answer::ok(200, object);
        }
        let waits = resource == "pods"
            && !object["spec"]["nodeName"].is_null()
            && body["gracePeriodSeconds"] != 0;
        if !waits {
            return Answer::ok(200, self.store.remove(resource, &name).unwrap_or(object));
        }
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return Answer::ok(200, object);
        }
        object["metadata"]["deletionTimestamp"] = json!(stamp(self.clock.now() + GRACE));
        Answer::ok(200, self.store.put(resource, &name, object))
    }
}

/// A Pod that has just been told to end.
fn going(answer: &Answer) -> Option<(String, String)> {
    let meta = &answer.body["metadata"];
    let going = answer.body["kind"] == "Pod" && !meta["deletionTimestamp"].is_null();
    going.then(|| {
        Some((
            meta["name"].as_str()?.to_owned(),
            meta["uid"].as_str()?.to_owned(),
        ))
    })?
}

fn list(call: &Call, store: &super::store::Store, selector: &Selector) -> Answer {
    let (version, kind) = call.kind();
    Answer::ok(
        200,
        json!({
            "apiVersion": version, "kind": format!("{kind}List"),
            "metadata": {"resourceVersion": store.version().to_string()},
            "items": store.list(&call.seen.resource, selector),
        }),
    )
}

fn absent(call: &Call) -> Answer {
    let name = call.seen.name.as_deref().unwrap_or_default();
    Answer::failure(
        404,
        "NotFound",
        format!("{} \"{name}\" not found", call.seen.resource),
    )
}

/// As an API server does it that knows the field and may not use it.
fn drop_image_volumes(spec: &mut Value) {
    let Some(volumes) = spec["volumes"].as_array_mut() else {
        return;
    };
    let names: Vec<Value> = volumes
        .iter()
        .filter(|one| one.get("image").is_some())
        .map(|one| one["name"].clone())
        .collect();
    volumes.retain(|volume| volume.get("image").is_none());
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        if let Some(mounts) = container["volumeMounts"].as_array_mut() {
            mounts.retain(|mount| !names.contains(&mount["name"]));
        }
    }
}
