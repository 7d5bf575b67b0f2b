//! The address by which a client called this server, for absolute URLs in answers.

use actix_web::HttpRequest;
use actix_web::http::header;

use super::headers::text;
use super::peer::Arrival;

/// The address that clients use, from the configuration, when a proxy changes it.
#[derive(Debug, Clone)]
pub struct PublicUrl(pub String);

/// The server's address as the client used it, such as `http://127.0.0.1:4568`. The name was checked before any handler
/// ran (see [`super::guard`]).
pub fn base_url(request: &HttpRequest) -> String {
    if let Some(PublicUrl(url)) = request.app_data() {
        return url.clone();
    }
    let arrival = request.conn_data::<Arrival>();
    let host = text(request.headers(), header::HOST).map(ToOwned::to_owned);
    let scheme = if arrival.is_some_and(|arrival| arrival.secure) { "https" } else { "http" };
    // A request of HTTP/1.0 may have no Host.
    let host = host.or_else(|| arrival.map(|arrival| arrival.local.to_string())).unwrap_or_default();
    format!("{scheme}://{host}")
}
