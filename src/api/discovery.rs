//! Discovery of the identity API, in its own list of versions and in that of the server's root: a client may know no more of
//! a cloud than an address.

use actix_web::HttpRequest;
use serde_json::{Value, json};

use crate::http::base::base_url;

/// The URL of this server's own identity API, as a client called the server.
pub fn own_identity_url(request: &HttpRequest) -> String {
    format!("{}/v3", base_url(request))
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
