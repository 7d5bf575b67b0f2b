//! Requests for a token: their proofs and their scope, read from JSON. Nothing is checked here against accounts.

use serde::Deserialize;
use serde_json::Value;

use super::wire::{DOMAIN_ID, DOMAIN_NAME};
use crate::account::Secret;
use crate::account::tokens::Method;
use crate::error::{Error, Result};

/// A request for a token.
pub(super) struct TokenRequest {
    /// At least one proof; all have to hold.
    pub(super) proofs: Vec<Proof>,
    pub(super) scope: RequestedScope,
    /// Names a domain that is not ours.
    pub(super) foreign: bool,
}

/// A proof of an account.
pub(super) enum Proof {
    Keys { method: Method, access_key: String, secret_key: Secret },
    Token(Secret),
}

/// The scope that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestedScope {
    /// No scope named: the account's own project.
    Default,
    Unscoped,
    Project(String),
    Domain,
    System,
}

#[derive(Deserialize)]
struct TokenRequestBody {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    identity: IdentityBody,
    scope: Option<ScopeBody>,
}

#[derive(Deserialize)]
struct IdentityBody {
    methods: Vec<String>,
    password: Option<Password>,
    token: Option<TokenBody>,
    application_credential: Option<Credential>,
}

#[derive(Deserialize)]
struct Password {
    user: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(flatten)]
    named: Named,
    password: Secret,
}

#[derive(Deserialize)]
struct TokenBody {
    id: Secret,
}

#[derive(Deserialize)]
struct Credential {
    #[serde(flatten)]
    named: Named,
    secret: Secret,
    user: Option<Named>,
}

/// A reference to a user or project: an id, or a name within a domain. Ids and names are equal here.
#[derive(Clone, Deserialize)]
struct Named {
    id: Option<String>,
    name: Option<String>,
    domain: Option<Domain>,
}

#[derive(Clone, Deserialize)]
struct Domain {
    id: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ScopeBody {
    Word(String),
    Fields(Box<ScopeFields>),
}

#[derive(Deserialize)]
struct ScopeFields {
    project: Option<Named>,
    domain: Option<Domain>,
    system: Option<Value>,
    unscoped: Option<Value>,
}

impl Named {
    fn key(self) -> Result<String> {
        self.id.or(self.name).ok_or_else(|| malformed("a user or a project has neither an id nor a name"))
    }

    fn is_foreign(&self) -> bool {
        self.domain.as_ref().is_some_and(Domain::is_foreign)
    }
}

impl Domain {
    fn is_foreign(&self) -> bool {
        let ours = |name: &str| name.eq_ignore_ascii_case(DOMAIN_NAME);
        self.id.as_ref().is_some_and(|id| id != DOMAIN_ID) || self.name.as_ref().is_some_and(|name| !ours(name))
    }
}

fn malformed(what: &str) -> Error {
    Error::invalid(format!(
        "The body has to be JSON like {{\"auth\":{{\"identity\":{{\"methods\":[\"password\"],\"password\":{{\"user\":\
         {{\"name\":\"…\",\"domain\":{{\"id\":\"default\"}},\"password\":\"…\"}}}}}}}}}}: {what}."
    ))
}

impl TokenRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn read(body: &[u8]) -> Result<Self> {
        // Serde's error for a wrong type repeats the value, which may be a secret.
        let TokenRequestBody { auth } =
            serde_json::from_slice(body).map_err(|_| malformed("it is not of that form"))?;
        let (scope, foreign) = read_scope(auth.scope)?;
        let mut request = Self { proofs: Vec::new(), scope, foreign };
        let mut identity = auth.identity;
        let missing = || malformed("a named method is missing or is named twice");
        for method in &identity.methods {
            match method.as_str() {
                "password" => {
                    let Password { user } = identity.password.take().ok_or_else(missing)?;
                    request.prove_keys(Method::Password, user.named, user.password)?;
                }
                "application_credential" => {
                    let Credential { named, secret, user } =
                        identity.application_credential.take().ok_or_else(missing)?;
                    if let Some(user) = user {
                        // A credential of ours has the name of its user.
                        request.foreign |= user.is_foreign() || user.key()? != named.clone().key()?;
                    }
                    request.prove_keys(Method::ApplicationCredential, named, secret)?;
                }
                "token" => request.proofs.push(Proof::Token(identity.token.take().ok_or_else(missing)?.id)),
                _ => return Err(Error::invalid("The methods are password, token and application_credential.")),
            }
        }
        if request.proofs.is_empty() {
            return Err(malformed("it names no method"));
        }
        Ok(request)
    }

    fn prove_keys(&mut self, method: Method, user: Named, secret_key: Secret) -> Result<()> {
        self.foreign |= user.is_foreign();
        self.proofs.push(Proof::Keys { method, access_key: user.key()?, secret_key });
        Ok(())
    }
}

/// The scope that is asked for, and whether it names another domain.
fn read_scope(scope: Option<ScopeBody>) -> Result<(RequestedScope, bool)> {
    let of = match scope {
        None => return Ok((RequestedScope::Default, false)),
        Some(ScopeBody::Word(word)) if word == "unscoped" => return Ok((RequestedScope::Unscoped, false)),
        Some(ScopeBody::Word(_)) => return Err(malformed("the only scope that is a word is \"unscoped\"")),
        Some(ScopeBody::Fields(of)) => *of,
    };
    match (of.project, of.domain, of.system, of.unscoped) {
        (Some(project), None, None, None) => {
            let foreign = project.is_foreign();
            Ok((RequestedScope::Project(project.key()?), foreign))
        }
        (None, Some(domain), None, None) => Ok((RequestedScope::Domain, domain.is_foreign())),
        (None, None, Some(system), None) if system["all"] == true => Ok((RequestedScope::System, false)),
        (None, None, None, Some(_)) => Ok((RequestedScope::Unscoped, false)),
        _ => Err(malformed("a scope is one project, the domain, or all of the system")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(identity: &Value, scope: &Value) -> Result<TokenRequest> {
        TokenRequest::read(json!({ "auth": { "identity": identity, "scope": scope } }).to_string().as_bytes())
    }

    fn password(user: Value) -> Value {
        json!({ "methods": ["password"], "password": { "user": user } })
    }

    fn alice() -> Value {
        password(json!({ "name": "alice", "password": "s3cret", "domain": { "name": "Default" } }))
    }

    #[test]
    fn keys_come_in_three_forms() {
        let credential = |more: Value| json!({ "methods": ["application_credential"], "application_credential": more });
        for (identity, method) in [
            (alice(), Method::Password),
            (password(json!({ "id": "alice", "password": "s3cret" })), Method::Password),
            (credential(json!({ "id": "alice", "secret": "s3cret" })), Method::ApplicationCredential),
            (
                credential(json!({ "name": "alice", "secret": "s3cret", "user": { "name": "alice" } })),
                Method::ApplicationCredential,
            ),
        ] {
            let request = read(&identity, &Value::Null).unwrap();
            let [Proof::Keys { method: read, access_key, secret_key }] = &request.proofs[..] else {
                panic!("{identity}")
            };
            assert_eq!((*read, access_key.as_str(), secret_key.reveal()), (method, "alice", "s3cret"));
            assert!(request.scope == RequestedScope::Default && !request.foreign);
        }
        let other = credential(json!({ "name": "alice", "secret": "s3cret", "user": { "name": "bob" } }));
        assert!(read(&other, &Value::Null).unwrap().foreign);
        let both = json!({ "methods": ["token", "password"], "token": { "id": "t" }, "password": alice()["password"] });
        assert_eq!(read(&both, &Value::Null).unwrap().proofs.len(), 2);
    }

    #[test]
    fn scopes() {
        let scope = |scope: Value| read(&alice(), &scope).map(|request| (request.scope, request.foreign));
        let project = |foreign| (RequestedScope::Project("p".into()), foreign);
        assert_eq!(scope(json!({ "project": { "id": "p" } })).unwrap(), project(false));
        assert_eq!(
            scope(json!({ "project": { "name": "p", "domain": { "id": "default" } } })).unwrap(),
            project(false)
        );
        assert_eq!(scope(json!({ "project": { "name": "p", "domain": { "name": "x" } } })).unwrap(), project(true));
        assert_eq!(scope(json!({ "domain": { "name": "default" } })).unwrap(), (RequestedScope::Domain, false));
        assert_eq!(scope(json!({ "system": { "all": true } })).unwrap(), (RequestedScope::System, false));
        assert_eq!(scope(json!("unscoped")).unwrap(), (RequestedScope::Unscoped, false));
        assert_eq!(scope(json!({ "unscoped": {} })).unwrap(), (RequestedScope::Unscoped, false));
        for bad in [
            json!({}),
            json!("all"),
            json!(7),
            json!({ "system": { "all": false } }),
            json!({ "project": {} }),
            json!({ "project": { "id": "p" }, "system": { "all": true } }),
            json!({ "OS-TRUST:trust": { "id": "t" } }),
        ] {
            assert!(scope(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_of_the_form_is_refused_without_repeating_it() {
        for bad in [
            json!({}),
            json!([]),
            json!({ "methods": [] }),
            json!({ "methods": ["password"] }),
            json!({ "methods": ["token"], "password": { "user": { "name": "a", "password": "s3cret" } } }),
            json!({ "methods": ["totp"] }),
            json!({ "methods": ["token", "password"], "token": { "id": "t" } }),
            json!({ "methods": ["token", "token"], "token": { "id": "t" } }),
            password(json!({ "password": "s3cret" })),
            password(json!({ "name": "a" })),
            password(json!({ "name": "a", "password": ["s3cret"] })),
            password(json!({ "name": { "s3cret": 1 }, "password": "s3cret" })),
        ] {
            let error = read(&bad, &Value::Null).err().unwrap_or_else(|| panic!("{bad}"));
            assert!(!error.message().contains("s3cret"), "{error}");
        }
        assert!(TokenRequest::read(b"{").is_err() && TokenRequest::read(b"").is_err());
        let deep = "[".repeat(10_000);
        assert!(TokenRequest::read(deep.as_bytes()).is_err());
    }
}
