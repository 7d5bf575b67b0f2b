//! Bytes of one answer on their way into the file of a fill: written, or compared with what is there already.
//!
//! Pieces gather while the last ones are being written, so that a fast server costs one hop to a blocking thread for each MiB, and a
//! slow one no wait. Memory is bound by two such MiB, one being written and one that gathers, and a piece behind each.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::task::{JoinHandle, spawn_blocking};

use super::core::Cache;
use super::fill::Fill;
use crate::error::{Error, Reason};
use crate::fetch::FetchError;

/// Bytes that gather before the next piece waits.
const GATHERED_MAX: usize = 1 << 20;

/// Steps in which room is set aside for a body of unknown length.
const STEP: u64 = 64 << 20;

/// The step for documents, which are short: most lists that are made on demand have no length.
const DOCUMENT_STEP: u64 = 1 << 20;

/// Bytes that came by other requests which are worth another request to skip.
const SKIPPED_MIN: u64 = 8 << 20;

/// Body of an answer.
pub(super) type Pieces = BoxStream<'static, Result<Bytes, FetchError>>;

/// End of a body.
pub(super) enum Pumped {
    /// It ended as announced, behind this byte.
    End(u64),
    /// It broke.
    Broken(FetchError),
    /// The bytes behind are here already.
    Ahead,
    /// Other bytes than those that are here: equal before this one. The rest of the body.
    Differs(u64, Pieces),
}

/// A body, and the place that it goes to.
pub(super) struct Pump<'a> {
    cache: &'a Arc<Cache>,
    fill: &'a Arc<Fill>,
    /// Place of the next byte of the body.
    at: u64,
    /// End of the part that it is, if it is one.
    until: Option<u64>,
    /// Up to here the bytes are compared, not written.
    compared: u64,
    /// Name of its source, for counters.
    source: &'static str,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    /// Place of the first gathered byte.
    written: u64,
    writing: Option<JoinHandle<io::Result<()>>>,
    checkpoint: Option<JoinHandle<()>>,
    /// Bytes that were written down, and those that were made durable before.
    noted: u64,
    durable: u64,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        cache: &'a Arc<Cache>,
        fill: &'a Arc<Fill>,
        span: (u64, Option<u64>),
        compared: u64,
        source: &'static str,
    ) -> Self {
        let (at, until) = span;
        Self {
            cache,
            fill,
            at,
            until,
            compared,
            source,
            gathered: Vec::new(),
            gathered_bytes: 0,
            written: at,
            writing: None,
            checkpoint: None,
            noted: fill.here(),
            durable: fill.durable(),
        }
    }

    /// Takes the body in, to its end.
    ///
    /// # Errors
    /// Failures on this side: no room, too many bytes, a broken disk.
    pub(super) async fn run(&mut self, mut pieces: Pieces) -> Result<Pumped, Error> {
        loop {
            let piece = tokio::select! {
                done = written(&mut self.writing), if self.writing.is_some() => {
                    self.writing = None;
                    done?;
                    self.write()?;
                    self.write_down();
                    continue;
                }
                _ = ended(&mut self.checkpoint), if self.checkpoint.is_some() => {
                    self.checkpoint = None;
                    // What came meanwhile; a server that stands still now brings no other occasion.
                    self.write_down();
                    continue;
                }
                piece = pieces.next() => piece,
            };
            let piece = match piece {
                None => break,
                Some(Err(error)) => {
                    self.flush().await?;
                    return Ok(Pumped::Broken(error));
                }
                Some(Ok(piece)) => piece,
            };
            let source = self.source;
            self.cache.counters.bytes(source, piece.len() as u64);
            self.admit(self.at + piece.len() as u64).await?;
            if self.until.is_some_and(|until| self.at + piece.len() as u64 > until) {
                self.flush().await?;
                return Ok(Pumped::Broken(FetchError::WrongLength("more bytes than the part has".to_owned())));
            }
            let (equal, rest) = self.compare(piece).await?;
            if let Err(differs) = equal {
                let pieces = futures_util::stream::iter([Ok(rest)]).chain(pieces).boxed();
                return Ok(Pumped::Differs(differs, pieces));
            }
            self.take(rest).await?;
            if self.is_ahead() {
                self.flush().await?;
                return Ok(Pumped::Ahead);
            }
        }
        self.flush().await?;
        Ok(Pumped::End(self.at))
    }

    /// Tells whether bytes up to `end` may come.
    async fn admit(&self, end: u64) -> Result<(), Error> {
        if end > self.fill.bytes_max {
            return Err(Reason::FileTooLarge.about(self.fill.bytes_max));
        }
        if end > self.fill.reserved.load(Ordering::SeqCst) {
            let known = self.fill.state.borrow().length.unwrap_or(0);
            let step = if self.fill.document { DOCUMENT_STEP } else { STEP };
            self.cache.reserve(self.fill, known.max(end.next_multiple_of(step).min(self.fill.bytes_max))).await?;
        }
        Ok(())
    }

    /// Compares the part of a piece that is here already. Returns whether it is equal, or the place of the first byte that is not,
    /// and what is to be written: from that byte on.
    async fn compare(&mut self, mut piece: Bytes) -> Result<(Result<(), u64>, Bytes), Error> {
        let known = usize::try_from(self.compared.saturating_sub(self.at)).unwrap_or(usize::MAX).min(piece.len());
        if known == 0 {
            return Ok((Ok(()), piece));
        }
        let (file, at, head) = (Arc::clone(&self.fill.file), self.at, piece.split_to(known));
        let compared = spawn_blocking(move || {
            let mut here = vec![0; head.len()];
            file.read_exact_at(&mut here, at)?;
            let equal = here.iter().zip(&head).take_while(|(here, told)| here == told).count();
            Ok::<_, io::Error>((equal, head))
        });
        let (equal, head) = compared.await.map_err(Error::internal)?.map_err(Error::internal)?;
        self.at += equal as u64;
        self.written = self.at;
        if equal == head.len() {
            return Ok((Ok(()), piece));
        }
        let rest = [head.slice(equal..), piece].concat();
        Ok((Err(self.at), rest.into()))
    }

    async fn take(&mut self, piece: Bytes) -> Result<(), Error> {
        if piece.is_empty() {
            return Ok(());
        }
        self.at += piece.len() as u64;
        self.gathered_bytes += piece.len();
        self.gathered.push(piece);
        if self.writing.is_some() && self.gathered_bytes >= GATHERED_MAX {
            let done = written(&mut self.writing).await;
            self.writing = None;
            done?;
        }
        self.write()
    }

    /// Begins to write what gathered, unless something is being written.
    fn write(&mut self) -> Result<(), Error> {
        if self.writing.is_some() || self.gathered.is_empty() {
            return Ok(());
        }
        let (fill, at, pieces) = (Arc::clone(self.fill), self.written, std::mem::take(&mut self.gathered));
        self.written += std::mem::take(&mut self.gathered_bytes) as u64;
        self.writing = Some(spawn_blocking(move || fill.write(at, &pieces)));
        self.write_down();
        Ok(())
    }

    /// Writes down what is here when enough came since the last time, so that a process that is killed loses a small part of a file;
    /// and makes it durable now and then.
    fn write_down(&mut self) {
        let length = self.fill.state.borrow().length;
        let step = length.map_or(1 << 20, |length| (length / 64).clamp(128 << 10, STEP));
        let here = self.fill.here();
        if here < self.noted + step || self.checkpoint.is_some() {
            return;
        }
        self.noted = here;
        let durably = here >= self.durable + STEP;
        if durably {
            self.durable = here;
        }
        let (fill, now) = (Arc::clone(self.fill), self.cache.now());
        self.checkpoint = Some(spawn_blocking(move || {
            let done = if durably { fill.checkpoint(now).map(drop) } else { fill.note(now) };
            if let Err(error) = done {
                log::warn!("the transfer of {} can't be written down: {error}", fill.key.shown());
            }
        }));
    }

    async fn flush(&mut self) -> Result<(), Error> {
        while self.writing.is_some() {
            let done = written(&mut self.writing).await;
            self.writing = None;
            done?;
            self.write()?;
        }
        Ok(())
    }

    fn is_ahead(&self) -> bool {
        // Bytes that are being compared are here, of course.
        if self.at < self.compared {
            return false;
        }
        let state = self.fill.state.borrow();
        let prefix = state.extents.prefix();
        prefix > self.at && (state.length == Some(prefix) || prefix - self.at >= SKIPPED_MIN)
    }
}

async fn written(writing: &mut Option<JoinHandle<io::Result<()>>>) -> Result<(), Error> {
    let Some(writing) = writing else { return Ok(()) };
    let done = writing.await.map_err(Error::internal)?;
    done.map_err(|error| crate::blob::StoreError::from(error).into())
}

async fn ended(checkpoint: &mut Option<JoinHandle<()>>) {
    if let Some(checkpoint) = checkpoint {
        // One that died wrote nothing down, which costs a part of a transfer.
        let _ = checkpoint.await;
    }
}
