//! Metadata: rows and secondary indexes over an engine, with a journal as the truth.
//!
//! Knows images; knows nothing of bytes, access rules or protocols. Changes go through one writer (`embedded/writer.rs`); reads
//! go straight to the engine and never wait for a write.

mod embedded;
pub mod engine;
mod index;
mod keys;
mod list;
#[path = "../../migrations/mod.rs"]
mod migrations;
mod plan;
mod row;
mod sieve;
mod stored;
mod verify;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

pub use self::embedded::compaction::Compaction;
pub use self::embedded::prepare::Amend;
use self::embedded::prepare::CatalogChange;
use self::embedded::retired_ids::Spent;
use self::embedded::writer::{Current, Writer, current};
use self::embedded::{database, open};
use self::engine::Table;
use crate::error::{Error, Reason, Result};
use crate::image::query::{Cursor, Page, Query, Sort};
use crate::image::{Access, Image, ImageId, Timestamp};

/// The catalogue.
#[derive(Debug)]
pub struct Catalog {
    engine: Current,
    writer: Writer,
    /// Reads counted since they were last handed to the writer.
    accesses: Mutex<HashMap<ImageId, Access>>,
    lost: bool,
}

impl Catalog {
    /// Opens the catalogue in `dir`, or creates it, and repairs damage. `cache_bytes` bounds the page
    /// cache of the database. Blocks while it reads and checks every row (about a second for 100,000).
    ///
    /// # Errors
    /// The directory can't be used, or holds data of a newer program. The caller holds the lock of the data
    /// directory.
    pub fn open(dir: &Path, cache_bytes: u64) -> std::io::Result<Self> {
        let open::Opened { engine, journal, state, lost } = open::open(dir, cache_bytes)?;
        let spent = Spent::open(dir)?;
        let engine: Current = Arc::new(RwLock::new(Arc::from(engine)));
        let writer = Writer::start(Arc::clone(&engine), journal, state, spent)?;
        Ok(Self { engine, writer, accesses: Mutex::default(), lost })
    }

    /// Tells whether damage may have lost acknowledged changes: records are then no reason to remove bytes.
    pub fn may_have_lost_changes(&self) -> bool {
        self.lost
    }

    /// Asks the next [`Catalog::open`] of `dir` to rebuild the database from the journal.
    pub fn demand_rebuild(dir: &Path) -> std::io::Result<()> {
        database::demand_rebuild(dir)
    }

    /// Adds an image. Durable when this returns; dropping the future does not undo it.
    ///
    /// # Errors
    /// `AlreadyExists` if the id is taken or retired.
    pub async fn insert(&self, image: Image) -> Result<Image> {
        self.writer.change(CatalogChange::Insert(image)).await?.ok_or_else(|| Error::internal("an insert left nothing"))
    }

    /// Replaces the version with an equal revision.
    ///
    /// # Errors
    /// `Precondition` if the stored revision differs.
    pub async fn replace(&self, image: Image) -> Result<Image> {
        self.writer
            .change(CatalogChange::Replace(image))
            .await?
            .ok_or_else(|| Error::internal("a replacement left nothing"))
    }

    /// Changes an image of any revision: `amend` makes the new version from the stored one, `None` removes it.
    /// `amend` runs in the writer, maybe more than once, and has to be quick.
    ///
    /// # Errors
    /// `NotFound`, or the error of `amend`.
    pub async fn amend(
        &self,
        id: ImageId,
        amend: impl Fn(&Image) -> Result<Option<Image>> + Send + 'static,
    ) -> Result<Option<Image>> {
        self.writer.change(CatalogChange::Amend(id, Box::new(amend))).await
    }

    /// Changes several images at once: all or, if one change is refused, none. Returns the new version of the last one.
    ///
    /// # Errors
    /// The first refusal, as for [`Catalog::amend`].
    pub async fn amend_together(&self, amends: Vec<(ImageId, Amend)>) -> Result<Option<Image>> {
        self.writer.change(CatalogChange::Together(amends)).await
    }

    /// Amends an image without waiting or reporting the outcome: for dropped guards.
    pub fn amend_later(&self, id: ImageId, amend: impl Fn(&Image) -> Result<Option<Image>> + Send + 'static) {
        self.writer.change_later(CatalogChange::Amend(id, Box::new(amend)));
    }

    /// Removes an image.
    ///
    /// # Errors
    /// `Precondition` if the stored revision differs.
    pub async fn remove(&self, image: &Image) -> Result<()> {
        self.writer.change(CatalogChange::Remove(image.id, image.revision)).await.map(drop)
    }

    /// The image with an id.
    ///
    /// # Errors
    /// `NotFound`, or `Internal` when neither database nor journal can be read.
    pub async fn get(&self, id: ImageId) -> Result<Image> {
        self.find(id).await?.ok_or_else(|| not_found(id))
    }

    /// The image with an id, if it exists.
    ///
    /// # Errors
    /// `Internal` when neither database nor journal can be read.
    pub async fn find(&self, id: ImageId) -> Result<Option<Image>> {
        let engine = current(&self.engine);
        let found = match open::stored(&*engine, id) {
            Ok(found) => found,
            Err(why) => {
                self.writer.distrust(why, engine).await;
                open::stored(&*current(&self.engine), id).map_err(Error::internal)?
            }
        };
        Ok(found.map(|(image, _)| image))
    }

    /// A page of images.
    ///
    /// # Errors
    /// `Internal` when neither database nor journal can be read.
    pub async fn list(&self, query: &Query) -> Result<Page> {
        let engine = current(&self.engine);
        match list::list(&*engine, query).await {
            Ok(page) => Ok(page),
            Err(why) => {
                self.writer.distrust(why, engine).await;
                list::list(&*current(&self.engine), query).await.map_err(Error::internal)
            }
        }
    }

    /// Number of changes so far: while it stays, every list stays.
    ///
    /// # Errors
    /// `Internal` when the database can't be read.
    pub fn version(&self) -> Result<u64> {
        let state = embedded::state::State::load(&*current(&self.engine));
        state.map(|state| state.map_or(0, |state| state.seq)).map_err(|error| Error::internal(error.to_string()))
    }

    /// The cursor after an image in an order.
    pub fn cursor(image: &Image, sort: &Sort) -> Cursor {
        index::place(sort, image)
    }

    /// Counts a read. Kept in memory until [`Catalog::keep_accesses`].
    pub fn touch(&self, id: ImageId, now: Timestamp) {
        let mut accesses = self.accesses.lock().unwrap_or_else(PoisonError::into_inner);
        let access = accesses.entry(id).or_default();
        access.count += 1;
        access.last = Some(now);
    }

    /// Number of reads of an image. Counters are a convenience: a crash loses the newest.
    pub fn access(&self, id: ImageId) -> Access {
        let stored = current(&self.engine).get(Table::Access, id.as_bytes()).ok().flatten();
        let stored = stored.and_then(|bytes| row::decode_access(&bytes).ok()).unwrap_or_default();
        let new = self.accesses.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or_default();
        Access { count: stored.count + new.count, last: stored.last.max(new.last) }
    }

    /// The compactions of the journal: the last one, or the one that goes on.
    pub fn compactions(&self) -> watch::Receiver<Compaction> {
        self.writer.compactions.clone()
    }

    /// Hands the counted reads to the writer.
    pub fn keep_accesses(&self) {
        let accesses = std::mem::take(&mut *self.accesses.lock().unwrap_or_else(PoisonError::into_inner));
        if !accesses.is_empty() {
            self.writer.count(accesses);
        }
    }

    /// Compares every index entry with the rows. Returns the problems as texts, and the number of images.
    pub fn verify(&self) -> (Vec<String>, u64) {
        verify::verify(&*current(&self.engine))
    }

    /// Finishes the requested changes, and closes the database. Later changes are refused.
    pub fn close(&self) {
        self.keep_accesses();
        self.writer.stop();
        if let Err(error) = current(&self.engine).close() {
            log::warn!("the metadata database was not closed in good order, the journal makes up for it: {error}");
        }
    }
}

/// The error for an image that does not exist, or is hidden from the caller.
pub fn not_found(id: ImageId) -> Error {
    Reason::ImageNotFound.about(id)
}

#[cfg(test)]
mod list_tests;
#[cfg(test)]
pub(crate) mod tests;
