//! Discovery of the identity API, in its own list of versions and in that of the server's root: a client may know no more of
//! a cloud than an address.

use actix_web::HttpRequest;
use serde_json::{Value, json};

use crate::http::base::base_url;
use crate::keystone::Keystone;

/// The URL of the identity API whose tokens are good here: that of a Keystone elsewhere, or of this server's own below a prefix, with
/// the host that the client called.
pub fn identity_url(keystone: Option<&Keystone>, request: &HttpRequest, prefix: &str) -> String {
    match keystone {
        Some(keystone) => keystone.public_url().to_owned(),
        None => format!("{}{prefix}/v3", base_url(request)),
    }
}

/// The identity API at `url` as an entry of a list of versions.
pub fn identity_version(url: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{ "rel": "self", "href": format!("{url}/") }],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.identity-v3+json" }],
    })
}
