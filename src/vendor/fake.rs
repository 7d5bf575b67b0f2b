//! Documents in memory, for tests: what is not in the map is not there.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;

use super::documents::{Documents, VendorDocument};
use crate::error::{Reason, Result};
use crate::image::Timestamp;

/// A tree of documents by URL.
#[derive(Default)]
pub(crate) struct FakeDocuments {
    documents: BTreeMap<String, Bytes>,
    asked: Mutex<Vec<String>>,
}

impl FakeDocuments {
    /// Adds a document.
    pub(crate) fn with(mut self, url: &str, content: impl Into<Bytes>) -> Self {
        self.documents.insert(url.to_owned(), content.into());
        self
    }

    /// Text of a document.
    pub(crate) fn content(&self, url: &str) -> String {
        String::from_utf8(self.documents[url].to_vec()).unwrap()
    }

    /// URLs that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Documents for FakeDocuments {
    async fn get(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
        self.asked.lock().unwrap().push(url.to_owned());
        let Some(bytes) = self.documents.get(url).cloned() else { return Ok(None) };
        if bytes.len() > bytes_max {
            return Err(Reason::BodyTooLarge.into());
        }
        Ok(Some(VendorDocument { url: url.to_owned(), bytes, checked_at: Timestamp(0) }))
    }

    async fn get_anew(&self, url: &str, bytes_max: usize) -> Result<Option<VendorDocument>> {
        self.get(url, bytes_max).await
    }
}
