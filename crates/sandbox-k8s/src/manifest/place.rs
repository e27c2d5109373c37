//! Finds where in a structured text a value of the wrong type is. The errors of serde do not say.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The number of values of a text beyond which no place is looked for, because each look reads all of it.
const MAX_VALUES: usize = 2000;

/// Returns the innermost place, such as `spec.volumes[0].secret`, without which the text would be valid; `None` if there
/// is no single one.
pub(super) fn find<T: DeserializeOwned>(text: &Value) -> Option<String> {
    if count_values(text) > MAX_VALUES {
        return None;
    }
    let mut place = Vec::new();
    while let Some(step) = steps(node_at(text, &place)?)
        .into_iter()
        .find(|step| T::deserialize(without(text, &place, step)).is_ok())
    {
        place.push(step);
    }
    let shown: String = place.iter().map(Step::to_string).collect();
    Some(shown.trim_start_matches('.').to_owned()).filter(|shown| !shown.is_empty())
}

enum Step {
    Field(String),
    Element(usize),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Element(index) => write!(f, "[{index}]"),
        }
    }
}

fn steps(node: &Value) -> Vec<Step> {
    match node {
        Value::Object(fields) => fields.keys().cloned().map(Step::Field).collect(),
        Value::Array(list) => (0..list.len()).map(Step::Element).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn node_at<'a>(text: &'a Value, place: &[Step]) -> Option<&'a Value> {
    place.iter().try_fold(text, |node, step| match step {
        Step::Field(name) => node.get(name),
        Step::Element(index) => node.get(index),
    })
}

/// Returns the text without the part that `step` leads to from `place`.
fn without(text: &Value, place: &[Step], step: &Step) -> Value {
    let mut text = text.clone();
    let node = place.iter().try_fold(&mut text, |node, step| match step {
        Step::Field(name) => node.get_mut(name),
        Step::Element(index) => node.get_mut(index),
    });
    match (node, step) {
        (Some(Value::Object(fields)), Step::Field(name)) => drop(fields.remove(name)),
        (Some(Value::Array(list)), Step::Element(index)) => drop(list.remove(*index)),
        _ => {}
    }
    text
}

fn count_values(text: &Value) -> usize {
    let inner: usize = match text {
        Value::Object(fields) => fields.values().map(count_values).sum(),
        Value::Array(list) => list.iter().map(count_values).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    inner + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    #[test]
    fn the_innermost_place_is_found() {
        for (spec, place) in [
            (
                json!({"volumes": [{"name": "a"}, {"name": "b", "persistentVolumeClaim": "none"}]}),
                Some("spec.volumes[1].persistentVolumeClaim"),
            ),
            (json!({"hostname": 5}), Some("spec.hostname")),
            (json!({"containers": "all"}), Some("spec.containers")),
            (json!([]), Some("spec")),
            // Two mistakes have no innermost place but the one around both.
            (json!({"hostname": 5, "subdomain": 6}), Some("spec")),
        ] {
            let text = json!({"spec": spec});
            assert!(serde_json::from_value::<Pod>(text.clone()).is_err());
            assert_eq!(find::<Pod>(&text).as_deref(), place, "{text}");
        }
        let many: Vec<_> = (0..MAX_VALUES).collect();
        assert_eq!(find::<Pod>(&json!({"spec": {"containers": many}})), None);
        assert_eq!(find::<Pod>(&json!("text")), None);
    }
}
