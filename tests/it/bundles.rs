//! Images as LXD and Incus have them, made here: small and real.

use std::io::Write;

use serde_json::Value;

use crate::harness::{Answer, Server};

/// What describes an image.
pub(crate) fn yaml(os: &str) -> String {
    format!("architecture: amd64\ncreation_date: 1700000000\nproperties:\n  os: {os}\n  release: \"13\"\n")
}

/// An archive of these members.
pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A container in one file.
pub(crate) fn container(os: &str) -> Vec<u8> {
    gzip(&tar(&[("metadata.yaml", yaml(os).as_bytes()), ("rootfs/etc/hostname", os.as_bytes())]))
}

/// A virtual machine in one file.
pub(crate) fn machine(os: &str) -> Vec<u8> {
    gzip(&tar(&[("metadata.yaml", yaml(os).as_bytes()), ("rootfs.img", &crate::harness::qcow2(os.as_bytes()))]))
}

/// What describes an image that has its root in a second file.
pub(crate) fn metadata(os: &str) -> Vec<u8> {
    gzip(&tar(&[("metadata.yaml", yaml(os).as_bytes())]))
}

/// A form with these parts: name, file name, bytes.
pub(crate) fn form(parts: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let boundary = "----here";
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        body.extend(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: \
                 application/octet-stream\r\n\r\n"
            )
            .bytes(),
        );
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

impl Server {
    /// Waits for the operation that an answer tells of, and returns it as it ended.
    pub(crate) fn ended(&self, answer: &Answer) -> Value {
        assert_eq!(answer.status, 202, "{answer:?}");
        let operation = answer.json()["operation"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("location"), Some(operation.as_str()));
        let ended = self.get(&format!("{operation}/wait"));
        assert_eq!(ended.status, 200, "{ended:?}");
        ended.json()["metadata"].clone()
    }

    /// The same of one that does what it should.
    pub(crate) fn succeeded(&self, answer: &Answer) -> Value {
        let ended = self.ended(answer);
        assert_eq!(ended["status_code"], 200, "{ended}");
        ended["metadata"].clone()
    }

    /// The same of one that does not: what it says.
    pub(crate) fn failed(&self, answer: &Answer) -> String {
        let ended = self.ended(answer);
        assert_eq!((&ended["status_code"], &ended["status"]), (&400.into(), &"Failure".into()), "{ended}");
        ended["err"].as_str().unwrap().to_owned()
    }

    /// Imports an image and returns its fingerprint.
    pub(crate) fn import(&self, bytes: &[u8], headers: &[(&str, &str)]) -> String {
        let done = self.succeeded(&self.send("POST", "/1.0/images", headers, bytes));
        done["fingerprint"].as_str().unwrap().to_owned()
    }

    /// Imports an image in two files and returns its fingerprint.
    pub(crate) fn import_split(&self, os: &str, part: &str, root: &[u8], headers: &[(&str, &str)]) -> String {
        let (content_type, body) = form(&[("metadata", "meta.tar.gz", &metadata(os)), (part, "root.bin", root)]);
        let mut all = vec![("content-type", content_type.as_str())];
        all.extend(headers);
        self.import(&body, &all)
    }

    /// What is under a path of LXD's API.
    pub(crate) fn lxd(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let body = answer.json();
        assert_eq!((&body["type"], &body["status_code"]), (&"sync".into(), &200.into()));
        assert!(body.get("error").is_none(), "an error that is none: {body}");
        body["metadata"].clone()
    }

    /// A refusal: its status and its text.
    pub(crate) fn refused(&self, answer: &Answer) -> (u16, String) {
        let body = answer.json();
        assert_eq!((&body["type"], &body["error_code"]), (&"error".into(), &answer.status.into()), "{body}");
        assert_eq!(body["metadata"], Value::Null);
        (answer.status, body["error"].as_str().unwrap().to_owned())
    }

    pub(crate) fn send_json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }
}
