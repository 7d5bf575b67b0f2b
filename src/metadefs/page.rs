//! A page of a list.

use super::{Dated, missing};
use crate::error::Result;

/// Orders of a list. Equals are sorted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// Time of creation.
    CreatedAt,
    /// Time of the last change.
    UpdatedAt,
    /// Name.
    Name,
}

/// The requested part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its order.
    pub key: SortKey,
    /// Descending order.
    pub descending: bool,
    /// Most entries.
    pub limit: usize,
    /// The name after which the page begins.
    pub after: Option<String>,
}

impl Page {
    /// The page of these entries. `word` is what one is called.
    ///
    /// # Errors
    /// `NotFound` when there is none to begin after.
    pub fn of<'a, T>(
        &self,
        word: &str,
        entries: impl Iterator<Item = (&'a str, &'a Dated<T>)>,
    ) -> Result<Vec<(&'a str, &'a Dated<T>)>> {
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by(|(a, x), (b, y)| {
            let order = match self.key {
                SortKey::CreatedAt => x.created_at().cmp(&y.created_at()),
                SortKey::UpdatedAt => x.updated_at().cmp(&y.updated_at()),
                SortKey::Name => a.cmp(b),
            };
            if self.descending { order.reverse() } else { order }.then_with(|| a.cmp(b))
        });
        if let Some(after) = &self.after {
            let at = entries.iter().position(|(name, _)| name == after).ok_or_else(|| missing(word, after))?;
            entries.drain(..=at);
        }
        entries.truncate(self.limit);
        Ok(entries)
    }
}
