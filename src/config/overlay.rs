//! Puts a file and the environment over the default table. What the default does not have is not a key.

use toml::{Table, Value};

use super::ConfigError;
use crate::error::did_you_mean;

/// Prefix of every variable of ours.
const PREFIX: &str = "VISOR__";

/// Sections whose keys are names that the operator chooses: any key is one.
const OPEN: [&str; 2] = ["cache.mirrors", "vendors"];

pub(super) fn parse(text: &str, name: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        ConfigError(format!("{name}, line {line}: {}", error.message()))
    })
}

/// Puts a file's keys over a table.
pub(super) fn put_file(table: &mut Table, file: Table, name: &str) -> Result<(), ConfigError> {
    put_table(table, file, "", name)
}

/// Tells whether a table has a value at this path of keys.
pub(super) fn has(table: &Table, path: [&str; 2]) -> bool {
    table.get(path[0]).and_then(|section| section.get(path[1])).is_some()
}

/// The variable that sets the value at a path of keys.
pub(super) fn variable(path: [&str; 2]) -> String {
    format!("{PREFIX}{}", path.join("__").to_ascii_uppercase())
}

fn put_table(base: &mut Table, over: Table, path: &str, name: &str) -> Result<(), ConfigError> {
    for (key, value) in over {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (base.get_mut(&key), value) {
            (None, value) if OPEN.contains(&path) => drop(base.insert(key, value)),
            (None, _) => {
                let near = did_you_mean(&full, keys(base, path).into_iter());
                return Err(ConfigError(format!("{name}: unknown key {full}{near}")));
            }
            (Some(Value::Table(inner)), Value::Table(over)) => put_table(inner, over, &full, name)?,
            (Some(Value::Table(_)), _) => return Err(ConfigError(format!("{name}: {full} is a section, not a value"))),
            (Some(place), value) => *place = value,
        }
    }
    Ok(())
}

/// The full names of everything in a table.
fn keys(table: &Table, path: &str) -> Vec<String> {
    table.keys().map(|key| if path.is_empty() { key.clone() } else { format!("{path}.{key}") }).collect()
}

/// Puts `VISOR__SECTION__KEY` variables over a table. A list is written with commas.
pub(super) fn put_environment(
    table: &mut Table,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    let mut known = Vec::new();
    variables(table, PREFIX, &mut known);
    for (variable, text) in environment.filter(|(variable, _)| variable.starts_with(PREFIX)) {
        if !known.contains(&variable) {
            let near = did_you_mean(&variable, known.into_iter());
            return Err(ConfigError(format!("unknown variable {variable} in the environment{near}")));
        }
        let path: Vec<String> = variable[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        if let Some(value) = at(table, &path) {
            *value = like(value, &text).ok_or_else(|| {
                ConfigError(format!("{variable} in the environment: {text:?} is not a valid {}", value.type_str()))
            })?;
        }
    }
    Ok(())
}

/// The value at a path of keys.
fn at<'a>(table: &'a mut Table, path: &[String]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    match table.get_mut(first)? {
        Value::Table(inner) => at(inner, rest),
        value => rest.is_empty().then_some(value),
    }
}

/// The names of the variables for every key of a table.
fn variables(table: &Table, prefix: &str, into: &mut Vec<String>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.to_ascii_uppercase());
        match value {
            Value::Table(inner) => variables(inner, &format!("{name}__"), into),
            _ => into.push(name),
        }
    }
}

/// A text as a value of the same type as the default.
fn like(default: &Value, text: &str) -> Option<Value> {
    Some(match default {
        Value::Integer(_) => Value::Integer(text.parse().ok()?),
        Value::Boolean(_) => Value::Boolean(text.parse().ok()?),
        Value::Float(_) => Value::Float(text.parse().ok()?),
        Value::Array(_) => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.into()))
                .collect(),
        ),
        Value::String(_) | Value::Datetime(_) | Value::Table(_) => Value::String(text.to_owned()),
    })
}
