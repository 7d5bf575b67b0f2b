//! JSON of clients, with errors in plain words: which field, and what is wrong with it. The parser's own words name its types
//! and places that mean nothing once the text was taken apart.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

/// Characters of a client's text that an error repeats.
const WORDS_MAX: usize = 200;

/// Reads a value from text.
///
/// # Errors
/// Words for the client: the end of a sentence such as "The body can't be used: …".
pub fn from_text<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut from).map_err(|error| explain(&error))?;
    from.end().map_err(|error| syntax(&error))?;
    Ok(value)
}

/// Reads a value from another one.
///
/// # Errors
/// As [`from_text`].
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| explain(&error))
}

fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let inner = error.inner();
    if inner.classify() != Category::Data {
        return syntax(inner);
    }
    let text = inner.to_string();
    // The path says where, and the parser's place is added to texts of ours too.
    let text = text.split(" at line ").next().unwrap_or_default();
    let path = error.path().to_string();
    let whole = path == ".";
    let field = |name: &str| if whole { format!("'{name}'") } else { format!("'{path}.{name}'") };
    let quoted = |prefix: &str| text.strip_prefix(prefix)?.split('`').nth(1);
    let words = if let Some(name) = quoted("missing field") {
        format!("{} is missing", field(name))
    } else if let Some(name) = quoted("unknown field") {
        format!("'{name}' is not known here")
    } else if let Some(name) = quoted("duplicate field") {
        format!("{} is there twice", field(name))
    } else if is_of_the_parser(text) {
        match whole {
            true => "it is of the wrong kind".to_owned(),
            false => format!("'{path}' is of the wrong kind, or not one of the values that are allowed"),
        }
    } else {
        text.to_owned()
    };
    words.chars().take(WORDS_MAX).collect()
}

/// Tells whether a text is the parser's, and not one that a type of ours has for its values.
fn is_of_the_parser(text: &str) -> bool {
    ["invalid ", "unknown variant", "data did not match", "expected ", "no variant", "untagged", "number out of range"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

fn syntax(error: &serde_json::Error) -> String {
    match error.classify() {
        Category::Eof => "it is not JSON: it ends too early".to_owned(),
        _ => format!("it is not JSON: look at line {}, column {}", error.line(), error.column()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Outer {
        inner: Vec<Inner>,
        kind: Option<Kind>,
        more: Option<BTreeMap<String, String>>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        size: u8,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        A,
    }

    #[test]
    fn errors_name_the_field_and_no_type_of_the_parser() {
        for (text, expected) in [
            ("", "it is not JSON: it ends too early"),
            ("{\"inner\": [", "it is not JSON: it ends too early"),
            ("{\"inner\": [}", "it is not JSON: look at line 1, column 12"),
            ("{\"inner\": []} x", "it is not JSON: look at line 1, column 15"),
            ("1", "it is of the wrong kind"),
            ("[1]", "'[0]' is of the wrong kind, or not one of the values that are allowed"),
            ("{}", "'inner' is missing"),
            ("{\"inner\": [{\"size\": 1}, {}]}", "'inner[1].size' is missing"),
            (
                "{\"inner\": [{\"size\": 256}]}",
                "'inner[0].size' is of the wrong kind, or not one of the values that are allowed",
            ),
            ("{\"inner\": 1}", "'inner' is of the wrong kind, or not one of the values that are allowed"),
            (
                "{\"inner\": [], \"kind\": \"B\"}",
                "'kind' is of the wrong kind, or not one of the values that are allowed",
            ),
            ("{\"inner\": [], \"x\": 1}", "'x' is not known here"),
            (
                "{\"inner\": [], \"more\": {\"a\": 1}}",
                "'more.a' is of the wrong kind, or not one of the values that are allowed",
            ),
        ] {
            assert_eq!(from_text::<Outer>(text.as_bytes()).unwrap_err(), expected, "{text}");
            if let Ok(value) = serde_json::from_str::<Value>(text) {
                assert_eq!(from_value::<Outer>(value).unwrap_err(), expected, "{text}");
            }
        }
        assert!(matches!(
            from_text::<Outer>(b"{\"inner\": [{\"size\": 1}], \"kind\": \"A\"}").unwrap().kind,
            Some(Kind::A)
        ));
    }
}
