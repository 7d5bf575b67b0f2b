//! The ways themselves: each sends bytes that have to be refused, and returns the words of the refusal.

use serde_json::json;

use crate::bundles::{form, metadata};
use crate::fake::{Fake, answer};
use crate::glance::Client;
use crate::harness::{Answer, Server, eventually, sha256};
use crate::lxd_liars::BYTES;
use crate::lxd_sent::{awaited, source};
use crate::lxd_sources::{PUBLIC, pull};

pub(super) const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
pub(super) const META: [(&str, &str); 2] = [("x-image-meta-name", "bad"), ("x-image-meta-architecture", "x86_64")];

/// Servers that the ways lead to and from.
pub(super) struct Lab {
    pub(super) server: Server,
    /// Another one, which has looked at nothing.
    pub(super) from: Server,
    pub(super) files: tempfile::TempDir,
}

impl Lab {
    pub(super) fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let config = tempfile::NamedTempFile::new().unwrap();
        let off = "[inspect]\noff = [\"iso\", \"vhd\", \"vdi\", \"vmdk\", \"vhdx\", \"qcow2\", \"raw\"]\n";
        std::fs::write(config.path(), off).unwrap();
        let server = Server::configured(&format!(
            "[stores.file]\nimport_dirs = [{:?}]\n[cache]\nrequire = \"none\"\n[fetch]\nallow = [\"127.0.0.1/32\"]\n",
            files.path()
        ));
        Self { server, from: Server::secure(&["--config", config.path().to_str().unwrap()]), files }
    }

    pub(super) fn glance(&self) -> Client<'_> {
        Client::new(&self.server)
    }

    /// A new image that waits for bytes of this kind.
    pub(super) fn waiting(&self, sent: &Sent<'_>) -> String {
        self.glance().create(&json!({ "name": "bad", "disk_format": sent.format, "container_format": sent.container }))
    }

    /// The words of a task that failed.
    pub(super) fn task(&self, id: &str) -> String {
        let tasks = || self.glance().get(&format!("/v2/images/{id}/tasks")).json()["tasks"].clone();
        eventually("the task has failed", || tasks()[0]["status"] == "failure");
        tasks()[0]["message"].as_str().unwrap().to_owned()
    }

    /// Headers of version 1 for bytes of this kind.
    fn v1<'a>(sent: &'a Sent<'_>) -> [(&'a str, &'a str); 3] {
        [
            ("x-image-meta-name", "bad"),
            ("x-image-meta-disk_format", sent.format),
            ("x-image-meta-container_format", sent.container),
        ]
    }
}

/// A disk on its way through a protocol that says its format.
pub(super) struct Sent<'a> {
    pub(super) format: &'a str,
    pub(super) container: &'a str,
    pub(super) bytes: &'a [u8],
}

/// The words of a refusal.
pub(super) type Refusal = String;

/// A refusal of VISOR's: its words.
fn words(answer: &Answer) -> Refusal {
    assert_eq!(answer.status, 400, "{answer:?}");
    answer.json()["message"].as_str().unwrap().to_owned()
}

/// A refusal of Glance's: its words.
fn page(answer: &Answer) -> Refusal {
    assert_eq!(answer.status, 415, "{answer:?}");
    answer.text()
}

pub(super) fn visor_post(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let format = ("x-image-meta-format", sent.format);
    words(&lab.server.send("POST", "/images", &[&META[..], &[OCTETS, format]].concat(), sent.bytes))
}

pub(super) fn visor_form(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let mut body = Vec::new();
    for (name, value) in [("name", "bad"), ("architecture", "x86_64"), ("format", sent.format)] {
        body.extend(format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    body.extend(b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n");
    body.extend(sent.bytes);
    body.extend(b"\r\n--XX--\r\n");
    words(&lab.server.send("POST", "/images", &[("Content-Type", "multipart/form-data; boundary=XX")], &body))
}

/// Removes an image of VISOR's again.
fn forget(lab: &Lab, path: &str) {
    assert_eq!(lab.server.send("DELETE", path, &[], b"").status, 200);
}

pub(super) fn visor_put(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let image = lab.server.add("bad", &[("x-image-meta-format", sent.format)], b"");
    let path = format!("/images/{}", image["_id"].as_str().unwrap());
    let refusal = words(&lab.server.send("PUT", &path, &[OCTETS], sent.bytes));
    forget(lab, &path);
    refusal
}

pub(super) fn visor_file(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let file = lab.files.path().join("bad");
    std::fs::write(&file, sent.bytes).unwrap();
    let location = format!("file://{}", file.display());
    let more = [("x-image-meta-format", sent.format), ("x-image-meta-location", location.as_str())];
    words(&lab.server.send("POST", "/images", &[&META[..], &more].concat(), b""))
}

/// What is there under a format that nobody opens as a disk, and called a disk afterwards.
pub(super) fn visor_anew(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let image = lab.server.add("bad", &[("x-image-meta-format", "tar")], sent.bytes);
    let path = format!("/images/{}", image["_id"].as_str().unwrap());
    let refusal = words(&lab.server.send("PUT", &path, &[("x-image-meta-format", sent.format)], b""));
    assert_eq!(lab.server.get(&path).status, 200, "it stays what it was");
    forget(lab, &path);
    refusal
}

pub(super) fn visor_pieces(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let format = ("x-image-meta-format", sent.format);
    let begun = lab.server.send("POST", "/uploads", &[&META[..], &[format]].concat(), b"");
    let location = begun.header("location").unwrap();
    let path = &location[location.find("/uploads/").unwrap()..];
    let half = sent.bytes.len() / 2;
    let send = |offset: usize, complete: &str, piece: &[u8]| {
        let (partial, offset) = (("Content-Type", "application/partial-upload"), offset.to_string());
        lab.server.send("PATCH", path, &[partial, ("Upload-Offset", &offset), ("Upload-Complete", complete)], piece)
    };
    assert_eq!(send(0, "?0", &sent.bytes[..half]).status, 204);
    words(&send(half, "?1", &sent.bytes[half..]))
}

pub(super) fn v2_data(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let id = lab.waiting(sent);
    page(&lab.glance().put(&format!("/v2/images/{id}/file"), sent.bytes))
}

pub(super) fn v2_staged(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let id = lab.waiting(sent);
    assert_eq!(lab.glance().put(&format!("/v2/images/{id}/stage"), sent.bytes).status, 204);
    let direct = json!({ "method": { "name": "glance-direct" } });
    assert_eq!(lab.glance().post(&format!("/v2/images/{id}/import"), &direct).status, 202);
    lab.task(&id)
}

pub(super) fn v2_download(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let web = serving(sent.bytes);
    let id = lab.waiting(sent);
    let download = json!({ "method": { "name": "web-download", "uri": web.url("disk") } });
    assert_eq!(lab.glance().post(&format!("/v2/images/{id}/import"), &download).status, 202);
    lab.task(&id)
}

/// The words of a pull that failed, of a file of this name.
fn pulled(lab: &Lab, name: &str, bytes: &[u8]) -> Refusal {
    let web = serving(bytes);
    let ask = json!({ "name": web.url(name) });
    let answer = lab.server.send("POST", "/pulls", &[("Content-Type", "application/json")], ask.to_string().as_bytes());
    assert_eq!(answer.status, 202, "{answer:?}");
    let job = format!("/jobs/{}", answer.json()["job"]["_id"].as_str().unwrap());
    let now = || lab.server.get(&format!("{job}?wait=30s")).json()["job"].clone();
    eventually("the pull has failed", || now()["status"] == "failed");
    now()["error"].as_str().unwrap().to_owned()
}

pub(super) fn visor_pull(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    pulled(lab, &format!("disk.{}", sent.format), sent.bytes)
}

pub(super) fn visor_pull_packed(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    pulled(lab, &format!("disk.{}.gz", sent.format), &crate::bundles::gzip(sent.bytes))
}

pub(super) fn v1_post(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    page(&lab.server.send("POST", "/v1/images", &[&Lab::v1(sent)[..], &[OCTETS]].concat(), sent.bytes))
}

pub(super) fn v1_put(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let id = lab.waiting(sent);
    page(&lab.server.send("PUT", &format!("/v1/images/{id}"), &[OCTETS], sent.bytes))
}

pub(super) fn v1_copy(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let web = serving(sent.bytes);
    let url = web.url("disk");
    let made =
        lab.server.send("POST", "/v1/images", &[&Lab::v1(sent)[..], &[("x-glance-api-copy-from", &url)]].concat(), b"");
    assert_eq!(made.status, 201, "{made:?}");
    lab.task(made.json()["image"]["id"].as_str().unwrap())
}

pub(super) fn v1_anew(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let tarball =
        [("x-image-meta-name", "bad"), ("x-image-meta-disk_format", "ami"), ("x-image-meta-container_format", "ami")];
    let made = lab.server.send("POST", "/v1/images", &[&tarball[..], &[OCTETS]].concat(), sent.bytes);
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["image"]["id"].as_str().unwrap().to_owned();
    let refusal = page(&lab.server.send("PUT", &format!("/v1/images/{id}"), &Lab::v1(sent), b""));
    assert_eq!(lab.glance().show(&id)["disk_format"], "ami", "it stays what it was");
    assert_eq!(lab.glance().delete(&format!("/v2/images/{id}")).status, 204);
    refusal
}

pub(super) fn lxd_unified(lab: &Lab, image: &[u8]) -> Refusal {
    lab.server.failed(&lab.server.send("POST", "/1.0/images", &[], image))
}

pub(super) fn lxd_split(lab: &Lab, disk: &[u8]) -> Refusal {
    let (content_type, body) = form(&[("metadata", "m", &metadata("bad")), ("rootfs.img", "d", disk)]);
    lab.server.failed(&lab.server.send("POST", "/1.0/images", &[("content-type", &content_type)], &body))
}

pub(super) fn lxd_sent(lab: &Lab, image: &[u8]) -> Refusal {
    let secret = awaited(&lab.server, &json!({ "source": source(&sha256(image)) }));
    lab.server.failed(&lab.server.send("POST", "/1.0/images", &[("X-LXD-secret", &secret)], image))
}

/// A copy of an image that the other server has taken without looking.
fn copy(lab: &Lab, fingerprint: &str, protocol: &str) -> Refusal {
    let asked = pull(&lab.server, &lab.from, json!({ "fingerprint": fingerprint, "protocol": protocol }), json!({}));
    let refusal = lab.server.failed(&asked);
    let gone = lab.from.send("DELETE", &format!("/1.0/images/{fingerprint}"), &[], b"");
    lab.from.ended(&gone);
    refusal
}

pub(super) fn copied(lab: &Lab, image: &[u8], protocol: &str) -> Refusal {
    let fingerprint = lab.from.import(image, &[PUBLIC]);
    copy(lab, &fingerprint, protocol)
}

pub(super) fn copied_split(lab: &Lab, disk: &[u8], protocol: &str) -> Refusal {
    let fingerprint = lab.from.import_split("bad", "rootfs.img", disk, &[PUBLIC]);
    copy(lab, &fingerprint, protocol)
}

pub(super) fn lxd_url(lab: &Lab, image: &[u8]) -> Refusal {
    let bytes = image.to_vec();
    let web = Fake::serving(None, move |asked| {
        let host = asked.header("host").unwrap();
        let headers = format!("LXD-Image-Hash: {}\r\nLXD-Image-URL: http://{host}/file\r\n", sha256(&bytes));
        if asked.head.starts_with("HEAD") { answer("200 OK", &headers, "") } else { answer("200 OK", BYTES, &bytes) }
    });
    let source = json!({ "source": { "type": "url", "url": web.url("image") } });
    lab.server.failed(&lab.server.send_json("POST", "/1.0/images", &source))
}

pub(super) fn v2_task(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let web = serving(sent.bytes);
    let properties = json!({ "name": "bad", "disk_format": sent.format, "container_format": sent.container });
    let input =
        json!({ "import_from": web.url("disk"), "import_from_format": sent.format, "image_properties": properties });
    let begun = lab.glance().post("/v2/tasks", &json!({ "type": "import", "input": input }));
    assert_eq!(begun.status, 201, "{begun:?}");
    let path = format!("/v2/tasks/{}", begun.json()["id"].as_str().unwrap());
    eventually("the task has failed", || lab.glance().get(&path).json()["status"] == "failure");
    lab.glance().get(&path).json()["message"].as_str().unwrap().to_owned()
}

/// A copy of what was registered under a URL without a look.
pub(super) fn v2_copy(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let web = serving(sent.bytes);
    let id = lab.waiting(sent);
    let location = json!({ "url": web.url("disk") });
    assert_eq!(lab.glance().post(&format!("/v2/images/{id}/locations"), &location).status, 202);
    let copy = json!({ "method": { "name": "copy-image" }, "stores": ["file"] });
    assert_eq!(lab.glance().post(&format!("/v2/images/{id}/import"), &copy).status, 202);
    let refusal = lab.task(&id);
    assert_eq!(lab.glance().show(&id)["stores"], "http", "it stays under its URL");
    assert_eq!(lab.glance().delete(&format!("/v2/images/{id}")).status, 204);
    refusal
}

/// A move of what was registered under a URL without a look.
pub(super) fn visor_move(lab: &Lab, sent: &Sent<'_>) -> Refusal {
    let web = serving(sent.bytes);
    let url = web.url("disk");
    let more = [("x-image-meta-format", sent.format), ("x-image-meta-location", &url), ("x-image-meta-store", "http")];
    let path = format!("/images/{}", lab.server.add("bad", &more, b"")["_id"].as_str().unwrap());
    let refusal = words(&lab.server.send("PUT", &path, &[("x-image-meta-store", "file")], b""));
    let image = lab.server.send("HEAD", &path, &[], b"");
    assert_eq!(image.header("x-image-meta-store"), Some("http"), "it stays under its URL");
    forget(lab, &path);
    refusal
}

/// A server that has these bytes under every URL.
fn serving(bytes: &[u8]) -> Fake {
    let bytes = bytes.to_vec();
    Fake::serving(None, move |_| answer("200 OK", BYTES, &bytes))
}
