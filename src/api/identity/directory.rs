//! Projects, users, domains and roles: read, never changed. An administrator sees all of them. Other users see
//! themselves, and whether a project of a known name exists: sharing an image needs that.

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::Identity;
use super::holder::{Person, TokenHolder};
use super::wire::{self, DOMAIN_ID, DOMAIN_NAME, roles_of};
use crate::account::Role;
use crate::error::{Error, Reason, Result};
use crate::registry::policy::Action;

/// Filters of a list. Unknown filters are ignored, as everywhere in this API.
struct Filters(Vec<(String, String)>);

impl Filters {
    fn of(request: &HttpRequest) -> Result<Self> {
        let pairs = Query::<Vec<(String, String)>>::from_query(request.query_string());
        pairs.map(|pairs| Self(pairs.into_inner())).map_err(|_| Error::invalid("The query is malformed."))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Tells whether an attribute with this value passes.
    fn passes(&self, name: &str, value: &str) -> bool {
        self.get(name).is_none_or(|wanted| wanted == value)
    }

    /// Tells whether a flag with this value passes. `?enabled` alone asks for true.
    fn passes_flag(&self, name: &str, value: bool) -> bool {
        let wanted = |text: &str| !["0", "false", "no", "off"].contains(&text.to_ascii_lowercase().as_str());
        self.get(name).is_none_or(|text| wanted(text) == value)
    }

    /// Tells whether none of these filters is set: nothing here has such attributes.
    fn lacks(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.get(name).is_none())
    }
}

fn id_of(request: &HttpRequest) -> &str {
    request.match_info().query("id")
}

fn unknown(what: &str) -> Error {
    Reason::NotFound.saying(format!("No such {what}."))
}

/// `GET /projects`
pub(super) async fn projects(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let filters = Filters::of(&request)?;
        let found = match filters.get("name") {
            Some(name) => identity.person(holder, name)?.into_iter().collect(),
            None => identity.people(holder)?,
        };
        let ours = filters.passes("domain_id", DOMAIN_ID)
            && filters.passes("parent_id", DOMAIN_ID)
            && filters.passes_flag("enabled", true)
            && filters.passes_flag("is_domain", false)
            && filters.lacks(&["tags", "tags-any"]);
        let found = found.iter().filter(|_| ours).map(|person| wire::project(&request, &person.key));
        Ok(wire::list(&request, "projects", found.collect()))
    })
}

/// `GET /projects/{id}`
pub(super) async fn project(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let person = identity.person(holder, id_of(&request))?.ok_or_else(|| unknown("project"))?;
        Ok(json!({ "project": wire::project(&request, &person.key) }))
    })
}

/// A user, if the sender may see it.
fn known(identity: &Identity, holder: &TokenHolder, name: &str) -> Result<Option<Person>> {
    if !holder.can(Action::SeeAccount, name) {
        return Err(Reason::AdminOnly.saying("Only an administrator may look up other users."));
    }
    identity.person(holder, name)
}

/// `GET /users`
pub(super) async fn users(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let filters = Filters::of(&request)?;
        let found = match filters.get("name") {
            Some(name) => known(&identity, holder, name)?.into_iter().collect(),
            None => identity.people(holder)?,
        };
        let ours = filters.passes("domain_id", DOMAIN_ID) && filters.passes_flag("enabled", true);
        let found = found.iter().filter(|_| ours).map(|person| wire::user(&request, person));
        Ok(wire::list(&request, "users", found.collect()))
    })
}

/// `GET /users/{id}`
pub(super) async fn user(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let person = known(&identity, holder, id_of(&request))?.ok_or_else(|| unknown("user"))?;
        Ok(json!({ "user": wire::user(&request, &person) }))
    })
}

/// `GET /users/{id}/projects`
pub(super) async fn projects_of(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let person = known(&identity, holder, id_of(&request))?.ok_or_else(|| unknown("user"))?;
        Ok(wire::list(&request, "projects", vec![wire::project(&request, &person.key)]))
    })
}

/// `GET /domains`
pub(super) async fn domains(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |_| {
        let filters = Filters::of(&request)?;
        let named = filters.get("name").is_none_or(|name| name.eq_ignore_ascii_case(DOMAIN_NAME));
        let found = (named && filters.passes_flag("enabled", true)).then(|| wire::domain(&request));
        Ok(wire::list(&request, "domains", found.into_iter().collect()))
    })
}

/// `GET /domains/{id}`
pub(super) async fn domain(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |_| match id_of(&request) {
        DOMAIN_ID => Ok(json!({ "domain": wire::domain(&request) })),
        _ => Err(unknown("domain")),
    })
}

/// `GET /roles`
pub(super) async fn roles(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |_| {
        let filters = Filters::of(&request)?;
        let found = roles_of(Role::Administrator)
            .iter()
            .filter(|role| filters.passes("name", role) && filters.lacks(&["domain_id"]));
        Ok(wire::list(&request, "roles", found.map(|role| wire::role(&request, role)).collect()))
    })
}

/// `GET /roles/{id}`
pub(super) async fn role(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |_| {
        let role = roles_of(Role::Administrator)
            .iter()
            .find(|role| **role == id_of(&request))
            .ok_or_else(|| unknown("role"))?;
        Ok(json!({ "role": wire::role(&request, role) }))
    })
}

/// `GET /role_assignments`
pub(super) async fn assignments(request: HttpRequest, identity: Data<Identity>) -> HttpResponse {
    identity.answer(&request, |holder| {
        let filters = Filters::of(&request)?;
        let people = match filters.get("user.id") {
            Some(user) => known(&identity, holder, user)?.into_iter().collect(),
            None => identity.people(holder)?,
        };
        let named = filters.get("include_names").is_some() && filters.passes_flag("include_names", true);
        let mut found = Vec::new();
        for person in people.iter().filter(|_| filters.lacks(&["group.id", "scope.domain.id"])) {
            let roles = || roles_of(person.role).iter().filter(|role| filters.passes("role.id", role));
            if filters.lacks(&["scope.system"]) && filters.passes("scope.project.id", &person.key) {
                let scope = json!({ "project": reference(&person.key, named, true) });
                found.extend(roles().map(|role| assignment(person, role, &scope, named)));
            }
            if person.role == Role::Administrator && filters.lacks(&["scope.project.id"]) {
                let scope = json!({ "system": { "all": true } });
                found.extend(roles().map(|role| assignment(person, role, &scope, named)));
            }
        }
        Ok(wire::list(&request, "role_assignments", found))
    })
}

fn assignment(person: &Person, role: &str, scope: &Value, named: bool) -> Value {
    json!({
        "user": reference(&person.key, named, true),
        "role": reference(role, named, false),
        "scope": scope,
        "links": {},
    })
}

/// A user, project or role in an assignment: its id, and its name if asked for.
fn reference(key: &str, named: bool, in_domain: bool) -> Value {
    let mut reference = json!({ "id": key });
    if named {
        reference["name"] = key.into();
    }
    if named && in_domain {
        reference["domain"] = json!({ "id": DOMAIN_ID, "name": DOMAIN_NAME });
    }
    reference
}
