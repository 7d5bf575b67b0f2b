//! What a client of the door sees of a server that does its part: bytes, headers, conditions, ranges, errors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use super::Lab;
use crate::harness::{Answer, noise};
use crate::upstream::{File, MODIFIED, Tag};

/// A lab with a file of these bytes in its cache already.
fn filled(content: &[u8]) -> Lab {
    let lab = Lab::start();
    lab.upstream.put("/a/f.img", File::new(content));
    lab.read("/a/f.img", &[]).is_all_of(content);
    lab
}

fn get(lab: &Lab, method: &str, headers: &[(&str, &str)]) -> Answer {
    lab.server.send(method, &lab.upstream.door("/a/f.img"), headers, b"")
}

#[test]
fn a_file_is_fetched_once_and_said_to_be_so() {
    let content = noise(1, 300_000);
    let lab = Lab::start();
    lab.upstream.put("/a/f.img", File { content_type: "application/x-qcow2".into(), ..File::new(content.clone()) });
    let first = lab.read("/a/f.img", &[]);
    first.is_all_of(&content);
    assert_eq!(first.header("cache-status"), Some("visor; fwd=miss; stored"));
    let tag = first.header("etag").unwrap().to_owned();
    let second = lab.read("/a/f.img", &[]);
    second.is_all_of(&content);
    assert!(second.header("cache-status").unwrap().starts_with("visor; hit"), "{second:?}");
    let digest = STANDARD.encode(sha2::Sha256::digest(&content));
    let digest = format!("sha-256=:{digest}:");
    for (name, value) in [
        ("etag", tag.as_str()),
        ("last-modified", MODIFIED),
        ("content-type", "application/x-qcow2"),
        ("accept-ranges", "bytes"),
        ("content-length", "300000"),
        ("via", "1.1 visor"),
        ("repr-digest", &digest),
    ] {
        assert_eq!(second.header(name), Some(value), "{name}");
    }
    assert!(second.header("age").unwrap().parse::<u64>().unwrap() < 120);
    assert!(second.header("x-visor-verified").unwrap().starts_with("none; "));
    assert_eq!(lab.upstream.asked("/a/f.img").len(), 1);
    let asked = &lab.upstream.asked("/a/f.img")[0];
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert!(asked.header("cookie").is_none() && asked.header("authorization").is_none());
}

#[test]
fn head_fills_nothing_and_conditions_are_judged_here() {
    let content = noise(2, 100_000);
    let lab = Lab::start();
    lab.upstream.put("/a/f.img", File::new(content.clone()));
    let head = get(&lab, "HEAD", &[]);
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("100000"), 0), "{head:?}");
    assert!(lab.upstream.gets("/a/f.img").is_empty());
    lab.read("/a/f.img", &[]).is_all_of(&content);
    let before = lab.upstream.asked("/a/f.img").len();
    let tag = get(&lab, "HEAD", &[]).header("etag").unwrap().to_owned();
    for (headers, status) in [
        (("If-None-Match", tag.as_str()), 304),
        (("If-None-Match", "\"other\""), 200),
        (("If-Modified-Since", MODIFIED), 304),
        (("If-Match", "\"other\""), 412),
        (("Range", "bytes=0-0"), 206),
        (("Range", "bytes=100000-"), 416),
    ] {
        assert_eq!(get(&lab, "GET", &[headers]).status, status, "{headers:?}");
    }
    assert_eq!(get(&lab, "GET", &[("Range", "bytes=5-"), ("If-Range", "\"other\"")]).status, 200);
    assert_eq!(get(&lab, "GET", &[("Range", "bytes=100000-")]).header("content-range"), Some("bytes */100000"));
    let part = get(&lab, "GET", &[("Range", "bytes=5-9"), ("If-Range", &tag)]);
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 5-9/100000")));
    assert_eq!(part.body, content[5..10]);
    let parts = get(&lab, "GET", &[("Range", "bytes=0-1,99998-")]);
    assert_eq!(parts.status, 206);
    assert!(parts.header("content-type").unwrap().starts_with("multipart/byteranges"));
    assert_eq!(lab.upstream.asked("/a/f.img").len(), before, "all of it from here");
}

/// A weak tag of upstream is given out as it is, and tells no parts together.
#[test]
fn a_weak_tag_stays_weak() {
    let content = noise(3, 50_000);
    let lab = Lab::start();
    lab.upstream.put("/a/f.img", File::new(content.clone()).tagged(Tag::Is("W/\"w\"".into())));
    lab.read("/a/f.img", &[]).is_all_of(&content);
    let again = get(&lab, "GET", &[("If-None-Match", "W/\"w\"")]);
    assert_eq!((again.status, again.header("etag")), (304, Some("W/\"w\"")));
    assert_eq!(get(&lab, "GET", &[("Range", "bytes=5-"), ("If-Range", "W/\"w\"")]).status, 200);
}

/// What upstream is asked for is what the client wrote, as far as the writing means anything.
#[test]
fn a_path_goes_through_as_it_came() {
    let lab = Lab::start();
    for path in ["/a%2Fb//c+d%20e.img", "/q", "/%C3%A4~x", "/colon:x/@y"] {
        lab.upstream.put(path, File::new(path.as_bytes()));
        lab.read(path, &[]).is_all_of(path.as_bytes());
    }
    lab.read("/q?x=1%26&y=a/b+c", &[]).is_all_of(b"/q");
    let targets: Vec<String> = lab.upstream.asked("/q").into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets, ["/q", "/q?x=1%26&y=a/b+c"]);
}

#[test]
fn clients_say_how_old_a_file_may_be() {
    let content = noise(4, 10_000);
    let lab = filled(&content);
    lab.upstream.put("/b", File::new("b"));
    let only = [("Cache-Control", "only-if-cached")];
    assert_eq!(get(&lab, "GET", &only).status, 200);
    let refused = lab.server.send("GET", &lab.upstream.door("/b"), &only, b"");
    assert_eq!((refused.status, refused.header("x-visor-error")), (504, Some("not-cached")));
    assert!(lab.upstream.asked("/b").is_empty());
    // A client that asks for it makes the server of the file be asked, five seconds after the last time.
    std::thread::sleep(std::time::Duration::from_millis(5500));
    let now = get(&lab, "GET", &[("Cache-Control", "no-cache")]);
    assert_eq!(now.body, content);
    let asked = lab.upstream.asked("/a/f.img");
    assert_eq!(asked.len(), 2);
    assert!(asked[1].header("if-none-match").is_some(), "{asked:?}");
    assert_eq!(lab.upstream.sent("/a/f.img"), 10_000, "a 304");
}

#[test]
fn refusals_say_what_failed() {
    let lab = Lab::start();
    lab.upstream.put("/broken", File::status(500, "oops"));
    lab.upstream.put("/closed", File::status(403, "no"));
    for (path, status, code) in
        [("/none", 404, "url-not-found"), ("/closed", 502, "upstream-failed"), ("/broken", 504, "upstream-dead")]
    {
        let answer = lab.server.get(&lab.upstream.door(path));
        assert_eq!((answer.status, answer.header("x-visor-error")), (status, Some(code)), "{path}: {answer:?}");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    }
    let json = lab.server.send("GET", &lab.upstream.door("/none"), &[("Accept", "application/json")], b"");
    assert_eq!(json.json()["error"]["code"], "url-not-found");
    let posted = lab.server.send("POST", &lab.upstream.door("/none"), &[], b"x");
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    // An error page is no file, today or later.
    lab.upstream.put("/none", File::new("now it is"));
    crate::harness::eventually("the file that was not there is served", || {
        lab.server.get(&lab.upstream.door("/none")).body == b"now it is"
    });
}

#[test]
fn a_cache_that_is_off_says_so() {
    let server = crate::harness::Server::configured("[cache]\nenabled = false\n");
    let answer = server.get("/cache/https/images.example/x");
    assert_eq!(answer.status, 501);
    assert!(answer.text().contains("cache.enabled"), "{answer:?}");
}

/// Pages of other origins learn nothing: neither what is here nor how fast it comes.
#[test]
fn foreign_pages_get_nothing() {
    let lab = filled(b"bytes");
    let before = lab.upstream.connections();
    for headers in [
        [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Dest", "image"), ("Sec-Fetch-Site", "same-site")],
        [("Host", "evil.example"), ("Sec-Fetch-Site", "same-origin")],
    ] {
        let answer = get(&lab, "GET", &headers);
        assert_eq!(answer.status, 403, "{headers:?}");
        assert!(answer.header("cache-status").is_none() && answer.header("age").is_none());
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    assert_eq!(lab.upstream.connections(), before);
}
