//! The client against servers that speak LXD's API well, badly, or not at all; all of them on 127.0.0.1.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::digest::hex;
use crate::error::Kind;
use crate::fetch::fake::{Asked, Fake, Say, answer, certificate};
use crate::fetch::{FetchRules, Retries};

pub(super) fn upstream() -> Upstream {
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let short = Duration::from_secs(3);
    let retries = Retries { pause: Duration::from_millis(1), ..Retries::default() };
    let rules = FetchRules { allow, connect_timeout: short, idle_timeout: short, retries, ..FetchRules::default() };
    Upstream::new(Fetcher::new(rules))
}

pub(super) fn ask(fake: &Fake, protocol: Protocol, image: &str) -> Ask {
    Ask {
        server: fake.url(""),
        protocol,
        image: image.to_owned(),
        certificate: None,
        secret: None,
        kind: None,
        architecture: None,
        project: None,
    }
}

pub(super) fn sha(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Everything that a download brings: part, name and bytes of each file.
pub(super) async fn collect(mut download: Download) -> Result<Vec<(Part, String, Vec<u8>)>> {
    let mut files = Vec::new();
    while let Some(file) = download.next_file().await? {
        let mut bytes = Vec::new();
        let mut chunks = download.chunks();
        while let Some(chunk) = chunks.next().await.transpose()? {
            bytes.extend_from_slice(&chunk);
        }
        drop(chunks);
        assert!(file.size.is_none_or(|size| size == bytes.len() as u64));
        files.push((file.part, file.name, bytes));
    }
    assert!(download.next_file().await?.is_none(), "the end is the end");
    Ok(files)
}

pub(super) async fn fetch(ask: &Ask) -> Result<Vec<(Part, String, Vec<u8>)>> {
    let found = upstream().find(ask).await?;
    collect(upstream().download(ask, &found).await?).await
}

const IMAGE: &[u8] = b"a unified image";
const JSON: &str = "Content-Type: application/json\r\n";

fn sync(metadata: impl fmt::Display) -> Say {
    answer("200 OK", JSON, format!(r#"{{"type":"sync","status":"Success","status_code":200,"metadata":{metadata}}}"#))
}

fn error(status: u16, text: &str) -> Say {
    let body = format!(r#"{{"type":"error","error":"{text}","error_code":{status},"metadata":null}}"#);
    answer(&status.to_string(), JSON, body)
}

fn image_row(bytes: &[u8], kind: &str) -> String {
    let (fingerprint, size) = (hex(&sha(bytes)), bytes.len());
    format!(
        r#"{{"auto_update":false,"properties":{{"os":"Debian","release":"13"}},"public":true,
        "expires_at":"1970-01-01T00:00:00Z","profiles":["default"],"aliases":[{{"name":"debian/13","description":"d"}}],
        "architecture":"x86_64","cached":false,"filename":"img.tar.xz","fingerprint":"{fingerprint}","size":{size},
        "type":"{kind}","created_at":"2024-02-03T00:00:00Z","last_used_at":"0001-01-01T00:00:00Z",
        "uploaded_at":"2024-02-04T00:00:00Z"}}"#
    )
}

fn unified(bytes: &[u8]) -> Say {
    let headers = "Content-Type: application/octet-stream\r\nContent-Disposition: inline;filename=img.tar.xz\r\n";
    answer("200 OK", headers, bytes)
}

/// A form as LXD writes it: in chunks, with the last line twice.
fn form(parts: &[(&str, &str, &[u8])]) -> Say {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        body.extend_from_slice(format!(
            "{}--BoUnD\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: application/octet-stream\r\n\r\n",
            if body.is_empty() { "" } else { "\r\n" }
        ).as_bytes());
        body.extend_from_slice(bytes);
    }
    body.extend_from_slice(b"\r\n--BoUnD--\r\n\r\n--BoUnD--\r\n");
    let mut all =
        b"HTTP/1.1 200 OK\r\nContent-Type: multipart/form-data; boundary=BoUnD\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for chunk in body.chunks(1000) {
        all.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    Say::Bytes(all)
}

/// A server with one image under the alias `debian/13`; `export` is what it hands out.
fn lxd(image: &'static [u8], kind: &'static str, export: impl Fn() -> Say + Send + Sync + 'static) -> Fake {
    Fake::serving(None, move |asked| api(asked, image, kind, &export))
}

fn api(asked: &Asked, image: &[u8], kind: &str, export: impl Fn() -> Say) -> Say {
    let fingerprint = hex(&sha(image));
    let path = asked.target().split('?').next().unwrap();
    match path.trim_start_matches("/1.0/images/") {
        "aliases/debian%2F13" => {
            sync(format_args!(r#"{{"name":"debian/13","target":"{fingerprint}","description":"","type":"{kind}"}}"#))
        }
        rest if rest.strip_suffix("/export") == Some(fingerprint.as_str()) => export(),
        rest if !rest.is_empty() && fingerprint.starts_with(rest) => sync(image_row(image, kind)),
        _ => error(404, "Image not found"),
    }
}

#[tokio::test]
async fn an_alias_is_found_and_its_one_file_comes() {
    let fake = lxd(IMAGE, "container", || unified(IMAGE));
    let ask = Ask { project: Some("lab 1".into()), ..ask(&fake, Protocol::Lxd, "debian/13") };
    let found = upstream().find(&ask).await.unwrap();
    assert_eq!((found.fingerprint, found.by_alias, found.kind), (sha(IMAGE), true, ImageKind::Container));
    assert_eq!((found.architecture, found.filename.as_str()), (Architecture::X86_64, "img.tar.xz"));
    assert_eq!(found.size, Some(IMAGE.len() as u64));
    assert_eq!(found.properties.get("os").map(String::as_str), Some("Debian"));
    assert_eq!((found.created_at, found.expires_at), (Some(Timestamp(1_706_918_400_000_000)), None));
    let files = collect(upstream().download(&ask, &found).await.unwrap()).await.unwrap();
    assert_eq!(files, [(Part::Whole, "img.tar.xz".to_owned(), IMAGE.to_vec())]);
    let fingerprint = hex(&sha(IMAGE));
    let asked: Vec<String> = fake.asked().iter().map(|asked| asked.target().to_owned()).collect();
    let expected = [
        "/1.0/images/aliases/debian%2F13?project=lab%201".to_owned(),
        format!("/1.0/images/{fingerprint}?project=lab%201"),
        format!("/1.0/images/{fingerprint}/export?project=lab%201"),
    ];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_fingerprint_is_found_by_its_beginning_and_what_is_not_there_is_not() {
    let fake = lxd(IMAGE, "virtual-machine", || unified(IMAGE));
    let fingerprint = hex(&sha(IMAGE));
    for name in [&fingerprint[..12], &fingerprint.to_uppercase()] {
        let found = upstream().find(&ask(&fake, Protocol::Incus, name)).await.unwrap();
        assert_eq!((found.fingerprint, found.by_alias, found.kind), (sha(IMAGE), false, ImageKind::VirtualMachine));
    }
    for name in ["debian/12", "..", ".", "0123456789ab", "%", "a\r\nb", "?x=y"] {
        let error = upstream().find(&ask(&fake, Protocol::Lxd, name)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{name}");
        assert!(error.message().contains(&fake.port().to_string()), "{error}");
    }
    let wrong_kind = Ask { kind: Some(ImageKind::Container), ..ask(&fake, Protocol::Lxd, "debian/13") };
    assert_eq!(upstream().find(&wrong_kind).await.unwrap_err().kind(), Kind::NotFound);
    let wrong_kind = Ask { image: fingerprint, ..wrong_kind };
    assert_eq!(upstream().find(&wrong_kind).await.unwrap_err().kind(), Kind::NotFound);
    let error = upstream().find(&ask(&fake, Protocol::Lxd, "")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.message().contains("An alias or a fingerprint"));
    let error = upstream().find(&ask(&fake, Protocol::Lxd, &"x".repeat(2000))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_secret_goes_with_both_questions_and_into_no_error() {
    let fake = Fake::serving(None, |asked| match asked.target() {
        target if !target.ends_with("?secret=s3cret%26") => error(404, "Image not found"),
        _ => api(asked, IMAGE, "container", || error(500, "no")),
    });
    let fingerprint = hex(&sha(IMAGE));
    let ask = Ask { secret: Some("s3cret&".into()), ..ask(&fake, Protocol::Lxd, &fingerprint) };
    let found = upstream().find(&ask).await.unwrap();
    let error = upstream().download(&ask, &found).await.unwrap_err();
    assert_eq!(fake.asked().len(), 2, "aliases are not looked up with a secret");
    assert!(error.message().ends_with("says: no"), "{error}");
    for text in [format!("{ask:?}"), format!("{error:?}"), error.causes()] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    let mute = Fake::serving(None, |_| Say::Hold(Vec::new()));
    let ask = Ask { server: mute.url(""), ..ask };
    let error = upstream().find(&ask).await.unwrap_err();
    assert!(error.message().contains("takes too long") && !format!("{error:?}").contains("s3cret"), "{error:?}");
    let simple = Ask { protocol: Protocol::Simplestreams, ..ask };
    assert_eq!(upstream().find(&simple).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn two_files_come_out_of_one_answer() {
    // The rootfs looks like the end of itself in places, and fills the reader several times over.
    static ROOTFS: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut bytes = b"\r\n--BoUnX\r\n\r--\r\n--\r".repeat(9000);
        bytes.extend((0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
        bytes
    });
    static BOTH: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| [b"metadata", ROOTFS.as_slice()].concat());
    for (kind, part, file) in [("container", "rootfs", "x.squashfs"), ("virtual-machine", "rootfs.img", "x.qcow2")] {
        let export = move || form(&[("metadata", "meta-x.tar.xz", b"metadata"), (part, file, &ROOTFS)]);
        let fake = lxd(&BOTH, kind, export);
        let files = fetch(&ask(&fake, Protocol::Lxd, "debian/13")).await.unwrap();
        let expected = [
            (Part::Metadata, "meta-x.tar.xz".to_owned(), b"metadata".to_vec()),
            (Part::Rootfs, file.to_owned(), ROOTFS.clone()),
        ];
        assert!(files == expected, "{kind}");
        // Who does not want the bytes of the first gets to the second all the same.
        let ask = ask(&fake, Protocol::Lxd, "debian/13");
        let mut download = upstream().download(&ask, &upstream().find(&ask).await.unwrap()).await.unwrap();
        assert_eq!(download.next_file().await.unwrap().map(|file| file.part), Some(Part::Metadata));
        assert_eq!(download.next_file().await.unwrap().map(|file| file.part), Some(Part::Rootfs));
    }
}

#[tokio::test]
async fn names_of_files_are_names_or_nothing() {
    for (header, expected) in [
        ("inline;filename=a.tar.xz", "a.tar.xz"),
        ("attachment; filename=\"a b.tar\"", "a b.tar"),
        ("inline;filename=../../root/.bashrc", "img.tar.xz"),
        ("inline;filename=\"/etc/passwd\"", "img.tar.xz"),
        ("inline;filename=.bashrc", "img.tar.xz"),
        ("inline", "img.tar.xz"),
        ("=;=\"", "img.tar.xz"),
    ] {
        let head = format!("Content-Disposition: {header}\r\n");
        let fake = lxd(IMAGE, "container", move || answer("200 OK", &head, IMAGE));
        assert_eq!(fetch(&ask(&fake, Protocol::Lxd, "debian/13")).await.unwrap()[0].1, expected, "{header}");
    }
    let image = image_row(IMAGE, "container").replace("img.tar.xz", "../../x");
    let fake = Fake::serving(None, move |_| sync(&image));
    let found = upstream().find(&ask(&fake, Protocol::Lxd, &hex(&sha(IMAGE)))).await;
    // The alias gets this answer too, although it is none.
    assert_eq!(found.unwrap_err().kind(), Kind::Upstream);
}

#[tokio::test]
async fn answers_that_lie_about_an_image_are_refused() {
    let row = || image_row(IMAGE, "container");
    for (what, metadata) in [
        ("another image", image_row(b"other", "container")),
        ("no fingerprint", row().replace(&hex(&sha(IMAGE)), "../../x")),
        ("a short fingerprint", row().replace(&hex(&sha(IMAGE)), &hex(&sha(IMAGE))[..20])),
        ("no architecture", row().replace("\"architecture\"", "\"x\"")),
        ("an unknown architecture", row().replace("x86_64", "vax")),
        ("an unknown kind", row().replace("\"container\"", "\"oci\"")),
        ("properties that are no text", row().replace("\"Debian\"", "{\"a\":[1]}")),
        ("a negative size", row().replace(&format!("\"size\":{}", IMAGE.len()), "\"size\":-1")),
        ("a list", "[]".to_owned()),
        ("nothing", "null".to_owned()),
    ] {
        let fake = Fake::serving(None, move |asked| match asked.target().contains("aliases") {
            true => error(404, "Image alias not found"),
            false => sync(&metadata),
        });
        let error = upstream().find(&ask(&fake, Protocol::Lxd, &hex(&sha(IMAGE))[..12])).await.unwrap_err();
        assert!(matches!(error.kind(), Kind::Upstream | Kind::Unsupported), "{what}: {error:?}");
    }
    for (what, say) in [
        ("a web page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"),
        ("a web page that is missing", "HTTP/1.1 404 N\r\nContent-Length: 6\r\n\r\n<html>"),
        ("nothing", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a body that ends early", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"type\":\"sync\"}"),
        ("depth", "HTTP/1.1 200 OK\r\n\r\n{\"type\":\"sync\",\"metadata\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
        ("a loop", "HTTP/1.1 302 F\r\nLocation: /1.0\r\nContent-Length: 0\r\n\r\n"),
        ("to itself", "HTTP/1.1 302 F\r\nLocation: http://[::1]/\r\nContent-Length: 0\r\n\r\n"),
        ("gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx"),
        ("an unknown type", "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"type\":\"x\",\"metadata\":{}}\n"),
    ] {
        let fake = Fake::fixed(say).await;
        let error = upstream().find(&ask(&fake, Protocol::Lxd, "debian/13")).await.unwrap_err();
        assert!(matches!(error.kind(), Kind::Upstream | Kind::Invalid), "{what}: {error:?}");
        assert!(!error.message().contains("html"), "{what}: {error}");
    }
    let endless = Fake::serving(None, |_| Say::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 65536]));
    let error = upstream().find(&ask(&endless, Protocol::Lxd, "debian/13")).await.unwrap_err();
    assert!(error.message().contains("more or less than it announced"), "{error}");
}

#[tokio::test]
async fn what_the_server_says_is_passed_on_in_bounds() {
    let text = format!("boom\\r\\n{}", "x".repeat(5000));
    let fake = Fake::serving(None, move |_| error(500, &text));
    let error = upstream().find(&ask(&fake, Protocol::Lxd, "debian/13")).await.unwrap_err();
    assert!(error.message().contains("says: boom  xxx") && error.message().len() < 300, "{error}");
    assert_eq!(error.kind(), Kind::Upstream);
}

#[tokio::test]
async fn bytes_that_are_not_what_was_announced_end_the_download() {
    let plain = |head: &str, body: &[u8]| {
        Say::Bytes([b"HTTP/1.1 200 OK\r\n".as_slice(), head.as_bytes(), b"\r\n", body].concat())
    };
    type Export = Box<dyn Fn() -> Say + Send + Sync>;
    let metadata: (&str, &str, &[u8]) = ("metadata", "m", b"a unified");
    let cases: Vec<(&str, Export)> = vec![
        ("a longer file", Box::new(|| unified(b"a unified image and more"))),
        ("a shorter file", Box::new(|| unified(b"a unified"))),
        ("a file that ends early", Box::new(move || plain("Content-Length: 15\r\n", b"a unified"))),
        ("an endless file", Box::new(|| Say::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![0; 65536]))),
        ("silence", Box::new(|| Say::Hold(b"HTTP/1.1 200 OK\r\n\r\na unified".to_vec()))),
        ("no answer", Box::new(|| Say::Hold(Vec::new()))),
        ("a web page", Box::new(|| answer("200 OK", "Content-Type: text/html; charset=utf-8\r\n", "<html>"))),
        ("an envelope", Box::new(|| sync("{}"))),
        ("a refusal", Box::new(|| error(404, "Image not found"))),
        ("a web page that is missing", Box::new(|| answer("404 N", "", "<html>"))),
        ("another kind of image", Box::new(|| answer("200 OK", "X-Incus-Type: oci\r\n", IMAGE))),
        (
            "an endless form",
            Box::new(|| {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"m\"\r\n\r\n";
                Say::Endless(head.into(), vec![0; 65536])
            }),
        ),
        (
            "a form without end",
            Box::new(|| {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: ";
                Say::Endless(head.into(), vec![b'x'; 65536])
            }),
        ),
        (
            "a form that hangs",
            Box::new(|| {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: ";
                Say::Hold(head.into())
            }),
        ),
        ("a form without boundary", Box::new(move || plain("Content-Type: multipart/form-data\r\n", b"--b"))),
        ("a form with one part", Box::new(move || form(&[metadata]))),
        ("a form with no part", Box::new(|| form(&[]))),
        ("a form with three parts", Box::new(move || form(&[metadata, ("rootfs", "r", b" image"), ("x", "x", b"")]))),
        ("a form in the wrong order", Box::new(move || form(&[("rootfs", "r", b" image"), metadata]))),
        ("a form of another kind", Box::new(move || form(&[metadata, ("rootfs.img", "r", b" image")]))),
        ("a longer form", Box::new(move || form(&[metadata, ("rootfs", "r", b" image and more")]))),
    ];
    for (what, export) in cases {
        let fake = lxd(IMAGE, "container", export);
        let error = fetch(&ask(&fake, Protocol::Lxd, "debian/13")).await.unwrap_err();
        let expected = match what {
            "a refusal" => Kind::NotFound,
            "another kind of image" => Kind::Unsupported,
            _ => Kind::Upstream,
        };
        assert_eq!(error.kind(), expected, "{what}: {error:?}");
        assert!(error.message().len() < 300 && !error.message().contains("html"), "{what}: {error}");
    }
    // And so that the cases above mean something:
    let fake = lxd(IMAGE, "container", move || form(&[metadata, ("rootfs", "r", b" image")]));
    assert_eq!(fetch(&ask(&fake, Protocol::Lxd, "debian/13")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn nothing_comes_after_an_error() {
    let fake = lxd(IMAGE, "container", || Say::Hold(b"HTTP/1.1 200 OK\r\n\r\na unified".to_vec()));
    let ask = ask(&fake, Protocol::Lxd, "debian/13");
    let mut download = upstream().download(&ask, &upstream().find(&ask).await.unwrap()).await.unwrap();
    download.next_file().await.unwrap();
    assert_eq!(download.next_chunk().await.unwrap().unwrap(), "a unified");
    assert!(download.next_chunk().await.is_err());
    assert!(download.next_chunk().await.unwrap().is_none());
    assert!(download.next_file().await.is_err(), "an image must not look complete");
}

#[tokio::test]
async fn a_certificate_is_given_with_the_server() {
    let (pem, tls) = certificate();
    let fake = Fake::serving(Some(tls), |asked| api(asked, IMAGE, "container", || unified(IMAGE)));
    let pinned = Ask { certificate: Some(pem), ..ask(&fake, Protocol::Lxd, "debian/13") };
    assert_eq!(fetch(&pinned).await.unwrap().len(), 1);
    let asked = fake.asked().len();
    let (other, _) = certificate();
    for certificate in [None, Some(String::new()), Some(other)] {
        let error = upstream().find(&Ask { certificate, ..pinned.clone() }).await.unwrap_err();
        assert!(error.kind() == Kind::Upstream && error.message().contains("certificate"), "{error:?}");
    }
    assert_eq!(fake.asked().len(), asked);
    let bad = Ask { certificate: Some("x".into()), ..pinned };
    assert_eq!(upstream().find(&bad).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn nothing_is_asked_of_servers_that_may_not_be_reached() {
    let fake = lxd(IMAGE, "container", || unified(IMAGE));
    let closed = Upstream::new(Fetcher::new(FetchRules::default()));
    let ask = ask(&fake, Protocol::Lxd, "debian/13");
    let address = "its address with its port may not be reached: only public ones may";
    let form = "it has to begin with http:// or https:// and a host, hold no user name and no password";
    for (server, is_named, why) in [
        (fake.url(""), true, address),
        ("https://169.254.169.254".into(), true, address),
        ("https://nowhere.invalid".into(), true, "its host is not known, or has an address that may not be reached"),
        ("file:///etc".into(), false, form),
        ("https://u:p@h.example".into(), false, form),
    ] {
        let error = closed.find(&Ask { server, ..ask.clone() }).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(error.message().starts_with("Unable to connect to: "), is_named, "{error}");
        assert!(error.message().contains(why), "{error}");
    }
    assert_eq!(closed.ask_url(&fake.url("x"), &[]).await.unwrap_err().kind(), Kind::Invalid);
    let to = Push { server: fake.url(""), ..push_to(&fake) };
    assert_eq!(closed.push(&to, Parcel::Unified(outgoing(IMAGE))).await.unwrap_err().kind(), Kind::Invalid);
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn a_url_says_where_its_image_is() {
    let target = Fake::serving(None, |_| answer("200 OK", "", IMAGE));
    let (file, hash) = (target.url("files/img.tar.xz?sig=s3cret"), hex(&sha(IMAGE)));
    let fake = Fake::serving(None, move |asked| {
        let head = match asked.target() {
            "/lxd" => format!("LXD-Image-Hash: {hash}\r\nLXD-Image-URL: {file}\r\n"),
            "/incus" => format!("Incus-Image-Hash: {hash}\r\nIncus-Image-URL: {file}\r\n"),
            "/wrong" => format!("LXD-Image-Hash: {}\r\nLXD-Image-URL: {file}\r\n", "0".repeat(64)),
            "/path" => format!("LXD-Image-Hash: ../../etc/cron.d/x\r\nLXD-Image-URL: {file}\r\n"),
            "/no-url" => format!("LXD-Image-Hash: {hash}\r\n"),
            "/inside" => format!("LXD-Image-Hash: {hash}\r\nLXD-Image-URL: file:///etc/passwd\r\n"),
            _ => String::new(),
        };
        answer("200 OK", &head, "")
    });
    let get = async |rest: &str| {
        let asked = upstream().ask_url(&fake.url(rest), &[Architecture::X86_64, Architecture::I386]).await?;
        assert!(!format!("{asked:?}").contains("s3cret"));
        collect(upstream().download_url(&asked).await?).await
    };
    for rest in ["lxd", "incus"] {
        let files = get(rest).await.unwrap();
        assert_eq!(files, [(Part::Whole, "img.tar.xz".to_owned(), IMAGE.to_vec())], "{rest}");
    }
    let asked = &fake.asked()[0];
    assert!(asked.head.starts_with("HEAD /lxd "));
    for (family, level) in [("lxd", LXD_LEVEL), ("incus", INCUS_LEVEL)] {
        assert_eq!(asked.header(&format!("{family}-server-architectures")), Some("x86_64, i686"));
        assert_eq!(asked.header(&format!("{family}-server-version")), Some(level));
    }
    assert_eq!(get("nothing").await.unwrap_err().message(), "The answer of the server has no header LXD-Image-Hash.");
    assert_eq!(get("no-url").await.unwrap_err().message(), "The answer of the server has no header LXD-Image-URL.");
    assert_eq!(get("path").await.unwrap_err().kind(), Kind::Upstream);
    assert_eq!(get("inside").await.unwrap_err().kind(), Kind::Invalid);
    let error = get("wrong").await.unwrap_err();
    assert_eq!(error.kind(), Kind::DigestMismatch);
    let expected = format!(
        "The file {} hashes to {}, not to {}.",
        target.url("files/img.tar.xz"),
        hex(&sha(IMAGE)),
        "0".repeat(64)
    );
    assert_eq!(error.message(), expected);
}

fn outgoing(bytes: &'static [u8]) -> Outgoing {
    let pieces = bytes.chunks(4).map(|piece| Ok(Bytes::from_static(piece)));
    Outgoing { name: "a \"b\".tar".into(), size: Some(bytes.len() as u64), bytes: stream::iter(pieces).boxed() }
}

fn push_to(fake: &Fake) -> Push {
    Push {
        server: fake.url(""),
        certificate: None,
        secret: "s3cret".into(),
        project: None,
        fingerprint: sha(IMAGE),
        filename: "ü.tar".into(),
        aliases: vec!["a/b".into(), "c&d".into()],
    }
}

const OPERATION: &str = "6916c8a6-9b7d-4abd-90b3-aedfec7ec7da";

fn operation(status: u16, err: &str) -> String {
    format!(
        r#"{{"id":"{OPERATION}","class":"task","status_code":{status},"metadata":{{"secret":"w&it"}},"err":"{err}"}}"#
    )
}

/// A server that takes images; `wait` is what it says when it is asked how that went.
fn taker(wait: impl Fn() -> Say + Send + Sync + 'static) -> Fake {
    Fake::serving(None, move |asked| match asked.target().split('?').next().unwrap() {
        "/1.0/images" => {
            let operation = operation(103, "");
            answer("202 A", JSON, format!(r#"{{"type":"async","status_code":100,"metadata":{operation}}}"#))
        }
        _ => wait(),
    })
}

#[tokio::test]
async fn an_image_is_given_in_one_file_or_two() {
    let fake = taker(|| sync(operation(200, "")));
    let to = Push { project: Some("lab".into()), ..push_to(&fake) };
    upstream().push(&to, Parcel::Unified(outgoing(IMAGE))).await.unwrap();
    let asked = fake.asked();
    assert!(asked[0].head.starts_with("POST /1.0/images?project=lab "));
    assert_eq!(asked[0].body, IMAGE);
    assert_eq!(asked[0].header("content-length"), Some("15"));
    assert_eq!(asked[0].header("content-type"), Some("application/octet-stream"));
    for family in ["x-lxd", "x-incus"] {
        let header = |name: &str| asked[0].header(&format!("{family}-{name}"));
        assert_eq!(header("secret"), Some("s3cret"));
        assert_eq!(header("fingerprint"), Some(hex(&sha(IMAGE)).as_str()));
        assert_eq!(header("filename"), Some("_.tar"));
        assert_eq!(header("aliases"), Some("alias=a%2Fb&alias=c%26d"));
    }
    assert_eq!(asked[1].target(), format!("/1.0/operations/{OPERATION}/wait?secret=w%26it&project=lab"));

    for (kind, name) in [(ImageKind::Container, "rootfs"), (ImageKind::VirtualMachine, "rootfs.img")] {
        for known in [true, false] {
            let size = |file: Outgoing| Outgoing { size: file.size.filter(|_| known), ..file };
            let (metadata, rootfs) = (size(outgoing(b"metadata")), size(outgoing(IMAGE)));
            upstream().push(&push_to(&fake), Parcel::Split { metadata, rootfs, kind }).await.unwrap();
            let asked = fake.asked().into_iter().rev().find(|asked| asked.head.starts_with("POST")).unwrap();
            assert_eq!(asked.header("content-length").is_some(), known);
            let body = String::from_utf8(asked.body.clone()).unwrap();
            let boundary = asked.header("content-type").unwrap().split_once("boundary=").unwrap().1;
            let type_ = "Content-Type: application/octet-stream\r\n\r\n";
            let file = "filename=\"a _b_.tar\"";
            let expected = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"metadata\"; {file}\r\n{type_}metadata\r\n\
                 --{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; {file}\r\n{type_}a unified image\r\n\
                 --{boundary}--\r\n"
            );
            assert_eq!(body, expected);
        }
    }
}

#[tokio::test]
async fn what_a_server_says_of_an_image_that_it_is_given_is_reported() {
    let classic = taker(|| sync(operation(400, "fingerprints don't match")));
    let newer =
        taker(|| answer("200 OK", JSON, r#"{"type":"error","error":"fingerprints don't match","error_code":400}"#));
    let gone = taker(|| error(404, "Operation not found"));
    let refusing = Fake::serving(None, |_| error(403, "not authorized"));
    let cancelled = taker(|| sync(operation(401, "")));
    let page = taker(|| answer("200 OK", "", "<html>"));
    let away = Fake::fixed("HTTP/1.1 307 T\r\nLocation: /\r\nContent-Length: 0\r\n\r\n").await;
    let evil = Fake::serving(None, |_| {
        answer("202 A", "", r#"{"type":"async","metadata":{"id":"../../x?","status_code":103}}"#)
    });
    for (fake, text) in [
        (classic, "did not take the image: fingerprints don't match"),
        (newer, "did not take the image: fingerprints don't match"),
        (gone, "did not take the image: Operation not found"),
        (refusing, "did not take the image: not authorized"),
        (cancelled, "did not take the image: "),
        (page, "does not answer as"),
        (away, "does not answer as"),
        (evil, "does not answer as"),
    ] {
        let error = upstream().push(&push_to(&fake), Parcel::Unified(outgoing(IMAGE))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Upstream);
        assert!(error.message().contains(text), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }
    // One that goes on for a while is asked again.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let slow = taker(move || {
        let first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        sync(operation(if first { 103 } else { 200 }, ""))
    });
    upstream().push(&push_to(&slow), Parcel::Unified(outgoing(IMAGE))).await.unwrap();
}

#[tokio::test]
async fn bytes_of_ours_that_break_off_are_no_fault_of_the_server() {
    let fake = taker(|| sync(operation(200, "")));
    let broken = stream::iter([Ok(Bytes::from("a")), Err(Reason::NotFound.saying("our image is gone"))]).boxed();
    let file = Outgoing { name: "x".into(), size: Some(9), bytes: broken };
    let error = upstream().push(&push_to(&fake), Parcel::Unified(file)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::NotFound, "our image is gone"));
    // One byte too many in one file, one too few in the other.
    let metadata = Outgoing { size: Some(9), ..outgoing(b"metadata") };
    let rootfs = Outgoing { size: Some(14), ..outgoing(IMAGE) };
    let parcel = Parcel::Split { metadata, rootfs, kind: ImageKind::Container };
    assert_eq!(upstream().push(&push_to(&fake), parcel).await.unwrap_err().kind(), Kind::Internal);
}

fn everything_is_send(upstream: &Upstream, ask: &Ask, found: &Found, to: &Push, parcel: Parcel) -> impl Send {
    async move { (collect(upstream.download(ask, found).await?).await, upstream.push(to, parcel).await).0 }
}

#[test]
fn whatever_waits_for_a_server_may_go_to_another_thread() {
    let _ = everything_is_send;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However the answer is cut up on its way, the files are the same; and no bytes make the reader panic or hang.
    #[test]
    fn forms_are_read_however_they_come(
        metadata in proptest::collection::vec(any::<u8>(), 0..300),
        rootfs in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), any::<u8>()], 0..5000),
        cut in 1usize..700,
        junk in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..500),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let read = |bytes: Vec<u8>| runtime.block_on(async {
            let pieces: Vec<_> = bytes.chunks(cut).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let content_type = "multipart/form-data; boundary=bb".to_owned();
            let mut form = forms::Form::read(content_type, stream::iter(pieces).boxed()).unwrap();
            let mut files = Vec::new();
            while let Some(file) = form.next_file(ImageKind::Container).await.ok()? {
                let mut all = Vec::new();
                while let Some(chunk) = form.next_chunk().await.ok()? {
                    all.extend_from_slice(&chunk);
                }
                files.push((file.part, all));
            }
            Some(files)
        });
        let part = |name: &str| format!("--bb\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n");
        let whole = [
            part("metadata").as_bytes(), &metadata, b"\r\n", part("rootfs").as_bytes(), &rootfs, b"\r\n--bb--\r\n",
        ].concat();
        let marks = [b"\r\n--bb".as_slice(), b"\r--bb"];
        let holds_mark = |bytes: &[u8]| marks.iter().any(|mark| bytes.windows(mark.len()).any(|at| at == *mark));
        if !holds_mark(&metadata) && !holds_mark(&rootfs) {
            prop_assert_eq!(read(whole), Some(vec![(Part::Metadata, metadata), (Part::Rootfs, rootfs)]));
        }
        let _ = read(junk.clone());
        let _ = read([part("metadata").as_bytes(), &junk].concat());
    }
}
