//! Jobs: what goes on behind an answer, as its owner follows and stops it, over HTTP and by the command line.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::auth::account;
use crate::bucket::Bucket;
use crate::fake::{Fake, answer};
use crate::glance::Client;
use crate::harness::{Answer, Server, eventually, noise, run, sha256, visor};
use crate::identity::token;
use crate::lxd_liars::BYTES;

const ASYNC: (&str, &str) = ("Prefer", "respond-async");
const COLD: (&str, &str) = ("x-image-meta-store", "cold");
/// More than the store takes in one piece, so that a move can be seen half way.
const LARGE: usize = 24 << 20;

/// A server with the bucket as the store `cold`.
struct Lab {
    bucket: Bucket,
    server: Server,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let (bucket, dir) = (Bucket::start(), tempfile::tempdir().unwrap());
        let config = dir.path().join("visor.toml");
        std::fs::write(&config, bucket.configuration("")).unwrap();
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
        let server = Server::on(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
        Self { bucket, server, _dir: dir }
    }

    /// Begins to move an image; the job's id.
    fn begin(&self, image: &str) -> String {
        let begun = self.server.send("PUT", &format!("/images/{image}"), &[COLD, ASYNC], b"");
        assert_eq!((begun.status, begun.header("preference-applied")), (202, Some("respond-async")), "{begun:?}");
        let job = &begun.json()["job"];
        let id = job["_id"].as_str().unwrap();
        assert_eq!(begun.header("location").unwrap(), format!("/jobs/{id}"));
        assert_eq!((&job["kind"], &job["image"], &job["status"]), (&json!("move"), &json!(image), &json!("running")));
        id.to_owned()
    }

    fn job(&self, id: &str, query: &str) -> Value {
        let answer = self.server.get(&format!("/jobs/{id}{query}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["job"].clone()
    }

    /// Waits until a held move is half way.
    fn half(&self, id: &str) -> Value {
        eventually("bytes are on their way", || self.job(id, "")["bytes"].as_u64() > Some(0));
        self.job(id, "")
    }
}

fn id(image: &Value) -> String {
    image["_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_move_is_followed_stopped_and_begun_again() {
    let lab = Lab::new();
    let body = noise(1, LARGE);
    let image = id(&lab.server.add("a", &[], &body));
    lab.bucket.set_held(true);
    let job = lab.begin(&image);
    let half = lab.half(&job);
    assert_eq!((&half["status"], &half["bytes_total"]), (&json!("running"), &json!(LARGE)));
    assert!(half["bytes"].as_u64() < Some(LARGE as u64), "{half}");
    let began = Instant::now();
    assert_eq!(lab.job(&job, "?wait=1s")["status"], "running");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(lab.server.send("PUT", &format!("/images/{image}"), &[COLD, ASYNC], b"").status, 503, "one at a time");

    let stopped = lab.server.send("DELETE", &format!("/jobs/{job}"), &[], b"");
    assert_eq!(stopped.status, 200, "{stopped:?}");
    assert!(["stopping", "stopped"].contains(&stopped.json()["job"]["status"].as_str().unwrap()));
    let ended = lab.job(&job, "?wait=60");
    assert_eq!((&ended["status"], ended["ended_at"].is_string()), (&json!("stopped"), true), "{ended}");
    assert_eq!(lab.server.send("DELETE", &format!("/jobs/{job}"), &[], b"").status, 409, "it has ended");
    lab.bucket.set_held(false);
    assert_eq!((lab.server.files().0.len(), lab.bucket.objects().len()), (1, 0), "the image is where it was");

    let again = lab.begin(&image);
    let done = lab.job(&again, "?wait=60s");
    assert_eq!((&done["status"], &done["bytes"]), (&json!("done"), &json!(LARGE)));
    assert_eq!((lab.server.files().0.len(), lab.bucket.objects().len()), (0, 1));
    assert_eq!(sha256(&lab.server.get(&format!("/images/{image}")).body), sha256(&body));
    let listed = lab.server.get("/jobs").json()["jobs"].clone();
    let own: Vec<&Value> = listed.as_array().unwrap().iter().filter(|job| job["kind"] == "move").collect();
    assert_eq!([&own[0]["_id"], &own[1]["_id"]], [&json!(again), &json!(job)], "newest first");
}

#[test]
fn without_the_preference_the_answer_waits_and_with_it_only_what_may_take_long_does_not() {
    let lab = Lab::new();
    let image = id(&lab.server.add("a", &[], b"bytes"));
    let path = format!("/images/{image}");
    let moved = lab.server.send("PUT", &path, &[COLD], b"");
    assert_eq!((moved.status, &moved.json()["image"]["store"]), (200, &json!("cold")));
    let renamed = lab.server.send("PUT", &path, &[("x-image-meta-name", "b"), ASYNC], b"");
    assert_eq!((renamed.status, &renamed.json()["image"]["name"]), (200, &json!("b")), "{renamed:?}");
    let unknown = lab.server.send("PUT", &path, &[("x-image-meta-store", "walrus"), ASYNC], b"");
    assert_eq!(unknown.status, 400, "what is wrong with the request is said at once");
    let nothing = lab.server.send("PUT", "/images/edfa919a-0415-4d26-b54d-ae78ffc4dc79", &[COLD, ASYNC], b"");
    assert_eq!(nothing.status, 404);
    let emptied = lab.server.send("DELETE", "/all", &[("x-visor-confirm", "all"), ASYNC], b"");
    assert_eq!(emptied.status, 202, "{emptied:?}");
    let job = emptied.json()["job"]["_id"].as_str().unwrap().to_owned();
    assert_eq!(lab.job(&job, "?wait=60s")["steps"], 1);
    assert_eq!(lab.server.names(""), [""; 0]);
    for wrong in ["?wait=x", "?wait=-1"] {
        assert_eq!(lab.server.get(&format!("/jobs/{job}{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn a_file_of_the_operators_is_registered_behind_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.raw");
    std::fs::write(&file, noise(5, 300_000)).unwrap();
    let server = Server::configured(&format!("[stores.file]\nimport_dirs = [{:?}]\n", dir.path()));
    let location = format!("file://{}", file.display());
    let headers = |location| {
        [("x-image-meta-name", "a"), ("x-image-meta-architecture", "i386"), ("x-image-meta-location", location), ASYNC]
    };
    let begun = server.send("POST", "/images", &headers(&location), b"");
    assert_eq!(begun.status, 202, "{begun:?}");
    let ended = |begun: &Answer| {
        let job = begun.json()["job"]["_id"].as_str().unwrap().to_owned();
        server.get(&format!("/jobs/{job}?wait=60")).json()["job"].clone()
    };
    let job = ended(&begun);
    assert_eq!((&job["status"], &job["kind"]), (&json!("done"), &json!("register")), "{job}");
    assert_eq!(server.get(&format!("/images/{}", job["image"].as_str().unwrap())).body, noise(5, 300_000));
    let failed = ended(&server.send("POST", "/images", &headers("file:///etc/shadow"), b""));
    assert_eq!((&failed["status"], &failed["error_code"]), (&json!("failed"), &json!(404)), "{failed}");
    assert!(failed["error"].as_str().unwrap().contains("No image file found"), "{failed}");
}

/// A server that sends half of 200,000 bytes, and the others when it is told to.
fn slow() -> (u16, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, (go, told)) = (listener.local_addr().unwrap().port(), channel());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(&noise(9, 100_000));
            if told.recv().is_err() {
                return;
            }
            let _ = stream.write_all(&noise(9, 100_000));
        }
    });
    (port, go)
}

#[test]
fn an_account_sees_and_stops_its_own_and_an_administrator_all() {
    let server = Server::with(&["--allow-fetch", "127.0.0.1/32"]);
    let root = account(&server, "root", &["--admin"]);
    let (alice, bob) = (account(&server, "alice", &[]), account(&server, "bob", &[]));
    let glance = Client { server: &server, token: token(&server, "alice", &alice.secret) };
    let (port, go) = slow();
    let image = glance.create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }));
    let import = json!({ "method": { "name": "web-download", "uri": format!("http://127.0.0.1:{port}/x?secret=1") } });
    assert_eq!(glance.post(&format!("/v2/images/{image}/import"), &import).status, 202);

    let jobs = |who: &crate::auth::Account| {
        let answer = who.send(&server, "GET", "/jobs", &[], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["jobs"].as_array().unwrap().clone()
    };
    let own = jobs(&alice);
    assert_eq!(own.len(), 1, "what the server does by itself is not hers: {own:?}");
    let (job, path) = (&own[0], format!("/jobs/{}", own[0]["_id"].as_str().unwrap()));
    assert_eq!((&job["kind"], &job["owner"], &job["image"]), (&json!("import-url"), &json!("alice"), &json!(image)));
    assert!(!job.to_string().contains("secret"));
    let show = |who: &crate::auth::Account, query: &str| who.send(&server, "GET", &format!("{path}{query}"), &[], b"");
    eventually("half of it is here", || show(&alice, "").json()["job"]["bytes"] == 100_000);
    assert_eq!(show(&alice, "").json()["job"]["bytes_total"], 200_000);

    assert_eq!(jobs(&bob), [] as [Value; 0]);
    let nobodys = "/jobs/edfa919a-0415-4d26-b54d-ae78ffc4dc79";
    for method in ["GET", "DELETE"] {
        let hers = bob.send(&server, method, &path, &[], b"");
        let none = bob.send(&server, method, nobodys, &[], b"");
        assert_eq!((hers.status, none.status), (404, 404));
        assert_eq!(hers.text().replace(&path[6..], "ID"), none.text().replace(&nobodys[6..], "ID"));
        assert_eq!(server.send(method, &path, &[], b"").status, 403, "who is nobody has none");
    }
    assert_eq!(server.get("/jobs").status, 403);

    let all = jobs(&root);
    let kinds: Vec<&str> = all.iter().map(|job| job["kind"].as_str().unwrap()).collect();
    for kind in ["import-url", "sweep", "expiry", "compaction", "offers"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let sweep = all.iter().find(|job| job["kind"] == "sweep").unwrap();
    assert!(sweep["status"] == "waiting" && sweep["next_at"].is_string() && sweep["owner"].is_null(), "{sweep}");
    let idle = root.send(&server, "DELETE", &format!("/jobs/{}", sweep["_id"].as_str().unwrap()), &[], b"");
    assert_eq!(idle.status, 409, "nothing of it runs");

    assert_eq!(alice.send(&server, "DELETE", &path, &[], b"").status, 200);
    assert_eq!(show(&alice, "?wait=60s").json()["job"]["status"], "stopped");
    let task = glance.get(&format!("/v2/images/{image}/tasks")).json()["tasks"][0].clone();
    assert_eq!((&task["status"], &task["message"]), (&json!("failure"), &json!("It was stopped.")));
    eventually("the image waits for bytes again", || glance.status(&image) == "queued");
    assert_eq!(server.files(), (vec![], vec![]));
    drop(go);
}

/// A few bytes can be a lot to unpack, and a stop does not wait for it.
#[test]
fn an_import_that_unpacks_is_stopped() {
    let server = Server::configured("[import]\nunpack = true\n[fetch]\nallow = [\"127.0.0.1/32\"]\n");
    let mut zeros = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    zeros.write_all(&vec![0; 64 << 20]).unwrap();
    let packed = zeros.finish().unwrap().repeat(100);
    let (sent, size) = (packed.clone(), packed.len());
    let web = Fake::serving(None, move |_| answer("200 OK", BYTES, &sent));
    let client = Client::new(&server);
    let image = client.create(&json!({ "name": "a", "disk_format": "raw", "container_format": "bare" }));
    let import = json!({ "method": { "name": "web-download", "uri": web.url("zeros.bz2") } });
    assert_eq!(client.post(&format!("/v2/images/{image}/import"), &import).status, 202);
    let job = || {
        let jobs = server.get("/jobs").json()["jobs"].as_array().unwrap().clone();
        jobs.into_iter().find(|job| job["kind"] == "import-url").unwrap()
    };
    eventually("all bytes are here", || job()["bytes"] == size);
    let path = format!("/jobs/{}", job()["_id"].as_str().unwrap());
    let begun = Instant::now();
    assert_eq!(server.send("DELETE", &path, &[], b"").status, 200);
    let ended = server.get(&format!("{path}?wait=60s")).json()["job"].clone();
    assert_eq!(ended["status"], "stopped", "{ended}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    eventually("the image waits for bytes again", || client.status(&image) == "queued");
    eventually("no files are left", || server.files() == (vec![], vec![]));
}

#[test]
fn a_server_that_stops_does_not_wait_for_those_who_wait() {
    let server = Server::start();
    let all = server.get("/jobs").json()["jobs"].clone();
    let sweep = all.as_array().unwrap().iter().find(|job| job["kind"] == "sweep").unwrap();
    let path = format!("/jobs/{}?wait=60s", sweep["_id"].as_str().unwrap());
    let mut waiting = server.connect();
    waiting.write_all(&crate::harness::request(server.address(), "GET", &path, &[], b"")).unwrap();
    // It has arrived when one that came behind it is answered.
    assert_eq!(server.get("/status").status, 200);
    let began = Instant::now();
    assert!(server.stop().1);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let mut answer = Vec::new();
    waiting.read_to_end(&mut answer).unwrap();
    assert_eq!(Answer::parse(&answer, false).json()["job"]["status"], "waiting");
}

#[test]
fn the_command_line_follows_leaves_and_stops() {
    let lab = Lab::new();
    let image = id(&lab.server.add("a", &[], &noise(1, LARGE)));
    let address = lab.server.address();
    lab.bucket.set_held(true);
    let child = visor()
        .args(["move", &image, "--store", "cold", "-a", address])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let find = || {
        let listed = lab.server.get("/jobs").json()["jobs"].clone();
        listed.as_array().unwrap().iter().find(|job| job["kind"] == "move").map(id)
    };
    eventually("it has begun", || find().is_some());
    let job = find().unwrap();
    lab.half(&job);
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let left = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&left.stderr).into_owned();
    assert_eq!(left.status.code(), Some(130), "{words}");
    assert!(words.contains(&format!("visor jobs {job} --follow")), "{words}");
    assert_eq!(lab.job(&job, "")["status"], "running", "the server goes on");

    let (code, list, _) = run(&["jobs", "-a", address]);
    assert!(code == 0 && list.starts_with("ID") && list.contains(&job) && list.contains('%'), "{list}");
    let (code, shown, _) = run(&["--json", "jobs", &job, "-a", address]);
    assert_eq!((code, serde_json::from_str::<Value>(&shown).unwrap()["kind"].clone()), (0, json!("move")));
    let (code, said, wrong) = run(&["jobs", "stop", &job, "-a", address]);
    assert!(code == 0 && said.contains("Successfully stopped"), "{said}{wrong}");
    let (code, _, wrong) = run(&["jobs", &job, "--follow", "-a", address]);
    assert!(code == 130 && wrong.contains("was stopped"), "{wrong}");
    let (code, _, wrong) = run(&["jobs", "edfa919a-0415-4d26-b54d-ae78ffc4dc79", "-a", address]);
    assert!(code == 3 && wrong.contains("No job found"), "{wrong}");

    lab.bucket.set_held(false);
    let (code, said, wrong) = run(&["move", &image, "--store", "cold", "-a", address]);
    assert!(code == 0 && said.contains("to the store cold"), "{said}{wrong}");
    assert_eq!((lab.bucket.objects().len(), lab.server.files().0.len()), (1, 0));
}
