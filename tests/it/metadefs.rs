//! Metadata definitions over HTTP.

use serde_json::{Value, json};

use crate::harness::{Answer, Server, run};
use crate::identity::{account, token};

const ALL: &str = "/v2/metadefs/namespaces";

/// Requests of one caller.
struct Caller<'a> {
    server: &'a Server,
    token: String,
}

impl Caller<'_> {
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("Accept", "application/json"), ("X-Auth-Token", self.token.as_str())];
        all.extend(headers);
        let answer = self.server.send(method, path, &all, body.as_bytes());
        assert!(answer.header("x-openstack-request-id").is_some_and(|id| id.starts_with("req-")), "{answer:?}");
        answer
    }

    /// Sends something, and expects this status.
    fn put(&self, status: u16, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(method, path, &[], &body.to_string());
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        answer.json()
    }

    fn post(&self, status: u16, path: &str, body: Value) -> Value {
        self.put(status, "POST", path, &body)
    }

    fn get(&self, status: u16, path: &str) -> Value {
        let answer = self.send("GET", path, &[], "");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        answer.json()
    }

    fn delete(&self, status: u16, path: &str) {
        let answer = self.send("DELETE", path, &[], "");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.body.is_empty(), status == 204);
    }

    /// What the namespaces of a list are called.
    fn names(&self, query: &str) -> Vec<String> {
        let list = self.get(200, &format!("{ALL}{query}"));
        list["namespaces"].as_array().unwrap().iter().map(|one| one["namespace"].as_str().unwrap().to_owned()).collect()
    }
}

/// On a server without accounts everybody is its administrator.
fn anybody(server: &Server) -> Caller<'_> {
    Caller { server, token: "any".into() }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn flavor() -> Value {
    json!({
        "namespace": "OS::Lab::Flavor",
        "display_name": "Flavors",
        "description": "What a flavor may say",
        "visibility": "public",
        "resource_type_associations": [{ "name": "OS::Nova::Flavor", "prefix": "lab:" }, { "name": "OS::Glance::Image" }],
        "properties": {
            "cores": { "title": "Cores", "type": "integer", "minimum": 1, "maximum": 64, "default": 2 },
            "disk": { "name": "disk", "title": "Disk", "type": "string", "enum": ["hdd", "ssd"], "operators": ["<or>"] },
        },
        "objects": [{
            "name": "Quota & more",
            "required": ["cpu"],
            "properties": { "cpu": { "title": "Shares", "type": "integer" } },
        }],
        "tags": [{ "name": "fast" }],
    })
}

#[test]
fn a_namespace_comes_with_all_that_it_has() {
    let server = Server::start();
    let who = anybody(&server);
    let made = who.send("POST", ALL, &[], &flavor().to_string());
    assert_eq!(made.status, 201, "{made:?}");
    let here = "/v2/metadefs/namespaces/OS::Lab::Flavor";
    assert_eq!(made.header("location").unwrap(), format!("http://{}{here}", server.address()));
    let shown = who.get(200, "/v2/metadefs/namespaces/OS%3A%3ALab%3A%3AFlavor");
    assert_eq!(shown, made.json());
    assert_eq!((&shown["self"], &shown["schema"]), (&json!(here), &json!("/v2/schemas/metadefs/namespace")));
    assert_eq!((&shown["protected"], shown.get("owner")), (&json!(false), None));
    assert_eq!(shown["properties"]["cores"], flavor()["properties"]["cores"], "as it came");
    assert_eq!(shown["properties"]["disk"].get("name"), None, "which stands before it");
    assert_eq!(shown["objects"][0]["self"], format!("{here}/objects/Quota%20%26%20more"));
    assert_eq!(shown["objects"][0]["properties"], flavor()["objects"][0]["properties"]);
    assert_eq!(shown["tags"], json!([{ "name": "fast" }]));
    assert_eq!(shown["resource_type_associations"][1]["prefix"], "lab:");
    assert!(shown["created_at"].as_str().unwrap().ends_with('Z'));

    let prefixed = who.get(200, &format!("{here}?resource_type=OS::Nova::Flavor"));
    assert_eq!(keys(&prefixed["properties"]), ["lab:cores", "lab:disk"]);
    assert_eq!(
        (&prefixed["objects"][0]["required"][0], keys(&prefixed["objects"][0]["properties"])),
        (&json!("lab:cpu"), vec!["lab:cpu"])
    );
    assert_eq!(who.get(200, &format!("{here}?resource_type=OS::Glance::Image"))["properties"], shown["properties"]);
    let own = who.get(200, &format!("{here}/properties/lab:cores?resource_type=OS::Nova::Flavor"));
    assert_eq!(own["name"], "cores");
    who.get(404, &format!("{here}/properties/cores?resource_type=OS::Nova::Flavor"));

    // A namespace that was read may be made again, under another name.
    let mut again = shown.clone();
    ["self", "schema", "created_at", "updated_at"]
        .iter()
        .for_each(|name| _ = again.as_object_mut().unwrap().remove(*name));
    again["namespace"] = json!("OS::Lab::Copy");
    assert_eq!(who.post(201, ALL, again)["objects"][0]["properties"], shown["objects"][0]["properties"]);
}

#[test]
fn a_namespace_is_changed_renamed_and_deleted() {
    let server = Server::start();
    let who = anybody(&server);
    who.post(201, ALL, flavor());
    who.post(409, ALL, flavor());
    who.post(201, ALL, json!({ "namespace": "other" }));
    let here = format!("{ALL}/OS::Lab::Flavor");
    who.put(409, "PUT", &here, &json!({ "namespace": "other" }));
    who.put(404, "PUT", &format!("{ALL}/none"), &json!({ "namespace": "none" }));
    who.put(403, "PUT", &here, &json!({ "namespace": "a", "created_at": "2020-01-01T00:00:00Z" }));
    // Members that come along are passed over.
    let change = json!({ "namespace": "New Name", "protected": true, "tags": [{ "name": "lost" }], "objects": [] });
    let changed = who.put(200, "PUT", &here, &change);
    assert_eq!((&changed["namespace"], &changed["visibility"]), (&json!("New Name"), &json!("private")));
    assert_eq!((changed.get("display_name"), changed.get("tags")), (None, None));
    who.get(404, &here);
    let here = format!("{ALL}/New%20Name");
    let shown = who.get(200, &here);
    assert_eq!((&shown["tags"][0]["name"], shown["objects"].as_array().unwrap().len()), (&json!("fast"), 1));
    for path in [
        "",
        "/objects/Quota%20&%20more",
        "/objects",
        "/properties",
        "/tags/fast",
        "/tags",
        "/resource_types/OS::Glance::Image",
    ] {
        who.delete(403, &format!("{here}{path}"));
    }
    who.post(403, &format!("{here}/tags"), json!({ "tags": [] }));
    assert_eq!(who.get(200, &here), shown);
    who.put(200, "PUT", &here, &json!({ "namespace": "New Name" }));
    who.delete(204, &here);
    who.delete(404, &here);
    assert_eq!(who.names(""), ["other"]);
}

#[test]
fn lists_have_pages_filters_and_an_order() {
    let server = Server::start();
    let who = anybody(&server);
    for (name, visibility, resource_type) in [("a", "public", "X"), ("c", "private", "Y"), ("b::d", "public", "Z")] {
        let types = json!([{ "name": resource_type }]);
        who.post(201, ALL, json!({ "namespace": name, "visibility": visibility, "resource_type_associations": types }));
    }
    assert_eq!(who.names(""), ["b::d", "c", "a"], "newest first");
    assert_eq!(who.names("?sort_key=namespace&sort_dir=asc"), ["a", "b::d", "c"]);
    assert_eq!(who.names("?visibility=public&sort_dir=asc"), ["a", "b::d"]);
    assert_eq!(who.names("?resource_types=X,Y&sort_dir=asc"), ["a", "c"]);
    assert_eq!(who.names("?resource_types=Q"), [""; 0]);
    assert_eq!(who.names("?limit=0"), [""; 0]);
    let first = who.get(200, &format!("{ALL}?visibility=public&sort_key=namespace&limit=1"));
    assert_eq!(first["first"], "/v2/metadefs/namespaces?visibility=public&sort_key=namespace&limit=1");
    assert_eq!(first["schema"], "/v2/schemas/metadefs/namespaces");
    assert_eq!(first["namespaces"][0]["resource_type_associations"][0]["name"], "Z");
    assert_eq!(first["next"], "/v2/metadefs/namespaces?visibility=public&sort_key=namespace&limit=1&marker=b%3A%3Ad");
    let second = who.get(200, first["next"].as_str().unwrap());
    assert_eq!((&second["namespaces"][0]["namespace"], &second["first"]), (&json!("a"), &first["first"]));
    let third = who.get(200, second["next"].as_str().unwrap());
    assert_eq!((third["namespaces"].as_array().unwrap().len(), third.get("next")), (0, None));
    who.get(404, &format!("{ALL}?marker=none"));
    for bad in ["limit=-1", "limit=x", "sort_key=size", "sort_dir=up", "visibility=shared"] {
        who.get(400, &format!("{ALL}?{bad}"));
    }
    let types = who.get(200, "/v2/metadefs/resource_types");
    let types: Vec<&str> =
        types["resource_types"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(types, ["X", "Y", "Z"]);
}

#[test]
fn members_come_and_go_alike() {
    let server = Server::start();
    let who = anybody(&server);
    who.post(201, ALL, json!({ "namespace": "n" }));
    let here = |path: &str| format!("{ALL}/n/{path}");
    let property = json!({ "name": "p:q", "title": "t", "type": "number", "default": { "a": [1] } });
    let object =
        json!({ "name": "an object", "description": "d", "properties": { "x": { "title": "t", "type": "array" } } });
    for (many, member, name) in [("properties", &property, "p%3Aq"), ("objects", &object, "an%20object")] {
        let made = who.post(201, &here(many), member.clone());
        for (name, value) in member.as_object().unwrap() {
            assert_eq!(&made[name], value);
        }
        who.post(409, &here(many), member.clone());
        assert_eq!(who.get(200, &here(&format!("{many}/{name}"))), made);
        let mut other = member.clone();
        other["name"] = json!("other");
        who.post(201, &here(many), other.clone());
        who.put(409, "PUT", &here(&format!("{many}/{name}")), &other);
        other["name"] = json!("renamed");
        other["description"] = json!("changed");
        let changed = who.put(200, "PUT", &here(&format!("{many}/{name}")), &other);
        assert_eq!((&changed["description"], &changed["name"]), (&json!("changed"), &json!("renamed")));
        who.get(404, &here(&format!("{many}/{name}")));
        who.put(404, "PUT", &here(&format!("{many}/{name}")), member);
        who.delete(204, &here(&format!("{many}/renamed")));
        who.delete(404, &here(&format!("{many}/renamed")));
        assert!(who.get(200, &here(many)).to_string().contains("other"));
        who.delete(204, &here(many));
        let left = &who.get(200, &here(many))[many];
        assert!(*left == json!([]) || *left == json!({}), "{left}");
        who.get(404, &format!("{ALL}/none/{many}"));
        who.post(404, &format!("{ALL}/none/{many}"), member.clone());
    }
    let association = json!({ "name": "OS::A", "prefix": "a_", "properties_target": "image" });
    assert_eq!(who.post(201, &here("resource_types"), association.clone())["properties_target"], "image");
    who.post(409, &here("resource_types"), association);
    assert_eq!(who.get(200, &here("resource_types"))["resource_type_associations"][0]["prefix"], "a_");
    who.delete(204, &here("resource_types/OS%3A%3AA"));
    who.delete(404, &here("resource_types/OS%3A%3AA"));
    assert_eq!(who.get(200, "/v2/metadefs/resource_types"), json!({ "resource_types": [] }));
}

#[test]
fn tags_are_replaced_or_appended() {
    let server = Server::start();
    let who = anybody(&server);
    who.post(201, ALL, json!({ "namespace": "n" }));
    let tags = format!("{ALL}/n/tags");
    let names = |query: &str| {
        let list = who.get(200, &format!("{tags}{query}"));
        list["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let list = |names: &[&str]| json!({ "tags": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() });
    assert_eq!(who.post(201, &tags, list(&["b", "a"])), list(&["b", "a"]));
    assert_eq!(names(""), ["a", "b"]);
    let append = who.send("POST", &tags, &[("X-Openstack-Append", "True")], &list(&["c/d"]).to_string());
    assert_eq!(append.status, 201);
    assert_eq!(who.send("POST", &tags, &[("X-Openstack-Append", "True")], &list(&["e", "a"]).to_string()).status, 409);
    assert_eq!(names("?sort_key=name&sort_dir=asc"), ["a", "b", "c/d"], "all or none");
    assert_eq!(names("?limit=1&marker=b&sort_key=name&sort_dir=asc"), ["c/d"]);
    assert_eq!(who.get(200, &format!("{tags}/c%2Fd"))["name"], "c/d");
    let made = who.send("POST", &format!("{tags}/x%20y"), &[], "");
    assert_eq!((made.status, &made.json()["name"]), (201, &json!("x y")));
    assert_eq!(who.send("POST", &format!("{tags}/a"), &[], "").status, 409);
    who.put(409, "PUT", &format!("{tags}/a"), &json!({ "name": "b" }));
    assert_eq!(who.put(200, "PUT", &format!("{tags}/a"), &json!({ "name": "z" }))["name"], "z");
    who.delete(204, &format!("{tags}/z"));
    who.post(409, &tags, list(&["q", "q"]));
    assert_eq!(names("?sort_key=name&sort_dir=asc"), ["b", "c/d", "x y"]);
    who.post(201, &tags, list(&["q"]));
    assert_eq!(names(""), ["q"]);
    who.delete(204, &tags);
    assert_eq!(names(""), [""; 0]);
}

#[test]
fn only_administrators_write_and_others_see_what_is_public_or_theirs() {
    let server = Server::start();
    let [alice, bob, root] = [("alice", &[][..]), ("bob", &[]), ("root", &["--admin"])]
        .map(|(name, arguments)| (name, account(&server, name, arguments)))
        .map(|(name, secret)| Caller { server: &server, token: token(&server, name, &secret) });
    let make = |name: &str, visibility: &str, owner: Option<&str>| {
        let mut body = json!({ "namespace": name, "visibility": visibility, "tags": [{ "name": "t" }] });
        body["resource_type_associations"] = json!([{ "name": format!("for {name}") }]);
        if let Some(owner) = owner {
            body["owner"] = json!(owner);
        }
        root.post(201, ALL, body)
    };
    assert_eq!(make("open", "public", None)["owner"], "root");
    make("alices", "private", Some("alice"));
    make("roots", "private", None);
    let by_name = "?sort_key=namespace&sort_dir=asc";
    assert_eq!(root.names(by_name), ["alices", "open", "roots"]);
    assert_eq!(alice.names(by_name), ["alices", "open"]);
    assert_eq!(bob.names(by_name), ["open"]);
    assert_eq!(bob.get(200, "/v2/metadefs/resource_types")["resource_types"].as_array().unwrap().len(), 1);
    bob.get(404, &format!("{ALL}?marker=alices"));
    let (unseen, nowhere) = (bob.get(404, &format!("{ALL}/alices")), bob.get(404, &format!("{ALL}/nosuch")));
    assert_eq!(unseen["message"].as_str().unwrap().replace("alices", "nosuch"), nowhere["message"].as_str().unwrap());
    bob.get(404, &format!("{ALL}/alices/tags/t"));
    bob.delete(404, &format!("{ALL}/alices/tags/t"));
    alice.get(200, &format!("{ALL}/alices/tags/t"));
    alice.post(403, ALL, json!({ "namespace": "mine" }));
    for (method, path, body) in [
        ("PUT", "alices", json!({ "namespace": "alices" })),
        ("PUT", "open/tags/t", json!({ "name": "u" })),
        ("POST", "open/tags", json!({ "tags": [] })),
        ("POST", "open/objects", json!({ "name": "o" })),
        ("POST", "open/resource_types", json!({ "name": "r" })),
    ] {
        alice.put(403, method, &format!("{ALL}/{path}"), &body);
    }
    for path in ["alices", "open/tags", "open/tags/t", "open/resource_types/for%20open"] {
        alice.delete(403, &format!("{ALL}/{path}"));
    }
    let nobody = Caller { server: &server, token: "wrong".into() };
    nobody.get(401, ALL);
    nobody.post(401, ALL, json!({ "namespace": "x" }));
    assert_eq!(root.names(by_name).len(), 3);
}

#[test]
fn what_does_not_fit_the_schemas_is_refused() {
    let server = Server::start();
    let who = anybody(&server);
    who.post(201, ALL, json!({ "namespace": "n" }));
    let long = "x".repeat(81);
    let bad_property = json!({ "name": "p", "title": "t", "type": "text" });
    for (path, body) in [
        ("", json!([])),
        ("", json!({})),
        ("", json!({ "namespace": 1 })),
        ("", json!({ "namespace": "" })),
        ("", json!({ "namespace": long })),
        ("", json!({ "namespace": "a", "display_name": long })),
        ("", json!({ "namespace": "a", "description": "x".repeat(501) })),
        ("", json!({ "namespace": "a", "visibility": "shared" })),
        ("", json!({ "namespace": "a", "protected": "yes" })),
        ("", json!({ "namespace": "a", "color": "red" })),
        ("", json!({ "namespace": "a", "tags": ["t"] })),
        ("", json!({ "namespace": "a", "tags": {} })),
        ("", json!({ "namespace": "a", "properties": [] })),
        ("", json!({ "namespace": "a", "properties": { "p": { "type": "string" } } })),
        ("", json!({ "namespace": "a", "objects": [{ "name": "o", "properties": { "p": bad_property } }] })),
        ("/n/properties", bad_property.clone()),
        ("/n/properties", json!({ "name": "p", "title": "t", "type": "string", "maxLength": -1 })),
        ("/n/properties", json!({ "name": long, "title": "t", "type": "string" })),
        ("/n/properties", json!({ "title": "t", "type": "string" })),
        ("/n/objects", json!({ "name": "o", "required": "p" })),
        ("/n/tags", json!({ "tags": [{ "name": "t", "color": "red" }] })),
        ("/n/tags", json!({ "tags": [], "more": 1 })),
        ("/n/resource_types", json!({ "name": "r", "prefix": long })),
    ] {
        let refused = who.post(400, &format!("{ALL}{path}"), body.clone());
        assert!(refused["message"].as_str().unwrap().len() < 400, "{body}: {refused}");
    }
    for (path, body) in [("", "{"), ("", ""), ("/n/tags", "\"x\"")] {
        assert_eq!(who.send("POST", &format!("{ALL}{path}"), &[], body).status, 400, "{path} {body}");
    }
    who.post(403, ALL, json!({ "namespace": "a", "self": "/x" }));
    assert_eq!(who.send("POST", ALL, &[], &"x".repeat((1 << 20) + 1)).status, 413);
    assert_eq!(who.get(200, &format!("{ALL}/n")).get("properties"), None);
    assert_eq!(who.names(""), ["n"]);
}

#[test]
fn schemas_are_served_and_other_methods_refused() {
    let server = Server::start();
    let who = anybody(&server);
    for (name, own) in [
        ("namespace", "namespace"),
        ("namespaces", "namespaces"),
        ("resource_type", "resource_type_association"),
        ("resource_types", "resource_type_associations"),
        ("property", "property"),
        ("properties", "properties"),
        ("object", "object"),
        ("objects", "objects"),
        ("tag", "tag"),
        ("tags", "tags"),
    ] {
        let schema = who.get(200, &format!("/v2/schemas/metadefs/{name}"));
        assert_eq!(schema["name"], own);
        assert!(!keys(&schema["properties"]).is_empty());
    }
    who.post(201, ALL, flavor());
    let here = format!("{ALL}/OS::Lab::Flavor");
    for (path, allow) in [
        (ALL.to_owned(), "GET, POST"),
        (here.clone(), "GET, PUT, DELETE"),
        (format!("{here}/tags/t"), "GET, POST, PUT, DELETE"),
        (format!("{here}/resource_types"), "GET, POST"),
        ("/v2/metadefs/resource_types".to_owned(), "GET"),
    ] {
        let answer = who.send("PATCH", &path, &[], "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
    }
}

#[test]
fn definitions_survive_a_kill_and_a_damaged_file_is_left_alone() {
    let server = Server::start();
    let who = anybody(&server);
    who.post(201, ALL, flavor());
    let shown = who.get(200, &format!("{ALL}/OS::Lab::Flavor"));
    let (dir, temp) = (server.dir.clone(), server.kill());
    let server = Server::on(&dir, &[]);
    assert_eq!(anybody(&server).get(200, &format!("{ALL}/OS::Lab::Flavor")), shown);
    drop(server);
    let file = dir.join("catalog/metadefs.json");
    std::fs::write(&file, "{\"format\":1,").unwrap();
    let (code, _, said) = run(&["serve", "--listen", "127.0.0.1:0", "--no-tls", "--data-dir", dir.to_str().unwrap()]);
    assert_ne!(code, 0);
    assert!(said.contains("metadefs.json") && said.contains("backup"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"format\":1,");
    drop(temp);
}
