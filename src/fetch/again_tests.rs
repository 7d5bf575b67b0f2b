//! Requests that are repeated and bodies that are continued, against a server on 127.0.0.1 that fails as it is told to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fake::{Asked, Fake, Say, answer};
use super::tests::read;
use super::*;

const TRIES: u32 = 4;

fn fetcher() -> Fetcher {
    let retries = Retries {
        tries: TRIES,
        pause: Duration::from_millis(1),
        pause_max: Duration::from_secs(2),
        ..Retries::default()
    };
    Fetcher::new(FetchRules { allow: vec!["127.0.0.1/32".parse().unwrap()], retries, ..FetchRules::default() })
}

/// A megabyte in which no stretch is like another.
fn content(seed: u32) -> Vec<u8> {
    (0..(1u32 << 18)).flat_map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(seed).to_le_bytes()).collect()
}

/// Behaviour of a server that is asked for a range.
#[derive(Clone, Copy, PartialEq)]
enum Ranges {
    /// It sends the part, if `If-Range` names the present entity tag.
    Kept,
    /// It sends everything.
    Ignored,
    /// It sends another part.
    Wrong,
}

/// An answer with some bytes, of which only the first `sent` come.
fn cut(status: &str, headers: &str, body: &[u8], sent: usize) -> Say {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    Say::Bytes([head.as_bytes(), &body[..sent.min(body.len())]].concat())
}

/// A server whose answers break off after `sent` bytes; `version` gives tag (with its quotes) and content at the n-th request.
fn flaky(
    ranges: Ranges,
    sent: usize,
    version: impl Fn(usize) -> (&'static str, Vec<u8>) + Send + Sync + 'static,
) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::serving(None, move |asked| {
        let (tag, body) = version(count.fetch_add(1, Ordering::SeqCst));
        let headers = if tag.is_empty() { String::new() } else { format!("ETag: {tag}\r\n") };
        let from =
            asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match from {
            Some(from) if ranges != Ranges::Ignored && asked.header("if-range") == Some(tag) => {
                let from: usize = if ranges == Ranges::Wrong { from + 1 } else { from };
                let part = format!("{headers}Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
                cut("206 Partial Content", &part, &body[from..], sent)
            }
            // What came before has to come again before there is progress.
            _ => cut("200 OK", &headers, &body, if asked.header("range").is_some() { body.len() } else { sent }),
        }
    })
}

async fn fetched(fetcher: &Fetcher, fake: &Fake) -> Result<Vec<u8>, FetchError> {
    read(fetcher.get_again(&fake.url("x")).await?).await
}

fn ranges_of(fake: &Fake) -> Vec<Option<String>> {
    fake.asked().iter().map(|asked| asked.header("range").map(ToOwned::to_owned)).collect()
}

#[tokio::test]
async fn a_body_that_breaks_off_is_continued_where_it_stopped() {
    let bytes = content(1);
    let sent = bytes.len() / 3 + 1;
    let body = bytes.clone();
    let fake = flaky(Ranges::Kept, sent, move |_| ("\"v1\"", body.clone()));
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let fetcher = fetcher().telling(move |event| {
        seen.lock().unwrap().push(match event {
            RetryEvent::Pause(error, _) => error.words().into_owned(),
            RetryEvent::Going => "going".to_owned(),
        });
    });
    let body = fetcher.get_again(&fake.url("x")).await.unwrap();
    assert_eq!((body.length, body.etag.as_deref()), (Some(bytes.len() as u64), Some("v1")));
    assert!(read(body).await.unwrap() == bytes);
    let expected = [None, Some(format!("bytes={sent}-")), Some(format!("bytes={}-", 2 * sent))];
    assert_eq!(ranges_of(&fake), expected, "nothing comes twice");
    assert!(fake.asked()[1..].iter().all(|asked| asked.header("if-range") == Some("\"v1\"")));
    let pause = "sent more or less than it announced";
    assert_eq!(*told.lock().unwrap(), [pause, "going", pause, "going"]);
}

/// Requests are sent as long as there is progress, and no more than are allowed where there is none.
#[tokio::test]
async fn progress_is_what_counts() {
    let bytes = [content(1), content(2), content(3), content(4), content(5), content(6)].concat();
    let body = bytes.clone();
    let fake = flaky(Ranges::Kept, 1 << 20, move |_| ("\"v1\"", body.clone()));
    assert!(fetched(&fetcher(), &fake).await.unwrap() == bytes);
    assert!(fake.connections() > TRIES as usize);

    let stuck = flaky(Ranges::Kept, 1000, move |_| ("\"v1\"", content(1)));
    let error = fetched(&fetcher(), &stuck).await.unwrap_err();
    assert!(matches!(&error, FetchError::Spent(last) if matches!(**last, FetchError::WrongLength(_))), "{error}");
    assert_eq!(stuck.connections(), TRIES as usize);
    assert_eq!(Error::from(error).message(), "The server of this URL sent more or less than it announced.");
}

#[tokio::test]
async fn what_came_before_is_left_out_where_it_has_to_come_again() {
    let bytes = content(1);
    // Ignores ranges; has no entity tag; has a weak one, which stands for no bytes.
    for (tag, asks) in [("\"v1\"", true), ("", false), ("W/\"v1\"", false)] {
        let body = bytes.clone();
        let fake = Fake::serving(None, {
            let count = AtomicUsize::new(0);
            move |_| {
                let headers = if tag.is_empty() { String::new() } else { format!("ETag: {tag}\r\n") };
                // Each time a little more, and the third time all.
                let sent = [300_000, 500_000, body.len()][count.fetch_add(1, Ordering::SeqCst).min(2)];
                cut("200 OK", &headers, &body, sent)
            }
        });
        assert!(fetched(&fetcher(), &fake).await.unwrap() == bytes, "{tag}");
        assert_eq!(fake.connections(), 3);
        assert_eq!(ranges_of(&fake)[1].is_some(), asks, "{tag}");
    }
}

#[tokio::test]
async fn two_versions_are_never_mixed() {
    let version = |n: usize| if n == 0 { ("\"v1\"", content(1)) } else { ("\"v2\"", content(2)) };
    // Told by the tag; by the bytes, where no tag or an old one is sent; by the length.
    let same_tag = |n: usize| if n == 0 { ("\"v1\"", content(1)) } else { ("\"v1\"", content(2)) };
    let no_tag = |n: usize| if n == 0 { ("", content(1)) } else { ("", content(2)) };
    let longer = |n: usize| if n == 0 { ("", content(1)) } else { ("", [content(1), content(1)].concat()) };
    for (what, fake) in [
        ("another tag", flaky(Ranges::Kept, 300_000, version)),
        ("other bytes", flaky(Ranges::Ignored, 300_000, same_tag)),
        ("no tag", flaky(Ranges::Kept, 900_000, no_tag)),
        ("another length", flaky(Ranges::Kept, 300_000, longer)),
    ] {
        let error = fetched(&fetcher(), &fake).await.unwrap_err();
        assert!(matches!(error, FetchError::Changed(_)), "{what}: {error}");
        assert_eq!(fake.connections(), 2, "{what}: it does not get better");
    }
    // A server that sends another part than it was asked for is not believed.
    let wrong = flaky(Ranges::Wrong, 300_000, |_| ("\"v1\"", content(1)));
    assert!(matches!(fetched(&fetcher(), &wrong).await, Err(FetchError::Upstream(_))));
}

#[tokio::test]
async fn a_server_that_can_not_answer_now_is_asked_again() {
    let failures = [
        ("503 Service Unavailable", "Retry-After: 0\r\n"),
        ("429 Too Many Requests", "Retry-After: 1\r\n"),
        ("500 Internal Server Error", ""),
    ];
    let count = AtomicUsize::new(0);
    let fake = Fake::serving(None, move |_| match failures.get(count.fetch_add(1, Ordering::SeqCst)) {
        Some((status, headers)) => answer(status, headers, "sorry"),
        None => answer("200 OK", "", "hello"),
    });
    let began = std::time::Instant::now();
    assert_eq!(fetched(&fetcher(), &fake).await.unwrap(), b"hello");
    assert!(began.elapsed() >= Duration::from_secs(1), "the pause that it asked for");

    // Closed before there is an answer.
    let count = AtomicUsize::new(0);
    let closing = Fake::serving(None, move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Say::Bytes(Vec::new()),
        _ => answer("200 OK", "", "hello"),
    });
    assert_eq!(fetched(&fetcher(), &closing).await.unwrap(), b"hello");

    let never = Fake::serving(None, |_| answer("503 Service Unavailable", "", ""));
    let error = fetched(&fetcher(), &never).await.unwrap_err();
    assert_eq!((never.connections(), &*error.words()), (TRIES as usize, "answers with status 503"));
}

#[tokio::test]
async fn what_does_not_get_better_is_asked_once() {
    for status in
        ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone", "501 Not Implemented"]
    {
        let fake = Fake::serving(None, move |_| answer(status, "", ""));
        assert!(fetched(&fetcher(), &fake).await.is_err());
        assert_eq!(fake.connections(), 1, "{status}");
    }
    // A pause that is too long.
    let later = Fake::serving(None, |_| answer("503 Service Unavailable", "Retry-After: 3600\r\n", ""));
    assert!(matches!(fetched(&fetcher(), &later).await, Err(FetchError::Status { code: 503, .. })));
    assert_eq!(later.connections(), 1);
    let refused = Fake::fixed("").await;
    let nothing = Fetcher::new(FetchRules { retries: fetcher().retries(None), ..FetchRules::default() });
    assert!(matches!(fetched(&nothing, &refused).await, Err(FetchError::Refused)));
    assert_eq!(refused.connections(), 0);
    // What is good for one request.
    let failing = Fake::serving(None, |_| answer("503 Service Unavailable", "", "sorry"));
    let body = fetcher().open_again(&Request::to(failing.url("x")).once(true)).await.unwrap();
    assert_eq!((body.status, failing.connections()), (503, 1));
}

/// The rest of a form that broke off can't be told from its beginning: each answer has another boundary.
#[tokio::test]
async fn a_form_is_not_continued() {
    let headers = "Content-Type: multipart/form-data; boundary=x\r\nETag: \"v1\"\r\n";
    let fake = Fake::serving(None, move |_: &Asked| cut("200 OK", headers, &[7; 1000], 500));
    let body = fetcher().open_again(&Request::to(fake.url("x"))).await.unwrap();
    assert!(matches!(read(body).await, Err(FetchError::WrongLength(_))));
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn documents_and_headers_are_asked_for_again_and_the_servers_last_words_count() {
    let count = AtomicUsize::new(0);
    let fake = Fake::serving(None, move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => answer("502 Bad Gateway", "", ""),
        1 => cut("200 OK", "", b"hello", 2),
        _ => answer("200 OK", "X: y\r\n", "hello"),
    });
    let request = Request::to(fake.url("x"));
    assert_eq!(fetcher().document_again(&request, 100).await.unwrap().bytes, "hello");
    assert_eq!((fetcher().headers_again(&request).await.unwrap().1.text("x"), fake.connections()), (Some("y"), 4));
    let broken = Fake::serving(None, |_| answer("500 Internal Server Error", "", "out of tape"));
    let document = fetcher().document_again(&Request::to(broken.url("x")), 100).await.unwrap();
    assert_eq!((document.status, &document.bytes[..]), (500, &b"out of tape"[..]));
    assert_eq!(broken.connections(), TRIES as usize);
}

#[tokio::test]
async fn pauses_double_and_are_bounded_in_number_and_time() {
    let rules = Retries {
        tries: 4,
        requests_max: 9,
        pause: Duration::from_secs(1),
        pause_max: Duration::from_secs(3),
        time_max: Duration::from_secs(30),
    };
    let seconds = |pause: Option<Duration>| pause.map(|pause| pause.as_secs());
    let mut backoff = Backoff::new(rules);
    let pauses: Vec<_> = (0..4).map(|_| seconds(backoff.pause(None))).collect();
    assert_eq!(pauses, [Some(1), Some(2), Some(3), None]);
    backoff.forget();
    let asked = |backoff: &mut Backoff, pause| seconds(backoff.pause(Some(Duration::from_secs(pause))));
    assert_eq!((asked(&mut backoff, 0), asked(&mut backoff, 3), asked(&mut backoff, 4)), (Some(1), Some(3), None));
    backoff.forget();
    assert_eq!((seconds(backoff.pause(None)), seconds(backoff.pause(None))), (Some(1), None), "the ninth request");

    let ms = Duration::from_millis;
    let mut backoff = Backoff::new(Retries { pause: ms(1), time_max: ms(10), ..rules });
    assert!(backoff.pause(None).is_some());
    tokio::time::sleep(ms(10)).await;
    assert_eq!(backoff.pause(None), None, "the time is over");
}
