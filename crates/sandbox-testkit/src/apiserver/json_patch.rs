//! JSON patches, <https://www.rfc-editor.org/rfc/rfc6902>: the operations `test`, `add`, `replace` and `remove` on fields
//! of objects.

use serde_json::Value;

/// Applies a patch to a value: all of its operations, or none.
///
/// # Errors
///
/// What kept an operation from being applied, as the API server words it.
pub(super) fn apply(target: &mut Value, patch: &Value) -> Result<(), String> {
    let mut changed = target.clone();
    for operation in patch.as_array().ok_or("the patch is not a list")? {
        apply_operation(&mut changed, operation)?;
    }
    *target = changed;
    Ok(())
}

fn apply_operation(target: &mut Value, operation: &Value) -> Result<(), String> {
    let path = operation["path"].as_str().unwrap_or_default();
    let value = &operation["value"];
    let missing = || {
        format!(
            "{} operation does not apply: doc is missing path: {path}",
            operation["op"]
        )
    };
    let (parent, key) = path.rsplit_once('/').ok_or_else(missing)?;
    let key = unescape(key);
    let parent = parent.split('/').skip(1).map(unescape);
    let parent = parent
        .into_iter()
        .try_fold(target, |value, key| value.get_mut(key))
        .and_then(Value::as_object_mut)
        .ok_or_else(missing)?;
    match operation["op"].as_str() {
        Some("test") if parent.get(&key).is_none() => Err(missing()),
        Some("test") if parent[&key] != *value => {
            Err(format!("testing value {path} failed: test failed"))
        }
        Some("test") => Ok(()),
        Some("replace") if !parent.contains_key(&key) => Err(missing()),
        Some("replace" | "add") => {
            parent.insert(key, value.clone());
            Ok(())
        }
        Some("remove") => parent.remove(&key).map(drop).ok_or_else(missing),
        _ => Err(format!("unexpected operation: {}", operation["op"])),
    }
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_operations_are_applied_or_none() {
        let object = json!({"metadata": {"labels": {"a.dev/x": "1"}}, "n": 1});
        let patch = json!([
            {"op": "test", "path": "/metadata/labels/a.dev~1x", "value": "1"},
            {"op": "replace", "path": "/metadata/labels/a.dev~1x", "value": "2"},
            {"op": "add", "path": "/metadata/labels/y", "value": "3"},
            {"op": "remove", "path": "/n"},
        ]);
        let mut patched = object.clone();
        apply(&mut patched, &patch).unwrap();
        assert_eq!(
            patched,
            json!({"metadata": {"labels": {"a.dev/x": "2", "y": "3"}}})
        );
        for failing in [
            json!({"op": "test", "path": "/metadata/labels/y", "value": "4"}),
            json!({"op": "test", "path": "/metadata/labels/z", "value": "4"}),
            json!({"op": "replace", "path": "/metadata/labels/z", "value": "4"}),
            json!({"op": "add", "path": "/spec/z", "value": "4"}),
            json!({"op": "remove", "path": "/z"}),
            json!({"op": "copy", "path": "/n"}),
        ] {
            let mut all = patch.clone();
            all.as_array_mut().unwrap().push(failing.clone());
            let mut patched = object.clone();
            apply(&mut patched, &all).unwrap_err();
            assert_eq!(patched, object, "{failing}");
        }
    }
}
