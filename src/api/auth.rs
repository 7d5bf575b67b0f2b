//! Callers, as far as protocols share the rules: the operator's settings, and tokens. Signatures are VISOR's own; the
//! rights of a caller are the registry's business.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::account::attempts::Attempts;
use crate::account::links::Links;
use crate::account::tokens::{Scope, Tokens, read_open};
use crate::account::{ACCESS_KEY_BYTES_MAX, Account, Accounts, Role};
use crate::error::{Error, Reason, Result};
use crate::image::Timestamp;
use crate::keystone::Keystone;
use crate::registry::Caller;

/// The header of a caller's token.
pub const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// The header of the token of a service that acts for a caller. It adds no right: it lets the caller's token be expired.
const SERVICE_TOKEN: HeaderName = HeaderName::from_static("x-service-token");

/// Rules for callers with and without an account.
#[derive(Debug, Clone)]
pub struct AuthRules {
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// The tokens that were given to their holders.
    pub tokens: Arc<Tokens>,
    /// Share links, each of which opens one image.
    pub links: Arc<Links>,
    /// Makes every caller an administrator while there are no accounts: true on loopback, never elsewhere.
    pub open_without_accounts: bool,
    /// Lets requests without a signature or a token read public images.
    pub public_read: bool,
    /// Maximum difference between a signed date and the clock.
    pub date_window: Duration,
    /// Recent attempts at the keys of accounts, in all protocols: a caller that guesses cannot continue in another one.
    pub attempts: Arc<Attempts>,
    /// The Keystone that gives tokens, if it is another server.
    pub keystone: Option<Arc<Keystone>>,
}

impl AuthRules {
    /// Tells whether every caller is an administrator at this moment.
    ///
    /// # Errors
    /// `Internal` when the accounts can't be read.
    pub fn is_open(&self) -> Result<bool> {
        Ok(self.open_without_accounts && self.accounts.is_empty()?)
    }

    /// The account of a caller, if it has one.
    ///
    /// # Errors
    /// `Internal` when the accounts can't be read.
    pub fn account_of(&self, caller: &Caller) -> Result<Option<Account>> {
        caller.account().map_or(Ok(None), |name| self.accounts.get(name))
    }

    /// The caller of today that an account of earlier stands for: it may have another name, or other rights. Without an id, the
    /// caller of a server without accounts. `None` if it has no rights any more.
    ///
    /// # Errors
    /// `Internal` when the accounts can't be read.
    pub fn renewed(&self, account: Option<Uuid>) -> Result<Option<Caller>> {
        match account {
            Some(id) => Ok(self.accounts.with_id(id)?.map(caller_of)),
            None => Ok(self.is_open()?.then_some(Caller::Admin(None))),
        }
    }

    /// Finds the account with these keys, for a caller at the address `peer`.
    ///
    /// # Errors
    /// `Busy` after too many wrong guesses; `Internal`.
    pub fn with_keys(
        &self,
        access_key: &str,
        secret_key: &str,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<Account>> {
        // No account has such a key, and the attempt is not worth remembering.
        if access_key.len() > ACCESS_KEY_BYTES_MAX {
            return Ok(None);
        }
        let who = (peer, access_key.to_owned());
        self.attempts.begin(&who, now)?;
        let account = self.accounts.with_keys(access_key, secret_key)?;
        if account.is_some() {
            self.attempts.succeeded(&who);
        }
        Ok(account)
    }
}

/// Tells whether a request only reads.
pub fn reads(request: &HttpRequest) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The caller that an account stands for.
pub fn caller_of(account: Account) -> Caller {
    caller_with(account.role(), account.access_key)
}

/// The caller with this role and access key.
pub fn caller_with(role: Role, access_key: String) -> Caller {
    match role {
        Role::Administrator => Caller::Admin(Some(access_key)),
        Role::Member => Caller::User(access_key),
        Role::Reader => Caller::Reader(access_key),
    }
}

/// The caller of a read by a plain tool, which proves its right by `Authorization`: the keys of an account (`Basic`, RFC 7617) or
/// a token (`Bearer`, RFC 6750). Each protocol takes this beside its own proof, for reading only: browsers send such headers
/// without being asked, and so must not change anything by them. `None` for other methods and other schemes.
///
/// # Errors
/// `Unauthenticated` for keys and tokens that are wrong; `Busy` after too many of them; `Forbidden` for a token without a scope;
/// `Upstream` when a Keystone can't be asked.
pub async fn plain_reader(request: &HttpRequest, rules: &AuthRules, now: Timestamp) -> Result<Option<Caller>> {
    let Some(given) = header(request, &AUTHORIZATION)? else { return Ok(None) };
    let Some((scheme, proof)) = given.split_once(' ').filter(|_| reads(request)) else { return Ok(None) };
    let wrong = || Error::from(Reason::BadCredentials);
    let caller = if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(proof.trim()).ok().and_then(|pair| String::from_utf8(pair).ok());
        let pair = pair.ok_or_else(wrong)?;
        let (name, secret) = pair.split_once(':').ok_or_else(wrong)?;
        let peer = request.peer_addr().map(|peer| peer.ip());
        rules.with_keys(name, secret, peer, now)?.map(caller_of)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        by_token(proof.trim(), None, rules, now).await?
    } else {
        return Ok(None);
    };
    caller.map(Some).ok_or_else(wrong)
}

/// The caller with a token; `None` for one that does not hold. A Keystone elsewhere is also told the token of a service that acts for
/// the caller; its projects own the images, whichever of their users calls.
async fn by_token(token: &str, service: Option<&str>, rules: &AuthRules, now: Timestamp) -> Result<Option<Caller>> {
    if let Some(keystone) = &rules.keystone {
        let holder = keystone.holder(token, service, now).await?;
        return Ok(Some(caller_with(holder.role, holder.project)));
    }
    match rules.tokens.find(token, &rules.accounts, now)? {
        Some((_, grant)) if grant.scope == Scope::Unscoped => Err(Reason::NoScope.into()),
        found => Ok(found.map(|(account, _)| caller_of(account))),
    }
}

/// Authenticates a request by its `X-Auth-Token`, in a protocol with tokens and no signatures. All other headers about
/// the caller (`X-User-Id`, `X-Roles`, `X-Identity-Status` …) come from the client and prove nothing.
///
/// A server without accounts accepts any token and none; a token of its own says in which project's name. With accounts, a request
/// without a token is anonymous if it reads and `public_read` is set; a wrong token is always refused. A Keystone elsewhere is asked
/// about tokens, and Visor's own are none then.
///
/// # Errors
/// `Unauthenticated`; `Forbidden` for a token without a scope, which opens discovery in the identity API and nothing
/// else; `Upstream` when the Keystone can't be asked.
pub async fn bearer(request: &HttpRequest, rules: &AuthRules, now: Timestamp) -> Result<Caller> {
    if rules.is_open()? {
        return Ok(open_caller(header(request, &AUTH_TOKEN).unwrap_or_default()));
    }
    let Some(token) = header(request, &AUTH_TOKEN)? else {
        if let Some(caller) = plain_reader(request, rules, now).await? {
            return Ok(caller);
        }
        return if reads(request) && rules.public_read { Ok(Caller::Anonymous) } else { Err(no_token()) };
    };
    by_token(token, header(request, &SERVICE_TOKEN)?, rules, now).await?.ok_or_else(no_token)
}

/// The caller on a server without accounts, with any token or none: in the name of the project that its token is for, if the
/// identity API gave it for one. Images made with a token are then its project's.
fn open_caller(token: Option<&str>) -> Caller {
    match token.and_then(read_open).map(|grant| grant.scope) {
        Some(Scope::Project(project)) => Caller::Open(project),
        _ => Caller::Admin(None),
    }
}

/// Reads the only value of a header with a proof; `None` if there is none.
///
/// # Errors
/// `Unauthenticated` for two values, or one that is not text: it must be clear which one counts.
pub fn header<'a>(request: &'a HttpRequest, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text).filter(|text| !text.is_empty())),
        _ => Err(no_token()),
    }
}

/// The error for a missing token and for a wrong one.
pub fn no_token() -> Error {
    Reason::Unauthenticated.into()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use futures_util::FutureExt;

    use super::*;
    use crate::account::tokens::{Method as Way, open_token};
    use crate::error::Kind;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn rules(dir: &std::path::Path, public_read: bool) -> AuthRules {
        AuthRules {
            accounts: Arc::new(Accounts::open(dir).unwrap()),
            tokens: Arc::new(Tokens::open(dir, Duration::from_secs(60), NOW).unwrap()),
            links: Arc::new(Links::open(dir).unwrap()),
            open_without_accounts: true,
            public_read,
            date_window: Duration::ZERO,
            attempts: Arc::default(),
            keystone: None,
        }
    }

    fn token(rules: &AuthRules, account: &Account, scope: Scope) -> String {
        let grant = rules.tokens.grant(&account.access_key, [Way::Password].into(), scope, None, NOW).unwrap();
        rules.tokens.issue(account, &grant).unwrap().reveal().to_owned()
    }

    fn asked(rules: &AuthRules, method: Method, headers: &[(&str, &str)]) -> Result<Caller, Kind> {
        let mut request = TestRequest::default().method(method);
        for header in headers {
            request = request.append_header(*header);
        }
        // Without a Keystone there is nothing to wait for.
        bearer(&request.to_http_request(), rules, NOW).now_or_never().unwrap().map_err(|error| error.kind())
    }

    #[test]
    fn without_accounts_everybody_is_an_administrator() {
        let dir = tempfile::tempdir().unwrap();
        let mut rules = rules(dir.path(), false);
        for headers in [&[][..], &[("x-auth-token", "anything")]] {
            assert_eq!(asked(&rules, Method::POST, headers), Ok(Caller::Admin(None)));
        }
        for (scope, caller) in [
            (Scope::Project("lab".into()), Caller::Open("lab".into())),
            (Scope::Unscoped, Caller::Admin(None)),
            (Scope::System, Caller::Admin(None)),
        ] {
            let grant = rules.tokens.grant("anna", [Way::Password].into(), scope, None, NOW).unwrap();
            let token = open_token(&grant).unwrap();
            assert_eq!(asked(&rules, Method::POST, &[("x-auth-token", token.reveal())]), Ok(caller));
        }
        // A token that its client wrote: no image gets such an owner.
        for name in ["", "a\nb", &"x".repeat(256)] {
            let grant =
                rules.tokens.grant("anna", [Way::Password].into(), Scope::Project(name.into()), None, NOW).unwrap();
            let token = open_token(&grant).unwrap();
            assert_eq!(asked(&rules, Method::POST, &[("x-auth-token", token.reveal())]), Ok(Caller::Admin(None)));
        }
        rules.open_without_accounts = false;
        assert_eq!(asked(&rules, Method::GET, &[("x-auth-token", "anything")]), Err(Kind::Unauthenticated));
    }

    #[test]
    fn with_accounts_a_token_says_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for public_read in [false, true] {
            let rules = rules(dir.path(), public_read);
            let (alice, root) = (format!("alice_{public_read}"), format!("root_{public_read}"));
            let alice = rules.accounts.add(&alice, None, Role::Member, NOW).unwrap();
            let root = rules.accounts.add(&root, None, Role::Administrator, NOW).unwrap();
            let (user, admin) = (Caller::User(alice.access_key.clone()), Caller::Admin(Some(root.access_key.clone())));
            let of = |account: &Account| token(&rules, account, Scope::Project(account.access_key.clone()));
            assert_eq!(asked(&rules, Method::PUT, &[("x-auth-token", &of(&alice))]), Ok(user));
            assert_eq!(asked(&rules, Method::PUT, &[("x-auth-token", &of(&root))]), Ok(admin.clone()));
            let system = token(&rules, &root, Scope::System);
            assert_eq!(asked(&rules, Method::PUT, &[("x-auth-token", &system)]), Ok(admin));
            let unscoped = token(&rules, &alice, Scope::Unscoped);
            assert_eq!(asked(&rules, Method::GET, &[("x-auth-token", &unscoped)]), Err(Kind::Forbidden));

            let anonymous = if public_read { Ok(Caller::Anonymous) } else { Err(Kind::Unauthenticated) };
            let claims = [("x-user-id", "root"), ("x-roles", "admin"), ("x-identity-status", "Confirmed")];
            for headers in [&[][..], &[("x-auth-token", "")], &claims] {
                assert_eq!(asked(&rules, Method::GET, headers), anonymous);
                assert_eq!(asked(&rules, Method::HEAD, headers), anonymous);
                assert_eq!(asked(&rules, Method::POST, headers), Err(Kind::Unauthenticated));
            }
            let twice = [("x-auth-token", of(&alice)), ("x-auth-token", of(&root))];
            let twice: Vec<_> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
            for headers in [&[("x-auth-token", "wrong")][..], &twice] {
                assert_eq!(asked(&rules, Method::GET, headers), Err(Kind::Unauthenticated), "{headers:?}");
            }
        }
    }
}
