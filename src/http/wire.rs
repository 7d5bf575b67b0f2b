//! A connection's stream between its socket and actix-http, kept for what follows actix-http's end.
//!
//! actix-http answers a request that it can't parse by itself, with an empty body and without an id, and then ends with
//! an error. The wire holds such a head back until that end is known: it is then replaced by an answer of this server's
//! own, which actix-http makes of a request that the wire puts in the place of the client's.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::dev::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::exchange::CurrentExchange;
use crate::error::Reason;

/// Maximum length of a request line that is kept.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Maximum length of a head that actix-http writes by itself.
const OWN_HEAD_BYTES_MAX: usize = 192;

/// The words of actix-http's to a client that waits before it sends a body. They are no answer: the request goes on.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A stream that HTTP is spoken on.
pub(super) trait ConnectionStream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The socket below it.
    fn tcp(&self) -> &TcpStream;

    /// Adds facts of the connection, for handlers.
    fn introduce(&self, data: &mut Extensions);
}

/// A refusal of a request that actix-http could not parse.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    /// The reason.
    pub(super) reason: Reason,
    /// Words that say more than the reason's.
    pub(super) words: &'static str,
    /// True if the path of the request is known, and with it the protocol.
    pub(super) has_path: bool,
}

/// A connection's stream. Clones share it.
pub(super) struct Wire<S>(Rc<RefCell<Ends<S>>>);

impl<S> Clone for Wire<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

struct Ends<S> {
    stream: S,
    exchange: CurrentExchange,
    line: RequestLine,
    /// True after the client's last byte, or an error.
    ended: bool,
    /// A head of actix-http's own, held back.
    withheld: Vec<u8>,
    /// Bytes of a head that turned out to be another's, and are on their way.
    released: Vec<u8>,
    /// A refusal that is being answered, with the rest of the request that stands for the client's.
    refusal: Option<(Refusal, Vec<u8>)>,
}

impl<S: ConnectionStream> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Rc::new(RefCell::new(Ends {
            stream,
            exchange: CurrentExchange::default(),
            line: RequestLine::default(),
            ended: false,
            withheld: Vec::new(),
            released: Vec::new(),
            refusal: None,
        })))
    }

    /// The connection's exchange.
    pub(super) fn exchange(&self) -> CurrentExchange {
        self.0.borrow().exchange.clone()
    }

    /// Adds the facts of the connection.
    pub(super) fn introduce(&self, data: &mut Extensions) {
        let ends = self.0.borrow();
        ends.stream.introduce(data);
        data.insert(ends.exchange.clone());
        if let Some((refusal, _)) = &ends.refusal {
            data.insert(*refusal);
        }
    }

    /// True after the client's last byte, or an error.
    pub(super) fn ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// The status of the head that is held back.
    pub(super) fn withheld(&self) -> Option<u16> {
        status_of(&self.0.borrow().withheld)
    }

    /// Lets a head go that was held back: no error of actix-http's followed it.
    pub(super) fn release(&self) {
        let mut ends = self.0.borrow_mut();
        let withheld = std::mem::take(&mut ends.withheld);
        ends.released.extend(withheld);
    }

    /// Sends what was released, as far as the stream takes it.
    pub(super) fn poll_released(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_released(cx)
    }

    /// Puts a request in the place of the one that could not be parsed: with its path, as far as that is known, and
    /// nothing else of it.
    pub(super) fn refuse(&self, reason: Reason, words: &'static str) {
        let mut ends = self.0.borrow_mut();
        ends.withheld.clear();
        let (method, path) = ends.line.parse();
        let refusal = Refusal { reason, words, has_path: path.is_some() };
        let path = path.unwrap_or("/");
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        ends.refusal = Some((refusal, request.into_bytes()));
    }

    /// The stream, if no clone of the wire is left.
    pub(super) fn into_stream(self) -> Option<S> {
        Rc::into_inner(self.0).map(|ends| ends.into_inner().stream)
    }
}

impl<S: ConnectionStream> Ends<S> {
    fn poll_released(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.released.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.released))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.released.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: ConnectionStream> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ends = &mut *self.0.borrow_mut();
        if let Some((_, request)) = &mut ends.refusal {
            if request.is_empty() {
                // The answer to it wakes this task.
                return Poll::Pending;
            }
            let length = request.len().min(into.remaining());
            into.put_slice(&request[..length]);
            request.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let polled = Pin::new(&mut ends.stream).poll_read(cx, into);
        match &polled {
            Poll::Ready(Ok(())) => {
                let arrived = &into.filled()[before..];
                ends.ended |= arrived.is_empty();
                ends.line.note(arrived);
            }
            Poll::Ready(Err(_)) => ends.ended = true,
            Poll::Pending => {}
        }
        polled
    }
}

impl<S: ConnectionStream> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let ends = &mut *self.0.borrow_mut();
        ready!(ends.poll_released(cx))?;
        let own = if ends.refusal.is_none() { own_head(bytes) } else { None };
        match own {
            Some(0) => {
                ends.withheld.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }
            Some(start) => Pin::new(&mut ends.stream).poll_write(cx, &bytes[..start]),
            None => {
                if bytes != CONTINUE {
                    ends.line.begin();
                }
                Pin::new(&mut ends.stream).poll_write(cx, bytes)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ends = &mut *self.0.borrow_mut();
        ready!(ends.poll_released(cx))?;
        Pin::new(&mut ends.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ends = &mut *self.0.borrow_mut();
        if !ends.withheld.is_empty() {
            // The end of actix-http decides about these bytes first.
            return Poll::Ready(Ok(()));
        }
        ready!(ends.poll_released(cx))?;
        Pin::new(&mut ends.stream).poll_shutdown(cx)
    }
}

/// Finds the start of a head that ends these bytes and that actix-http may have written by itself: only it answers so without
/// a body.
fn own_head(bytes: &[u8]) -> Option<usize> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = bytes.len().saturating_sub(OWN_HEAD_BYTES_MAX);
    let start = from + bytes[from..].windows(7).rposition(|window| window == b"HTTP/1.")?;
    status_of(&bytes[start..]).map(|_| start)
}

/// The status of a head of actix-http's own.
fn status_of(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<&str> = lines.filter_map(|line| line.split(':').next()).collect();
    let is_own = [400, 408, 431].contains(&status)
        && headers.contains(&"content-length")
        && headers.iter().all(|name| ["content-length", "connection", "date"].contains(name))
        && text.contains("\r\ncontent-length: 0");
    is_own.then_some(status)
}

/// The first line of the newest request, as far as it has arrived. The newest request begins after the newest answer, unless a
/// client did not wait for that.
#[derive(Default)]
struct RequestLine {
    bytes: Vec<u8>,
    complete: bool,
}

impl RequestLine {
    fn begin(&mut self) {
        self.bytes.clear();
        self.complete = false;
    }

    fn note(&mut self, arrived: &[u8]) {
        if self.complete {
            return;
        }
        let line = arrived.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let room = LINE_BYTES_MAX - self.bytes.len();
        self.bytes.extend_from_slice(&line[..line.len().min(room)]);
        self.complete = line.len() < arrived.len() || line.len() >= room;
    }

    /// The method of an answer to it, and its path if it has one that can stand in a request.
    fn parse(&self) -> (&'static str, Option<&str>) {
        let line = std::str::from_utf8(&self.bytes).unwrap_or_default();
        let mut words = line.split(' ');
        let method = if words.next() == Some("HEAD") { "HEAD" } else { "GET" };
        let target = words.next().unwrap_or_default();
        let path = target.split(['?', '#']).next().unwrap_or_default();
        // The end of a line that was cut may be in the middle of its path.
        let ended = path.len() < target.len() || words.next().is_some();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~%:@!$&'()*+,;=".contains(&byte);
        let usable = self.complete && ended && path.starts_with('/') && path.bytes().all(plain);
        (method, usable.then_some(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: Mon, 30 Nov 2026 08:00:00 GMT\r\n\r\n";

    #[test]
    fn only_a_head_of_actix_http_alone_is_held_back() {
        assert_eq!((own_head(OWN), status_of(OWN)), (Some(0), Some(431)));
        let after = [b"HTTP/1.1 200 OK\r\n\r\nbytes of an image", OWN].concat();
        assert_eq!(own_head(&after), Some(after.len() - OWN.len()));
        for other in [
            &OWN[..OWN.len() - 1],
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-request-id: 1\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\ndate: x\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"\r\n\r\n",
            b"",
        ] {
            assert_eq!(own_head(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn the_path_of_a_request_survives_its_pieces() {
        for (pieces, expected) in [
            (&["GET /v2/images?a=b HTTP/1.1\r\nHost: x"][..], ("GET", Some("/v2/images"))),
            (&["HE", "AD /im", "ages/%20 HTTP/1.1\r", "\nHost: x"], ("HEAD", Some("/images/%20"))),
            (&["GET /unfinished"], ("GET", None)),
            (&["GET http://elsewhere/ HTTP/1.1\n"], ("GET", None)),
            (&["GET /a\"b HTTP/1.1\n"], ("GET", None)),
            (&["\u{16}\u{3}\u{1}\n"], ("GET", None)),
        ] {
            let mut line = RequestLine::default();
            pieces.iter().for_each(|piece| line.note(piece.as_bytes()));
            assert_eq!(line.parse(), expected, "{pieces:?}");
        }
        let mut line = RequestLine::default();
        line.note(&vec![b'a'; LINE_BYTES_MAX + 1]);
        assert_eq!((line.bytes.len(), line.parse()), (LINE_BYTES_MAX, ("GET", None)));
        for (start, expected) in [("GET /", None), ("GET /images?", Some("/images"))] {
            line.begin();
            line.note([start.as_bytes(), &vec![b'a'; LINE_BYTES_MAX]].concat().as_slice());
            assert_eq!(line.parse(), ("GET", expected), "{start}");
        }
        line.begin();
        line.note(b"GET / HTTP/1.1\r\n");
        assert_eq!(line.parse(), ("GET", Some("/")));
    }
}
