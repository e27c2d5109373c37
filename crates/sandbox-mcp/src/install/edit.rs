//! Sets one entry in JSON text, and leaves the rest as it is.

use serde_json::{Map, Value};

use super::document::{Kind, Member, Node, content_end, parse, to_strict};

/// The indentation where the text has none to follow.
const DEFAULT_INDENT: &str = "  ";

/// Sets `text[servers][name]` to `entry`, and returns the new text. An entry that is there already and says the same stays
/// as it is written.
///
/// # Errors
///
/// Why the text is not changed.
pub(super) fn set_entry(
    text: &str,
    servers: &str,
    name: &str,
    entry: &Value,
) -> Result<String, String> {
    let is_blank = text
        .trim_matches([' ', '\t', '\r', '\n', '\u{feff}'])
        .is_empty();
    if is_blank {
        let value = serde_json::json!({servers: {name: entry}});
        return Ok(format!("{}\n", pretty(&value, "", DEFAULT_INDENT, "\n")));
    }
    let style = Style::of(text);
    let root = parse(text)?;
    let members = as_object(&root).ok_or("it is not a JSON object; is it the right file?")?;
    let edited = match find(members, servers)? {
        None => {
            let mut object = Map::new();
            object.insert(name.to_owned(), entry.clone());
            style.insert(text, &root, members, servers, &Value::Object(object))
        }
        Some(found) => {
            let entries = as_object(&found.value)
                .ok_or_else(|| format!("its {servers:?} is not an object; correct it first"))?;
            match find(entries, name)? {
                None => style.insert(text, &found.value, entries, name, entry),
                Some(former) if read(&text[former.value.span.clone()])? == *entry => {
                    text.to_owned()
                }
                Some(former) => {
                    let indent = indent_at(text, former.start).unwrap_or_default();
                    let new = pretty(entry, indent, &style.unit, style.line_end);
                    let span = &former.value.span;
                    format!("{}{new}{}", &text[..span.start], &text[span.end..])
                }
            }
        }
    };
    check(text, &edited, servers, name, entry)?;
    Ok(edited)
}

/// Checks that the new text says what the former one did, and has the entry.
fn check(
    before: &str,
    after: &str,
    servers: &str,
    name: &str,
    entry: &Value,
) -> Result<(), String> {
    let mut wanted = read(before)?;
    wanted[servers][name] = entry.clone();
    if read(after)? == wanted {
        Ok(())
    } else {
        Err("the entry cannot be added without a change of something else; add it by hand (--print prints it)".to_owned())
    }
}

fn read(text: &str) -> Result<Value, String> {
    serde_json::from_str(&to_strict(text)).map_err(|error| format!("it is not JSON: {error}"))
}

fn as_object(node: &Node) -> Option<&[Member]> {
    match &node.kind {
        Kind::Object(members) => Some(members),
        Kind::Other => None,
    }
}

fn find<'a>(members: &'a [Member], key: &str) -> Result<Option<&'a Member>, String> {
    let mut found = members.iter().filter(|member| member.key == key);
    let first = found.next();
    if found.next().is_some() {
        return Err(format!(
            "it has {key:?} twice, and clients differ in which one they use; remove one"
        ));
    }
    Ok(first)
}

/// How the text is written.
struct Style {
    unit: String,
    line_end: &'static str,
}

impl Style {
    fn of(text: &str) -> Self {
        let unit = parse(text).ok().and_then(|root| {
            let first = as_object(&root)?.first()?.start;
            indent_at(text, first)
                .filter(|indent| !indent.is_empty())
                .map(str::to_owned)
        });
        Self {
            unit: unit.unwrap_or_else(|| DEFAULT_INDENT.to_owned()),
            line_end: if text.contains("\r\n") { "\r\n" } else { "\n" },
        }
    }

    /// Adds a member at the end of an object.
    fn insert(
        &self,
        text: &str,
        object: &Node,
        members: &[Member],
        key: &str,
        value: &Value,
    ) -> String {
        let end = self.line_end;
        let outer = indent_of_line(text, object.span.end - 1);
        let indent = members
            .last()
            .and_then(|last| indent_at(text, last.start))
            .map_or_else(|| format!("{outer}{}", self.unit), str::to_owned);
        let content = content_end(text, &object.span);
        let mut edited = String::with_capacity(text.len() + 200);
        match members.last() {
            // The comma stands before comments about the last member.
            Some(last) if !last.has_comma => {
                edited.push_str(&text[..last.value.span.end]);
                edited.push(',');
                edited.push_str(&text[last.value.span.end..content]);
            }
            Some(_) | None => edited.push_str(&text[..content]),
        }
        let key = Value::from(key);
        edited.push_str(&format!(
            "{end}{indent}{key}: {}",
            pretty(value, &indent, &self.unit, end)
        ));
        let space = &text[content..object.span.end - 1];
        if !space.contains('\n') {
            edited.push_str(&format!("{end}{outer}"));
        } else {
            edited.push_str(space);
        }
        edited.push_str(&text[object.span.end - 1..]);
        edited
    }
}

/// Returns the space before a position, if nothing else stands before it in its line.
fn indent_at(text: &str, at: usize) -> Option<&str> {
    let line = &text[text[..at].rfind('\n')? + 1..at];
    line.trim_matches([' ', '\t']).is_empty().then_some(line)
}

/// Returns the space at the beginning of the line of a position.
fn indent_of_line(text: &str, at: usize) -> &str {
    let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// Writes a value over several lines, the first one without indentation.
fn pretty(value: &Value, indent: &str, unit: &str, line_end: &str) -> String {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let inner = format!("{indent}{unit}");
            let members: Vec<String> = map
                .iter()
                .map(|(key, value)| {
                    format!(
                        "{inner}{}: {}",
                        Value::from(key.as_str()),
                        pretty(value, &inner, unit, line_end)
                    )
                })
                .collect();
            let separator = format!(",{line_end}");
            format!(
                "{{{line_end}{}{line_end}{indent}}}",
                members.join(&separator)
            )
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(text: &str) -> Result<String, String> {
        set_entry(
            text,
            "servers",
            "box",
            &json!({"command": "s", "args": ["mcp", "a\"b"]}),
        )
    }

    const ENTRY: &str = r#"{
      "args": ["mcp", "a\"b"],
      "command": "s"
    }"#;

    #[test]
    fn an_entry_is_added_and_the_rest_stays() {
        for (before, after) in [
            (
                "",
                format!("{{\n  \"servers\": {{\n    \"box\": {ENTRY}\n  }}\n}}\n"),
            ),
            (
                "{}",
                format!("{{\n  \"servers\": {{\n    \"box\": {ENTRY}\n  }}\n}}"),
            ),
            (
                "{\n  \"a\": 1 // why\n}\n",
                format!(
                    "{{\n  \"a\": 1, // why\n  \"servers\": {{\n    \"box\": {ENTRY}\n  }}\n}}\n"
                ),
            ),
            (
                "{\n  \"servers\": {\n    // mine\n    \"x\": {\"command\": \"y\",},\n    /* end */\n  },\n}\n",
                format!(
                    "{{\n  \"servers\": {{\n    // mine\n    \"x\": {{\"command\": \"y\",}},\n    /* end */\n    \"box\": {ENTRY}\n  }},\n}}\n"
                ),
            ),
            (
                "{\n  \"servers\": {}\n}",
                format!("{{\n  \"servers\": {{\n    \"box\": {ENTRY}\n  }}\n}}"),
            ),
            (
                "{\n  \"servers\": {\n    \"box\": {\"command\": \"old\"}, // note\n    \"z\": 1\n  }\n}",
                format!(
                    "{{\n  \"servers\": {{\n    \"box\": {ENTRY}, // note\n    \"z\": 1\n  }}\n}}"
                ),
            ),
        ] {
            assert_eq!(set(before).as_ref(), Ok(&after), "{before}");
            // A second time it is there.
            assert_eq!(set(&after).as_ref(), Ok(&after), "{before}");
        }
    }

    #[test]
    fn the_style_of_the_text_is_followed() {
        let tabs = "{\r\n\t\"inputs\": [],\r\n\t\"servers\": {\r\n\t\t\"x\": {}\r\n\t}\r\n}\r\n";
        let edited = set(tabs).unwrap_or_default();
        assert!(
            edited.contains("\t\t\"x\": {},\r\n\t\t\"box\": {\r\n\t\t\t\"args\""),
            "{edited}"
        );
        assert_eq!(edited.matches('\n').count(), edited.matches("\r\n").count());
        let one_line = set("{\"a\": 1, \"servers\": {\"x\": {}}}").unwrap_or_default();
        assert!(read(&one_line).is_ok(), "{one_line}");
    }

    #[test]
    fn a_text_that_cannot_be_changed_safely_is_refused() {
        for text in [
            "[]",
            "7",
            "{\"servers\": []}",
            "{\"servers\": null}",
            "{\"servers\": {}, \"servers\": {}}",
            "{\"servers\": {\"box\": 1, \"box\": 2}}",
            "{\"servers\": {\"x\": 1",
            "servers: {}",
            "{\"a\": 1 // }",
        ] {
            assert!(set(text).is_err(), "{text}");
        }
    }
}
