//! What an operator sees: the metrics, read by a parser that forgives nothing, and the commands `status` and `doctor`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Server, run, visor};
use crate::upstream::{File, Upstream};

/// Series by name and labels, as they are written.
type Series = BTreeMap<String, f64>;

/// Parses the text format: a head for each family, in front of its series, which are there once.
fn parse(text: &str) -> (BTreeMap<String, String>, Series) {
    let (mut families, mut series, mut helped) = (BTreeMap::new(), Series::new(), BTreeSet::new());
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap();
            assert!(!words.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name) && ["counter", "gauge", "summary"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(families.insert(name.to_owned(), kind.to_owned()), None, "{line}");
            family = name.to_owned();
        } else {
            let (left, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let name = left.split('{').next().unwrap();
            let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is not below {family}"));
            let known =
                if families[&family] == "summary" { ["_count", "_sum"].contains(&suffix) } else { suffix.is_empty() };
            assert!(known, "{line}");
            labels(&left[name.len()..]);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert_eq!(series.insert(left.to_owned(), value), None, "{line} is there twice");
        }
    }
    assert!(text.ends_with('\n') && helped.len() == families.len());
    (families, series)
}

/// Checks a list of labels: names once each, values in quotes with nothing in them that is not escaped.
fn labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let mut rest = text.strip_prefix('{').unwrap();
    let mut names = BTreeSet::new();
    loop {
        let (name, more) = rest.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(!name.is_empty() && name.chars().all(plain) && names.insert(name), "{text}");
        let mut chars = more.char_indices();
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("{text} does not end")) {
                (at, '"') => break at,
                (_, '\\') => assert!(matches!(chars.next(), Some((_, '\\' | '"' | 'n'))), "{text}"),
                _ => {}
            }
        };
        match &more[end + 1..] {
            "}" => return,
            more => rest = more.strip_prefix(',').unwrap_or_else(|| panic!("{text}")),
        }
    }
}

fn scraped(server: &Server) -> Series {
    let answer = server.get("/metrics");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    parse(&answer.text()).1
}

#[test]
fn metrics_follow_the_images() {
    let server = Server::start();
    let before = scraped(&server);
    assert!(before["process_start_time_seconds"] > 1e9 && before["visor_store_free_bytes{store=\"file\"}"] > 0.0);
    assert!(!before.keys().any(|name| name.starts_with("visor_images{")), "{before:?}");
    server.add("a", &[], &[7; 3000]);
    server.add("b", &[], &[8; 2000]);
    server.add("c", &[], b"");
    let after = scraped(&server);
    assert_eq!(after["visor_images{status=\"available\",store=\"file\"}"], 2.0);
    assert_eq!(after["visor_image_bytes{status=\"available\",store=\"file\"}"], 5000.0);
    assert_eq!(after["visor_images{status=\"queued\",store=\"file\"}"], 1.0);
    assert_eq!(after[concat!("visor_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")], 1.0);
}

#[test]
fn open_metrics_is_given_to_those_who_ask_for_it() {
    let server = Server::start();
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = server.send("GET", "/metrics", &[("Accept", accept)], b"");
    let text = answer.text();
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(text.ends_with("\n# EOF\n") && text.contains("# TYPE visor_cache_requests counter\n"), "{text}");
}

#[test]
fn the_families_of_the_cache_are_there_where_it_is_switched_on() {
    let families = |server: &Server| parse(&server.get("/metrics").text()).0;
    let (on, off) = (Server::start(), Server::configured("[cache]\nenabled = false\n"));
    let of_cache = |families: &BTreeMap<String, String>| families.keys().any(|name| name.starts_with("visor_cache_"));
    assert_eq!((of_cache(&families(&on)), of_cache(&families(&off))), (true, false));
    assert_eq!(off.get("/status/detail").json()["status"]["cache"], Value::Null);
    let (code, lines, _) = run(&["status", "-a", &format!("http://{}", off.address())]);
    assert!(code == 0 && lines.contains("no cache (cache.enabled is false)"), "{lines}");
}

#[test]
fn the_counters_of_the_cache_rise_with_its_requests() {
    let (upstream, server) = (Upstream::start(), crate::cache::with(&[], ""));
    upstream.put("/20260105/disk.img", File::new(vec![5; 100_000]));
    let door = upstream.door("/20260105/disk.img?token=secret");
    let first = server.get(&door);
    assert_eq!((first.status, first.body.len()), (200, 100_000), "{first:?}");
    let second = server.get(&door);
    assert_eq!(second.status, 200, "{second:?}");
    let after = scraped(&server);
    let number = |name: &str| after.get(name).copied().unwrap_or_default();
    assert_eq!(number("visor_cache_requests_total{result=\"fill\"}"), 1.0, "{after:?}");
    assert_eq!(number("visor_cache_requests_total{result=\"hit\"}"), 1.0, "{after:?}");
    assert!(number("visor_cache_bytes_total{from=\"upstream\"}") >= 100_000.0, "{after:?}");
    assert_eq!((number("visor_cache_entries"), number("visor_cache_fills")), (1.0, 0.0), "{after:?}");
    let pages = [server.get("/metrics").text(), server.get("/status/detail").text()];
    assert!(pages.iter().all(|page| !page.contains("secret")), "{pages:?}");
}

#[test]
fn the_plain_status_is_what_it_was() {
    let server = Server::start();
    for accept in ["*/*", "application/json", "application/xml"] {
        let answer = server.send("GET", "/status", &[("Accept", accept)], b"");
        assert_eq!((answer.status, answer.text().as_str(), answer.header("content-type")), (200, "OK", None));
    }
}

#[test]
fn status_prints_a_running_server() {
    let server = Server::start();
    server.add("a", &[], &[7; 3000]);
    let address = format!("http://{}", server.address());
    let (code, text, wrong) = run(&["status", "-a", &address]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{text}{wrong}");
    assert!(lines[0].starts_with("visor ") && lines[0].contains(" · 1 image · 0 running jobs · "), "{text}");
    assert!(lines[0].contains(&address) && lines[0].ends_with(" free in file"), "{text}");
    assert!(lines[1].starts_with("cache 0 B of ") && lines[1].contains("(0 images, 0 pinned)"), "{text}");
    let (code, text, _) = run(&["--json", "status", "-a", &address]);
    let page: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &page["images"], &page["version"]), (0, &json!(1), &json!(env!("CARGO_PKG_VERSION"))));
}

#[test]
fn without_a_server_status_says_so() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text, wrong) = run(&["status", "-a", &format!("http://{free}")]);
    assert_eq!((code, text.as_str()), (5, ""));
    assert!(wrong.contains(&free.to_string()), "{wrong}");
}

#[test]
fn with_accounts_it_is_for_administrators_and_a_scraper_sends_keys() {
    let server = Server::start();
    let root = crate::auth::account(&server, "root", &["--admin"]);
    let ann = crate::auth::account(&server, "ann", &[]);
    let basic = |account: &crate::auth::Account| {
        use base64::Engine as _;
        let keys = format!("{}:{}", account.key, account.secret);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(keys))
    };
    for path in ["/metrics", "/status/detail"] {
        let status = |headers: &[(&str, &str)]| server.send("GET", path, headers, b"").status;
        assert_eq!(status(&[]), 403, "{path}");
        assert_eq!(status(&[("Authorization", &basic(&ann))]), 403, "{path}");
        assert_eq!(status(&[("Authorization", &basic(&root))]), 200, "{path}");
    }
    let keys = |account: &crate::auth::Account| {
        let mut command = visor();
        command.args(["status", "-a", &format!("http://{}", server.address())]);
        command.env("VISOR__CLIENT__ACCESS_KEY", &account.key).env("VISOR__CLIENT__SECRET_KEY", &account.secret);
        command.output().unwrap().status.code()
    };
    assert_eq!((keys(&root), keys(&ann)), (Some(0), Some(7)));
}

/// The findings of a doctor for one vendor of the test's own, by what they are about.
fn findings(base: &str, dir: &std::path::Path, more: &str) -> (i32, BTreeMap<String, Value>) {
    let config = dir.join("visor.toml");
    let vendor = format!(
        "[vendors.lab]\ntitle = \"Lab\"\nkind = \"fixed\"\nbase = \"{base}\"\nimage = \"{{release}}.img\"\nrequire = \"tls\"\n"
    );
    std::fs::write(&config, format!("[fetch]\nallow = [\"127.0.0.0/8\"]\n{more}{vendor}")).unwrap();
    let (config, data) = (config.to_str().unwrap(), dir.join("data"));
    let (code, text, wrong) =
        run(&["--json", "--config", config, "--data-dir", data.to_str().unwrap(), "doctor", "--vendor", "lab"]);
    assert!(!text.is_empty(), "{wrong}");
    let each = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (code, each.map(|finding| (finding["about"].as_str().unwrap().to_owned(), finding)).collect())
}

#[test]
fn a_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    upstream.put("/images/", File::status(403, "no listing").with("Date", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let (code, found) = findings(&upstream.url("/images/"), dir.path(), "");
    assert_eq!(code, 1, "the clock: {found:?}");
    assert_eq!(
        (&found["vendor lab"]["health"], &found["clock"]["health"]),
        (&json!("ok"), &json!("fail")),
        "{found:?}"
    );
    assert_eq!(found["data directory"]["health"], json!("warn"), "it is not there yet: {found:?}");
    assert_eq!(upstream.asked("/images/").len(), 1);

    let address = upstream.die();
    let (code, found) = findings(&format!("http://{address}/images/"), dir.path(), "");
    assert_eq!((code, &found["vendor lab"]["health"]), (1, &json!("fail")), "{found:?}");
    assert!(found["vendor lab"]["advice"].as_str().unwrap().contains("fetch.proxy"), "{found:?}");
}

#[test]
fn a_doctor_on_an_offline_machine_sends_nothing() {
    let (dir, upstream) = (tempfile::tempdir().unwrap(), Upstream::start());
    let (code, found) = findings(&upstream.url("/images/"), dir.path(), "[cache]\noffline = true\n");
    assert_eq!((code, &found["network"]["health"], upstream.connections()), (0, &json!("ok"), 0), "{found:?}");
}
