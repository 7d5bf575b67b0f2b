//! Handlers of the members of a namespace: objects, properties, tags and resource types. Knows only their JSON; the rules are
//! the core's.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::super::super::{Glance, body};
use super::{dated, mismatch, named, namespace_of, object, path, placed, query, written};
use crate::error::{Error, Result};
use crate::http::headers::text;
use crate::http::route::{answer_json, part};
use crate::metadefs::{Association, Dated, Member, Namespace, Object, Page, Property, Tag, missing};

/// JSON of a kind of member.
pub(super) trait MemberJson: Member {
    /// Name of the kind in the plural, in paths and in answers.
    const MANY: &'static str;
    /// Name of the schema of a member.
    const SCHEMA: &'static str;

    /// Renders a member.
    fn show(namespace: &str, name: &str, member: &Dated<Self>) -> Result<Map<String, Value>>;

    /// Renders the members of a namespace.
    fn list(name: &str, namespace: &Namespace, page: &Page) -> Result<Value>;

    /// Name of a member without the prefix of a resource type.
    fn own_name<'a>(_: &Namespace, _resource_type: &str, name: &'a str) -> Result<&'a str> {
        Ok(name)
    }

    /// Removes redundant names from the JSON of a member.
    fn tidy(members: Map<String, Value>) -> Map<String, Value> {
        members
    }
}

impl MemberJson for Object {
    const MANY: &'static str = "objects";
    const SCHEMA: &'static str = "object";

    fn show(namespace: &str, name: &str, object: &Dated<Self>) -> Result<Map<String, Value>> {
        let shown = dated(written("name", name, &object.value)?, object);
        Ok(placed(shown, path(namespace, Some((Self::MANY, name))), Self::SCHEMA))
    }

    fn list(name: &str, namespace: &Namespace, page: &Page) -> Result<Value> {
        let objects = paged(namespace, page)?.into_iter().map(|(object, value)| Self::show(name, object, value));
        Ok(json!({ "objects": objects.collect::<Result<Vec<_>>>()?, "schema": "/v2/schemas/metadefs/objects" }))
    }

    fn tidy(mut members: Map<String, Value>) -> Map<String, Value> {
        if let Some(properties) = members.get_mut("properties") {
            nameless(properties);
        }
        members
    }
}

impl MemberJson for Property {
    const MANY: &'static str = "properties";
    const SCHEMA: &'static str = "property";

    fn show(_: &str, name: &str, property: &Dated<Self>) -> Result<Map<String, Value>> {
        written("name", name, &property.value)
    }

    fn list(_: &str, namespace: &Namespace, _: &Page) -> Result<Value> {
        Ok(json!({ "properties": properties(namespace)? }))
    }

    fn own_name<'a>(namespace: &Namespace, resource_type: &str, name: &'a str) -> Result<&'a str> {
        let prefix = Association::find(namespace, resource_type)?.value.prefix.as_deref().unwrap_or_default();
        name.strip_prefix(prefix).filter(|_| !prefix.is_empty()).ok_or_else(|| missing(Self::WORD, name))
    }
}

impl MemberJson for Tag {
    const MANY: &'static str = "tags";
    const SCHEMA: &'static str = "tag";

    fn show(_: &str, name: &str, tag: &Dated<Self>) -> Result<Map<String, Value>> {
        Ok(dated(written("name", name, &tag.value)?, tag))
    }

    fn list(_: &str, namespace: &Namespace, page: &Page) -> Result<Value> {
        let tags = paged::<Self>(namespace, page)?.into_iter().map(|(name, _)| json!({ "name": name }));
        Ok(json!({ "tags": tags.collect::<Vec<_>>() }))
    }
}

impl MemberJson for Association {
    const MANY: &'static str = "resource_types";
    const SCHEMA: &'static str = "resource_type_association";

    fn show(_: &str, name: &str, association: &Dated<Self>) -> Result<Map<String, Value>> {
        Ok(dated(written("name", name, &association.value)?, association))
    }

    fn list(name: &str, namespace: &Namespace, _: &Page) -> Result<Value> {
        Ok(json!({ "resource_type_associations": all::<Self>(name, namespace)? }))
    }
}

/// Renders all members of a kind, sorted by name.
pub(super) fn all<M: MemberJson>(name: &str, namespace: &Namespace) -> Result<Vec<Map<String, Value>>> {
    M::of(namespace).iter().map(|(member, value)| M::show(name, member, value)).collect()
}

/// Renders all properties, by name.
pub(super) fn properties(namespace: &Namespace) -> Result<Value> {
    let properties = namespace.properties.iter().map(|(name, property)| {
        let property = serde_json::to_value(&property.value).map_err(Error::internal)?;
        Ok((name.clone(), property))
    });
    Ok(Value::Object(properties.collect::<Result<_>>()?))
}

fn paged<'a, M: Member>(namespace: &'a Namespace, page: &Page) -> Result<Vec<(&'a str, &'a Dated<M>)>> {
    page.of(M::WORD, M::of(namespace).iter().map(|(name, member)| (name.as_str(), member)))
}

/// Removes the names inside properties: the keys are their names.
pub(super) fn nameless(properties: &mut Value) {
    let members = properties.as_object_mut().into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    members.for_each(|property| _ = property.shift_remove("name"));
}

/// Reads a member and its name.
pub(super) fn parse<M: MemberJson>(members: Map<String, Value>) -> Result<(String, M)> {
    named(M::SCHEMA, "name", M::tidy(members))
}

/// `GET /v2/metadefs/namespaces/:namespace/objects`, `properties`, `tags`, `resource_types`
pub(super) async fn list<M: MemberJson>(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let listed = glance.answer(&request, async |who| {
        let (name, page) = (namespace_of(&request)?, query::members(request.query_string())?);
        let seen = glance.metadefs.seen_by(&who);
        let list = M::list(&name, &seen.get(&name)?.value, &page)?;
        Ok(answer_json(&mut HttpResponse::Ok(), &list))
    });
    listed.await
}

/// `POST /v2/metadefs/namespaces/:namespace/objects`, `properties`, `resource_types`
pub(super) async fn create<M: MemberJson>(
    request: HttpRequest,
    glance: Data<Glance>,
    payload: Payload,
) -> HttpResponse {
    let made = glance.answer(&request, async |who| {
        let namespace = namespace_of(&request)?;
        let (name, member) = parse::<M>(object(M::SCHEMA, body::read(payload, glance.patience).await?)?)?;
        let when = glance.metadefs.add(&who, &namespace, vec![(name.clone(), member.clone())], false).await?;
        let made = M::show(&namespace, &name, &Dated::new(member, when))?;
        Ok(answer_json(&mut HttpResponse::Created(), &made))
    });
    made.await
}

/// `POST /v2/metadefs/namespaces/:namespace/tags/:name`
pub(super) async fn create_tag(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let made = glance.answer(&request, async |who| {
        let (namespace, name) = (namespace_of(&request)?, part(&request, "name")?);
        let when = glance.metadefs.add(&who, &namespace, vec![(name.clone(), Tag {})], false).await?;
        let made = Tag::show(&namespace, &name, &Dated::new(Tag {}, when))?;
        Ok(answer_json(&mut HttpResponse::Created(), &made))
    });
    made.await
}

/// `POST /v2/metadefs/namespaces/:namespace/tags`: replaces all tags, unless a header asks to append.
pub(super) async fn create_tags(request: HttpRequest, glance: Data<Glance>, payload: Payload) -> HttpResponse {
    let made = glance.answer(&request, async |who| {
        let mut members = object("tags", body::read(payload, glance.patience).await?)?;
        let tags = members.shift_remove("tags").filter(|_| members.is_empty());
        let Some(Value::Array(tags)) = tags else {
            return Err(mismatch("tags", "it has 'tags', an array, and nothing else"));
        };
        let tags: Vec<(String, Tag)> = nested("tags", tags)?;
        let list: Vec<Value> = tags.iter().map(|(name, _)| json!({ "name": name })).collect();
        let append = text(request.headers(), "x-openstack-append").unwrap_or_default().to_ascii_lowercase();
        let instead = !["1", "t", "true", "on", "y", "yes"].contains(&append.as_str());
        glance.metadefs.add(&who, &namespace_of(&request)?, tags, instead).await?;
        Ok(answer_json(&mut HttpResponse::Created(), &json!({ "tags": list })))
    });
    made.await
}

/// Reads members inside another body, which may be a copy of an answer: names that only the service sets are ignored.
pub(super) fn nested<M: MemberJson>(within: &str, members: Vec<Value>) -> Result<Vec<(String, M)>> {
    let members = members.into_iter().map(|member| {
        let Value::Object(mut member) = member else { return Err(mismatch(within, "a member is not an object")) };
        member.retain(|name, _| !super::READ_ONLY.contains(&name.as_str()));
        parse(member)
    });
    members.collect()
}

/// `GET /v2/metadefs/namespaces/:namespace/objects/:name`, `properties`, `tags`
pub(super) async fn show<M: MemberJson>(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let shown = glance.answer(&request, async |who| {
        let (namespace, name) = (namespace_of(&request)?, part(&request, "name")?);
        let seen = glance.metadefs.seen_by(&who);
        let found = &seen.get(&namespace)?.value;
        let resource_type = query::resource_type(request.query_string())?;
        let own = resource_type.map_or(Ok(name.as_str()), |resource_type| M::own_name(found, &resource_type, &name))?;
        Ok(answer_json(&mut HttpResponse::Ok(), &M::show(&namespace, own, M::find(found, own)?)?))
    });
    shown.await
}

/// `PUT /v2/metadefs/namespaces/:namespace/objects/:name`, `properties`, `tags`
pub(super) async fn update<M: MemberJson>(
    request: HttpRequest,
    glance: Data<Glance>,
    payload: Payload,
) -> HttpResponse {
    let updated = glance.answer(&request, async |who| {
        let (namespace, name) = (namespace_of(&request)?, part(&request, "name")?);
        let (new_name, member) = parse::<M>(object(M::SCHEMA, body::read(payload, glance.patience).await?)?)?;
        let after = glance.metadefs.replace(&who, &namespace, &name, (new_name.clone(), member)).await?;
        Ok(answer_json(&mut HttpResponse::Ok(), &M::show(&namespace, &new_name, &after)?))
    });
    updated.await
}

/// `DELETE /v2/metadefs/namespaces/:namespace/objects/:name`, `properties`, `tags`, `resource_types`
pub(super) async fn remove<M: MemberJson>(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let removed = glance.answer(&request, async |who| {
        glance.metadefs.remove::<M>(&who, &namespace_of(&request)?, &part(&request, "name")?).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    removed.await
}

/// `DELETE /v2/metadefs/namespaces/:namespace/objects`, `properties`, `tags`
pub(super) async fn clear<M: MemberJson>(request: HttpRequest, glance: Data<Glance>) -> HttpResponse {
    let cleared = glance.answer(&request, async |who| {
        glance.metadefs.clear::<M>(&who, &namespace_of(&request)?).await?;
        Ok(HttpResponse::NoContent().finish())
    });
    cleared.await
}
