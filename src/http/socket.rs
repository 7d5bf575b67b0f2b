//! A plain TCP connection that sends files through the kernel: the bytes of an image never enter this process.
//!
//! actix-http writes the head of an answer, asks the body for bytes, and flushes its connection only after all earlier
//! bytes. A [`FileBody`] has no bytes: it puts its file into the [`Outlet`] of its connection and waits, and the flush
//! sends the file. Keep-alive, pipelining, time-outs and shutdown remain actix-http's.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Extensions;
use actix_web::web::Bytes;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_cork;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::wire::ConnectionStream;
use crate::blob::{Ahead, BlobFile};

/// Bytes that are sent before other connections of the thread have their turn.
const TURN_BYTES: u64 = 4 << 20;

/// Files from this size are sent corked: in full packets, whatever room the receiver leaves at a time. A shorter file
/// is sent in one piece, which saves two system calls.
const CORKED_FROM_BYTES: u64 = 256 << 10;

/// The file that a connection is to send. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Outlet(Rc<RefCell<Option<Ahead>>>);

impl Outlet {
    /// Bytes that are still to be sent.
    fn left(&self) -> u64 {
        self.0.borrow().as_ref().map_or(0, Ahead::left)
    }
}

/// A plain TCP connection.
pub(super) struct Socket {
    stream: TcpStream,
    outlet: Outlet,
    corked: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, outlet: Outlet::default(), corked: false }
    }

    /// Runs an operation on the stream as soon as the stream accepts bytes.
    fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_io(Interest::WRITABLE, || write(&self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn cork(&mut self, corked: bool) -> io::Result<()> {
        if self.corked != corked {
            set_tcp_cork(&self.stream, corked)?;
            self.corked = corked;
        }
        Ok(())
    }

    /// Sends the file in the outlet.
    fn poll_send_file(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outlet = self.outlet.clone();
        let mut outlet = outlet.0.borrow_mut();
        let Some(file) = &mut *outlet else { return Poll::Ready(Ok(())) };
        let mut turn = TURN_BYTES;
        while file.left() > 0 {
            if turn == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let ready = ready!(file.poll_ready(cx)).map_err(cut_short)?.min(turn);
            let mut offset = file.offset();
            let sent = ready!(self.poll_write_with(cx, |stream| {
                let length = usize::try_from(ready).unwrap_or(usize::MAX);
                // All other errors concern the connection and its client.
                sendfile(stream, file.file(), Some(&mut offset), length).map_err(|error| match error {
                    Errno::IO => cut_short(error.into()),
                    other => other.into(),
                })
            }))?;
            if sent == 0 {
                return Poll::Ready(Err(cut_short(io::ErrorKind::UnexpectedEof.into())));
            }
            file.advance(sent as u64);
            turn = turn.saturating_sub(sent as u64);
        }
        self.cork(false)?;
        // The body is polled again, and reports its end.
        cx.waker().wake_by_ref();
        *outlet = None;
        Poll::Ready(Ok(()))
    }
}

impl ConnectionStream for Socket {
    fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    fn introduce(&self, data: &mut Extensions) {
        data.insert(self.outlet.clone());
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // A head waits for the first bytes of its file, so that one packet has both.
        let flags = match self.outlet.left() {
            0 => SendFlags::empty(),
            left => {
                self.cork(left >= CORKED_FROM_BYTES)?;
                SendFlags::MORE
            }
        };
        self.poll_write_with(cx, |stream| Ok(send(stream, bytes, SendFlags::NOSIGNAL | flags)?))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_file(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Logs bytes that could not be read. The connection ends then: the client must not take a part for the whole.
pub(super) fn cut_short<E: std::fmt::Display>(error: E) -> E {
    log::error!("a download was cut short: {error}");
    error
}

/// A body that its connection sends.
pub(super) struct FileBody {
    outlet: Outlet,
    /// The file, until the connection has it.
    file: Option<BlobFile>,
}

impl FileBody {
    pub(super) fn new(outlet: Outlet, file: BlobFile) -> Self {
        Self { outlet, file: Some(file) }
    }
}

impl MessageBody for FileBody {
    type Error = std::convert::Infallible;

    /// The size is none that actix-http could count: the head states the length.
    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(file) = self.file.take() {
            *self.outlet.0.borrow_mut() = Some(Ahead::new(file));
        }
        match self.outlet.left() {
            0 => Poll::Ready(None),
            // The connection wakes this task, which it shares.
            _ => Poll::Pending,
        }
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        // The answer was abandoned: its file must not be sent as part of another answer.
        self.outlet.0.take();
    }
}
