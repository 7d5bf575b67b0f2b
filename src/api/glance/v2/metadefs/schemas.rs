//! JSON schemas of metadata definitions. Clients check requests and answers against them, and derive options from them, so the
//! schemas must agree with [`crate::metadefs`]. Knows no stored definition.

use serde_json::{Value, json};

use super::super::schemas::{Schema, fixed, list};
use crate::http::route::Route;
use crate::metadefs::{DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX, OWNER_CHARS_MAX, Type};

/// The routes.
pub(super) fn routes() -> [Route; 10] {
    ALL.map(|(name, schema)| fixed(format!("/schemas/metadefs/{name}"), schema))
}

const ALL: [Schema; 10] = [
    ("namespace", namespace),
    ("namespaces", || collection("namespaces", namespace())),
    ("resource_type", association),
    ("resource_types", || collection("resource_type_associations", association())),
    ("property", property),
    ("properties", properties),
    ("object", object),
    ("objects", || collection("objects", object())),
    ("tag", tag),
    ("tags", || collection("tags", tag())),
];

/// Schema of an object with these attributes and no others.
fn schema(name: &str, required: &[&str], properties: Value) -> Value {
    json!({ "name": name, "properties": properties, "additionalProperties": false, "required": required })
}

/// Adds the definitions that a schema refers to.
fn defining(mut schema: Value) -> Value {
    schema["definitions"] = json!({
        "positiveInteger": { "type": "integer", "minimum": 0 },
        "positiveIntegerDefault0": { "allOf": [{ "$ref": "#/definitions/positiveInteger" }, { "default": 0 }] },
        "stringArray": { "type": "array", "items": { "type": "string" }, "uniqueItems": true },
        "property": {
            "type": "object",
            "additionalProperties": { "type": "object", "required": ["title", "type"], "properties": attributes() },
        },
    });
    schema
}

/// Schema of a page of a list. References start at the top, so the definitions move there.
fn collection(many: &str, mut one: Value) -> Value {
    let definitions = one.as_object_mut().and_then(|one| one.shift_remove("definitions"));
    let mut page = list(many.trim_end_matches('s'), many, one);
    if let Some(definitions) = definitions {
        page["definitions"] = definitions;
    }
    page
}

fn text(description: &str, chars_max: usize) -> Value {
    json!({ "type": "string", "maxLength": chars_max, "description": description })
}

fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

fn moment(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "readOnly": true, "description": description })
}

fn link(description: &str) -> Value {
    json!({ "type": "string", "readOnly": true, "description": description })
}

fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

fn of_type(description: &str) -> Value {
    json!({ "type": "string", "enum": Type::ALL, "description": description })
}

fn namespace() -> Value {
    let named = |more: Value| {
        let mut properties = json!({ "name": { "type": "string" } });
        if let (Value::Object(properties), Value::Object(more)) = (&mut properties, more) {
            properties.extend(more);
        }
        json!({ "type": "array", "items": { "type": "object", "properties": properties } })
    };
    let properties = json!({
        "namespace": text("The name, which no other namespace has", NAME_CHARS_MAX),
        "display_name": text("A name for people", NAME_CHARS_MAX),
        "description": text("What the namespace is for", DESCRIPTION_CHARS_MAX),
        "visibility": { "type": "string", "enum": ["public", "private"], "description": "Visibility of the namespace" },
        "protected": flag("Whether neither the namespace nor anything in it can be deleted"),
        "owner": text("The project that the namespace belongs to", OWNER_CHARS_MAX),
        "created_at": moment("Time when the namespace was made"),
        "updated_at": moment("Time of the last change"),
        "schema": link("Path of this schema"),
        "self": link("Path of the namespace"),
        "resource_type_associations": named(json!({
            "prefix": { "type": "string" },
            "properties_target": { "type": "string" },
        })),
        "properties": { "$ref": "#/definitions/property" },
        "objects": named(json!({
            "description": { "type": "string" },
            "required": { "$ref": "#/definitions/stringArray" },
            "properties": { "$ref": "#/definitions/property" },
        })),
        "tags": named(json!({})),
    });
    defining(schema("namespace", &["namespace"], properties))
}

fn association() -> Value {
    let properties = json!({
        "name": text("The type of resource, such as OS::Nova::Flavor", NAME_CHARS_MAX),
        "prefix": text("Prefix of the names of properties there, with its separator", NAME_CHARS_MAX),
        "properties_target": text("Which properties of the resource are meant, where it has several sets", NAME_CHARS_MAX),
        "created_at": moment("Time when the type was added to the namespace"),
        "updated_at": moment("Time of the last change"),
    });
    schema("resource_type_association", &["name"], properties)
}

/// Schemas of the attributes of a property.
fn attributes() -> Value {
    let (count, count_or_0) = ("#/definitions/positiveInteger", "#/definitions/positiveIntegerDefault0");
    json!({
        "name": text("The name of the property", NAME_CHARS_MAX),
        "title": { "type": "string", "description": "A name for people" },
        "type": of_type("Type of the value"),
        "description": { "type": "string", "description": "What the value means" },
        "operators": texts(),
        "required": { "$ref": "#/definitions/stringArray" },
        "default": {},
        "readonly": flag("Whether the value is only shown"),
        "confidential": flag("Whether the value is not shown"),
        "enum": { "type": "array" },
        "pattern": { "type": "string", "format": "regex" },
        "minimum": { "type": "number" },
        "maximum": { "type": "number" },
        "minLength": { "$ref": count_or_0 },
        "maxLength": { "$ref": count },
        "items": { "type": "object", "properties": { "type": of_type("Type of each"), "enum": { "type": "array" } } },
        "minItems": { "$ref": count_or_0 },
        "maxItems": { "$ref": count },
        "uniqueItems": { "type": "boolean", "default": false },
        "additionalItems": { "type": "boolean" },
    })
}

fn property() -> Value {
    defining(schema("property", &["type", "title", "name"], attributes()))
}

/// Schema of properties by name. The name is a key, so it is no attribute.
fn properties() -> Value {
    let mut all = collection("properties", property());
    let mut one = all["properties"]["properties"]["items"].take();
    one["required"] = json!(["type", "title"]);
    all["properties"]["properties"] = json!({ "type": "object", "additionalProperties": one });
    all
}

fn object() -> Value {
    let properties = json!({
        "name": text("The name of the object", NAME_CHARS_MAX),
        "description": { "type": "string", "description": "What the object is for" },
        "required": { "$ref": "#/definitions/stringArray" },
        "properties": { "$ref": "#/definitions/property" },
        "schema": link("Path of this schema"),
        "self": link("Path of the object"),
        "created_at": moment("Time when the object was made"),
        "updated_at": moment("Time of the last change"),
    });
    defining(schema("object", &["name"], properties))
}

fn tag() -> Value {
    let properties = json!({
        "name": text("The tag", NAME_CHARS_MAX),
        "created_at": moment("Time when the tag was made"),
        "updated_at": moment("Time of the last change"),
    });
    schema("tag", &["name"], properties)
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::Map;

    use super::*;
    use crate::metadefs::{About, Association, Object, Property, Tag};

    /// Example of a value that a schema allows.
    fn example(schema: &Value) -> Value {
        if let Some(choices) = schema["enum"].as_array() {
            return choices[0].clone();
        }
        match (schema["type"].as_str(), schema["$ref"].as_str()) {
            (Some("string"), _) => json!("x"),
            (Some("boolean"), _) => json!(true),
            (Some("number"), _) => json!(1.5),
            (Some("array"), _) | (_, Some("#/definitions/stringArray")) => json!(["x"]),
            (Some("object"), _) => all_of(&schema["properties"]),
            (_, Some("#/definitions/property")) => json!({ "p": { "title": "t", "type": "string" } }),
            (_, Some(_)) => json!(3),
            _ => json!({ "any": 1 }),
        }
    }

    fn all_of(properties: &Value) -> Value {
        let properties = properties.as_object().unwrap();
        let settable = properties.iter().filter(|(_, schema)| schema["readOnly"] != true);
        Value::Object(settable.map(|(name, schema)| (name.clone(), example(schema))).collect())
    }

    /// Checks that every attribute a client may set is read, and written back unchanged.
    fn kept<T: DeserializeOwned + serde::Serialize>(schema: &Value, named: &[&str]) {
        let mut sent = all_of(&schema["properties"]);
        named.iter().for_each(|name| assert!(sent.as_object_mut().unwrap().remove(*name).is_some(), "{name}"));
        let taken: T = serde_json::from_value(sent.clone()).unwrap_or_else(|error| panic!("{error}: {sent}"));
        assert_eq!(serde_json::to_value(taken).unwrap(), sent);
    }

    #[test]
    fn what_the_schemas_allow_is_what_is_taken() {
        kept::<Property>(&property(), &["name"]);
        kept::<Object>(&object(), &["name"]);
        kept::<Association>(&association(), &["name"]);
        kept::<Tag>(&tag(), &["name"]);
        kept::<About>(&namespace(), &["namespace", "resource_type_associations", "properties", "objects", "tags"]);
    }

    #[test]
    fn references_lead_somewhere() {
        fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    into.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, into));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, into)),
                _ => {}
            }
        }
        for (name, schema) in ALL {
            let schema = schema();
            let mut found = Vec::new();
            references(&schema, &mut found);
            let plain = ["resource_type", "resource_types", "tag", "tags"].contains(&name);
            assert_eq!(found.is_empty(), plain, "{name}");
            let definitions = schema["definitions"].as_object().cloned().unwrap_or_else(Map::new);
            for reference in found {
                assert!(
                    definitions.contains_key(reference.strip_prefix("#/definitions/").unwrap()),
                    "{name} {reference}"
                );
            }
        }
    }
}
