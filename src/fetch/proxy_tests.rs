//! Requests through a proxy on 127.0.0.1, which resolves every name to one server beside it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::fake::{self, Fake, answer};
use super::*;

/// A proxy that only builds tunnels.
struct Tunnels {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    /// One that leads every name to this port.
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, heads) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || tunnel(socket, target, &seen));
            }
        });
        Self { port, heads }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(mut socket: TcpStream, target: u16, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock().unwrap().push(head.clone());
    if !head.starts_with("CONNECT ") || head.contains("denied.example") {
        return socket.write_all(b"HTTP/1.1 403 F\r\nContent-Length: 0\r\n\r\n");
    }
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_client, mut to_server) = (socket.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Write)
    });
    std::io::copy(&mut server, &mut socket)?;
    socket.shutdown(Shutdown::Write)
}

fn through(http: Option<&str>, https: Option<&str>, except: &[&str]) -> Fetcher {
    let except: Vec<String> = except.iter().map(|&entry| entry.to_owned()).collect();
    let proxies = Proxies::new(http, https, &except).unwrap();
    Fetcher::new(FetchRules { proxies, resolve_timeout: Duration::from_secs(2), ..FetchRules::default() })
}

async fn get(fetcher: &Fetcher, url: &str) -> Result<Vec<u8>, FetchError> {
    let exchanged = fetcher.exchange(&Exchange { url: url.to_owned(), ..Exchange::default() }).await?;
    let pieces: Vec<Bytes> = exchanged.stream.try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn https_goes_through_a_tunnel_to_the_name() {
    let (pem, tls) = fake::certificate_for("images.example");
    let server = Fake::serving(Some(tls), |_| answer("200 OK", "", "hello"));
    let proxy = Tunnels::to(server.port());
    let url = proxy.url().replace("//", "//me:s3c%40ret@");
    let fetcher = through(None, Some(&url), &[]).trusting(pem.as_bytes()).unwrap();
    assert_eq!(get(&fetcher, "https://images.example/a?b").await.unwrap(), b"hello");
    let heads = proxy.heads();
    assert!(heads[0].starts_with("CONNECT images.example:443 HTTP/1.1\r\n"), "{heads:?}");
    let me = "proxy-authorization: Basic bWU6czNjQHJldA==\r\n";
    assert!(heads[0].contains(me), "{heads:?}");
    let asked = server.asked().remove(0);
    assert_eq!((asked.target(), asked.header("proxy-authorization")), ("/a?b", None));
    // Documents and all else take the same way.
    assert_eq!(fetcher.document(&Request::to("https://images.example:8443/"), 9).await.unwrap().bytes, "hello");
    assert!(proxy.heads()[1].starts_with("CONNECT images.example:8443 "));
    // The certificate is the server's, not the proxy's.
    assert!(matches!(get(&fetcher, "https://other.example/").await, Err(FetchError::Certificate(_))));
    let denied = get(&fetcher, "https://denied.example/").await.unwrap_err();
    assert!(matches!(denied, FetchError::Unreached(_)) && !format!("{denied:?}").contains("s3c"), "{denied:?}");
}

#[tokio::test]
async fn http_goes_to_the_proxy_as_a_whole_url_and_redirects_are_judged() {
    let proxy = Fake::serving(None, |asked| {
        let to = match asked.target() {
            "http://images.example/metadata" => "http://169.254.169.254/latest/",
            "http://images.example/name" => "http://metadata.google.internal/",
            "http://images.example/lab" => "http://lab:8080/",
            "http://images.example/moved" => "http://mirror.example:8443/x",
            _ => return answer("200 OK", "", "hello"),
        };
        answer("302 F", &format!("Location: {to}\r\n"), "")
    });
    let fetcher = through(Some(&proxy.url("").replace("//", "//me:pw@")), None, &[]);
    assert_eq!(get(&fetcher, "http://images.example/moved").await.unwrap(), b"hello");
    for rest in ["metadata", "name", "lab"] {
        let outcome = get(&fetcher, &format!("http://images.example/{rest}")).await;
        assert!(
            matches!(outcome, Err(FetchError::Refused | FetchError::Unresolved { .. } | FetchError::Unreached(_))),
            "{rest}: {outcome:?}"
        );
    }
    let targets: Vec<_> = proxy.asked().iter().map(|asked| asked.target().to_owned()).collect();
    let rests = ["moved", "metadata", "name", "lab"].map(|rest| format!("http://images.example/{rest}"));
    let (first, others) = rests.split_first().unwrap();
    let expected = [std::slice::from_ref(first), &["http://mirror.example:8443/x".to_owned()], others].concat();
    assert_eq!(targets, expected);
    assert!(proxy.asked().iter().all(|asked| asked.header("proxy-authorization") == Some("Basic bWU6cHc=")));
}

#[tokio::test]
async fn what_is_refused_never_reaches_the_proxy() {
    let proxy = Fake::serving(None, |_| answer("200 OK", "", "hello"));
    let url = proxy.url("");
    let fetcher = through(Some(&url), Some(&url), &[]);
    for refused in [
        "http://127.0.0.1/",
        "http://10.0.0.1/",
        "https://169.254.169.254/latest/",
        "http://localhost/",
        "http://localhost.localdomain.localhost/",
        "http://nas.local/",
        "http://metadata.google.internal/",
        "http://no-such-name/",
        "http://images.example:22/",
        "http://8.8.8.8:22/",
        "http://u:p@images.example/",
    ] {
        let outcome = get(&fetcher, refused).await;
        assert!(
            matches!(outcome, Err(FetchError::Refused | FetchError::Unresolved { .. } | FetchError::Unreached(_))),
            "{refused}: {outcome:?}"
        );
    }
    // Neither does an exception, which is looked up here.
    let excepted = through(Some(&url), Some(&url), &[".example"]);
    assert!(matches!(
        get(&excepted, "http://images.example/").await,
        Err(FetchError::Refused | FetchError::Unresolved { .. })
    ));
    assert_eq!(proxy.connections(), 0);
    assert_eq!(get(&fetcher, "http://images.example/").await.unwrap(), b"hello");
}

#[tokio::test]
async fn what_is_listed_or_granted_is_reached_directly() {
    let proxy = Fake::serving(None, |_| answer("200 OK", "", "proxy"));
    let server = Fake::serving(None, |_| answer("200 OK", "", "server"));
    let fetcher = through(Some(&proxy.url("")), None, &[]);
    let granted = fetcher.granting(&server.url("")).unwrap();
    assert_eq!(get(&granted, &server.url("x")).await.unwrap(), b"server");
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let listed = Fetcher::new(FetchRules { allow, ..fetcher.0.rules.clone() });
    assert_eq!(get(&listed, &server.url("x")).await.unwrap(), b"server");
    assert_eq!(proxy.connections(), 0);
}
