//! Reads a tree of values and collects every mistake in it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use sandbox_config::{DURATION_FORM, parse_duration};
use serde_json::{Map, Value};

/// All mistakes of a file, each a sentence that begins with its place.
#[derive(Debug, Default)]
pub(super) struct Mistakes(pub(super) Vec<String>);

/// The fields of one mapping. Each is taken at most once; what is left at the end is unknown.
pub(super) struct Fields<'m> {
    path: String,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    mistakes: &'m mut Mistakes,
}

impl<'m> Fields<'m> {
    /// The fields of a value, which must be a mapping; nothing at all counts as an empty one.
    pub(super) fn new(path: String, value: Value, mistakes: &'m mut Mistakes) -> Self {
        let values = match value {
            Value::Object(values) => values,
            Value::Null => Map::new(),
            _other => {
                mistakes.add(&path, "it must be a mapping of names to values");
                Map::new()
            }
        };
        Self {
            path,
            values,
            known: Vec::new(),
            mistakes,
        }
    }

    /// Takes a text, or a number as text.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _other => self.refuse(name, "it must be text, and not empty"),
        }
    }

    /// Takes what text can be parsed to.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => self.refuse(name, &format!("{text:?} is not valid: {error}")),
        }
    }

    /// Takes a duration above zero.
    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let text = self.text(name)?;
        match parse_duration(&text) {
            Some(duration) if !duration.is_zero() => Some(duration),
            _other => self.refuse(name, &format!("{text:?} is not valid: use {DURATION_FORM}")),
        }
    }

    /// Takes a whole number above zero.
    pub(super) fn count(&mut self, name: &'static str) -> Option<u32> {
        let value = self.take(name)?;
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) if number > 0 => Some(number),
            _other => self.refuse(name, "it must be a whole number above zero"),
        }
    }

    /// Takes true or false.
    pub(super) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            _other => self.refuse(name, "it must be true or false"),
        }
    }

    /// Takes a list of texts.
    pub(super) fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        let texts = match self.take(name)? {
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _other => None,
        };
        texts.or_else(|| self.refuse(name, "it must be a list of texts"))
    }

    /// Takes a mapping of names to texts.
    pub(super) fn text_map(&mut self, name: &'static str) -> Option<BTreeMap<String, String>> {
        let values = match self.take(name)? {
            Value::Object(values) => values
                .into_iter()
                .map(|(key, value)| Some((key, scalar(value)?)))
                .collect(),
            _other => None,
        };
        values.or_else(|| self.refuse(name, "it must be a mapping of names to texts"))
    }

    /// Takes a mapping, to read its fields.
    pub(super) fn fields(&mut self, name: &'static str) -> Option<Fields<'_>> {
        let value = self.take(name)?;
        let path = self.place(name);
        Some(Fields::new(path, value, self.mistakes))
    }

    /// Takes a mapping of names that the user chooses.
    pub(super) fn entries(&mut self, name: &'static str) -> Vec<(String, Value)> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Object(values)) => values.into_iter().collect(),
            Some(_other) => self
                .refuse(name, "it must be a mapping of names to values")
                .unwrap_or_default(),
        }
    }

    /// Takes a value as it is.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.values.remove(name).filter(|value| !value.is_null())
    }

    /// Reports a mistake in a field.
    pub(super) fn refuse<T>(&mut self, name: &str, mistake: &str) -> Option<T> {
        let place = self.place(name);
        self.mistakes.add(&place, mistake);
        None
    }

    /// Reports the error of a result that is about a field.
    pub(super) fn keep<T>(&mut self, name: &str, result: Result<T, impl Display>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => self.refuse(name, &error.to_string()),
        }
    }

    /// Changes what was read so far by a field. After a mistake it stays as it was.
    pub(super) fn change<T: Clone>(
        &mut self,
        read: &mut Option<T>,
        name: &str,
        change: impl FnOnce(T) -> Result<T, sandbox::Error>,
    ) {
        if let Some(former) = read.take() {
            *read = self.keep(name, change(former.clone())).or(Some(former));
        }
    }

    pub(super) fn place(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub(super) fn mistakes(&mut self) -> &mut Mistakes {
        self.mistakes
    }

    /// Reports fields that were not taken.
    pub(super) fn finish(self) {
        for name in self.values.keys() {
            let place = self.place(name);
            let known = self.known.join(", ");
            self.mistakes.add(
                &place,
                &format!("there is no such setting; those here are: {known}"),
            );
        }
    }
}

impl Mistakes {
    pub(super) fn add(&mut self, place: &str, mistake: &str) {
        self.0.push(if place.is_empty() {
            mistake.to_owned()
        } else {
            format!("{place}: {mistake}")
        });
    }
}

/// A value as the text of an environment variable.
fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
