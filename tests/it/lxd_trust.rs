//! How LXD's clients come to be trusted, and what they may do before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, run, run_with};
use crate::secure::{Client, Identity, Lab, metadata, refusal};

const AGENT: (&str, &str) = ("User-Agent", "LXD 5.0.2 (Linux; x86_64)");

fn post(client: &Client, body: Value) -> Answer {
    client.send("POST", "/1.0/certificates", &body)
}

fn created(answer: &Answer, identity: &Identity) {
    let path = format!("/1.0/certificates/{}", identity.fingerprint);
    assert_eq!((answer.status, answer.header("location")), (201, Some(path.as_str())), "{answer:?}");
    let expected = json!({ "type": "sync", "status": "Success", "status_code": 200, "metadata": null });
    assert_eq!(answer.json(), expected);
}

fn trust(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    run(&[&["trust"], arguments, &["--data-dir", server.dir.to_str().unwrap()]].concat())
}

fn names(client: &Client) -> Vec<String> {
    let all = client.read("/1.0/certificates?recursion=1");
    all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn without_accounts_everybody_is_trusted() {
    let server = Server::secure(&[]);
    let client = Client::new(&server, None);
    assert!(client.is_trusted());
    let plain = metadata(&server.send("GET", "/1.0", &[AGENT], b""));
    assert_eq!(plain, client.read("/1.0"), "on plain HTTP as well");
    let environment = &plain["environment"];
    assert_eq!(environment["addresses"], json!([server.secure]));
    assert_eq!(environment["certificate"], std::fs::read_to_string(server.dir.join("keys/tls.crt")).unwrap());
    assert!(server.log().contains(environment["certificate_fingerprint"].as_str().unwrap()));
    let versions = [("server_version", "5.0.2"), ("visor_version", env!("CARGO_PKG_VERSION"))];
    for (name, value) in [("server", "visor"), ("project", "default"), versions[0], versions[1]] {
        assert_eq!(environment[name], value);
    }
    // Clients compare it with the oldest release that they support, in their own family's numbers.
    for (agent, level) in [("Incus 6.0.4 (Linux; x86_64)", "6.0.4"), ("terraform-provider-lxd", "5.0.2"), ("", "5.0.2")]
    {
        let shown = metadata(&server.send("GET", "/1.0", &[("User-Agent", agent)], b""));
        assert_eq!(shown["environment"]["server_version"], level, "{agent}");
    }
    assert!(environment["server_name"].as_str().is_some_and(|name| !name.is_empty()));
    assert_eq!((&environment["server_clustered"], &plain["config"]), (&json!(false), &json!({})));
    assert_eq!((&plain["auth_methods"], &plain["public"]), (&json!(["tls"]), &json!(false)));
    assert!(client.get("/1.0").header("etag").is_some_and(|tag| tag.starts_with('"') && tag.ends_with('"')));
    assert_eq!(refusal(&post(&client, json!({ "type": "client" })), 400), "Client is already trusted");
}

#[test]
fn the_root_answers_whoever_asks_in_its_own_words() {
    let server = Server::start();
    for agent in
        ["LXD 5.0.2 (Linux; x86_64; 6.1)", "Incus 6.0.4 (Linux)", "Hyperkit Ruby Gem 1.3.0", "lxc", "pylxd/2.4"]
    {
        let answer = server.send("GET", "/", &[("User-Agent", agent)], b"");
        assert_eq!(metadata(&answer), json!(["/1.0"]), "{agent}");
    }
    for agent in ["curl/8.0", "python-glanceclient", "lxdish", ""] {
        let answer = server.send("GET", "/", &[("User-Agent", agent)], b"");
        assert_eq!(answer.status, 300, "{agent}");
        assert!(answer.json()["versions"].is_array(), "{agent}");
    }
}

#[test]
fn who_is_not_trusted_asks_for_trust_and_little_else() {
    let lab = Lab::new();
    let (newcomer, _) = lab.newcomer("laptop");
    for client in [&newcomer, &lab.stranger()] {
        assert_eq!(client.read("/"), json!(["/1.0"]));
        let server = client.read("/1.0");
        assert_eq!(server["auth"], "untrusted");
        for hidden in ["environment", "config", "auth_user_name"] {
            assert!(server.get(hidden).is_none(), "{hidden}");
        }
        assert!(client.get("/1.0").header("etag").is_none());
        for (method, path) in [
            ("PUT", "/1.0"),
            ("PATCH", "/1.0"),
            ("GET", "/1.0/operations"),
            ("GET", "/1.0/operations/9e1e6a3c-0000-4000-8000-000000000000"),
            ("GET", "/1.0/operations/9e1e6a3c-0000-4000-8000-000000000000/wait"),
            ("GET", "/1.0/operations/9e1e6a3c-0000-4000-8000-000000000000/wait?secret=guess"),
            ("DELETE", "/1.0/operations/9e1e6a3c-0000-4000-8000-000000000000"),
            ("GET", "/1.0/events"),
            ("GET", "/1.0/projects"),
            ("GET", "/1.0/projects/default"),
            ("GET", "/1.0/projects/other"),
            ("GET", "/1.0/profiles"),
            ("GET", "/1.0/profiles/default"),
            ("GET", "/1.0/certificates"),
            ("GET", "/1.0/certificates?recursion=1"),
            ("GET", "/1.0/certificates/ab"),
            ("DELETE", "/1.0/certificates/ab"),
        ] {
            let answer = client.send(method, path, &json!({}));
            assert_eq!(refusal(&answer, 403), "not authorized", "{method} {path}");
        }
        for body in [json!({ "type": "client" }), json!({ "type": "client", "token": true })] {
            assert_eq!(refusal(&post(client, body.clone()), 403), "not authorized", "{body}");
        }
    }
    // A token of another protocol is none here.
    let answer = lab.stranger().raw("GET", "/1.0/certificates", &[("X-Auth-Token", "x")], b"");
    assert_eq!(refusal(&answer, 403), "not authorized");
}

#[test]
fn paths_methods_and_projects_that_are_not_there() {
    let lab = Lab::new();
    for client in [&lab.stranger(), &lab.trusted(&lab.alice)] {
        for path in ["/1.0/", "/1.0/nothing", "/1.0/events/", "/1.0/certificates/ab/cd", "/1.0/projects/default/state"]
        {
            assert_eq!(refusal(&client.get(path), 404), "not found", "{path}");
        }
        for (method, path) in [
            ("POST", "/1.0"),
            ("DELETE", "/1.0"),
            ("PUT", "/1.0/certificates"),
            ("POST", "/1.0/projects"),
            ("BREW", "/1.0/operations"),
        ] {
            assert_eq!(refusal(&client.send(method, path, &Value::Null), 501), "not implemented", "{method} {path}");
        }
        assert_eq!(client.send("HEAD", "/1.0", &Value::Null).status, 501);
        for path in ["/1.0?project=other", "/1.0/nothing?project=other", "/1.0/certificates?project=default&project=x"]
        {
            assert_eq!(refusal(&client.get(path), 404), "Project not found", "{path}");
        }
        for path in ["/1.0?project=default", "/1.0?project=", "/1.0?all-projects=true"] {
            assert_eq!(client.get(path).status, 200, "{path}");
        }
    }
    assert_eq!(lab.stranger().get("/1.0?project=%ff").status, 400);
    let unlike = lab.server.get("/1.0x");
    assert_eq!((unlike.status, &unlike.json()["code"]), (404, &json!(404)), "this is not below it");
}

#[test]
fn there_is_one_project_and_one_profile() {
    let lab = Lab::new();
    let client = lab.trusted(&lab.alice);
    for (kind, missing) in [("projects", "Project not found"), ("profiles", "Profile not found")] {
        assert_eq!(client.read(&format!("/1.0/{kind}")), json!([format!("/1.0/{kind}/default")]));
        let one = client.read(&format!("/1.0/{kind}/default"));
        assert_eq!(one["name"], "default");
        assert!(one["config"].as_object().unwrap().values().all(Value::is_string));
        assert_eq!(client.read(&format!("/1.0/{kind}?recursion=1")), json!([one]));
        assert_eq!(refusal(&client.get(&format!("/1.0/{kind}/other")), 404), missing);
    }
    assert!(client.read("/1.0")["config"].as_object().unwrap().is_empty());
    for method in ["PUT", "PATCH"] {
        let answer = client.send(method, "/1.0", &json!({ "config": { "core.trust_password": "x" } }));
        assert!(refusal(&answer, 400).contains("visor.toml"));
    }
}

#[test]
fn the_keys_of_an_account_let_a_certificate_in() {
    let lab = Lab::new();
    let (client, identity) = lab.newcomer("root@laptop");
    for wrong in ["alice:wrong", "alice", "alice:", ":", "nobody:wrong", "", &format!("{}x", lab.alice)] {
        let answer = post(&client, json!({ "type": "client", "password": wrong }));
        assert_eq!(refusal(&answer, 403), "not authorized", "{wrong}");
    }
    let without = post(&lab.stranger(), json!({ "password": lab.alice }));
    assert_eq!(refusal(&without, 400), "No client certificate provided");
    for body in ["x", "[]", "null", "{\"password\":1}", "{\"type\":\"metrics\"}"] {
        let answer = client.raw("POST", "/1.0/certificates", &[AGENT], body.as_bytes());
        refusal(&answer, 400);
    }
    let large = json!({ "password": lab.alice, "name": "x".repeat(70_000) });
    refusal(&post(&client, large), 413);
    assert!(!client.is_trusted());

    created(&post(&client, json!({ "type": "client", "password": lab.alice })), &identity);
    assert!(client.is_trusted());
    assert_eq!(client.read("/1.0")["auth_user_name"], "alice");
    let again = post(&client, json!({ "type": "client", "password": lab.alice }));
    assert_eq!(refusal(&again, 400), "Client is already trusted");
    let expected = json!({
        "name": "root@laptop",
        "type": "client",
        "restricted": false,
        "projects": [],
        "description": "alice",
        "certificate": identity.pem,
        "fingerprint": identity.fingerprint,
    });
    assert_eq!(client.read(&format!("/1.0/certificates/{}", &identity.fingerprint[..12])), expected);
    let secret = lab.alice.split(':').nth(1).unwrap();
    assert!(!lab.server.log().contains(secret), "no secret in the log");

    // With pylxd it is the other way round: the certificate is in the body, and its holder comes with it later.
    let other = Identity::new("pylxd");
    let body =
        json!({ "type": "client", "certificate": STANDARD.encode(&other.der), "password": lab.bob, "name": "py" });
    created(&post(&lab.stranger(), body), &other);
    let of_bob = Client::new(&lab.server, Some(&other));
    assert_eq!((of_bob.is_trusted(), names(&of_bob)), (true, vec!["py".to_owned()]));

    // Certificates are no secrets: another's is not taken over by whoever has no key of it.
    let body = json!({ "certificate": STANDARD.encode(&other.der), "password": lab.alice });
    for thief in [&lab.stranger(), &lab.newcomer("thief").0] {
        assert_eq!(refusal(&post(thief, body.clone()), 409), "Certificate already in trust store");
    }
    assert_eq!(of_bob.read("/1.0")["auth_user_name"], "bob");
    lab.server.stop();
}

#[test]
fn guessing_ends_soon() {
    let lab = Lab::new();
    let (client, identity) = lab.newcomer("laptop");
    let tries = |keys: &str| post(&client, json!({ "password": keys })).status;
    assert!((0..20).all(|_| tries("alice:guess") == 403));
    assert_eq!(tries(&lab.alice), 503, "also with the right keys, or guessing would go on");
    assert!(identity.fingerprint.len() == 64 && tries(&lab.bob) == 201, "others are not kept out");

    // What is guessed at in several protocols is counted together.
    let lab = Lab::new();
    let (client, _) = lab.newcomer("laptop");
    let streams = |keys: &str| {
        let keys = format!("Basic {}", STANDARD.encode(keys));
        lab.server.send("GET", "/streams/v1/index.json", &[("Authorization", &keys)], b"").status
    };
    assert!((0..30).all(|_| streams(&lab.alice) == 200), "whoever has the keys comes as often as he likes");
    assert!((0..10).all(|_| streams("alice:guess") == 401));
    assert!((0..10).all(|_| post(&client, json!({ "password": "alice:guess" })).status == 403));
    assert_eq!((streams(&lab.alice), streams(&lab.bob)), (503, 200));
    assert_eq!(post(&client, json!({ "password": lab.alice })).status, 503);
}

#[test]
fn trust_ends_with_its_account() {
    let lab = Lab::new();
    let client = lab.trusted(&lab.alice);
    let data = lab.server.dir.to_str().unwrap();
    assert_eq!(run(&["account", "remove", "alice", "--data-dir", data]).0, 0);
    assert!(!client.is_trusted());
    let (_, listed, _) = trust(&lab.server, &["list"]);
    assert!(listed.contains("alice") && listed.contains("untrusted: its account was removed"), "{listed}");
    lab.server.account("alice", &[]);
    assert!(!client.is_trusted(), "another's account of the same name");
}

/// Whoever was let in while everybody was an administrator is nobody when there are accounts.
#[test]
fn what_was_let_in_without_an_account_means_nothing_later() {
    let server = Server::secure(&[]);
    let (mine, others) = (Identity::new("mine"), Identity::new("others"));
    let client = Client::new(&server, Some(&mine));
    let body = json!({ "type": "client", "name": "x", "certificate": STANDARD.encode(&others.der) });
    created(&post(&client, body.clone()), &others);
    assert_eq!(refusal(&post(&client, body), 409), "Certificate already in trust store");
    assert_eq!(refusal(&post(&client, json!({ "type": "client" })), 400), "Client is already trusted");
    let (code, token, _) = trust(&server, &["token"]);
    assert_eq!(code, 0);
    created(&post(&client, json!({ "type": "client", "password": token.trim() })), &mine);
    assert!(trust(&server, &["list"]).1.contains("trusted, like every client of a server without accounts"));
    let (_, unused, _) = trust(&server, &["token"]);

    server.account("alice", &[]);
    for identity in [&mine, &others] {
        assert!(!Client::new(&server, Some(identity)).is_trusted());
    }
    let (_, listed, _) = trust(&server, &["list"]);
    assert_eq!(listed.matches("untrusted: it was accepted without an account").count(), 2, "{listed}");
    let answer = post(&client, json!({ "password": unused.trim() }));
    assert_eq!(refusal(&answer, 403), "not authorized", "nor does a token without one");
    for command in [&["token"][..], &["add", "/nowhere.pem"]] {
        let (code, _, error) = trust(&server, command);
        assert!(code == 2 && error.contains("--account"), "{error}");
    }
}

#[test]
fn a_token_of_the_operators_lets_one_client_in() {
    let lab = Lab::new();
    let token = |more: &[&str]| {
        let (code, token, error) = trust(&lab.server, &[&["token", "--account", "alice"], more].concat());
        assert_eq!(code, 0, "{error}");
        token.trim().to_owned()
    };
    let read = |token: &str| -> Value { serde_json::from_slice(&STANDARD.decode(token).unwrap()).unwrap() };
    let address = lab.server.secure.clone().unwrap();
    let first = token(&["--name", "ci", "--address", &address]);
    let said = read(&first);
    assert_eq!((&said["client_name"], &said["addresses"]), (&json!("ci"), &json!([address])));
    assert!(lab.server.log().contains(said["fingerprint"].as_str().unwrap()));
    assert!(said["expires_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(read(&token(&[]))["addresses"], json!(["127.0.0.1:8443"]), "where it is configured to be");
    assert_eq!(read(&token(&[]))["client_name"], "alice", "one without a name is none for LXD's clients");
    let (client, identity) = lab.newcomer("laptop");
    created(&post(&client, json!({ "type": "client", "trust_token": first })), &identity);
    assert_eq!((client.is_trusted(), names(&client)), (true, vec!["ci".to_owned()]));

    // Older clients send the secret alone, where a password would be.
    let second = read(&token(&[]))["secret"].as_str().unwrap().to_owned();
    let (client, identity) = lab.newcomer("laptop");
    created(&post(&client, json!({ "type": "client", "password": second })), &identity);
    for used in [&first, &second] {
        let (late, _) = lab.newcomer("late");
        assert_eq!(refusal(&post(&late, json!({ "password": used })), 403), "not authorized");
    }
    let expired = token(&["--expires", "1ms"]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let (late, _) = lab.newcomer("late");
    assert_eq!(refusal(&post(&late, json!({ "password": expired })), 403), "not authorized");
    assert!(!lab.server.log().contains(&second));
    let kept = std::fs::read_to_string(lab.server.dir.join("keys/trust.json")).unwrap();
    assert!(!kept.contains(&second));
    for wrong in [&["--expires", "0s"][..], &["--expires", "2years"], &["--account", "nobody"], &["--name", ""]] {
        assert_ne!(trust(&lab.server, &[&["token"], wrong].concat()).0, 0, "{wrong:?}");
    }
}

#[test]
fn a_trusted_client_invites_another() {
    let lab = Lab::new();
    let alice = lab.trusted(&lab.alice);
    let invite = || {
        let answer = post(&alice, json!({ "type": "client", "name": "friend", "token": true }));
        assert_eq!(answer.status, 202, "{answer:?}");
        let envelope = answer.json();
        assert_eq!(envelope["operation"], answer.header("location").unwrap());
        (envelope["operation"].as_str().unwrap().to_owned(), envelope["metadata"].clone())
    };
    let (path, operation) = invite();
    assert_eq!((&operation["class"], &operation["status_code"]), (&json!("token"), &json!(103)));
    let said = &operation["metadata"];
    assert_eq!((&said["request"]["name"], &said["addresses"]), (&json!("friend"), &json!([lab.server.secure])));
    assert_eq!(said["fingerprint"], alice.read("/1.0")["environment"]["certificate_fingerprint"]);
    assert!(said["expiresAt"].as_str().unwrap().ends_with('Z'));

    let (friend, identity) = lab.newcomer("laptop");
    created(&post(&friend, json!({ "type": "client", "password": said["secret"] })), &identity);
    assert_eq!(friend.read("/1.0")["auth_user_name"], "alice", "for the account of whoever asked");
    assert_eq!(names(&friend), ["laptop", "friend"]);
    assert_eq!(alice.read(&path)["status"], "Success");
    let (late, _) = lab.newcomer("late");
    assert_eq!(post(&late, json!({ "trust_token": said["secret"] })).status, 403);

    let (path, operation) = invite();
    assert_eq!(metadata(&alice.delete(&path)), json!({}));
    assert_eq!(post(&late, json!({ "trust_token": operation["metadata"]["secret"] })).status, 403, "taken back");
    let nameless = post(&alice, json!({ "token": true })).json();
    assert_eq!(nameless["metadata"]["metadata"]["request"]["name"], "alice");
    let (_, orphan) = invite();
    run(&["account", "remove", "alice", "--data-dir", lab.server.dir.to_str().unwrap()]);
    assert_eq!(post(&late, json!({ "trust_token": orphan["metadata"]["secret"] })).status, 403, "its maker is gone");
    let secret = orphan["metadata"]["secret"].as_str().unwrap();
    assert!(!lab.server.log().contains(secret));
}

#[test]
fn one_sees_and_removes_ones_own_certificates() {
    let lab = Lab::new();
    let (alice, bob, root) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob), lab.trusted(&lab.root));
    let other = Identity::new("other");
    let body = json!({ "type": "client", "certificate": STANDARD.encode(&other.der), "name": "second" });
    created(&post(&alice, body.clone()), &other);
    assert_eq!(refusal(&post(&alice, body), 409), "Certificate already in trust store");
    for wrong in ["", "%%%", "AAAA"] {
        let answer = post(&alice, json!({ "type": "client", "certificate": wrong, "name": "x" }));
        assert_eq!(answer.status, 400, "{wrong}");
    }
    refusal(&post(&alice, json!({ "certificate": "AAAA", "restricted": true })), 400);
    let second = Client::new(&lab.server, Some(&other));
    assert_eq!(second.read("/1.0")["auth_user_name"], "alice");

    assert_eq!(names(&alice), ["laptop", "second"]);
    assert_eq!(names(&bob), ["laptop"]);
    assert_eq!(names(&root).len(), 4);
    let path = format!("/1.0/certificates/{}", other.fingerprint);
    let listed = alice.read("/1.0/certificates");
    assert!(listed.as_array().unwrap().contains(&json!(path)), "{listed}");
    for (method, path) in [("GET", path.as_str()), ("DELETE", &path), ("GET", "/1.0/certificates/zz")] {
        assert_eq!(refusal(&bob.send(method, path, &Value::Null), 404), "Certificate not found");
    }
    assert!(second.is_trusted());
    let short = format!("/1.0/certificates/{}", &other.fingerprint[..16]);
    assert_eq!(metadata(&alice.delete(&short)), json!({}));
    assert!(!second.is_trusted(), "at once");
    assert_eq!(refusal(&alice.delete(&short), 404), "Certificate not found");
    let own = bob.read("/1.0/certificates")[0].as_str().unwrap().to_owned();
    assert_eq!(root.delete(&own).status, 200, "an administrator removes anybody's");
    assert!(!bob.is_trusted());
}

#[test]
fn the_operator_keeps_certificates_beside_the_server() {
    let lab = Lab::new();
    let (client, identity) = lab.newcomer("laptop");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("client.crt");
    let path = file.to_str().unwrap();
    std::fs::write(&file, format!("what people write above\n{}", identity.pem)).unwrap();
    let (code, added, error) = trust(&lab.server, &["--json", "add", path, "--account", "alice", "--name", "desk"]);
    assert_eq!(code, 0, "{error}");
    let added: Value = serde_json::from_str(&added).unwrap();
    assert_eq!((&added["account"], &added["trusted"], &added["name"]), (&json!("alice"), &json!(true), &json!("desk")));
    assert!(client.is_trusted());
    assert_eq!(trust(&lab.server, &["add", path, "--account", "alice"]).0, 8);
    assert_eq!(trust(&lab.server, &["add", path, "--account", "nobody"]).0, 3);
    let (_, listed, _) = trust(&lab.server, &["list"]);
    assert!(listed.contains(&identity.fingerprint[..12]) && listed.contains("desk") && listed.contains("trusted"));
    let key = dir.path().join("client.key");
    std::fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let (code, _, error) = trust(&lab.server, &["add", key.to_str().unwrap(), "--account", "alice"]);
    assert!(code == 1 && error.contains("client.key"), "{error}");
    let (code, removed, _) = trust(&lab.server, &["remove", &identity.fingerprint[..8]]);
    assert!(code == 0 && removed.contains(&identity.fingerprint), "{removed}");
    assert!(!client.is_trusted());
    assert_eq!(trust(&lab.server, &["remove", &identity.fingerprint[..8]]).0, 3);
    let data = lab.server.dir.to_str().unwrap();
    let (_, help, _) = run_with(&["trust", "token", "--help", "--data-dir", data], std::process::Stdio::null());
    assert!(help.contains("lxc remote add"));
}
