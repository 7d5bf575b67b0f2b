//! Metadata definitions: namespaces, and what they have.

mod members;
mod namespaces;
mod query;
mod schemas;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::super::spell::time;
use super::super::{Glance, at, json as answer_json, part};
use crate::error::{Error, Reason, Result};
use crate::metadefs::{Association, Dated, Object, Property, Tag};

/// Adds the routes.
pub(super) fn mount(app: &mut ServiceConfig) {
    app.service(at("/metadefs/namespaces", "GET, POST", |at| {
        at.route(web::get().to(namespaces::list)).route(web::post().to(namespaces::create))
    }));
    app.service(at(NAMESPACE, "GET, PUT, DELETE", |at| {
        at.route(web::get().to(namespaces::show))
            .route(web::put().to(namespaces::update))
            .route(web::delete().to(namespaces::delete))
    }));
    mount_all::<Object>(app);
    mount_all::<Property>(app);
    app.service(at(&format!("{NAMESPACE}/tags"), "GET, POST, DELETE", |at| {
        at.route(web::get().to(members::list::<Tag>))
            .route(web::post().to(members::create_tags))
            .route(web::delete().to(members::clear::<Tag>))
    }));
    app.service(at(&format!("{NAMESPACE}/tags/{{name}}"), "GET, POST, PUT, DELETE", |at| {
        at.route(web::get().to(members::show::<Tag>))
            .route(web::post().to(members::create_tag))
            .route(web::put().to(members::update::<Tag>))
            .route(web::delete().to(members::remove::<Tag>))
    }));
    app.service(at(&format!("{NAMESPACE}/resource_types"), "GET, POST", |at| {
        at.route(web::get().to(members::list::<Association>)).route(web::post().to(members::create::<Association>))
    }));
    app.service(at(&format!("{NAMESPACE}/resource_types/{{name}}"), "DELETE", |at| {
        at.route(web::delete().to(members::remove::<Association>))
    }));
    app.service(at("/metadefs/resource_types", "GET", |at| at.route(web::get().to(resource_types))));
    schemas::mount(app);
}

const NAMESPACE: &str = "/metadefs/namespaces/{namespace}";

fn mount_all<M: members::Written>(app: &mut ServiceConfig) {
    app.service(at(&format!("{NAMESPACE}/{}", M::MANY), "GET, POST, DELETE", |at| {
        at.route(web::get().to(members::list::<M>))
            .route(web::post().to(members::create::<M>))
            .route(web::delete().to(members::clear::<M>))
    }));
    app.service(at(&format!("{NAMESPACE}/{}/{{name}}", M::MANY), "GET, PUT, DELETE", |at| {
        at.route(web::get().to(members::show::<M>))
            .route(web::put().to(members::update::<M>))
            .route(web::delete().to(members::remove::<M>))
    }));
}

/// `GET /v2/metadefs/resource_types`
async fn resource_types(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let seen = glance.metadefs.seen_by(&who);
        let types = seen.resource_types().into_iter().map(|(name, (created, updated))| {
            json!({ "name": name, "created_at": time(created), "updated_at": time(updated) })
        });
        let list = json!({ "resource_types": types.collect::<Vec<_>>() });
        Ok(answer_json(&mut HttpResponse::Ok(), &list))
    });
    listed.await
}

/// The namespace that a path names.
fn namespace_of(request: &HttpRequest) -> Result<String> {
    part(request, "namespace")
}

/// What stands in a path as what it is: the names that are usual have colons, and clients compare.
const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'@').remove(b',');

/// The path of a namespace, or of what it has.
fn path(namespace: &str, member: Option<(&str, &str)>) -> String {
    let namespace = utf8_percent_encode(namespace, SEGMENT);
    match member {
        None => format!("/v2/metadefs/namespaces/{namespace}"),
        Some((many, name)) => {
            format!("/v2/metadefs/namespaces/{namespace}/{many}/{}", utf8_percent_encode(name, SEGMENT))
        }
    }
}

/// Names of what only the service sets.
const READ_ONLY: [&str; 4] = ["self", "schema", "created_at", "updated_at"];

/// The members of a JSON object that is all of a body. What only the service sets may not be in it.
fn object(schema: &str, body: Value) -> Result<Map<String, Value>> {
    let Value::Object(members) = body else { return Err(mismatch(schema, "it is not an object")) };
    if let Some(name) = READ_ONLY.into_iter().find(|name| members.contains_key(*name)) {
        return Err(Reason::ReadOnly.saying(format!("Attribute '{name}' is read-only.")));
    }
    Ok(members)
}

/// The name in a JSON object, and what else it says.
fn named<T: DeserializeOwned>(schema: &str, key: &str, mut members: Map<String, Value>) -> Result<(String, T)> {
    let Some(Value::String(name)) = members.shift_remove(key) else {
        return Err(mismatch(schema, &format!("'{key}' is a required property, and a string")));
    };
    read(schema, Value::Object(members)).map(|value| (name, value))
}

fn read<T: DeserializeOwned>(schema: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| mismatch(schema, &error.to_string()))
}

fn mismatch(schema: &str, why: &str) -> Error {
    // A value may be as large as a body.
    let why: String = why.chars().take(200).collect();
    Error::invalid(format!("Provided object does not match schema '{schema}': {why}"))
}

/// Something as JSON, its name first.
fn written<T: Serialize>(key: &str, name: &str, value: &T) -> Result<Map<String, Value>> {
    let mut all = Map::from_iter([(key.to_owned(), name.into())]);
    if let Value::Object(members) = serde_json::to_value(value).map_err(Error::internal)? {
        all.extend(members);
    }
    Ok(all)
}

fn dated<T>(mut all: Map<String, Value>, of: &Dated<T>) -> Map<String, Value> {
    all.insert("created_at".into(), time(of.created_at()).into());
    all.insert("updated_at".into(), time(of.updated_at()).into());
    all
}

/// Where something is, and the schema of what is there.
fn placed(mut all: Map<String, Value>, path: String, schema: &str) -> Map<String, Value> {
    all.insert("self".into(), path.into());
    all.insert("schema".into(), format!("/v2/schemas/metadefs/{schema}").into());
    all
}
