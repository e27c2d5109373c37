//! The query of a request.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

use crate::api_error::ApiError;

/// The parameters of a query, decoded once, in their order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        parse_form(query.unwrap_or_default())
            .map(Self)
            .ok_or_else(|| ApiError::bad_request("the query is not percent-encoded UTF-8"))
    }

    /// The value of a parameter; the first, if there are several.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The values of a parameter that may be repeated, or have several values with commas between them.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        values
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        match self
            .get(name)
            .filter(|text| !text.is_empty())
            .map(str::parse)
        {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_not_a_number)) => Err(ApiError::bad_request(format!(
                "{name} must be a whole number"
            ))),
        }
    }

    /// The filter `metadata`: all pairs must match. E2B's SDKs encode it three times: keys and values with percent
    /// signs, the pairs as a form, and that as a parameter.
    pub(super) fn metadata(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let malformed = || {
            ApiError::bad_request(
                "metadata must be percent-encoded pairs, such as user=ada&app=prod",
            )
        };
        let pairs = parse_form(self.get("metadata").unwrap_or_default()).ok_or_else(malformed)?;
        pairs
            .into_iter()
            .map(|(key, value)| Some((decode(&key)?, decode(&value)?)))
            .collect::<Option<_>>()
            .ok_or_else(malformed)
    }
}

/// Decodes `application/x-www-form-urlencoded` (WHATWG URL §5). `None` unless it is UTF-8.
fn parse_form(text: &str) -> Option<Vec<(String, String)>> {
    let decode_form = |text: &str| decode(&text.replace('+', " "));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode_form(key)?, decode_form(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Query {
        Query::parse(Some(query)).unwrap()
    }

    #[test]
    fn metadata_is_decoded_three_times() {
        // As E2B's Python SDK sends {"a b": "c&d"}, and then plainly.
        let cases = [
            ("metadata=a%252520b%3Dc%252526d", vec![("a b", "c&d")]),
            (
                "metadata=user%3Dada%26app%3Dprod",
                vec![("user", "ada"), ("app", "prod")],
            ),
            ("metadata=", vec![]),
            ("state=running", vec![]),
            ("metadata=x%3D", vec![("x", "")]),
        ];
        for (query, expected) in cases {
            let expected = expected
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(parse(query).metadata().unwrap(), expected, "{query}");
        }
        assert!(
            parse("metadata=a%3D%2525ff").metadata().is_err(),
            "not UTF-8"
        );
    }

    #[test]
    fn parameters_are_decoded_once() {
        let query = parse(
            "state=running%2Cpaused&state=x&limit=7&startedAfter=2026-01-01T00%3A00%3A00%2B00%3A00&a+b=c",
        );
        assert_eq!(query.list("state"), ["running", "paused", "x"]);
        assert_eq!(query.number("limit").unwrap(), Some(7));
        assert_eq!(query.get("startedAfter"), Some("2026-01-01T00:00:00+00:00"));
        assert_eq!(query.get("a b"), Some("c"));
        assert!(parse("limit=-1").number("limit").is_err());
        assert!(Query::parse(Some("x=%ff")).is_err());
    }
}
