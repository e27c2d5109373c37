//! Label and field selectors with the operators `=`, `==` and `!=`.

use std::collections::BTreeMap;

use serde_json::Value;

/// A selection of objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

/// A key, its value, and whether the value is required or excluded.
type Term = (String, String, bool);

impl Selector {
    /// Parses the selectors of a query; `None` if an operator is not supported.
    pub(super) fn from_query(query: &BTreeMap<String, String>) -> Option<Self> {
        let parse = |key: &str| {
            query
                .get(key)
                .map_or(Some(Vec::new()), |text| parse_terms(text))
        };
        Some(Self {
            labels: parse("labelSelector")?,
            fields: parse("fieldSelector")?,
        })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let label = |(key, value, is_required): &Term| {
            (object["metadata"]["labels"][key] == **value) == *is_required
        };
        let field = |(path, value, is_required): &Term| {
            let found = path.split('.').fold(object, |value, part| &value[part]);
            (found == value.as_str()) == *is_required
        };
        self.labels.iter().all(label) && self.fields.iter().all(field)
    }
}

fn parse_terms(text: &str) -> Option<Vec<Term>> {
    let terms = text.split(',').filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (key, value) = term.split_once("==").or_else(|| term.split_once('='))?;
            let (key, is_required) = match key.strip_suffix('!') {
                Some(key) => (key, false),
                None => (key, true),
            };
            (!key.contains(' ')).then(|| (key.to_owned(), value.to_owned(), is_required))
        })
        .collect()
}
