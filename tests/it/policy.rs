//! The policy over HTTP: each row of the table, asked through each protocol that has it, by every kind of caller.
//!
//! The images are alice's. Carol is a member of them, bob knows nothing of them, and root is an administrator. A page is a
//! request with alice's rights that a foreign web page made. Rows are checked to be complete: one without a case fails.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use visor::registry::policy::{Action, ROWS, Who};

use crate::auth::Account;
use crate::bucket::Bucket;
use crate::bundles::container;
use crate::harness::{Answer, Server, run};
use crate::policy_cases::{CASES, Case, Fixture, Protocol};
use crate::secure::{Client, Identity, Lab};

/// A caller, in the order of the columns.
struct Person {
    name: &'static str,
    account: Option<Account>,
    token: Option<String>,
    client: Client,
    /// Fingerprint of its certificate.
    fingerprint: String,
}

/// A server, the callers, and what the cases are about.
struct Bench {
    lab: Lab,
    _bucket: Bucket,
    lent: tempfile::TempDir,
    people: Vec<Person>,
    made: Option<(Fixture, Vec<(&'static str, String)>)>,
    count: usize,
    published: String,
}

/// A page that the operator lists.
const LISTED: &str = "https://horizon.example";

fn person(lab: &Lab, name: &'static str, keys: Option<&str>) -> Person {
    let Some((access_key, secret)) = keys.and_then(|keys| keys.split_once(':')) else {
        return Person { name, account: None, token: None, client: lab.stranger(), fingerprint: "none".to_owned() };
    };
    let account = Account { key: access_key.to_owned(), secret: secret.to_owned() };
    let token = crate::identity::token(&lab.server, access_key, secret);
    let mut person =
        Person { name, account: Some(account), token: Some(token), client: lab.stranger(), fingerprint: String::new() };
    person.log_in(lab);
    person
}

impl Person {
    /// Has a new certificate trusted, if it has an account.
    fn log_in(&mut self, lab: &Lab) {
        if let Some(account) = &self.account {
            let (client, identity) = lab.newcomer("laptop");
            client.log_in(&format!("{}:{}", account.key, account.secret));
            (self.client, self.fingerprint) = (client, identity.fingerprint);
        }
    }
}

impl Bench {
    fn new() -> Self {
        let (bucket, lent) = (Bucket::start(), tempfile::tempdir().unwrap());
        std::fs::write(lent.path().join("lent.img"), b"lent").unwrap();
        let more = format!(
            "[server]\ncors = [{LISTED:?}]\n[stores.file]\nimport_dirs = [{:?}]\n[auth]\npublic_read = true\n",
            lent.path().to_str().unwrap()
        );
        let lab = Lab::configured(&bucket.configuration(&more));
        let carol = lab.server.account("carol", &[]);
        let carol = format!("carol:{}", carol["secret_key"].as_str().unwrap());
        let people = vec![
            person(&lab, "nobody", None),
            person(&lab, "a stranger", Some(&lab.bob)),
            person(&lab, "a member", Some(&carol)),
            person(&lab, "the owner", Some(&lab.alice)),
            person(&lab, "an administrator", Some(&lab.root)),
        ];
        let published = people[3].client.import(&container("public"), &[("X-LXD-public", "1")]);
        Self { lab, _bucket: bucket, lent, people, made: None, count: 0, published }
    }

    fn owner(&self) -> &Person {
        &self.people[3]
    }

    /// Glance's answer to the owner, or to the member.
    fn glance(&self, who: usize, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        let token = self.people[who].token.as_deref().unwrap();
        let headers = [("X-Auth-Token", token), ("Content-Type", content_type)];
        let answer = self.lab.server.send(method, path, &headers, body.as_bytes());
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer
    }

    fn share(&self, id: &str) {
        let json = "application/json";
        self.glance(3, "POST", &format!("/v2/images/{id}/members"), json, r#"{"member":"carol"}"#);
        self.glance(2, "PUT", &format!("/v2/images/{id}/members/carol"), json, r#"{"status":"accepted"}"#);
    }

    /// What a case is about, as alice made it. Names for the paths and bodies of the case.
    fn make(&mut self, fixture: Fixture) -> Vec<(&'static str, String)> {
        if let Some((_, names)) = self.made.as_ref().filter(|(made, _)| *made == fixture) {
            return names.clone();
        }
        self.count += 1;
        let n = self.count;
        let names = match fixture {
            Fixture::Nothing => Vec::new(),
            Fixture::Queued | Fixture::Filled | Fixture::Withheld => {
                let said = json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }).to_string();
                let made = self.glance(3, "POST", "/v2/images", "application/json", &said).json();
                let path = format!("/v2/images/{}", made["id"].as_str().unwrap());
                if fixture != Fixture::Queued {
                    self.glance(3, "PUT", &format!("{path}/file"), "application/octet-stream", "bytes");
                }
                let id = made["id"].as_str().unwrap().to_owned();
                self.share(&id);
                if fixture == Fixture::Withheld {
                    self.glance(3, "POST", &format!("{path}/actions/deactivate"), "application/json", "");
                }
                vec![("id", id)]
            }
            Fixture::Bundle => {
                let (alias, bytes) = (format!("alias-{n}"), container(&format!("os {n}")));
                let aliases = format!("alias={alias}");
                let fingerprint = self.owner().client.import(&bytes, &[("X-Incus-aliases", &aliases)]);
                let listed = self.glance(3, "GET", "/v2/images?limit=1&sort=created_at:desc", "a/b", "").json();
                let id = listed["images"][0]["id"].as_str().unwrap().to_owned();
                let shared = json!([{ "op": "replace", "path": "/visibility", "value": "shared" }]).to_string();
                let patch = "application/openstack-images-v2.1-json-patch";
                self.glance(3, "PATCH", &format!("/v2/images/{id}"), patch, &shared);
                self.share(&id);
                let secret =
                    self.owner().client.send("POST", &format!("/1.0/images/{fingerprint}/secret"), &Value::Null);
                let secret = secret.json()["metadata"]["metadata"]["secret"].as_str().unwrap().to_owned();
                vec![("id", id), ("fingerprint", fingerprint), ("alias", alias), ("secret", secret)]
            }
            Fixture::Job => {
                let awaited = json!({ "source": { "type": "image", "mode": "push", "fingerprint": "0".repeat(64) } });
                let begun = self.owner().client.send("POST", "/1.0/images", &awaited);
                vec![("job", begun.json()["operation"].as_str().unwrap().to_owned())]
            }
            Fixture::Import => {
                let id = self.make(Fixture::Queued).remove(0).1;
                self.glance(3, "PUT", &format!("/v2/images/{id}/stage"), "application/octet-stream", "bytes");
                let staged = json!({ "method": { "name": "glance-direct" } }).to_string();
                self.glance(3, "POST", &format!("/v2/images/{id}/import"), "application/json", &staged);
                let tasks = self.glance(3, "GET", &format!("/v2/images/{id}/tasks"), "a/b", "").json();
                let job = tasks["tasks"][0]["id"].as_str().unwrap().to_owned();
                let wait = format!("/jobs/{job}?wait=60s");
                let owner = self.owner().account.as_ref().unwrap();
                let ended = owner.send(&self.lab.server, "GET", &wait, &[], b"").json();
                assert_eq!(ended["job"]["status"], "done", "{ended}");
                vec![("import", job)]
            }
            Fixture::Certificate => {
                let keys = self.lab.alice.clone();
                let (client, identity) = self.lab.newcomer("phone");
                client.log_in(&keys);
                vec![("certificate", identity.fingerprint)]
            }
            Fixture::Namespace => vec![("namespace", format!("n{n}"))],
        };
        self.made = Some((fixture, names.clone()));
        names
    }

    fn fill(&self, text: &str, names: &[(&'static str, String)]) -> String {
        let mut text = text.to_owned();
        for (name, value) in names {
            text = text.replace(&format!("<{name}>"), value);
        }
        if text.contains("<pem>") {
            text = text.replace("<pem>", &Identity::new("another").pem.replace('\n', "\\n"));
        }
        if text.contains("<der>") {
            text = text.replace("<der>", &STANDARD.encode(Identity::new("another").der));
        }
        let (_, secret) = self.lab.alice.split_once(':').unwrap();
        let token = self.owner().token.as_deref().unwrap();
        let lent = self.lent.path().join("lent.img").to_str().unwrap().to_owned();
        text.replace("<published>", &self.published)
            .replace("<alice's keys>", &self.lab.alice)
            .replace("<alice's secret>", secret)
            .replace("<alice's token>", token)
            .replace("<lent>", &lent)
    }

    fn send(&self, who: &Person, case: &Case, names: &[(&'static str, String)], page: Option<&str>) -> Answer {
        let own = [names, &[("own", who.fingerprint.clone())]].concat();
        let (path, body) = (self.fill(case.path, &own), self.fill(case.body, &own));
        let headers: Vec<(&str, String)> =
            case.headers.iter().map(|(name, value)| (*name, self.fill(value, names))).collect();
        let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Some(origin) = page {
            headers.extend([("Origin", origin), ("Sec-Fetch-Site", "cross-site")]);
        }
        let server = &self.lab.server;
        let body = if body == "<bundle>" { container(&format!("new {}", who.name)) } else { body.into_bytes() };
        match (case.protocol, &who.account, &who.token) {
            (Protocol::Visor, Some(account), _) => account.send(server, case.method, &path, &headers, &body),
            (Protocol::GlanceV1 | Protocol::GlanceV2 | Protocol::Identity, _, Some(token)) => {
                headers.push(("X-Auth-Token", token));
                server.send(case.method, &path, &headers, &body)
            }
            (Protocol::Simplestreams | Protocol::Cache, Some(account), _) => {
                let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", account.key, account.secret)));
                headers.push(("Authorization", &basic));
                server.send(case.method, &path, &headers, &body)
            }
            (Protocol::Lxd, ..) => {
                headers.push(("User-Agent", "LXD 5.0.2 (Linux; x86_64)"));
                who.client.raw(case.method, &path, &headers, &body)
            }
            _ => server.send(case.method, &path, &headers, &body),
        }
    }

    /// Lets alice only read, or change things again.
    fn let_owner_only_read(&self, read_only: bool) {
        let change = json!({ "user": { "read_only": read_only } }).to_string();
        let root = self.people[4].account.as_ref().unwrap();
        let json = ("Content-Type", "application/json");
        let changed = root.send(&self.lab.server, "PUT", "/users/alice", &[json], change.as_bytes());
        assert_eq!(changed.status, 200, "{changed:?}");
    }

    /// Asks one case as the owner whose account may only read. Reading is as before; every change is refused with a reason
    /// that says so, whatever else there is against it.
    fn check_reader(&mut self, case: &Case, wrong: &mut Vec<String>) {
        let names = self.make(case.fixture);
        self.let_owner_only_read(true);
        let answer = self.send(&self.people[3], case, &names, None);
        self.let_owner_only_read(false);
        let (status, code) = (answer.status, answer.header("x-visor-error").unwrap_or_default());
        // An action that is closed to every request is so for readers.
        let right = match case.action.only_reads() || case.action.row().who == Who::Closed {
            true => status == case.expected[3],
            false => (status, code) == (403, "read-only-account"),
        };
        if !right {
            let what = format!("{} by {:?}: {} {}", case.action.name(), case.protocol, case.method, case.path);
            wrong.push(format!("{what} as a reader: {status} {code}: {}", String::from_utf8_lossy(&answer.body)));
        }
        self.settle(case, 3, status);
    }

    /// Makes anew what a request that was done has used up.
    fn settle(&mut self, case: &Case, who: usize, status: u16) {
        if status < 300 && case.method != "GET" {
            self.made = None;
        }
        if status < 300 && case.action == Action::RenewCertificate {
            self.people[who].log_in(&self.lab);
        }
    }

    /// Asks one case as every caller, and says what was otherwise than expected.
    fn check(&mut self, case: &Case, wrong: &mut Vec<String>) {
        let what = format!("{} by {:?}: {} {}", case.action.name(), case.protocol, case.method, case.path);
        // A page that the operator lists has the rights of the token or the signature that it sends, and not of the certificate that
        // its user's browser shows.
        let of_page = case.expected[if case.protocol == Protocol::Lxd { 0 } else { 3 }];
        let asked = case.expected.into_iter().enumerate().map(|(at, expected)| (at, None, expected));
        for (at, page, expected) in asked.chain([(3, Some(LISTED), of_page)]) {
            let names = self.make(case.fixture);
            let answer = self.send(&self.people[at], case, &names, page);
            if page.is_some() && answer.header("access-control-allow-origin") != page {
                wrong.push(format!("{what} from a listed page can't be read: {answer:?}"));
            }
            if answer.status != expected {
                wrong.push(format!(
                    "{what} as {} from {page:?}: {} and not {expected}: {}",
                    self.people[at].name,
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                ));
            }
            self.settle(case, at, answer.status);
        }
        let names = self.make(case.fixture);
        let answer = self.send(&self.people[3], case, &names, Some("http://evil.example"));
        if answer.status != 403 {
            wrong.push(format!("{what} as a web page: {}", answer.status));
        }
    }
}

#[test]
fn every_row_holds_in_every_protocol_for_every_caller() {
    let mut bench = Bench::new();
    let mut wrong = Vec::new();
    for case in CASES {
        bench.check_reader(case, &mut wrong);
        bench.check(case, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_row_is_without_a_case() {
    let asked: BTreeSet<Action> = CASES.iter().map(|case| case.action).collect();
    let missing: Vec<_> = Action::ALL.iter().filter(|action| !asked.contains(action)).collect();
    assert!(missing.is_empty(), "no request asks for {missing:?}");
}

/// What the cases expect of who may is what the table says, as far as it can be told from statuses: an action that is the
/// owner's is refused to strangers and members.
#[test]
fn cases_agree_with_the_table() {
    let done = |status: u16| !matches!(status, 401 | 403 | 404);
    for case in CASES {
        let open = case.expected.map(done);
        let allowed = match case.action.row().who {
            Who::Everybody | Who::Readers | Who::Proof => [true; 5],
            Who::Accounts => [false, true, true, true, true],
            Who::Viewers => [false, false, true, true, true],
            Who::Member => [false, false, true, false, true],
            Who::Owner | Who::Publisher | Who::Holder | Who::Sharers => [false, false, false, true, true],
            Who::Admins => [false, false, false, false, true],
            Who::Closed => [false; 5],
        };
        let columns = open.iter().zip(allowed);
        if !case.unlike_the_row {
            assert!(columns.clone().all(|(open, allowed)| !open || allowed), "{case:?}: {open:?} and {allowed:?}");
            assert!(columns.clone().all(|(open, allowed)| *open || !allowed), "{case:?}: {open:?} and {allowed:?}");
        }
    }
}

/// With `auth.publish = "admin"` the four protocols refuse an owner in their own ways, and VISOR's new images are private.
#[test]
fn where_only_administrators_publish_no_protocol_does_it_for_an_owner() {
    let lab = Lab::configured("[auth]\npublish = \"admin\"\n");
    let (alice, root) = (person(&lab, "alice", Some(&lab.alice)), person(&lab, "root", Some(&lab.root)));
    let new = [("X-Image-Meta-Name", "a"), ("X-Image-Meta-Architecture", "x86_64")];
    let visor = |who: &Person, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]| {
        who.account.as_ref().unwrap().send(&lab.server, method, path, &[&new, more].concat(), body)
    };
    let access = |answer: Answer| answer.json()["image"]["access"].as_str().map(ToOwned::to_owned);
    let open = ("X-Image-Meta-Access", "public");
    for (who, expected) in [(&alice, "private"), (&root, "public")] {
        assert_eq!(access(visor(who, "POST", "/images", &[], b"")).as_deref(), Some(expected));
        assert_eq!(
            access(visor(who, "POST", "/images", &[("X-Image-Meta-Access", "")], b"")).as_deref(),
            Some(expected)
        );
        let octets = ("Content-Type", "application/octet-stream");
        assert_eq!(access(visor(who, "POST", "/images", &[octets], b"bytes")).as_deref(), Some(expected));
        let boundary = ("Content-Type", "multipart/form-data; boundary=b");
        let form = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nbytes\r\n--b--\r\n";
        assert_eq!(access(visor(who, "POST", "/images", &[boundary], form)).as_deref(), Some(expected));
    }
    let made = visor(&alice, "POST", "/images", &[], b"").json();
    let id = made["image"]["_id"].as_str().unwrap();
    assert_eq!(visor(&alice, "POST", "/images", &[open], b"").status, 403);
    let refused = visor(&alice, "PUT", &format!("/images/{id}"), &[open], b"");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["message"], "Only an administrator may make this image public.");
    assert_eq!(
        visor(&alice, "POST", "/uploads", &[open, ("Upload-Length", "3"), ("Tus-Resumable", "1.0.0")], b"").status,
        403
    );
    let glance = |who: &Person, method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        let token = [("X-Auth-Token", who.token.as_deref().unwrap())];
        lab.server.send(method, path, &[&token, headers].concat(), body.as_bytes()).status
    };
    let json = ("Content-Type", "application/json");
    assert_eq!(glance(&alice, "POST", "/v2/images", &[json], r#"{"visibility":"public"}"#), 403);
    let patch = ("Content-Type", "application/openstack-images-v2.1-json-patch");
    let publish = r#"[{"op":"replace","path":"/visibility","value":"public"}]"#;
    assert_eq!(glance(&alice, "PATCH", &format!("/v2/images/{id}"), &[patch], publish), 403);
    let is_public = ("X-Image-Meta-Is_public", "True");
    assert_eq!(glance(&alice, "POST", "/v1/images", &[is_public], ""), 403);
    assert_eq!(glance(&alice, "PUT", &format!("/v1/images/{id}"), &[is_public], ""), 403);
    let imported = alice.client.raw("POST", "/1.0/images", &[("X-LXD-public", "1")], &container("public"));
    assert_eq!(alice.client.ended(&imported)["status_code"], 400, "it fails");
    let fingerprint = alice.client.import(&container("mine"), &[]);
    let path = format!("/1.0/images/{fingerprint}");
    assert_eq!(alice.client.send("PATCH", &path, &json!({ "public": true })).status, 403);
    assert_eq!(root.client.send("PATCH", &path, &json!({ "public": true })).status, 200);
    assert_eq!(alice.client.send("PATCH", &path, &json!({ "public": true })).status, 200, "it is so already");
    assert_eq!(
        glance(&alice, "PATCH", &format!("/v2/images/{id}"), &[patch], &publish.replace("public", "community")),
        200
    );
}

/// The documentation says what the table says. `VISOR_BLESS=1` writes it.
#[test]
fn the_page_is_the_table() {
    let mut page = String::from(include_str!("policy_head.md"));
    page.push_str("\n## Callers\n\n| name | meaning |\n|---|---|\n");
    for who in Who::ALL {
        let (name, meaning) = who.words();
        page.push_str(&format!("| {name} | {meaning} |\n"));
    }
    page.push_str("\n## Actions\n\n| action | to… | who | read-only | conditions |\n|---|---|---|---|---|\n");
    for row in ROWS {
        let (who, _) = row.who.words();
        let reads = if row.action.only_reads() { "too" } else { "never" };
        page.push_str(&format!("| {} | {} | {who} | {reads} | {} |\n", row.action.name(), row.words, row.condition));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policy.md");
    if std::env::var_os("VISOR_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == page, "docs/policy.md is not the table: VISOR_BLESS=1 writes it");
}

/// A start with a word that is none says which there are.
#[test]
fn who_publishes_is_one_of_two_words() {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "[auth]\npublish = \"members\"\n").unwrap();
    let (code, _, error) = run(&["--config", config.path().to_str().unwrap(), "config", "check"]);
    assert!(code != 0 && error.contains("owner") && error.contains("admin"), "{code} {error}");
    drop(Server::configured("[auth]\npublish = \"admin\"\n"));
}
