//! `visor import-glance` between two servers that do as they like: who gets which token, and what does not come. A real Glance is in
//! `tests/clients/import_glance.py`.

use serde_json::{Value, json};

use crate::fake::{Asked, Fake, Say, answer};
use crate::harness::visor;

const ID: &str = "edfa919a-0415-4d26-b54d-ae78ffc4dc79";
const THEIRS: &str = "of-the-source";
const OWN: &str = "of-the-target";

fn answer_json(status: &str, body: &Value) -> Say {
    answer(status, "Content-Type: application/json\r\n", body.to_string())
}

/// A cloud: its Keystone, and its Glance with this page of images.
fn cloud(page: Value) -> Fake {
    Fake::serving(None, move |asked| match asked.target() {
        "/v3/auth/tokens" => {
            let here = format!("http://{}", asked.header("host").unwrap());
            let endpoints = json!([{ "interface": "public", "region_id": "One", "url": here }]);
            let catalog = json!([{ "type": "image", "endpoints": endpoints }]);
            let body = json!({ "token": { "project": { "id": "p" }, "catalog": catalog } });
            answer("201 Created", &format!("X-Subject-Token: {THEIRS}\r\n"), body.to_string())
        }
        path if path.starts_with("/v2/images?") => answer_json("200 OK", &page),
        path => panic!("{path} is not asked for"),
    })
}

/// A Visor without images that names this Keystone, which gives tokens if it is its own.
fn target(keystone: String, is_own: bool) -> Fake {
    let respond = move |asked: &Asked| match (asked.target(), asked.header("x-auth-token")) {
        ("/v3", _) => {
            let version = json!({ "version": { "links": [{ "rel": "self", "href": keystone }] } });
            answer_json("200 OK", &version)
        }
        ("/v3/auth/tokens", _) if is_own => {
            answer("201 Created", &format!("X-Subject-Token: {OWN}\r\n"), json!({ "token": {} }).to_string())
        }
        ("/v3/auth/tokens", _) => {
            answer_json("404 Not Found", &json!({ "error": { "message": format!("Tokens are made at {keystone}.") } }))
        }
        (_, Some(_)) => answer_json("404 Not Found", &json!({ "message": "No image found." })),
        (_, None) => answer_json("401 Unauthorized", &json!({ "message": "A token is needed." })),
    };
    Fake::serving(None, respond)
}

/// Runs the command without changes: its exit code, the outcomes, and the error.
fn import(from: &Fake, to: &Fake, keys: bool) -> (i32, Vec<Value>, String) {
    let mut command = visor();
    command.args(["--json", "import-glance", "--dry-run", "--no-metadefs", "-a", to.url("").trim_end_matches('/')]);
    let settings = [("OS_AUTH_URL", from.url("")), ("OS_USERNAME", "me".into()), ("OS_PASSWORD", "s3cret".into())];
    command.envs(settings).env("OS_PROJECT_NAME", "p");
    if keys {
        command.env("VISOR__CLIENT__ACCESS_KEY", "root").env("VISOR__CLIENT__SECRET_KEY", "hidden");
    }
    let done = command.output().unwrap();
    let said: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
    let entries = said["entries"].as_array().cloned().unwrap_or_default();
    (done.status.code().unwrap(), entries, String::from_utf8_lossy(&done.stderr).into_owned())
}

fn image(size: Value) -> Value {
    json!({ "images": [{ "id": ID, "name": "a", "status": "active", "size": size }] })
}

/// All that a server was sent, as one text.
fn sent(to: &Fake) -> String {
    to.asked().iter().map(|asked| format!("{}{}", asked.head, String::from_utf8_lossy(&asked.body))).collect()
}

#[test]
fn a_token_goes_to_the_cloud_that_gave_it() {
    let elsewhere = "https://other.example/v3/";
    for keys in [false, true] {
        let from = cloud(image(json!(5)));
        let to = target(from.url("v3/"), false);
        let (code, entries, error) = import(&from, &to, keys);
        assert_eq!((code, &entries[0]["outcome"]), (0, &"to import".into()), "{error}");
        assert!(sent(&to).contains(THEIRS) && !sent(&to).contains("hidden"));
        // Of another cloud: none is sent, and what to do is said.
        let to = target(elsewhere.to_owned(), false);
        let (code, _, error) = import(&from, &to, keys);
        assert_eq!(code, if keys { 3 } else { 7 }, "{error}");
        assert!(error.contains(elsewhere) && !sent(&to).contains(THEIRS), "{error}");
    }
    // With accounts of its own.
    let (from, to) = (cloud(image(json!(5))), target(elsewhere.to_owned(), true));
    let (code, entries, error) = import(&from, &to, true);
    assert_eq!((code, &entries[0]["outcome"]), (0, &"to import".into()), "{error}");
    assert!(sent(&to).contains(OWN) && !sent(&to).contains(THEIRS));
}

#[test]
fn an_image_of_unknown_size_does_not_come() {
    let from = cloud(image(Value::Null));
    let to = target(from.url("v3"), false);
    let (code, entries, error) = import(&from, &to, false);
    assert_eq!((code, &entries[0]["outcome"]), (1, &"failed".into()), "{error}");
    assert!(entries[0]["reason"].as_str().unwrap().contains("size is not known"), "{entries:?}");
}

/// The page after a page is the page itself.
#[test]
fn a_list_without_an_end_is_no_list() {
    let mut page = image(json!(5));
    page["next"] = "/v2/images?limit=200".into();
    let from = cloud(page);
    let to = target(from.url("v3"), false);
    let (code, _, error) = import(&from, &to, false);
    assert_ne!(code, 0);
    assert!(error.contains("not that of an OpenStack service"), "{error}");
    assert!(from.connections() < 5, "{}", from.connections());
}
