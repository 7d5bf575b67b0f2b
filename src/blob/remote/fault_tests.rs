//! Remote stores whose other side misbehaves, goes away or points elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::net::TcpSocket;

use super::hdfs_fake::{Hdfs, exception};
use super::tests::{ACCESS, SECRET, Stores, get, hdfs_at, key, patient_for, put, s3_at, s3_through, sample, until};
use super::*;
use crate::error::{Error, Kind};
use crate::fetch::fake::{Asked, Fake, Say, answer};

/// A server that gets how many requests came before, and each.
pub(super) fn fake(answer: impl Fn(usize, &Asked) -> Say + Send + Sync + 'static) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::serving(None, move |asked| answer(count.fetch_add(1, Ordering::SeqCst), asked))
}

pub(super) fn store(fake: &Fake) -> Stores {
    s3_at(&fake.url(""), |_| {})
}

/// The error of this code, as S3 words one.
fn problem(status: &str, code: &str) -> Say {
    let xml = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{SECRET}</Message><AWSAccessKeyId>{ACCESS}</AWSAccessKeyId></Error>"
    );
    answer(status, "Content-Type: application/xml\r\n", xml)
}

pub(super) fn method(asked: &Asked) -> &str {
    asked.head.split(' ').next().unwrap()
}

/// An answer to `HEAD`.
pub(super) fn there(size: usize) -> Say {
    let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    Say::Bytes(format!("HTTP/1.1 200 OK\r\n{date}Content-Length: {size}\r\n\r\n").into_bytes())
}

/// The words of an error that a store is to blame for, which are harmless.
pub(super) fn blamed(error: StoreError) -> String {
    let shown = format!("{error:?} {error}");
    let StoreError::Unavailable(_) = &error else { panic!("{shown}") };
    let error = Error::from(error);
    assert_eq!(error.kind(), Kind::Upstream);
    for text in [&shown, &error.causes(), &format!("{error:?}")] {
        assert!(
            ![SECRET, ACCESS, "127.0.0", "Signature", "images/"].iter().any(|never| text.contains(never)),
            "{text}"
        );
    }
    assert!(error.message().starts_with("The store attic "), "{error}");
    error.message().to_owned()
}

#[tokio::test]
async fn a_server_that_is_not_there_or_says_nothing_is_down() {
    // A bound port belongs to no other program and does not answer.
    let mute = TcpSocket::new_v4().unwrap();
    mute.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let Stores { remote, .. } = s3_at(&format!("http://{}", mute.local_addr().unwrap()), |_| {});
    assert!(blamed(remote.stat(&key()).await.unwrap_err()).contains("can't be reached"));
    assert!(blamed(put(&remote, &key(), b"x", true).await.unwrap_err()).contains("can't be reached"));
    assert!(blamed(remote.sweep(None).await.unwrap_err()).contains("can't be reached"));
    assert!(blamed(remote.list().await.unwrap_err()).contains("can't be reached"));
    assert!(blamed(remote.delete(&key()).await.unwrap_err()).contains("can't be reached"));

    let silent = fake(|_, _| Say::Hold(Vec::new()));
    let Stores { remote, .. } = s3_through(&patient_for(Duration::from_millis(100)), &silent.url(""), |_| {});
    let error = remote.stat(&key()).await.unwrap_err();
    assert!(blamed(error).contains("too long"));
    until(|| silent.connections() == 4).await;
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_given_up() {
    let passing = fake(|count, _| match count {
        0 => answer("500 Internal Server Error", "", ""),
        1 => answer("503 Slow Down", "", ""),
        _ => there(7),
    });
    assert_eq!(store(&passing).remote.stat(&key()).await.unwrap().size, 7);
    assert_eq!(passing.heads().len(), 3);

    let failing = fake(|_, _| problem("500 Internal Server Error", "InternalError"));
    assert!(blamed(put(&store(&failing).remote, &key(), b"x", true).await.unwrap_err()).contains("fails"));
    assert_eq!(failing.heads().len(), 4);
}

#[tokio::test]
async fn what_is_configured_wrongly_is_told_at_once() {
    for (status, code, told) in [
        ("403 Forbidden", "SignatureDoesNotMatch", "credentials"),
        ("403 Forbidden", "RequestTimeTooSkewed", "clock"),
        ("404 Not Found", "NoSuchBucket", "bucket"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", "region"),
        ("418 I'm a teapot", "Teapot", "does not answer as it should"),
    ] {
        let wrong = fake(move |_, _| problem(status, code));
        assert!(blamed(put(&store(&wrong).remote, &key(), b"x", true).await.unwrap_err()).contains(told), "{code}");
        assert_eq!(wrong.heads().len(), 1, "{code}");
    }
    // The answer to HEAD has no body that would say which.
    let no_bucket = fake(|_, asked| match method(asked) {
        "HEAD" => Say::Bytes(b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()),
        _ => problem("404 Not Found", "NoSuchBucket"),
    });
    assert!(blamed(store(&no_bucket).remote.stat(&key()).await.unwrap_err()).contains("bucket"));
}

#[tokio::test]
async fn a_full_store_is_full() {
    for (status, code) in [
        ("507 Insufficient Storage", "XMinioStorageFull"),
        ("507 Insufficient Storage", ""),
        ("403 Forbidden", "QuotaExceeded"),
    ] {
        let full = fake(move |_, _| problem(status, code));
        assert!(matches!(put(&store(&full).remote, &key(), b"x", true).await, Err(StoreError::Full)), "{code}");
    }
    let full = Hdfs::disturbed(Arc::new(|namenode, asked, _| {
        (!namenode && method(asked) == "PUT").then(|| exception("403 Forbidden", "DSQuotaExceededException"))
    }));
    assert!(matches!(put(&hdfs_at(&full).remote, &key(), b"x", true).await, Err(StoreError::Full)));
}

#[tokio::test]
async fn bytes_that_are_not_those_asked_for_are_an_error_and_not_an_end() {
    let bytes = sample(600_000);
    for (part, status) in [
        ("bytes 0-599999/600000", "206 Partial Content"),
        ("bytes 1-600000/600001", "206 Partial Content"),
        ("", "200 OK"),
    ] {
        let cut = bytes[..300_000].to_vec();
        let wrong = fake(move |_, asked| {
            if method(asked) == "HEAD" {
                return there(600_000);
            }
            let head = format!("HTTP/1.1 {status}\r\nContent-Range: {part}\r\nContent-Length: 600000\r\n\r\n");
            Say::Bytes([head.as_bytes(), &cut].concat())
        });
        let error = get(&store(&wrong).remote, &key()).await.unwrap_err();
        let told = if part.starts_with("bytes 0-") { "more or fewer bytes" } else { "as it should" };
        assert!(blamed(error).contains(told), "{part}");
    }
    // What a datanode sends stands in no range.
    for length in [300_000, 600_001] {
        let wrong = Hdfs::disturbed(Arc::new(move |namenode, asked, _| {
            (!namenode && method(asked) == "GET").then(|| answer("200 OK", "", vec![0; length]))
        }));
        let (Stores { remote, .. }, key) = (hdfs_at(&wrong), key());
        put(&remote, &key, &bytes, true).await.unwrap();
        assert!(blamed(get(&remote, &key).await.unwrap_err()).contains("more or fewer bytes"));
    }
}

#[tokio::test]
async fn only_what_is_not_there_is_created_where_the_server_can() {
    let taken = fake(|_, _| problem("412 Precondition Failed", "PreconditionFailed"));
    let error = put(&store(&taken).remote, &key(), b"x", true).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists));
    assert_eq!(Error::from(error).kind(), Kind::Conflict);
    assert_eq!(taken.asked()[0].header("if-none-match"), Some("*"));

    let simple = fake(|_, asked| match asked.header("if-none-match") {
        Some(_) => problem("501 Not Implemented", "NotImplemented"),
        None => answer("200 OK", "ETag: \"x\"\r\n", ""),
    });
    let Stores { remote, .. } = store(&simple);
    for _ in 0..2 {
        put(&remote, &key(), b"x", true).await.unwrap();
    }
    let asked = simple.asked();
    assert_eq!(asked.len(), 3, "the second blob is not asked for twice");
    let signature = |asked: &Asked| asked.header("authorization").unwrap().to_owned();
    assert!(signature(&asked[0]).contains("if-none-match;"));
    assert!(!signature(&asked[1]).contains("if-none-match"), "signed anew");
}

#[tokio::test]
async fn a_lost_answer_is_no_blob_of_somebody_else() {
    for (there_are, ours) in [(1, true), (2, false)] {
        let lossy = fake(move |count, asked| match (method(asked), count) {
            ("HEAD", _) => there(there_are),
            (_, 0) => Say::Bytes(Vec::new()),
            _ => problem("412 Precondition Failed", "PreconditionFailed"),
        });
        let outcome = put(&store(&lossy).remote, &key(), b"x", true).await;
        assert_eq!(outcome.is_ok(), ours, "{outcome:?}");
        assert!(ours || matches!(outcome, Err(StoreError::Exists)));
    }
}

/// A server that takes uploads in parts. `complete` gets how often that was asked.
fn in_parts(complete: impl Fn(usize) -> Say + Send + Sync + 'static) -> Fake {
    taking(|_| answer("200 OK", "ETag: \"x\"\r\n", ""), complete)
}

/// A fake with a given answer to each part.
fn taking(
    part: impl Fn(&str) -> Say + Send + Sync + 'static,
    complete: impl Fn(usize) -> Say + Send + Sync + 'static,
) -> Fake {
    let completed = AtomicUsize::new(0);
    fake(move |_, asked| {
        let query = asked.target().split_once('?').map_or("", |(_, query)| query);
        match (method(asked), query.starts_with("uploads")) {
            ("POST", true) => {
                let xml = "<InitiateMultipartUploadResult><UploadId>u 1</UploadId></InitiateMultipartUploadResult>";
                answer("200 OK", "", xml)
            }
            ("POST", false) => complete(completed.fetch_add(1, Ordering::SeqCst)),
            ("DELETE", _) => Say::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            _ => part(query),
        }
    })
}

fn count(fake: &Fake, what: &str) -> usize {
    fake.heads().iter().filter(|head| head.starts_with(what)).count()
}

#[tokio::test]
async fn a_yes_that_turns_out_a_no_is_one() {
    let done = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>";
    let error = "\n<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>m</Message></Error>";
    let bytes = sample(17 << 20);
    let hesitant = in_parts(move |count| answer("200 OK", "", if count == 0 { error } else { done }));
    put(&store(&hesitant).remote, &key(), &bytes, false).await.unwrap();
    assert_eq!((count(&hesitant, "POST"), count(&hesitant, "DELETE")), (3, 0));

    let refusing = in_parts(move |_| problem("412 Precondition Failed", "PreconditionFailed"));
    let outcome = put(&store(&refusing).remote, &key(), &bytes, false).await;
    assert!(matches!(outcome, Err(StoreError::Exists)));
    assert_eq!(count(&refusing, "DELETE"), 1, "what was uploaded is removed");
}

#[tokio::test]
async fn parts_on_their_way_are_given_up_with_the_one_that_is_refused() {
    let part = |query: &str| match query {
        query if query.contains("partNumber=1&") => Say::Hold(Vec::new()),
        query if query.contains("partNumber=2&") => problem("403 Forbidden", "AccessDenied"),
        _ => answer("200 OK", "ETag: \"x\"\r\n", ""),
    };
    // The first is not answered, so that the second is refused while it is on its way.
    let server = taking(part, |_| problem("400 Bad Request", "InvalidPart"));
    let bytes = sample(25 << 20);
    let hasty = patient_for(Duration::from_millis(500));
    let Stores { remote, .. } = s3_through(&hasty, &server.url(""), |_| {});
    blamed(put(&remote, &key(), &bytes, true).await.unwrap_err());
    let sent = |part: &str| server.heads().iter().any(|head| head.contains(part));
    assert!(sent("partNumber=2&") && !sent("partNumber=3&"), "nothing follows the first, which is waited for");
    assert!(count(&server, "DELETE") >= 1, "more often if the machine is too busy to answer in time");

    // Also with an aborted writer.
    let held = taking(|_| Say::Hold(Vec::new()), |_| problem("400 Bad Request", "InvalidPart"));
    let Stores { remote, .. } = store(&held);
    let mut writer = remote.begin(&key(), None).await.unwrap();
    for _ in 0..40 {
        writer.write(Bytes::from(sample(1 << 20))).await.unwrap();
    }
    until(|| count(&held, "PUT") > 0).await;
    writer.abort().await;
    assert_eq!((count(&held, "PUT"), count(&held, "DELETE")), (1, 1));
}

#[tokio::test]
async fn what_is_held_of_a_large_blob_is_a_few_pieces() {
    let done = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>";
    let server = in_parts(move |_| answer("200 OK", "", done));
    let Stores { remote, .. } = store(&server);
    let chunk = Bytes::from(sample(1 << 20));
    let mut writer = remote.begin(&key(), Some(96 << 20)).await.unwrap();
    for number in 1..=96 {
        writer.write(chunk.clone()).await.unwrap();
        let sent: usize = server.asked().iter().map(|asked| asked.body.len()).sum();
        assert!((number << 20) - sent <= 32 << 20, "{sent} of {number} MiB");
    }
    assert_eq!(writer.finish().await.unwrap(), 96 << 20);
    assert!(server.asked().iter().all(|asked| asked.body.len() <= 8 << 20));

    // Of a body that is read, only arrived bytes are held; none are read ahead.
    let endless = fake(|_, asked| {
        match method(asked) {
        "HEAD" => there(1 << 40),
        _ => Say::Endless(
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1099511627775/1099511627776\r\nContent-Length: 1099511627776\r\n\r\n".to_vec(),
            vec![7; 1 << 20],
        ),
    }
    });
    let body = store(&endless).remote.open(&key(), None).await.unwrap();
    assert_eq!(body.length(), Some(1 << 40));
    let BlobBody::Stream { mut stream, .. } = body else { panic!() };
    for _ in 0..100 {
        assert!(stream.next().await.unwrap().unwrap().len() <= 256 * 1024);
    }
}

#[tokio::test]
async fn answers_that_are_no_images_are_bounded() {
    let endless =
        fake(|_, _| Say::Endless(b"HTTP/1.1 200 OK\r\n\r\n<ListBucketResult>".to_vec(), b"<x>y</x>".repeat(100_000)));
    assert!(blamed(store(&endless).remote.list().await.unwrap_err()).contains("as it should"));
}

#[tokio::test]
async fn uploads_of_earlier_runs_are_swept_page_by_page() {
    let (ours, busy, prefix) = (key(), key(), "visor/one/");
    let names =
        [format!("{prefix}{ours}"), format!("{prefix}{busy}"), format!("{prefix}notes"), format!("other/{ours}")];
    let lists = fake(move |_, asked| {
        if method(asked) != "GET" {
            return Say::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
        }
        let page = usize::from(asked.target().contains("key-marker=next"));
        let uploads: String = names[page * 2..page * 2 + 2]
            .iter()
            .map(|name| format!("<Upload><Key>{name}</Key><UploadId>a/b=</UploadId><Initiator/></Upload>"))
            .collect();
        let more = if page == 0 { "<IsTruncated>true</IsTruncated><NextKeyMarker>next</NextKeyMarker>" } else { "" };
        answer(
            "200 OK",
            "",
            format!(
                "<ListMultipartUploadsResult xmlns=\"x\"><Bucket>images</Bucket>{more}{uploads}</ListMultipartUploadsResult>"
            ),
        )
    });
    let Stores { remote, .. } = store(&lists);
    remote.under_way().push(busy);
    assert_eq!(remote.sweep(None).await.unwrap(), 1);
    let asked = lists.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|asked| asked.header("authorization").is_some_and(|said| said.contains(ACCESS))));
    let aborted = asked.iter().find(|asked| method(asked) == "DELETE").unwrap();
    assert_eq!(aborted.target(), format!("/images/{prefix}{ours}?uploadId=a%2Fb%3D"));

    let simple = fake(|_, _| problem("501 Not Implemented", "NotImplemented"));
    assert_eq!(store(&simple).remote.sweep(None).await.unwrap(), 0);
    // Circular pages end.
    let circular =
        fake(|_, _| answer("200 OK", "", "<R><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker></R>"));
    assert_eq!(store(&circular).remote.sweep(None).await.unwrap(), 0);
    assert_eq!(circular.heads().len(), 2);
}
