//! Handlers of namespaces: parse, call, render. The rules are the core's.

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::super::super::{Glance, body};
use super::super::query::link;
use super::members::{MemberJson, all, nameless, nested, properties};
use super::{dated, mismatch, named, namespace_of, object, path, placed, query, read, written};
use crate::error::Result;
use crate::http::base::base_url;
use crate::http::route::answer_json;
use crate::metadefs::{About, Association, Dated, Namespace, Object, Property, Tag};
use crate::registry::NamespaceDraft;

const SCHEMA: &str = "namespace";
const ASSOCIATIONS: &str = "resource_type_associations";

/// Renders a namespace without its members.
fn brief(name: &str, namespace: &Dated<Namespace>) -> Result<Map<String, Value>> {
    let shown = dated(written(SCHEMA, name, &namespace.value.about)?, namespace);
    Ok(placed(shown, path(name, None), SCHEMA))
}

/// Renders a namespace with its resource types.
fn listed(name: &str, namespace: &Dated<Namespace>) -> Result<Map<String, Value>> {
    let mut shown = brief(name, namespace)?;
    put(&mut shown, ASSOCIATIONS, all::<Association>(name, &namespace.value)?);
    Ok(shown)
}

/// Renders a namespace with all its members.
fn whole(name: &str, namespace: &Dated<Namespace>) -> Result<Map<String, Value>> {
    let mut shown = listed(name, namespace)?;
    put(&mut shown, Object::MANY, all::<Object>(name, &namespace.value)?);
    if !namespace.value.properties.is_empty() {
        shown.insert(Property::MANY.into(), properties(&namespace.value)?);
    }
    let tags: Vec<Value> = namespace.value.tags.keys().map(|tag| json!({ "name": tag })).collect();
    put(&mut shown, Tag::MANY, tags);
    Ok(shown)
}

/// Adds a list, unless it is empty.
fn put<V: Into<Value>>(shown: &mut Map<String, Value>, name: &str, list: Vec<V>) {
    if !list.is_empty() {
        shown.insert(name.to_owned(), list.into());
    }
}

/// Renames the properties of a namespace with the prefix of a resource type.
fn prefixed(mut namespace: Dated<Namespace>, resource_type: &str) -> Dated<Namespace> {
    let association = namespace.value.resource_types.get(resource_type);
    let Some(prefix) = association.and_then(|association| association.value.prefix.clone()) else { return namespace };
    let long = |name: &String| format!("{prefix}{name}");
    let all = &mut namespace.value;
    all.properties = std::mem::take(&mut all.properties).into_iter().map(|(k, v)| (long(&k), v)).collect();
    for Dated { value: object, .. } in all.objects.values_mut() {
        object.properties = std::mem::take(&mut object.properties).into_iter().map(|(k, v)| (long(&k), v)).collect();
        object.required.iter_mut().flatten().for_each(|name| *name = long(name));
    }
    namespace
}

/// `GET /v2/metadefs/namespaces`
pub(super) async fn list(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        let asked = request.query_string();
        let (wanted, page) = query::namespaces(asked)?;
        let seen = glance.metadefs.seen_by(&who);
        let namespaces = seen.list(&wanted, &page)?;
        let shown = namespaces.iter().map(|(name, namespace)| listed(name, namespace));
        let here = "/v2/metadefs/namespaces";
        let mut list = json!({
            "namespaces": shown.collect::<Result<Vec<_>>>()?,
            "first": link(here, asked, None),
            "schema": "/v2/schemas/metadefs/namespaces",
        });
        if let Some((last, _)) = namespaces.last().filter(|_| namespaces.len() == page.limit) {
            list["next"] = link(here, asked, Some(last)).into();
        }
        Ok(answer_json(&mut HttpResponse::Ok(), &list))
    });
    shown.await
}

/// `POST /v2/metadefs/namespaces`
pub(super) async fn create(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let made = glance.answer(&request, async |who| {
        let mut body = object(SCHEMA, body::read(payload, glance.patience).await?)?;
        let draft = NamespaceDraft {
            resource_types: taken_out(&mut body, ASSOCIATIONS)?,
            properties: properties_out(&mut body)?,
            objects: taken_out(&mut body, Object::MANY)?,
            tags: taken_out(&mut body, Tag::MANY)?,
            about: About::default(),
        };
        let (name, about) = named(SCHEMA, SCHEMA, body)?;
        let made = glance.metadefs.create(&who, &name, NamespaceDraft { about, ..draft }).await?;
        let mut response = HttpResponse::Created();
        response.insert_header((header::LOCATION, format!("{}{}", base_url(&request), path(&name, None))));
        Ok(answer_json(&mut response, &whole(&name, &made)?))
    });
    made.await
}

/// Takes the members of one kind out of the body of a namespace.
fn taken_out<M: MemberJson>(body: &mut Map<String, Value>, key: &str) -> Result<Vec<(String, M)>> {
    match body.shift_remove(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(members)) => nested(SCHEMA, members),
        Some(_) => Err(mismatch(SCHEMA, &format!("'{key}' is not an array"))),
    }
}

/// Takes the properties out of the body of a namespace. Their names are the keys of the object.
fn properties_out(body: &mut Map<String, Value>) -> Result<Vec<(String, Property)>> {
    let mut properties = body.shift_remove(Property::MANY).unwrap_or_else(|| json!({}));
    nameless(&mut properties);
    let Value::Object(properties) = properties else { return Err(mismatch(SCHEMA, "'properties' is not an object")) };
    properties.into_iter().map(|(name, property)| Ok((name, read(Property::SCHEMA, property)?))).collect()
}

/// `GET /v2/metadefs/namespaces/:namespace`
pub(super) async fn show(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        let name = namespace_of(&request)?;
        let seen = glance.metadefs.seen_by(&who);
        let namespace = seen.get(&name)?;
        let shown = match query::resource_type(request.query_string())? {
            Some(resource_type) => whole(&name, &prefixed(namespace.clone(), &resource_type))?,
            None => whole(&name, namespace)?,
        };
        Ok(answer_json(&mut HttpResponse::Ok(), &shown))
    });
    shown.await
}

/// `PUT /v2/metadefs/namespaces/:namespace`. Members are ignored: clients send them back, and they have paths of their own.
pub(super) async fn update(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let updated = glance.answer(&request, async |who| {
        let mut body = object(SCHEMA, body::read(payload, glance.patience).await?)?;
        for members in [ASSOCIATIONS, Property::MANY, Object::MANY, Tag::MANY] {
            body.shift_remove(members);
        }
        let (new_name, about) = named(SCHEMA, SCHEMA, body)?;
        let after = glance.metadefs.update(&who, &namespace_of(&request)?, &new_name, about).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &brief(&new_name, &after)?))
    });
    updated.await
}

/// `DELETE /v2/metadefs/namespaces/:namespace`
pub(super) async fn delete(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let deleted = glance.answer(&request, async |who| {
        glance.metadefs.delete(&who, &namespace_of(&request)?).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    deleted.await
}
