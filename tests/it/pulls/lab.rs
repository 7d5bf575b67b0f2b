//! A vendor of the test, and the program on a machine that knows it.

use std::ffi::OsString;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::cache::age;
use crate::harness::{Server, sha256, visor};
use crate::upstream::{File, Upstream};

/// A vendor with builds of one release, and a machine that knows it.
pub(crate) struct Lab {
    pub(crate) upstream: Upstream,
    pub(crate) dir: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { upstream: Upstream::start(), dir: tempfile::tempdir().unwrap() };
        let text = format!(
            "[cache]\nrequire = \"none\"\n[fetch]\nallow = [\"127.0.0.1/32\"]\n[vendors.test]\ntitle = \"Test\"\nkind = \"sums\"\nbase = \"{}\"\n\
             list = \"SHA256SUMS\"\nimage = \"{{release}}/test-{{release}}-{{build}}.{{arch}}.qcow2\"\n\
             sums = [\"SHA256SUMS\"]\nrequire = \"checksum\"\nreleases = [\"1\"]\nformat = \"qcow2\"\n\
             architectures = {{ x86_64 = \"x86_64\" }}\n",
            lab.upstream.url("/vendor/"),
        );
        std::fs::write(lab.config(), text).unwrap();
        lab
    }

    pub(crate) fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("visor.toml")
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub(super) fn image(build: &str) -> String {
        format!("/vendor/1/test-1-{build}.x86_64.qcow2")
    }

    /// Publishes builds, of which the sums name all.
    pub(super) fn publish(&self, builds: &[(&str, &[u8])]) {
        let mut sums = String::new();
        for (build, bytes) in builds {
            let path = Self::image(build);
            sums.push_str(&format!("{}  {}\n", sha256(bytes), path.rsplit('/').next().unwrap()));
            self.upstream.put(&path, File::new(*bytes));
        }
        self.upstream.put("/vendor/1/SHA256SUMS", File::new(sums));
    }

    /// Lets lists be asked for again: the cache asks for each at most once in five seconds. No server may run.
    pub(crate) fn later(&self) {
        age(&self.data());
    }

    /// Arguments that name the settings and the data.
    pub(super) fn places(&self) -> [OsString; 4] {
        ["--config".into(), self.config().into(), "--data-dir".into(), self.data().into()]
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        visor().args(arguments).args(self.places()).current_dir(self.dir.path()).output().unwrap()
    }

    pub(crate) fn pull(&self, arguments: &[&str]) -> Output {
        self.run(&[&["pull", "--arch", "x86_64"], arguments].concat())
    }

    pub(crate) fn server(&self) -> Server {
        Server::on(&self.data(), &["--config", self.config().to_str().unwrap()])
    }

    /// Requests for the bytes of a build.
    pub(super) fn gets(&self, build: &str) -> usize {
        self.upstream.gets(&Self::image(build)).len()
    }
}

pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

pub(crate) fn fails(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    said(output)
}

pub(super) fn named(server: &Server, name: &str) -> Vec<Value> {
    let answer = server.get("/images/detail");
    let images = if answer.status == 404 { Vec::new() } else { answer.json()["images"].as_array().unwrap().clone() };
    images.into_iter().filter(|image| image["name"] == name).collect()
}

pub(super) fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

pub(super) fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
