//! Long lists, page by page: the cursor stays inside, and only the records of one page are held. Knows no rights.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::error::Result;
use crate::image::Image;
use crate::image::query::{Filter, Query, Sort};

/// Records in a page, unless another number is asked for.
const PAGE: usize = 64;

/// Pages of a list that have not been read yet.
pub struct Pages {
    catalog: Arc<Catalog>,
    /// Query of the next page; none after the last.
    query: Option<Query>,
    /// Records in one page, at most.
    page: usize,
    /// Records in all remaining pages, at most.
    left: usize,
}

impl Pages {
    /// Pages of `query`, each as long as its limit, with at most `total` records in all.
    pub(in crate::registry) fn new(catalog: &Arc<Catalog>, query: Query, total: usize) -> Self {
        Self { catalog: Arc::clone(catalog), page: query.limit, query: Some(query), left: total }
    }

    /// Pages of all images that pass a filter, in the cheapest order.
    pub(in crate::registry) fn of(catalog: &Arc<Catalog>, filter: Filter) -> Self {
        let query = Query { filter, sort: Sort::default(), limit: PAGE, after: None };
        Self::new(catalog, query, usize::MAX)
    }

    /// Reads the next page; none after the last, and none after an error. Dropped before it is ready, it ends the list
    /// too.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub async fn next(&mut self) -> Result<Option<Vec<Image>>> {
        let Some(query) = self.query.take() else { return Ok(None) };
        let query = Query { limit: self.page.min(self.left), ..query };
        let page = self.catalog.list(&query).await?;
        self.left = self.left.saturating_sub(page.images.len());
        self.query = page.next.filter(|_| self.left > 0).map(|after| Query { after: Some(after), ..query });
        Ok(Some(page.images))
    }

    /// Tells if the last page has been read.
    pub fn is_at_end(&self) -> bool {
        self.query.is_none()
    }
}
