//! TLS as LXD's clients need it: certificates that they made themselves, and a server's that stays.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, date_time_ymd};
use serde_json::json;

use crate::harness::{Server, run, visor};
use crate::secure::{Client, Identity, Lab};

#[test]
fn any_certificate_passes_and_none_means_anything_by_itself() {
    let lab = Lab::new();
    let with = |change: fn(&mut CertificateParams)| {
        let mut described = CertificateParams::default();
        change(&mut described);
        Identity::of(&described)
    };
    let all = [
        with(|_| {}),
        with(|it| it.not_after = date_time_ymd(2001, 1, 1)),
        with(|it| it.not_before = date_time_ymd(3001, 1, 1)),
        with(|it| it.serial_number = Some(vec![0x7f; 40].into())),
        with(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        with(|it| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            unknown.set_criticality(true);
            it.custom_extensions.push(unknown);
        }),
    ];
    assert!(!lab.stranger().is_trusted());
    for identity in &all {
        assert!(!Client::new(&lab.server, Some(identity)).is_trusted());
    }
    let old = Client::tuned(&lab.server, Some(&all[0]), &[&rustls::version::TLS12], &[]);
    assert!(!old.is_trusted());
    old.log_in(&lab.alice);
    assert!(old.is_trusted() && Client::new(&lab.server, Some(&all[0])).is_trusted(), "by whatever version of TLS");
    let large = with(|it| it.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; 20_000])));
    let refused = std::panic::catch_unwind(|| Client::new(&lab.server, Some(&large)).is_trusted());
    assert!(refused.is_err(), "nobody fills the memory with certificates");
}

/// WebSockets need HTTP/1.1, and clients that could do more must not try.
#[test]
fn there_is_one_version_of_http() {
    let server = Server::secure(&[]);
    for (offered, chosen) in [(&[][..], None), (&[&b"h2"[..], b"http/1.1"], Some(&b"http/1.1"[..]))] {
        let client = Client::tuned(&server, None, rustls::ALL_VERSIONS, offered);
        assert_eq!(client.connect().conn.alpn_protocol(), chosen);
        assert!(client.is_trusted());
    }
    let stream = Client::new(&server, None).connect();
    assert_eq!(stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

/// Simplestreams clients try plain HTTP first, on the same port.
#[test]
fn plain_http_is_refused_at_once() {
    let server = Server::secure(&[]);
    let mut stream = TcpStream::connect(server.secure.as_ref().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream.write_all(b"GET /streams/v1/index.json HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // An alert, which answers the first bytes: a connection that the server has waited for is closed without a word.
    const ALERT: u8 = 21;
    assert_eq!(answer.first(), Some(&ALERT), "{answer:?}");
}

#[test]
fn who_does_not_end_a_handshake_is_sent_away_and_nobody_else_waits() {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "[server]\nworkers = 2\n").unwrap();
    let server = Server::secure(&["--config", config.path().to_str().unwrap()]);
    let connect = || TcpStream::connect(server.secure.as_ref().unwrap()).unwrap();
    // More than there could be handshakes at a time, were they counted by themselves.
    let mut idle: Vec<TcpStream> = (0..600).map(|_| connect()).collect();
    let began = Instant::now();
    assert!(Client::new(&server, None).is_trusted());
    assert!(began.elapsed() < Duration::from_secs(9), "before any of them is sent away: {:?}", began.elapsed());
    let first = &mut idle[0];
    first.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(first.read(&mut [0; 16]).unwrap(), 0, "closed");
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
}

#[test]
fn a_taken_address_stops_only_whoever_asked_for_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("visor.toml");
    std::fs::write(&file, format!("[server]\nlisten_tls = [\"{address}\"]\n")).unwrap();
    let (data, file) = (data.to_str().unwrap(), file.to_str().unwrap());
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data];
    for more in [["--listen-tls", &address], ["--config", file]] {
        let (code, _, error) = run(&[&arguments[..], &more].concat());
        assert!(code == 8 && error.contains(&address), "{error}");
    }

    // Whoever else has the default's address here, somebody has.
    let _other = TcpListener::bind("127.0.0.1:8443");
    let ready = dir.path().join("ready");
    let mut child = visor()
        .args(arguments)
        .arg("--ready-file")
        .arg(&ready)
        .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    crate::harness::eventually("ready", || ready.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("not serving HTTPS: 127.0.0.1:8443") && !log.contains("serving https://"), "{log}");
}

/// What a request is refused for before it has got as far as a protocol looks as its path's protocol would have it.
#[test]
fn foreign_names_are_refused_in_the_protocols_form() {
    let server = Server::start();
    let refused = server.send("GET", "/1.0/images", &[("Host", "evil.example")], b"");
    assert_eq!((refused.status, &refused.json()["error_code"]), (403, &json!(403)));
    assert!(refused.json()["error"].as_str().unwrap().contains("server.names"));
    let other = server.send("GET", "/images", &[("Host", "evil.example")], b"");
    assert_eq!((other.status, &other.json()["code"]), (403, &json!(403)));
}
