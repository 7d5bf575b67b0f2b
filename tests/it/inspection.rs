//! What the bytes of an image have to be, whichever way they come.

use crate::harness::{Answer, Server, iso, noise, qcow2, qcow2_over_a_file};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");
const META: [(&str, &str); 2] = [("x-image-meta-name", "a"), ("x-image-meta-architecture", "x86_64")];
const PARTIAL: (&str, &str) = ("Content-Type", "application/partial-upload");
const BACKED: &str = "Image failed safety checks: it has a backing file";

fn post(server: &Server, format: Option<&str>, body: &[u8]) -> Answer {
    let format: Vec<_> = format.map(|format| ("x-image-meta-format", format)).into_iter().collect();
    server.send("POST", "/images", &[&META[..], &format, &[OCTETS]].concat(), body)
}

#[track_caller]
fn refused(answer: &Answer, message: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.json()["message"], message);
}

fn path(answer: &Answer) -> String {
    format!("/images/{}", answer.json()["image"]["_id"].as_str().unwrap())
}

#[test]
fn a_file_has_to_be_of_its_images_format() {
    let server = Server::start();
    let text = noise(1, 100_000);
    for format in ["qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso"] {
        for body in [&text[..], &text[..3]] {
            let words = format!("Image disk_format {format} does not match stream data raw");
            refused(&post(&server, Some(format), body), &words);
        }
    }
    refused(&post(&server, Some("iso"), &qcow2(&text)), "Image disk_format iso does not match stream data qcow2");
    for format in [None, Some("raw"), Some("qcow2"), Some("ami"), Some("tar")] {
        assert_eq!(post(&server, format, &qcow2(&text)).status, 200, "{format:?}");
    }
    // Beside some of them there may be by now what describes them to LXD.
    assert_eq!(server.files().0.iter().filter(|name| !name.ends_with(".metadata")).count(), 5);
    assert_eq!(server.names("").len(), 5, "what was refused has left nothing");
}

#[test]
fn a_file_that_names_others_is_refused_but_where_nobody_opens_it_as_a_disk() {
    let server = Server::start();
    // Larger than the buffers in which it comes.
    let backed = qcow2_over_a_file(&noise(2, 3_000_000));
    for format in [None, Some("raw"), Some("qcow2")] {
        refused(&post(&server, format, &backed), BACKED);
    }
    let text = b"# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"/etc/shadow\" 0\n";
    for format in [None, Some("raw"), Some("vmdk")] {
        refused(
            &post(&server, format, text),
            "Image failed safety checks: only monolithicSparse and streamOptimized are allowed of vmdk",
        );
    }
    assert_eq!(server.files(), (vec![], vec![]));
    assert_eq!(post(&server, Some("tar"), &backed).status, 200);
}

#[test]
fn an_image_that_was_there_takes_another_file_after_one_that_was_refused() {
    let server = Server::start();
    let path = format!("/images/{}", server.add("a", &[("x-image-meta-format", "iso")], b"")["_id"].as_str().unwrap());
    refused(&server.send("PUT", &path, &[OCTETS], b"text"), "Image disk_format iso does not match stream data raw");
    assert_eq!(server.send("HEAD", &path, &[], b"").header("x-image-meta-status"), Some("error"));
    // The format that comes with the file counts.
    refused(&server.send("PUT", &path, &[OCTETS, ("x-image-meta-format", "raw")], &qcow2_over_a_file(b"")), BACKED);
    let answer = server.send("PUT", &path, &[OCTETS, ("x-image-meta-format", "iso")], &iso());
    assert_eq!(answer.json()["image"]["status"], "available", "{answer:?}");
}

/// In a form the format may stand behind the file, or only in the file's name.
#[test]
fn the_format_of_a_form_counts_wherever_it_stands() {
    let server = Server::start();
    let send = |name: &str, format: &str| {
        let body = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\na\r\n--XX\r\nContent-Disposition: form-data; \
             name=\"architecture\"\r\n\r\ni386\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"{name}\"\r\n\r\ntext\r\n{format}--XX--\r\n"
        );
        let form = ("Content-Type", "multipart/form-data; boundary=XX");
        server.send("POST", "/images", &[form], body.as_bytes())
    };
    let field = "--XX\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\nvdi\r\n";
    refused(&send("text", field), "Image disk_format vdi does not match stream data raw");
    refused(&send("disk.vdi", ""), "Image disk_format vdi does not match stream data raw");
    assert_eq!(send("text", "").status, 200);
}

/// What tells the format came in an earlier request, or before the server was killed.
#[test]
fn pieces_are_looked_at_together() {
    let bytes = qcow2_over_a_file(&noise(3, 2_000_000));
    for (cut, restart) in [(12, false), (12, true), (1_500_000, true)] {
        let server = Server::start();
        let begun = server.send("POST", "/uploads", &[&META[..], &[("x-image-meta-format", "qcow2")]].concat(), b"");
        let location = begun.header("location").unwrap();
        let path = location[location.find("/uploads/").unwrap()..].to_owned();
        let patch = |server: &Server, offset: usize, complete: &str, piece: &[u8]| {
            let offset = offset.to_string();
            let headers = [PARTIAL, ("Upload-Offset", &offset), ("Upload-Complete", complete)];
            server.send("PATCH", &path, &headers, piece)
        };
        assert_eq!(patch(&server, 0, "?0", &bytes[..cut]).status, 204);
        let (_temp, server) = match restart {
            false => (None, server),
            true => {
                let dir = server.dir.clone();
                let temp = server.kill();
                let next = Server::on(&dir, &[]);
                (temp, next)
            }
        };
        refused(&patch(&server, cut, "?1", &bytes[cut..]), BACKED);
        assert_eq!(server.send("HEAD", &path, &[], b"").status, 404);
        assert_eq!((server.files(), server.names("").len()), ((vec![], vec![]), 0));
    }
}

#[test]
fn no_bytes_are_of_any_format() {
    let server = Server::start();
    for format in ["qcow2", "iso", "raw"] {
        let begun = server.send("POST", "/uploads", &[&META[..], &[("x-image-meta-format", format)]].concat(), b"");
        let location = begun.header("location").unwrap();
        let path = &location[location.find("/uploads/").unwrap()..];
        let headers = [PARTIAL, ("Upload-Offset", "0"), ("Upload-Complete", "?1"), ("Content-Length", "0")];
        assert_eq!(server.send("PATCH", path, &headers, b"").json()["image"]["status"], "available", "{format}");
    }
}

#[test]
fn files_of_the_operators_are_looked_at_too() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    std::fs::write(&good, qcow2(b"")).unwrap();
    std::fs::write(&bad, qcow2_over_a_file(b"")).unwrap();
    let server = Server::configured(&format!("[stores.file]\nimport_dirs = [{:?}]\n", dir.path()));
    let locate = |path: &std::path::Path, format| {
        let location = format!("file://{}", path.display());
        let more = [("x-image-meta-format", format), ("x-image-meta-location", location.as_str())];
        server.send("POST", "/images", &[&META[..], &more].concat(), b"")
    };
    assert_eq!(locate(&good, "qcow2").status, 200);
    refused(&locate(&good, "vdi"), "Image disk_format vdi does not match stream data qcow2");
    refused(&locate(&bad, "qcow2"), BACKED);
    assert_eq!(server.names("").len(), 1);
}

/// Otherwise anything could come as an archive and be called a disk afterwards.
#[test]
fn a_format_that_is_changed_later_has_to_be_that_of_the_file() {
    let server = Server::start();
    let change = |path: &str, format| server.send("PUT", path, &[("x-image-meta-format", format)], b"");
    let backed = path(&post(&server, Some("tar"), &qcow2_over_a_file(&noise(4, 200_000))));
    for format in ["qcow2", "raw", ""] {
        refused(&change(&backed, format), BACKED);
    }
    refused(&change(&backed, "iso"), "Image disk_format iso does not match stream data qcow2");
    assert_eq!(change(&backed, "ami").status, 200);
    let good = path(&post(&server, Some("raw"), &qcow2(&noise(4, 200_000))));
    assert_eq!(change(&good, "qcow2").json()["image"]["format"], "qcow2");
    assert_eq!(change(&good, "vmdk").status, 400);
    assert_eq!(server.send("PUT", &good, &[("x-image-meta-name", "b")], b"").status, 200);
}

#[test]
fn the_operator_may_not_want_to_know() {
    let server = Server::configured("[inspect]\noff = [\"iso\", \"raw\"]\n");
    assert_eq!(post(&server, Some("iso"), b"text").status, 200);
    assert_eq!(post(&server, Some("raw"), &qcow2_over_a_file(b"")).status, 200);
    assert_eq!(post(&server, None, &qcow2_over_a_file(b"")).status, 200);
    refused(&post(&server, Some("qcow2"), &qcow2_over_a_file(b"")), BACKED);
}
