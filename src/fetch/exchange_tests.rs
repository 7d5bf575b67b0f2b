//! Exchanges against servers on 127.0.0.1, and the connections that they take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::net::TcpListener;

use super::fake::{self, Fake, Say, answer};
use super::*;

fn fetcher() -> Fetcher {
    let allow = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).to_vec();
    Fetcher::new(FetchRules { allow, ..FetchRules::default() })
}

fn to(url: String) -> Exchange {
    Exchange { url, ..Exchange::default() }
}

async fn read(exchanged: Exchanged) -> Result<Vec<u8>, FetchError> {
    let pieces: Vec<Bytes> = exchanged.stream.try_collect().await?;
    Ok(pieces.concat())
}

/// An answer after which the connection goes on.
fn keeping(body: &str) -> Say {
    let Say::Bytes(bytes) = answer("200 OK", "", body) else { unreachable!() };
    Say::Keep(bytes)
}

#[tokio::test]
async fn conditions_and_ranges_go_out_as_they_stand() {
    let fake = Fake::serving(None, |_| answer("304 Not Modified", "ETag: W/\"b\"\r\n", ""));
    let conditional = Exchange {
        if_none_match: vec!["\"a\"".into(), "W/\"b\"".into()],
        if_modified_since: Some("Sun, 06 Nov 1994 08:49:37 GMT".into()),
        via: Some("1.1 visor-x".into()),
        ..to(fake.url("a"))
    };
    let exchanged = fetcher().exchange(&conditional).await.unwrap();
    assert_eq!((exchanged.status, exchanged.told.etag()), (304, Some("W/\"b\"")));
    assert_eq!(read(exchanged).await.unwrap(), b"");
    let rest = Exchange { range: Some((5, None)), if_range: Some("\"a\"".into()), ..to(fake.url("b")) };
    fetcher().exchange(&rest).await.unwrap();
    let part = Exchange { range: Some((5, Some(8))), head: true, ..to(fake.url("c")) };
    fetcher().exchange(&part).await.unwrap();

    let asked = fake.asked();
    let said = |at: usize, names: [&str; 5]| names.map(|name| asked[at].header(name));
    let names = ["range", "if-range", "if-none-match", "if-modified-since", "via"];
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(said(0, names), [None, None, Some("\"a\", W/\"b\""), date, Some("1.1 visor-x")]);
    assert_eq!(said(1, names), [Some("bytes=5-"), Some("\"a\""), None, None, None]);
    assert_eq!(said(2, names), [Some("bytes=5-7"), None, None, None, None]);
    assert!(asked[0].head.starts_with("GET /a ") && asked[2].head.starts_with("HEAD /c "));
    assert_eq!(asked[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn every_status_is_an_answer_from_the_place_where_the_redirects_end() {
    let fake = Fake::serving(None, |asked| match asked.target() {
        "/206" => answer("206 P", "Content-Range: bytes 2-4/9\r\n", "cde"),
        "/416" => answer("416 R", "Content-Range: bytes */9\r\n", "no"),
        "/404" => answer("404 N", "Content-Encoding: gzip\r\n", "no"),
        "/gzip" => answer("200 OK", "Content-Encoding: gzip\r\n", "xx"),
        "/short" => Say::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello".to_vec()),
        "/200" | "/200?x" => answer("200 OK", "ETag: \"t\"\r\n", "hello"),
        _ => answer("302 F", "Location: /200?x\r\n", ""),
    });
    let get = async |rest: &str| fetcher().exchange(&to(fake.url(rest))).await;
    let part = get("206").await.unwrap();
    assert_eq!(part.told.content_range(), Some(ContentRange { part: Some(2..5), total: Some(9) }));
    assert_eq!((part.status, part.length, read(part).await.unwrap()), (206, Some(3), b"cde".to_vec()));
    let beyond = get("416").await.unwrap();
    assert_eq!((beyond.status, beyond.told.content_range().unwrap().total), (416, Some(9)));
    assert_eq!(get("404").await.unwrap().status, 404);
    assert!(matches!(get("gzip").await, Err(FetchError::Compressed(_))));
    assert!(matches!(read(get("short").await.unwrap()).await, Err(FetchError::WrongLength(_))));
    let whole = get("moved").await.unwrap();
    assert_eq!((&*whole.url, whole.told.length()), (&*fake.url("200?x"), Some(5)));
    assert_eq!(read(whole).await.unwrap(), b"hello");
    let head = fetcher().exchange(&Exchange { head: true, ..to(fake.url("200")) }).await.unwrap();
    assert_eq!((head.length, read(head).await.unwrap()), (Some(5), Vec::new()));
}

#[tokio::test]
async fn a_redirect_to_a_forbidden_place_is_refused() {
    let fake = Fake::serving(None, |asked| {
        let to = if asked.target() == "/port" { "http://8.8.8.8:22/" } else { "http://169.254.169.254/latest/" };
        answer("302 F", &format!("Location: {to}\r\n"), "")
    });
    for rest in ["port", "metadata"] {
        assert!(matches!(fetcher().exchange(&to(fake.url(rest))).await, Err(FetchError::Refused)), "{rest}");
    }
}

#[tokio::test]
async fn the_time_to_the_head_covers_connections_handshakes_and_redirects() {
    let (hole, _queued) = fake::black_hole().await;
    let hole = format!("http://{}/?sig=s3cret", hole.local_addr().unwrap());
    let place = hole.clone();
    let leads = Fake::serving(None, move |_| answer("302 F", &format!("Location: {place}\r\n"), ""));
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_tls = format!("https://{}/", mute.local_addr().unwrap());
    let silent = Fake::serving(None, |_| Say::Hold(Vec::new()));
    for url in [hole, leads.url(""), mute_tls, silent.url("")] {
        let limited = Exchange { head_within: Some(Duration::from_millis(400)), ..to(url) };
        let begin = Instant::now();
        let error = fetcher().exchange(&limited).await.unwrap_err();
        assert!(matches!(error, FetchError::TimedOut(_)), "{error:?}");
        // The usual limits begin at five seconds.
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}: {error:?}", begin.elapsed());
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let (pem, tls) = fake::certificate_for("127.0.0.1");
    let server = Fake::serving(Some(tls), |asked| match asked.target() {
        // Read by nobody: what has come with the head does not cost the connection.
        "/0" | "/5" => Say::Keep(b"HTTP/1.1 404 N\r\nContent-Length: 4\r\n\r\nnone".to_vec()),
        _ => keeping("sum"),
    });
    let fetcher = fetcher().trusting(pem.as_bytes()).unwrap();
    for number in 0..8 {
        let exchanged = fetcher.exchange(&to(server.url(&number.to_string()))).await.unwrap();
        if exchanged.status == 200 {
            assert_eq!(read(exchanged).await.unwrap(), b"sum");
        }
    }
    assert_eq!((server.asked().len(), server.connections()), (8, 1));
    // What says more than a URL makes a connection of its own.
    fetcher.open(&Request::to(server.url("x"))).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_request_into_a_connection_that_is_closed_is_sent_again_on_a_new_one() {
    let count = AtomicUsize::new(0);
    // Closes instead of answering the second request, which came on the connection that it kept.
    let server = Fake::serving(None, move |_| match count.fetch_add(1, Ordering::SeqCst) {
        1 => Say::Bytes(Vec::new()),
        _ => keeping("hello"),
    });
    let fetcher = fetcher();
    for connections in [1, 2, 3, 3] {
        let exchanged = fetcher.exchange(&to(server.url(""))).await.unwrap();
        assert_eq!(read(exchanged).await.unwrap(), b"hello");
        assert_eq!(server.connections(), connections);
        // The connection goes back when its end of the answer was seen.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.asked().len(), 5);
    // Once, not for ever.
    let broken = Fake::serving(None, |_| Say::Bytes(Vec::new()));
    assert!(matches!(fetcher.exchange(&to(broken.url(""))).await, Err(FetchError::Failing(_))));
    assert_eq!(broken.connections(), 2);
}
