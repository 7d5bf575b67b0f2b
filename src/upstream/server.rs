//! A server that is asked: how its URLs are put together, and what is said when it fails.

use crate::error::{Error, Reason, Result};
use crate::fetch::{Document, FetchError, Fetcher, Pin, Request};

/// Longest text of another server that is passed on, in characters.
const SAID_CHARS_MAX: usize = 200;

/// A server, by its URL. Paths begin with a slash.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Scheme, host, port and path, without a slash at the end.
    base: String,
    /// Host and port, as messages name it.
    host: String,
    pin: Option<Pin>,
    /// No request is repeated.
    once: bool,
}

impl Server {
    /// The server under a URL that ends with its path.
    ///
    /// # Errors
    /// `Invalid` for a URL that nothing is asked of, or that can't have the certificate.
    pub(super) fn new(fetcher: &Fetcher, url: &str, certificate: Option<&str>) -> Result<Self> {
        let (mut server, path) = Self::with_path(fetcher, url)?;
        if path.contains('?') {
            return Err(Error::invalid("The URL of an image server ends with its path."));
        }
        server.pin = match certificate {
            None | Some("") => None,
            Some(_) if !server.base.starts_with("https:") => {
                return Err(Error::invalid("A certificate is given, but the URL of the server is not https."));
            }
            Some(pem) => Some(Pin::of_pem(pem)?),
        };
        server.base.push_str(path.trim_end_matches('/'));
        Ok(server)
    }

    /// Server of a URL, and the path on it with the query.
    ///
    /// # Errors
    /// `Invalid` for a URL that nothing is asked of.
    pub(super) fn with_path(fetcher: &Fetcher, url: &str) -> Result<(Self, String)> {
        let url = fetcher.canonical(url).map_err(|error| error.of_url(url))?;
        let url = url.split('#').next().unwrap_or_default();
        let host_at = url.find("://").map_or(0, |at| at + 3);
        let path_at = url[host_at..].find('/').map_or(url.len(), |at| host_at + at);
        let server =
            Self { base: url[..path_at].to_owned(), host: url[host_at..path_at].to_owned(), pin: None, once: false };
        Ok((server, url[path_at..].to_owned()))
    }

    /// The server, of which nothing is asked again.
    pub(super) fn asked_once(self) -> Self {
        Self { once: true, ..self }
    }

    pub(super) fn is_asked_once(&self) -> bool {
        self.once
    }

    /// Host and port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// A request for a path on the server.
    pub(super) fn request(&self, path: &str) -> Request {
        Request::to(format!("{}{path}", self.base)).pinned(self.pin.clone()).once(self.once)
    }

    /// A URL on the server, to be named in a message: without what stands behind its path, which may be a secret.
    pub(super) fn shown(&self, path: &str) -> String {
        said(&format!("{}{}", self.base, path.split('?').next().unwrap_or_default()))
    }

    /// The error for a failed request.
    pub(super) fn failed(&self, error: FetchError) -> Error {
        error.of_server(&self.host)
    }

    /// The error for an answer that can't be understood.
    pub(super) fn garbled(&self, of: &str, cause: impl ToString) -> Error {
        let text = format!("The server {} does not answer as {of} does.", self.host);
        Reason::Upstream.saying(text).because(cause.to_string())
    }

    /// The error for a refusal, in the server's own words.
    pub(super) fn refuses(&self, text: &str) -> Error {
        Reason::Upstream.saying(format!("The server {} says: {}", self.host, said(text)))
    }

    /// The error for a missing image.
    pub(super) fn has_no(&self, image: &str) -> Error {
        Reason::RemoteImageNotFound.about(&self.host).and(said(image))
    }

    /// A document from the server.
    pub(super) async fn document(&self, fetcher: &Fetcher, path: &str, bytes_max: usize) -> Result<Document> {
        fetcher.document_again(&self.request(path), bytes_max).await.map_err(|error| self.failed(error))
    }
}

/// Text from outside, fit for a message.
pub(super) fn said(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(SAID_CHARS_MAX).map(clean).collect()
}

/// A file name from outside, if it is a name and nothing else: no path, nothing hidden.
pub(super) fn file_name(name: &str) -> Option<&str> {
    let good = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.chars().any(|c| c.is_control() || c == '/' || c == '\\');
    good.then_some(name)
}

/// Tells a text, such as a web page or an error in JSON, from an image by the media type.
pub(super) fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.starts_with("text/") || essence.ends_with("json") || essence.ends_with("xml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::fetch::FetchRules;

    fn server(url: &str, certificate: Option<&str>) -> Result<Server> {
        Server::new(&Fetcher::new(FetchRules::default()), url, certificate)
    }

    #[test]
    fn servers_are_named_by_host_and_port() {
        for (url, base, host) in [
            ("https://Images.example.org", "https://images.example.org", "images.example.org"),
            ("https://lab.example:8443/", "https://lab.example:8443", "lab.example:8443"),
            ("http://h.example/a/b//", "http://h.example/a/b", "h.example"),
            ("https://[2606:4700::1]:8443", "https://[2606:4700::1]:8443", "[2606:4700::1]:8443"),
        ] {
            let server = server(url, Some("")).unwrap();
            assert_eq!((server.base.as_str(), server.host()), (base, host));
        }
        for bad in ["", "x", "ftp://h.example", "https://h.example/?a", "https://u@h.example", "https://127.0.0.1"] {
            assert_eq!(server(bad, None).unwrap_err().kind(), Kind::Invalid, "{bad}");
        }
        let error = server("http://h.example", Some("x")).unwrap_err();
        assert!(error.message().contains("https"), "{error}");
        assert_eq!(server("https://h.example", Some("x")).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn a_url_is_a_server_and_a_path() {
        let fetcher = Fetcher::new(FetchRules::default());
        let (server, path) = Server::with_path(&fetcher, "https://h.example:8443/a/b?sig=s3cret#x").unwrap();
        assert_eq!((server.host(), path.as_str()), ("h.example:8443", "/a/b?sig=s3cret"));
        assert_eq!(server.shown(&path), "https://h.example:8443/a/b");
        assert_eq!(Server::with_path(&fetcher, "http://h.example").unwrap().1, "/");
    }

    #[test]
    fn names_are_nothing_but_names() {
        for good in ["a", "rootfs.squashfs", "a b.tar.xz", "ü", "a..b"] {
            assert_eq!(file_name(good), Some(good));
        }
        for bad in ["", ".", "..", ".bashrc", "a/b", "/etc/passwd", "..\\x", "a\0", "a\nb", &"x".repeat(256)] {
            assert_eq!(file_name(bad), None, "{bad:?}");
        }
        assert_eq!(said(" a\r\nb "), "a  b");
        assert_eq!(said(&"x".repeat(1000)).len(), 200);
    }

    #[test]
    fn what_is_to_be_read_is_no_image() {
        for text in ["text/html", "Text/HTML; charset=utf-8", "application/json", "application/problem+json"] {
            assert!(is_text(text), "{text}");
        }
        for other in ["", "application/octet-stream", "application/x-xz"] {
            assert!(!is_text(other), "{other}");
        }
    }
}
