//! Protection against web pages. A page in the user's browser can send requests to this machine; without accounts they
//! would count as the user's own. A page can neither hide its origin nor use this server's name as its own.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::{Method, header};

use super::cors::Origins;
use crate::error::{Reason, Result};

/// Names by which clients may call this server. Clones share them.
#[derive(Debug, Clone)]
pub struct Names(Arc<[String]>);

/// The machine's own name; empty if it has none.
pub fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Names {
    /// Collects `localhost`, the machine's own name and the configured names.
    pub fn new(configured: &[String]) -> Self {
        let names = ["localhost".to_owned(), machine_name()].into_iter().chain(configured.iter().cloned());
        Self(names.map(|name| name.to_ascii_lowercase()).filter(|name| !name.is_empty()).collect())
    }

    /// Tells whether an authority (`host` or `host:port`) is this server's. On a connection from elsewhere every
    /// address is: no page can make a foreign address lead here. On a loopback connection it must be a loopback
    /// address.
    fn covers(&self, authority: &str, loopback: bool) -> bool {
        let Some(host) = host_of(authority) else { return false };
        match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(address) => !loopback || address.is_loopback(),
            Err(_) => self.0.iter().any(|name| *name == host.trim_end_matches('.').to_ascii_lowercase()),
        }
    }
}

/// The host of an authority, without the port.
fn host_of(authority: &str) -> Option<&str> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    (port_is_fine && !host.is_empty()).then_some(host)
}

fn text<'a>(request: &'a HttpRequest, name: &header::HeaderName) -> Option<Option<&'a str>> {
    request.headers().get(name).map(|value| value.to_str().ok())
}

/// Refuses a request that a foreign web page may have made. A page of a listed origin is not foreign, and has no rights but those
/// that it proves itself ([`super::cors::FromPage`]).
///
/// # Errors
/// `Forbidden`; the text tells the operator to add a name to the configuration.
pub fn check(request: &HttpRequest, names: &Names, origins: &Origins) -> Result<()> {
    let loopback = request.peer_addr().is_none_or(|peer| peer.ip().is_loopback());
    let absolute = request.uri().authority().map(|authority| Some(authority.as_str()));
    if let Some(host) = absolute.or_else(|| text(request, &header::HOST))
        && !host.is_some_and(|host| names.covers(host, loopback))
    {
        return Err(Reason::WrongHost.into());
    }
    // A browser lets no page choose its Origin.
    if origins.of(request.headers()).is_some() {
        return Ok(());
    }
    if let Some(site) = text(request, &header::HeaderName::from_static("sec-fetch-site"))
        && matches!(site, Some("cross-site" | "same-site") | None)
        && !is_followed_link(request)
    {
        return Err(Reason::ForeignRequest.into());
    }
    if let Some(origin) = text(request, &header::ORIGIN) {
        // The clients of LXD and Incus name the address of the WebSocket that they open.
        let schemes = ["http://", "https://", "ws://", "wss://"];
        let authority = origin.and_then(|origin| schemes.iter().find_map(|scheme| origin.strip_prefix(scheme)));
        if !authority.is_some_and(|authority| names.covers(authority, loopback)) {
            return Err(Reason::ForeignRequest.into());
        }
    }
    Ok(())
}

/// Tells whether a person followed a link to here, from a message or another page: the page that had the link does not see
/// the answer, and a `GET` changes nothing.
fn is_followed_link(request: &HttpRequest) -> bool {
    let says = |name, value| text(request, &header::HeaderName::from_static(name)) == Some(Some(value));
    request.method() == Method::GET && says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn passes(peer: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = TestRequest::get().peer_addr(peer.parse().unwrap());
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let origins = Origins::new(["https://horizon.example".to_owned()]);
        check(&request.to_http_request(), &Names::new(&["visor.lab".into()]), &origins).is_ok()
    }

    #[test]
    fn only_our_own_names_pass_on_loopback() {
        for host in [
            "localhost",
            "localhost:4568",
            "LOCALHOST",
            "127.0.0.1:4568",
            "127.9.9.9",
            "[::1]:4568",
            "[::1]",
            "visor.lab",
            "visor.lab.:80",
        ] {
            assert!(passes("127.0.0.1:9", &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            "[::1",
            "localhost:x",
            "",
            "[2001:db8::1]",
        ] {
            assert!(!passes("127.0.0.1:9", &[("host", host)]), "{host}");
        }
        assert!(passes("127.0.0.1:9", &[]), "HTTP/1.0 has no Host");
    }

    #[test]
    fn from_elsewhere_any_address_is_ours_and_names_are_not() {
        assert!(passes("10.0.0.7:9", &[("host", "10.0.0.1:4568")]));
        assert!(!passes("10.0.0.7:9", &[("host", "evil.example")]));
    }

    #[test]
    fn followed_links_pass_and_frames_do_not() {
        let from = [("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        let with = |dest| [&from[..], &[("sec-fetch-dest", dest)]].concat();
        assert!(passes("127.0.0.1:9", &with("document")));
        for dest in ["iframe", "embed", "object", "image", ""] {
            assert!(!passes("127.0.0.1:9", &with(dest)), "{dest}");
        }
        assert!(!passes("127.0.0.1:9", &from), "a page that does not say where the answer goes");
    }

    #[test]
    fn pages_of_listed_origins_pass_by_our_own_names() {
        let page = ("origin", "https://horizon.example");
        assert!(passes("127.0.0.1:9", &[("host", "localhost"), page, ("sec-fetch-site", "cross-site")]));
        assert!(!passes("127.0.0.1:9", &[("host", "evil.example"), page]));
        assert!(!passes("127.0.0.1:9", &[("host", "localhost"), ("sec-fetch-site", "cross-site")]), "no origin");
    }

    #[test]
    fn foreign_pages_are_refused() {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost.evil.example"),
            ("origin", "file://"),
            ("origin", "wss://evil.example"),
            ("origin", "ws://localhost.evil.example:8443"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!passes("127.0.0.1:9", &[("host", "localhost"), (name, value)]), "{name}: {value}");
        }
        for (name, value) in [
            ("origin", "http://localhost:4568"),
            ("origin", "https://localhost:8443"),
            ("origin", "ws://localhost:4568"),
            ("origin", "wss://localhost:8443"),
            ("origin", "wss://[::1]:8443"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(passes("127.0.0.1:9", &[("host", "localhost"), (name, value)]), "{name}: {value}");
        }
    }
}
