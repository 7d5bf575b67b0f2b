//! A server whose callers another Keystone knows: what each of them may, and that nothing is open when it can't be asked. The real
//! one is in `tests/clients/foreign_keystone.py`.

use serde_json::{Value, json};

use crate::fake::{Asked, Fake, Say, answer};
use crate::harness::{Answer, Server};

const TYPE: (&str, &str) = ("Content-Type", "application/json");

/// Says of a token what its name says: `PROJECT-ROLE`. Those of the project `ended` have expired.
fn respond(asked: &Asked) -> Say {
    let body = |project: &str, role: &str| {
        let project = json!({ "id": project, "name": project });
        json!({ "token": { "expires_at": "2999-01-01T00:00:00.000000Z", "project": project, "roles": [{ "name": role }] } }).to_string()
    };
    if asked.head.starts_with("POST /v3/auth/tokens?nocatalog ") {
        return answer("201 Created", "X-Subject-Token: own\r\n", body("service", "service"));
    }
    assert_eq!(asked.header("x-auth-token"), Some("own"));
    let may_have_ended = match asked.target() {
        "/v3/auth/tokens?nocatalog" => false,
        "/v3/auth/tokens?nocatalog&allow_expired=1" => true,
        other => panic!("{other}"),
    };
    match asked.header("x-subject-token").unwrap().split_once('-') {
        Some(("broken", _)) => answer("500 Oops", "", ""),
        Some(("ended", _)) if !may_have_ended => answer("404 Not Found", "", "{}"),
        Some((project, role)) => answer("200 OK", "", body(project, role)),
        None => answer("404 Not Found", "", "{}"),
    }
}

struct Cloud {
    server: Server,
    keystone: Fake,
}

impl Cloud {
    fn new() -> Self {
        let keystone = Fake::serving(None, respond);
        let text = format!(
            "[identity]\nurl = {:?}\npublic_url = \"https://public.example\"\nusername = \"visor\"\nproject = \"service\"\n",
            keystone.url("")
        );
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), "s3cret").unwrap();
        let text = format!("{text}password_file = {:?}\n", password.path().to_str().unwrap());
        Self { server: Server::configured(&text), keystone }
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let mut headers = vec![TYPE];
        if !token.is_empty() {
            headers.push(("X-Auth-Token", token));
        }
        self.server.send(method, path, &headers, &body)
    }

    fn image(&self, token: &str) -> Value {
        let said = json!({ "name": "a", "disk_format": "raw", "container_format": "bare" });
        let made = self.ask(token, "POST", "/v2/images", &said);
        assert_eq!(made.status, 201, "{made:?}");
        made.json()
    }
}

#[test]
fn projects_own_and_roles_decide() {
    let cloud = Cloud::new();
    let made = cloud.image("p-member");
    assert_eq!(made["owner"], "p");
    let path = format!("/v2/images/{}", made["id"].as_str().unwrap());
    let status = |token: &str, method: &str, body: &Value| cloud.ask(token, method, &path, body).status;
    let name = json!([{ "op": "replace", "path": "/name", "value": "b" }]);
    let patch = |token: &str| {
        let patch = ("Content-Type", "application/openstack-images-v2.1-json-patch");
        let headers = [patch, ("X-Auth-Token", token)];
        cloud.server.send("PATCH", &path, &headers, name.to_string().as_bytes()).status
    };
    // Another user of the project, by another role.
    assert_eq!((status("p-creator", "GET", &Value::Null), patch("p-creator")), (200, 200));
    assert_eq!((status("p-reader", "GET", &Value::Null), patch("p-reader")), (200, 403));
    assert_eq!((status("q-member", "GET", &Value::Null), patch("q-member")), (404, 404));
    assert_eq!((status("q-admin", "GET", &Value::Null), patch("q-admin")), (200, 200));
    assert_eq!(status("p-reader", "DELETE", &Value::Null), 403);
    let refused = cloud.ask("p-reader", "POST", "/v2/images", &json!({ "name": "c" }));
    assert_eq!((refused.status, refused.header("x-visor-error")), (403, Some("read-only-account")));
    // v1 asks too, and its bytes.
    let headers = [("X-Auth-Token", "p-reader"), ("x-image-meta-name", "c")];
    assert_eq!(cloud.server.send("POST", "/v1/images", &headers, b"").status, 403);
    assert_eq!(cloud.ask("p-member", "GET", "/v1/images/detail", &Value::Null).json()["images"][0]["owner"], "p");
    assert!(cloud.keystone.asked().iter().all(|asked| !asked.head.contains("s3cret")));
}

#[test]
fn a_service_vouches_for_long_work() {
    let cloud = Cloud::new();
    for (token, service, status) in [
        ("ended-member", "nova-service", 200),
        ("ended-member", "nova-member", 401),
        ("ended-member", "unknown", 401),
        ("p-member", "nova-member", 200),
        ("p-member", "unknown", 401),
    ] {
        for path in ["/v2/images", "/v1/images"] {
            let answer = cloud.server.send("GET", path, &[("X-Auth-Token", token), ("X-Service-Token", service)], b"");
            assert_eq!(answer.status, status, "{path} with {token} and {service}: {answer:?}");
        }
    }
}

#[test]
fn without_a_good_token_the_answer_says_where_to_get_one() {
    let cloud = Cloud::new();
    for token in ["", "unknown"] {
        for path in ["/v2/images", "/v1/images"] {
            let refused = cloud.ask(token, "GET", path, &Value::Null);
            let challenge = refused.header("www-authenticate");
            assert_eq!(
                (refused.status, challenge),
                (401, Some("Keystone uri=\"https://public.example/v3\"")),
                "{path}"
            );
        }
    }
    // Its own identity API gives no tokens, and leads there.
    let said = json!({ "auth": { "identity": { "methods": ["password"] } } });
    let refused = cloud.ask("", "POST", "/v3/auth/tokens", &said);
    assert_eq!((refused.status, refused.header("x-visor-error")), (404, Some("tokens-elsewhere")));
    assert!(refused.text().contains("https://public.example/v3"), "{refused:?}");
    assert_eq!(cloud.ask("p-admin", "GET", "/v3/projects", &Value::Null).status, 404);
    let link = |version: &Value| version["links"][0]["href"].clone();
    assert_eq!(link(&cloud.server.get("/v3").json()["version"]), "https://public.example/v3/");
    let versions = cloud.server.get("/").json()["versions"].as_array().unwrap().clone();
    assert_eq!(link(versions.last().unwrap()), "https://public.example/v3/");
}

#[test]
fn nothing_is_open_when_the_keystone_can_not_be_asked() {
    let cloud = Cloud::new();
    let refused = cloud.ask("broken-member", "GET", "/v2/images", &Value::Null);
    assert_eq!((refused.status, refused.header("x-visor-error")), (503, Some("identity-unavailable")));
    assert!(cloud.server.log().contains("has the status 500"), "{}", cloud.server.log());
    // Other protocols have their accounts, on loopback too.
    for (method, path) in [("POST", "/images"), ("GET", "/jobs"), ("GET", "/users")] {
        assert_eq!(cloud.ask("p-admin", method, path, &Value::Null).status, 403, "{path}");
    }
    // A token of Visor's own is none.
    let account = cloud.server.account("alice", &["--admin"]);
    assert_eq!(cloud.ask(account["secret_key"].as_str().unwrap(), "GET", "/v2/images", &Value::Null).status, 401);
}

/// An account that is called as a project is that project in the other protocols.
#[test]
fn a_project_has_an_account_by_its_id() {
    let cloud = Cloud::new();
    let made = cloud.image("5f7c-member");
    let account = cloud.server.account("5f7c", &[]);
    let account =
        crate::auth::Account { key: "5f7c".to_owned(), secret: account["secret_key"].as_str().unwrap().to_owned() };
    let path = format!("/images/{}", made["id"].as_str().unwrap());
    assert_eq!(account.send(&cloud.server, "HEAD", &path, &[], b"").status, 200);
    assert_eq!(account.send(&cloud.server, "DELETE", &path, &[], b"").status, 200);
}
