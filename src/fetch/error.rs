//! Errors of a fetch.

use reqwest::Url;

use super::URL_BYTES_MAX;
use super::guard::literal;
use crate::error::{Error, Reason};

/// Refusal of a name. One text for every reason: a caller must not learn which internal names exist.
const NAME_BARRED: &str = "its host is not known, or has an address that this server may not reach. It reaches public addresses \
                           on the usual ports, and those in fetch.allow.";

/// Refusal of an address. The caller wrote it, and its kind is no secret.
const ADDRESS_BARRED: &str = "this server may not reach its address with its port. It reaches public addresses on the usual \
                              ports, and those in fetch.allow.";

/// Refusal of a URL for its form.
const FORM_BARRED: &str = "it has to begin with http:// or https:// and a host, hold no user name and no password, and have at \
                           most 4096 characters.";

/// Longest name of a host that is passed on: none is longer.
const HOST_BYTES_MAX: usize = 255;

/// Reasons why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL may not be fetched, or its host has no address. One variant and one text for every reason: the
    /// caller must not learn which internal names and addresses exist. The log has the reason.
    #[error("the URL is not one that this server fetches")]
    Refused,
    /// The other server answered that there is no such thing, or nothing for us.
    #[error("there is nothing under the URL")]
    NotFound,
    /// The range is empty, or the other server says that it lies beyond the end.
    #[error("the range lies outside what is under the URL")]
    BadRange,
    /// No connection to the other server came about, in time or at all.
    #[error("the other server can't be reached: {0}")]
    Unreached(String),
    /// The other server took too long, to answer or between two pieces.
    #[error("the other server is too slow: {0}")]
    TimedOut(String),
    /// The other server can't show a certificate that is trusted, or not the one that was given for it.
    #[error("the other server's certificate is not to be trusted: {0}")]
    Certificate(String),
    /// The payload could not be read. The other server is not at fault.
    #[error("what was to be given could not be read")]
    Payload(#[source] Error),
    /// The body had fewer bytes, or more, than were announced.
    #[error("the body has not the length that was announced: {0}")]
    WrongLength(String),
    /// The other server answered with a status that is no success, and not that there is no such thing.
    #[error("the other server answers with status {code}: {text}")]
    Status {
        /// The status.
        code: u16,
        /// Its URL, for the log.
        text: String,
    },
    /// The other server compresses the bytes, although that was not asked for.
    #[error("the body is compressed although that was not asked for: {0}")]
    Compressed(String),
    /// The other server did something else that we can't use. The text is for the log.
    #[error("the other server does not answer as it should: {0}")]
    Upstream(String),
}

impl FetchError {
    /// Converts an error of the client library about a request to `url`.
    pub(super) fn from_client(error: reqwest::Error, url: &Url) -> Self {
        let error = error.without_url();
        if caused_by::<Refusal>(&error) {
            return Self::Refused;
        }
        let text = format!("{}: {}", redacted(url), chain(&error));
        match &error {
            error if is_about_certificate(error) => Self::Certificate(text),
            error if error.is_connect() => Self::Unreached(text),
            error if error.is_timeout() => Self::TimedOut(text),
            _ => Self::Upstream(text),
        }
    }

    /// Converts an error in the middle of a body: there, every end of the connection cuts the body short.
    pub(super) fn from_body(error: reqwest::Error, url: &Url) -> Self {
        match Self::from_client(error, url) {
            Self::Upstream(text) => Self::WrongLength(text),
            other => other,
        }
    }

    /// The error for a request that named the server, by this name. `lxc` and `incus` know several addresses of a server, and try the
    /// next one only behind an error with these words in it.
    pub fn of_server(self, host: &str) -> Error {
        match self {
            Self::Refused => Reason::ServerRefused.about(host).and(barred(host)).because(self),
            Self::Unreached(_) => Reason::ServerUnreachable.about(host).because(self),
            other => other.blame(&format!("The server {host}")),
        }
    }

    /// The error for a request with a URL on it, which may be invalid.
    pub fn of_url(self, url: &str) -> Error {
        match host_of(url) {
            Some(host) => self.of_server(&host),
            None => self.into(),
        }
    }

    /// The error for a URL of an image's file, which may be invalid.
    pub fn of_file(self, url: &str) -> Error {
        match self {
            Self::Refused => {
                let why = host_of(url).map_or(FORM_BARRED, |host| barred(&host));
                Reason::UrlRefused.about(why).because(self)
            }
            other => other.into(),
        }
    }

    fn blame(self, server: &str) -> Error {
        let does = match &self {
            Self::Refused => return Reason::UrlRefused.about(FORM_BARRED).because(self),
            Self::NotFound => return Error::from(Reason::UrlNotFound).because(self),
            Self::BadRange => return Error::from(Reason::BadRange).because(self),
            Self::Unreached(_) => "can't be reached".to_owned(),
            Self::TimedOut(_) => "takes too long to answer".to_owned(),
            Self::WrongLength(_) => "sent more or less than it announced".to_owned(),
            Self::Certificate(_) => "has not the certificate that it must have to be trusted".to_owned(),
            Self::Status { code, .. } => format!("answers with status {code}"),
            Self::Compressed(_) => "compresses the file, although that was not asked for".to_owned(),
            Self::Payload(_) | Self::Upstream(_) => "does not answer as it should".to_owned(),
        };
        match self {
            Self::Payload(error) => error,
            other => Reason::Upstream.saying(format!("{server} {does}.")).because(other),
        }
    }
}

/// The host of a URL that may be fetched by its form, with its port if it is no usual one.
fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if url.as_str().len() > URL_BYTES_MAX {
        return None;
    }
    let plain = url.username().is_empty() && url.password().is_none();
    let host = url.host_str().filter(|host| host.len() <= HOST_BYTES_MAX && plain)?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Says why a host is not reached.
fn barred(host: &str) -> &'static str {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    if literal(host).or_else(|| literal(name)).is_some() { ADDRESS_BARRED } else { NAME_BARRED }
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        error.blame("The server of this URL")
    }
}

/// An address that must not be connected to: travels through the client library from where the name is resolved.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

/// A URL for a log: without its query, which may hold a signature, and without user information.
pub(super) fn redacted(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}://{}{port}{}{query}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

type Cause = dyn std::error::Error + 'static;

fn causes(error: &Cause) -> impl Iterator<Item = &Cause> {
    std::iter::successors(Some(error), |error| error.source())
}

fn caused_by<T: std::error::Error + 'static>(error: &Cause) -> bool {
    causes(error).any(|cause| cause.is::<T>())
}

/// Tells whether a TLS connection failed because of the other server's certificate.
fn is_about_certificate(error: &Cause) -> bool {
    // What an I/O error wraps is not among its sources; it may wrap another one.
    fn wrapped(cause: &Cause) -> Option<&Cause> {
        cause.downcast_ref::<std::io::Error>()?.get_ref().map(|inner| inner as &Cause)
    }
    let mut tls = causes(error).flat_map(|cause| std::iter::successors(Some(cause), |&cause| wrapped(cause)));
    tls.any(|cause| {
        let known = cause.downcast_ref::<rustls::Error>();
        matches!(known, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
    })
}

fn chain(error: &Cause) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_url_in_a_log_has_no_secrets() {
        let url = |text: &str| redacted(&Url::parse(text).unwrap());
        assert_eq!(url("https://u:p@h.example:8443/a/b?sig=s#f"), "https://h.example:8443/a/b?…");
        assert_eq!(url("http://h.example/a"), "http://h.example/a");
        assert_eq!(url("file:///etc/passwd"), "file:///etc/passwd");
    }

    #[test]
    fn the_caller_is_told_nothing_of_the_cause() {
        for error in
            [FetchError::Refused, FetchError::Upstream("10.0.0.1".into()), FetchError::TimedOut("10.0.0.1".into())]
        {
            assert!(!Error::from(error).message().contains("10."));
        }
    }

    #[test]
    fn a_refusal_names_what_the_url_did_and_nothing_else() {
        for (url, said, why) in [
            ("https://Lab.example:8443/a?s3cret", "Unable to connect to: lab.example:8443: ", NAME_BARRED),
            ("https://lab.example/", "Unable to connect to: lab.example: ", NAME_BARRED),
            ("http://2130706433/", "Unable to connect to: 127.0.0.1: ", ADDRESS_BARRED),
            ("http://10.0.0.1:5000/", "Unable to connect to: 10.0.0.1:5000: ", ADDRESS_BARRED),
            ("https://[::1]:443/", "Unable to connect to: [::1]: ", ADDRESS_BARRED),
            ("https://[::1]:444/", "Unable to connect to: [::1]:444: ", ADDRESS_BARRED),
            ("https://u:p@lab.example/", "This URL is not fetched: ", FORM_BARRED),
            ("file://host/etc/passwd", "This URL is not fetched: ", FORM_BARRED),
            ("x", "This URL is not fetched: ", FORM_BARRED),
            (&format!("http://{}/", "x".repeat(300)), "This URL is not fetched: ", FORM_BARRED),
        ] {
            let error = FetchError::Refused.of_url(url);
            assert_eq!((error.kind(), error.message()), (Kind::Invalid, &*format!("{said}{why}")), "{url}");
            let error = FetchError::Refused.of_file(url);
            assert_eq!((error.kind(), error.message()), (Kind::Invalid, &*format!("This URL is not fetched: {why}")));
        }
    }

    #[test]
    fn a_server_is_blamed_by_its_name_and_not_for_what_is_ours() {
        let error = FetchError::TimedOut("s3cret".into()).of_server("lab:8443");
        assert_eq!((error.kind(), error.message()), (Kind::Upstream, "The server lab:8443 takes too long to answer."));
        let down = FetchError::Unreached("10.0.0.1".into());
        let same = FetchError::Unreached("10.0.0.1".into()).of_server("lab:8443");
        assert_eq!((same.kind(), same.message()), (Kind::Upstream, "Unable to connect to: lab:8443"));
        assert_eq!(Error::from(down).message(), "The server of this URL can't be reached.");
        let ours = FetchError::Payload(Reason::NotFound.saying("gone")).of_server("lab:8443");
        assert_eq!((ours.kind(), ours.message()), (Kind::NotFound, "gone"));
    }
}
