//! The stores that are configured, by name.

use std::path::Path;

use super::{BlobBody, BlobStore, BlobWriter, StoreError};
use crate::image::{StoreName, StoredAt};

/// All stores. One of them takes what asks for none.
#[derive(Debug)]
pub struct Stores {
    all: Vec<Store>,
    default: StoreName,
}

/// A store and what it is called.
#[derive(Debug)]
pub struct Store {
    /// Its name, of which there is one.
    pub name: StoreName,
    /// Of which kind it is, in a word for people.
    pub kind: &'static str,
    /// Its purpose, in the operator's words; may be empty.
    pub description: String,
    /// The store itself.
    pub blobs: Box<dyn BlobStore>,
}

impl Stores {
    /// The local directory alone.
    pub fn local(blobs: Box<dyn BlobStore>) -> Self {
        let file = Store { name: StoreName::FILE, kind: "file", description: String::new(), blobs };
        Self { all: vec![file], default: StoreName::FILE }
    }

    /// One more. The last that asks for it is the default.
    pub fn add(&mut self, store: Store, default: bool) {
        if default {
            self.default = store.name.clone();
        }
        self.all.push(store);
    }

    /// Takes what asks for no store.
    pub fn default_name(&self) -> &StoreName {
        &self.default
    }

    /// Every store, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Store> {
        self.all.iter()
    }

    /// Tells whether there is such a store.
    pub fn has(&self, name: &StoreName) -> bool {
        self.iter().any(|store| store.name == *name)
    }

    /// The store of this name.
    ///
    /// # Errors
    /// [`StoreError::Unknown`].
    pub fn named(&self, name: &StoreName) -> Result<&dyn BlobStore, StoreError> {
        let found = self.iter().find(|store| store.name == *name);
        found.map(|store| &*store.blobs).ok_or_else(|| StoreError::Unknown(name.clone()))
    }

    /// [`BlobStore::begin`]
    pub async fn begin(&self, place: &StoredAt, size_hint: Option<u64>) -> Result<Box<dyn BlobWriter>, StoreError> {
        self.named(&place.store)?.begin(&place.key, size_hint).await
    }

    /// [`BlobStore::begin_readable`]
    pub async fn begin_readable(
        &self,
        place: &StoredAt,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, StoreError> {
        self.named(&place.store)?.begin_readable(&place.key, size_hint).await
    }

    /// [`BlobStore::adopt`]
    pub async fn adopt(&self, place: &StoredAt, file: &Path) -> Result<Option<Box<dyn BlobWriter>>, StoreError> {
        self.named(&place.store)?.adopt(&place.key, file).await
    }

    /// [`BlobStore::resume`]
    pub async fn resume(
        &self,
        place: &StoredAt,
        length: u64,
        size_hint: Option<u64>,
    ) -> Result<Box<dyn BlobWriter>, StoreError> {
        self.named(&place.store)?.resume(&place.key, length, size_hint).await
    }

    /// [`BlobStore::open`]
    pub async fn open(&self, place: &StoredAt, range: Option<std::ops::Range<u64>>) -> Result<BlobBody, StoreError> {
        self.named(&place.store)?.open(&place.key, range).await
    }

    /// [`BlobStore::delete`]
    pub async fn delete(&self, place: &StoredAt) -> Result<(), StoreError> {
        self.named(&place.store)?.delete(&place.key).await
    }

    /// [`BlobStore::uri`]; of a store that is not configured any more, its name and the key.
    pub fn uri(&self, place: &StoredAt) -> String {
        self.named(&place.store)
            .map_or_else(|_| format!("{}:{}", place.store, place.key), |store| store.uri(&place.key))
    }

    /// [`BlobStore::free`]
    pub async fn free(&self, store: &StoreName) -> Option<u64> {
        self.named(store).ok()?.free().await
    }
}
