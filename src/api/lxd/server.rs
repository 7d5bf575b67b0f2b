//! `/` and `/1.0`: the extensions, environment and certificate of this server, which clients read first.

use actix_web::guard::GuardContext;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::Lxd;
use super::auth::shown;
use super::envelope::{etag, sync, sync_with};
use crate::archive::kernel_name;
use crate::error::Reason;
use crate::http::addresses::HttpsEndpoint;
use crate::http::guard::machine_name;
use crate::http::headers::text;
use crate::http::route::{Route, get, patch, put};
use crate::image::Architecture;
use crate::registry::policy::Action;
use crate::registry::{Caller, INCUS_LEVEL, LXD_LEVEL};

/// Extensions of the API. Clients use every extension that this list names, so it names only those that work.
const API_EXTENSIONS: [&str; 26] = [
    "etag",
    "patch",
    "https_allowed_credentials",
    "image_compression_algorithm",
    "image_create_aliases",
    "image_force_refresh",
    "image_types",
    "images_expiry",
    "image_profiles",
    "image_copy_profile",
    "image_source_project",
    "images_default_architecture",
    "images_push_relay",
    "images_target_project",
    "images_all_projects",
    "api_filtering",
    "projects",
    "container_full",
    "certificate_project",
    "certificate_self_renewal",
    "certificate_token",
    "certificate_update",
    "explicit_trust_token",
    "event_lifecycle",
    "event_lifecycle_requestor_address",
    "operation_description",
];

/// First words of the user agents that expect LXD's answer at `/`; other clients expect another protocol's.
const AGENTS: [&str; 5] = ["lxd", "lxc", "incus", "pylxd", "hyperkit"];

/// Tells whether a request is one of LXD's clients, which expect LXD's answer at `/`.
pub(super) fn is_for_lxd(asked: &GuardContext<'_>) -> bool {
    let word = agent(asked.head().headers());
    AGENTS.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// First word of a user agent.
fn agent(headers: &HeaderMap) -> &str {
    text(headers, header::USER_AGENT).and_then(|agent| agent.split(['/', ' ']).next()).unwrap_or_default()
}

/// Version for a client: the release of LXD or of Incus whose API this is. Clients refuse a server that is too old for them,
/// and this program's own version says nothing about that.
fn level(headers: &HeaderMap) -> &'static str {
    match agent(headers).eq_ignore_ascii_case("incus") {
        true => INCUS_LEVEL,
        false => LXD_LEVEL,
    }
}

/// The route of `/`.
pub(super) fn root() -> Route {
    get("/", Action::Discover, || async { sync(&json!(["/1.0"])) })
}

/// The routes of `/1.0` itself.
pub(super) fn routes() -> Vec<Route> {
    vec![
        get("", Action::Discover, show),
        put("", Action::ChangeSettings, configure),
        patch("", Action::ChangeSettings, configure),
    ]
}

/// `GET /1.0`
async fn show(request: HttpRequest, lxd: Data<Lxd>) -> HttpResponse {
    lxd.answer(&request, async || {
        let caller = lxd.caller(&request).await?;
        let standing = lxd.standing(shown(&request).map(|shown| shown.fingerprint.as_str()))?;
        // A restricted certificate may be trusted without being for the one project.
        let trusted = caller != Caller::Anonymous || standing.is_some();
        let mut server = json!({
            "api_extensions": API_EXTENSIONS,
            "api_status": "stable",
            "api_version": "1.0",
            "auth": if trusted { "trusted" } else { "untrusted" },
            "public": false,
            "auth_methods": ["tls"],
        });
        if !trusted {
            return Ok(sync(&server));
        }
        server["config"] = Value::Object(Map::new());
        server["environment"] = environment(&lxd.https, level(request.headers()));
        if let Some(account) = caller.account() {
            server["auth_user_name"] = account.into();
            server["auth_user_method"] = "tls".into();
        }
        let tag = etag(&server["config"]);
        Ok(sync_with(HttpResponse::Ok().insert_header((header::ETAG, tag)), &server))
    })
    .await
}

fn environment(https: &HttpsEndpoint, level: &str) -> Value {
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let machine = word(system.machine());
    json!({
        "addresses": https.reachable.now(),
        "architectures": architectures(&machine),
        "certificate": https.certificate,
        "certificate_fingerprint": https.fingerprint,
        "driver": "",
        "driver_version": "",
        "kernel": word(system.sysname()),
        "kernel_architecture": machine,
        "kernel_version": word(system.release()),
        "project": "default",
        "server": "visor",
        "server_clustered": false,
        "server_name": server_name(),
        "server_pid": std::process::id(),
        "server_version": level,
        "storage": "",
        "storage_version": "",
        "visor_version": env!("CARGO_PKG_VERSION"),
    })
}

/// The name of this server. Clients take two servers with one name and one certificate for one server.
fn server_name() -> String {
    Some(machine_name()).filter(|name| !name.is_empty()).unwrap_or_else(|| "visor".to_owned())
}

/// Architectures that this machine runs, in the kernel's words, its own first.
fn architectures(machine: &str) -> Vec<&str> {
    let also = Architecture::parse(machine).map_or(&[] as &[_], Architecture::personalities);
    std::iter::once(machine).chain(also.iter().map(|one| kernel_name(*one))).collect()
}

/// `PUT` and `PATCH /1.0`: refused, because clients change no setting.
async fn configure(request: HttpRequest, lxd: Data<Lxd>, _: Payload) -> HttpResponse {
    lxd.answer(&request, async || {
        lxd.trusted(&request).await?;
        let text = "Clients cannot change the settings of this server: the operator changes its visor.toml.";
        Err(Reason::Unsupported.saying(text))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_named_once_and_none_that_is_not_served() {
        let mut all = API_EXTENSIONS.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), API_EXTENSIONS.len());
        for absent in ["clustering", "instances", "image_registries", "oidc"] {
            assert!(!all.contains(&absent), "{absent}");
        }
    }

    #[test]
    fn the_machines_own_architecture_comes_first() {
        assert_eq!(architectures("x86_64"), ["x86_64", "i686"]);
        assert_eq!(architectures("aarch64"), ["aarch64", "armv6l", "armv7l", "armv8l"]);
        assert_eq!(architectures("riscv64"), ["riscv64"]);
    }
}
