//! The real program on a free port, and a raw HTTP client that sends exactly what it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a server may take to answer, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program under test.
pub(crate) fn visor() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_visor"));
    // Nothing can be made below a device, by root either: what a test leaves is in its own directories.
    command.env_clear().env("HOME", "/dev/null").env("RUST_BACKTRACE", "0");
    // Sources that fail are asked again; no test waits for the pauses between the tries.
    command.env("VISOR__FETCH__PAUSE", "1ms");
    command
}

/// Runs a command to its end: exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    run_with(arguments, Stdio::null())
}

/// The same, with something to read.
pub(crate) fn run_with(arguments: &[&str], input: impl Into<Stdio>) -> (i32, String, String) {
    let done = visor().args(arguments).stdin(input).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// A running server. Killed by its own process id when dropped.
pub(crate) struct Server {
    child: Child,
    address: String,
    /// Where it serves TLS, if it does.
    pub(crate) secure: Option<String>,
    pub(crate) dir: PathBuf,
    /// Dropped last.
    _temp: Option<TempDir>,
}

impl Server {
    /// A server on a directory of its own.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// The same, with more arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut server = Self::on(temp.path(), arguments);
        server._temp = Some(temp);
        server
    }

    /// A server on a directory of its own, with this in its `visor.toml`.
    pub(crate) fn configured(text: &str) -> Self {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), text).unwrap();
        Self::with(&["--config", config.path().to_str().unwrap()])
    }

    /// A server that serves TLS too, on a directory of its own.
    pub(crate) fn secure(arguments: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut server = Self::secure_on(temp.path(), arguments);
        server._temp = Some(temp);
        server
    }

    /// A server on this directory that serves TLS too.
    pub(crate) fn secure_on(dir: &Path, arguments: &[&str]) -> Self {
        Self::launch(dir, &[&["--listen-tls", "127.0.0.1:0"], arguments].concat())
    }

    /// A server on this directory.
    pub(crate) fn on(dir: &Path, arguments: &[&str]) -> Self {
        Self::launch(dir, &[&["--no-tls"], arguments].concat())
    }

    fn launch(dir: &Path, arguments: &[&str]) -> Self {
        let ready = dir.with_extension(format!("ready-{}", uuid::Uuid::new_v4()));
        let log = std::fs::File::options().create(true).append(true).open(dir.with_extension("log")).unwrap();
        let mut child = visor()
            .args(["serve", "--listen", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            .arg("--data-dir")
            .arg(dir)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !ready.exists() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", log_of(dir));
            }
            assert!(began.elapsed() < PATIENCE, "no ready file: {}", log_of(dir));
            std::thread::sleep(Duration::from_millis(5));
        }
        let url = std::fs::read_to_string(&ready).unwrap();
        std::fs::remove_file(ready).unwrap();
        let of = |scheme| url.lines().find_map(|url| url.strip_prefix(scheme)).map(ToOwned::to_owned);
        let (address, secure) = (of("http://").unwrap(), of("https://"));
        Self { child, address, secure, dir: dir.to_owned(), _temp: None }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }

    /// What the server said so far.
    pub(crate) fn log(&self) -> String {
        log_of(&self.dir)
    }

    /// Tells whether the process is over.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has now.
    pub(crate) fn resident_kib(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// `kill -9`, at once.
    pub(crate) fn kill(mut self) -> Option<TempDir> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self._temp.take()
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> (Option<TempDir>, bool) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let clean = self.child.wait().unwrap().success();
        (self._temp.take(), clean)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes and nothing else, and reads until the server closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// A request, with `Host`, `Connection: close` and the length of a body added.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        Answer::parse(&self.raw(&request(&self.address, method, path, headers, body)), method == "HEAD")
    }

    /// Makes an account beside the running server, and returns its keys.
    pub(crate) fn account(&self, name: &str, arguments: &[&str]) -> Value {
        let mut command = visor();
        command.args(["--json", "account", "add", name, "--data-dir"]).arg(&self.dir).args(arguments);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{done:?}");
        serde_json::from_slice(&done.stdout).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Registers an image, with a file unless it is empty, and returns its record.
    pub(crate) fn add(&self, name: &str, more: &[(&str, &str)], file: &[u8]) -> Value {
        let mut headers = vec![("x-image-meta-name", name), ("x-image-meta-architecture", "x86_64")];
        headers.extend(more);
        if !file.is_empty() {
            headers.push(("Content-Type", "application/octet-stream"));
        }
        let answer = self.send("POST", "/images", &headers, file);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["image"].clone()
    }

    /// The names of the images that a list has, in its order.
    pub(crate) fn names(&self, query: &str) -> Vec<String> {
        let answer = self.get(&format!("/images{query}"));
        if answer.status == 404 {
            return Vec::new();
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let images = answer.json()["images"].as_array().unwrap().clone();
        images.iter().map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The files that uploads leave, finished and not.
    pub(crate) fn files(&self) -> (Vec<String>, Vec<String>) {
        let names = |dir: &str| {
            let entries = std::fs::read_dir(self.dir.join(dir)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
        };
        (names("images"), names("staging"))
    }
}

/// The bytes of a request, with `Host`, `Connection: close` and the length of a body added.
pub(crate) fn request(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\n");
    let given = |names: &[&str]| headers.iter().any(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str()));
    if !given(&["connection"]) {
        request.push_str("Connection: close\r\n");
    }
    if !given(&["host"]) {
        request.push_str(&format!("Host: {host}\r\n"));
    }
    if !body.is_empty() && !given(&["content-length", "transfer-encoding"]) {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let mut bytes = request.into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let log = self.log();
            assert!(!log.contains("panicked"), "{log}");
        }
        let _ = std::fs::remove_file(self.dir.with_extension("log"));
    }
}

fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.with_extension("log")).unwrap_or_default()
}

/// Waits for something that happens soon.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8], head: bool) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            return Self::parse(&bytes[end + 4..], head);
        }
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Self { status, headers, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") && !head {
            answer.body = unchunk(&answer.body);
        }
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The content of a chunked body; panics unless it ends as it should.
fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n").expect("a chunked body breaks off");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
}

/// Sends a part of a request and then goes away.
pub(crate) fn send_and_leave(server: &Server, bytes: &[u8]) {
    let mut stream = server.connect();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
}

/// Bytes that look like nothing in particular, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    // An odd multiplier keeps neighbouring seeds apart and the state from being zero.
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// A disc with nothing on it: what tells it lies behind its first 32 KiB.
pub(crate) fn iso() -> Vec<u8> {
    let mut bytes = vec![0; 34 << 10];
    bytes[32 << 10..][..7].copy_from_slice(b"\x01CD001\x01");
    bytes
}

/// The header of a qcow2 image of a disk of 1 GiB, and these bytes behind it.
pub(crate) fn qcow2(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    bytes[20..24].copy_from_slice(&16_u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
    bytes[100..104].copy_from_slice(&104_u32.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// The same with the name of another file in it, which whoever opens the image would open too.
pub(crate) fn qcow2_over_a_file(content: &[u8]) -> Vec<u8> {
    let (mut bytes, name) = (qcow2(content), b"/etc/shadow");
    bytes[8..16].copy_from_slice(&512_u64.to_be_bytes());
    bytes[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
    bytes[512..512 + name.len()].copy_from_slice(name);
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    visor::digest::hex(&sha2::Sha256::digest(bytes))
}

pub(crate) fn md5(bytes: &[u8]) -> String {
    use md5::Digest;
    visor::digest::hex(&md5::Md5::digest(bytes))
}
