//! The way to vendors' documents: lists, sums, signatures. The cache implements it; tests have a map.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Kind, Reason, Result};
use crate::image::Timestamp;

/// A document as its server gave it.
#[derive(Debug, Clone)]
pub struct VendorDocument {
    /// Place that the bytes came from, after redirects.
    pub url: String,
    /// Content.
    pub bytes: Bytes,
    /// Time at which its server last said that this is the document.
    pub checked_at: Timestamp,
}

/// Gets the document at a URL, for whose length its vendor answers.
///
/// # Errors
/// As [`Documents::get`]; `SumsRefused` in place of `TooLarge`.
pub(super) async fn get(documents: &dyn Documents, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
    documents.get(url, bytes_max).await.map_err(|error| match error.kind() {
        Kind::TooLarge => Reason::SumsRefused.about(url).and("it is too long").because(error),
        _ => error,
    })
}

/// Source of documents.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Gets the document at a URL, of `bytes_max` at most; `None` when its server says that there is none (404, 410).
    ///
    /// # Errors
    /// `Upstream` when the server can't be asked or answers otherwise, `TooLarge`.
    async fn get(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>>;

    /// Gets the document at a URL anew, whatever the age of a copy that is here: for a mismatch that a newer document may explain.
    ///
    /// # Errors
    /// As [`Documents::get`].
    async fn get_anew(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>>;
}
