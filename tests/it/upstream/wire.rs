//! The flaky server's side of a connection: reads requests, and writes the answers that their files say.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::PoisonError;
use std::time::Duration;

use super::{Asked, File, Length, Ranges, Shared, State, Tag};

/// Bytes that are written at once.
const PIECE: usize = 16 << 10;

/// Serves a connection until one of the sides ends it.
pub(super) fn serve(shared: &Shared, stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(asked) = read(&mut reader) {
        let (path, at) = (asked.target.split('?').next().unwrap_or_default().to_owned(), {
            let mut state = shared.lock();
            state.asked.push(asked.clone());
            state.asked.len() - 1
        });
        let answer = Answering { shared, stream: &stream, path, at };
        if !answer.send(&asked) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// The next request; `None` at the end of the connection.
fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = || {
        let mut text = String::new();
        let length = reader.read_line(&mut text).ok()?;
        (length > 0).then(|| text.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(ToOwned::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Asked { method, target, headers, sent: 0 })
}

/// The answer to a request.
struct Answering<'a> {
    shared: &'a Shared,
    stream: &'a TcpStream,
    path: String,
    /// The place of the request among all.
    at: usize,
}

impl Answering<'_> {
    /// Sends the answer; false if the connection ends with it.
    fn send(&self, asked: &Asked) -> bool {
        self.wait_behind(File::HEAD, File::HEAD);
        let file = self.shared.lock().files.get(&self.path).cloned();
        let file = file.unwrap_or_else(|| File::status(404, "there is no such file"));
        let tag = match &file.tag {
            Tag::Is(tag) => Some(tag.clone()),
            Tag::Missing => None,
            Tag::Random => Some(format!("\"{}\"", uuid::Uuid::new_v4())),
        };
        let mut head = Head { lines: Vec::new() };
        head.put("Content-Type", &file.content_type);
        head.put_some("ETag", tag.as_deref());
        head.put_some("Last-Modified", file.modified.as_deref());
        head.put_some("Location", file.location.as_deref());
        file.headers.iter().for_each(|(name, value)| head.put(name, value));
        if file.status == 200 && is_current(asked, tag.as_deref(), file.modified.as_deref()) {
            return self.write(&head.bytes(304));
        }
        let size = file.content.len();
        let range = ranges_of(asked, tag.as_deref(), &file).filter(|_| file.status == 200);
        let (status, span) = match range {
            None => (file.status, 0..size),
            Some(_) if file.ranges == Ranges::Refused => return self.refuse_range(head, size),
            Some(range) if range.start >= size => return self.refuse_range(head, size),
            Some(range) => {
                let said = match file.ranges {
                    Ranges::WrongStart => format!("bytes {}-{}/{size}", range.start + 1, range.end),
                    Ranges::WrongTotal => format!("bytes {}-{}/{}", range.start, range.end - 1, size + 9),
                    _ => format!("bytes {}-{}/{size}", range.start, range.end - 1),
                };
                head.put("Content-Range", &said);
                (206, range)
            }
        };
        let length = span.len() as u64;
        match file.length {
            Length::Honest => head.put("Content-Length", &length.to_string()),
            Length::Short(by) => head.put("Content-Length", &length.saturating_sub(by).to_string()),
            Length::Long(by) => head.put("Content-Length", &(length + by).to_string()),
            Length::Chunked => head.put("Transfer-Encoding", "chunked"),
            Length::ToTheEnd => head.put("Connection", "close"),
        }
        if !self.write(&head.bytes(status)) {
            return false;
        }
        asked.method == "HEAD" || self.send_body(&file, span)
    }

    fn refuse_range(&self, mut head: Head, size: usize) -> bool {
        head.put("Content-Range", &format!("bytes */{size}"));
        head.put("Content-Length", "0");
        self.write(&head.bytes(416))
    }

    /// Sends a span of a file; false if the connection ends with it.
    fn send_body(&self, file: &File, span: Range<usize>) -> bool {
        let cut = match self.shared.lock().files.get_mut(&self.path) {
            Some(file) if file.cuts.first().is_some_and(|cut| span.contains(cut)) => Some(file.cuts.remove(0)),
            _ => None,
        };
        let (mut next, end) = (span.start, cut.unwrap_or(span.end));
        let shift = usize::from(file.ranges == Ranges::WrongBytes && span.start > 0);
        while next < end {
            let held = self.wait_behind(next, span.start);
            let to = end.min(next + PIECE).min(held.unwrap_or(end));
            let piece = &file.content[next - shift..to - shift];
            if let Some(rate) = file.rate {
                std::thread::sleep(Duration::from_secs_f64(piece.len() as f64 / rate as f64));
            }
            let framed = match file.length {
                Length::Chunked => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
                _ => piece.to_vec(),
            };
            if !self.write(&framed) {
                return false;
            }
            self.shared.lock().asked[self.at].sent += piece.len() as u64;
            next = to;
        }
        match file.length {
            _ if cut.is_some() => false,
            Length::Chunked => self.write(b"0\r\n\r\n"),
            Length::Honest => true,
            Length::Short(_) | Length::Long(_) | Length::ToTheEnd => false,
        }
    }

    /// Waits while the file is held between a place and the start of this body; returns the next place at which it is held, if that
    /// lies ahead. A body that begins behind it is not held.
    fn wait_behind(&self, place: usize, start: usize) -> Option<usize> {
        let hold_of = |state: &State| state.files.get(&self.path).and_then(|file| file.hold);
        let mut state = self.shared.lock();
        while hold_of(&state).is_some_and(|hold| (start..=place).contains(&hold)) && !self.shared.has_ended() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        hold_of(&state).filter(|hold| *hold > place)
    }

    fn write(&self, bytes: &[u8]) -> bool {
        let mut stream = self.stream;
        !self.shared.has_ended() && stream.write_all(bytes).is_ok()
    }
}

/// Lines of a head.
struct Head {
    lines: Vec<String>,
}

impl Head {
    fn put(&mut self, name: &str, value: &str) {
        self.lines.push(format!("{name}: {value}\r\n"));
    }

    fn put_some(&mut self, name: &str, value: Option<&str>) {
        value.into_iter().for_each(|value| self.put(name, value));
    }

    fn bytes(&self, status: u16) -> Vec<u8> {
        let now = format!("Date: {}\r\n", httpdate::fmt_http_date(std::time::SystemTime::now()));
        // A test may have a clock of its own.
        let date = if self.lines.iter().any(|line| line.starts_with("Date:")) { "" } else { &now };
        format!("HTTP/1.1 {status} Whatever\r\n{date}{}\r\n", self.lines.concat()).into_bytes()
    }
}

/// Tells whether the client has what is here.
fn is_current(asked: &Asked, tag: Option<&str>, modified: Option<&str>) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    match (asked.header("if-none-match"), tag) {
        (Some(tags), Some(tag)) => tags.split(',').any(|one| strong(one) == strong(tag)),
        (Some(_), None) => false,
        (None, _) => modified.is_some() && asked.header("if-modified-since") == modified,
    }
}

/// The range that the request is answered with.
fn ranges_of(asked: &Asked, tag: Option<&str>, file: &File) -> Option<Range<usize>> {
    let spec = asked.header("range")?.strip_prefix("bytes=")?.to_owned();
    let is_meant = match asked.header("if-range") {
        Some(condition) if condition.starts_with('"') => Some(condition) == tag,
        Some(condition) => Some(condition) == file.modified.as_deref(),
        None => true,
    };
    if !is_meant || file.ranges == Ranges::Ignored {
        return None;
    }
    let size = file.content.len();
    let (first, last) = spec.split_once('-')?;
    match (first.parse::<usize>().ok(), last.parse::<usize>().ok()) {
        (Some(first), None) => Some(first..size.max(first)),
        (Some(first), Some(last)) => Some(first..(last + 1).min(size).max(first)),
        (None, Some(suffix)) => Some(size.saturating_sub(suffix)..size),
        (None, None) => None,
    }
}
