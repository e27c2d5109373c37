//! Label and field selectors, as far as they are used: comparisons with `=` and `==`.

use std::collections::BTreeMap;

use serde_json::Value;

/// Which objects are meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<(String, String)>,
    fields: Vec<(String, String)>,
}

impl Selector {
    /// `None` for one that is not understood.
    pub(super) fn of(query: &BTreeMap<String, String>) -> Option<Self> {
        let read = |key: &str| query.get(key).map_or(Some(Vec::new()), |text| pairs(text));
        Some(Self {
            labels: read("labelSelector")?,
            fields: read("fieldSelector")?,
        })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let label =
            |(key, wanted): &(String, String)| object["metadata"]["labels"][key] == **wanted;
        let field = |(path, wanted): &(String, String)| {
            let found = path.split('.').fold(object, |value, part| &value[part]);
            found == wanted.as_str()
        };
        self.labels.iter().all(label) && self.fields.iter().all(field)
    }
}

fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let terms = text.split(',').filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (key, value) = term.split_once("==").or_else(|| term.split_once('='))?;
            let plain = !key.ends_with('!') && !key.contains(' ');
            plain.then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}
