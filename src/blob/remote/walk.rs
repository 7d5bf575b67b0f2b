//! Lists of the other side's, which end however it answers.

use std::time::Duration;

use futures_util::TryStreamExt;
use opendal::{Entry, Operator};
use tokio::time::timeout;

use super::trouble::{Trouble, Why};

/// Names that are read of one list: far more than a server keeps images.
const NAMES_MAX: usize = 5_000_000;

/// Time for the next name, with all tries for its page.
const PAGE_TIME: Duration = Duration::from_secs(300);

/// Shows each entry of a directory to `see`.
pub(super) async fn walk(operator: &Operator, directory: &str, mut see: impl FnMut(Entry)) -> opendal::Result<()> {
    let trouble = |why| opendal::Error::from(Trouble { why, doubt: false });
    let mut entries = operator.lister(directory).await?;
    for _ in 0..NAMES_MAX {
        match timeout(PAGE_TIME, entries.try_next()).await.map_err(|_| trouble(Why::Slow))?? {
            Some(entry) => see(entry),
            None => return Ok(()),
        }
    }
    Err(trouble(Why::Odd))
}
