//! Files of a fill: its bytes, and the note of which of them are here, by which another run goes on with it.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::task::spawn_blocking;

use super::Fill;
use crate::cache::entry::Sidecar;
use crate::cache::extents::Extents;
use crate::image::Timestamp;

/// Files of a fill.
#[derive(Debug, Default)]
pub(super) struct OnDisk {
    /// True if they were moved or removed.
    moved: bool,
    /// True if the system once could not keep what was written: it says so once, and never again.
    broken: bool,
    /// Spans that are durable.
    durable: Extents,
}

impl OnDisk {
    /// Files of which these spans are durable.
    pub(super) fn with(durable: Extents) -> Self {
        Self { durable, ..Self::default() }
    }
}

impl Fill {
    /// The sidecar for what is here.
    fn sidecar(&self, now: Timestamp, durable: &Extents) -> Option<Sidecar> {
        let state = self.state.borrow();
        let head = state.head.as_ref().filter(|head| !head.unshared)?;
        let written = state.lasting();
        (written.total() > 0).then(|| Sidecar {
            id: self.id.clone(),
            key: self.key.url().to_owned(),
            head: (**head).clone(),
            extents: durable.spans().to_vec(),
            written: written.spans().to_vec(),
            boot: self.shelf.boot().map(str::to_owned),
            document: self.document,
            written_at: now.0,
        })
    }

    /// Writes down what is here: a process that is killed leaves that. Blocking, without waiting for the disk.
    pub(in crate::cache) fn note(&self, now: Timestamp) -> io::Result<()> {
        let disk = self.disk();
        let sidecar = self.sidecar(now, &disk.durable).filter(|_| !disk.moved);
        sidecar.map_or(Ok(()), |sidecar| self.shelf.note_sidecar(&sidecar))
    }

    /// Makes durable what is here, and writes down how much that is. Blocking.
    pub(in crate::cache) fn checkpoint(&self, now: Timestamp) -> io::Result<Option<Sidecar>> {
        let spans = self.state.borrow().lasting();
        let mut disk = self.disk();
        let Some(sidecar) = self.sidecar(now, &spans).filter(|_| !disk.moved) else { return Ok(None) };
        if let Err(error) = self.file.sync_data() {
            disk.broken = true;
            return Err(error);
        }
        self.shelf.write_sidecar(&sidecar)?;
        self.durable.store(spans.total(), Ordering::SeqCst);
        disk.durable = spans;
        Ok(Some(sidecar))
    }

    /// Number of bytes that are durable.
    pub(in crate::cache) fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// Checks that the system never failed to keep what was written.
    ///
    /// # Errors
    /// It did.
    pub(in crate::cache) fn check(&self) -> io::Result<()> {
        match self.disk().broken {
            true => Err(io::Error::other("the disk failed to keep a part of it")),
            false => Ok(()),
        }
    }

    fn disk(&self) -> MutexGuard<'_, OnDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the files. Blocking; what is open stays readable.
    pub(in crate::cache) fn discard(&self) -> io::Result<()> {
        self.moving(|| self.shelf.remove_partial(&self.id))
    }

    /// Removes the files, and says so in the log if they can't be removed.
    pub(in crate::cache) async fn dispose(self: &Arc<Self>) {
        let ending = Arc::clone(self);
        if let Ok(Err(error)) = spawn_blocking(move || ending.discard()).await {
            log::warn!("the transfer of {} can't be removed: {error}", self.key.shown());
        }
    }

    /// Takes over the first bytes of another fill. Blocking.
    pub(in crate::cache) fn copy_from(&self, other: &Self, bytes: u64) -> io::Result<()> {
        let mut at = 0;
        while at < bytes {
            let mut piece = vec![0; usize::try_from(bytes - at).unwrap_or(usize::MAX).min(1 << 20)];
            other.file.read_exact_at(&mut piece, at)?;
            let length = piece.len() as u64;
            self.write(at, &[piece.into()])?;
            at += length;
        }
        Ok(())
    }

    /// Runs what moves or removes the files, after which the sidecar is never written again. Blocking.
    pub(in crate::cache) fn moving<T>(&self, work: impl FnOnce() -> T) -> T {
        self.close();
        let mut disk = self.disk();
        disk.moved = true;
        work()
    }
}
