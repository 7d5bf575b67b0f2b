//! Bodies of requests about certificates: a certificate to trust, and new fields of an entry. Nothing is checked here against
//! accounts or entries.

use actix_web::HttpRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::account::trust::{Applicant, Client, EntryChange, Restriction, check_name};
use crate::api::lxd::auth::shown;
use crate::api::lxd::projects::DEFAULT;
use crate::certificate::Certificate;
use crate::error::{Error, Reason, Result};

/// A request to trust a certificate. A field that is `null` counts as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TrustRequest {
    pub(super) name: Option<String>,
    r#type: Option<String>,
    /// DER in base64; without it, the certificate of the connection.
    pub(super) certificate: Option<String>,
    /// The keys of an account (`ACCESS_KEY:SECRET_KEY`), or a token.
    pub(super) password: Option<String>,
    /// A token, where clients of today put it.
    pub(super) trust_token: Option<String>,
    /// Asks for a token that lets another client in.
    pub(super) token: Option<bool>,
    restricted: Option<bool>,
    projects: Option<Vec<String>>,
}

/// Reads an object. Serde would also take a list of its values.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let wrong = |error| Error::invalid("The body is not JSON that describes a certificate.").because(error);
    let asked: Map<String, Value> = serde_json::from_slice(bytes).map_err(wrong)?;
    serde_json::from_value(asked.into()).map_err(wrong)
}

fn check_type(kind: Option<&str>) -> Result<()> {
    match kind {
        None | Some("" | "client") => Ok(()),
        Some(_) => Err(Error::invalid("This server keeps only certificates of clients.")),
    }
}

/// The bounds in a request: projects that are not there are refused, not overlooked.
fn restriction(restricted: bool, mut projects: Vec<String>) -> Result<Restriction> {
    if projects.iter().any(|project| project != DEFAULT) {
        return Err(Reason::ProjectNotFound.into());
    }
    projects.dedup();
    Ok(Restriction { restricted, projects })
}

impl TrustRequest {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut post: Self = read(bytes)?;
        for text in [&mut post.name, &mut post.certificate, &mut post.password, &mut post.trust_token] {
            *text = text.take().filter(|text| !text.is_empty());
        }
        check_type(post.r#type.as_deref())?;
        post.name.as_deref().map_or(Ok(()), check_name)?;
        post.restriction()?;
        Ok(post)
    }

    /// The bounds that it asks for.
    pub(super) fn restriction(&self) -> Result<Restriction> {
        restriction(self.restricted.unwrap_or_default(), self.projects.clone().unwrap_or_default())
    }

    /// The certificate that the request names: the one in its body, or else the one of its connection.
    fn certificate(&self, request: &HttpRequest) -> Result<Certificate> {
        match &self.certificate {
            Some(text) => {
                let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
                let wrong = |error| Error::invalid("The certificate is not in base64.").because(error);
                Certificate::read(&STANDARD.decode(text).map_err(wrong)?)
            }
            None => match shown(request) {
                Some(shown) => Certificate::read(&shown.der),
                None => Err(Error::invalid("No client certificate provided")),
            },
        }
    }

    /// The applicant of the request. A connection that shows a certificate has proved that it has the key.
    pub(super) fn applicant(&self, request: &HttpRequest) -> Result<Applicant> {
        let certificate = self.certificate(request)?;
        let has_key = shown(request).is_some_and(|shown| shown.fingerprint == certificate.fingerprint);
        Ok(Applicant { certificate, name: self.name.clone(), restriction: self.restriction()?, has_key })
    }
}

/// The secret of a token. Clients send the whole token, or the secret alone.
pub(super) fn secret_of(token: &str) -> String {
    let whole = STANDARD.decode(token.trim()).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let secret = whole.as_ref().and_then(|token| token.get("secret")).and_then(Value::as_str);
    secret.unwrap_or(token.trim()).to_owned()
}

/// Fields of an entry that a client sends to change it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EntryFields {
    name: Option<String>,
    r#type: Option<String>,
    restricted: Option<bool>,
    projects: Option<Vec<String>>,
    description: Option<String>,
    /// The certificate as PEM, changed or as it was.
    certificate: Option<String>,
}

impl EntryFields {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let fields: Self = read(bytes)?;
        check_type(fields.r#type.as_deref())?;
        Ok(fields)
    }

    /// The change of an entry: with `whole`, a field that is absent is to be empty, and otherwise to stay.
    pub(super) fn onto(&self, client: &Client, whole: bool) -> Result<EntryChange> {
        let own = client.holder.as_ref().map_or("", |holder| holder.access_key.as_str());
        if self.description.as_deref().is_some_and(|text| !text.is_empty() && text != own) {
            return Err(Error::invalid(
                "The description of a certificate is its account's name, and can't be changed.",
            ));
        }
        let kept = if whole { Restriction::default() } else { client.restriction.clone() };
        let certificate = match self.certificate.as_deref().filter(|pem| !pem.trim().is_empty()) {
            None => None,
            Some(pem) => Some(Certificate::read_pem(pem)?).filter(|read| read.fingerprint != client.fingerprint),
        };
        Ok(EntryChange {
            name: self.name.clone().unwrap_or_else(|| if whole { String::new() } else { client.name.clone() }),
            restriction: restriction(
                self.restricted.unwrap_or(kept.restricted),
                self.projects.clone().unwrap_or(kept.projects),
            )?,
            certificate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_token_is_its_secret_however_it_comes() {
        let whole = STANDARD.encode(r#"{"client_name":"x","secret":"abc","addresses":[]}"#);
        for (given, expected) in
            [(whole.as_str(), "abc"), ("abc", "abc"), (" abc\n", "abc"), ("", ""), ("e30=", "e30=")]
        {
            assert_eq!(secret_of(given), expected, "{given}");
        }
    }

    #[test]
    fn what_can_not_be_done_is_not_overlooked() {
        for (body, right) in [
            (r#"{}"#, true),
            (r#"{"type":"client","password":"a:b","certificate":null,"projects":[],"restricted":false}"#, true),
            (r#"{"restricted":true,"projects":["default"]}"#, true),
            (r#"{"restricted":true,"projects":["default","other"]}"#, false),
            (r#"{"restricted":false,"projects":["other"]}"#, false),
            (r#"{"type":"metrics"}"#, false),
            (r#"{"type":"server"}"#, false),
            (r#"{"password":1}"#, false),
            ("", false),
            ("[]", false),
        ] {
            assert_eq!(TrustRequest::read(body.as_bytes()).is_ok(), right, "{body}");
        }
        assert_eq!(TrustRequest::read(b"x").unwrap_err().kind(), Kind::Invalid);
        for wrong in ["", "[]", r#"{"type":"server"}"#, r#"{"restricted":"yes"}"#, r#"{"projects":"default"}"#] {
            assert_eq!(EntryFields::read(wrong.as_bytes()).unwrap_err().kind(), Kind::Invalid, "{wrong}");
        }
    }
}
