//! Limits of a namespace: lengths and numbers. Lengths are those that the schemas of Glance promise.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Association, Dated, Namespace, Namespaces, Object, Property, Tag};
use crate::error::{Error, Reason, Result};

/// Longest name of anything, in characters; also longest title of a namespace, prefix and target.
pub const NAME_CHARS_MAX: usize = 80;
/// Longest description of a namespace.
pub const DESCRIPTION_CHARS_MAX: usize = 500;
/// Longest name of an owner.
pub const OWNER_CHARS_MAX: usize = 255;

const NAMESPACES_MAX: usize = 1000;
/// Members of one kind in one namespace, and properties of one object.
const MEMBERS_MAX: usize = 1000;
/// Arrays and objects in one another in a value: far less than what a reader of JSON gives up at, as the file's does.
const DEPTH_MAX: usize = 8;

/// Checks that definitions may be stored.
///
/// # Errors
/// `Invalid`, `TooMany`.
pub(super) fn check(namespaces: &Namespaces) -> Result<()> {
    few("namespaces", namespaces.len(), NAMESPACES_MAX)?;
    namespaces.iter().try_for_each(|(name, namespace)| {
        named("namespace", name)?;
        check_namespace(&namespace.value)
    })
}

fn check_namespace(namespace: &Namespace) -> Result<()> {
    let about = &namespace.about;
    short("display_name", about.display_name.as_deref(), NAME_CHARS_MAX)?;
    short("description", about.description.as_deref(), DESCRIPTION_CHARS_MAX)?;
    short("owner", about.owner.as_deref(), OWNER_CHARS_MAX)?;
    each(
        "resource type",
        &namespace.resource_types,
        |Dated { value: Association { prefix, properties_target }, .. }| {
            short("prefix", prefix.as_deref(), NAME_CHARS_MAX)?;
            short("properties_target", properties_target.as_deref(), NAME_CHARS_MAX)
        },
    )?;
    each("property", &namespace.properties, |property| check_property(&property.value))?;
    each("object", &namespace.objects, |Dated { value: Object { properties, .. }, .. }| {
        each("property", properties, check_property)
    })?;
    each("tag", &namespace.tags, |Dated { value: Tag {}, .. }| Ok(()))
}

fn each<T>(word: &str, members: &BTreeMap<String, T>, check: impl Fn(&T) -> Result<()>) -> Result<()> {
    few(word, members.len(), MEMBERS_MAX)?;
    members.iter().try_for_each(|(name, member)| {
        named(word, name)?;
        check(member)
    })
}

fn check_property(property: &Property) -> Result<()> {
    let lists = [property.choices.as_ref(), property.items.as_ref().and_then(|items| items.choices.as_ref())];
    let mut values = property.default.iter().chain(lists.into_iter().flatten().flatten());
    if values.any(|value| depth(value) > DEPTH_MAX) {
        return Err(Error::invalid(format!("A value has more than {DEPTH_MAX} levels of arrays and objects.")));
    }
    Ok(())
}

/// Depth of nested arrays and objects. A value from a body is never deeper than its reader allows.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A name stands in paths and in logs.
fn named(word: &str, name: &str) -> Result<()> {
    short(word, Some(name), NAME_CHARS_MAX)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "The name of a {word} has to have characters, and only such as can be seen."
        )));
    }
    Ok(())
}

fn short(what: &str, text: Option<&str>, chars_max: usize) -> Result<()> {
    if text.is_some_and(|text| text.chars().count() > chars_max) {
        return Err(Error::invalid(format!("The {what} has more than {chars_max} characters.")));
    }
    Ok(())
}

fn few(what: &str, count: usize, max: usize) -> Result<()> {
    if count > max {
        return Err(Reason::TooMany.saying(format!("More than {max} in one place: {what}.")));
    }
    Ok(())
}
