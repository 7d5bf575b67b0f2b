//! Copies that follow their alias: when they are told to, and by themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bundles::{container, machine};
use crate::harness::{Server, eventually};
use crate::lxd_sources::{PUBLIC, asking, image, pull, remote};
use crate::secure::{Client, Lab};

/// An image for this alias on the other server, in the place of the one before.
fn publish(from: &Server, bytes: &[u8]) -> String {
    let fingerprint = from.import(bytes, &[PUBLIC]);
    let path = "/1.0/images/aliases/os/x";
    if from.get(path).status == 404 {
        let alias = json!({ "name": "os/x", "target": fingerprint });
        assert_eq!(from.send_json("POST", "/1.0/images/aliases", &alias).status, 201);
    } else {
        assert_eq!(from.send_json("PUT", path, &json!({ "target": fingerprint })).status, 200);
    }
    fingerprint
}

fn refresh(server: &Server, fingerprint: &str) -> Value {
    server.ended(&server.send("POST", &format!("/1.0/images/{fingerprint}/refresh"), &[], b""))
}

fn refreshed(server: &Server, fingerprint: &str) -> bool {
    let ended = refresh(server, fingerprint);
    assert_eq!(ended["status_code"], 200, "{ended}");
    ended["metadata"]["refreshed"].as_bool().unwrap()
}

fn aliases(image: &Value) -> Vec<&str> {
    image["aliases"].as_array().unwrap().iter().map(|alias| alias["name"].as_str().unwrap()).collect()
}

#[test]
fn a_newer_image_takes_the_place_of_the_old_one() {
    let (from, server) = (Server::secure(&[]), asking());
    let old = publish(&from, &container("old"));
    let wanted = json!({ "auto_update": true, "public": true, "aliases": [{ "name": "mine", "description": "d" }] });
    server.succeeded(&pull(&server, &from, json!({ "alias": "os/x" }), wanted));
    assert!(image(&server, &old)["update_source"].get("last_checked_at").is_none(), "nobody has looked again");
    assert!(!refreshed(&server, &old));
    let first = image(&server, &old)["update_source"].clone();
    assert_eq!(first["last_error"], "");
    assert!(first["last_checked_at"].as_str().unwrap().ends_with('Z'));

    let new = publish(&from, &container("new"));
    let alias = json!({ "name": "later", "target": old });
    assert_eq!(server.send_json("POST", "/1.0/images/aliases", &alias).status, 201);
    assert!(refreshed(&server, &old[..12]), "by any name that it has");
    assert_eq!(server.lxd("/1.0/images"), json!([format!("/1.0/images/{new}")]));
    let copy = image(&server, &new);
    assert_eq!(aliases(&copy), ["later", "mine"]);
    assert_eq!(copy["aliases"][1]["description"], "d");
    assert_eq!((&copy["public"], &copy["auto_update"]), (&json!(true), &json!(true)));
    assert_eq!((&copy["properties"]["os"], &copy["update_source"]["alias"]), (&json!("new"), &json!("os/x")));
    assert_eq!(copy["update_source"]["last_error"], "");
    assert_ne!(copy["update_source"]["last_checked_at"], first["last_checked_at"]);
    assert_eq!(server.get(&format!("/1.0/images/{new}/export")).body, container("new"));
    assert!(!refreshed(&server, &new));
}

#[test]
fn what_fails_is_kept_and_shown() {
    let (from, server) = (Server::secure(&[]), asking());
    let old = publish(&from, &container("old"));
    server.succeeded(&pull(&server, &from, json!({ "alias": "os/x" }), json!({ "aliases": [{ "name": "mine" }] })));
    assert_eq!(from.send("DELETE", "/1.0/images/aliases/os/x", &[], b"").status, 200);
    let ended = refresh(&server, &old);
    let said = ended["err"].as_str().unwrap();
    assert!(said.contains("has no image or alias 'os/x'"), "{said}");
    let copy = image(&server, &old);
    assert_eq!((&copy["update_source"]["last_error"], aliases(&copy)), (&json!(said), vec!["mine"]));
    assert!(copy["update_source"]["last_checked_at"].is_string());
    // Next time it goes well.
    let new = publish(&from, &container("new"));
    assert!(refreshed(&server, &old));
    assert_eq!(image(&server, &new)["update_source"]["last_error"], "");
    let (url, _) = remote(&from);
    drop(from);
    assert_eq!(refresh(&server, &new)["status_code"], 400);
    let error = image(&server, &new)["update_source"]["last_error"].clone();
    // Clients try the next address of a server behind these words.
    assert_eq!(error, url.replace("https://", "Unable to connect to: "));
}

#[test]
fn a_protected_image_stays_and_loses_its_aliases() {
    let (from, server) = (Server::secure(&[]), asking());
    let old = publish(&from, &container("old"));
    let wanted = json!({ "auto_update": true, "aliases": [{ "name": "mine" }] });
    server.succeeded(&pull(&server, &from, json!({ "alias": "os/x" }), wanted));
    let id = server.get("/v2/images").json()["images"][0]["id"].as_str().unwrap().to_owned();
    let patch = br#"[{ "op": "replace", "path": "/protected", "value": true }]"#;
    let content_type = [("content-type", "application/openstack-images-v2.1-json-patch")];
    assert_eq!(server.send("PATCH", &format!("/v2/images/{id}"), &content_type, patch).status, 200);
    let new = publish(&from, &container("new"));
    assert!(refreshed(&server, &old));
    let (copy, kept) = (image(&server, &new), image(&server, &old));
    assert_eq!((aliases(&copy), &copy["auto_update"]), (vec!["mine"], &json!(true)));
    assert_eq!((aliases(&kept), &kept["auto_update"]), (vec![], &json!(false)), "it has its successor");
    assert_eq!(server.get(&format!("/1.0/images/{old}/export")).body, container("old"));
    let refusal = server.send("DELETE", &format!("/1.0/images/{old}"), &[], b"");
    assert!(!server.failed(&refusal).is_empty());
}

/// The newer image may be here already, by another way. It follows the alias from then on.
#[test]
fn one_that_is_here_already_takes_the_place_too() {
    let (from, server) = (Server::secure(&[]), asking());
    let old = publish(&from, &container("old"));
    let wanted = json!({ "auto_update": true, "aliases": [{ "name": "mine" }] });
    server.succeeded(&pull(&server, &from, json!({ "alias": "os/x" }), wanted));
    let new = publish(&from, &container("new"));
    server.import(&container("new"), &[("X-Incus-aliases", "alias=own"), ("X-LXD-filename", "own.tar.gz")]);
    assert!(refreshed(&server, &old));
    let copy = image(&server, &new);
    assert_eq!((aliases(&copy), &copy["filename"]), (vec!["mine", "own"], &json!("own.tar.gz")));
    assert_eq!((&copy["auto_update"], &copy["update_source"]["alias"]), (&json!(true), &json!("os/x")));
    assert_eq!(server.get(&format!("/1.0/images/{old}")).status, 404);
    let third = publish(&from, &container("third"));
    assert!(refreshed(&server, &new));
    assert_eq!(aliases(&image(&server, &third)), ["mine", "own"]);
    assert_eq!(server.lxd("/1.0/images").as_array().unwrap().len(), 1);
}

/// A copy that is asked for of what is here already follows the alias as a new one would.
#[test]
fn one_that_is_here_already_can_be_kept_up_to_date() {
    let (from, server) = (Server::secure(&[]), asking());
    let old = publish(&from, &container("old"));
    server.import(&container("old"), &[]);
    let copy = |wanted: Value| {
        server.succeeded(&pull(&server, &from, json!({ "alias": "os/x" }), wanted));
        image(&server, &old)
    };
    assert!(copy(json!({})).get("update_source").is_none());
    let image = copy(json!({ "auto_update": true }));
    assert_eq!((&image["auto_update"], &image["update_source"]["alias"]), (&json!(true), &json!("os/x")));
    // Whoever does not ask for it leaves it as it is.
    assert_eq!(copy(json!({}))["auto_update"], true);
    // By its fingerprint it follows nothing.
    let other = from.import(&container("other"), &[PUBLIC]);
    server.import(&container("other"), &[]);
    server.succeeded(&pull(&server, &from, json!({ "fingerprint": other }), json!({ "auto_update": true })));
    let image = crate::lxd_sources::image(&server, &other);
    assert_eq!((&image["auto_update"], image.get("update_source")), (&json!(false), None));
    let new = publish(&from, &container("new"));
    assert!(refreshed(&server, &old));
    assert_eq!(server.get(&format!("/1.0/images/{new}/export")).body, container("new"));
}

#[test]
fn a_kind_that_was_asked_for_stays_the_same() {
    let (from, server) = (Server::secure(&[]), asking());
    let old = publish(&from, &machine("old"));
    let source = json!({ "alias": "os/x", "image_type": "virtual-machine" });
    server.succeeded(&pull(&server, &from, source, json!({})));
    assert_eq!(image(&server, &old)["update_source"]["image_type"], "virtual-machine");
    publish(&from, &container("new"));
    let ended = refresh(&server, &old);
    assert!(ended["err"].as_str().unwrap().contains("has no image or alias 'os/x'"), "{ended}");
    assert_eq!(server.lxd("/1.0/images").as_array().unwrap().len(), 1);
}

#[test]
fn those_that_are_to_be_kept_up_to_date_are() {
    let from = Server::secure(&[]);
    let (url, certificate) = remote(&from);
    let server = Server::configured("[lxd]\nauto_update_interval = \"1s\"\n[fetch]\nallow = [\"127.0.0.1/32\"]\n");
    let old = publish(&from, &container("old"));
    let follow = |auto_update: bool, name: &str, protocol: &str| {
        let source = json!({
            "type": "image", "server": url, "certificate": certificate, "alias": name, "protocol": protocol,
        });
        let body = json!({ "source": source, "auto_update": auto_update, "aliases": [{ "name": protocol }] });
        server.succeeded(&server.send_json("POST", "/1.0/images", &body));
    };
    follow(true, "os/x", "lxd");
    let other = from.import(&container("other"), &[PUBLIC, ("X-Incus-aliases", "alias=other")]);
    follow(false, "other", "simplestreams");
    let new = publish(&from, &container("new"));
    let moved = json!({ "target": new });
    assert_eq!(from.send_json("PUT", "/1.0/images/aliases/other", &moved).status, 200);
    eventually("it is refreshed", || server.get(&format!("/1.0/images/{new}")).status == 200);
    eventually("it has the name", || aliases(&image(&server, &new)) == ["lxd"]);
    eventually("the old one goes", || server.get(&format!("/1.0/images/{old}")).status == 404);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(aliases(&image(&server, &other)), ["simplestreams"], "nobody wants this one to be");
}

/// What one has published keeps nobody from having it too, or from following it.
#[test]
fn each_owner_has_copies_of_its_own() {
    let from = Server::start();
    let lab = Lab::configured("[fetch]\nallow = [\"127.0.0.1/32\"]\n");
    let (alice, bob) = (lab.trusted(&lab.alice), lab.trusted(&lab.bob));
    let follow = |client: &Client, name: &str| {
        let source = json!({ "type": "image", "server": format!("http://{}", from.address()), "alias": "os/x" });
        let body = json!({ "source": source, "public": true, "auto_update": true, "aliases": [{ "name": name }] });
        let ended = client.ended(&client.send("POST", "/1.0/images", &body));
        assert_eq!(ended["status_code"], 200, "{ended}");
    };
    let old = publish(&from, &container("old"));
    follow(&alice, "hers");
    let new = publish(&from, &container("new"));
    follow(&bob, "his");
    let refreshed = alice.ended(&alice.send("POST", &format!("/1.0/images/{old}/refresh"), &Value::Null));
    assert_eq!((&refreshed["status_code"], &refreshed["metadata"]["refreshed"]), (&json!(200), &json!(true)));
    for (client, name) in [(&alice, "hers"), (&bob, "his")] {
        let own = client.read(&format!("/1.0/images/{new}"));
        assert_eq!((aliases(&own), &own["auto_update"]), (vec![name], &json!(true)));
        assert_eq!(client.read(&format!("/1.0/images/aliases/{name}"))["target"], new);
    }
    // By one name there is one, for everybody.
    for client in [&alice, &bob] {
        assert_eq!(client.read("/1.0/images"), json!([format!("/1.0/images/{new}")]));
    }
    // Each may end its own, and the other's stays.
    assert_eq!(bob.ended(&bob.delete(&format!("/1.0/images/{new}")))["status_code"], 200);
    assert_eq!(aliases(&alice.read(&format!("/1.0/images/{new}"))), ["hers"]);
    assert_eq!(alice.get(&format!("/1.0/images/{new}/export")).body, container("new"));
}
