//! The client library: VISOR's REST API as calls, signed and streaming. The command line is built on it.
//!
//! Knows the wire and the signature, and nothing of the server's rooms.

mod download;
mod error;
mod jobs;
mod links;
pub mod openstack;
mod pulls;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode, Url};
use serde_json::Value;

pub use self::download::{Downloaded, Target};
pub use self::error::ClientError;
pub use self::jobs::{Started, failure_of};
pub use self::upload::{Pieces, Upload};
use crate::account::signature::{ContentType, META_PREFIX, authorization, sign, string_to_sign};
use crate::error::{Kind, Reason};
use crate::image::ImageId;

/// Lists are read in pages of this many.
const PAGE: usize = 1000;

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest silence of the server, as in the original's client.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Time between two keep-alive probes of a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Keys that sign requests.
#[derive(Clone)]
pub struct Credentials {
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
}

/// A record: attribute names and values, in the server's order.
pub type Record = serde_json::Map<String, Value>;

/// Is told how many bytes have passed so far.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// A client of one server.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Option<Credentials>,
}

type Result<T, E = ClientError> = std::result::Result<T, E>;

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:4568`. With `ca`, certificates in PEM, those alone
    /// are trusted; without, the system's.
    ///
    /// # Errors
    /// `Invalid` when `base` is no URL or `ca` is no certificate.
    pub fn new(base: &str, credentials: Option<Credentials>, ca: Option<&[u8]>) -> Result<Self> {
        let base = Url::parse(base).map_err(|error| ClientError::Invalid(format!("{base}: {error}")))?;
        Ok(Self { http: transport(ca)?, base, credentials })
    }

    /// Brief records of all images that match a query (`name=value` pairs, `sort`, `dir`, `limit`).
    ///
    /// # Errors
    /// As the server says; `NotFound` when nothing matches.
    pub async fn brief(&self, query: &[(String, String)]) -> Result<Vec<Record>> {
        self.list("/images", query).await
    }

    /// Whole records of all images that match a query.
    ///
    /// # Errors
    /// As [`Client::brief`].
    pub async fn detail(&self, query: &[(String, String)]) -> Result<Vec<Record>> {
        self.list("/images/detail", query).await
    }

    async fn list(&self, path: &str, query: &[(String, String)]) -> Result<Vec<Record>> {
        let limit = query.iter().find(|(name, _)| name == "limit").map(|(_, value)| value.parse::<usize>());
        let limit = limit.transpose().map_err(|_| ClientError::Invalid("limit must be a number".into()))?;
        let mut records: Vec<Record> = Vec::new();
        loop {
            let wanted = limit.map_or(PAGE, |limit| limit.saturating_sub(records.len()).min(PAGE));
            let mut url = self.url(path)?;
            {
                let mut pairs = url.query_pairs_mut();
                pairs.extend_pairs(query.iter().filter(|(name, _)| name != "limit"));
                pairs.append_pair("limit", &wanted.to_string());
                if let Some(last) = records.last().and_then(|record| record.get("_id")).and_then(Value::as_str) {
                    pairs.append_pair("marker", last);
                }
            }
            let answer = self.send(Request::new(Method::GET, url)).await?;
            let page = match checked(answer).await {
                // Behind the last page there is nothing.
                Err(ClientError::NotFound(_)) if !records.is_empty() => return Ok(records),
                answer => json(answer?, "images").await?,
            };
            let Value::Array(page) = page else { return Err(garbled()) };
            let full = page.len() == wanted;
            records.extend(page.into_iter().filter_map(|record| match record {
                Value::Object(record) => Some(record),
                _ => None,
            }));
            if !full || limit.is_some_and(|limit| records.len() >= limit) {
                return Ok(records);
            }
        }
    }

    /// The record of an image, by its id or by a name. Of images that share a name the server chooses one.
    ///
    /// # Errors
    /// As the server says.
    pub async fn head(&self, name: &str) -> Result<Record> {
        let answer = checked(self.send(Request::new(Method::HEAD, self.image_named(name)?)).await?).await?;
        Ok(record_of(&answer))
    }

    /// The id of the image that a name stands for now; an id stands for itself.
    ///
    /// # Errors
    /// As the server says.
    pub async fn id_of(&self, name: &str) -> Result<String> {
        if name.parse::<ImageId>().is_ok() {
            return Ok(name.to_owned());
        }
        let record = self.head(name).await?;
        let id = record.get("_id").and_then(Value::as_str).filter(|id| id.parse::<ImageId>().is_ok());
        id.map(ToOwned::to_owned).ok_or_else(garbled)
    }

    /// The server at a glance: version, uptime, images, jobs, stores and cache.
    ///
    /// # Errors
    /// As the server says; `Forbidden` for all but administrators.
    pub async fn status(&self) -> Result<Record> {
        let answer = checked(self.send(Request::new(Method::GET, self.url("/status/detail")?)).await?).await?;
        record(json(answer, "status").await?)
    }

    /// The server's address, and who calls it.
    pub fn identity(&self) -> (&str, &str) {
        (self.base.as_str(), self.credentials.as_ref().map_or("", |credentials| &credentials.access_key))
    }

    /// Registers an image, with its file if there is one.
    ///
    /// # Errors
    /// As the server says.
    pub async fn add(&self, meta: &[(String, String)], file: Option<Upload>) -> Result<Record> {
        self.save(Method::POST, self.url("/images")?, meta, file).await
    }

    /// Changes an image, and gives it its file if there is one.
    ///
    /// # Errors
    /// As the server says.
    pub async fn update(&self, id: &str, meta: &[(String, String)], file: Option<Upload>) -> Result<Record> {
        self.save(Method::PUT, self.image(id)?, meta, file).await
    }

    async fn save(&self, method: Method, url: Url, meta: &[(String, String)], file: Option<Upload>) -> Result<Record> {
        let mut request = Request::new(method, url);
        put_meta(request.headers_mut(), meta)?;
        if let Some(file) = file {
            file.send_with(&mut request, "application/octet-stream");
        }
        let answer = checked(self.send(request).await?).await?;
        record(json(answer, "image").await?)
    }

    /// Removes an image and its file. Returns its last record.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete(&self, id: &str) -> Result<Record> {
        let answer = checked(self.send(Request::new(Method::DELETE, self.image(id)?)).await?).await?;
        record(json(answer, "image").await?)
    }

    /// Removes every image that matches a query. Returns the records as they were.
    ///
    /// # Errors
    /// The first that could not be removed; those before it are.
    pub async fn delete_by_query(&self, query: &[(String, String)]) -> Result<Vec<Record>> {
        let mut removed = Vec::new();
        for image in self.brief(query).await? {
            let id = image.get("_id").and_then(Value::as_str).ok_or_else(garbled)?;
            removed.push(self.delete(id).await?);
        }
        Ok(removed)
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|error| ClientError::Invalid(error.to_string()))
    }

    fn image(&self, id: &str) -> Result<Url> {
        self.named("images", id)
    }

    /// The address of an image by its id or a name, as one segment of the path.
    fn image_named(&self, name: &str) -> Result<Url> {
        // These would be steps in the path, however they are written.
        if matches!(name, "" | "." | ".." | "detail") || name.chars().any(char::is_control) {
            return Err(ClientError::Invalid(format!("'{}' can't be the name of an image", name.escape_default())));
        }
        let mut url = self.url("/images")?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(name);
        }
        Ok(url)
    }

    fn named(&self, what: &str, id: &str) -> Result<Url> {
        let safe = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if safe {
            return self.url(&format!("/{what}/{id}"));
        }
        // An upload has the id of its image.
        let kind = if what == "jobs" { "a job id" } else { "an image id" };
        Err(ClientError::Invalid(format!("'{id}' is not {kind}")))
    }

    /// Signs and sends a request.
    async fn send(&self, mut request: Request) -> Result<Response> {
        request.headers_mut().insert("accept", HeaderValue::from_static("application/json"));
        if let Some(Credentials { access_key, secret_key }) = &self.credentials {
            let date = httpdate::fmt_http_date(SystemTime::now());
            let value = HeaderValue::from_str(&date).map_err(|error| ClientError::Invalid(error.to_string()))?;
            request.headers_mut().insert(DATE, value);
            let headers = request.headers().iter();
            let headers = headers.map(|(n, v)| (n.as_str(), std::str::from_utf8(v.as_bytes()).unwrap_or_default()));
            let text = string_to_sign(request.method().as_str(), request.url().path(), headers, ContentType::AsSent);
            let value = HeaderValue::from_str(&authorization(access_key, &sign(secret_key, &text))).map_err(|_| {
                ClientError::Invalid("the access key has a character that a header must not have".into())
            })?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.http.execute(request).await.map_err(|error| ClientError::from_transport(&self.base, &error))
    }
}

/// The connections of a client. With `ca`, certificates in PEM, those alone are trusted; without, the system's.
fn transport(ca: Option<&[u8]>) -> Result<reqwest::Client> {
    // Several clients in one process: the first installs it, the others find it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let invalid = |error: reqwest::Error| ClientError::Invalid(error.to_string());
    let mut http = reqwest::Client::builder();
    if let Some(ca) = ca {
        http = http.tls_certs_only(reqwest::Certificate::from_pem_bundle(ca).map_err(invalid)?);
    }
    http.no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("visor/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .tcp_keepalive(KEEP_ALIVE)
        .build()
        .map_err(invalid)
}

/// Attributes as headers.
fn put_meta(headers: &mut HeaderMap, meta: &[(String, String)]) -> Result<()> {
    for (name, value) in meta {
        let name = HeaderName::try_from(format!("{META_PREFIX}{name}"))
            .map_err(|_| ClientError::Invalid(format!("{name} can't be an attribute's name")))?;
        let value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| ClientError::Invalid(format!("the value of {name} has a control character")))?;
        headers.append(name, value);
    }
    Ok(())
}

/// The record in the metadata headers of an answer.
fn record_of(answer: &Response) -> Record {
    let fields = answer.headers().iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(META_PREFIX)?;
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        // As the same record has it in JSON.
        let number = if name == "size" { text.parse::<u64>().ok() } else { None };
        Some((name.to_owned(), number.map_or(Value::String(text), Value::from)))
    });
    // Headers come in any order.
    fields.collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// The answer, if it is a good one; else what the server says.
async fn checked(answer: Response) -> Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let code = answer.headers().get("x-visor-error").and_then(|code| code.to_str().ok());
    let mismatch = code
        .and_then(Reason::of_code)
        .is_some_and(|reason| matches!(reason.kind(), Kind::DigestMismatch | Kind::Verification));
    let header = answer.headers().get("x-error-message").map(|m| String::from_utf8_lossy(m.as_bytes()).into_owned());
    let message = match header {
        Some(message) => message,
        None => {
            let text = answer.text().await.unwrap_or_default();
            let said = serde_json::from_str::<Value>(&text).ok();
            let said = said.as_ref().and_then(|said| said.get("message")?.as_str());
            said.map_or_else(|| format!("the server answers {status}"), ToOwned::to_owned)
        }
    };
    Err(match mismatch {
        true => ClientError::Mismatch(message),
        false => refused(status, message),
    })
}

/// The error that a status stands for.
fn refused(status: StatusCode, message: String) -> ClientError {
    match status {
        StatusCode::NOT_FOUND => ClientError::NotFound(message),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => ClientError::Forbidden(message),
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => ClientError::Conflict(message),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::INSUFFICIENT_STORAGE => ClientError::NoRoom(message),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => ClientError::Interrupted(message),
        status if status.is_client_error() => ClientError::Invalid(message),
        _ => ClientError::Server(message),
    }
}

async fn json(answer: Response, key: &str) -> Result<Value> {
    let bytes = answer.bytes().await.map_err(|_| ClientError::Interrupted("the answer broke off".into()))?;
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|_| garbled())?;
    value.get_mut(key).map(Value::take).ok_or_else(garbled)
}

fn record(value: Value) -> Result<Record> {
    match value {
        Value::Object(record) => Ok(record),
        _ => Err(garbled()),
    }
}

fn garbled() -> ClientError {
    ClientError::Server("the answer is not VISOR's; is another program listening there?".into())
}
