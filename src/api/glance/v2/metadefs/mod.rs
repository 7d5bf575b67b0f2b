//! Metadata definitions in v2: routes, and JSON that their handlers share. Knows no rule about definitions.

mod members;
mod namespaces;
mod query;
mod schemas;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::Glance;
use crate::error::{Error, Reason, Result};
use crate::http::json::from_value;
use crate::http::route::{Route, answer_json, delete, get, part, post, put};
use crate::http::time::to_the_second;
use crate::metadefs::{Association, Dated, Object, Property, Tag};
use crate::percent::RESERVED;
use crate::registry::policy::Action;

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    use Action::{ChangeDefinitions, SeeDefinitions};
    let (tags, tag) = (format!("{NAMESPACE}/tags"), format!("{NAMESPACE}/tags/{{name}}"));
    let types = format!("{NAMESPACE}/resource_types");
    let mut routes = vec![
        get("/metadefs/namespaces", SeeDefinitions, namespaces::list),
        post("/metadefs/namespaces", ChangeDefinitions, namespaces::create),
        get(NAMESPACE, SeeDefinitions, namespaces::show),
        put(NAMESPACE, ChangeDefinitions, namespaces::update),
        delete(NAMESPACE, ChangeDefinitions, namespaces::delete),
    ];
    routes.extend(routes_of::<Object>());
    routes.extend(routes_of::<Property>());
    routes.extend([
        get(tags.clone(), SeeDefinitions, members::list::<Tag>),
        post(tags.clone(), ChangeDefinitions, members::create_tags),
        delete(tags, ChangeDefinitions, members::clear::<Tag>),
        get(tag.clone(), SeeDefinitions, members::show::<Tag>),
        post(tag.clone(), ChangeDefinitions, members::create_tag),
        put(tag.clone(), ChangeDefinitions, members::update::<Tag>),
        delete(tag, ChangeDefinitions, members::remove::<Tag>),
        get(types.clone(), SeeDefinitions, members::list::<Association>),
        post(types.clone(), ChangeDefinitions, members::create::<Association>),
        delete(format!("{types}/{{name}}"), ChangeDefinitions, members::remove::<Association>),
        get("/metadefs/resource_types", SeeDefinitions, resource_types),
    ]);
    routes.extend(schemas::routes());
    routes
}

const NAMESPACE: &str = "/metadefs/namespaces/{namespace}";

fn routes_of<M: members::MemberJson>() -> [Route; 6] {
    use Action::{ChangeDefinitions, SeeDefinitions};
    let all = format!("{NAMESPACE}/{}", M::MANY);
    let one = format!("{all}/{{name}}");
    [
        get(all.clone(), SeeDefinitions, members::list::<M>),
        post(all.clone(), ChangeDefinitions, members::create::<M>),
        delete(all, ChangeDefinitions, members::clear::<M>),
        get(one.clone(), SeeDefinitions, members::show::<M>),
        put(one.clone(), ChangeDefinitions, members::update::<M>),
        delete(one, ChangeDefinitions, members::remove::<M>),
    ]
}

/// `GET /v2/metadefs/resource_types`
async fn resource_types(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let seen = glance.metadefs.seen_by(&who);
        let types = seen.resource_types().into_iter().map(|(name, (created, updated))| {
            json!({ "name": name, "created_at": to_the_second(created), "updated_at": to_the_second(updated) })
        });
        let list = json!({ "resource_types": types.collect::<Vec<_>>() });
        Ok(answer_json(&mut HttpResponse::Ok(), &list))
    });
    listed.await
}

/// Name of the namespace in a path.
fn namespace_of(request: &HttpRequest) -> Result<String> {
    part(request, "namespace")
}

/// Characters that a path escapes. Colons stay: common names have them, and clients compare paths.
const SEGMENT: &AsciiSet = &RESERVED.remove(b':').remove(b'@').remove(b',');

/// Path of a namespace, or of one of its members.
fn path(namespace: &str, member: Option<(&str, &str)>) -> String {
    let namespace = utf8_percent_encode(namespace, SEGMENT);
    match member {
        None => format!("/v2/metadefs/namespaces/{namespace}"),
        Some((many, name)) => {
            format!("/v2/metadefs/namespaces/{namespace}/{many}/{}", utf8_percent_encode(name, SEGMENT))
        }
    }
}

/// Names that only the service sets.
const READ_ONLY: [&str; 4] = ["self", "schema", "created_at", "updated_at"];

/// Reads a body that is a JSON object. Refuses names that only the service sets.
fn object(schema: &str, body: Value) -> Result<Map<String, Value>> {
    let Value::Object(members) = body else { return Err(mismatch(schema, "it is not an object")) };
    if let Some(name) = READ_ONLY.into_iter().find(|name| members.contains_key(*name)) {
        return Err(Reason::ReadOnly.saying(format!("Attribute '{name}' is read-only.")));
    }
    Ok(members)
}

/// Splits a JSON object into its name and the value of its other members.
fn named<T: DeserializeOwned>(schema: &str, key: &str, mut members: Map<String, Value>) -> Result<(String, T)> {
    let Some(Value::String(name)) = members.shift_remove(key) else {
        return Err(mismatch(schema, &format!("'{key}' is a required property, and a string")));
    };
    read(schema, Value::Object(members)).map(|value| (name, value))
}

fn read<T: DeserializeOwned>(schema: &str, value: Value) -> Result<T> {
    from_value(value).map_err(|why| mismatch(schema, &why))
}

fn mismatch(schema: &str, why: &str) -> Error {
    // A value may be as large as a body.
    let why: String = why.chars().take(200).collect();
    Error::invalid(format!("Provided object does not match schema '{schema}': {why}"))
}

/// Writes a value as JSON, its name first.
fn written<T: Serialize>(key: &str, name: &str, value: &T) -> Result<Map<String, Value>> {
    let mut all = Map::from_iter([(key.to_owned(), name.into())]);
    if let Value::Object(members) = serde_json::to_value(value).map_err(Error::internal)? {
        all.extend(members);
    }
    Ok(all)
}

fn dated<T>(mut all: Map<String, Value>, of: &Dated<T>) -> Map<String, Value> {
    all.insert("created_at".into(), to_the_second(of.created_at()).into());
    all.insert("updated_at".into(), to_the_second(of.updated_at()).into());
    all
}

/// Adds a path, and the schema of the object at that path.
fn placed(mut all: Map<String, Value>, path: String, schema: &str) -> Map<String, Value> {
    all.insert("self".into(), path.into());
    all.insert("schema".into(), format!("/v2/schemas/metadefs/{schema}").into());
    all
}
