//! Tokens and the identity API, as OpenStack's clients use them.

use serde_json::{Value, json};

use crate::harness::{Answer, Server, eventually, run, visor};

/// Makes an account on the directory of a running server; its secret.
pub(crate) fn account(server: &Server, name: &str, arguments: &[&str]) -> String {
    server.account(name, arguments)["secret_key"].as_str().unwrap().to_owned()
}

fn password(user: &str, secret: &str, scope: Value) -> Value {
    let user = json!({ "name": user, "password": secret, "domain": { "name": "Default" } });
    let identity = json!({ "methods": ["password"], "password": { "user": user } });
    json!({ "auth": { "identity": identity, "scope": scope } })
}

fn project(name: &str) -> Value {
    json!({ "project": { "name": name, "domain": { "id": "default" } } })
}

fn with_token(token: &str, scope: Value) -> Value {
    json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": token } }, "scope": scope } })
}

fn post(server: &Server, body: &Value) -> Answer {
    let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
    server.send("POST", "/v3/auth/tokens", &headers, body.to_string().as_bytes())
}

/// A token and what the answer says about it.
fn given(server: &Server, body: &Value) -> (String, Value) {
    let answer = post(server, body);
    assert_eq!(answer.status, 201, "{answer:?}");
    (answer.header("x-subject-token").unwrap().to_owned(), answer.json()["token"].clone())
}

pub(crate) fn token(server: &Server, user: &str, secret: &str) -> String {
    given(server, &password(user, secret, project(user))).0
}

fn get(server: &Server, token: &str, path: &str) -> Answer {
    server.send("GET", path, &[("X-Auth-Token", token)], b"")
}

fn about(server: &Server, method: &str, sender: &str, subject: &str) -> Answer {
    server.send(method, "/v3/auth/tokens", &[("X-Auth-Token", sender), ("X-Subject-Token", subject)], b"")
}

/// An error in Keystone's form; its message.
fn refusal(answer: &Answer, status: u16) -> String {
    assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/json")), "{answer:?}");
    let error = &answer.json()["error"];
    assert_eq!(error["code"], status);
    assert!(!error["title"].as_str().unwrap().is_empty());
    error["message"].as_str().unwrap().to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn versions_are_shown_to_everybody() {
    let server = Server::start();
    account(&server, "alice", &[]);
    for (path, own) in [("/v3", "/v3/"), ("/v3/", "/v3/"), ("/identity/v3", "/identity/v3/")] {
        let answer = server.get(path);
        let version = &answer.json()["version"];
        assert_eq!(
            (answer.status, version["id"].as_str(), version["status"].as_str()),
            (200, Some("v3.14"), Some("stable"))
        );
        assert_eq!(version["links"][0]["href"], format!("http://{}{own}", server.address()));
    }
    let choices = server.get("/identity");
    let own = format!("http://{}/identity/v3/", server.address());
    assert_eq!((choices.status, &choices.json()["versions"]["values"][0]["links"][0]["href"]), (300, &own.into()));
    // Clients that know only the server's address find this API behind the versions of images, in the form that each reads.
    let root = |agent: &str| {
        let answer = server.send("GET", "/", &[("User-Agent", agent)], b"");
        (answer.status, answer.header("vary").map(ToOwned::to_owned), answer.json()["versions"].clone())
    };
    for (agent, wrapped) in [("openstacksdk/4.22.0 keystoneauth1/5.18.1", false), ("gophercloud/v2.8.0", true)] {
        let (status, vary, versions) = root(agent);
        let list = if wrapped { &versions["values"] } else { &versions };
        let last = list.as_array().unwrap().last().unwrap();
        let own = format!("http://{}/v3/", server.address());
        assert_eq!((status, vary.as_deref()), (300, Some("User-Agent, X-Auth-Token")), "{agent}");
        assert_eq!((&last["id"], &last["links"][0]["href"]), (&"v3.14".into(), &own.into()), "{agent}");
        assert_eq!(list[0]["id"], "v2.17", "{agent}");
    }
    assert!(!server.get("/versions").text().contains("v3.14"), "Glance's own list has nothing else");
    // The SDK takes the highest version for that of the image API.
    let agent = ("User-Agent", "openstacksdk/4.22.0 keystoneauth1/5.18.1");
    let known = server.send("GET", "/", &[agent, ("X-Auth-Token", "any")], b"");
    let open = Server::start().send("GET", "/", &[agent], b"");
    for answer in [known, open] {
        assert_eq!(answer.json()["versions"].as_array().unwrap().last().unwrap()["id"], "v1.0");
    }
    for path in ["/v3/nosuch", "/v3/auth", "/identity/v2.0", "/identity/v3/x"] {
        refusal(&server.get(path), 404);
    }
    let wrong = server.send("POST", "/v3/projects", &[], b"");
    refusal(&wrong, 405);
    assert_eq!(wrong.header("allow"), Some("GET, HEAD"));
    assert!(server.get("/v3x").json().get("error").is_none(), "that is not this API's");
    assert_eq!(server.send("HEAD", "/v3", &[], b"").status, 200);
}

#[test]
fn without_accounts_anybody_gets_an_administrators_token() {
    let server = Server::start();
    let (token, about_it) = given(&server, &password("demo", "whatever", project("demo")));
    assert_eq!((&about_it["user"]["name"], &about_it["project"]["id"]), (&json!("demo"), &json!("demo")));
    assert_eq!(names(&about_it["roles"]), ["admin", "manager", "member", "reader"]);
    for sent in [token.as_str(), "anything"] {
        assert_eq!(get(&server, sent, "/v3/auth/projects").status, 200);
        assert_eq!(about(&server, "GET", sent, "any other").json()["token"]["user"]["name"], "admin");
        assert_eq!(about(&server, "DELETE", sent, sent).status, 204);
        assert_eq!(get(&server, sent, "/v3/projects/demo").json()["project"]["id"], "demo");
    }
    assert_eq!(names(&server.get("/v3/projects").json()["projects"]), ["admin"]);
    assert_eq!(names(&server.get("/v3/users?name=me").json()["users"]), ["me"]);
    refusal(&post(&server, &json!({ "auth": {} })), 400);
    account(&server, "alice", &[]);
    refusal(&get(&server, &token, "/v3/auth/projects"), 401);
}

/// Without accounts a token is its user's and its project's wherever it is shown, and images made with it are the project's.
#[test]
fn without_accounts_images_are_the_projects_of_their_token() {
    let server = Server::start();
    let (lab, _) = given(&server, &password("anna", "any", project("lab")));
    let (other, _) = given(&server, &password("anna", "any", project("other")));
    let json = ("Content-Type", "application/json");
    let new = |headers: &[(&str, &str)], path: &str| {
        let named = [headers, &[json, ("x-image-meta-name", "a")]].concat();
        let answer = server.send("POST", path, &named, if path == "/v2/images" { b"{}" } else { b"" });
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    };
    let made = new(&[("X-Auth-Token", &lab)], "/v2/images");
    assert_eq!(made["owner"], "lab");
    assert_eq!(new(&[("X-Auth-Token", &lab)], "/v1/images")["image"]["owner"], "lab");
    assert_eq!(new(&[("X-Auth-Token", "anything")], "/v2/images")["owner"], json!(null), "no project was named");
    assert_eq!(new(&[], "/v2/images")["owner"], json!(null));
    let own = |sent: &str, owner: &str| {
        get(&server, sent, &format!("/v2/images?owner={owner}")).json()["images"].as_array().unwrap().len()
    };
    assert_eq!((own(&lab, "lab"), own(&other, "lab"), own(&lab, "other")), (2, 2, 0));
    let all = get(&server, &other, "/v2/images").json()["images"].as_array().unwrap().len();
    assert_eq!(all, 4, "nothing is hidden");
    assert_eq!(get(&server, &other, "/v1/images").json()["images"].as_array().unwrap().len(), 4);
    let id = made["id"].as_str().unwrap();
    let visor = server.get(&format!("/images/{id}"));
    assert_eq!((visor.status, visor.header("x-image-meta-owner")), (200, Some("lab")));

    let shown = about(&server, "GET", &other, &lab).json();
    assert_eq!((&shown["token"]["project"]["id"], &shown["token"]["user"]["id"]), (&json!("lab"), &json!("anna")));
    assert_eq!(names(&get(&server, &lab, "/v3/auth/projects").json()["projects"]), ["lab", "anna"]);
    assert_eq!(names(&get(&server, &lab, "/v3/projects").json()["projects"]), ["lab", "anna"]);
    for wrong in ["", "x\n", &"x".repeat(256)] {
        refusal(&post(&server, &password("anna", "any", project(wrong))), 400);
        refusal(&post(&server, &password(wrong, "any", project("lab"))), 400);
    }

    // An account of the project's name has the project's images.
    let secret = account(&server, "lab", &[]);
    assert_eq!(get(&server, &lab, "/v2/images").status, 401);
    let (real, _) = given(&server, &password("lab", &secret, project("lab")));
    assert_eq!(own(&real, "lab"), 2);
}

#[test]
fn an_account_that_may_only_read_is_a_reader() {
    let server = Server::start();
    let secret = account(&server, "rita", &["--read-only"]);
    let (token, it) = given(&server, &password("rita", &secret, project("rita")));
    assert_eq!(names(&it["roles"]), ["reader"]);
    let sent = [("X-Auth-Token", token.as_str()), ("Content-Type", "application/json")];
    let refused = server.send("POST", "/v2/images", &sent, b"{}");
    assert_eq!((refused.status, refused.header("x-visor-error")), (403, Some("read-only-account")));
    assert!(refused.text().contains("This account may only read; it may not create images."), "{refused:?}");
    assert_eq!(server.send("GET", "/v2/images", &sent, b"").status, 200);
    refusal(&get(&server, &token, "/v3/users"), 403);
    let root = account(&server, "root", &["--admin"]);
    let (root, _) = given(&server, &password("root", &root, project("root")));
    let roles = get(&server, &root, "/v3/role_assignments?user.id=rita&include_names").json();
    let roles: Vec<_> = roles["role_assignments"].as_array().unwrap().iter().map(|one| &one["role"]["name"]).collect();
    assert_eq!(roles, ["reader"]);
    // A token lives on, with the rights that its account has at the time.
    let data = server.dir.to_str().unwrap();
    assert_eq!(run(&["account", "change", "rita", "--read-write", "--data-dir", data]).0, 0);
    assert_eq!(server.send("POST", "/v2/images", &sent, b"{}").status, 201);
}

#[test]
fn keys_are_good_for_a_token() {
    let server = Server::start();
    let secret = account(&server, "alice", &[]);
    let (token, it) = given(&server, &password("alice", &secret, project("alice")));
    assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    assert_eq!(
        it["user"],
        json!({
            "id": "alice", "name": "alice", "domain": { "id": "default", "name": "Default" }, "password_expires_at": null
        })
    );
    assert_eq!(
        it["project"],
        json!({ "id": "alice", "name": "alice", "domain": { "id": "default", "name": "Default" } })
    );
    assert_eq!((names(&it["roles"]), &it["methods"]), (vec!["member", "reader"], &json!(["password"])));
    let time = |name: &str| it[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!((time("expires_at") - time("issued_at")).total(jiff::Unit::Second).unwrap(), 3600.0);
    for interface in ["public", "internal", "admin"] {
        let url = |kind: &str| {
            let service = it["catalog"].as_array().unwrap().iter().find(|service| service["type"] == kind).unwrap();
            let endpoints = service["endpoints"].as_array().unwrap();
            let endpoint = endpoints.iter().find(|endpoint| endpoint["interface"] == interface).unwrap();
            assert_eq!((&endpoint["region"], &endpoint["region_id"]), (&json!("RegionOne"), &json!("RegionOne")));
            endpoint["url"].as_str().unwrap().to_owned()
        };
        assert_eq!(url("image"), format!("http://{}", server.address()));
        assert_eq!(url("identity"), format!("http://{}/v3", server.address()));
    }
    let named = server.send(
        "POST",
        "/identity/v3/auth/tokens?nocatalog",
        &[("Host", &format!("localhost:{}", server.port()))],
        password("alice", &secret, Value::Null).to_string().as_bytes(),
    );
    assert!(named.status == 201 && named.json()["token"].get("catalog").is_none(), "{named:?}");
    let other = get(&server, &token, "/identity/v3/auth/catalog").json();
    assert_eq!(other["catalog"][1]["endpoints"][0]["url"], format!("http://{}/identity/v3", server.address()));

    let shown = about(&server, "GET", &token, &token);
    assert_eq!((shown.status, shown.header("x-subject-token")), (200, Some(token.as_str())));
    assert_eq!(shown.json()["token"], it);
    let head = about(&server, "HEAD", &token, &token);
    assert!(head.status == 200 && head.body.is_empty(), "{head:?}");
    for bad in [&shown, &head] {
        assert_eq!((bad.header("cache-control"), bad.header("vary")), (Some("no-store"), Some("X-Auth-Token")));
    }
}

#[test]
fn every_method_and_scope() {
    let server = Server::start();
    let (alice, root) = (account(&server, "alice", &[]), account(&server, "root", &["--admin"]));
    let credential = |more: Value| json!({ "auth": { "identity": { "methods": ["application_credential"], "application_credential": more } } });
    for by in [
        json!({ "id": "alice", "secret": alice }),
        json!({ "name": "alice", "secret": alice, "user": { "name": "alice", "domain": { "id": "default" } } }),
    ] {
        let it = given(&server, &credential(by)).1;
        assert_eq!((&it["project"]["id"], &it["application_credential"]["id"]), (&json!("alice"), &json!("alice")));
    }
    refusal(&post(&server, &credential(json!({ "name": "alice", "secret": alice, "user": { "name": "root" } }))), 401);
    refusal(&post(&server, &credential(json!({ "id": "alice", "secret": root }))), 401);

    let (unscoped, it) = given(&server, &password("alice", &alice, json!("unscoped")));
    assert!(["project", "roles", "catalog"].iter().all(|part| it.get(*part).is_none()), "{it}");
    refusal(&get(&server, &unscoped, "/v3/auth/catalog"), 403);
    assert_eq!(names(&get(&server, &unscoped, "/v3/auth/projects").json()["projects"]), ["alice"]);
    let (scoped, again) = given(&server, &with_token(&unscoped, project("alice")));
    assert_eq!((&again["project"]["id"], &again["methods"]), (&json!("alice"), &json!(["password", "token"])));
    assert_eq!((&again["expires_at"], &again["audit_ids"][1]), (&it["expires_at"], &it["audit_ids"][0]));
    assert_ne!(scoped, unscoped);
    refusal(&post(&server, &with_token("nonsense", project("alice"))), 401);
    refusal(&post(&server, &with_token(&scoped, project("root"))), 401);

    let system = json!({ "system": { "all": true } });
    let domain = json!({ "domain": { "id": "default" } });
    assert_eq!(given(&server, &password("root", &root, system.clone())).1["system"], json!({ "all": true }));
    assert_eq!(given(&server, &password("root", &root, domain.clone())).1["domain"]["name"], "Default");
    for scope in [system, domain, project("root"), project("nosuch"), json!({ "project": { "id": "root" } })] {
        refusal(&post(&server, &password("alice", &alice, scope)), 401);
    }
    let it = given(&server, &password("root", &root, Value::Null)).1;
    assert_eq!((&it["project"]["id"], names(&it["roles"]).len()), (&json!("root"), 4));
    let mut two = password("alice", &alice, Value::Null);
    two["auth"]["identity"]["methods"] = json!(["password", "token"]);
    two["auth"]["identity"]["token"] = json!({ "id": token(&server, "root", &root) });
    refusal(&post(&server, &two), 401);
}

#[test]
fn what_is_wrong_is_not_said() {
    let server = Server::start();
    let (alice, bob) = (account(&server, "alice", &[]), account(&server, "bob", &[]));
    let mut foreign = password("alice", &alice, project("alice"));
    foreign["auth"]["identity"]["password"]["user"]["domain"] = json!({ "name": "Other" });
    let answers = [
        password("alice", &bob, project("alice")),
        password("alice", "", project("alice")),
        password("nobody", &alice, project("nobody")),
        password("alice", &alice, project("bob")),
        password("alice", &alice, project("nobody")),
        password(&"x".repeat(5000), &alice, Value::Null),
        foreign,
    ]
    .map(|body| post(&server, &body));
    for answer in &answers {
        assert_eq!(refusal(answer, 401), refusal(&answers[0], 401));
        let challenge = format!("Keystone uri=\"http://{}/v3\"", server.address());
        assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
        assert!(answer.header("x-subject-token").is_none());
    }
    for body in [
        "",
        "{",
        "[]",
        r#"{"auth":{"identity":{"methods":["password"]}}}"#,
        r#"{"auth":{"identity":{"methods":["saml2"]}}}"#,
    ] {
        refusal(&server.send("POST", "/v3/auth/tokens", &[], body.as_bytes()), 400);
    }
    refusal(&server.send("POST", "/v3/auth/tokens", &[], &b"x".repeat(20_000)), 413);
    for path in ["/v3/auth/tokens", "/v3/auth/projects", "/v3/projects", "/v3/users/alice", "/v3/domains", "/v3/roles"]
    {
        refusal(&server.get(path), 401);
    }
    let token = token(&server, "alice", &alice);
    refusal(&get(&server, &token, "/v3/auth/tokens"), 400);
    for secret in [&alice, &bob, &token] {
        assert!(!server.log().contains(secret.as_str()), "{}", server.log());
    }
}

#[test]
fn trying_on_is_stopped() {
    let server = Server::start();
    let (alice, bob) = (account(&server, "alice", &[]), account(&server, "bob", &[]));
    for _ in 0..20 {
        refusal(&post(&server, &password("alice", "guess", Value::Null)), 401);
    }
    let stopped = post(&server, &password("alice", &alice, Value::Null));
    refusal(&stopped, 429);
    assert_eq!(stopped.header("retry-after"), Some("60"));
    assert_eq!(post(&server, &password("bob", &bob, Value::Null)).status, 201, "nobody else is stopped");
}

#[test]
fn who_a_header_says_somebody_is_says_nothing() {
    let server = Server::start();
    let (alice, root) = (account(&server, "alice", &[]), account(&server, "root", &["--admin"]));
    let claims = [
        ("X-Identity-Status", "Confirmed"),
        ("X-User-Id", "root"),
        ("X-User-Name", "root"),
        ("X-Project-Id", "root"),
        ("X-Tenant-Id", "root"),
        ("X-Roles", "admin"),
        ("X-Is-Admin-Project", "True"),
        ("OpenStack-System-Scope", "all"),
        ("X-Forwarded-User", "root"),
    ];
    for path in ["/v3/projects", "/v3/auth/projects", "/v3/users/root"] {
        refusal(&server.send("GET", path, &claims, b""), 401);
    }
    let token = token(&server, "alice", &alice);
    let claimed: Vec<_> = claims.into_iter().chain([("X-Auth-Token", token.as_str())]).collect();
    assert_eq!(names(&server.send("GET", "/v3/auth/projects", &claimed, b"").json()["projects"]), ["alice"]);
    for path in ["/v3/projects", "/v3/users/root"] {
        refusal(&server.send("GET", path, &claimed, b""), 403);
    }
    let twice = [("X-Auth-Token", token.as_str()), ("X-Auth-Token", root.as_str())];
    refusal(&server.send("GET", "/v3/auth/projects", &twice, b""), 401);
}

#[test]
fn tokens_are_shown_and_revoked_by_their_holders_and_administrators() {
    let server = Server::start();
    let [alice, bob] = ["alice", "bob"].map(|name| token(&server, name, &account(&server, name, &[])));
    let root_secret = account(&server, "root", &["--admin"]);
    let root = token(&server, "root", &root_secret);
    let message = refusal(&about(&server, "GET", &bob, &alice), 404);
    for method in ["GET", "DELETE"] {
        assert_eq!(refusal(&about(&server, method, &bob, &alice), 404), message, "as one that never was");
        assert_eq!(refusal(&about(&server, method, &bob, "nonsense"), 404), message);
    }
    assert_eq!(about(&server, "GET", &root, &alice).json()["token"]["user"]["id"], "alice");
    let gone = about(&server, "DELETE", &root, &alice);
    assert_eq!((gone.status, gone.body.len()), (204, 0));
    refusal(&get(&server, &alice, "/v3/auth/projects"), 401);
    refusal(&about(&server, "GET", &root, &alice), 404);
    assert_eq!(about(&server, "DELETE", &bob, &bob).status, 204);
    assert_eq!(about(&server, "HEAD", &root, "x").status, 404);
    refusal(&about(&server, "GET", &bob, &bob), 401);
    assert_eq!(about(&server, "GET", &root, &root).status, 200);
}

#[test]
fn tokens_survive_a_kill_and_their_end_does_too() {
    let server = Server::start();
    let secret = account(&server, "alice", &[]);
    let [kept, revoked] = [(); 2].map(|()| token(&server, "alice", &secret));
    assert_eq!(about(&server, "DELETE", &kept, &revoked).status, 204);
    let temp = server.kill().unwrap();
    let server = Server::on(temp.path(), &[]);
    assert_eq!(get(&server, &kept, "/v3/auth/projects").status, 200);
    refusal(&get(&server, &revoked, "/v3/auth/projects"), 401);
    let text = std::fs::read_to_string(temp.path().join("keys/tokens.jsonl")).unwrap();
    assert!(text.contains("alice") && !text.contains(&kept) && !text.contains(&secret), "{text}");

    // With the account goes what was given to it, and an account of the same name is another.
    let data = temp.path().to_str().unwrap();
    assert_eq!(run(&["account", "remove", "alice", "--data-dir", data]).0, 0);
    account(&server, "alice", &[]);
    refusal(&get(&server, &kept, "/v3/auth/projects"), 401);
}

#[test]
fn tokens_expire() {
    let server = Server::configured("[auth]\ntoken_lifetime = \"10s\"\n");
    let secret = account(&server, "alice", &[]);
    let token = token(&server, "alice", &secret);
    assert_eq!(get(&server, &token, "/v3/auth/projects").status, 200);
    eventually("it expires", || get(&server, &token, "/v3/auth/projects").status == 401);
    refusal(&post(&server, &with_token(&token, Value::Null)), 401);
}

#[test]
fn administrators_look_everybody_up_and_others_what_they_know() {
    let server = Server::start();
    let secrets = [("alice", &["--email", "alice@example.org"][..]), ("bob", &[]), ("root", &["--admin"])]
        .map(|(name, more)| account(&server, name, more));
    let (alice, root) = (token(&server, "alice", &secrets[0]), token(&server, "root", &secrets[2]));
    let listed = |who: &str, path: &str, name: &str| {
        let answer = get(&server, who, path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        names(&answer.json()[name]).join(" ")
    };
    for (path, expected) in [
        ("/v3/projects", "alice bob root"),
        ("/v3/projects?name=bob", "bob"),
        ("/v3/projects?name=bob&domain_id=default&enabled=true", "bob"),
        ("/v3/projects?name=nobody", ""),
        ("/v3/projects?domain_id=other", ""),
        ("/v3/projects?enabled=False", ""),
        ("/v3/projects?is_domain=true", ""),
        ("/v3/users/bob/projects", "bob"),
    ] {
        assert_eq!(listed(&root, path, "projects"), expected, "{path}");
    }
    assert_eq!(listed(&root, "/v3/users", "users"), "alice bob root");
    assert_eq!(listed(&root, "/v3/users?name=alice", "users"), "alice");
    assert_eq!(get(&server, &root, "/v3/users/alice").json()["user"]["email"], "alice@example.org");

    // Who shares an image names a project: that much anybody with an account may find out.
    assert_eq!(listed(&alice, "/v3/projects?name=bob", "projects"), "bob");
    assert_eq!(listed(&alice, "/v3/projects?name=nobody", "projects"), "");
    assert_eq!(get(&server, &alice, "/v3/projects/bob").json()["project"]["domain_id"], "default");
    refusal(&get(&server, &alice, "/v3/projects/nobody"), 404);
    assert_eq!(listed(&alice, "/v3/users/alice/projects", "projects"), "alice");
    assert_eq!(listed(&alice, "/v3/users?name=alice", "users"), "alice");
    for path in [
        "/v3/projects",
        "/v3/projects?domain_id=default",
        "/v3/users",
        "/v3/users?name=bob",
        "/v3/users?name=nobody",
        "/v3/users/bob",
        "/v3/users/nobody",
        "/v3/users/bob/projects",
        "/v3/role_assignments",
        "/v3/role_assignments?user.id=bob",
    ] {
        refusal(&get(&server, &alice, path), 403);
    }
    for who in [&alice, &root] {
        assert_eq!(listed(who, "/v3/domains", "domains"), "Default");
        assert_eq!(listed(who, "/v3/domains?name=default", "domains"), "Default");
        assert_eq!(listed(who, "/v3/domains?name=other", "domains"), "");
        assert_eq!(get(&server, who, "/v3/domains/default").json()["domain"]["name"], "Default");
        refusal(&get(&server, who, "/v3/domains/other"), 404);
        assert_eq!(listed(who, "/v3/roles", "roles"), "admin manager member reader");
        assert_eq!(listed(who, "/v3/roles?name=member", "roles"), "member");
        refusal(&get(&server, who, "/v3/roles/owner"), 404);
    }
    assert_eq!(listed(&root, "/v3/auth/domains", "domains"), "Default");
    assert_eq!(listed(&alice, "/v3/auth/domains", "domains"), "");
    assert_eq!(get(&server, &root, "/v3/auth/system").json()["system"], json!([{ "all": true }]));

    let assigned = |who: &str, query: &str| {
        let answer = get(&server, who, &format!("/v3/role_assignments{query}")).json();
        answer["role_assignments"].as_array().unwrap().clone()
    };
    let own = assigned(&alice, "?user.id=alice&include_names");
    assert_eq!(
        (own.len(), &own[0]["role"]["name"], &own[0]["scope"]["project"]["domain"]["id"]),
        (2, &json!("member"), &json!("default"))
    );
    assert_eq!(assigned(&root, "").len(), 2 + 2 + 4 + 4);
    assert_eq!(assigned(&root, "?scope.system=True").len(), 4);
    assert_eq!(assigned(&root, "?scope.project.id=bob&role.id=reader").len(), 1);
    assert_eq!(assigned(&root, "?group.id=staff").len(), 0);
}

#[test]
fn the_clouds_file_is_for_the_server_that_was_named() {
    let (code, file, hint) = run(&["use", "openstack", "-p", "4999"]);
    assert!(
        code == 0 && file.contains("auth_type: \"none\"") && file.contains("endpoint: \"http://127.0.0.1:4999\""),
        "{file}"
    );
    assert!(hint.contains("clouds.yaml") && !file.contains("Save"), "{hint}");
    assert!(file.contains("# export OS_ENDPOINT='http://127.0.0.1:4999'"), "{file}");
    let with_keys = |arguments: &[&str]| {
        let keys = [("VISOR__CLIENT__ACCESS_KEY", "alice"), ("VISOR__CLIENT__SECRET_KEY", "s3cret")];
        let done = visor().args(["use", "openstack", "-a", "https://lab"]).args(arguments).envs(keys).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(with_keys(&[]).contains("auth_url: \"https://lab/v3\""));
    let shell = with_keys(&["--shell"]);
    assert!(
        shell.lines().all(|line| line.starts_with("export OS_")) && shell.contains("OS_PASSWORD='s3cret'"),
        "{shell}"
    );
    let json: Value = serde_json::from_str(&with_keys(&["--json"])).unwrap();
    assert_eq!(json["clouds"]["visor"]["auth"]["username"], "alice");
    assert_eq!(json["environment"]["OS_AUTH_URL"], "https://lab/v3");
}
