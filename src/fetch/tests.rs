//! The fetcher against servers that misbehave, all of them on 127.0.0.1.

use reqwest::header::LOCATION;
use tokio::net::{TcpListener, TcpSocket};

use super::fake::{self, Fake, HOLD, Say};
use super::follow::{REDIRECTS_MAX, next_hop};
use super::*;
use crate::error::Kind;

fn rules(allow: &[&str]) -> FetchRules {
    FetchRules { allow: allow.iter().map(|net| net.parse().unwrap()).collect(), ..FetchRules::default() }
}

/// The rules of `open`, with little patience.
fn hasty() -> Fetcher {
    let (connect_timeout, idle_timeout) = (Duration::from_secs(2), Duration::from_secs(2));
    let document_timeout = Duration::from_secs(4);
    Fetcher::new(FetchRules { connect_timeout, idle_timeout, document_timeout, ..open().0.rules.clone() })
}

/// One that may reach the fakes.
fn open() -> Fetcher {
    Fetcher::new(rules(&["127.0.0.0/8", "::1/128"]))
}

/// All bytes of a body.
pub(super) async fn read(body: Body) -> Result<Vec<u8>, FetchError> {
    let mut stream = body.stream;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => {
                assert!(stream.next().await.is_none(), "an error is the last thing");
                return Err(error);
            }
        }
    }
    Ok(bytes)
}

async fn fetch(url: &str, range: Option<Range<u64>>) -> Result<Vec<u8>, FetchError> {
    read(open().get(url, range).await?).await
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"abc\"\r\n\r\nhello";

#[tokio::test]
async fn an_allowed_address_is_fetched() {
    let fake = Fake::fixed(HELLO).await;
    let body = open().get(&fake.url("a?x=1"), None).await.unwrap();
    assert_eq!((body.status, body.length, body.etag.as_deref()), (200, Some(5), Some("abc")));
    assert_eq!(read(body).await.unwrap(), b"hello");

    let head = fake.heads().remove(0).to_ascii_lowercase();
    assert!(head.starts_with("get /a?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\naccept-encoding: identity\r\n"), "{head}");
    for never in ["cookie", "authorization", "referer", "range:"] {
        assert!(!head.contains(never), "{head}");
    }
}

#[tokio::test]
async fn names_are_fetched_when_all_their_addresses_are_allowed() {
    let fake = Fake::fixed(HELLO).await;
    let url = format!("http://localhost:{}/", fake.port());
    assert_eq!(fetch(&url, None).await.unwrap(), b"hello");
}

#[tokio::test]
async fn what_is_refused_is_never_connected_to() {
    // A name is as good as refused where the system does not know it.
    let fake = Fake::fixed(HELLO).await;
    let port = fake.port();
    // The port is a usual one here, so that only the address can be what is wrong.
    let usual = FetchRules { ports: vec![port], ..rules(&[]) };
    let elsewhere = rules(&["10.0.0.0/8"]);
    for fetcher in [Fetcher::new(rules(&[])), Fetcher::new(usual), Fetcher::new(elsewhere)] {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0177.1",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "localhost",
            "localhost.",
        ] {
            let url = format!("http://{host}:{port}/");
            assert!(
                matches!(
                    fetcher.get(&url, None).await,
                    Err(FetchError::Refused | FetchError::Unresolved { .. } | FetchError::Unreached(_))
                ),
                "{url}"
            );
            assert!(
                matches!(
                    fetcher.head(&url).await,
                    Err(FetchError::Refused | FetchError::Unresolved { .. } | FetchError::Unreached(_))
                ),
                "{url}"
            );
        }
    }
    for url in ["http://u:p@127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "https://127.0.0.1.invalid/"] {
        assert!(
            matches!(
                open().get(url, None).await,
                Err(FetchError::Refused | FetchError::Unresolved { .. } | FetchError::Unreached(_))
            ),
            "{url}"
        );
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn redirects_are_followed_and_each_is_judged() {
    let target = Fake::fixed(HELLO).await;
    let (good, port) = (target.url("b"), target.port());
    let fake = Fake::new(move |head| {
        let location = match head.split(' ').nth(1)? {
            "/good" => good.clone(),
            "/relative" => "/good".to_owned(),
            "/port" => format!("http://[::ffff:127.0.0.2]:{port}/"),
            "/metadata" => "http://169.254.169.254/latest/".to_owned(),
            "/file" => "file:///etc/passwd".to_owned(),
            "/user" => good.replace("http://", "http://u:p@"),
            "/nowhere" => return Some("HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n".to_owned()),
            "/malformed" => "http://[".to_owned(),
            _ => "/loop".to_owned(),
        };
        Some(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
    })
    .await;
    for rest in ["good", "relative"] {
        assert_eq!(fetch(&fake.url(rest), None).await.unwrap(), b"hello", "{rest}");
        assert_eq!(open().head(&fake.url(rest)).await.unwrap().size, Some(5), "{rest}");
    }
    let before = target.connections();
    let narrow = Fetcher::new(rules(&["127.0.0.1/32"]));
    for rest in ["port", "metadata", "file", "user"] {
        assert!(matches!(narrow.get(&fake.url(rest), None).await, Err(FetchError::Refused)), "{rest}");
    }
    assert_eq!(target.connections(), before);
    for rest in ["nowhere", "malformed"] {
        assert!(matches!(fetch(&fake.url(rest), None).await, Err(FetchError::Upstream(_))), "{rest}");
    }
    let before = fake.connections();
    assert!(matches!(fetch(&fake.url("loop"), None).await, Err(FetchError::Upstream(_))));
    assert_eq!(fake.connections() - before, REDIRECTS_MAX + 1);
}

#[test]
fn https_is_not_left_for_http() {
    let hop = |location: &str| {
        let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
        next_hop(&Url::parse("https://a.example/x").unwrap(), &headers)
    };
    assert!(matches!(hop("http://a.example/y"), Err(FetchError::Upstream(_))));
    assert_eq!(hop("//b.example/y").unwrap().as_str(), "https://b.example/y");
}

#[tokio::test]
async fn ranges_are_exact_or_an_error() {
    let fake = Fake::new(|head| {
        let (status, part, body) = match head.split(' ').nth(1)? {
            "/right" => ("206 P", "bytes 2-4/9", "cde"),
            "/unknown-total" => ("206 P", "bytes 2-4/*", "cde"),
            "/other" => ("206 P", "bytes 0-2/9", "abc"),
            "/less" => ("206 P", "bytes 2-3/9", "cd"),
            "/lies" => ("206 P", "bytes 2-4/9", "cd"),
            "/whole" => ("200 OK", "", "abcdefghi"),
            "/beyond" => ("416 R", "bytes */2", ""),
            _ => ("404 N", "", ""),
        };
        Some(format!("HTTP/1.1 {status}\r\nContent-Range: {part}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    })
    .await;
    for rest in ["right", "unknown-total"] {
        assert_eq!(fetch(&fake.url(rest), Some(2..5)).await.unwrap(), b"cde", "{rest}");
    }
    assert!(fake.heads()[0].to_ascii_lowercase().contains("\r\nrange: bytes=2-4\r\n"));
    for rest in ["other", "less", "lies", "whole"] {
        assert!(matches!(fetch(&fake.url(rest), Some(2..5)).await, Err(FetchError::Upstream(_))), "{rest}");
    }
    assert!(matches!(fetch(&fake.url("beyond"), Some(2..5)).await, Err(FetchError::BadRange)));
    assert!(matches!(fetch(&fake.url("none"), Some(2..5)).await, Err(FetchError::NotFound)));
    assert!(matches!(fetch(&fake.url("right"), None).await, Err(FetchError::Upstream(_))), "206 without a range");
    let before = fake.connections();
    assert!(matches!(fetch(&fake.url("right"), Some(3..3)).await, Err(FetchError::BadRange)));
    assert_eq!(fake.connections(), before);
}

#[tokio::test]
async fn bodies_of_the_wrong_length_are_errors() {
    for short in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let fake = Fake::fixed(short).await;
        assert!(matches!(fetch(&fake.url(""), None).await, Err(FetchError::WrongLength(_))), "{short}");
    }
    for part in ["8\r\ncdefghij", "2\r\ncd"] {
        let fake = Fake::new(move |_| {
            let head = "HTTP/1.1 206 P\r\nContent-Range: bytes 2-4/99\r\nTransfer-Encoding: chunked\r\n\r\n";
            Some(format!("{head}{part}\r\n0\r\n\r\n"))
        })
        .await;
        assert!(matches!(fetch(&fake.url(""), Some(2..5)).await, Err(FetchError::WrongLength(_))), "{part}");
    }
    let fake = Fake::fixed("HTTP/1.1 200 OK\r\n\r\nhello").await;
    let body = open().get(&fake.url(""), None).await.unwrap();
    assert_eq!(body.length, None);
    assert_eq!(read(body).await.unwrap(), b"hello");
}

#[tokio::test]
async fn servers_that_hang_are_given_up() {
    let mute = Fake::new(|_| None).await;
    for result in [hasty().get(&mute.url("?sig=s3cret"), None).await.err(), hasty().head(&mute.url("")).await.err()] {
        assert!(matches!(result, Some(FetchError::TimedOut(_))), "{result:?}");
        assert!(!format!("{result:?}").contains("s3cret"));
    }
    let fake = Fake::new(|_| Some(format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{HOLD}hello"))).await;
    let result = read(hasty().get(&fake.url("?sig=s3cret"), None).await.unwrap()).await;
    assert!(matches!(result, Err(FetchError::TimedOut(_))), "{result:?}");
    assert!(!format!("{result:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_slow_reader_of_ours_is_not_the_fault_of_the_server() {
    let size = 8 * 1024 * 1024;
    let fake =
        Fake::new(move |_| Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{}", "x".repeat(size))))
            .await;
    let fetcher = hasty();
    let mut body = fetcher.get(&fake.url(""), None).await.unwrap();
    let first = body.stream.next().await.unwrap().unwrap().len();
    tokio::time::sleep(fetcher.0.rules.idle_timeout * 2).await;
    assert_eq!(first + read(body).await.unwrap().len(), size);
}

#[tokio::test]
async fn other_misbehaviour_is_named_without_secrets() {
    for (text, words, may_pass) in [
        ("HTTP/1.1 500 E\r\nContent-Length: 0\r\n\r\n", "answers with status 500", true),
        ("HTTP/1.1 304 N\r\n\r\n", "answers with status 304", false),
        (
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",
            "compresses the file, although that was not asked for",
            false,
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n", "does not answer as it should", false),
        ("", "can't answer now", true),
    ] {
        let fake = Fake::fixed(text).await;
        let error = fetch(&fake.url("path?sig=s3cret"), None).await.unwrap_err();
        assert_eq!((&*error.words(), error.may_pass()), (words, may_pass), "{text:?}: {error:?}");
        assert!(error.to_string().contains("/path?…") && !format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    // A bound port belongs to no other program and does not answer.
    let mute = TcpSocket::new_v4().unwrap();
    mute.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    assert!(matches!(
        fetch(&format!("http://{}/", mute.local_addr().unwrap()), None).await,
        Err(FetchError::Unreached(_))
    ));
}

#[tokio::test]
async fn a_server_that_takes_no_connection_is_not_reached() {
    let (full, _queued) = fake::black_hole().await;
    let address = full.local_addr().unwrap();
    let error = hasty().head(&format!("http://{address}/?sig=s3cret")).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreached(_)) && !format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[tokio::test]
async fn head_says_what_is_there() {
    let fake = Fake::new(|head| {
        let get = head.starts_with("GET ");
        Some(match head.split(' ').nth(1)? {
            "/there" => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nETag: \"t\"\r\n\r\n".to_owned(),
            "/unsized" => "HTTP/1.1 200 OK\r\nETag: W/\"t\"\r\n\r\n".to_owned(),
            "/get-only" if get => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            "/get-only" => "HTTP/1.1 405 M\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/not-even" if get => "HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/not-even" => "HTTP/1.1 501 N\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/partial" => "HTTP/1.1 206 P\r\nContent-Length: 7\r\n\r\n".to_owned(),
            "/forbidden" => "HTTP/1.1 403 F\r\nContent-Length: 0\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 503 U\r\nContent-Length: 0\r\n\r\n".to_owned(),
        })
    })
    .await;
    let found = |size, etag: Option<&str>| Found { size, etag: etag.map(str::to_owned) };
    assert_eq!(open().head(&fake.url("there")).await.unwrap(), found(Some(7), Some("t")));
    assert_eq!(open().head(&fake.url("unsized")).await.unwrap(), found(None, None));
    assert_eq!(open().head(&fake.url("get-only")).await.unwrap(), found(Some(5), None));
    for rest in ["not-even", "forbidden"] {
        assert!(matches!(open().head(&fake.url(rest)).await, Err(FetchError::NotFound)), "{rest}");
    }
    for (trouble, status) in [("partial", 206), ("down", 503)] {
        let error = open().head(&fake.url(trouble)).await.unwrap_err();
        assert!(matches!(error, FetchError::Status { code, .. } if code == status), "{error:?}");
        let error = Error::from(error);
        assert_eq!(error.message(), format!("The server of this URL answers with status {status}."));
        assert_eq!(error.kind(), Kind::Upstream);
    }
}

#[tokio::test]
async fn a_probe_sees_more_than_head() {
    let fake = Fake::new(|head| {
        let get = head.starts_with("GET ");
        Some(match head.split(' ').nth(1)? {
            "/plain" if get => "HTTP/1.1 206 P\r\nContent-Range: bytes 0-0/7\r\nContent-Length: 1\r\n\r\nh".to_owned(),
            "/empty" if get => "HTTP/1.1 416 R\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/packed" if get => {
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nabcdefg".to_owned()
            }
            "/down" if get => "HTTP/1.1 500 D\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/packed-head" => "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 7\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_owned(),
        })
    })
    .await;
    for good in ["plain", "empty"] {
        assert_eq!(open().probe(&fake.url(good)).await.unwrap().size, Some(7), "{good}");
    }
    for packed in ["packed", "packed-head"] {
        let error = open().probe(&fake.url(packed)).await.unwrap_err();
        assert!(matches!(error, FetchError::Compressed(_)), "{packed}: {error:?}");
    }
    assert!(matches!(open().probe(&fake.url("down")).await, Err(FetchError::Status { code: 500, .. })));
}

#[tokio::test]
async fn a_server_that_ignores_ranges_gives_everything_to_callers_who_take_it() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabcdefg";
    let fake = Fake::new(move |_| Some(whole.to_owned())).await;
    let body = open().part_or_whole(&fake.url(""), Some(2..4)).await.unwrap();
    assert_eq!((body.status, read(body).await.unwrap()), (200, b"abcdefg".to_vec()));
    assert!(matches!(open().get(&fake.url(""), Some(2..4)).await, Err(FetchError::Upstream(_))));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (pem, tls) = fake::certificate();
    let fake = Fake::serving(Some(tls), |_| fake::answer("200 OK", "", "hello"));
    let error = open().get(&fake.url(""), None).await.unwrap_err();
    assert!(matches!(&error, FetchError::Certificate(text) if text.contains("certificate")), "{error:?}");
    assert!(fake.asked().is_empty(), "nothing is said before the handshake has succeeded");

    let pinned = |pem: &str| Request::to(fake.url("x")).pinned(Some(Pin::of_pem(pem).unwrap()));
    let body = open().open(&pinned(&pem)).await.unwrap();
    assert_eq!(read(body).await.unwrap(), b"hello");
    let (other, _) = fake::certificate();
    let chain = format!("{pem}{other}");
    assert!(open().open(&pinned(&chain)).await.is_ok(), "the first is the server's own");
    for wrong in [other.clone(), format!("{other}{pem}")] {
        let error = open().open(&pinned(&wrong)).await.unwrap_err();
        assert!(matches!(error, FetchError::Certificate(_)), "{error:?}");
    }
    assert_eq!(fake.asked().len(), 2);
    for bad in ["", "x", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &"x".repeat(1 << 20)] {
        assert!(Pin::of_pem(bad).is_err());
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_trusted_between_its_dates() {
    for (begin, end, good) in [(2020, 4000, true), (2001, 2002, false), (3000, 4000, false)] {
        let mut described = rcgen::CertificateParams::new(vec!["fake".to_owned()]).unwrap();
        described.not_before = rcgen::date_time_ymd(begin, 1, 1);
        described.not_after = rcgen::date_time_ymd(end, 1, 1);
        let (pem, tls) = fake::certificate_with(&described);
        let fake = Fake::serving(Some(tls), |_| fake::answer("200 OK", "", "hello"));
        let outcome = open().open(&Request::to(fake.url("x")).pinned(Some(Pin::of_pem(&pem).unwrap()))).await;
        assert_eq!((outcome.is_ok(), fake.asked().len()), (good, usize::from(good)), "{begin} to {end}");
        if let Err(error) = outcome {
            assert!(matches!(error, FetchError::CertificateDates(_)), "{error:?}");
            let told = error.of_server("lab:8443");
            let words = "The server lab:8443 has a certificate that has expired or is not valid yet.";
            assert_eq!((told.kind(), told.message()), (Kind::Upstream, words));
        }
    }
}

#[tokio::test]
async fn a_pinned_server_leads_nowhere_else_and_speaks_tls() {
    let (pem, tls) = fake::certificate();
    let pin = Some(Pin::of_pem(&pem).unwrap());
    let other = Fake::serving(Some(Arc::clone(&tls)), |_| fake::answer("200 OK", "", "hello"));
    let elsewhere = other.url("");
    let fake = Fake::serving(Some(tls), move |asked| {
        let to = match asked.target() {
            "/here" => "/there",
            "/there" => return fake::answer("200 OK", "", "hello"),
            _ => &elsewhere,
        };
        fake::answer("302 F", &format!("Location: {to}\r\n"), "")
    });
    let get = async |rest: &str| read(open().open(&Request::to(fake.url(rest)).pinned(pin.clone())).await?).await;
    assert_eq!(get("here").await.unwrap(), b"hello");
    assert!(matches!(get("elsewhere").await, Err(FetchError::Upstream(_))));
    assert_eq!(other.connections(), 0);
    let plain = Fake::fixed(HELLO).await;
    let error = open().open(&Request::to(plain.url("")).pinned(pin)).await.unwrap_err();
    assert!(matches!(error, FetchError::Upstream(_)) && plain.connections() == 0, "{error:?}");
}

#[tokio::test]
async fn documents_are_bounded_in_bytes_and_time() {
    let fake = Fake::serving(None, |asked| match asked.target() {
        "/error" => fake::answer("500 E", "X-Y: z\r\n", "oh"),
        "/exact" => fake::answer("200 OK", "", "x".repeat(100)),
        "/long" => fake::answer("200 OK", "", "x".repeat(101)),
        "/endless" => Say::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 40]),
        "/drip" => Say::Dripping(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x']),
        _ => Say::Hold(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello".to_vec()),
    });
    let get = async |rest: &str| hasty().document(&Request::to(fake.url(rest)), 100).await;
    let error = get("error").await.unwrap();
    assert_eq!((error.status, error.told.text("x-y"), &*error.bytes), (500, Some("z"), &b"oh"[..]));
    assert_eq!(get("exact").await.unwrap().bytes.len(), 100);
    for rest in ["long", "endless"] {
        assert!(matches!(get(rest).await, Err(FetchError::WrongLength(_))), "{rest}");
    }
    assert!(matches!(get("hang").await, Err(FetchError::TimedOut(_))));
    // One byte after the other never is silence, but there is a limit to the whole as well.
    let dripping = hasty().document(&Request::to(fake.url("drip")), usize::MAX).await;
    assert!(matches!(dripping, Err(FetchError::TimedOut(_))), "{dripping:?}");
}

#[tokio::test]
async fn patience_is_asked_for_by_the_request() {
    let slow = Fake::serving(None, |asked| {
        if asked.target() == "/never" {
            return Say::Hold(Vec::new());
        }
        std::thread::sleep(Duration::from_secs(5));
        fake::answer("200 OK", "", "late")
    });
    let never = Request::to(slow.url("never"));
    assert!(matches!(hasty().document(&never, 100).await, Err(FetchError::TimedOut(_))));
    let patient = Request::to(slow.url("")).within(Duration::from_secs(60));
    assert_eq!(hasty().document(&patient, 100).await.unwrap().bytes, "late");
}

#[tokio::test]
async fn only_what_is_listed_is_said_and_headers_come_back() {
    let fake = Fake::serving(None, |_| fake::answer("404 N", "Lxd-Image-Hash: abc\r\n", ""));
    let request = Request::to(fake.url("i")).saying(Header::LxdVersion, "5.0").unwrap();
    let (status, told) = open().headers(&request).await.unwrap();
    assert_eq!((status, told.text("LXD-Image-Hash"), told.text("x")), (404, Some("abc"), None));
    let asked = fake.asked().remove(0);
    assert!(asked.head.starts_with("HEAD /i "));
    assert_eq!(asked.header("lxd-server-version"), Some("5.0"));
    for bad in ["a\r\nb: c", "\0", "é\n"] {
        assert!(Request::to("http://h/").saying(Header::LxdSecret, bad).is_err(), "{bad:?}");
    }
    let secret = Request::to("https://h/?secret=s3cret").saying(Header::LxdSecret, "s3cret").unwrap();
    assert!(!format!("{secret:?}").contains("s3cret"));
}

fn payload(length: Option<u64>, pieces: Vec<crate::error::Result<Bytes>>) -> Payload {
    Payload { content_type: "text/x".into(), length, stream: futures_util::stream::iter(pieces).boxed() }
}

#[tokio::test]
async fn bytes_are_given_to_the_named_server_only() {
    let target = Fake::serving(None, |_| fake::answer("200 OK", "", "thanks"));
    let elsewhere = target.url("");
    let fake = Fake::serving(None, move |asked| match asked.target() {
        "/refuses" => fake::answer("403 F", "", "no"),
        "/hang" => Say::Hold(Vec::new()),
        "/away" => fake::answer("307 T", &format!("Location: {elsewhere}\r\n"), ""),
        _ => fake::answer("202 A", "", "thanks"),
    });
    let pieces = || vec![Ok(Bytes::from("hel")), Ok(Bytes::from("lo"))];
    let give = async |rest: &str, what| hasty().send(&Request::to(fake.url(rest)), what, 100).await;
    for length in [Some(5), None] {
        let document = give("takes", payload(length, pieces())).await.unwrap();
        assert_eq!((document.status, &*document.bytes), (202, &b"thanks"[..]));
        let asked = fake.asked().pop().unwrap();
        assert!(asked.head.starts_with("POST /takes ") && asked.body == b"hello", "{}", asked.head);
        assert_eq!(asked.header("content-length").is_some(), length.is_some());
        assert_eq!(asked.header("content-type"), Some("text/x"));
    }
    assert_eq!(give("refuses", payload(None, pieces())).await.unwrap().status, 403);
    assert!(matches!(give("hang", payload(None, pieces())).await, Err(FetchError::TimedOut(_))));
    assert!(matches!(give("away", payload(None, pieces())).await, Err(FetchError::Upstream(_))));
    assert_eq!(target.connections(), 0);
    let refused = Fetcher::new(rules(&[])).send(&Request::to(fake.url("")), payload(None, pieces()), 100).await;
    assert!(matches!(refused, Err(FetchError::Refused)));

    let broken = vec![Ok(Bytes::from("hel")), Err(crate::error::Error::invalid("our disk"))];
    for (length, pieces, text) in
        [(None, broken, "our disk"), (Some(9), pieces(), "server"), (Some(4), pieces(), "server")]
    {
        let error = give("takes", payload(length, pieces)).await.unwrap_err();
        assert!(matches!(&error, FetchError::Payload(error) if error.message().contains(text)), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_takes_no_bytes_is_given_up() {
    // It reads nothing at all: what the kernel does not hold back is stuck.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let _socket = listener.accept().await;
        std::future::pending::<()>().await;
    });
    let endless = futures_util::stream::repeat_with(|| Ok(Bytes::from(vec![0; 65536]))).boxed();
    let what = Payload { content_type: "text/x".into(), length: None, stream: endless };
    assert!(matches!(hasty().send(&Request::to(url), what, 100).await, Err(FetchError::TimedOut(_))));
}

#[test]
fn a_url_is_written_down_in_one_bounded_form() {
    let fetcher = Fetcher::new(FetchRules::default());
    let blanks = " ".repeat(1 << 20);
    for (given, kept) in [
        (" HTTPS://Example.org/a b\n".to_owned(), "https://example.org/a%20b"),
        (format!("https://example.org/x{blanks}"), "https://example.org/x"),
    ] {
        assert_eq!(fetcher.canonical(&given).unwrap(), kept);
    }
    for bad in [format!("https://example.org/{}", "x".repeat(URL_BYTES_MAX)), "ftp://example.org/".into(), "x".into()] {
        assert!(fetcher.canonical(&bad).is_err(), "{}", &bad[..20.min(bad.len())]);
    }
}
