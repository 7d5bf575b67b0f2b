//! Certificates of clients after they are trusted: their dates, and changes to them.

use std::io::{Read as _, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, date_time_ymd};
use serde_json::json;

use crate::harness::{Answer, eventually, request, run};
use crate::secure::{Client, Identity, Lab, refusal};

/// A certificate that ends some seconds from now.
fn ending_in(seconds: u64) -> Identity {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut described = CertificateParams::default();
    described.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(now + seconds);
    Identity::of(&described)
}

/// A certificate that ended long ago.
fn ended() -> Identity {
    let mut described = CertificateParams::default();
    described.not_after = date_time_ymd(2001, 1, 1);
    Identity::of(&described)
}

#[test]
fn certificates_outside_their_dates_are_refused_in_every_way_in() {
    let lab = Lab::new();
    let of = |begin, end| {
        let mut described = CertificateParams::default();
        (described.not_before, described.not_after) = (date_time_ymd(begin, 1, 1), date_time_ymd(end, 1, 1));
        Identity::of(&described)
    };
    let data = lab.server.dir.to_str().unwrap();
    for (identity, words, code, operators) in [
        (of(2001, 2002), "The provided certificate is expired", "certificate-expired", "has expired"),
        (of(3001, 3002), "The provided certificate isn't valid yet", "certificate-not-yet-valid", "is not valid yet"),
    ] {
        let client = Client::new(&lab.server, Some(&identity));
        let der = STANDARD.encode(&identity.der);
        let token = run(&["trust", "token", "--account", "alice", "--data-dir", data]).1;
        let alice = lab.trusted(&lab.alice);
        for (sender, body) in [
            (&client, json!({ "type": "client", "password": lab.alice })),
            (&client, json!({ "type": "client", "trust_token": token.trim() })),
            (&lab.stranger(), json!({ "type": "client", "certificate": der, "password": lab.alice })),
            (&alice, json!({ "type": "client", "certificate": der })),
        ] {
            let answer = sender.send("POST", "/1.0/certificates", &body);
            assert_eq!((refusal(&answer, 400).as_str(), answer.header("x-visor-error")), (words, Some(code)), "{body}");
        }
        assert!(!client.is_trusted());
        let file = lab.server.dir.join("dated.crt");
        std::fs::write(&file, &identity.pem).unwrap();
        let added = run(&["trust", "add", file.to_str().unwrap(), "--account", "alice", "--data-dir", data]);
        assert!(added.0 != 0 && added.2.contains(operators), "{added:?}");
    }
}

/// Also for a connection that stays open.
#[test]
fn trust_ends_with_the_certificate() {
    let lab = Lab::new();
    let identity = ending_in(4);
    let client = Client::new(&lab.server, Some(&identity));
    client.log_in(&lab.alice);
    assert!(client.is_trusted());
    let mut socket = client.connect();
    let mut ask = || {
        let request = format!("GET /1.0 HTTP/1.1\r\nHost: {}\r\n\r\n", client.address());
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.ends_with(b"}") {
            let count = socket.read(&mut piece).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend(&piece[..count]);
        }
        String::from_utf8(answer).unwrap()
    };
    assert!(ask().contains("\"auth\":\"trusted\""));
    eventually("the certificate ends", || ask().contains("\"auth\":\"untrusted\""));
    assert_eq!(refusal(&client.get("/1.0/certificates"), 403), "not authorized");
    let data = lab.server.dir.to_str().unwrap();
    let (_, listed, _) = run(&["trust", "list", "--data-dir", data]);
    assert!(listed.contains("untrusted: it has expired"), "{listed}");
    let (_, listed, _) = run(&["--json", "trust", "list", "--data-dir", data]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["trusted"], false);
    assert!(listed["not_after"].as_str().unwrap() > listed["not_before"].as_str().unwrap());
}

/// The body of a change, with the certificate of an identity.
fn with_certificate(identity: &Identity) -> serde_json::Value {
    json!({ "certificate": identity.pem })
}

fn path(identity: &Identity) -> String {
    format!("/1.0/certificates/{}", identity.fingerprint)
}

#[test]
fn an_entry_is_changed_by_its_account() {
    let lab = Lab::new();
    let (client, identity) = lab.newcomer("laptop");
    client.log_in(&lab.alice);
    let path = path(&identity);
    let (seen, tag) = {
        let answer = client.get(&path);
        (answer.json()["metadata"].clone(), answer.header("etag").unwrap().to_owned())
    };
    assert_eq!((&seen["restricted"], &seen["projects"]), (&json!(false), &json!([])));
    let send = |method: &str, tag: &str, body: &serde_json::Value| {
        client.raw(method, &path, &[("If-Match", tag)], body.to_string().as_bytes())
    };
    assert_eq!(send("PATCH", &tag, &json!({ "name": "phone" })).status, 200);
    refusal(&send("PATCH", &tag, &json!({ "name": "tablet" })), 412);
    assert_eq!(client.read(&path)["name"], "phone", "the other change came first");
    for (method, body, status) in [
        ("PATCH", json!({ "projects": ["default", "other"] }), 404),
        ("PATCH", json!({ "type": "server" }), 400),
        ("PATCH", json!({ "description": "mine" }), 400),
        ("PATCH", json!({ "name": "" }), 400),
        ("PATCH", json!({ "certificate": "x" }), 400),
        ("PATCH", json!({ "restricted": "yes" }), 400),
        ("PUT", json!({ "type": "client" }), 400),
        ("PUT", json!([]), 400),
    ] {
        refusal(&client.send(method, &path, &body), status);
    }
    // As `lxc config trust edit` sends it back.
    let mut edited = client.read(&path);
    edited["name"] = json!("tablet");
    assert_eq!(client.send("PUT", &path, &edited).status, 200);
    assert_eq!(client.read(&path), edited);
    // Another account knows of none of it, an administrator of all.
    refusal(&lab.trusted(&lab.bob).send("PATCH", &path, &json!({ "name": "x" })), 404);
    let root = lab.trusted(&lab.root);
    assert_eq!(root.send("PATCH", &path, &json!({ "restricted": true, "projects": ["default"] })).status, 200);
    assert_eq!(client.read(&path)["restricted"], true);
    let data = lab.server.dir.to_str().unwrap();
    assert!(run(&["trust", "list", "--data-dir", data]).1.contains("trusted, restricted"));
}

#[test]
fn a_certificate_is_replaced_by_its_account() {
    let lab = Lab::new();
    let (old, identity) = lab.newcomer("laptop");
    old.log_in(&lab.alice);
    let renewed = Identity::new("renewed");
    let gone = ended();
    let taken = Identity::new("taken");
    Client::new(&lab.server, Some(&taken)).log_in(&lab.bob);
    assert_eq!(
        refusal(&old.send("PATCH", &path(&identity), &with_certificate(&gone)), 400),
        "The provided certificate is expired"
    );
    let answer = old.send("PATCH", &path(&identity), &with_certificate(&taken));
    assert_eq!(refusal(&answer, 409), "Certificate already in trust store");
    assert_eq!(old.send("PATCH", &path(&identity), &with_certificate(&identity)).status, 200, "that is no change");
    assert!(old.is_trusted());
    assert_eq!(old.send("PATCH", &path(&identity), &with_certificate(&renewed)).status, 200);
    assert!(!old.is_trusted());
    let new = Client::new(&lab.server, Some(&renewed));
    assert_eq!(new.read("/1.0")["auth_user_name"], "alice");
    assert_eq!(new.read(&path(&renewed))["name"], "laptop");
}

/// A restricted certificate is for the project, replaces itself, and has no other right over certificates.
#[test]
fn a_restricted_certificate_has_few_rights() {
    let lab = Lab::new();
    let root = lab.trusted(&lab.root);
    let (client, identity) = lab.newcomer("ci");
    let bound = json!({
        "type": "client",
        "name": "ci",
        "certificate": STANDARD.encode(&identity.der),
        "restricted": true,
        "projects": ["default"],
    });
    assert_eq!(root.send("POST", "/1.0/certificates", &bound).status, 201);
    assert_eq!(client.read("/1.0")["auth_user_name"], "root");
    assert_eq!(client.read("/1.0/certificates"), json!([path(&identity)]), "it sees itself");
    assert_eq!(root.read("/1.0/certificates").as_array().unwrap().len(), 2);
    // An ordinary account's rights: alice's image is not there.
    let alice = lab.trusted(&lab.alice);
    let hers = alice.import(&crate::bundles::container("hers"), &[]);
    let own = client.import(&crate::bundles::container("own"), &[]);
    assert_eq!(root.read("/1.0/images").as_array().unwrap().len(), 2);
    assert_eq!(client.read("/1.0/images"), json!([format!("/1.0/images/{own}")]));
    refusal(&client.delete(&format!("/1.0/images/{hers}")), 404);

    let other = Identity::new("other");
    let der = STANDARD.encode(&other.der);
    for body in [json!({ "certificate": der }), json!({ "type": "client", "name": "x", "token": true })] {
        assert_eq!(refusal(&client.send("POST", "/1.0/certificates", &body), 403), "not authorized");
    }
    let again = client.send("POST", "/1.0/certificates", &json!({ "type": "client" }));
    assert_eq!(refusal(&again, 400), "Client is already trusted");
    for body in [json!({ "name": "x" }), json!({ "restricted": false }), json!({ "projects": [] })] {
        let answer = client.send("PATCH", &path(&identity), &body);
        assert_eq!(refusal(&answer, 403), "Only the certificate can be changed");
        assert_eq!(answer.header("x-visor-error"), Some("certificate-fixed"));
        let mut renewal = body.clone();
        renewal["certificate"] = json!(other.pem);
        refusal(&client.send("PATCH", &path(&identity), &renewal), 403);
    }
    refusal(&client.send("PATCH", &path(&identity), &json!({ "type": "server" })), 400);

    // Its holder replaces it, as clients send it: with all fields as they were.
    let mut all = client.read(&path(&identity));
    all["certificate"] = json!(other.pem);
    assert_eq!(client.send("PUT", &path(&identity), &all).status, 200);
    assert!(!client.is_trusted());
    let renewed = Client::new(&lab.server, Some(&other));
    let entry = renewed.read(&path(&other));
    assert_eq!(
        (&entry["restricted"], &entry["projects"], &entry["name"]),
        (&json!(true), &json!(["default"]), &json!("ci"))
    );

    // Without the project it is trusted, and good for its renewal only.
    assert_eq!(root.send("PATCH", &path(&other), &json!({ "projects": [] })).status, 200);
    assert!(renewed.is_trusted());
    refusal(&renewed.get("/1.0/images"), 403);
    for place in ["/1.0/projects", "/1.0/operations", "/1.0/images/aliases"] {
        assert_eq!(refusal(&renewed.get(place), 403), "not authorized", "{place}");
    }
    assert_eq!(renewed.send("PATCH", &path(&other), &with_certificate(&identity)).status, 200);
    assert!(client.is_trusted());
    assert_eq!(client.delete(&path(&identity)).status, 200, "it ends its own trust");
    assert!(!client.is_trusted());
}

/// Bounds that the maker of a token sets are not the bearer's to change, whoever made it.
#[test]
fn a_token_carries_its_bounds() {
    let lab = Lab::new();
    let root = lab.trusted(&lab.root);
    let asked = json!({ "type": "client", "name": "ci", "token": true, "restricted": true, "projects": ["default"] });
    let made = root.send("POST", "/1.0/certificates", &asked).json()["metadata"]["metadata"].clone();
    let request = (&made["request"]["restricted"], &made["request"]["projects"]);
    assert_eq!(request, (&json!(true), &json!(["default"])));
    let data = lab.server.dir.to_str().unwrap();
    let operators = run(&["trust", "token", "--account", "root", "--restricted", "--data-dir", data]).1;
    for secret in [made["secret"].as_str().unwrap(), operators.trim()] {
        let (client, identity) = lab.newcomer("ci");
        let joined = client.send("POST", "/1.0/certificates", &json!({ "trust_token": secret, "restricted": false }));
        assert_eq!(joined.status, 201, "{joined:?}");
        assert_eq!(client.read(&path(&identity))["restricted"], true);
        assert_eq!(client.read("/1.0/certificates").as_array().unwrap().len(), 1, "no administrator's");
    }
}

/// Nor is a token of the operator's, which lies in a file.
#[test]
fn a_certificate_outside_its_dates_uses_up_no_token_of_a_client() {
    let lab = Lab::new();
    let asked = json!({ "type": "client", "name": "friend", "token": true });
    let made = lab.trusted(&lab.alice).send("POST", "/1.0/certificates", &asked).json();
    let token = made["metadata"]["metadata"]["secret"].as_str().unwrap();
    let join = |identity: &Identity| {
        Client::new(&lab.server, Some(identity)).send("POST", "/1.0/certificates", &json!({ "trust_token": token }))
    };
    assert_eq!(refusal(&join(&ended()), 400), "The provided certificate is expired");
    assert_eq!(join(&Identity::new("friend")).status, 201);
}

/// The body may come long after the head.
#[test]
fn a_change_has_the_rights_of_the_moment_when_its_body_is_there() {
    let lab = Lab::new();
    let (client, identity) = lab.newcomer("laptop");
    client.log_in(&lab.alice);
    let path = path(&identity);
    let change = request(client.address(), "PATCH", &path, &[], json!({ "name": "mine" }).to_string().as_bytes());
    let (early, late) = change.split_at(change.len() - 1);
    let mut slow = client.connect();
    slow.write_all(early).unwrap();
    let bound = json!({ "restricted": true, "projects": ["default"] });
    assert_eq!(lab.trusted(&lab.root).send("PATCH", &path, &bound).status, 200);
    slow.write_all(late).unwrap();
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer);
    assert_eq!(refusal(&Answer::parse(&answer, false), 403), "Only the certificate can be changed");
}

#[test]
fn an_account_that_may_only_read_renews_its_certificate() {
    let lab = Lab::new();
    let made = lab.server.account("rita", &["--read-only"]);
    let (client, identity) = lab.newcomer("rita");
    client.log_in(&format!("rita:{}", made["secret_key"].as_str().unwrap()));
    for body in [json!({ "name": "x" }), json!({ "restricted": true, "projects": ["default"] })] {
        let answer = client.send("PATCH", &path(&identity), &body);
        assert_eq!((answer.status, answer.header("x-visor-error")), (403, Some("read-only-account")));
    }
    let renewed = Identity::new("renewed");
    assert_eq!(client.send("PATCH", &path(&identity), &with_certificate(&renewed)).status, 200);
    assert!(Client::new(&lab.server, Some(&renewed)).is_trusted());
}
