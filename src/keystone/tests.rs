//! A Keystone that says what a test wants, and how often it was asked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::error::Kind;
use crate::fetch::FetchRules;
use crate::fetch::fake::{Asked, Fake, Say, answer};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const MINUTE: i64 = 60 * 1_000_000;

/// Tokens of a fake by their text, its logins, and whether it answers otherwise than it should.
#[derive(Default)]
struct Script {
    tokens: HashMap<String, Value>,
    logins: usize,
    valid: usize,
    wrong_password: bool,
    status: Option<&'static str>,
}

struct Cloud {
    fake: Fake,
    script: Arc<Mutex<Script>>,
}

fn token(project: Option<&str>, roles: &[&str], ends_in: i64) -> Value {
    let roles: Vec<_> = roles.iter().map(|role| json!({ "id": format!("{role}-id"), "name": role })).collect();
    let expires = jiff::Timestamp::from_microsecond(NOW.0 + ends_in).unwrap().to_string();
    let mut token = json!({ "expires_at": expires, "roles": roles, "user": { "id": "u", "name": "u" } });
    if let Some(project) = project {
        token["project"] = json!({ "id": project, "name": "p", "domain": { "id": "default" } });
    }
    json!({ "token": token })
}

fn script_of(script: &Mutex<Script>) -> std::sync::MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers as Keystone does.
fn respond(script: &Mutex<Script>, asked: &Asked) -> Say {
    let mut script = script_of(script);
    if let Some(status) = script.status {
        return answer(status, "", "not JSON");
    }
    if asked.head.starts_with("POST /v3/auth/tokens?nocatalog ") {
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let user = &body["auth"]["identity"]["password"]["user"];
        assert_eq!((&user["name"], &user["domain"]["name"]), (&json!("visor"), &json!("Default")));
        assert_eq!(body["auth"]["scope"]["project"], json!({ "name": "service", "domain": { "name": "Default" } }));
        script.logins += 1;
        if script.wrong_password || user["password"] != "s3cret" {
            return answer("401 Unauthorized", "", "{}");
        }
        script.valid = script.logins;
        let header = format!("X-Subject-Token: own-{}\r\n", script.logins);
        return answer("201 Created", &header, token(Some("service"), &["service"], 10 * MINUTE).to_string());
    }
    if asked.header("x-auth-token") != Some(&format!("own-{}", script.valid)) {
        return answer("401 Unauthorized", "", "{}");
    }
    let target = asked.target();
    assert!(target.starts_with("/v3/auth/tokens?nocatalog"), "{target}");
    let found = script.tokens.get(asked.header("x-subject-token").unwrap());
    let ended = |body: &Value| body["token"]["expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    match found {
        Some(body) if target.ends_with("&allow_expired=1") || ended(body).as_microsecond() > NOW.0 => {
            answer("200 OK", "", body.to_string())
        }
        _ => answer("404 Not Found", "", "{}"),
    }
}

impl Cloud {
    fn new() -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let answering = Arc::clone(&script);
        Self { fake: Fake::serving(None, move |asked| respond(&answering, asked)), script }
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        script_of(&self.script)
    }

    fn put(&self, name: &str, body: Value) {
        self.script().tokens.insert(name.to_owned(), body);
    }

    fn keystone(&self, keep: Duration) -> Keystone {
        let url = self.fake.url("v3");
        Keystone::new(settings(url, keep), &Fetcher::new(FetchRules::default())).unwrap()
    }
}

fn settings(url: String, keep: Duration) -> KeystoneSettings {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    KeystoneSettings {
        public_url: "https://public.example/v3".into(),
        url,
        user: ServiceUser {
            name: "visor".into(),
            password: Secret::new("s3cret".into()),
            domain: "Default".into(),
            project: "service".into(),
            project_domain: "Default".into(),
        },
        keep,
        roles: Roles {
            admin: words(&["admin", "cloud_admin"]),
            reader: words(&["reader"]),
            service: words(&["service"]),
        },
    }
}

const LONG: Duration = Duration::from_secs(300);

async fn refusal(keystone: &Keystone, token: &str) -> Reason {
    keystone.holder(token, None, NOW).await.unwrap_err().reason()
}

#[tokio::test]
async fn roles_give_rights_and_projects_own() {
    let cloud = Cloud::new();
    let keystone = cloud.keystone(LONG);
    for (name, roles, role) in [
        ("a", &["Admin", "reader"][..], Role::Administrator),
        ("b", &["cloud_admin"], Role::Administrator),
        ("c", &["member", "reader"], Role::Member),
        ("d", &["creator"], Role::Member),
        ("e", &["READER"], Role::Reader),
        ("f", &[], Role::Reader),
    ] {
        cloud.put(name, token(Some("p1"), roles, MINUTE));
        let holder = keystone.holder(name, None, NOW).await.unwrap();
        assert_eq!(holder, ProjectCaller { project: "p1".into(), role }, "{roles:?}");
    }
    cloud.put("unscoped", token(None, &["admin"], MINUTE));
    assert_eq!(refusal(&keystone, "unscoped").await, Reason::NoScope);
    for bad in ["unknown", "", "tök", "a\nb", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        assert_eq!(refusal(&keystone, bad).await, Reason::Unauthenticated, "{bad:.20}");
    }
    for odd in ["", "a\nb", &"x".repeat(300)] {
        cloud.put("odd", token(Some(odd), &["member"], MINUTE));
        assert_eq!(refusal(&keystone, "odd").await, Reason::IdentityUnavailable);
    }
    assert_eq!(cloud.script().logins, 1, "one login for all");
}

#[tokio::test]
async fn answers_are_kept_and_asked_for_once() {
    let cloud = Cloud::new();
    let keystone = cloud.keystone(LONG);
    cloud.put("good", token(Some("p"), &["member"], MINUTE));
    let many = join_all((0..20).map(|_| keystone.holder("good", None, NOW))).await;
    assert!(many.iter().all(Result::is_ok));
    assert_eq!(cloud.fake.connections(), 2, "a login and a validation");
    assert_eq!(refusal(&keystone, "bad").await, Reason::Unauthenticated);
    cloud.put("bad", token(Some("p"), &["member"], MINUTE));
    cloud.script().tokens.remove("good");
    // As Keystone's own middleware: neither is asked about again while its answer is kept.
    assert!(keystone.holder("good", None, NOW).await.is_ok());
    assert_eq!(refusal(&keystone, "bad").await, Reason::Unauthenticated);
    assert_eq!(cloud.fake.connections(), 3);
    // Its own end comes first, whatever is kept.
    let later = Timestamp(NOW.0 + MINUTE);
    assert_eq!(keystone.holder("good", None, later).await.unwrap_err().reason(), Reason::Unauthenticated);
}

#[tokio::test]
async fn a_revoked_token_ends_with_the_answer_that_is_kept() {
    let cloud = Cloud::new();
    for (keep, asked_each_time) in [(Duration::ZERO, true), (Duration::from_millis(50), false)] {
        let keystone = cloud.keystone(keep);
        cloud.put("good", token(Some("p"), &["member"], MINUTE));
        assert!(keystone.holder("good", None, NOW).await.is_ok());
        cloud.script().tokens.remove("good");
        if !asked_each_time {
            tokio::time::sleep(keep * 2).await;
        }
        assert_eq!(refusal(&keystone, "good").await, Reason::Unauthenticated);
    }
}

#[tokio::test]
async fn the_servers_own_token_is_renewed() {
    let cloud = Cloud::new();
    let keystone = cloud.keystone(Duration::ZERO);
    cloud.put("good", token(Some("p"), &["member"], 60 * MINUTE));
    keystone.holder("good", None, NOW).await.unwrap();
    // Revoked there: a 401 is about the asker, a 404 about the token.
    cloud.script().valid = 77;
    keystone.holder("good", None, NOW).await.unwrap();
    assert_eq!(cloud.script().logins, 2);
    // Expired here.
    keystone.holder("good", None, Timestamp(NOW.0 + 11 * MINUTE)).await.unwrap();
    assert_eq!(cloud.script().logins, 3);
    // Once is enough: a Keystone that never takes its own token is not asked for ever.
    cloud.script().valid = 77;
    let stubborn = Fake::serving(None, |asked| match asked.head.starts_with("POST") {
        true => answer("201 Created", "X-Subject-Token: t\r\n", token(None, &[], MINUTE).to_string()),
        false => answer("401 Unauthorized", "", ""),
    });
    let keystone = Keystone::new(settings(stubborn.url("v3"), LONG), &Fetcher::new(FetchRules::default())).unwrap();
    assert_eq!(refusal(&keystone, "good").await, Reason::IdentityUnavailable);
    assert_eq!(stubborn.connections(), 4);
}

#[tokio::test]
async fn a_service_vouches_for_a_token_that_has_expired() {
    let cloud = Cloud::new();
    let keystone = cloud.keystone(LONG);
    cloud.put("ended", token(Some("p"), &["member"], -MINUTE));
    cloud.put("nova", token(Some("service"), &["service", "admin"], MINUTE));
    cloud.put("stranger", token(Some("q"), &["admin"], MINUTE));
    assert_eq!(refusal(&keystone, "ended").await, Reason::Unauthenticated);
    let holder = keystone.holder("ended", Some("nova"), NOW).await.unwrap();
    assert_eq!(
        holder,
        ProjectCaller { project: "p".into(), role: Role::Member },
        "the caller's rights, not the service's"
    );
    for service in ["stranger", "unknown", "ended", ""] {
        let refused = keystone.holder("ended", Some(service), NOW).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::Unauthenticated, "{service}");
    }
    // One that can't vouch is no obstacle to a token that needs none to.
    cloud.put("good", token(Some("p"), &["member"], MINUTE));
    assert!(keystone.holder("good", Some("stranger"), NOW).await.is_ok());
    let refused = keystone.holder("good", Some("unknown"), NOW).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Unauthenticated, "a service's token that is none is refused as the caller's");
    assert_eq!(refusal(&keystone, "ended").await, Reason::Unauthenticated, "what a service may is kept apart");
}

#[tokio::test]
async fn no_answer_is_no_open_door_and_is_told_as_what_it_is() {
    let said = async |keystone: &Keystone| {
        let error = keystone.holder("good", None, NOW).await.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::Upstream, Reason::IdentityUnavailable));
        assert!(!error.message().contains("127.0.0.1"), "{error}");
        error.message().to_owned()
    };
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let keystone =
        Keystone::new(settings(format!("http://{down}/v3"), LONG), &Fetcher::new(FetchRules::default())).unwrap();
    assert!(said(&keystone).await.contains("can't be reached"));

    let cloud = Cloud::new();
    cloud.put("good", token(Some("p"), &["member"], MINUTE));
    let keystone = cloud.keystone(LONG);
    for (status, words) in [
        ("500 Oops", "does not answer as it should"),
        ("200 OK", "does not answer as it should"),
        ("302 Found", "does not answer as it should"),
        ("403 Forbidden", "does not answer as it should"),
    ] {
        cloud.script().status = Some(status);
        assert!(said(&keystone).await.contains(words), "{status}");
    }
    cloud.script().status = None;
    keystone.holder("good", None, NOW).await.unwrap();
    cloud.script().status = Some("403 Forbidden");
    keystone.holder("good", None, NOW).await.unwrap();
    let error = keystone.holder("another", None, NOW).await.unwrap_err();
    assert!(error.message().contains("does not let this server validate tokens"), "{error}");
    assert!(error.causes().contains("identity.username"), "{}", error.causes());

    let silent = Fake::serving(None, |_| Say::Hold(Vec::new()));
    let keystone = Keystone::new(settings(silent.url("v3"), LONG), &Fetcher::new(FetchRules::default())).unwrap();
    assert!(said(&keystone).await.contains("too long"));
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_over_and_over() {
    let cloud = Cloud::new();
    cloud.script().wrong_password = true;
    cloud.put("good", token(Some("p"), &["member"], MINUTE));
    let keystone = cloud.keystone(LONG);
    for _ in 0..5 {
        let error = keystone.holder("good", None, NOW).await.unwrap_err();
        assert!(error.message().contains("refuses the login"), "{error}");
        assert!(!format!("{error:?} {keystone:?}").contains("s3cret"));
    }
    assert_eq!(cloud.script().logins, 1);
    cloud.script().wrong_password = false;
    assert!(keystone.holder("good", None, Timestamp(NOW.0 + MINUTE / 2)).await.is_ok(), "but again after a while");
}
