//! The bytes of images: the seam that every store implements, and what goes with it.
//!
//! A store keeps bytes under a [`BlobKey`] and knows nothing else: no images, digests, limits, callers or protocols.
//! The caller counts and hashes the bytes on their way in.

mod ahead;
mod buffers;
mod error;
mod linked;
mod local;
mod memory;
mod read;
pub(crate) mod reader;
mod regular;
#[cfg(feature = "remote")]
mod remote;
mod sparse;
mod stores;
#[cfg(test)]
mod suite;

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

pub use self::ahead::Ahead;
pub use self::buffers::{Buffer, Buffers};
pub use self::error::StoreError;
pub use self::linked::{Linked, LinkedFile};
pub use self::local::LocalStore;
pub use self::memory::MemoryStore;
pub use self::read::{peek, stream};
#[cfg(feature = "remote")]
pub use self::remote::{HdfsSettings, RemoteSettings, RemoteStore, S3Settings};
pub use self::stores::{Store, Stores};
use crate::image::BlobKey;

/// A place for bytes. `suite::run` is this contract as a test, and every implementation passes it.
///
/// - A blob is there completely or not at all: no reader ever sees one that is being written, and writing over one
///   replaces it in a single step. Where that can't be done the store refuses at the end: [`StoreError::Exists`].
/// - What was acknowledged survives a power cut: after `finish` the blob is there, after `delete` it is not.
/// - Any method may be called at any time by any number of tasks. Of several writers of one key the last to finish
///   wins, or the first one where the store does not write over blobs; each has an area of its own until then.
/// - No method blocks the thread it is polled on.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug + 'static {
    /// Begins a blob. Nothing is visible under `key` until [`BlobWriter::finish`].
    ///
    /// `size_hint` is what the sender announced: a store that has no room for so much says [`StoreError::Full`] at
    /// once, and one that can sets the room aside. Another number of bytes may come all the same.
    async fn begin(&self, key: &BlobKey, size_hint: Option<u64>) -> Result<Box<dyn BlobWriter>, StoreError>;

    /// Begins a blob whose bytes can be read before it is finished ([`BlobWriter::reread`]), which costs a store on another
    /// machine a local copy.
    async fn begin_readable(&self, key: &BlobKey, size_hint: Option<u64>) -> Result<Box<dyn BlobWriter>, StoreError> {
        self.begin(key, size_hint).await
    }

    /// Begins a blob with the bytes of a file of this machine, which become the blob's without being copied: both are then names
    /// of one file, each of which stays when the other goes. The writer takes no bytes, and can be read, finished or aborted.
    /// The caller vouches that no program writes into the file, now or later. `None` when the store can't: then the bytes have to
    /// be written.
    async fn adopt(&self, _key: &BlobKey, _file: &Path) -> Result<Option<Box<dyn BlobWriter>>, StoreError> {
        Ok(None)
    }

    /// Tells whether blobs are files of this machine.
    fn has_files(&self) -> bool {
        false
    }

    /// Goes on with a blob of which a writer has kept `length` bytes (see [`BlobWriter::keep`]), behind those; what it
    /// wrote after them does not count. `size_hint` is as for `begin`. There is one writer of a kept blob at a time, and
    /// its end was not acknowledged yet; the caller ensures both.
    ///
    /// [`StoreError::NotFound`] when not so much was kept.
    async fn resume(
        &self,
        key: &BlobKey,
        length: u64,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, StoreError>;

    /// Opens a blob, or the part `range` of it (the end is exclusive). What was opened stays readable when the blob
    /// is deleted or replaced.
    ///
    /// The caller has cut the range to the blob's size; one that reaches beyond the end, or runs backwards, is
    /// [`StoreError::BadRange`]. An empty range within the blob is an empty body.
    async fn open(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<BlobBody, StoreError>;

    /// Size and age of a blob.
    async fn stat(&self, key: &BlobKey) -> Result<BlobStat, StoreError>;

    /// Removes a blob, and what was kept of one, durably. One that is not there is a success, and so is deleting it
    /// twice.
    async fn delete(&self, key: &BlobKey) -> Result<(), StoreError>;

    /// Every blob, in no order. Names that are not ours are skipped; unfinished blobs are not listed.
    async fn list(&self) -> Result<Vec<BlobKey>, StoreError>;

    /// Removes what the unfinished writers of earlier runs left, except what was kept of `kept` (of all, if that is not
    /// known), and says how many there were. Called once at the start; writers of this run are never touched.
    async fn sweep(&self, kept: Option<&[BlobKey]>) -> Result<usize, StoreError>;

    /// The blob's address, as the operator would write it. Others need not be able to read it.
    fn uri(&self, key: &BlobKey) -> String;

    /// Bytes that are left, if the store has such a limit and knows it.
    async fn free(&self) -> Option<u64>;
}

/// A blob on its way in. Dropping it does what [`BlobWriter::abort`] does, without waiting for it; unless it was kept.
///
/// After an error (or when the future of a call was dropped half way) the writer is good for nothing but `abort`:
/// every later `write` and `finish` fails.
#[async_trait]
pub trait BlobWriter: Send {
    /// Appends a chunk. It may return before the chunk is written; an error then comes from the next call.
    ///
    /// At most one chunk waits at a time, which is the back-pressure. Large chunks are cheaper: see [`Buffers`].
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError>;

    /// Makes what was written so far durable, and says how much it is. From now on it stays when the writer goes, for
    /// [`BlobStore::resume`], in this run or another, until `finish` or `abort`.
    ///
    /// A writer that streams to another server can do that, and [`BlobWriter::reread`], only if it is asked to keep before
    /// the first byte; afterwards it is an error.
    async fn keep(&mut self) -> Result<u64, StoreError>;

    /// Opens the written bytes for reading.
    async fn reread(&mut self) -> Result<BlobBody, StoreError>;

    /// Makes the blob another name of `twin`, durable and visible, if that has the very same bytes. False when it has not,
    /// is not there, or the store can't. The writer is as before, and can be finished or aborted.
    async fn link(&mut self, twin: &BlobKey) -> Result<bool, StoreError>;

    /// Makes the blob durable and then visible, and says how large it is.
    ///
    /// An error here leaves the key in doubt (the last step may have happened): the caller deletes it. After
    /// [`StoreError::Exists`] only if no record names it: what is there is of another upload. If the future is dropped, the
    /// blob may appear all the same.
    async fn finish(self: Box<Self>) -> Result<u64, StoreError>;

    /// Gives up: what was written is gone when this returns, kept or not.
    async fn abort(self: Box<Self>);

    /// Goes as if dropped, but nothing of it is on its way any more when this returns: another one may resume.
    async fn leave(self: Box<Self>);
}

/// The bytes of a blob for reading: a file where there is one, so that it can be sent the fast way.
pub enum BlobBody {
    /// A span of an open file.
    File(BlobFile),
    /// Bytes from elsewhere.
    Stream {
        /// The bytes.
        stream: BoxStream<'static, Result<Bytes, StoreError>>,
        /// Length of the stream, if it is known.
        length: Option<u64>,
    },
}

impl BlobBody {
    /// Length of the body, if it is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::File(file) => Some(file.length),
            Self::Stream { length, .. } => *length,
        }
    }

    /// Keeps something until the body is read or dropped.
    pub fn holding(self, held: impl Send + Sync + 'static) -> Self {
        match self {
            Self::File(file) => Self::File(BlobFile { held: Some(Held(Box::new(held))), ..file }),
            Self::Stream { stream, length } => {
                let stream = stream.map(move |piece| {
                    let _ = &held;
                    piece
                });
                Self::Stream { stream: stream.boxed(), length }
            }
        }
    }
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Stream { length, .. } => f.debug_struct("Stream").field("length", length).finish_non_exhaustive(),
        }
    }
}

/// A span of an open regular file.
#[derive(Debug)]
pub struct BlobFile {
    /// The file; its cursor means nothing, read at offsets.
    pub file: Arc<File>,
    /// Offset of the span.
    pub offset: u64,
    /// Length of the span. The file had at least these bytes when it was opened.
    pub length: u64,
    /// Value to drop when the reader ends.
    pub held: Option<Held>,
}

/// Value that is kept while a body is read, for the effect of its drop.
pub struct Held(#[expect(dead_code, reason = "its end is what it is for")] Box<dyn Send + Sync>);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

/// Facts about a blob that a store knows without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobStat {
    /// Size in bytes.
    pub size: u64,
    /// Time at which it was written.
    pub modified: SystemTime,
}

/// Cuts `range` out of a blob of `size` bytes: offset and length.
fn span(range: Option<Range<u64>>, size: u64) -> Result<(u64, u64), StoreError> {
    let Range { start, end } = range.unwrap_or(0..size);
    if start > end || end > size {
        return Err(StoreError::BadRange);
    }
    Ok((start, end - start))
}
