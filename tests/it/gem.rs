//! Hyperkit, the Ruby client of LXD, as it is on the wire: what each of its methods sends (1.3.0 on Sawyer and Faraday: JSON in
//! everything that may have a body, keys in the order of its code), and what it makes of an answer.

use std::cell::RefCell;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::harness::{Answer, Server};
use crate::secure::Client;

/// What the gem raises.
#[derive(Debug, PartialEq)]
pub(crate) struct Raised {
    pub(crate) class: &'static str,
    pub(crate) text: String,
}

type Outcome<T> = Result<T, Raised>;

/// A method, a path, headers, a body.
type Send<'a> = Box<dyn Fn(&str, &str, &[(&str, &str)], &[u8]) -> Answer + 'a>;

/// A client of the gem's.
pub(crate) struct Gem<'a> {
    send: Send<'a>,
    /// What was sent last that reads nothing: method, path and body.
    sent: RefCell<(String, String, String)>,
}

/// The value of an option, by its name, if it was given.
fn slice(options: &Value, names: &[&str]) -> Map<String, Value> {
    let given = names.iter().filter_map(|name| Some(((*name).to_owned(), options.get(*name)?.clone())));
    given.collect()
}

/// Properties, all of them text.
fn stringified(options: &Value) -> Option<(String, Value)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let properties = options.get("properties")?.as_object().unwrap();
    let all: Map<_, _> = properties.iter().map(|(name, value)| (name.clone(), text(value).into())).collect();
    Some(("properties".into(), all.into()))
}

/// `URI.escape`: what can't be in a URL at all. Slashes, `&` and `+` can.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'();/?:@&=+$,[]".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl<'a> Gem<'a> {
    /// Over plain HTTP.
    pub(crate) fn new(server: &'a Server) -> Self {
        Self::over(move |method, path, headers, body| server.send(method, path, headers, body))
    }

    /// Over TLS.
    pub(crate) fn secure(client: &'a Client) -> Self {
        Self::over(move |method, path, headers, body| client.raw(method, path, headers, body))
    }

    fn over(send: impl Fn(&str, &str, &[(&str, &str)], &[u8]) -> Answer + 'a) -> Self {
        Self { send: Box::new(send), sent: RefCell::default() }
    }

    /// What was sent last that reads nothing: method, path and body.
    pub(crate) fn sent(&self) -> (String, String, String) {
        self.sent.borrow().clone()
    }

    fn raw(&self, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> Outcome<Answer> {
        if method != "GET" {
            let text = String::from_utf8_lossy(body).into_owned();
            *self.sent.borrow_mut() = (method.to_owned(), path.to_owned(), text);
        }
        let mut headers = vec![
            ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3"),
            ("Accept", "application/json"),
            ("User-Agent", "Hyperkit Ruby Gem 1.3.0"),
        ];
        if !more.iter().any(|(name, _)| *name == "Content-Type") {
            // Also where there is nothing.
            headers.push(("Content-Type", "application/json"));
        }
        headers.extend(more);
        let answer = (self.send)(method, &escaped(path), &headers, body);
        match raised(&answer) {
            None => Ok(answer),
            Some(raised) => Err(raised),
        }
    }

    /// What the gem calls the metadata of an answer. It decodes only what says that it is JSON.
    fn data(answer: &Answer) -> Value {
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let data = answer.json();
        times_can_be_read(&data);
        data["metadata"].clone()
    }

    fn get(&self, path: &str) -> Outcome<Value> {
        Ok(Self::data(&self.raw("GET", path, &[], b"")?))
    }

    fn with(&self, method: &str, path: &str, body: impl Into<Value>) -> Outcome<Value> {
        Ok(Self::data(&self.raw(method, path, &[], body.into().to_string().as_bytes())?))
    }

    /// With `sync`, as by default: what became of an operation.
    fn followed(&self, operation: &Value) -> Outcome<Value> {
        self.wait_for_operation(operation["id"].as_str().unwrap())
    }

    pub(crate) fn wait_for_operation(&self, id: &str) -> Outcome<Value> {
        self.get(&format!("/1.0/operations/{id}/wait"))
    }

    pub(crate) fn cancel_operation(&self, id: &str) -> Outcome<Value> {
        self.with("DELETE", &format!("/1.0/operations/{id}"), json!({}))
    }

    pub(crate) fn images(&self) -> Outcome<Vec<String>> {
        let paths = self.get("/1.0/images")?;
        let last = |path: &Value| path.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        Ok(paths.as_array().unwrap().iter().map(last).collect())
    }

    pub(crate) fn image(&self, fingerprint: &str, secret: Option<&str>) -> Outcome<Value> {
        let query = secret.map(|secret| format!("?secret={secret}")).unwrap_or_default();
        self.get(&format!("/1.0/images/{fingerprint}{query}"))
    }

    pub(crate) fn image_by_alias(&self, name: &str) -> Outcome<Value> {
        let alias = self.image_alias(name)?;
        self.image(alias["target"].as_str().unwrap(), None)
    }

    pub(crate) fn create_image_from_file(&self, file: &Path, options: &Value) -> Outcome<Value> {
        let text = |name: &str| options.get(name).map(|value| value.as_str().unwrap().to_owned());
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let mut headers = vec![("Content-Type", "application/octet-stream".to_owned())];
        headers.extend(text("fingerprint").map(|fingerprint| ("X-LXD-fingerprint", fingerprint)));
        headers.push(("X-LXD-filename", text("filename").unwrap_or(name)));
        if options["public"] == true {
            headers.push(("X-LXD-public", "1".to_owned()));
        }
        if let Some(properties) = options["properties"].as_object() {
            let escape = |value: &Value| escaped(&value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned));
            let pairs: Vec<_> =
                properties.iter().map(|(name, value)| format!("{}={}", escaped(name), escape(value))).collect();
            headers.push(("X-LXD-properties", pairs.join("&")));
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let begun = self.raw("POST", "/1.0/images", &headers, &std::fs::read(file).unwrap())?;
        self.followed(&Self::data(&begun))
    }

    pub(crate) fn create_image_from_remote(&self, server: &str, options: &Value) -> Outcome<Value> {
        let mut wanted = slice(options, &["filename", "public", "auto_update"]);
        let mut source = slice(options, &["secret", "protocol", "certificate"]);
        source.extend([("type", "image"), ("mode", "pull"), ("server", server)].map(|(k, v)| (k.into(), v.into())));
        let named = slice(options, &["alias"]);
        source.extend(if named.is_empty() { slice(options, &["fingerprint"]) } else { named });
        wanted.insert("source".into(), source.into());
        wanted.extend(stringified(options));
        self.followed(&self.with("POST", "/1.0/images", wanted)?)
    }

    pub(crate) fn create_image_from_url(&self, url: &str, options: &Value) -> Outcome<Value> {
        let source = json!({ "type": "url", "url": url });
        self.create(slice(options, &["filename", "public"]), options, source)
    }

    pub(crate) fn create_image_from_container(&self, name: &str, options: &Value) -> Outcome<Value> {
        let source = json!({ "type": "container", "name": name });
        self.create(slice(options, &["filename", "public", "description"]), options, source)
    }

    pub(crate) fn create_image_from_snapshot(&self, name: &str, snapshot: &str, options: &Value) -> Outcome<Value> {
        let source = json!({ "type": "snapshot", "name": format!("{name}/{snapshot}") });
        self.create(slice(options, &["filename", "public", "description"]), options, source)
    }

    fn create(&self, mut wanted: Map<String, Value>, options: &Value, source: Value) -> Outcome<Value> {
        wanted.extend(stringified(options));
        wanted.insert("source".into(), source);
        self.followed(&self.with("POST", "/1.0/images", wanted)?)
    }

    pub(crate) fn delete_image(&self, fingerprint: &str) -> Outcome<Value> {
        self.followed(&self.with("DELETE", &format!("/1.0/images/{fingerprint}"), json!({}))?)
    }

    pub(crate) fn update_image(&self, fingerprint: &str, options: &Value) -> Outcome<Value> {
        let mut wanted = slice(options, &["public", "auto_update"]);
        wanted.extend(stringified(options));
        self.with("PUT", &format!("/1.0/images/{fingerprint}"), wanted)
    }

    pub(crate) fn create_image_secret(&self, fingerprint: &str) -> Outcome<Value> {
        self.with("POST", &format!("/1.0/images/{fingerprint}/secret"), json!({}))
    }

    /// The name of the file, and what is written to it.
    pub(crate) fn export_image(&self, fingerprint: &str, secret: Option<&str>) -> Outcome<(String, Vec<u8>)> {
        // Without the secret, so it has to be one that may be seen.
        let image = self.image(fingerprint, None)?;
        let query = secret.map(|secret| format!("?secret={secret}")).unwrap_or_default();
        let answer = self.raw("GET", &format!("/1.0/images/{fingerprint}/export{query}"), &[], b"")?;
        let decoded =
            answer.header("content-type").is_some_and(|kind| kind.contains("json") || kind.contains("msgpack"));
        assert!(!decoded, "an object of Ruby's would be written: {answer:?}");
        assert_eq!(answer.header("content-encoding"), None);
        Ok((image["filename"].as_str().unwrap().to_owned(), answer.body))
    }

    pub(crate) fn image_aliases(&self) -> Outcome<Vec<String>> {
        let paths = self.get("/1.0/images/aliases")?;
        let name = |path: &Value| path.as_str().unwrap().replacen("/1.0/images/aliases/", "", 1);
        Ok(paths.as_array().unwrap().iter().map(name).collect())
    }

    pub(crate) fn image_alias(&self, name: &str) -> Outcome<Value> {
        self.get(&format!("/1.0/images/aliases/{name}"))
    }

    pub(crate) fn create_image_alias(&self, fingerprint: &str, name: &str, options: &Value) -> Outcome<Value> {
        let mut wanted = slice(options, &["description"]);
        wanted.extend([("target", fingerprint), ("name", name)].map(|(k, v)| (k.into(), v.into())));
        self.with("POST", "/1.0/images/aliases", wanted)
    }

    pub(crate) fn delete_image_alias(&self, name: &str) -> Outcome<Value> {
        self.with("DELETE", &format!("/1.0/images/aliases/{name}"), json!({}))
    }

    pub(crate) fn rename_image_alias(&self, name: &str, new: &str) -> Outcome<Value> {
        self.with("POST", &format!("/1.0/images/aliases/{name}"), json!({ "name": new }))
    }

    pub(crate) fn update_image_alias(&self, name: &str, options: &Value) -> Outcome<Value> {
        let mut wanted = slice(&self.image_alias(name)?, &["description", "target"]);
        wanted.extend(slice(options, &["description", "target"]));
        self.with("PUT", &format!("/1.0/images/aliases/{name}"), wanted)
    }
}

/// Sawyer makes moments of all fields that are called like one.
fn times_can_be_read(data: &Value) {
    match data {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(text) = value.as_str().filter(|_| name.ends_with("_at")) {
                    assert!(text.parse::<jiff::Timestamp>().is_ok(), "{name}: {text}");
                }
                times_can_be_read(value);
            }
        }
        Value::Array(all) => all.iter().for_each(times_can_be_read),
        _ => {}
    }
}

/// What an answer is raised as: by its status, or by that of the operation in it.
fn raised(answer: &Answer) -> Option<Raised> {
    let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let inside = body["metadata"]["status_code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let status = answer.status;
    let (class, shown) =
        class_of(status).map(|class| (class, status)).or_else(|| Some((class_of(inside?)?, inside?)))?;
    let decoded = answer.header("content-type").is_some_and(|kind| kind.contains("json"));
    // An empty text is one, for Ruby.
    let said = if body["error"].is_null() { &body["metadata"]["err"] } else { &body["error"] };
    let text = said.as_str().filter(|_| decoded).map(|said| format!(" - Error: {said}")).unwrap_or_default();
    Some(Raised { class, text: format!("{shown}{text}") })
}

fn class_of(status: u16) -> Option<&'static str> {
    Some(match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        415 => "UnsupportedMediaType",
        422 => "UnprocessableEntity",
        402..=499 => "ClientError",
        500 => "InternalServerError",
        501 => "NotImplemented",
        502 => "BadGateway",
        503 => "ServiceUnavailable",
        504..=599 => "ServerError",
        _ => return None,
    })
}
