//! Logins at a Keystone: a proof, a scope, and the image service in the catalogue of the answer.

use std::collections::BTreeMap;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url};
use serde_json::{Map, Value, json};

use super::{ClientError, Result, checked, document, garbled, secret, transport};

/// Name of the domain of users and projects for which none is given.
const DOMAIN: &str = "Default";

/// A proof of an identity, as the `identity` of a request for a token.
#[derive(Clone)]
pub(super) struct LoginProof(Value);

/// A way to get tokens.
#[derive(Clone)]
pub(super) struct Login {
    url: String,
    proof: LoginProof,
    scope: Value,
    region: Option<String>,
    interface: String,
}

impl LoginProof {
    /// The keys of an account of Visor's.
    pub(super) fn keys(access_key: &str, secret_key: &str) -> Self {
        let user = json!({ "name": access_key, "password": secret_key, "domain": { "name": DOMAIN } });
        Self(json!({ "methods": ["password"], "password": { "user": user } }))
    }

    /// The proof that settings have; none if they have a token for the image service itself, or need none.
    fn of(settings: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let get = |name: &str| settings.get(name).map(String::as_str);
        let missing = |what: &str| {
            ClientError::Invalid(format!("{what} is missing, to log in at {}", get("auth_url").unwrap_or_default()))
        };
        let kind = get("auth_type").unwrap_or_default().trim_start_matches("v3");
        if get("auth_url").is_none() || kind == "none" {
            return Ok(None);
        }
        if kind == "applicationcredential" || get("application_credential_secret").is_some() {
            let secret =
                get("application_credential_secret").ok_or_else(|| missing("OS_APPLICATION_CREDENTIAL_SECRET"))?;
            let mut credential = match (get("application_credential_id"), get("application_credential_name")) {
                (Some(id), _) => json!({ "id": id }),
                (None, Some(name)) => {
                    json!({ "name": name, "user": user(settings).ok_or_else(|| missing("OS_USERNAME"))? })
                }
                (None, None) => return Err(missing("OS_APPLICATION_CREDENTIAL_ID")),
            };
            credential["secret"] = secret.into();
            return Ok(Some(Self(
                json!({ "methods": ["application_credential"], "application_credential": credential }),
            )));
        }
        if let Some(token) = get("token").filter(|_| kind == "token" || get("password").is_none()) {
            return Ok(Some(Self(json!({ "methods": ["token"], "token": { "id": token } }))));
        }
        let mut user = user(settings).ok_or_else(|| missing("OS_USERNAME"))?;
        user.insert("password".into(), get("password").ok_or_else(|| missing("OS_PASSWORD"))?.into());
        Ok(Some(Self(json!({ "methods": ["password"], "password": { "user": user } }))))
    }
}

/// A thing by the id that settings have, or by its name and its domain.
fn named(settings: &BTreeMap<String, String>, id: &str, name: &str, domain: &str) -> Option<Map<String, Value>> {
    let get = |name: &str| settings.get(name).cloned();
    let mut thing = Map::new();
    if let Some(id) = get(id) {
        thing.insert("id".into(), id.into());
        return Some(thing);
    }
    thing.insert("name".into(), get(name)?.into());
    let domain = match get(&format!("{domain}_domain_id")).or_else(|| get("default_domain_id")) {
        Some(id) => json!({ "id": id }),
        None => {
            let name = get(&format!("{domain}_domain_name")).or_else(|| get("default_domain_name"));
            json!({ "name": name.unwrap_or_else(|| DOMAIN.to_owned()) })
        }
    };
    thing.insert("domain".into(), domain);
    Some(thing)
}

fn user(settings: &BTreeMap<String, String>) -> Option<Map<String, Value>> {
    named(settings, "user_id", "username", "user")
}

impl Login {
    /// The login that settings describe; none if they lead to an image service without one.
    ///
    /// # Errors
    /// `Invalid` when something is missing.
    pub(super) fn of(settings: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let get = |name: &str| settings.get(name).cloned();
        let has_endpoint = get("endpoint").or_else(|| get("image_endpoint_override")).is_some();
        if get("token").is_some() && has_endpoint && get("password").is_none() {
            return Ok(None);
        }
        let Some(proof) = LoginProof::of(settings)? else {
            return match has_endpoint {
                true => Ok(None),
                false => Err(ClientError::Invalid(
                    "no cloud is named: set OS_CLOUD, or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME, or OS_ENDPOINT and OS_TOKEN".into(),
                )),
            };
        };
        let project = named(settings, "project_id", "project_name", "project");
        let scope = match get("trust_id") {
            Some(trust) => json!({ "OS-TRUST:trust": { "id": trust } }),
            None => project.map_or(Value::Null, |project| json!({ "project": project })),
        };
        let interface = get("interface").or_else(|| get("endpoint_type")).unwrap_or_else(|| "public".to_owned());
        let interface = interface.trim_end_matches("URL").to_owned();
        let url = versioned(&get("auth_url").unwrap_or_default());
        Ok(Some(Self { url, proof, scope, region: get("region_name"), interface }))
    }

    /// A login for the project that a user has by default.
    pub(super) fn at(server: &str, proof: LoginProof) -> Self {
        Self { url: versioned(server), proof, scope: Value::Null, region: None, interface: "public".to_owned() }
    }

    /// Tells if this is a login at the Keystone with this URL.
    pub(super) fn is_at(&self, keystone: &str) -> bool {
        let parsed = |url: &str| Url::parse(&versioned(url)).ok();
        parsed(&self.url).is_some_and(|own| parsed(keystone) == Some(own))
    }

    /// A token, and the URL of the image service in its catalogue, or `NotFound` with the reason why there is none.
    ///
    /// # Errors
    /// `Forbidden` when it is refused; as the server says.
    pub(super) async fn token(&self, http: &reqwest::Client) -> Result<(HeaderValue, Result<String>)> {
        let url = format!("{}/auth/tokens", self.url);
        let url = Url::parse(&url).map_err(|error| ClientError::Invalid(format!("{url}: {error}")))?;
        let mut auth = json!({ "identity": self.proof.0 });
        // An application credential has its own scope.
        if !self.scope.is_null() && self.proof.0["methods"] != json!(["application_credential"]) {
            auth["scope"] = self.scope.clone();
        }
        let mut request = Request::new(Method::POST, url);
        let json_type = HeaderValue::from_static("application/json");
        request.headers_mut().extend([(CONTENT_TYPE, json_type.clone()), (ACCEPT, json_type)]);
        *request.body_mut() = Some(json!({ "auth": auth }).to_string().into());
        let answer = http.execute(request).await.map_err(|error| transport(&self.url, error))?;
        let answer = checked(answer).await?;
        let token = answer.headers().get("x-subject-token").and_then(|token| token.to_str().ok()).map(secret);
        let token = token.ok_or_else(|| garbled(&self.url))??;
        let body = document(answer).await?;
        Ok((token, self.image_service(&body["token"])))
    }

    /// The image service in the catalogue of a token.
    fn image_service(&self, token: &Value) -> Result<String> {
        let catalog = &token["catalog"];
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let services = list(catalog).into_iter().filter(|service| service["type"] == "image");
        let endpoints = services.flat_map(|service| list(&service["endpoints"]));
        let here = |endpoint: &Value| {
            let regions = [&endpoint["region_id"], &endpoint["region"]];
            endpoint["interface"] == self.interface.as_str()
                && self.region.as_ref().is_none_or(|region| regions.iter().any(|there| *there == region.as_str()))
        };
        let found = endpoints.into_iter().find(here);
        found.and_then(|endpoint| endpoint["url"].as_str().map(ToOwned::to_owned)).ok_or_else(|| {
            let (url, interface) = (&self.url, &self.interface);
            ClientError::NotFound(match &self.region {
                _ if list(catalog).is_empty() && token["project"].is_null() => {
                    format!("{url} gave a token without a project, which has no catalogue: set OS_PROJECT_NAME")
                }
                Some(region) => format!("the catalogue of {url} has no image service in the region {region} (OS_REGION_NAME) with the interface {interface} (OS_INTERFACE)"),
                None => format!("the catalogue of {url} has no image service with the interface {interface} (OS_INTERFACE)"),
            })
        })
    }
}

/// A URL of Keystone's with the version at its end.
fn versioned(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(pairs: &[(&str, &str)]) -> Result<Option<Login>> {
        Login::of(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn settings_become_a_proof_and_a_scope() {
        let all = [
            ("auth_url", "http://k/identity/"),
            ("username", "me"),
            ("password", "p"),
            ("project_name", "lab"),
            ("user_domain_id", "d"),
            ("interface", "internalURL"),
        ];
        let found = login(&all).unwrap().unwrap();
        assert_eq!((found.url.as_str(), found.interface.as_str()), ("http://k/identity/v3", "internal"));
        let user = json!({ "name": "me", "domain": { "id": "d" }, "password": "p" });
        assert_eq!(found.proof.0, json!({ "methods": ["password"], "password": { "user": user } }));
        assert_eq!(found.scope, json!({ "project": { "name": "lab", "domain": { "name": "Default" } } }));

        let trusted = [&all[..], &[("trust_id", "t")]].concat();
        assert_eq!(login(&trusted).unwrap().unwrap().scope, json!({ "OS-TRUST:trust": { "id": "t" } }));

        let credential =
            [("auth_url", "http://k"), ("application_credential_id", "i"), ("application_credential_secret", "s")];
        assert_eq!(
            login(&credential).unwrap().unwrap().proof.0["application_credential"],
            json!({ "id": "i", "secret": "s" })
        );
        let token = [("auth_url", "http://k"), ("token", "t"), ("project_id", "p")];
        let found = login(&token).unwrap().unwrap();
        assert_eq!((&found.proof.0["token"]["id"], &found.scope), (&json!("t"), &json!({ "project": { "id": "p" } })));
        for none in
            [&[("endpoint", "http://g"), ("token", "t")][..], &[("endpoint", "http://g"), ("auth_type", "none")]]
        {
            assert!(login(none).unwrap().is_none());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (pairs, word) in [
            (&[][..], "OS_AUTH_URL"),
            (&[("auth_url", "http://k")], "OS_USERNAME"),
            (&[("auth_url", "http://k"), ("username", "me")], "OS_PASSWORD"),
            (&[("auth_url", "http://k"), ("auth_type", "v3applicationcredential")], "OS_APPLICATION_CREDENTIAL_SECRET"),
        ] {
            let error = login(pairs).err().unwrap();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn the_catalogue_is_asked_for_region_and_interface() {
        let endpoint = |interface, region, url| json!({ "interface": interface, "region_id": region, "url": url });
        let endpoints =
            json!([endpoint("internal", "One", "a"), endpoint("public", "One", "b"), endpoint("public", "Two", "c")]);
        let catalog = json!([{ "type": "identity", "endpoints": [endpoint("public", "One", "k")] }, { "type": "image", "endpoints": endpoints }]);
        let token = json!({ "catalog": catalog, "project": { "id": "p" } });
        let mut login = Login::at("http://k", LoginProof::keys("a", "b"));
        assert_eq!(login.image_service(&token).unwrap(), "b");
        login.region = Some("Two".into());
        assert_eq!(login.image_service(&token).unwrap(), "c");
        login.interface = "internal".into();
        let missing = |login: &Login, token: &Value| login.image_service(token).unwrap_err().to_string();
        assert!(missing(&login, &token).contains("region Two (OS_REGION_NAME) with the interface internal"));
        assert!(missing(&login, &json!({ "user": {} })).contains("OS_PROJECT_NAME"));
        login.region = None;
        assert!(!missing(&login, &json!({ "catalog": [], "project": {} })).contains("region"));
    }

    #[test]
    fn a_keystone_is_known_by_its_address() {
        let login = Login::at("https://k.example/identity", LoginProof::keys("a", "b"));
        for (url, is_it) in [
            ("https://K.example:443/identity/v3/", true),
            ("https://k.example/identity", true),
            ("http://k.example/identity/v3", false),
            ("https://k.example/v3", false),
            ("", false),
        ] {
            assert_eq!(login.is_at(url), is_it, "{url}");
        }
    }
}
