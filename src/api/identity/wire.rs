//! Tokens, the catalogue, projects and users in Keystone's JSON. Pure, but links have the address that was called.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde_json::{Value, json};

use super::Identity;
use super::holder::{Person, TokenHolder};
use crate::account::Role;
use crate::account::tokens::{Method, Scope};
use crate::api::discovery::{self, identity_version};
use crate::http::base::base_url;
use crate::http::time::to_the_microsecond;

/// The id of the one domain.
pub(super) const DOMAIN_ID: &str = "default";
/// The name of the one domain.
pub(super) const DOMAIN_NAME: &str = "Default";
/// The one region.
const REGION: &str = "RegionOne";

/// The roles of an account, in Keystone's words. An administrator also has the roles that `admin` implies.
pub(super) fn roles_of(role: Role) -> &'static [&'static str] {
    const ALL: [&str; 4] = ["admin", "manager", "member", "reader"];
    match role {
        Role::Administrator => &ALL,
        Role::Member => &ALL[2..],
        Role::Reader => &ALL[3..],
    }
}

/// An answer in JSON. Many of them contain tokens, so no cache may keep one.
pub(super) fn respond(response: &mut HttpResponseBuilder, body: &Value) -> HttpResponse {
    response
        .insert_header((header::VARY, "X-Auth-Token"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(body.to_string())
}

/// The usual answer.
pub(super) fn ok(body: &Value) -> HttpResponse {
    respond(&mut HttpResponse::Ok(), body)
}

/// The URL of this API, with the host and the prefix that the client called; with a Keystone elsewhere, that one's.
pub(super) fn identity_url(request: &HttpRequest) -> String {
    let keystone = request.app_data::<Data<Identity>>().and_then(|identity| identity.auth.keystone.as_deref());
    let path = request.path();
    let prefix = if path == "/identity" || path.starts_with("/identity/") { "/identity" } else { "" };
    discovery::identity_url(keystone, request, prefix)
}

/// The version document.
pub(super) fn version(request: &HttpRequest) -> Value {
    json!({ "version": identity_version(&identity_url(request)) })
}

/// The list of versions.
pub(super) fn choices(request: &HttpRequest) -> HttpResponse {
    let versions = json!({ "versions": { "values": [identity_version(&identity_url(request))] } });
    respond(&mut HttpResponse::build(StatusCode::MULTIPLE_CHOICES), &versions)
}

/// The catalogue of services. The URL of the image service has no version in it: clients ask for its versions.
pub(super) fn catalog(request: &HttpRequest) -> Value {
    let service = |kind: &str, name: &str, url: String| {
        let endpoint = |interface: &str| {
            json!({
                "id": format!("{name}-{interface}"),
                "interface": interface,
                "region": REGION,
                "region_id": REGION,
                "url": url,
            })
        };
        let endpoints: Vec<Value> = ["public", "internal", "admin"].into_iter().map(endpoint).collect();
        json!({ "id": name, "type": kind, "name": name, "endpoints": endpoints })
    };
    json!([service("image", "glance", base_url(request)), service("identity", "keystone", identity_url(request))])
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::ApplicationCredential => "application_credential",
        Method::Password => "password",
        Method::Token => "token",
    }
}

/// A token: its user, scope and roles.
pub(super) fn token(request: &HttpRequest, holder: &TokenHolder, with_catalog: bool) -> Value {
    let grant = &holder.grant;
    let domain = json!({ "id": DOMAIN_ID, "name": DOMAIN_NAME });
    let key = &grant.access_key;
    let mut token = json!({
        "methods": grant.methods.iter().map(|method| method_name(*method)).collect::<Vec<_>>(),
        "user": { "id": key, "name": key, "domain": domain, "password_expires_at": null },
        "audit_ids": grant.audit_ids,
        "issued_at": to_the_microsecond(grant.issued_at),
        "expires_at": to_the_microsecond(grant.expires_at),
    });
    if grant.methods.contains(&Method::ApplicationCredential) {
        token["application_credential"] = json!({ "id": key, "name": key, "restricted": true });
    }
    match &grant.scope {
        Scope::Unscoped => return json!({ "token": token }),
        Scope::Project(project) => {
            token["project"] = json!({ "id": project, "name": project, "domain": domain });
            token["is_domain"] = false.into();
        }
        Scope::Domain => token["domain"] = domain,
        Scope::System => token["system"] = json!({ "all": true }),
    }
    let roles = roles_of(holder.role).iter().map(|role| json!({ "id": role, "name": role }));
    token["roles"] = roles.collect();
    if with_catalog {
        token["catalog"] = catalog(request);
    }
    json!({ "token": token })
}

fn self_link(request: &HttpRequest, path: &str) -> Value {
    json!({ "self": format!("{}{path}", identity_url(request)) })
}

/// An account as a project.
pub(super) fn project(request: &HttpRequest, key: &str) -> Value {
    json!({
        "id": key,
        "name": key,
        "domain_id": DOMAIN_ID,
        "parent_id": DOMAIN_ID,
        "description": "",
        "enabled": true,
        "is_domain": false,
        "tags": [],
        "options": {},
        "links": self_link(request, &format!("/projects/{key}")),
    })
}

/// An account as a user.
pub(super) fn user(request: &HttpRequest, person: &Person) -> Value {
    let key = &person.key;
    let mut user = json!({
        "id": key,
        "name": key,
        "domain_id": DOMAIN_ID,
        "default_project_id": key,
        "enabled": true,
        "password_expires_at": null,
        "options": {},
        "links": self_link(request, &format!("/users/{key}")),
    });
    if let Some(email) = &person.email {
        user["email"] = email.as_str().into();
    }
    user
}

/// The domain.
pub(super) fn domain(request: &HttpRequest) -> Value {
    json!({
        "id": DOMAIN_ID,
        "name": DOMAIN_NAME,
        "description": "",
        "enabled": true,
        "tags": [],
        "options": {},
        "links": self_link(request, &format!("/domains/{DOMAIN_ID}")),
    })
}

/// A role.
pub(super) fn role(request: &HttpRequest, name: &str) -> Value {
    json!({
        "id": name,
        "name": name,
        "domain_id": null,
        "description": "",
        "options": {},
        "links": self_link(request, &format!("/roles/{name}")),
    })
}

/// A list, on one page.
pub(super) fn list(request: &HttpRequest, name: &str, items: Vec<Value>) -> Value {
    let own = format!("{}{}", base_url(request), request.path());
    json!({ name: items, "links": { "self": own, "next": null, "previous": null } })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn addresses_are_those_that_the_client_called() {
        for (path, expected) in [
            ("/v3/auth/tokens", "http://lab:4568/v3"),
            ("/identity", "http://lab:4568/identity/v3"),
            ("/identity/v3/auth/tokens", "http://lab:4568/identity/v3"),
        ] {
            let request = TestRequest::get().uri(path).insert_header(("Host", "lab:4568")).to_http_request();
            assert_eq!(identity_url(&request), expected);
            assert_eq!(catalog(&request)[0]["endpoints"][0]["url"], "http://lab:4568");
            assert_eq!(catalog(&request)[1]["endpoints"][2]["url"], expected);
        }
    }
}
