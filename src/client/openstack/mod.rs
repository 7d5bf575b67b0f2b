//! A client of OpenStack's image API on any server, with the login that it needs: what moving images from one to another takes.
//!
//! Knows nothing of the images that it moves.

mod login;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Mutex;

use self::login::{Login, LoginProof};
use super::{ClientError, Result, refused, transport as connections};
use crate::percent::escaped;

const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// Longest answer that is no image. A page of a list has a thousand records.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Pieces of an image.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Methods of requests that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `POST`
    Post,
    /// `PUT`
    Put,
}

/// An image service, with a way to get tokens for it.
pub struct ImageService {
    http: reqwest::Client,
    /// URL without a version and without a slash at its end.
    endpoint: String,
    login: Option<Login>,
    token: Mutex<Option<HeaderValue>>,
}

impl ImageService {
    /// The image service that these settings lead to, by the names that OpenStack's clients have for them: with `endpoint` or
    /// `image_endpoint_override` the one at this URL, otherwise the one in the catalogue behind `auth_url`. With `ca`,
    /// certificates in PEM, those alone are trusted; without, the system's.
    ///
    /// # Errors
    /// `Invalid` settings; `Forbidden` when the login is refused; `NotFound` without an image service in the catalogue.
    pub async fn open(settings: &BTreeMap<String, String>, ca: Option<&[u8]>) -> Result<Self> {
        let http = connections(ca)?;
        let login = Login::of(settings)?;
        let given = settings.get("image_endpoint_override").or_else(|| settings.get("endpoint"));
        let (token, endpoint) = match &login {
            Some(login) => {
                let (token, found) = login.token(&http).await?;
                (Some(token), given.cloned().map_or(found, Ok)?)
            }
            None => {
                let missing = || ClientError::Invalid("the image service has no URL: set OS_ENDPOINT".into());
                (settings.get("token").map(|token| secret(token)).transpose()?, given.cloned().ok_or_else(missing)?)
            }
        };
        let endpoint = unversioned(&endpoint);
        Url::parse(&endpoint).map_err(|error| ClientError::Invalid(format!("{endpoint}: {error}")))?;
        Ok(Self { http, endpoint, login, token: Mutex::new(token) })
    }

    /// The image service of a Visor at `base`, which says itself whose tokens it takes. If that is the Keystone of `other`, it
    /// gets those tokens; otherwise the keys of its accounts are user and password.
    ///
    /// # Errors
    /// As [`ImageService::open`]; `Forbidden` when it asks for a token and there is none for it.
    pub async fn of_visor(base: &str, keys: Option<(&str, &str)>, ca: Option<&[u8]>, other: &Self) -> Result<Self> {
        let endpoint = base.trim_end_matches('/').to_owned();
        let mut visor = Self { http: connections(ca)?, endpoint, login: None, token: Mutex::default() };
        let named =
            visor.get("/v3").await?.and_then(|said| Some(said["version"]["links"][0]["href"].as_str()?.to_owned()));
        let named = named.unwrap_or_default();
        // A server that names another Keystone must not see a token of this one.
        let theirs = other.login.as_ref().filter(|theirs| theirs.is_at(&named));
        if let Some(theirs) = theirs {
            visor.token = Mutex::new(other.token.lock().await.clone());
            visor.login = Some(theirs.clone());
        } else if let Some((key, secret)) = keys {
            let login = Login::at(&visor.endpoint, LoginProof::keys(key, secret));
            visor.token = Mutex::new(Some(login.token(&visor.http).await?.0));
            visor.login = Some(login);
        } else if let Err(ClientError::Forbidden(said)) = visor.get("/v2/images?limit=1").await {
            let advice = "if the source has the same Keystone, call it by this address (OS_AUTH_URL); otherwise give the keys of an administrator";
            return Err(ClientError::Forbidden(format!(
                "{said} {base} takes the tokens of {named}: {advice} under [client]."
            )));
        }
        Ok(visor)
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.endpoint
    }

    /// The document at a path; none if there is none.
    ///
    /// # Errors
    /// As the server says.
    pub async fn get(&self, path: &str) -> Result<Option<Value>> {
        match self.exchange(Method::GET, path, HeaderMap::new(), None).await {
            Ok(answer) => document(answer).await.map(Some),
            Err(ClientError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All entries of a list, page by page: `key` is its name in the answers.
    ///
    /// # Errors
    /// As the server says.
    pub async fn list(&self, path: &str, key: &str) -> Result<Vec<Value>> {
        let (mut all, mut seen, mut next) = (Vec::new(), BTreeSet::new(), Some(path.to_owned()));
        while let Some(path) = next {
            if !seen.insert(path.clone()) {
                // Its pages have no end.
                return Err(garbled(&self.endpoint));
            }
            let gone = || ClientError::NotFound(format!("there is nothing at {}{path}", self.endpoint));
            let mut page = self.get(&path).await?.ok_or_else(gone)?;
            let Some(Value::Array(entries)) = page.get_mut(key).map(Value::take) else {
                return Err(garbled(&self.endpoint));
            };
            let ended = entries.is_empty();
            all.extend(entries);
            // Below the path that this server is called at, whatever it believes that to be.
            let after = page.get("next").and_then(Value::as_str).filter(|_| !ended);
            next = after.and_then(|after| after.find("/v2/").map(|at| after[at..].to_owned()));
        }
        Ok(all)
    }

    /// Sends a document.
    ///
    /// # Errors
    /// As the server says.
    pub async fn send(&self, verb: Verb, path: &str, media_type: &'static str, body: &Value) -> Result<()> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let method = match verb {
            Verb::Post => Method::POST,
            Verb::Put => Method::PUT,
        };
        self.exchange(method, path, headers, Some(body)).await.map(drop)
    }

    /// The bytes at a path.
    ///
    /// # Errors
    /// As the server says; the stream's own are of the connection.
    pub async fn download(&self, path: &str) -> Result<ByteStream> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/octet-stream"))]);
        let answer = self.exchange(Method::GET, path, headers, None).await?;
        Ok(answer.bytes_stream().map_err(std::io::Error::other).boxed())
    }

    /// Gives bytes to a path. They can be sent once: an answer that asks for another token is an error here, so the token is
    /// tried before.
    ///
    /// # Errors
    /// As the server says; `Interrupted` when the stream fails, `Mismatch` when it does with `InvalidData`.
    pub async fn upload(&self, path: &str, length: u64, bytes: ByteStream) -> Result<()> {
        self.get("/v2/schemas/image").await?;
        let mut request = self.request(Method::PUT, path, HeaderMap::new()).await?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers_mut().insert(CONTENT_LENGTH, length.into());
        *request.body_mut() = Some(reqwest::Body::wrap_stream(bytes));
        checked(self.execute(request).await?).await.map(drop)
    }

    /// Sends a request, once more with a new token if it is asked for.
    async fn exchange(&self, method: Method, path: &str, headers: HeaderMap, body: Option<Bytes>) -> Result<Response> {
        let mut renewed = false;
        loop {
            let mut request = self.request(method.clone(), path, headers.clone()).await?;
            *request.body_mut() = body.clone().map(Into::into);
            let answer = self.execute(request).await?;
            match (&self.login, answer.status()) {
                (Some(login), StatusCode::UNAUTHORIZED) if !renewed => {
                    renewed = true;
                    *self.token.lock().await = Some(login.token(&self.http).await?.0);
                }
                _ => return checked(answer).await,
            }
        }
    }

    async fn request(&self, method: Method, path: &str, mut headers: HeaderMap) -> Result<Request> {
        let url = format!("{}{path}", self.endpoint);
        let url = Url::parse(&url).map_err(|error| ClientError::Invalid(format!("{url}: {error}")))?;
        if !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = &*self.token.lock().await {
            headers.insert(AUTH_TOKEN, token.clone());
        }
        let mut request = Request::new(method, url);
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn execute(&self, request: Request) -> Result<Response> {
        self.http.execute(request).await.map_err(|error| transport(&self.endpoint, error))
    }
}

/// A text as one part of a path.
///
/// # Errors
/// `Invalid` for a text that can't be one, however it is written.
pub fn segment(text: &str) -> Result<String> {
    match text {
        "" | "." | ".." => Err(ClientError::Invalid(format!("'{text}' can't be a part of a path"))),
        _ => Ok(escaped(text)),
    }
}

/// A URL of an image service without the version that some catalogues have in it.
fn unversioned(url: &str) -> String {
    let url = url.trim_end_matches('/');
    ["/v1", "/v2"].iter().find_map(|version| url.strip_suffix(version)).unwrap_or(url).to_owned()
}

/// A token as the value of a header that is shown nowhere.
fn secret(token: &str) -> Result<HeaderValue> {
    let value = HeaderValue::from_str(token);
    let mut value = value.map_err(|_| ClientError::Invalid("the token has a character that can't be sent".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn transport(server: &str, error: reqwest::Error) -> ClientError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = next.to_string();
        // The stream that was to be sent says so of its bytes.
        let is_wrong = |error: &std::io::Error| error.kind() == std::io::ErrorKind::InvalidData;
        if next.downcast_ref().is_some_and(is_wrong) {
            return ClientError::Mismatch(text);
        }
        cause = next.source();
    }
    match error.is_connect() {
        true => ClientError::Unreachable(format!("{server} can't be reached: {text}")),
        false => ClientError::Interrupted(format!("the exchange with {server} broke off: {text}")),
    }
}

fn garbled(server: &str) -> ClientError {
    ClientError::Server(format!("the answer of {server} is not that of an OpenStack service"))
}

/// The answer, if it is a good one; else what the server says.
async fn checked(answer: Response) -> Result<Response> {
    let (status, server) = (answer.status(), answer.url().host_str().unwrap_or_default().to_owned());
    if status.is_success() {
        return Ok(answer);
    }
    let said = document(answer).await.ok();
    let message = said.as_ref().and_then(|said| {
        let said = said.get("error").unwrap_or(said);
        said.get("message").or_else(|| said.get("title"))?.as_str()
    });
    let message = message.map_or_else(|| format!("{server} answers {status}"), ToOwned::to_owned);
    Err(refused(status, message))
}

/// Reads a whole answer as JSON.
async fn document(mut answer: Response) -> Result<Value> {
    let server = answer.url().host_str().unwrap_or_default().to_owned();
    let mut bytes = BytesMut::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| transport(&server, error))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(garbled(&server));
        }
    }
    serde_json::from_slice(&bytes).map_err(|_| garbled(&server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_no_version() {
        for url in ["http://g:9292", "http://g:9292/", "http://g:9292/v2", "http://g:9292/v2/", "http://g:9292/v1"] {
            assert_eq!(unversioned(url), "http://g:9292");
        }
        assert_eq!(unversioned("http://g/image/v2"), "http://g/image");
    }

    #[test]
    fn a_text_is_one_part_of_a_path() {
        let hostile = segment("x/../../../OTHER/members/y").unwrap();
        let url = Url::parse(&format!("http://g/v2/images/i/members/{hostile}")).unwrap();
        assert_eq!(url.path_segments().unwrap().count(), 5, "{url}");
        for text in ["i-1", "a_b.c~d", "ä?b#c%2e/"] {
            let url = Url::parse(&format!("http://g/{}", segment(text).unwrap())).unwrap();
            let decoded = percent_encoding::percent_decode_str(&url.path()[1..]).decode_utf8().unwrap();
            assert_eq!((&*decoded, url.query()), (text, None));
        }
        for text in ["", ".", ".."] {
            assert!(segment(text).is_err(), "{text}");
        }
    }
}
