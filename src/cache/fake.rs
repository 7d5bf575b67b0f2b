//! An upstream for tests that does what upstreams do: breaks off, changes, lies, and waits.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::digest::hex;

/// Behaviour towards ranges.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Ranges {
    /// As RFC 9110 says.
    #[default]
    Right,
    /// Everything is sent each time.
    Ignored,
    /// The part begins a byte later than it says.
    WrongStart,
    /// The condition is not looked at, and the tag is always the present one.
    Unconditional,
    /// 416, with the length.
    Refused,
    /// The part has other bytes than the file.
    OtherBytes,
}

/// A file of an upstream.
#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) status: u16,
    pub(super) bytes: Vec<u8>,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// More headers, each ending in a line break.
    pub(super) headers: String,
    pub(super) ranges: Ranges,
    /// Length that is announced in place of the right one.
    pub(super) announced: Option<u64>,
    /// Places at which a body breaks off, one for each request.
    pub(super) cuts: VecDeque<u64>,
    /// Place up to which bytes are sent for now, in bodies that do not begin behind it.
    pub(super) gate: Option<u64>,
    /// True for another tag in each answer.
    pub(super) random_tags: bool,
    /// True for a body without a length, whose end is its connection's.
    pub(super) endless: bool,
    /// True for no answer.
    pub(super) silent: bool,
}

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Script>>,
    opened: Condvar,
    heads: Mutex<Vec<String>>,
    sent: AtomicU64,
}

/// An upstream on 127.0.0.1.
pub(super) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Bytes that differ from place to place.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(length / 8 + 1).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// A file with a strong tag of its content.
pub(super) fn file(bytes: &[u8]) -> Script {
    use sha2::Digest as _;
    let etag = format!("\"{}\"", &hex(&sha2::Sha256::digest(bytes))[..16]);
    Script { status: 200, bytes: bytes.to_vec(), etag: Some(etag), ..Script::default() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let server = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.serve(socket));
            }
        });
        Self { address, shared }
    }

    /// An upstream with one file, `/f-1.img`.
    pub(super) fn with(script: Script) -> Self {
        let upstream = Self::new();
        upstream.put("f-1.img", script);
        upstream
    }

    pub(super) fn put(&self, name: &str, script: Script) {
        lock(&self.shared.files).insert(name.to_owned(), script);
        self.shared.opened.notify_all();
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Script)) {
        change(lock(&self.shared.files).get_mut(name).unwrap());
        self.shared.opened.notify_all();
    }

    pub(super) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Heads of the requests for a file.
    pub(super) fn heads(&self, name: &str) -> Vec<String> {
        let is_for = |head: &&String| head.split(' ').nth(1) == Some(&format!("/{name}"));
        lock(&self.shared.heads).iter().filter(is_for).cloned().collect()
    }

    pub(super) fn requests(&self) -> usize {
        lock(&self.shared.heads).len()
    }

    /// Bytes of bodies that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

/// A header of a request.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Part of a file in an answer.
struct Reply {
    status: u16,
    start: usize,
    headers: String,
}

impl Shared {
    fn serve(&self, mut socket: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let name = head.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        lock(&self.heads).push(head.clone());
        let Some(mut script) = lock(&self.files).get(&name).cloned() else {
            return socket.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok();
        };
        if script.silent {
            std::io::copy(&mut socket, &mut std::io::sink()).ok()?;
            return None;
        }
        if script.random_tags {
            script.etag = Some(format!("\"{}\"", lock(&self.heads).len()));
        }
        let reply = script.reply(&head);
        let head_only = head.starts_with("HEAD ");
        let status = reply.status;
        if status == 206 && script.ranges == Ranges::OtherBytes {
            script.bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        let body = if matches!(status, 200 | 206) { &script.bytes[reply.start..] } else { &[] };
        let length = match script.announced.filter(|_| status == 200).unwrap_or(body.len() as u64) {
            _ if script.endless => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let answer =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{}{}{length}\r\n", script.headers, reply.headers);
        socket.write_all(answer.as_bytes()).ok()?;
        if head_only || body.is_empty() {
            return None;
        }
        let cut = lock(&self.files).get_mut(&name).and_then(|file| file.cuts.pop_front());
        self.send(&mut socket, &name, body, reply.start, cut)
    }

    fn send(&self, socket: &mut TcpStream, name: &str, body: &[u8], start: usize, cut: Option<u64>) -> Option<()> {
        let mut at = 0;
        while at < body.len() {
            let mut end = body.len().min(at + 16 * 1024);
            if let Some(cut) = cut {
                end = end.min((cut as usize).saturating_sub(start));
                if end <= at {
                    return None;
                }
            }
            let mut files = lock(&self.files);
            let holds = |gate: u64| start as u64 <= gate && (start + end) as u64 > gate;
            while files.get(name)?.gate.is_some_and(holds) {
                files = self.opened.wait(files).unwrap_or_else(PoisonError::into_inner);
            }
            drop(files);
            socket.write_all(&body[at..end]).ok()?;
            self.sent.fetch_add((end - at) as u64, Ordering::SeqCst);
            at = end;
        }
        Some(())
    }
}

impl Script {
    fn reply(&self, head: &str) -> Reply {
        let mut headers = String::new();
        for (name, value) in [("ETag", &self.etag), ("Last-Modified", &self.last_modified)] {
            headers.extend(value.iter().map(|value| format!("{name}: {value}\r\n")));
        }
        let whole = Reply { status: self.status, start: 0, headers: headers.clone() };
        let is_known = |tags: &str| self.etag.as_deref().is_some_and(|tag| tags.split(", ").any(|known| known == tag));
        if self.status == 200 && header(head, "If-None-Match").is_some_and(is_known) {
            return Reply { status: 304, ..whole };
        }
        let range = header(head, "Range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((first, last)) = range.filter(|_| self.status == 200) else { return whole };
        let (first, total): (usize, usize) = (first.parse().unwrap(), self.bytes.len());
        let condition = header(head, "If-Range");
        let holds = condition.is_none_or(|value| {
            [&self.etag, &self.last_modified]
                .into_iter()
                .flatten()
                .any(|known| known == value && !known.starts_with("W/"))
        });
        match self.ranges {
            Ranges::Ignored => whole,
            Ranges::Right if !holds => whole,
            Ranges::Refused => Reply { status: 416, headers: format!("Content-Range: bytes */{total}\r\n"), ..whole },
            _ if first >= total => {
                Reply { status: 416, headers: format!("Content-Range: bytes */{total}\r\n"), ..whole }
            }
            ranges => {
                let start = first + usize::from(ranges == Ranges::WrongStart);
                let _ = last;
                let told = format!("{headers}Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
                Reply { status: 206, start, headers: told }
            }
        }
    }
}
