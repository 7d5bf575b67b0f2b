//! The door of the cache, against a server that fails as it is told.

mod access;
mod basics;
mod broken;
mod fills;
mod kills;
mod liars;
mod moving;
mod offline;
mod parents;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::harness::{PATIENCE, Server, request};
use crate::upstream::Upstream;

/// Settings for servers of other tests: files over plain HTTP with nothing to check against are let in.
pub(crate) const LENIENT: &str = "[cache]\nrequire = \"none\"\n";

/// Arguments that let a server fetch from the fixtures.
pub(crate) const NEAR: [&str; 2] = ["--allow-fetch", "127.0.0.0/8"];

/// A server with a cache, and the server whose files it keeps.
pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) upstream: Upstream,
}

impl Lab {
    pub(crate) fn start() -> Self {
        Self::configured("")
    }

    /// A lab with more settings, of the cache first.
    pub(crate) fn configured(more: &str) -> Self {
        let server = with(&[], more);
        Self { server, upstream: Upstream::start() }
    }

    /// Begins to read a file through the door.
    pub(crate) fn begin(&self, path: &str, headers: &[(&str, &str)]) -> Reading {
        Reading::begin(&self.server, &self.upstream.door(path), headers)
    }

    /// Reads a file through the door to the end of the answer.
    pub(crate) fn read(&self, path: &str, headers: &[(&str, &str)]) -> Outcome {
        self.begin(path, headers).finish()
    }
}

/// A server with a cache that may fetch from the fixtures, with more arguments and settings.
pub(crate) fn with(arguments: &[&str], more: &str) -> Server {
    let config = configuration(more);
    let config = ["--config", config.path().to_str().unwrap()];
    Server::with(&[&config, &NEAR[..], arguments].concat())
}

/// A file of settings for [`NEAR`] servers.
pub(crate) fn configuration(more: &str) -> tempfile::NamedTempFile {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), format!("{LENIENT}{more}")).unwrap();
    config
}

/// Makes all that a cache has look older than the shortest time for which its servers are not asked again. No server may run in the
/// directory: it has the times in memory.
pub(crate) fn age(data: &Path) {
    let mut aged = 0;
    let paths = std::fs::read_dir(data.join("cache/entries")).unwrap().map(|file| file.unwrap().path());
    // A server that was killed may leave files that it had not finished, of other names.
    for path in paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let mut entry: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        entry["checked_at"] = (entry["checked_at"].as_i64().unwrap() - 6_000_000).into();
        std::fs::write(&path, entry.to_string()).unwrap();
        aged += 1;
    }
    assert!(aged > 0, "there is nothing in {data:?}");
}

/// An answer that is being read, piece by piece.
pub(crate) struct Reading {
    stream: TcpStream,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// Bytes of the body that came and were not taken yet.
    ahead: Vec<u8>,
}

/// An answer to its end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// True if the answer ended as its head says.
    pub(crate) complete: bool,
}

impl Outcome {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Checks that it is all of these bytes.
    pub(crate) fn is_all_of(&self, content: &[u8]) {
        assert_eq!((self.status, self.complete), (200, true), "{:?} {:?}", self.headers, self.text());
        assert!(self.body == content, "{} bytes, and not the {} of the file", self.body.len(), content.len());
    }

    /// Beginning of the body, for messages.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(200)]).into_owned()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

impl Reading {
    /// Sends a request, and reads the head of its answer.
    pub(crate) fn begin(server: &Server, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::attempt(server.address(), path, headers).unwrap()
    }

    /// Sends a request to a server that may be gone.
    pub(crate) fn attempt(address: &str, path: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = stream.write_all(&request(address, "GET", path, headers, b""));
        sent.map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            let mut piece = [0; 4096];
            match stream.read(&mut piece).map_err(|error| error.to_string())? {
                0 => return Err(format!("no head: {:?}", String::from_utf8_lossy(&bytes))),
                read => bytes.extend(&piece[..read]),
            }
        };
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(':').unwrap());
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Ok(Self { stream, status, headers, ahead: bytes.split_off(end + 4) })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The next bytes of the body, which have to come.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        self.wait_for(length);
        let rest = self.ahead.split_off(length);
        std::mem::replace(&mut self.ahead, rest)
    }

    /// Waits until so many bytes of the body are here.
    pub(crate) fn wait_for(&mut self, length: usize) {
        while self.ahead.len() < length {
            let mut piece = vec![0; 64 << 10];
            let read = self.stream.read(&mut piece).unwrap();
            assert!(read > 0, "the answer ended {} bytes before {length}", length - self.ahead.len());
            self.ahead.extend(&piece[..read]);
        }
    }

    /// The rest of the answer.
    pub(crate) fn finish(mut self) -> Outcome {
        // A connection that is reset has given what it had.
        let mut piece = vec![0; 256 << 10];
        while let Ok(read @ 1..) = self.stream.read(&mut piece) {
            self.ahead.extend(&piece[..read]);
        }
        let (body, complete) = match (self.header("content-length"), self.header("transfer-encoding")) {
            (Some(length), _) => {
                let complete = self.ahead.len().to_string() == length;
                (self.ahead, complete)
            }
            (None, Some("chunked")) => unchunked(&self.ahead),
            _ => (self.ahead, false),
        };
        Outcome { status: self.status, headers: self.headers, body, complete }
    }
}

/// The content of a chunked body as far as it goes, and whether it has its end.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut content = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return (content, true);
        }
        let rest = &bytes[end + 2..];
        content.extend(&rest[..size.min(rest.len())]);
        bytes = rest.get(size + 2..).unwrap_or_default();
    }
    (content, false)
}
