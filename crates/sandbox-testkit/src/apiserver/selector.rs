//! Label and field selectors with the operators `=` and `==`.

use std::collections::BTreeMap;

use serde_json::Value;

/// A selection of objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<(String, String)>,
    fields: Vec<(String, String)>,
}

impl Selector {
    /// Parses the selectors of a query; `None` if an operator is not supported.
    pub(super) fn from_query(query: &BTreeMap<String, String>) -> Option<Self> {
        let parse = |key: &str| {
            query
                .get(key)
                .map_or(Some(Vec::new()), |text| parse_pairs(text))
        };
        Some(Self {
            labels: parse("labelSelector")?,
            fields: parse("fieldSelector")?,
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

fn parse_pairs(text: &str) -> Option<Vec<(String, String)>> {
    let terms = text.split(',').filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (key, value) = term.split_once("==").or_else(|| term.split_once('='))?;
            let is_supported = !key.ends_with('!') && !key.contains(' ');
            is_supported.then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}
