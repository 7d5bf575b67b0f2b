//! Errors of a fetch.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::Url;

use super::URL_BYTES_MAX;
use super::address::literal;
use crate::error::{Error, Reason};

/// Refusal of a name. One text for every reason: a caller must not learn which internal names exist.
const NAME_BARRED: &str = "its host is not known, or has an address that may not be reached: only public ones may, on the \
                           usual ports, and those in fetch.allow.";

/// Refusal of an address. The caller wrote it, and its kind is no secret.
const ADDRESS_BARRED: &str = "its address with its port may not be reached: only public ones may, on the usual ports, and \
                              those in fetch.allow.";

/// Refusal of a URL for its form.
const FORM_BARRED: &str = "it has to begin with http:// or https:// and a host, hold no user name and no password, and have at \
                           most 4096 characters.";

/// Statuses of an answer that the next request may not get.
const PASSING: [u16; 6] = [408, 429, 500, 502, 503, 504];

/// Longest name of a host that is passed on: none is longer.
const HOST_BYTES_MAX: usize = 255;

/// Reasons why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL may not be fetched. One variant and one text for every reason: the caller must not learn which internal
    /// names and addresses exist. The log has the reason.
    #[error("the URL is not one that may be fetched")]
    Refused,
    /// Nothing is sent at present, by the operator's wish.
    #[error("this server is offline")]
    Silent,
    /// The host of the URL has no address that can be found. A caller is told what he is told of a refused address: see
    /// [`FetchError::unresolved`] for those who may know more.
    #[error("the name {host} can't be resolved: {why}")]
    Unresolved {
        /// The name.
        host: String,
        /// Words of the name service.
        why: String,
    },
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
    /// The other server's certificate is one that is trusted, but not at this moment.
    #[error("the other server's certificate has expired or is not valid yet: {0}")]
    CertificateDates(String),
    /// The payload could not be read. The other server is not at fault.
    #[error("what was to be given could not be read")]
    Payload(#[source] Error),
    /// The body had fewer bytes, or more, than were announced.
    #[error("the body has not the length that was announced: {0}")]
    WrongLength(String),
    /// The other server ended the connection before it answered.
    #[error("the other server can't answer now: {0}")]
    Failing(String),
    /// The other server answered with a status that is no success, and not that there is no such thing.
    #[error("the other server answers with status {code}: {text}")]
    Status {
        /// The status.
        code: u16,
        /// Its URL, for the log.
        text: String,
        /// The pause that it asks for.
        pause: Option<Duration>,
    },
    /// Another version of the thing lies there than the one whose bytes began to come.
    #[error("what is under the URL changed while it was fetched: {0}")]
    Changed(String),
    /// The last of several requests failed like those before it.
    #[error("{0}, the last time as before")]
    Spent(#[source] Box<FetchError>),
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
        if let Some(refusal) = causes(&error).find_map(|cause| cause.downcast_ref::<Refusal>()) {
            return match refusal {
                Refusal::Barred(_) => Self::Refused,
                Refusal::Unresolved { host, why } => Self::Unresolved { host: host.clone(), why: why.clone() },
                Refusal::NoNameService(text) => Self::Unreached(text.clone()),
            };
        }
        let text = format!("{}: {}", redacted(url), chain(&error));
        match &error {
            error if certificate_error(error).is_some_and(is_about_dates) => Self::CertificateDates(text),
            error if certificate_error(error).is_some() => Self::Certificate(text),
            error if error.is_connect() => Self::Unreached(text),
            error if error.is_timeout() => Self::TimedOut(text),
            error if is_broken_off(error) => Self::Failing(text),
            _ => Self::Upstream(text),
        }
    }

    /// Converts an error in the middle of a body: there, every end of the connection cuts the body short.
    pub(super) fn from_body(error: reqwest::Error, url: &Url) -> Self {
        match Self::from_client(error, url) {
            Self::Upstream(text) | Self::Failing(text) => Self::WrongLength(text),
            other => other,
        }
    }

    /// The fetch error behind an error of the core, if there is one.
    pub fn of(error: &Error) -> Option<&Self> {
        causes(error).find_map(|cause| cause.downcast_ref())
    }

    /// The exact error, if it is that a name can't be resolved. For the user of the machine and for administrators, who may know
    /// which names there are; all others are told that, or that the address is refused, in one text.
    pub fn unresolved(error: &Error) -> Option<Error> {
        let Some(Self::Unresolved { host, .. }) = Self::of(error) else { return None };
        let words =
            format!("Unable to connect to: {host}: its name can't be resolved; check the network, and the name.");
        Some(Reason::ServerUnreachable.saying(words))
    }

    /// Tells whether another request may have a better end. One for a name that can't be resolved counts as refused here too: the
    /// time that an answer takes tells nothing.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreached(_) | Self::TimedOut(_) | Self::WrongLength(_) | Self::Failing(_) => true,
            Self::Status { code, .. } => PASSING.contains(code),
            _ => false,
        }
    }

    /// The pause that the other server asks for.
    pub(super) fn asks_for(&self) -> Option<Duration> {
        if let Self::Status { pause, .. } = self { *pause } else { None }
    }

    /// The failure in words for the caller, behind the name of a server.
    pub fn words(&self) -> Cow<'static, str> {
        let words = match self {
            Self::Status { code, .. } => return format!("answers with status {code}").into(),
            Self::Spent(error) => return error.words(),
            Self::Silent => "is not asked, because this server is offline (`visor offline off` ends that)",
            Self::Unreached(_) => "can't be reached",
            Self::TimedOut(_) => "takes too long to answer",
            Self::WrongLength(_) => "sent more or less than it announced",
            Self::Certificate(_) => "has not the certificate that it must have to be trusted",
            Self::CertificateDates(_) => "has a certificate that has expired or is not valid yet",
            Self::Failing(_) => "can't answer now",
            Self::Changed(_) => "has other bytes now than when the transfer began",
            Self::Compressed(_) => "compresses the file, although that was not asked for",
            Self::Refused
            | Self::Unresolved { .. }
            | Self::NotFound
            | Self::BadRange
            | Self::Payload(_)
            | Self::Upstream(_) => "does not answer as it should",
        };
        words.into()
    }

    /// The error for a request that named the server, by this name. `lxc` and `incus` know several addresses of a server, and try the
    /// next one only behind an error with these words in it.
    pub fn of_server(self, host: &str) -> Error {
        match self {
            Self::Refused | Self::Unresolved { .. } => {
                Reason::ServerRefused.about(host).and(barred(host)).because(self)
            }
            Self::Unreached(_) => Reason::ServerUnreachable.about(host).because(self),
            Self::Spent(ref error) if matches!(**error, Self::Unreached(_)) => {
                Reason::ServerUnreachable.about(host).because(self)
            }
            other => other.blame(&format!("The server {host}")),
        }
    }

    /// The error for a request with a URL on it, which may be invalid.
    pub fn of_url(self, url: &str) -> Error {
        match host_of(url) {
            Some(host) => self.of_server(&host),
            None => self.of_file(url),
        }
    }

    /// The error for a URL of an image's file, which may be invalid.
    pub fn of_file(self, url: &str) -> Error {
        match self {
            Self::Refused | Self::Unresolved { .. } => Reason::UrlRefused.about(barred_for(url)).because(self),
            other => other.into(),
        }
    }

    fn blame(self, server: &str) -> Error {
        match self {
            // Of a URL that is not at hand. Its form was judged before anything was asked of its host.
            Self::Refused | Self::Unresolved { .. } => Reason::UrlRefused.about(NAME_BARRED).because(self),
            Self::NotFound => Error::from(Reason::UrlNotFound).because(self),
            Self::BadRange => Error::from(Reason::BadRange).because(self),
            Self::Payload(error) => error,
            other => Reason::Upstream.saying(format!("{server} {}.", other.words())).because(other),
        }
    }
}

/// Says why a URL, which may be invalid, is not fetched.
pub fn barred_for(url: &str) -> &'static str {
    host_of(url).map_or(FORM_BARRED, |host| barred(&host))
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

/// A host that is not connected to: travels through the client library from where its name is resolved.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It has an address that must not be connected to.
    #[error("{0}")]
    Barred(String),
    /// It has no address.
    #[error("{host} has no address: {why}")]
    Unresolved { host: String, why: String },
    /// No name can be resolved at the moment, which says nothing of this one.
    #[error("{0}")]
    NoNameService(String),
}

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

/// Tells whether the connection ended before there was an answer.
fn is_broken_off(error: &Cause) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    causes(error).any(|cause| {
        let http = cause.downcast_ref::<hyper::Error>();
        let system = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        http.is_some_and(|error| error.is_incomplete_message() || error.is_closed())
            || matches!(system, Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
    })
}

/// The error of a TLS connection that failed because of the other server's certificate.
fn certificate_error(error: &Cause) -> Option<&rustls::Error> {
    // What an I/O error wraps is not among its sources; it may wrap another one.
    fn wrapped(cause: &Cause) -> Option<&Cause> {
        cause.downcast_ref::<std::io::Error>()?.get_ref().map(|inner| inner as &Cause)
    }
    let tls = causes(error).flat_map(|cause| std::iter::successors(Some(cause), |&cause| wrapped(cause)));
    let mut known = tls.filter_map(|cause| cause.downcast_ref::<rustls::Error>());
    known.find(|known| matches!(known, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

fn is_about_dates(error: &rustls::Error) -> bool {
    use rustls::CertificateError as Wrong;
    let rustls::Error::InvalidCertificate(wrong) = error else { return false };
    matches!(
        wrong,
        Wrong::Expired | Wrong::ExpiredContext { .. } | Wrong::NotValidYet | Wrong::NotValidYetContext { .. }
    )
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
    fn a_name_that_is_not_known_is_told_from_a_refused_one_only_to_those_who_may_know() {
        let unknown = || FetchError::Unresolved { host: "db.corp.example".into(), why: "no such host".into() };
        let url = "https://db.corp.example/x";
        assert_eq!(unknown().may_pass(), FetchError::Refused.may_pass());
        for (one, other) in [
            (unknown().of_url(url), FetchError::Refused.of_url(url)),
            (unknown().of_file(url), FetchError::Refused.of_file(url)),
            (unknown().into(), FetchError::Refused.into()),
        ] {
            assert_eq!((one.reason(), one.message()), (other.reason(), other.message()));
            assert!(FetchError::unresolved(&other).is_none());
            let exact = FetchError::unresolved(&one).unwrap();
            assert_eq!(exact.kind(), Kind::Upstream);
            assert!(exact.message().contains("db.corp.example: its name can't be resolved"), "{exact}");
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
