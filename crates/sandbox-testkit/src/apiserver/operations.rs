//! Executes requests for objects.

use std::time::Duration;

use serde_json::{Value, json};

use super::clock::timestamp;
use super::json_patch;
use super::merge_patch;
use super::request::ParsedRequest;
use super::response::ApiResponse;
use super::selector::Selector;
use super::server::{ApiServer, ImageVolumes, State};
use super::store::Store;

/// The grace period of a deleted Pod.
const GRACE_PERIOD: Duration = Duration::from_secs(1);

impl ApiServer {
    /// Executes a request.
    pub(super) fn execute(&self, request: &ParsedRequest, body: &Value) -> ApiResponse {
        let record = &request.record;
        let Some(selector) = Selector::from_query(&request.query) else {
            return ApiResponse::failure(
                400,
                "BadRequest",
                "unable to parse requirement of the selector",
            );
        };
        if request.namespace != self.inner.namespace {
            return match record.verb {
                "list" => list(request, &Store::default(), &selector),
                "create" => {
                    let message = format!("namespaces \"{}\" not found", request.namespace);
                    ApiResponse::failure(404, "NotFound", message)
                }
                _ => not_found_response(request),
            };
        }
        let mut state = self.lock();
        let response = match record.verb {
            "list" => list(request, &state.store, &selector),
            "get" if record.resource == "pods/log" => ApiResponse::ok(200, json!("the log")),
            "get" => state.find(request).map_or_else(
                || not_found_response(request),
                |found| ApiResponse::ok(200, found),
            ),
            "create" => {
                let response = state.create(request, body);
                let is_new_pod = record.resource == "pods" && response.code == 201;
                if is_new_pod && state.starts_pods && !record.dry_run {
                    self.start_pod_soon(&response.body);
                }
                response
            }
            "patch" if record.resource == "pods/resize" => state.resize_pod(request, body),
            "patch" | "update" => state.update(request, body),
            "delete" => {
                let response = state.delete(request, body);
                if let Some((name, uid)) = terminating_pod(&response) {
                    self.remove_pod_after(state.pod_deletion_delay, name, uid);
                }
                response
            }
            _ => ApiResponse::failure(405, "MethodNotAllowed", "the method is not supported"),
        };
        drop(state);
        if record.is_write() {
            self.notify();
        }
        response
    }

    fn start_pod_soon(&self, pod: &Value) {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let (server, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move { server.run_pod(&name) });
    }

    /// Removes a terminating Pod after a delay.
    fn remove_pod_after(&self, delay: Duration, name: String, uid: String) {
        let server = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let mut state = server.lock();
            let is_same = state
                .store
                .get("pods", &name)
                .is_some_and(|pod| pod["metadata"]["uid"] == *uid);
            if is_same {
                state.store.remove("pods", &name);
            }
            drop(state);
            server.notify();
        });
    }
}

impl State {
    fn find(&self, request: &ParsedRequest) -> Option<Value> {
        self.store
            .get(&request.record.resource, request.record.name.as_deref()?)
            .cloned()
    }

    fn create(&mut self, request: &ParsedRequest, body: &Value) -> ApiResponse {
        let resource = &request.record.resource;
        let Some(name) = body["metadata"]["name"]
            .as_str()
            .filter(|name| !name.is_empty())
        else {
            return ApiResponse::failure(
                422,
                "Invalid",
                "metadata.name: Required value: name is required",
            );
        };
        if self.store.get(resource, name).is_some() {
            return ApiResponse::failure(
                409,
                "AlreadyExists",
                format!("{resource} \"{name}\" already exists"),
            );
        }
        if let Some(refused) = self.check_image_volumes(resource, name, body) {
            return refused;
        }
        let mut object = body.clone();
        let (version, kind) = request.object_type();
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"]["namespace"] = json!(request.namespace);
        object["metadata"]["uid"] = json!(self.store.next_uid());
        object["metadata"]["creationTimestamp"] = json!(timestamp(self.clock.current_time()));
        if resource == "pods" {
            if self.image_volumes == ImageVolumes::Disabled {
                drop_image_volumes(&mut object["spec"]);
            }
            object["status"] = json!({"phase": "Pending"});
        }
        if request.record.dry_run {
            return ApiResponse::ok(201, object);
        }
        ApiResponse::ok(201, self.store.put(resource, name, object))
    }

    fn check_image_volumes(&self, resource: &str, name: &str, body: &Value) -> Option<ApiResponse> {
        let volumes = body["spec"]["volumes"]
            .as_array()
            .filter(|_| resource == "pods")?;
        let index = volumes
            .iter()
            .position(|volume| volume.get("image").is_some())?;
        match self.image_volumes {
            ImageVolumes::Supported | ImageVolumes::NotMounted | ImageVolumes::Disabled => None,
            ImageVolumes::Unknown => Some(ApiResponse::failure(
                422,
                "Invalid",
                format!(
                    "Pod \"{name}\" is invalid: spec.volumes[{index}]: Required value: must specify a volume type"
                ),
            )),
            ImageVolumes::Refused => Some(ApiResponse::failure(
                400,
                "BadRequest",
                format!(
                    "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \
                     \"spec.volumes[{index}].image\""
                ),
            )),
        }
    }

    /// Applies a patch or a whole object. A merge patch and an object may require a uid and a version; a JSON patch
    /// tests what it requires.
    fn update(&mut self, request: &ParsedRequest, body: &Value) -> ApiResponse {
        let Some(mut object) = self.find(request) else {
            return not_found_response(request);
        };
        let name = request.record.name.clone().unwrap_or_default();
        for field in ["uid", "resourceVersion"] {
            let required = &body["metadata"][field];
            if !required.is_null() && *required != object["metadata"][field] {
                let message = format!(
                    "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your \
                     changes to the latest version and try again",
                    request.record.resource
                );
                return ApiResponse::failure(409, "Conflict", message);
            }
        }
        let uid = object["metadata"]["uid"].clone();
        let created = object["metadata"]["creationTimestamp"].clone();
        let deadline = object["spec"]["activeDeadlineSeconds"].as_u64();
        if request.is_json_patch {
            // The wording of a test that fails is that of any request with an error.
            if let Err(cause) = json_patch::apply(&mut object, body) {
                let message = "the server rejected our request due to an error in our request";
                let mut response = ApiResponse::failure(422, "Invalid", message);
                response.body["details"] = json!({"causes": [{"message": cause}]});
                return response;
            }
        } else if request.record.verb == "patch" {
            merge_patch::merge(&mut object, body);
        } else {
            object = body.clone();
        }
        object["metadata"]["uid"] = uid;
        object["metadata"]["creationTimestamp"] = created;
        if let (Some(before), after) = (deadline, object["spec"]["activeDeadlineSeconds"].as_u64())
            && after.is_none_or(|after| after > before)
        {
            let message = format!(
                "Pod \"{name}\" is invalid: spec.activeDeadlineSeconds: Invalid value: must be less than or equal to \
                 previous value"
            );
            return ApiResponse::failure(422, "Invalid", message);
        }
        if request.record.dry_run {
            return ApiResponse::ok(200, object);
        }
        ApiResponse::ok(200, self.store.put(&request.record.resource, &name, object))
    }

    fn delete(&mut self, request: &ParsedRequest, body: &Value) -> ApiResponse {
        let Some(mut object) = self.find(request) else {
            return not_found_response(request);
        };
        let resource = &request.record.resource;
        let name = request.record.name.clone().unwrap_or_default();
        for (field, label) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let required = &body["preconditions"][field];
            let found = &object["metadata"][field];
            if !required.is_null() && required != found {
                let message = format!(
                    "Operation cannot be fulfilled on {resource} \"{name}\": the {label} in the precondition ({required}) \
                     does not match the {label} in record ({found}). The object might have been deleted and then \
                     recreated"
                );
                return ApiResponse::failure(409, "Conflict", message);
            }
        }
        if request.record.dry_run {
            return ApiResponse::ok(200, object);
        }
        let is_graceful = resource == "pods"
            && !object["spec"]["nodeName"].is_null()
            && body["gracePeriodSeconds"] != 0;
        if !is_graceful {
            return ApiResponse::ok(200, self.store.remove(resource, &name).unwrap_or(object));
        }
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return ApiResponse::ok(200, object);
        }
        object["metadata"]["deletionTimestamp"] =
            json!(timestamp(self.clock.current_time() + GRACE_PERIOD));
        ApiResponse::ok(200, self.store.put(resource, &name, object))
    }
}

/// Returns the name and uid of the Pod whose graceful deletion has started.
fn terminating_pod(response: &ApiResponse) -> Option<(String, String)> {
    let meta = &response.body["metadata"];
    let is_terminating = response.body["kind"] == "Pod" && !meta["deletionTimestamp"].is_null();
    is_terminating.then(|| {
        Some((
            meta["name"].as_str()?.to_owned(),
            meta["uid"].as_str()?.to_owned(),
        ))
    })?
}

/// Lists objects, in pages if the request has a limit. The objects are those of now, but the version is that of the
/// first page, so that a watch from it repeats what has changed in between.
fn list(request: &ParsedRequest, store: &Store, selector: &Selector) -> ApiResponse {
    let (api_version, kind) = request.object_type();
    let limit = request
        .query
        .get("limit")
        .and_then(|text| text.parse().ok());
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let continuation = request.query.get("continue");
    let (version, after) = match continuation.map(|text| text.split_once('/')) {
        None => (store.version(), None),
        Some(Some((version, after))) => match version.parse() {
            Ok(version) if store.has_history_since(version) => (version, Some(after)),
            Ok(_) | Err(_) => return expired_list(),
        },
        Some(None) => {
            return ApiResponse::failure(400, "BadRequest", "continue key is not valid");
        }
    };
    let page = store.list(&request.record.resource, selector, after, limit);
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(last) = page.last {
        metadata["continue"] = json!(format!("{version}/{last}"));
    }
    ApiResponse::ok(
        200,
        json!({
            "apiVersion": api_version, "kind": format!("{kind}List"),
            "metadata": metadata, "items": page.items,
        }),
    )
}

fn expired_list() -> ApiResponse {
    ApiResponse::failure(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter.",
    )
}

fn not_found_response(request: &ParsedRequest) -> ApiResponse {
    let name = request.record.name.as_deref().unwrap_or_default();
    ApiResponse::failure(
        404,
        "NotFound",
        format!("{} \"{name}\" not found", request.record.resource),
    )
}

/// Drops image volumes and their mounts, as an API server does whose feature gate is off.
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
