//! Certificates of clients after they are trusted: their dates, and changes to them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, date_time_ymd};
use serde_json::json;

use crate::harness::{eventually, run};
use crate::secure::{Client, Identity, Lab, refusal};

/// A certificate that ends some seconds from now.
fn ending_in(seconds: u64) -> Identity {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut described = CertificateParams::default();
    described.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(now + seconds);
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
        use std::io::{Read, Write};
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
